//! The only function that writes channels and clients and touches keys. It is driven by the table's stream, in two
//! mappings: **fold** joins facts into channels and never calls the hub; **act** confirms claims, binds clients and
//! makes keys.
//!
//! The order of records is not relied on: the join does not care for it, saves are versioned, and a lease keeps two
//! workers from making two keys.

mod bind;
mod events;
mod fold;
mod look;
mod mint;
mod retry;

use std::sync::Arc;

use onboarding::channel::Channel;
use onboarding::fact::{Fact, Said, Source};
use onboarding::secret::HubAccess;
use platform::aws::PARTNER_SECRET_PREFIX;
use platform::clock;
use platform::event_bus::{BusEvent, EventBus};
use platform::hub_api::{CALL_TIME, HubApi, KeysPath};
use platform::secrets::{PartnerSecrets, SecretSource};
use platform::settings::{BaseUrl, Environment, PartnerIds, SettingError, Switch};
use platform::store::{
    Asked, Channels, Claims, Clients, Error, Facts, Mints, StoredChannel, StoredClaim, Subject,
    Wakes,
};
use platform::stream::{Change, Record, StoppedBefore};
use platform::table::{Table, prefix};
use platform::tls::{NoTls, Tls};
use platform::vault::KeyVault;
use tokio::time::Instant;

/// Where the Partner API is unless `PARTNER_API_URL` says otherwise.
const PARTNER_API_URL: &str = "https://hub.360dialog.io/api/v2";

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
    /// `CHANNEL_SECRET_PREFIX`
    pub channel_secret_prefix: String,
    /// `AUTO_PROVISION`
    pub auto_provision: Switch,
}

impl Settings {
    /// Reads them; the error names the one that is missing or malformed.
    pub fn from_env(env: &Environment) -> Result<Self, SettingError> {
        let partner_api_url = env
            .text("PARTNER_API_URL")
            .unwrap_or(PARTNER_API_URL)
            .parse();
        let channel_secret_prefix =
            env.secret_prefix("CHANNEL_SECRET_PREFIX", "360dialog/channels/")?;
        let partner_secret_prefix =
            env.secret_prefix("PARTNER_SECRET_PREFIX", PARTNER_SECRET_PREFIX)?;
        let is_within = |a: &str, b: &str| a.starts_with(b) || b.starts_with(a);
        if is_within(&channel_secret_prefix, &partner_secret_prefix) {
            let why = "it and PARTNER_SECRET_PREFIX must not begin alike: a right to the one would be a right to the other";
            return Err(SettingError::malformed("CHANNEL_SECRET_PREFIX", why));
        }
        Ok(Self {
            table_name: env.required("TABLE_NAME", "Name the DynamoDB table.")?,
            partner_ids: env.partner_ids()?,
            partner_api_url: partner_api_url
                .map_err(|why| SettingError::malformed("PARTNER_API_URL", why))?,
            keys_path: env.optional("HUB_API_KEYS_PATH")?.unwrap_or_default(),
            channel_secret_prefix,
            auto_provision: env.optional("AUTO_PROVISION")?.unwrap_or(Switch::On),
        })
    }
}

/// What this function may touch.
#[derive(Clone)]
pub struct Provision {
    /// Its settings.
    pub settings: Settings,
    /// Facts are read from the stream and appended here.
    pub facts: Facts,
    /// Channels are written by the fold alone.
    pub channels: Channels,
    /// Claims are confirmed.
    pub claims: Claims,
    /// Clients are bound.
    pub clients: Clients,
    /// Leases and intents.
    pub mints: Mints,
    /// The partner's access to the hub.
    pub secrets: PartnerSecrets<HubAccess>,
    /// Where keys are kept.
    pub vault: Arc<dyn KeyVault>,
    /// Where the partner's application is told.
    pub bus: Arc<dyn EventBus>,
    /// The Partner API.
    pub hub: HubApi,
}

/// How long this run may go on.
#[derive(Clone, Copy, Debug)]
pub struct RunTime {
    until: Instant,
}

impl RunTime {
    /// Until `until`.
    pub fn until(until: Instant) -> Self {
        Self { until }
    }

