//! A number's messaging webhook: once its key is stored, 360dialog's messaging API is told where the number's messages go.
//!
//! This calls no Partner API, so it takes no turn from the queue: it is done while the worker waits for a free call, or has
//! nothing else to do. It never leads to another key.

use std::collections::HashSet;
use std::time::Duration;

use dialog360::client::{
    ErrorKind, MESSAGING_ORIGIN, MessagingError, MessagingWebhook, WebhookPath,
};
use dialog360::id::{ChannelRef, PartnerId};
use dialog360::secret::Secret;
use jiff::{SignedDuration, Timestamp};
use onboarding::channel::Channel;
use onboarding::fact::{Assertion, MessagingWebhook as State};
use onboarding::messaging::{LONGEST_PAUSE, WebhookUrl, mark, pause_after};
use onboarding::origin::{AllowedOrigins, OriginError};
use onboarding::secret::PartnerAccess;
use runtime::seal::{ChannelKey, SealError};
use runtime::settings::{Environment, SettingError};
use runtime::{clock, token};
use store::{Error, Hook, StoredKey, Write};

use crate::Provision;
use crate::worker::{Stopped, Worker};

/// How many rows of the index are read at once.
const ROWS: usize = 25;

/// The settings about messaging webhooks.
#[derive(Clone, Debug)]
pub struct MessagingSettings {
    /// `MESSAGING_WEBHOOK_URL`; `None`: no messaging webhook is set.
    pub url: Option<WebhookUrl>,
    /// `MESSAGING_WEBHOOK_PATH`
    pub path: WebhookPath,
    /// `MESSAGING_ORIGINS`: a key is sent nowhere else.
    pub origins: AllowedOrigins,
}

impl MessagingSettings {
    /// Reads the settings. The error names the one that is malformed.
    pub fn from_env(env: &Environment) -> Result<Self, SettingError> {
        let origins = env.text("MESSAGING_ORIGINS").unwrap_or(MESSAGING_ORIGIN);
        let malformed = |why: OriginError| SettingError::malformed("MESSAGING_ORIGINS", why);
        Ok(Self {
            url: env.optional("MESSAGING_WEBHOOK_URL")?,
            path: env.optional("MESSAGING_WEBHOOK_PATH")?.unwrap_or_default(),
            origins: origins.parse().map_err(malformed)?,
        })
    }
}

/// The messaging webhooks that a run knows of.
#[derive(Default)]
pub(crate) struct HookLine {
    /// The channels on whose keys the run has worked: the index may not show their webhooks yet.
    pub(crate) fresh: Vec<ChannelRef>,
    /// Those that the run has tried, or found not due: the index lags.
    passed: HashSet<ChannelRef>,
    /// Whether the messaging API gives no clear answer: the others wait for another run.
    is_over: bool,
}

/// The name of a stored key: a new key has another one.
fn name(key: &StoredKey) -> String {
    let without_id = || key.stored_at.as_millisecond().to_string();
    key.key_id.clone().unwrap_or_else(without_id)
}

/// Outcome of trying to set a messaging webhook.
enum Outcome {
    /// The one with this mark is set.
    Set(String),
    /// None is to be set.
    NotWanted,
    /// It is not set, for this reason, and will not be before somebody changes something.
    Refused(String, Duration),
    /// It may be set, or not: there was no clear answer, in these words. The next try comes after this time.
    Unclear(String, Duration),
}

impl From<MessagingError> for Outcome {
    fn from(why: MessagingError) -> Self {
        let words = match &why {
            MessagingError::NotSet(ErrorKind::BadCredentials) => {
                "the messaging API does not accept the key (401)".to_owned()
            }
            MessagingError::NotSet(kind) => format!("the messaging API: {kind}"),
            _ => why.to_string(),
        };
        match why {
            // Only a new key, or another setting, can change that.
            MessagingError::MalformedAddress | MessagingError::ForeignAddress(_) => {
                Self::Refused(words, LONGEST_PAUSE)
            }
            MessagingError::NotSet(ErrorKind::RateLimited(wait)) => {
                Self::Unclear(words, wait.unwrap_or_default().min(LONGEST_PAUSE))
            }
            MessagingError::NotSet(
                ErrorKind::Silent | ErrorKind::Unreadable(_) | ErrorKind::Status(408 | 500..),
            ) => Self::Unclear(words, Duration::ZERO),
            MessagingError::NotSet(_) => Self::Refused(words, Duration::ZERO),
        }
    }
}

impl Provision {
    /// Opens a stored key.
    async fn open(&self, id: &ChannelRef, key: &StoredKey) -> Result<Secret, SealError> {
        let text = self.seal.open(id, &key.sealed).await?;
        Ok(ChannelKey::from_json(&text)?.api_key)
    }

