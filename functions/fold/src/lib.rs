//! Joins facts into channels and publishes events to the partner's application, driven by the table's stream.
//!
//! It has no right to secrets, to keys or to the Partner API. Nothing slow holds up the stream: an event that the bus
//! does not accept goes to the outbox, and a schedule sends it again. The schedule also joins all facts of each bound channel
//! anew once a day, so that a lost record heals. Records may come in any order: the join is
//! commutative, and saves are versioned.

mod events;
mod join;
mod publish;
mod refold;

use std::sync::Arc;

use jiff::Timestamp;
use runtime::event_bus::EventBus;
use runtime::metric::Metric;
use runtime::settings::{Environment, PartnerIds, SettingError};
use store::stream::{Change, Record, StoppedBefore};
use store::table::{Table, prefix};
use store::{Bodies, Channels, Error, Facts, Heartbeat, Outbox, Refolds};
use tokio::time::{Duration, Instant};

use events::Room;
use join::NewFacts;

/// The most that the large bodies of one batch may have together, bytes. The events of the rest are published without
/// them: all events of a batch are in memory at once.
const BODIES_OF_A_BATCH: usize = 8 * 1024 * 1024;

/// The run time that is left when large bodies are read no longer: that of a channel's facts and of the outbox.
const AFTER_BODIES: Duration = Duration::from_secs(45);

/// The settings of this function.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `TABLE_NAME`
    pub table_name: String,
    /// `BODIES_TABLE_NAME`
    pub bodies_table_name: String,
    /// `PARTNER_IDS`
    pub partner_ids: PartnerIds,
}

impl Settings {
    /// Reads the settings. The error names the one that is missing or malformed.
    pub fn from_env(env: &Environment) -> Result<Self, SettingError> {
        let bodies = "Name the DynamoDB table of large bodies.";
        Ok(Self {
            table_name: env.required("TABLE_NAME", "Name the DynamoDB table.")?,
            bodies_table_name: env.required("BODIES_TABLE_NAME", bodies)?,
            partner_ids: env.partner_ids()?,
        })
    }
}

/// The handles of this function: everything it may read or write.
#[derive(Clone)]
pub struct Fold {
    /// Its settings.
    pub settings: Settings,
    /// The channels, which only this function saves.
    pub channels: Channels,
    /// The large bodies of events, which it reads.
    pub bodies: Bodies,
    /// The facts, which it reads.
    pub facts: Facts,
    /// When the facts of channels are joined anew.
    pub refolds: Refolds,
    /// The events that the bus did not accept.
    pub outbox: Outbox,
    /// The heartbeat, which comes back through the stream.
    pub heartbeat: Heartbeat,
    /// The bus for events to the partner's application, if there is one.
    pub bus: Option<Arc<dyn EventBus>>,
}

impl Fold {
    /// Creates the function with handles on `table` and on the table of large `bodies`.
    pub fn new(
        settings: Settings,
        table: Table,
        bodies: Table,
        bus: Option<Arc<dyn EventBus>>,
    ) -> Self {
        Self {
            settings,
            bodies: Bodies::new(bodies),
            channels: Channels::new(table.clone()),
            facts: Facts::new(table.clone()),
            refolds: Refolds::new(table.clone()),
            outbox: Outbox::new(table.clone()),
            heartbeat: Heartbeat::new(table),
            bus,
        }
    }

    /// Opens the connection that the first batch needs.
    pub async fn warm_up(&self) {
        if let Some(partner) = self.settings.partner_ids.first() {
            self.channels.preconnect(partner).await;
        }
    }

    /// The scheduled run: writes the heartbeat, and catches up. One that fails does not stop the other; the last error is
    /// returned.
    pub async fn tick(&self, now: Timestamp, until: Instant) -> Result<(), Error> {
        let beaten = self.heartbeat.beat(now).await;
        self.catch_up(now, until).await.and(beaten)
    }

    /// Sends the events of the outbox again, and meanwhile joins the facts of the channels that are due anew. One that fails
    /// does not stop the other; an error of either is returned.
    pub async fn catch_up(&self, now: Timestamp, until: Instant) -> Result<(), Error> {
        let (sent, joined) = tokio::join!(self.send_again(now, until), self.refold(now, until));
        sent.and(joined)
    }

    /// Whether the stream mapping passes a record on: inserted facts and raw events, inserted and changed channels, the
    /// heartbeat.
    pub fn takes(record: &Record) -> bool {
        match record.kind() {
            prefix::FACT | prefix::RAW => record.change == Change::Inserted,
            prefix::CHANNEL | prefix::HEARTBEAT => record.change != Change::Removed,
            _ => false,
        }
    }

    /// Joins the facts of a batch into their channels, and publishes the events of the batch. Ends before `until`.
    ///
    /// A record that cannot be read is logged and skipped. Only a table that fails or is slow makes Lambda repeat
    /// records; joining and publishing twice is harmless.
    pub async fn handle(&self, records: &[Record], until: Instant) -> Result<(), StoppedBefore> {
        let (mut facts, mut events) = (NewFacts::default(), Vec::new());
        let mut room = Room {
            bytes: BODIES_OF_A_BATCH,
            until: until.checked_sub(AFTER_BODIES).unwrap_or(until),
        };
        for (place, record) in records.iter().enumerate() {
            if !Self::takes(record) {
                continue;
            }
            if record.kind() == prefix::HEARTBEAT {
                Metric::Heartbeats.count();
                continue;
            }
            match self.read(record, &mut room).await {
                Ok(read) => {
                    facts.extend(read.fact.map(|fact| (place, fact)));
                    events.extend(read.event.map(|event| (place, event)));
                }
                Err(what) => {
                    tracing::error!(record = record.name(), what, "a record was skipped");
                }
            }
        }
        let mut failed = self.join(facts, until).await;
        failed.extend(self.publish(events, until).await);
        let first = failed
            .into_iter()
            .min()
            .and_then(|place| records.get(place));
        first.map_or(Ok(()), |record| Err(StoppedBefore(record.sequence.clone())))
    }
}
