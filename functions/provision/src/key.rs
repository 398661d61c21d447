//! The key of a channel: what is known, what to do about it, and when it is due next. Every decision is made under the
//! lease on the channel's key.

use dialog360::event::Permission;
use dialog360::id::ChannelRef;
use jiff::{SignedDuration, Timestamp};
use onboarding::channel::Channel;
use onboarding::fact::{Assertion, Binding, Fact, KeyReason, KeyState, KeyStatus, Source};
use onboarding::intent::Intent;
use onboarding::queue::{Due, Place, Stop, Task};
use onboarding::secret::Billing;
use onboarding::tenant::Tenant;
use runtime::clock;
use runtime::metric::{self, Metric};
use runtime::settings::Switch;
use runtime::token;
use store::{Error, LastAnswer, Leased, Mint, NextRun, Subject, Write};

use crate::Provision;
use crate::mint::StoredKeyIs;
use crate::retry::RetryAt;
use crate::worker::{NextTime, Stopped, Taken, Worker};

/// For how long it is believed that a channel belongs to a client.
const CLIENT_BELIEVED: SignedDuration = SignedDuration::from_hours(1);

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
        intent: Option<&Intent>,
    ) -> Self {
        if channel.is_cancelled() {
            return Self::Cancelled;
        }
        let wanted = Self::judge_unstored(channel, billing, auto_provision);
        match is_stored(channel) {
            // An open intent is one call's matter; else a key that is stored stays stored.
            true if intent.is_none() || wanted != Self::Yes => Self::Stored,
            _ => wanted,
        }
    }

    /// The same as if no key were stored.
    pub(crate) fn judge_unstored(
        channel: &Channel,
        billing: Billing,
        auto_provision: Switch,
    ) -> Self {
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

pub(crate) fn is_stored(channel: &Channel) -> bool {
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
        || old.is_fresh() != new.is_fresh()
}

/// Whether a permission that was taken back is there again.
pub(crate) fn is_granted_again(old: Option<&Channel>, new: &Channel) -> bool {
    let permission = old.and_then(|old| old.permission.as_ref());
    permission.is_some_and(|before| before.value == Permission::Revoked) && new.is_permitted()
}

/// Outcome of the work on a key.
pub(crate) struct Outcome {
    /// The verdict; `None` keeps the last one.
    pub(crate) verdict: Option<KeyState>,
    /// When to work on it again.
    pub(crate) retry_at: RetryAt,
    /// The intent that stays open.
    pub(crate) intent: Option<Intent>,
    /// 360dialog's answer.
    pub(crate) heard: Heard,
    /// Whether 360dialog lists the stored key.
    pub(crate) missing: Missing,
}

/// Whether 360dialog lists the stored key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    /// Nothing new was learnt.
    AsBefore,
    /// It does.
    No,
    /// It does not, for the first time since then (ms).
    Since(Timestamp),
}

/// 360dialog's answer, as far as an operator wants to know.
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
            missing: Missing::AsBefore,
        }
    }

    /// The key waits, for `reason`.
    pub(crate) fn waiting(reason: KeyReason, retry_at: RetryAt, intent: Option<Intent>) -> Self {
        Self::verdict(KeyStatus::Waiting, reason, retry_at, intent)
    }

    /// An operator must decide. It is asked again tomorrow all the same.
    pub(crate) fn blocked(reason: KeyReason, intent: Option<Intent>) -> Self {
        Self::verdict(KeyStatus::Blocked, reason, RetryAt::Tomorrow, intent)
    }

    /// The channel is dead.
    pub(crate) fn cancelled(intent: Option<Intent>) -> Self {
        let (status, reason) = (KeyStatus::None, KeyReason::Cancelled);
        Self::verdict(status, reason, RetryAt::OnChange, intent)
    }

    /// The same after something was learnt of the stored key.
    pub(crate) fn with_missing(self, missing: Missing) -> Self {
        Self { missing, ..self }
    }

    /// The same, but the verdict that there is stays.
    pub(crate) fn without_verdict(self) -> Self {
        Self {
            verdict: None,
            ..self
        }
    }

    /// No verdict; it is worked on again.
    pub(crate) fn silent(retry_at: RetryAt, intent: Option<Intent>) -> Self {
        Self {
            verdict: None,
            retry_at,
            intent,
            heard: Heard::Nothing,
            missing: Missing::AsBefore,
        }
    }

    /// The outcome for a channel whose key no call can bring nearer; `None` if one can.
    pub(crate) fn without_a_call(wanted: Wanted, intent: Option<Intent>) -> Option<Self> {
        Some(match wanted {
            Wanted::Stored => Self::silent(RetryAt::Compare, intent),
            Wanted::Cancelled => Self::cancelled(intent),
            Wanted::Waits(reason) => Self::waiting(reason, RetryAt::Tomorrow, intent),
            Wanted::Yes => return None,
        })
    }
}