    /// The webhook of a channel; `None` if none is to be set.
    fn webhook(&self, id: &ChannelRef, access: &PartnerAccess) -> Option<MessagingWebhook> {
        let url = self.settings.messaging.url.as_ref()?;
        Some(MessagingWebhook {
            url: url.fill(id),
            headers: access.messaging_webhook_headers.clone(),
        })
    }

    /// Makes the messaging webhook of a channel due whose key is stored, unless the same is set or due already. What cannot
    /// be read now is left to the next sweep.
    pub(crate) async fn make_hook_due(&self, known: &mut Channel) -> Result<(), Error> {
        if self.settings.messaging.url.is_none() || known.is_cancelled() {
            return Ok(());
        }
        let id = known.id.clone();
        let access = match self.secrets.get(&id.partner).await {
            Ok(access) => access,
            Err(error) => {
                tracing::error!(%error, partner = %id.partner, "the partner secret failed");
                return Ok(());
            }
        };
        let key = self.mints.read(&id).await?.stored;
        let (Some(webhook), Some(key)) = (self.webhook(&id, &access), key) else {
            return Ok(());
        };
        let wanted = mark(&webhook.url, &webhook.headers, &name(&key));
        let hook = self.hooks.read(&id).await?;
        if hook.is_settled(&wanted) {
            return match hook.due_at {
                Some(_) => Ok(()),
                None => self.record_webhook(known, State::Set).await,
            };
        }
        // Before it is due: else it could be set, and told, in between.
        show_told(known, &hook);
        self.record_webhook(known, State::Waiting).await?;
        let told = known.messaging_webhook.as_ref();
        self.hooks.make_due(&id, &wanted, told, clock::now()).await
    }

    /// Makes the messaging webhook of a channel due whose key is stored. The key is told in any case: what fails here the
    /// next sweep does.
    pub(crate) async fn see_to_hook(&self, known: &mut Channel) {
        if let Err(error) = self.make_hook_due(known).await {
            let ChannelRef { partner, channel } = &known.id;
            tracing::error!(%error, %partner, %channel, "a messaging webhook is left to the next sweep");
        }
    }

    /// Makes the messaging webhook of a channel due if another one is set, or none; without the setting none is shown.
    pub(crate) async fn heal_hook(&self, known: &mut Channel) -> Result<(), Error> {
        match self.settings.messaging.url {
            Some(_) => self.make_hook_due(known).await,
            None => self.record_webhook(known, State::Off).await,
        }
    }

    /// Appends where the messaging webhook of a channel stands as a fact, unless the channel shows that.
    async fn record_webhook(&self, known: &mut Channel, state: State) -> Result<(), Error> {
        let shown = known.messaging_webhook.as_ref();
        if shown.map_or(State::Off, |shown| shown.value) == state {
            return Ok(());
        }
        // Later than what it replaces, even if the clocks of two workers differ.
        let after =
            shown.and_then(|shown| shown.at.checked_add(SignedDuration::from_millis(1)).ok());
        let at = after.map_or(clock::now(), |after| after.max(clock::now()));
        let assertion = Assertion {
            messaging_webhook: Some(state),
            ..Assertion::default()
        };
        let cause = at.as_millisecond().to_string();
        self.append_if_new(known, assertion, at, cause).await?;
        tracing::info!(partner = %known.id.partner, channel = %known.id.channel, ?state, "messaging webhook");
        Ok(())
    }

    /// The next messaging webhook that is due.
    pub(crate) async fn next_hook(
        &self,
        partner: &PartnerId,
        hooks: &mut HookLine,
    ) -> Result<Option<(ChannelRef, Hook)>, Error> {
        if self.settings.messaging.url.is_none() || hooks.is_over {
            return Ok(None);
        }
        let now = clock::now();
        while let Some(id) = hooks.fresh.pop() {
            if let Some(hook) = self.due_hook(&id, now).await? {
                return Ok(Some((id, hook)));
            }
        }
        let rows = i32::try_from(ROWS.saturating_add(hooks.passed.len())).unwrap_or(i32::MAX);
        for id in self.hooks.due(partner, now, rows).await? {
            if hooks.passed.contains(&id) {
                continue;
            }
            if let Some(hook) = self.due_hook(&id, now).await? {
                return Ok(Some((id, hook)));
            }
            hooks.passed.insert(id);
        }
        Ok(None)
    }

