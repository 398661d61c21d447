//! Confirms claims, binds clients, makes and stores API keys. It is the only function that calls 360dialog.
//!
//! Records of the table's stream become due work in the table (`due`). One worker for each partner takes that off in
//! order, within 360dialog's limit (`worker`): it looks at clients (`look`), makes keys (`key`, `mint`) and, once a day,
//! reads the list of all channels (`sweep`). Beside that it sets the numbers' messaging webhooks (`hook`). A run that the
//! stream starts works at once; one by the clock, every minute, works off what is left.

mod due;
mod line;
mod worker;
mod look;
mod key;
mod mint;
mod keep;
mod compare;
mod sweep;
mod hook;
mod retry;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use dialog360::client::{ApiError, BASE_URL, ErrorKind, KeysPath, MessagingApi, PartnerApi};
use dialog360::id::PartnerId;
use onboarding::channel::Channel;
use onboarding::fact::{Assertion, Fact, Source};
use onboarding::queue::{Rate, RateError};
use onboarding::secret::PartnerAccess;
use runtime::clock;
use runtime::metric::{self, Metric};
use runtime::seal::KeySeal;
use runtime::secrets::{PartnerSecrets, SecretSource};
use runtime::settings::{BaseUrl, Environment, PartnerIds, SettingError, Switch};
use runtime::tls::{NoTls, Tls};
use store::stream::{Record, StoppedBefore};
use store::table::Table;
use store::{
    Channels, ClaimedIds, Claims, Clients, Error, Facts, Hooks, Mints, Queue, Subject, Sweeps,
    Works,
};
use tokio::task::JoinSet;
use tokio::time::Instant;

pub use crate::hook::MessagingSettings;
use crate::worker::{Patience, Run};

/// The time-out for opening a connection: enough for a TLS handshake between continents, and time is left for the call.
const CONNECT_TIME: Duration = Duration::from_secs(3);

/// The time-out of one call to 360dialog. Two of them and the AWS calls fit into the function's 20 s.
const CALL_TIME: Duration = Duration::from_secs(6);

/// How long a run of the stream begins work: then it makes the next records due.
const STREAM_RUN: Duration = Duration::from_secs(10);

/// How long a run of the clock begins work: it ends before the next one begins.
const CLOCK_RUN: Duration = Duration::from_secs(55);

/// The time that is left, when Lambda ends a run, for a key that was begun: its calls, and the writes around them.
const LAST_WORK: Duration = Duration::from_secs(20);

/// The records of how many items are made due side by side.
const ITEMS_AT_ONCE: usize = 16;

/// The limit that 360dialog documents for one resource, and that a client in production keeps for all calls together.
const PARTNER_API_RATE: &str = "5/30s";

/// The latest time to begin work in a run that is ended at `until`.
fn latest(until: Instant) -> Instant {
    until.checked_sub(LAST_WORK).unwrap_or(until)
}

/// The settings of this function.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `TABLE_NAME`
    pub table_name: String,
    /// `PARTNER_IDS`
    pub partner_ids: PartnerIds,
    /// `PARTNER_API_URL`
    pub partner_api_url: BaseUrl,
    /// `HUB_API_KEYS_PATH`
    pub keys_path: KeysPath,
    /// `AUTO_PROVISION`
    pub auto_provision: Switch,
    /// `PARTNER_API_RATE`
    pub rate: Rate,
    /// `MESSAGING_WEBHOOK_URL`, `MESSAGING_WEBHOOK_PATH`, `MESSAGING_ORIGINS`
    pub messaging: MessagingSettings,
}

impl Settings {
    /// Reads the settings. The error names the one that is missing or malformed.
    pub fn from_env(env: &Environment) -> Result<Self, SettingError> {
        let partner_api_url = env.text("PARTNER_API_URL").unwrap_or(BASE_URL).parse();
        Ok(Self {
            table_name: env.required("TABLE_NAME", "Name the DynamoDB table.")?,
            partner_ids: env.partner_ids()?,
            partner_api_url: partner_api_url
                .map_err(|why| SettingError::malformed("PARTNER_API_URL", why))?,
            keys_path: env.optional("HUB_API_KEYS_PATH")?.unwrap_or_default(),
            auto_provision: env.optional("AUTO_PROVISION")?.unwrap_or(Switch::On),
            rate: env
                .text("PARTNER_API_RATE")
                .unwrap_or(PARTNER_API_RATE)
                .parse()
                .map_err(|why: RateError| SettingError::malformed("PARTNER_API_RATE", why))?,
            messaging: MessagingSettings::from_env(env)?,
        })
    }
}