/// A channel and its key's state, as they are known under the lease.
pub(crate) struct Known {
    pub(crate) channel: Channel,
    pub(crate) mint: Mint,
}

impl Worker<'_> {
    /// The calls that a subject needs; `None` if they are the usual ones.
    pub(crate) async fn calls_needed(&self, subject: &Subject) -> Result<Option<usize>, Stopped> {
        let Subject::Channel(id) = subject else {
            return Ok(None);
        };
        let provision = self.provision;
        let mint = provision.mints.read(id).await?;
        let channel = provision.read_current(id, &mint).await?;
        let known = Known { channel, mint };
        let reads_channel = known.binding().is_some_and(|it| known.doubts_client(&it));
        Ok(reads_channel.then(|| Task::Key.calls().saturating_add(1)))
    }

    /// Works on a channel's key: takes the lease, decides what to do, does it, and records the outcome.
    pub(crate) async fn do_key(
        &mut self,
        id: &ChannelRef,
        taken: &Taken,
    ) -> Result<NextTime, Stopped> {
        let provision = self.provision;
        let place = taken.entry.entry.due.and_then(Due::place);
        let token = token::fresh();
        let leased = provision.mints.lease(id, &token, clock::now()).await?;
        let mint = match leased {
            Leased::Ours(mint) => *mint,
            Leased::Taken(until) => {
                let failures = taken.entry.failures;
                let due = match self.compares() {
                    true => Some(Due::Comparison(until)),
                    false => RetryAt::Until(until).due(clock::now(), failures, place),
                };
                return Ok(NextTime { due, failures });
            }
        };
        let channel = provision.channels.read(id).await?.channel;
        let mut known = Known { channel, mint };
        provision.tell(&mut known).await?;
        let outcome = match self.decide(&mut known).await {
            Ok(Some(outcome)) => outcome,
            Ok(None) => {
                let ChannelRef { partner, channel } = id;
                tracing::warn!(%partner, %channel, "the lease was lost; its new holder continues");
                return Ok(NextTime {
                    due: taken.entry.entry.due,
                    failures: taken.entry.failures,
                });
            }
            Err(Stopped::NoTime) => Outcome::silent(RetryAt::Now, known.mint.intent.clone()),
            Err(stopped) => return Err(stopped),
        };
        let failures = taken.entry.failures;
        let stays = outcome.retry_at == RetryAt::Now && self.compares();
        let next = provision.finish(known, outcome, &token, failures, place);
        let next = next.await?;
        Ok(match stays {
            // In no other lane would it be compared.
            true => NextTime {
                due: taken.entry.entry.due,
                ..next
            },
            false => next,
        })
    }

    /// Decides what to do about the key, and does it; `None` if the lease was lost meanwhile.
    async fn decide(&mut self, known: &mut Known) -> Result<Option<Outcome>, Stopped> {
        let intent = known.mint.intent.clone();
        let switch = self.provision.settings.auto_provision;
        let wanted = Wanted::judge(&known.channel, self.access.billing, switch, intent.as_ref());
        if wanted == Wanted::Stored && known.mint.stored.is_some() && self.compares() {
            return self.compare(known).await;
        }
        if let Some(outcome) = Outcome::without_a_call(wanted, intent.clone()) {
            return Ok(Some(outcome));
        }
        let Some(binding) = known.binding() else {
            let unclaimed = KeyReason::Unclaimed;
            return Ok(Some(Outcome::waiting(unclaimed, RetryAt::Tomorrow, intent)));
        };
        match known.mint.not_before.filter(|then| *then > clock::now()) {
            Some(then) => Ok(Some(still_waiting(&known.channel, then, intent))),
            None if known.mint.missing_since.is_some() && intent.is_none() => {
                self.replace_lost(known).await
            }
            None => self.mint(known, &binding, StoredKeyIs::Kept).await,
        }
    }
}

impl Known {
    pub(crate) fn binding(&self) -> Option<Binding> {
        let binding = self.channel.binding.as_ref();
        binding.map(|binding| binding.value.clone())
    }

    /// 360dialog's id of the stored key, if there is one and it is known.
    pub(crate) fn stored_id(&self) -> Option<&str> {
        self.mint.stored.as_ref()?.key_id.as_deref()
    }

    /// The fact that a verdict is given now.
    pub(crate) fn verdict_fact(&self, verdict: KeyState, cause: &str) -> Fact {
        verdict_fact(&self.channel, verdict, cause)
    }

