//! Where a channel's key stands: is one wanted, why not yet, and when to run again. Every run holds the lease and ends in
//! at most one verdict.

use dialog360::id::ChannelRef;
use jiff::Timestamp;
use onboarding::channel::Channel;
use onboarding::fact::{Assertion, Binding, KeyReason, KeyState, KeyStatus};
use onboarding::secret::{Billing, PartnerAccess};
use runtime::clock;
use runtime::metric::{self, Metric};
use runtime::settings::Switch;
use runtime::token;
use store::{Error, Intent, Leased, Mint, NextRun, Trigger};

use crate::retry::RetryAt;
use crate::{Provision, RunTime, count_refusal};

/// Whether a key is wanted, by what is known of the channel alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// It is stored; nothing is to be done.
    Stored,
    /// The channel is gone.
    Cancelled,
    /// Not yet, and why.
    Waits(KeyReason),
    /// Yes.
    Yes,
}

impl Wanted {
    /// Judges `channel`; an open intent of ours makes a key wanted that would otherwise count as stored.
    pub(crate) fn judge(
        channel: &Channel,
        billing: Billing,
        auto_provision: Switch,
        has_intent: bool,
    ) -> Self {
        if channel.is_cancelled() {
            return Self::Cancelled;
        }
        if is_stored(channel) && !has_intent {
            return Self::Stored;
        }
        if channel.binding.is_none() {
            return Self::Waits(KeyReason::Unclaimed);
        }
        if !channel.is_running() {
            return Self::Waits(KeyReason::NotRunning);
        }
        if billing == Billing::DirectPaid && !channel.is_permitted() {
            return Self::Waits(KeyReason::AwaitingPermission);
        }
        match auto_provision {
            Switch::On => Self::Yes,
            Switch::Off => Self::Waits(KeyReason::SwitchedOff),
        }
    }
}

fn is_stored(channel: &Channel) -> bool {
    channel
        .key
        .as_ref()
        .is_some_and(|key| key.value.status == KeyStatus::Stored)
}

/// Whether a change of a channel can change what is to be done about its key.
pub(crate) fn is_relevant_change(old: Option<&Channel>, new: &Channel) -> bool {
    let Some(old) = old else { return true };
    let client = |channel: &Channel| channel.client.as_ref().map(|client| client.value.clone());
    let permission = |channel: &Channel| {
        channel
            .permission
            .as_ref()
            .map(|permission| permission.value)
    };
    let reached = |channel: &Channel| channel.reached.as_ref().map(|stage| stage.value);
    old.tenant() != new.tenant()
        || client(old) != client(new)
        || permission(old) != permission(new)
        || reached(old) != reached(new)
        || old.is_cancelled() != new.is_cancelled()
}

/// Outcome of a run.
pub(crate) struct Outcome {
    /// The verdict; `None` leaves the last one.
    pub(crate) verdict: Option<KeyState>,
    /// When to run again.
    pub(crate) retry_at: RetryAt,
    /// The intent that stays open.
    pub(crate) intent: Option<Intent>,
}

impl Outcome {
    /// A verdict without a key.
    pub(crate) fn verdict(
        status: KeyStatus,
        reason: KeyReason,
        retry_at: RetryAt,
        intent: Option<Intent>,
    ) -> Self {
        Self {
            verdict: Some(KeyState::without_key(status, reason)),
            retry_at,
            intent,
        }
    }

    /// It waits for `reason`.
    pub(crate) fn waiting(reason: KeyReason, retry_at: RetryAt, intent: Option<Intent>) -> Self {
        Self::verdict(KeyStatus::Waiting, reason, retry_at, intent)
    }

    /// Only an operator goes on; it runs again tomorrow all the same.
    pub(crate) fn blocked(reason: KeyReason, intent: Option<Intent>) -> Self {
        Self::verdict(KeyStatus::Blocked, reason, RetryAt::Tomorrow, intent)
    }

    /// Nothing is said; it is tried again.
    pub(crate) fn silent(retry_at: RetryAt, intent: Option<Intent>) -> Self {
        Self {
            verdict: None,
            retry_at,
            intent,
        }
    }
}

