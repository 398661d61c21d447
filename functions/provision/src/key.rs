//! Reconciles a channel's key: decides whether one is wanted, acts, and sets when to run again. Every run holds the
//! lease and records at most one verdict.

use dialog360::channel::ChannelObject;
use dialog360::id::ChannelRef;
use jiff::Timestamp;
use onboarding::channel::Channel;
use onboarding::fact::{Assertion, Binding, KeyReason, KeyState, KeyStatus};
use onboarding::secret::{Billing, PartnerAccess};
use runtime::clock;
use runtime::metric::{self, Metric};
use runtime::settings::Switch;
use runtime::token;
use store::{Error, Intent, LastAnswer, Leased, Mint, NextRun, Trigger};

use crate::retry::RetryAt;
use crate::{Provision, RunTime, count_refusal, in_words};

/// Whether a key is wanted, judged by the channel alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// It is stored; there is nothing to do.
    Stored,
    /// The channel was cancelled.
    Cancelled,
    /// Not yet, for this reason.
    Waits(KeyReason),
    /// Yes.
    Yes,
}

impl Wanted {
    /// Judges `channel`. With an open intent a key is wanted even if one counts as stored.
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

/// Whether a change of a channel can affect its key.
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
    /// The verdict; `None` keeps the last one.
    pub(crate) verdict: Option<KeyState>,
    /// When to run again.
    pub(crate) retry_at: RetryAt,
    /// The intent that stays open.
    pub(crate) intent: Option<Intent>,
    /// 360dialog's answer.
    pub(crate) heard: Heard,
}

/// 360dialog's answer in a run, as far as an operator wants to know.
pub(crate) enum Heard {
    /// It was not asked, or nothing new came of it.
    Nothing,
    /// Every answer was understood: what it said before is over.
    Understood,
    /// This, in words, instead of what was wanted.
    Refusal(String),
}

impl Outcome {
    /// The same with 360dialog's answer.
    pub(crate) fn with_answer(self, answer: String) -> Self {
        let heard = Heard::Refusal(answer);
        Self { heard, ..self }
    }

    /// The same after answers that were all understood.
    pub(crate) fn understood(self) -> Self {
        let heard = Heard::Understood;
        Self { heard, ..self }
    }

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
            heard: Heard::Nothing,
        }
    }

    /// The key waits, for `reason`.
    pub(crate) fn waiting(reason: KeyReason, retry_at: RetryAt, intent: Option<Intent>) -> Self {
        Self::verdict(KeyStatus::Waiting, reason, retry_at, intent)
    }

    /// An operator must decide. It runs again tomorrow all the same.
    pub(crate) fn blocked(reason: KeyReason, intent: Option<Intent>) -> Self {
        Self::verdict(KeyStatus::Blocked, reason, RetryAt::Tomorrow, intent)
    }

    /// The channel is dead.
    pub(crate) fn cancelled(intent: Option<Intent>) -> Self {
        let (status, reason) = (KeyStatus::None, KeyReason::Cancelled);
        Self::verdict(status, reason, RetryAt::OnChange, intent)
    }

    /// No verdict; it runs again.
    pub(crate) fn silent(retry_at: RetryAt, intent: Option<Intent>) -> Self {
        Self {
            verdict: None,
            retry_at,
            intent,
            heard: Heard::Nothing,
        }
    }
}