    /// Whether so little is left that no other record should be begun.
    fn is_over(self) -> bool {
        self.until.saturating_duration_since(Instant::now()) < retry::AFTER_A_CALL
    }

    /// Whether a call of the hub, and what follows it, still fits.
    fn allows_a_call(self) -> bool {
        self.until.saturating_duration_since(Instant::now()) > CALL_TIME + retry::AFTER_A_CALL
    }
}

impl Provision {
    /// Opens the connections and reads the secrets that the first request will need.
    pub async fn warm_up(&self) {
        let partners = &self.settings.partner_ids;
        let knock = async {
            if let Some(partner) = partners.first() {
                self.channels.knock(partner).await;
            }
        };
        tokio::join!(self.secrets.warm_up(partners), knock);
    }

    /// Puts it together from the places where things are kept.
    pub fn new(
        settings: Settings,
        table: Table,
        secrets: Arc<dyn SecretSource>,
        vault: Arc<dyn KeyVault>,
        bus: Arc<dyn EventBus>,
        tls: &Tls,
    ) -> Result<Self, NoTls> {
        Ok(Self {
            facts: Facts::new(table.clone()),
            channels: Channels::new(table.clone()),
            claims: Claims::new(table.clone()),
            clients: Clients::new(table.clone()),
            mints: Mints::new(table),
            secrets: PartnerSecrets::new(secrets),
            vault,
            bus,
            hub: HubApi::new(
                settings.partner_api_url.clone(),
                settings.keys_path.clone(),
                tls,
            )?,
            settings,
        })
    }

    /// Handles a batch of either mapping: the kinds of records that they take are different ones.
    pub async fn handle(&self, records: &[Record], run_time: RunTime) -> Result<(), StoppedBefore> {
        self.fold(records).await?;
        self.act(records, run_time).await
    }

    /// The mapping **fold**: inserted facts.
    pub fn folds(record: &Record) -> bool {
        record.change == Change::Inserted && matches!(record.kind(), prefix::FACT | prefix::RAW)
    }

    /// The mapping **act**: inserted claims and wake-ups, inserted and changed channels.
    pub fn acts_on(record: &Record) -> bool {
        match record.kind() {
            prefix::CLAIM | prefix::WAKE => record.change == Change::Inserted,
            prefix::CHANNEL => record.change != Change::Removed,
            _ => false,
        }
    }

    /// Joins the facts of a batch into their channels.
    pub async fn fold(&self, records: &[Record]) -> Result<(), StoppedBefore> {
        self.fold_all(records).await
    }

    /// Acts on the records of a batch, one after the other; one that fails does not keep the others waiting.
    ///
    /// Only trouble with our own table makes a record come again; a record that cannot be understood is logged and
    /// passed, and trouble with the hub ends in a time to look again.
    pub async fn act(&self, records: &[Record], run_time: RunTime) -> Result<(), StoppedBefore> {
        let acted = self.act_on_each(records, run_time).await;
        let stopped = acted
            .as_ref()
            .err()
            .map(|StoppedBefore(sequence)| sequence.as_str());
        self.tell_changes(records, stopped).await?;
        acted
    }

    async fn act_on_each(
        &self,
        records: &[Record],
        run_time: RunTime,
    ) -> Result<(), StoppedBefore> {
        let mut stopped = None;
        for record in records.iter().filter(|record| Self::acts_on(record)) {
            // What is not begun comes again by itself; what is cut off would come again as a whole batch.
            if run_time.is_over() {
                stopped.get_or_insert_with(|| record.sequence.clone());
                break;
            }
            match self.act_on(record, run_time).await {
                Ok(()) => {}
                Err(Error::Malformed(what)) => dead(record, what),
                Err(error) => {
                    tracing::error!(%error, record = record.name(), "a record comes again");
                    stopped.get_or_insert_with(|| record.sequence.clone());
                }
            }
        }
        stopped.map_or(Ok(()), |sequence| Err(StoppedBefore(sequence)))
    }

