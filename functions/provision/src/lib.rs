//! Confirms claims, binds clients, makes and stores API keys, driven by the table's stream. It is the only function
//! that calls 360dialog.
//!
//! Records may come in any order, and to several workers: a lease on each channel keeps two workers from making two
//! keys.

mod bind;
mod key;
mod mint;
mod retry;

use std::sync::Arc;
use std::time::Duration;

use dialog360::client::{ApiError, BASE_URL, ErrorKind, KeysPath, PartnerApi, PartnerClient};
use dialog360::id::PartnerId;
use onboarding::channel::Channel;
use onboarding::fact::{Assertion, Fact, Source};
use onboarding::secret::PartnerAccess;
use runtime::aws::PARTNER_SECRET_PREFIX;
use runtime::clock;
use runtime::metric::Metric;
use runtime::secrets::{PartnerSecrets, SecretSource};
use runtime::settings::{BaseUrl, Environment, PartnerIds, SettingError, Switch};
use runtime::tls::{NoTls, Tls};
use runtime::vault::{CHANNEL_SECRET_PREFIX, KeyVault};
use store::stream::{Change, Record, StoppedBefore};
use store::table::{Table, prefix};
use store::{
    Channels, Claims, Clients, Error, Facts, Mints, Requeues, StoredChannel, StoredClaim, Subject,
    Trigger,
};
use tokio::time::Instant;

/// The time-out for opening a connection: enough for a TLS handshake between continents, and time is left for the call.
const CONNECT_TIME: Duration = Duration::from_secs(3);