impl Provision {
    /// Compares what is known of a channel's key with what is wanted, and acts, under the lease; not if that is another
    /// worker's, which then runs again.
    pub(crate) async fn reconcile_key(
        &self,
        channel: &ChannelRef,
        trigger: Trigger,
        run_time: RunTime,
    ) -> Result<(), Error> {
        let token = token::fresh();
        let leased = self
            .mints
            .lease(channel, &token, trigger, clock::now())
            .await?;
        let Leased::Ours(mint) = leased else {
            return Ok(());
        };
        let mut known = self.read_current(channel, &mint).await?;
        let Some(outcome) = self.decide(&mint, &mut known, run_time).await? else {
            let ChannelRef { partner, channel } = channel;
            tracing::warn!(%partner, %channel, "the lease was lost; its new holder goes on");
            return Ok(());
        };
        let (retry_at, intent) = (outcome.retry_at, outcome.intent);
        if let Some(verdict) = outcome.verdict {
            self.record_key_status(&mut known, verdict, &token).await?;
        }
        let now = clock::now();
        let next = next_run(&mint, retry_at, intent, known, now);
        self.mints.release(&mint, &next, now).await
    }

    /// The channel, read under the lease: what changes after this read makes a record of its own.
    async fn read_current(&self, channel: &ChannelRef, mint: &Mint) -> Result<Channel, Error> {
        let mut known = self.channels.read(channel).await?.channel;
        // The last run's verdict may not be folded yet.
        if let Some(verdict) = &mint.verdict
            && known.key.as_ref().is_none_or(|key| key.at < verdict.at)
        {
            known.key = Some(verdict.clone());
        }
        Ok(known)
    }

    /// Records where the key stands, unless the channel shows it already.
    pub(crate) async fn record_key_status(
        &self,
        known: &mut Channel,
        verdict: KeyState,
        cause: &str,
    ) -> Result<(), Error> {
        if known.key.as_ref().is_some_and(|key| key.value == verdict) {
            return Ok(());
        }
        let (status, reason) = (verdict.status, verdict.reason);
        let words = serde_json::json!([verdict.status, verdict.reason]);
        // Under the lease this verdict is the newest, whatever the clocks of two workers say.
        let last = known
            .key
            .as_ref()
            .map(|key| key.at.saturating_add(jiff::SignedDuration::from_millis(1)));
        let at = last
            .and_then(Result::ok)
            .map_or(clock::now(), |after| after.max(clock::now()));
        self.append_if_new(
            known,
            Assertion {
                key: Some(verdict),
                ..Assertion::default()
            },
            at,
            cause,
        )
        .await?;
        tracing::info!(partner = %known.id.partner, channel = %known.id.channel, %words, "key");
        if status == KeyStatus::Stored {
            Metric::KeysStored.count();
        }
        if status == KeyStatus::Blocked {
            metric::key_blocked(serde_json::json!(reason).as_str().unwrap_or_default());
            tracing::error!(partner = %known.id.partner, channel = %known.id.channel, %words, "a key is blocked: an operator decides");
        }
        Ok(())
    }

    /// Decides what to do about the key and does it; `None` when the lease was lost on the way.
    async fn decide(
        &self,
        mint: &Mint,
        known: &mut Channel,
        run_time: RunTime,
    ) -> Result<Option<Outcome>, Error> {
        let intent = mint.intent.clone();
        let access = match self.secrets.get(&known.id.partner).await {
            Ok(access) => access,
            Err(error) => {
                tracing::error!(%error, partner = %known.id.partner, "the partner secret failed");
                return Ok(Some(Outcome::silent(RetryAt::Later(None), intent)));
            }
        };
        if known.binding.is_none() && !known.is_cancelled() {
            if let Some(retry_at) = self.read_client(mint, known, &access, run_time).await? {
                let outcome = Outcome::waiting(KeyReason::Unclaimed, retry_at, intent);
                return Ok(Some(outcome));
            }
            if self.bind_late(known).await? {
                // The fact just appended makes a record of its own, and that one a run.
                return Ok(Some(Outcome::silent(RetryAt::Tomorrow, intent)));
            }
        }
        let wanted = Wanted::judge(
            known,
            access.billing,
            self.settings.auto_provision,
            intent.is_some(),
        );
        let end = match (wanted, known.binding.clone()) {
            (Wanted::Stored, _) => Outcome::silent(RetryAt::OnChange, None),
            (Wanted::Cancelled, _) => Outcome::verdict(
                KeyStatus::None,
                KeyReason::Cancelled,
                RetryAt::OnChange,
                intent,
            ),
            (Wanted::Waits(reason), _) => Outcome::waiting(reason, RetryAt::Tomorrow, intent),
            (Wanted::Yes, None) => {
                Outcome::waiting(KeyReason::Unclaimed, RetryAt::Tomorrow, intent)
            }
            (Wanted::Yes, Some(binding)) => {
                match mint.not_before.filter(|then| *then > clock::now()) {
                    Some(then) => still_waiting(known, then, intent),
                    None => {
                        return self
                            .mint(mint, known, &binding.value, &access, run_time)
                            .await;
                    }
                }
            }
        };
        Ok(Some(end))
    }

