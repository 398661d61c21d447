//! A look at a channel's key: is one wanted, why not yet, and when to look again. Every look is made under the
//! lease and ends in at most one verdict.

use jiff::Timestamp;
use onboarding::channel::Channel;
use onboarding::fact::{Binding, KeyReason, KeyState, KeyStatus, Said};
use onboarding::id::{ChannelId, PartnerId};
use onboarding::secret::{Billing, HubAccess};
use platform::clock;
use platform::hub_api::NotRead;
use platform::metric::{self, Metric};
use platform::settings::Switch;
use platform::store::{Asked, Error, Intent, Leased, Mint, NextLook};
use platform::token;

use crate::retry::Again;
use crate::{Provision, RunTime};

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
    pub(crate) fn of(
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
pub(crate) fn is_worth_a_look(old: Option<&Channel>, new: &Channel) -> bool {
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

/// What a look ends in.
pub(crate) struct End {
    /// The verdict; `None` leaves the last one.
    pub(crate) verdict: Option<KeyState>,
    /// When to look again.
    pub(crate) again: Again,
    /// The intent that stays open.
    pub(crate) intent: Option<Intent>,
}

impl End {
    /// A verdict without a key.
    pub(crate) fn verdict(
        status: KeyStatus,
        reason: KeyReason,
        again: Again,
        intent: Option<Intent>,
    ) -> Self {
        Self {
            verdict: Some(KeyState::without_key(status, reason)),
            again,
            intent,
        }
    }

    /// It waits for `reason`.
    pub(crate) fn waiting(reason: KeyReason, again: Again, intent: Option<Intent>) -> Self {
        Self::verdict(KeyStatus::Waiting, reason, again, intent)
    }

    /// Only an operator goes on; it is looked at tomorrow all the same.
    pub(crate) fn blocked(reason: KeyReason, intent: Option<Intent>) -> Self {
        Self::verdict(KeyStatus::Blocked, reason, Again::Tomorrow, intent)
    }

    /// Nothing is said; it is tried again.
    pub(crate) fn silent(again: Again, intent: Option<Intent>) -> Self {
        Self {
            verdict: None,
            again,
            intent,
        }
    }
}

impl Provision {
    /// Looks at a channel's key, under the lease; not if it is another worker's, which then looks again.
    pub(crate) async fn look(
        &self,
        partner: &PartnerId,
        channel: &ChannelId,
        asked: Asked,
        run_time: RunTime,
    ) -> Result<(), Error> {
        let token = token::fresh();
        let Leased::Ours(mint) = self
            .mints
            .lease((partner, channel), &token, asked, clock::now())
            .await?
        else {
            return Ok(());
        };
        // Read under the lease: what changes after this read makes a record of its own.
        let mut known = self.channels.read(partner, channel).await?.channel;
        // The last look's verdict may not be folded yet.
        if let Some(verdict) = &mint.verdict
            && known.key.as_ref().is_none_or(|key| key.at < verdict.at)
        {
            known.key = Some(verdict.clone());
        }
        let Some(end) = self.decide(&mint, &mut known, run_time).await? else {
            tracing::warn!(%partner, %channel, "the lease was lost; its new holder goes on");
            return Ok(());
        };
        if let Some(verdict) = end.verdict {
            self.pronounce(&mut known, verdict, &token).await?;
        }
        let now = clock::now();
        // A wait that trouble imposed outlasts whatever else was found meanwhile.
        let held = mint.not_before.filter(|then| *then > now);
        let tries = match end.again {
            Again::Later(_) => mint.tries.saturating_add(1),
            Again::Until(_) | Again::Now => mint.tries,
            Again::Tomorrow if held.is_some() => mint.tries,
            Again::OnChange | Again::Tomorrow => 0,
        };
        let due_at = end.again.at(now, tries);
        let not_before = if matches!(end.again, Again::Later(_)) {
            due_at
        } else {
            held
        };
        let next = NextLook {
            due_at,
            intent: end.intent,
            tries,
            not_before,
            verdict: known.key,
        };
        self.mints.release(&mint, &next, now).await
    }

    /// Says where the key stands, unless the channel says so already.
    pub(crate) async fn pronounce(
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
        self.tell(
            known,
            Said {
                key: Some(verdict),
                ..Said::default()
            },
            at,
            cause,
        )
        .await?;
        tracing::info!(partner = %known.partner, channel = %known.id, %words, "key");
        if status == KeyStatus::Stored {
            Metric::KeysStored.count();
        }
        if status == KeyStatus::Blocked {
            metric::key_blocked(serde_json::json!(reason).as_str().unwrap_or_default());
            tracing::error!(partner = %known.partner, channel = %known.id, %words, "a key is blocked: an operator decides");
        }
        Ok(())
    }

    /// Decides what to do about the key and does it; `None` when the lease was lost on the way.
    async fn decide(
        &self,
        mint: &Mint,
        known: &mut Channel,
        run_time: RunTime,
    ) -> Result<Option<End>, Error> {
        let intent = mint.intent.clone();
        let access = match self.secrets.of(&known.partner).await {
            Ok(access) => access,
            Err(error) => {
                tracing::error!(%error, partner = %known.partner, "the partner secret failed");
                return Ok(Some(End::silent(Again::Later(None), intent)));
            }
        };
        if known.binding.is_none() && !known.is_cancelled() {
            if let Some(again) = self.find_client(mint, known, &access, run_time).await? {
                return Ok(Some(End::waiting(KeyReason::Unclaimed, again, intent)));
            }
            if self.bind_late(known).await? {
                // The fact just appended makes a record of its own, and that one a look.
                return Ok(Some(End::silent(Again::Tomorrow, intent)));
            }
        }
        let wanted = Wanted::of(
            known,
            access.billing,
            self.settings.auto_provision,
            intent.is_some(),
        );
        let end = match (wanted, known.binding.clone()) {
            (Wanted::Stored, _) => End::silent(Again::OnChange, None),
            (Wanted::Cancelled, _) => End::verdict(
                KeyStatus::None,
                KeyReason::Cancelled,
                Again::OnChange,
                intent,
            ),
            (Wanted::Waits(reason), _) => End::waiting(reason, Again::Tomorrow, intent),
            (Wanted::Yes, None) => End::waiting(KeyReason::Unclaimed, Again::Tomorrow, intent),
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

    /// Asks the hub whose a channel is, if no webhook said so; answers when to ask again if it did not tell.
    async fn find_client(
        &self,
        mint: &Mint,
        known: &mut Channel,
        access: &HubAccess,
        run_time: RunTime,
    ) -> Result<Option<Again>, Error> {
        if known.client.is_some() {
            return Ok(None);
        }
        if let Some(then) = mint.not_before.filter(|then| *then > clock::now()) {
            return Ok(Some(Again::Until(then)));
        }
        if !run_time.allows_a_call() {
            return Ok(Some(Again::Now));
        }
        let sent_at = clock::now();
        match self
            .hub
            .channel(&known.partner, &access.credentials, &known.id)
            .await
        {
            Ok(Some(reading)) => {
                self.tell(
                    known,
                    reading.said,
                    sent_at,
                    sent_at.as_millisecond().to_string(),
                )
                .await?;
                Ok(None)
            }
            Ok(None) => Ok(None),
            Err(why) => {
                tracing::warn!(partner = %known.partner, channel = %known.id, %why, "the channel could not be read");
                Ok(Some(Again::Later(if let NotRead::Later(least) = why {
                    least
                } else {
                    None
                })))
            }
        }
    }

    /// Binds a channel that appeared after its client was bound; whether it did.
    async fn bind_late(&self, known: &mut Channel) -> Result<bool, Error> {
        let Some(client) = known.client.as_ref().map(|client| client.value.clone()) else {
            return Ok(false);
        };
        let Some(tenant) = self.clients.owner(&known.partner, &client).await? else {
            return Ok(false);
        };
        let binding = Binding {
            tenant,
            client,
            fresh: false,
        };
        let said = Said {
            binding: Some(binding),
            ..Said::default()
        };
        self.tell(known, said, clock::now(), "the client is bound")
            .await?;
        Ok(true)
    }
}

/// The wait after the last trouble is not over: a change does not make the hub answer sooner.
fn still_waiting(known: &Channel, then: Timestamp, intent: Option<Intent>) -> End {
    let reason = known.key.as_ref().and_then(|key| key.value.reason);
    let is_trouble = matches!(
        reason,
        Some(KeyReason::HubUnavailable | KeyReason::BadCredentials | KeyReason::NotRunning)
    );
    if is_trouble {
        return End::silent(Again::Until(then), intent);
    }
    End::waiting(KeyReason::HubUnavailable, Again::Until(then), intent)
}

#[cfg(test)]
#[path = "look_tests.rs"]
mod tests;