impl Provision {
    /// Takes the lease, decides what to do about a channel's key, and does it. If another worker holds the lease, that
    /// one runs again instead.
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
            tracing::warn!(%partner, %channel, "the lease was lost; its new holder continues");
            return Ok(());
        };
        if let Some(verdict) = outcome.verdict.clone() {
            self.record_key_status(&mut known, verdict, &token).await?;
        }
        let now = clock::now();
        let next = next_run(&mint, outcome, known, now);
        self.mints.release(&mint, &next, now).await
    }

    /// Reads the channel, under the lease. A change after this read causes a record, and thus a run, of its own.
    async fn read_current(&self, channel: &ChannelRef, mint: &Mint) -> Result<Channel, Error> {
        let mut known = self.channels.read(channel).await?.channel;
        // `fold` may not have joined the last run's verdict yet.
        if let Some(verdict) = &mint.verdict
            && known.key.as_ref().is_none_or(|key| key.at < verdict.at)
        {
            known.key = Some(verdict.clone());
        }
        Ok(known)
    }

    /// Appends a verdict as a fact, unless it is the one the channel has already.
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
        // Its time must be later than that of the last verdict, even if the clocks of two workers differ.
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

    /// Decides what to do about the key, and does it; `None` if the lease was lost meanwhile.
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
            if let Some(not_read) = self.read_client(mint, known, &access, run_time).await? {
                let outcome = Outcome::waiting(KeyReason::Unclaimed, not_read.retry_at, intent);
                let heard = not_read.heard;
                return Ok(Some(Outcome { heard, ..outcome }));
            }
            if self.bind_late(known).await? {
                // The fact just appended changes the channel, which causes the next run.
                return Ok(Some(Outcome::silent(RetryAt::Tomorrow, intent)));
            }
        }
        let wanted = Wanted::judge(
            known,
            access.billing,
            self.settings.auto_provision,
            intent.is_some(),
        );
        let outcome = match (wanted, known.binding.clone()) {
            (Wanted::Stored, _) => Outcome::silent(RetryAt::OnChange, None),
            (Wanted::Cancelled, _) => Outcome::cancelled(intent),
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
        Ok(Some(outcome))
    }

    /// Reads from 360dialog to which client a channel belongs, unless a webhook said so. Returns when to retry, without
    /// a verdict, if that fails.
    async fn read_client(
        &self,
        mint: &Mint,
        known: &mut Channel,
        access: &PartnerAccess,
        run_time: RunTime,
    ) -> Result<Option<Outcome>, Error> {
        let retry = |retry_at| Ok(Some(Outcome::silent(retry_at, None)));
        if known.client.is_some() {
            return Ok(None);
        }
        if let Some(then) = mint.not_before.filter(|then| *then > clock::now()) {
            return retry(RetryAt::Until(then));
        }
        self.log_in(&known.id.partner, access, run_time).await;
        if !run_time.allows_a_call() {
            return retry(RetryAt::Now);
        }
        let sent_at = clock::now();
        let ChannelRef { partner, channel } = known.id.clone();
        match self.api(&partner, access).channel(&channel).await {
            Ok(listed) => {
                // Only the client is needed, or that the channel is dead: any other object adds nothing.
                let adds = |listed: &ChannelObject| listed.client.is_some() || listed.is_dead;
                if let Some(listed) = listed.filter(adds) {
                    let cause = sent_at.as_millisecond().to_string();
                    self.append_if_new(known, Assertion::from(&listed), sent_at, cause)
                        .await?;
                }
                Ok(None)
            }
            Err(why) => {
                count_refusal(&why);
                tracing::warn!(%partner, %channel, %why, "the channel could not be read");
                let outcome = Outcome::silent(RetryAt::after_error(&why), None);
                Ok(Some(outcome.with_answer(in_words("the channel", &why))))
            }
        }
    }

    /// Binds a channel that appeared after its client was bound; `false` if the client has no owner.
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
        let assertion = Assertion {
            binding: Some(binding),
            ..Assertion::default()
        };
        self.append_if_new(known, assertion, clock::now(), "the client is bound")
            .await?;
        Ok(true)
    }
}

/// The state to store at the end of a run. A wait after an error continues, whatever the run has found.
fn next_run(mint: &Mint, outcome: Outcome, known: Channel, now: Timestamp) -> NextRun {
    let retry_at = outcome.retry_at;
    let last_answer = match outcome.heard {
        Heard::Nothing => mint.last_answer.clone(),
        Heard::Understood => None,
        Heard::Refusal(text) => Some(LastAnswer { at: now, text }),
    };
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
        intent: outcome.intent,
        tries,
        not_before: match retry_at {
            RetryAt::Later(_) => due_at,
            _ => held,
        },
        last_answer,
        verdict: known.key,
    }
}

/// The outcome while the wait after the last error is not over: a change does not make 360dialog answer sooner.
fn still_waiting(known: &Channel, then: Timestamp, intent: Option<Intent>) -> Outcome {
    let reason = known.key.as_ref().and_then(|key| key.value.reason);
    let is_failure = matches!(
        reason,
        Some(KeyReason::HubUnavailable | KeyReason::BadCredentials | KeyReason::NotRunning)
    );
    if is_failure {
        return Outcome::silent(RetryAt::Until(then), intent);
    }
    Outcome::waiting(KeyReason::HubUnavailable, RetryAt::Until(then), intent)
}

#[cfg(test)]
#[path = "key_tests.rs"]
mod tests;