    async fn act_on(&self, record: &Record, run_time: RunTime) -> Result<(), Error> {
        let new = record
            .new
            .as_ref()
            .ok_or(Error::Malformed("a record without its image"))?;
        match record.kind() {
            prefix::CLAIM => self.confirm(StoredClaim::of_item(new)?, run_time).await,
            prefix::WAKE => match Wakes::subject(new).ok_or(Error::Malformed("a wake-up"))? {
                (partner, Subject::Channel(channel)) => {
                    self.look(&partner, &channel, Asked::ByClock, run_time)
                        .await
                }
                (partner, Subject::Claim(claim)) => match self.claims.read(&partner, &claim).await?
                {
                    Some(stored)
                        if stored
                            .claim
                            .due_at
                            .is_some_and(|due_at| due_at <= clock::now()) =>
                    {
                        self.confirm(stored, run_time).await
                    }
                    _ => Ok(()),
                },
            },
            _ => {
                let new = StoredChannel::of_item(new)?.channel;
                let old = record
                    .old
                    .as_ref()
                    .map(StoredChannel::of_item)
                    .transpose()?;
                if look::is_worth_a_look(old.map(|old| old.channel).as_ref(), &new) {
                    self.look(&new.partner, &new.id, Asked::ByChange, run_time)
                        .await?;
                }
                Ok(())
            }
        }
    }

    /// Tells the partner's application what changed, up to the record that comes again anyway.
    async fn tell_changes(
        &self,
        records: &[Record],
        stopped: Option<&str>,
    ) -> Result<(), StoppedBefore> {
        let done = records
            .iter()
            .take_while(|record| Some(record.sequence.as_str()) != stopped);
        let changes =
            done.filter(|record| Self::acts_on(record) && record.kind() == prefix::CHANNEL);
        let (mut first, mut told) = (None, Vec::new());
        for record in changes {
            // One that cannot be read was logged when it was acted on.
            if let Ok(Some(event)) = change(record) {
                first.get_or_insert(&record.sequence);
                told.push(event);
            }
        }
        let Some(first) = first else { return Ok(()) };
        self.bus.put(&told).await.map_err(|error| {
            tracing::error!(%error, "what changed will be told again");
            StoppedBefore(first.clone())
        })
    }

    /// Appends what `said` adds to what is known of a channel, if anything; it is known from then on.
    async fn tell(
        &self,
        known: &mut Channel,
        said: Said,
        at: jiff::Timestamp,
        cause: impl Into<String>,
    ) -> Result<(), Error> {
        let said = known.news(said);
        if said.is_nothing() {
            return Ok(());
        }
        let fact = Fact::new(
            (&known.partner, &known.id),
            Source::Provision,
            said,
            at,
            cause,
        );
        self.facts.append(&fact).await?;
        known.join(&fact);
        Ok(())
    }
}

/// What a record of a channel tells the partner's application.
fn change(record: &Record) -> Result<Option<BusEvent>, Error> {
    let new = record
        .new
        .as_ref()
        .map(StoredChannel::of_item)
        .transpose()?;
    let old = record
        .old
        .as_ref()
        .map(StoredChannel::of_item)
        .transpose()?;
    let Some(new) = new else { return Ok(None) };
    events::channel_changed(old.as_ref(), &new).map_err(|_| Error::Malformed("an event"))
}

/// A record that fails for its own reasons is logged and passed; it must not block the ones behind it.
fn dead(record: &Record, what: &str) {
    tracing::error!(
        record = record.name(),
        what,
        "a record was passed: it is not in the form we write"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_right_to_the_partners_secrets_is_no_right_to_the_numbers_keys() {
        let settings = |channels: &str, partners: &str| {
            let all = [
                ("TABLE_NAME", "t"),
                ("PARTNER_IDS", "aPA"),
                ("CHANNEL_SECRET_PREFIX", channels),
            ];
            let all = all.into_iter().chain([("PARTNER_SECRET_PREFIX", partners)]);
            Settings::from_env(
                &all.map(|(name, value)| (name.to_owned(), value.to_owned()))
                    .collect(),
            )
        };
        assert!(settings("", "").is_ok() && settings("a/keys/", "a/partners/").is_ok());
        for (channels, partners) in [("360dialog/", ""), ("", "360dialog/"), ("x/", "x/")] {
            let error = settings(channels, partners).unwrap_err().to_string();
            assert!(
                error.starts_with("CHANNEL_SECRET_PREFIX is malformed"),
                "{error}"
            );
        }
    }
}