/// The handles of this function: everything it may read or write.
#[derive(Clone)]
pub struct Provision {
    /// Its settings.
    pub settings: Settings,
    /// The facts, to which it appends.
    pub facts: Facts,
    /// The channels, which it reads.
    pub channels: Channels,
    /// The claims, which it confirms.
    pub claims: Claims,
    /// The clients, which it binds.
    pub clients: Clients,
    /// The ids that open claims name.
    pub claimed_ids: ClaimedIds,
    /// The leases and intents.
    pub mints: Mints,
    /// The due work.
    pub queue: Queue,
    /// The places of the sweeps.
    pub sweeps: Sweeps,
    /// The messaging webhooks that are to be set.
    pub hooks: Hooks,
    /// The leases of the partners' workers.
    pub works: Works,
    /// The partners' credentials for the Partner API.
    pub secrets: PartnerSecrets<PartnerAccess>,
    /// The seal of the keys.
    pub seal: Arc<dyn KeySeal>,
    /// The Partner API.
    pub api: PartnerApi,
    /// The messaging API.
    pub messaging: MessagingApi,
}

impl Provision {
    /// Opens the connection and reads the secrets that the first batch needs.
    pub async fn warm_up(&self) {
        let partners = &self.settings.partner_ids;
        let preconnect = async {
            if let Some(partner) = partners.first() {
                self.channels.preconnect(partner).await;
            }
        };
        tokio::join!(self.secrets.warm_up(partners), preconnect);
    }

    /// Creates the function with handles on `table`, `secrets` and `seal`.
    pub fn new(
        settings: Settings,
        table: Table,
        secrets: Arc<dyn SecretSource>,
        seal: Arc<dyn KeySeal>,
        tls: &Tls,
    ) -> Result<Self, NoTls> {
        let http = tls
            .client()
            .connect_timeout(CONNECT_TIME)
            .timeout(CALL_TIME);
        let http = http.build().map_err(|_| NoTls)?;
        let MessagingSettings { origins, path, .. } = &settings.messaging;
        let origins = origins.iter().map(|origin| origin.as_str());
        let messaging = MessagingApi::new(http.clone(), origins, path.clone());
        Ok(Self {
            facts: Facts::new(table.clone()),
            channels: Channels::new(table.clone()),
            claims: Claims::new(table.clone()),
            clients: Clients::new(table.clone()),
            claimed_ids: ClaimedIds::new(table.clone()),
            mints: Mints::new(table.clone()),
            queue: Queue::new(table.clone()),
            sweeps: Sweeps::new(table.clone()),
            hooks: Hooks::new(table.clone()),
            works: Works::new(table),
            secrets: PartnerSecrets::new(secrets),
            seal,
            api: PartnerApi::new(
                http,
                settings.partner_api_url.as_str(),
                settings.keys_path.clone(),
            )
            .with_single_requests(),
            messaging,
            settings,
        })
    }

    /// Makes due what follows from the records of a batch, then works on it. A record that fails does not stop the others.
    ///
    /// Only a failure of our own table makes Lambda repeat records. A record that cannot be read is logged and skipped.
    /// Trouble of 360dialog is no failure of a record: what is due stays due.
    pub async fn handle(&self, records: &[Record], until: Instant) -> Result<(), StoppedBefore> {
        let run = Run {
            until: (Instant::now() + STREAM_RUN).min(latest(until)),
            patience: Patience::Leaves,
        };
        let (fresh, stopped) = self.make_all_due(records).await;
        for (partner, result) in self.work_for(fresh, run).await {
            if let Err(error) = result {
                tracing::error!(%error, %partner, "the queue is worked off later");
            }
        }
        stopped.map_or(Ok(()), |sequence| Err(StoppedBefore(sequence)))
    }

    /// Works off what is due, once a minute. An error of one partner does not stop the others; the last is returned.
    pub async fn tick(&self, until: Instant) -> Result<(), Error> {
        let run = Run {
            until: (Instant::now() + CLOCK_RUN).min(latest(until)),
            patience: Patience::Waits,
        };
        let partners = self.settings.partner_ids.iter();
        let all = partners.map(|partner| (partner.clone(), Vec::new()));
        self.measure_oldest().await;
        let mut result = Ok(());
        for (partner, worked) in self.work_for(all.collect(), run).await {
            if let Err(error) = worked {
                tracing::error!(%error, %partner, "the queue could not be worked off");
                result = Err(error);
            }
        }
        result
    }