    /// Whether 360dialog must say once more that the channel belongs to the client of `binding`.
    pub(crate) fn doubts_client(&self, binding: &Binding) -> bool {
        let is_recent = |at: Timestamp| clock::now().duration_since(at) < CLIENT_BELIEVED;
        let said = self.channel.client.as_ref();
        let said = said.is_some_and(|said| said.value == binding.client && is_recent(said.at));
        let seen = self.mint.client_seen.as_ref();
        let seen = seen.is_some_and(|seen| seen.client == binding.client && is_recent(seen.at));
        let contradicts = self.channel.client.as_ref();
        let contradicts = contradicts.is_some_and(|said| said.value != binding.client);
        contradicts || !(said || seen)
    }
}

impl Provision {
    /// The tenant of a channel whose key a call can bring nearer. Otherwise records why none can, unless another worker
    /// is at it: then that one, or the next, does.
    pub(crate) async fn key_is_wanted(&self, id: &ChannelRef) -> Result<Option<Tenant>, Error> {
        let access = match self.secrets.get(&id.partner).await {
            Ok(access) => access,
            Err(error) => {
                tracing::error!(%error, partner = %id.partner, "the partner secret failed");
                // The worker reads it again.
                return Ok(self.channels.read(id).await?.channel.tenant().cloned());
            }
        };
        let switch = self.settings.auto_provision;
        let without_a_call = |channel: &Channel, mint: &Mint| {
            let intent = mint.intent.clone();
            match Wanted::judge(channel, access.billing, switch, intent.as_ref()) {
                Wanted::Yes => {
                    let then = mint.not_before.filter(|then| *then > clock::now());
                    then.map(|then| still_waiting(channel, then, intent))
                }
                wanted => Outcome::without_a_call(wanted, intent),
            }
        };
        let mint = self.mints.read(id).await?;
        let channel = self.read_current(id, &mint).await?;
        let is_refused = self.are_credentials_refused(id).await?;
        if without_a_call(&channel, &mint).is_none() && !is_refused {
            return Ok(channel.tenant().cloned());
        }
        let token = token::fresh();
        let Leased::Ours(mint) = self.mints.lease(id, &token, clock::now()).await? else {
            return Ok(channel.tenant().cloned());
        };
        let channel = self.read_current(id, &mint).await?;
        let tenant = channel.tenant().cloned();
        let (outcome, is_refused) = (
            without_a_call(&channel, &mint),
            is_refused && !is_stored(&channel),
        );
        let is_wanted = outcome.is_none();
        let keep = || {
            let intent = mint.intent.clone();
            match is_refused {
                true => Outcome::waiting(KeyReason::BadCredentials, RetryAt::OnChange, intent),
                false => Outcome::silent(RetryAt::OnChange, intent),
            }
        };
        let outcome = outcome.unwrap_or_else(keep);
        let known = Known {
            channel,
            mint: *mint.clone(),
        };
        let next = self.finish(known, outcome, &token, 0, None).await?;
        if is_wanted {
            return Ok(tenant);
        }
        if let Some(due) = next.due {
            let subject = Subject::Channel(id.clone());
            let now = clock::now();
            self.queue
                .make_due(&subject, due, tenant.as_ref(), now)
                .await?;
        }
        Ok(None)
    }

    /// Whether no call is made because 360dialog refuses the partner's credentials.
    async fn are_credentials_refused(&self, id: &ChannelRef) -> Result<bool, Error> {
        let work = self.works.inspect(&id.partner).await?.work;
        let stopped = work.circuit.stopped(clock::now());
        Ok(stopped.is_some_and(|(_, why)| why == Stop::BadCredentials))
    }

    /// Reads the channel, under the lease. A change after this read causes a record, and thus due work, of its own.
    async fn read_current(&self, channel: &ChannelRef, mint: &Mint) -> Result<Channel, Error> {
        let mut known = self.channels.read(channel).await?.channel;
        // `fold` may not have joined the last verdict yet.
        if let Some(verdict) = &mint.verdict
            && known.key.as_ref().is_none_or(|key| key.at < verdict.at)
        {
            known.key = Some(verdict.clone());
        }
        Ok(known)
    }