    /// Asks 360dialog whose a channel is, if no webhook said so; answers when to ask again if that is not known now.
    async fn read_client(
        &self,
        mint: &Mint,
        known: &mut Channel,
        access: &PartnerAccess,
        run_time: RunTime,
    ) -> Result<Option<RetryAt>, Error> {
        if known.client.is_some() {
            return Ok(None);
        }
        if let Some(then) = mint.not_before.filter(|then| *then > clock::now()) {
            return Ok(Some(RetryAt::Until(then)));
        }
        if !run_time.allows_a_call() {
            return Ok(Some(RetryAt::Now));
        }
        let sent_at = clock::now();
        let ChannelRef { partner, channel } = known.id.clone();
        match self.api(&partner, access).channel(&channel).await {
            Ok(listed) => {
                // Without a client it tells nothing that is waited for.
                if let Some(listed) = listed.filter(|listed| listed.client.is_some()) {
                    let cause = sent_at.as_millisecond().to_string();
                    self.append_if_new(known, Assertion::from(&listed), sent_at, cause)
                        .await?;
                }
                Ok(None)
            }
            Err(why) => {
                count_refusal(&why);
                tracing::warn!(%partner, %channel, %why, "the channel could not be read");
                Ok(Some(RetryAt::after_trouble(&why)))
            }
        }
    }

    /// Binds a channel that appeared after its client was bound; whether it did.
    async fn bind_late(&self, known: &mut Channel) -> Result<bool, Error> {
        let Some(client) = known.client.as_ref().map(|client| client.value.clone()) else {
            return Ok(false);
        };
        let Some(tenant) = self.clients.owner(&known.id.partner, &client).await? else {
            return Ok(false);
        };
        let binding = Binding {
            tenant,
            client,
            fresh: false,
        };
        let said = Assertion {
            binding: Some(binding),
            ..Assertion::default()
        };
        self.append_if_new(known, said, clock::now(), "the client is bound")
            .await?;
        Ok(true)
    }
}

/// What the run leaves behind. A wait that trouble imposed outlasts whatever else was found meanwhile.
fn next_run(
    mint: &Mint,
    retry_at: RetryAt,
    intent: Option<Intent>,
    known: Channel,
    now: Timestamp,
) -> NextRun {
    let held = mint.not_before.filter(|then| *then > now);
    let tries = match retry_at {
        RetryAt::Later(_) => mint.tries.saturating_add(1),
        RetryAt::Until(_) | RetryAt::Now => mint.tries,
        RetryAt::Tomorrow if held.is_some() => mint.tries,
        RetryAt::OnChange | RetryAt::Tomorrow => 0,
    };
    let due_at = retry_at.time(now, tries);
    NextRun {
        due_at,
        intent,
        tries,
        not_before: match retry_at {
            RetryAt::Later(_) => due_at,
            _ => held,
        },
        verdict: known.key,
    }
}

/// The wait after the last trouble is not over: a change does not make 360dialog answer sooner.
fn still_waiting(known: &Channel, then: Timestamp, intent: Option<Intent>) -> Outcome {
    let reason = known.key.as_ref().and_then(|key| key.value.reason);
    let is_trouble = matches!(
        reason,
        Some(KeyReason::HubUnavailable | KeyReason::BadCredentials | KeyReason::NotRunning)
    );
    if is_trouble {
        return Outcome::silent(RetryAt::Until(then), intent);
    }
    Outcome::waiting(KeyReason::HubUnavailable, RetryAt::Until(then), intent)
}

#[cfg(test)]
#[path = "key_tests.rs"]
mod tests;