    /// Makes due what follows from `records`, side by side, but those of one item in their order. Returns it by partner, and
    /// the first record to be repeated.
    async fn make_all_due(
        &self,
        records: &[Record],
    ) -> (BTreeMap<PartnerId, Vec<Subject>>, Option<String>) {
        let mut by_item: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (index, record) in records.iter().enumerate() {
            if Self::takes(record) {
                by_item.entry(record.name()).or_default().push(index);
            }
        }
        let items: Vec<Vec<usize>> = by_item.into_values().collect();
        let mut fresh: BTreeMap<PartnerId, Vec<Subject>> = BTreeMap::new();
        let mut failed: Option<usize> = None;
        for some in items.chunks(ITEMS_AT_ONCE) {
            let mut tasks = JoinSet::new();
            for indexes in some {
                let of_item = indexes.iter();
                let of_item =
                    of_item.filter_map(|index| Some((*index, records.get(*index)?.clone())));
                let (provision, of_item) = (self.clone(), of_item.collect::<Vec<_>>());
                tasks.spawn(async move { provision.make_item_due(of_item).await });
            }
            for (subjects, first_failed) in tasks.join_all().await {
                for subject in subjects {
                    let all = fresh.entry(subject.partner().clone()).or_default();
                    if !all.contains(&subject) {
                        all.push(subject);
                    }
                }
                failed = failed.into_iter().chain(first_failed).min();
            }
        }
        let stopped = failed.and_then(|index| records.get(index));
        (fresh, stopped.map(|record| record.sequence.clone()))
    }

    /// Makes due what follows from the records of one item. Returns it, and the index of the record to be repeated.
    async fn make_item_due(&self, records: Vec<(usize, Record)>) -> (Vec<Subject>, Option<usize>) {
        let mut all = Vec::new();
        for (index, record) in records {
            match self.make_due(&record).await {
                Ok(subjects) => all.extend(subjects),
                // An unreadable record must not block those after it.
                Err(Error::Malformed(what)) => {
                    tracing::error!(what, "a record was skipped: it is not in the form we write");
                }
                Err(error) => {
                    tracing::error!(%error, "a record will be repeated");
                    return (all, Some(index));
                }
            }
        }
        (all, None)
    }

    /// Works for several partners side by side.
    async fn work_for(
        &self,
        fresh: BTreeMap<PartnerId, Vec<Subject>>,
        run: Run,
    ) -> Vec<(PartnerId, Result<(), Error>)> {
        let mut tasks = JoinSet::new();
        for (partner, subjects) in fresh {
            let provision = self.clone();
            tasks.spawn(async move {
                let result = provision.work(&partner, subjects, run).await;
                (partner, result)
            });
        }
        tasks.join_all().await
    }

    /// Records for how long the head of the longest waiting line has been there; nothing if that cannot be read.
    async fn measure_oldest(&self) {
        let now = clock::now();
        let mut oldest = now;
        for partner in self.settings.partner_ids.iter() {
            match self.queue.oldest(partner, now).await {
                Ok(since) => oldest = oldest.min(since.unwrap_or(now)),
                Err(error) => {
                    tracing::error!(%error, %partner, "the queue could not be read");
                    return;
                }
            }
        }
        metric::oldest_due(now.duration_since(oldest).unsigned_abs());
    }

    /// Appends the part of `assertion` that `known` does not have yet as a fact, and joins it into `known`. Returns whether
    /// there was any.
    async fn append_if_new(
        &self,
        known: &mut Channel,
        assertion: Assertion,
        at: jiff::Timestamp,
        cause: impl Into<String>,
    ) -> Result<bool, Error> {
        let news = known.news(assertion);
        if news.is_nothing() {
            return Ok(false);
        }
        let fact = Fact::new(known.id.clone(), Source::Provision, news, at, cause);
        // A fact that exists already has been joined, or will be.
        let _is_new = self.facts.append(&fact).await?;
        known.join(&fact);
        Ok(true)
    }
}

/// Counts refused credentials, for an alarm: only the partner can correct them.
fn count_refusal(error: &ApiError) {
    if error.kind == ErrorKind::BadCredentials {
        Metric::BadCredentials.count();
        tracing::error!("360dialog refuses the partner's credentials");
    }
}

/// An answer of 360dialog in words for an operator, with its message, which belongs into no log.
fn in_words(question: &str, error: &ApiError) -> String {
    match &error.message {
        Some(message) => format!("{question}: {error}: {message}"),
        None => format!("{question}: {error}"),
    }
}