    /// Records the verdict, releases the lease, and says when the key is due next.
    async fn finish(
        &self,
        known: Known,
        outcome: Outcome,
        cause: &str,
        failures: u32,
        place: Option<Place>,
    ) -> Result<NextTime, Error> {
        let Known { mut channel, mint } = known;
        if let Some(verdict) = outcome.verdict.clone() {
            if verdict.status == KeyStatus::Stored {
                self.see_to_hook(&mut channel).await;
            }
            self.record_key_status(&mut channel, verdict, cause).await?;
        }
        let now = clock::now();
        let held = mint.not_before.filter(|then| *then > now);
        let failures = match outcome.retry_at {
            RetryAt::Later(_) | RetryAt::Unclear(_) => failures.saturating_add(1),
            RetryAt::OnChange | RetryAt::Tomorrow | RetryAt::Compare if held.is_none() => 0,
            _ => failures,
        };
        let due = outcome.retry_at.due(now, failures, place);
        let next = NextRun {
            not_before: match outcome.retry_at {
                RetryAt::Later(_) | RetryAt::Unclear(_) => due.and_then(Due::time),
                _ => held,
            },
            last_answer: match outcome.heard {
                Heard::Nothing => mint.last_answer.clone(),
                Heard::Understood => None,
                Heard::Refusal(text) => Some(LastAnswer { at: now, text }),
            },
            intent: outcome.intent,
            verdict: channel.key,
            missing_since: match outcome.missing {
                Missing::AsBefore => mint.missing_since,
                Missing::No => None,
                Missing::Since(since) => Some(since),
            },
        };
        let _released = self.mints.release(&mint, &next).await?;
        Ok(NextTime { due, failures })
    }

    /// Tells a verdict that is stored with the key, unless the channel shows it: `fold` may not have joined it yet, or the
    /// run that stored it was cut off.
    pub(crate) async fn tell(&self, known: &mut Known) -> Result<(), Error> {
        let Some(verdict) = known.mint.verdict.clone() else {
            return Ok(());
        };
        if known
            .channel
            .key
            .as_ref()
            .is_some_and(|key| key.at >= verdict.at)
        {
            return Ok(());
        }
        if verdict.value.status == KeyStatus::Stored {
            self.see_to_hook(&mut known.channel).await;
        }
        let cause = format!("told {}", verdict.fact.as_str());
        let assertion = Assertion {
            key: Some(verdict.value.clone()),
            ..Assertion::default()
        };
        let id = known.channel.id.clone();
        let fact = Fact::new(id, Source::Provision, assertion, verdict.at, cause);
        let is_new = self.facts.append(&fact).await?;
        known.channel.join(&fact);
        if is_new == Write::Done {
            announce(&known.channel.id, &verdict.value);
        }
        Ok(())
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
        let fact = verdict_fact(known, verdict.clone(), cause);
        // A fact that exists already has been joined, or will be.
        let _is_new = self.facts.append(&fact).await?;
        known.join(&fact);
        announce(&known.id, &verdict);
        Ok(())
    }
}

/// The fact that a verdict is given now: later than the last one, even if the clocks of two workers differ.
fn verdict_fact(known: &Channel, verdict: KeyState, cause: &str) -> Fact {
    let last = known.key.as_ref();
    let after = last.map(|key| key.at.saturating_add(SignedDuration::from_millis(1)));
    let after = after.and_then(Result::ok);
    let at = after.map_or(clock::now(), |after| after.max(clock::now()));
    let assertion = Assertion {
        key: Some(verdict),
        ..Assertion::default()
    };
    Fact::new(known.id.clone(), Source::Provision, assertion, at, cause)
}

/// Logs and counts a verdict.
fn announce(ChannelRef { partner, channel }: &ChannelRef, verdict: &KeyState) {
    let words = serde_json::json!([verdict.status, verdict.reason]);
    tracing::info!(%partner, %channel, %words, "key");
    if verdict.status == KeyStatus::Stored {
        Metric::KeysStored.count();
    }
    if verdict.status == KeyStatus::Blocked {
        let reason = serde_json::json!(verdict.reason);
        metric::key_blocked(reason.as_str().unwrap_or_default());
        tracing::error!(%partner, %channel, %words, "a key is blocked: an operator decides");
    }
}

/// The outcome while the wait after the last error is not over: a change does not make 360dialog answer sooner.
fn still_waiting(known: &Channel, then: Timestamp, intent: Option<Intent>) -> Outcome {
    if is_stored(known) {
        return Outcome::silent(RetryAt::Until(then), intent);
    }
    let reason = known.key.as_ref().and_then(|key| key.value.reason);
    let is_failure = matches!(
        reason,
        Some(
            KeyReason::HubUnavailable
                | KeyReason::VaultUnavailable
                | KeyReason::BadCredentials
                | KeyReason::NotRunning
        )
    );
    if is_failure {
        return Outcome::silent(RetryAt::Until(then), intent);
    }
    Outcome::waiting(KeyReason::HubUnavailable, RetryAt::Until(then), intent)
}

#[cfg(test)]
#[path = "key_tests.rs"]
mod tests;