/// The time-out of one call to 360dialog. Two of them and the AWS calls fit into the function's 20 s.
const CALL_TIME: Duration = Duration::from_secs(6);

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
    /// Reads the settings. The error names the one that is missing or malformed.
    pub fn from_env(env: &Environment) -> Result<Self, SettingError> {
        let partner_api_url = env.text("PARTNER_API_URL").unwrap_or(BASE_URL).parse();
        let channel_secret_prefix =
            env.secret_prefix("CHANNEL_SECRET_PREFIX", CHANNEL_SECRET_PREFIX)?;
        let partner_secret_prefix =
            env.secret_prefix("PARTNER_SECRET_PREFIX", PARTNER_SECRET_PREFIX)?;
        let is_within = |a: &str, b: &str| a.starts_with(b) || b.starts_with(a);
        if is_within(&channel_secret_prefix, &partner_secret_prefix) {
            let why = "neither it nor PARTNER_SECRET_PREFIX may begin with the other: a right to the one would be a right to both";
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
    /// The leases and intents.
    pub mints: Mints,
    /// The partners' credentials for the Partner API.
    pub secrets: PartnerSecrets<PartnerAccess>,
    /// The vault of the keys.
    pub vault: Arc<dyn KeyVault>,
    /// The Partner API.
    pub api: PartnerApi,
}

/// The time that is left for a run.
#[derive(Clone, Copy, Debug)]
pub struct RunTime {
    until: Instant,
}

impl RunTime {
    /// A run that must end at `until`.
    pub fn until(until: Instant) -> Self {
        Self { until }
    }

    /// Whether too little time is left to begin another record.
    fn is_over(self) -> bool {
        self.until.saturating_duration_since(Instant::now()) < retry::AFTER_A_CALL
    }

    /// Whether enough time is left for a call to 360dialog and the writes after it.
    fn allows_a_call(self) -> bool {
        self.until.saturating_duration_since(Instant::now()) > CALL_TIME + retry::AFTER_A_CALL
    }
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

    /// Creates the function with handles on `table`, `secrets` and `vault`.
    pub fn new(
        settings: Settings,
        table: Table,
        secrets: Arc<dyn SecretSource>,
        vault: Arc<dyn KeyVault>,
        tls: &Tls,
    ) -> Result<Self, NoTls> {
        let http = tls
            .client()
            .connect_timeout(CONNECT_TIME)
            .timeout(CALL_TIME);
        let http = http.build().map_err(|_| NoTls)?;
        Ok(Self {
            facts: Facts::new(table.clone()),
            channels: Channels::new(table.clone()),
            claims: Claims::new(table.clone()),
            clients: Clients::new(table.clone()),
            mints: Mints::new(table),
            secrets: PartnerSecrets::new(secrets),
            vault,
            api: PartnerApi::new(
                http,
                settings.partner_api_url.as_str(),
                settings.keys_path.clone(),
            ),
            settings,
        })
    }

    /// Whether the stream mapping passes a record on: inserted claims and requeues, inserted and changed channels,
    /// the heartbeat.
    pub fn takes(record: &Record) -> bool {
        match record.kind() {
            prefix::CLAIM | prefix::WAKE => record.change == Change::Inserted,
            prefix::CHANNEL | prefix::HEARTBEAT => record.change != Change::Removed,
            _ => false,
        }
    }

    /// Acts on the records of a batch, one after the other. A record that fails does not stop the others.
    ///
    /// Only a failure of our own table makes Lambda repeat records. A record that cannot be read is logged and skipped.
    /// After a failure of 360dialog the item becomes due again later.
    pub async fn handle(&self, records: &[Record], run_time: RunTime) -> Result<(), StoppedBefore> {
        let mut stopped = None;
        for record in records.iter().filter(|record| Self::takes(record)) {
            // Lambda repeats the batch from a record that was not begun. If it cut the run off, it would repeat the
            // whole batch.
            if run_time.is_over() {
                stopped.get_or_insert_with(|| record.sequence.clone());
                break;
            }
            match self.act_on(record, run_time).await {
                Ok(()) => {}
                // An unreadable record must not block those after it.
                Err(Error::Malformed(what)) => {
                    tracing::error!(
                        record = record.name(),
                        what,
                        "a record was skipped: it is not in the form we write"
                    );
                }
                Err(error) => {
                    tracing::error!(%error, record = record.name(), "a record will be repeated");
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
            prefix::HEARTBEAT => {
                Metric::Heartbeats.count();
                Ok(())
            }
            prefix::CLAIM => self.confirm(StoredClaim::from_item(new)?, run_time).await,
            prefix::WAKE => {
                let subject = Requeues::subject(new).ok_or(Error::Malformed("a requeue"))?;
                self.act_on_due(subject, run_time).await
            }
            _ => {
                let new = StoredChannel::from_item(new)?.channel;
                let old = record
                    .old
                    .as_ref()
                    .map(StoredChannel::from_item)
                    .transpose()?;
                if key::is_relevant_change(old.map(|old| old.channel).as_ref(), &new) {
                    self.reconcile_key(&new.id, Trigger::Change, run_time)
                        .await?;
                }
                Ok(())
            }
        }
    }

    async fn act_on_due(&self, subject: Subject, run_time: RunTime) -> Result<(), Error> {
        match subject {
            Subject::Channel(channel) => {
                self.reconcile_key(&channel, Trigger::Clock, run_time).await
            }
            Subject::Claim(partner, claim) => match self.claims.read(&partner, &claim).await? {
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
        }
    }

    /// The Partner API with the credentials of `partner`.
    fn api<'a>(&'a self, partner: &'a PartnerId, access: &'a PartnerAccess) -> PartnerClient<'a> {
        self.api.for_partner(partner, &access.credentials)
    }

    /// Makes the login that the next call needs, if it needs one and there is time for it, so that it takes none of the
    /// call's own time. If it fails, the call fails likewise, without a login.
    async fn log_in(&self, partner: &PartnerId, access: &PartnerAccess, run_time: RunTime) {
        if run_time.allows_a_call() {
            let _told_by_the_call = self.api(partner, access).log_in().await;
        }
    }

    /// Appends the part of `assertion` that `known` does not have yet as a fact, and joins it into `known`.
    async fn append_if_new(
        &self,
        known: &mut Channel,
        assertion: Assertion,
        at: jiff::Timestamp,
        cause: impl Into<String>,
    ) -> Result<(), Error> {
        let news = known.news(assertion);
        if news.is_nothing() {
            return Ok(());
        }
        let fact = Fact::new(known.id.clone(), Source::Provision, news, at, cause);
        // A fact that exists already has been joined, or will be.
        let _is_new = self.facts.append(&fact).await?;
        known.join(&fact);
        Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_secret_prefixes_of_channels_and_partners_must_differ() {
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