    async fn due_hook(&self, id: &ChannelRef, now: Timestamp) -> Result<Option<Hook>, Error> {
        match self.hooks.read(id).await {
            Ok(hook) => Ok(Some(hook).filter(|hook| hook.due_at.is_some_and(|at| at <= now))),
            Err(Error::Malformed(what)) => {
                let ChannelRef { partner, channel } = id;
                tracing::error!(%partner, %channel, what, "a messaging webhook is passed over");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Sets the messaging webhook of a channel, once. `until` ends the wait for the answer.
    async fn try_to_set(
        &self,
        known: &Channel,
        access: &PartnerAccess,
        until: Option<Timestamp>,
    ) -> Outcome {
        let id = &known.id;
        let webhook = self.webhook(id, access).filter(|_| !known.is_cancelled());
        let Some(webhook) = webhook else {
            return Outcome::NotWanted;
        };
        let key = match self.mints.read(id).await {
            Ok(mint) => mint.stored,
            Err(error) => return Outcome::Unclear(error.to_string(), Duration::ZERO),
        };
        let Some(key) = key else {
            return Outcome::NotWanted;
        };
        let Some(address) = &key.address else {
            let none = "360dialog gave no address with the key".to_owned();
            return Outcome::Refused(none, LONGEST_PAUSE);
        };
        // A key is not even opened for a foreign address.
        if let Err(why) = self.messaging.endpoint(address) {
            return Outcome::from(why);
        }
        let api_key = match self.open(id, &key).await {
            Ok(api_key) => api_key,
            // This one alone: the others may be opened.
            Err(error @ SealError::Malformed) => {
                return Outcome::Refused(error.to_string(), LONGEST_PAUSE);
            }
            Err(error) => return Outcome::Unclear(error.to_string(), Duration::ZERO),
        };
        let call = self.messaging.set_webhook(address, &api_key, &webhook);
        let time = until.map(|until| until.duration_since(clock::now()));
        let time = time.map_or(Duration::MAX, |time| time.try_into().unwrap_or_default());
        let answer = tokio::time::timeout(time, call).await;
        match answer.unwrap_or(Err(MessagingError::NotSet(ErrorKind::Silent))) {
            Ok(()) => Outcome::Set(mark(&webhook.url, &webhook.headers, &name(&key))),
            Err(why) => Outcome::from(why),
        }
    }
}

/// Shows what was told last: `fold` may not have joined it yet.
fn show_told(known: &mut Channel, hook: &Hook) {
    let shown = known.messaging_webhook.as_ref().map(|shown| shown.at);
    let told = hook.told.as_ref().filter(|told| shown < Some(told.at));
    if let Some(told) = told {
        known.messaging_webhook = Some(told.clone());
    }
}

impl Worker<'_> {
    /// Sets the messaging webhook of a channel, as it was read. `until`: by then the worker has something else to do.
    pub(crate) async fn set_webhook(
        &mut self,
        (id, mut hook): (ChannelRef, Hook),
        hooks: &mut HookLine,
        until: Option<Timestamp>,
    ) -> Result<(), Stopped> {
        hooks.passed.insert(id.clone());
        // Its lease lasts longer than the call.
        self.save().await?;
        let provision = self.provision;
        hook.take(&token::fresh(), clock::now());
        if provision.hooks.save(&id, &mut hook).await? == Write::Conflict {
            return Ok(());
        }
        let mut known = match provision.channels.read(&id).await {
            Ok(stored) => stored.channel,
            Err(Error::Malformed(what)) => {
                let ChannelRef { partner, channel } = &id;
                tracing::error!(%partner, %channel, what, "a channel is not in the form we write");
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        let outcome = provision.try_to_set(&known, &self.access, until).await;
        let now = clock::now();
        hooks.is_over |= matches!(outcome, Outcome::Unclear(..));
        let state = match outcome {
            Outcome::Set(mark) => {
                hook.set(&mark);
                State::Set
            }
            Outcome::NotWanted => {
                hook.end();
                State::Off
            }
            Outcome::Refused(words, least) => {
                hook.fail(words, least, now);
                State::Failed
            }
            Outcome::Unclear(words, least) => {
                hook.fail(words, least, now);
                match pause_after(hook.failures) {
                    LONGEST_PAUSE => State::Failed,
                    _ => State::Waiting,
                }
            }
        };
        // Told first: a run that ends here sets the same once more.
        show_told(&mut known, &hook);
        provision.record_webhook(&mut known, state).await?;
        hook.told.clone_from(&known.messaging_webhook);
        if provision.hooks.save(&id, &mut hook).await? == Write::Conflict {
            // Another run may have set another webhook before ours.
            provision.hooks.make_due_again(&id, now).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "hook_tests.rs"]
mod tests;
