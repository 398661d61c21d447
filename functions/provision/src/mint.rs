//! Making the key, once. Creating a key revokes every other one and cannot be repeated blindly, so: look first,
//! write the intent, POST once, keep the key under a fence, and only then say so.

use std::time::Duration;

use jiff::SignedDuration;
use onboarding::channel::Channel;
use onboarding::fact::{Binding, KeyReason, KeyState, KeyStatus};
use onboarding::secret::HubAccess;
use platform::clock;
use platform::hub_api::{Minted, NewKey, NotRead};
use platform::store::{Error, Intent, Mint};
use platform::token;
use platform::vault::{ChannelKey, Moved, Version, secret_name};

use crate::look::End;
use crate::retry::Again;
use crate::{Provision, RunTime};

/// POSTs without a clear answer after which only an operator goes on.
const MOST_UNCLEAR_POSTS: u32 = 5;

/// How long after a POST without an answer an unknown key may be the one it made.
const LOST_ANSWER: SignedDuration = SignedDuration::from_hours(1);

/// What the hub says before the POST.
enum Listed {
    /// The key in the vault is live.
    Ours,
    /// No key is live but, at most, one of our own whose answer was lost: `baseline` is what was there before.
    Clear { baseline: Vec<String> },
    /// Stop here.
    Stop(End),
}

impl Provision {
    /// Makes the key of a channel that wants one; `None` when the lease was lost.
    pub(crate) async fn mint(
        &self,
        mint: &Mint,
        known: &mut Channel,
        binding: &Binding,
        access: &HubAccess,
        run_time: RunTime,
    ) -> Result<Option<End>, Error> {
        let open = mint.intent.clone();
        let name = secret_name(
            &self.settings.channel_secret_prefix,
            &known.partner,
            &known.id,
        );
        let current = match self.vault.current(&name, &token::fresh()).await {
            Ok(current) => current,
            Err(error) => {
                tracing::error!(%error, partner = %known.partner, channel = %known.id, "the key vault failed");
                return Ok(Some(End::silent(Again::Later(None), open)));
            }
        };
        if !run_time.allows_a_call() {
            return Ok(Some(End::silent(Again::Now, open)));
        }
        let baseline = match self
            .list(known, binding, access, &current, open.as_ref(), run_time)
            .await
        {
            Listed::Ours => return Ok(Some(stored(current.key_id, name))),
            Listed::Clear { baseline } => baseline,
            Listed::Stop(end) => return Ok(Some(end)),
        };
        if !run_time.allows_a_call() {
            return Ok(Some(End::silent(Again::Now, open)));
        }
        let posts = open.as_ref().map_or(0, |intent| intent.posts);
        if posts >= MOST_UNCLEAR_POSTS {
            return Ok(Some(End::blocked(KeyReason::HubUnavailable, open)));
        }
        let intent = Intent {
            attempt: token::fresh(),
            sent_at: clock::now(),
            baseline,
            posts: posts.saturating_add(1),
        };
        let minting = KeyState {
            status: KeyStatus::Minting,
            reason: None,
            key_id: None,
            secret_name: None,
        };
        self.pronounce(known, minting, &intent.attempt).await?;
        // Last before the POST: an intent without one would count as a POST without an answer.
        if !self.mints.intend(mint, &intent).await? {
            return Ok(None);
        }
        match self
            .hub
            .create_key(&known.partner, &access.credentials, &known.id)
            .await
        {
            Minted::Created(key) => self.keep(mint, known, binding, &current, intent, key).await,
            other => Ok(Some(outcome(known, &other, intent))),
        }
    }

    /// Reads the channel and its keys: may a key be made without revoking one that is in use?
    async fn list(
        &self,
        known: &Channel,
        binding: &Binding,
        access: &HubAccess,
        current: &Version,
        open: Option<&Intent>,
        run_time: RunTime,
    ) -> Listed {
        let intent = || open.cloned();
        let (partner, channel) = (&known.partner, &known.id);
        match self
            .hub
            .channel(partner, &access.credentials, channel)
            .await
        {
            Ok(Some(reading)) if reading.client != binding.client => {
                return Listed::Stop(End::blocked(KeyReason::WrongClient, intent()));
            }
            Ok(Some(_)) => {}
            // A hub that does not list a channel it told us about is behind, not wrong.
            Ok(None) => {
                return Listed::Stop(not_read(
                    known,
                    &NotRead::Unclear("the channel is not listed"),
                    intent(),
                ));
            }
            Err(why) => return Listed::Stop(not_read(known, &why, intent())),
        }
        if !run_time.allows_a_call() {
            return Listed::Stop(End::silent(Again::Now, intent()));
        }
        match self.hub.keys(partner, &access.credentials, channel).await {
            Ok(ids) => judge(ids, current, open),
            Err(NotRead::NotPermitted) => Listed::Stop(End::waiting(
                KeyReason::AwaitingPermission,
                Again::Tomorrow,
                intent(),
            )),
            // The vault's key was made by this very attempt, which was cut before it could say so.
            Err(NotRead::NoSuchThing)
                if open.is_some_and(|intent| intent.attempt == current.id) =>
            {
                Listed::Ours
            }
            // Without a list only a channel that was made in our own session can have no key of somebody else's.
            Err(NotRead::NoSuchThing)
                if known.is_fresh() && current.key_id.is_none() && open.is_none_or(is_recent) =>
            {
                Listed::Clear {
                    baseline: open
                        .map(|intent| intent.baseline.clone())
                        .unwrap_or_default(),
                }
            }
            Err(NotRead::NoSuchThing) => {
                Listed::Stop(End::blocked(KeyReason::KeysUnlisted, intent()))
            }
            Err(why) => Listed::Stop(not_read(known, &why, intent())),
        }
    }

    /// Keeps a new key: first beside the current one, then, if the lease still holds, as the current one.
    async fn keep(
        &self,
        mint: &Mint,
        known: &Channel,
        binding: &Binding,
        current: &Version,
        intent: Intent,
        key: NewKey,
    ) -> Result<Option<End>, Error> {
        let name = secret_name(
            &self.settings.channel_secret_prefix,
            &known.partner,
            &known.id,
        );
        let key_id = key.id.clone();
        let key = ChannelKey {
            api_key: key.api_key,
            key_id: key.id,
            address: key.address,
            channel: known.id.clone(),
            client: binding.client.clone(),
            tenant: binding.tenant.clone(),
        };
        if let Err(error) = self.vault.put_attempt(&name, &intent.attempt, &key).await {
            tracing::error!(%error, partner = %known.partner, channel = %known.id, "a new key could not be kept");
            return Ok(Some(End::silent(Again::Later(None), Some(intent))));
        }
        if !self.mints.renew(mint, clock::now()).await? {
            return Ok(None);
        }
        match self
            .vault
            .make_current(&name, &intent.attempt, &current.id)
            .await
        {
            Ok(Moved::Done) => Ok(Some(stored(key_id, name))),
            Ok(Moved::Fenced) => Ok(Some(End::silent(Again::Now, Some(intent)))),
            Err(error) => {
                tracing::error!(%error, partner = %known.partner, channel = %known.id, "a new key was not made current");
                Ok(Some(End::silent(Again::Now, Some(intent))))
            }
        }
    }
}

/// The key is in the vault and live; the intent is closed with it.
fn stored(key_id: Option<String>, name: String) -> End {
    let verdict = KeyState {
        status: KeyStatus::Stored,
        reason: None,
        key_id,
        secret_name: Some(name),
    };
    End {
        verdict: Some(verdict),
        again: Again::OnChange,
        intent: None,
    }
}

/// What a readable list of keys allows.
fn judge(ids: Vec<String>, current: &Version, open: Option<&Intent>) -> Listed {
    if current
        .key_id
        .as_ref()
        .is_some_and(|ours| ids.contains(ours))
    {
        return Listed::Ours;
    }
    match (ids.as_slice(), open) {
        // The baseline of an open intent stays, else an attempt cut twice would take its own lost key for another's.
        ([], Some(intent)) => Listed::Clear {
            baseline: intent.baseline.clone(),
        },
        ([], None) => Listed::Clear {
            baseline: Vec::new(),
        },
        ([one], Some(intent)) if may_be_ours(one, intent) => Listed::Clear {
            baseline: intent.baseline.clone(),
        },
        _ => Listed::Stop(End::blocked(KeyReason::ExistingKey, open.cloned())),
    }
}

fn may_be_ours(id: &String, intent: &Intent) -> bool {
    is_recent(intent) && !intent.baseline.contains(id)
}

fn is_recent(intent: &Intent) -> bool {
    clock::now().duration_since(intent.sent_at) < LOST_ANSWER
}

/// Trouble before the POST is retried for ever.
fn not_read(known: &Channel, why: &NotRead, intent: Option<Intent>) -> End {
    tracing::warn!(partner = %known.partner, channel = %known.id, %why, "the hub could not be read");
    match why {
        NotRead::BadCredentials => {
            End::waiting(KeyReason::BadCredentials, Again::Later(None), intent)
        }
        NotRead::Later(least) => {
            End::waiting(KeyReason::HubUnavailable, Again::Later(*least), intent)
        }
        _ => End::waiting(KeyReason::HubUnavailable, Again::Later(None), intent),
    }
}

/// Where a POST that brought no key leaves us: a clear refusal closes the intent, anything else leaves it open.
fn outcome(known: &Channel, minted: &Minted, intent: Intent) -> End {
    let (partner, channel) = (&known.partner, &known.id);
    match minted {
        Minted::NotPermitted => End::waiting(KeyReason::AwaitingPermission, Again::Tomorrow, None),
        Minted::NotReady => End::waiting(KeyReason::NotRunning, Again::Later(None), None),
        Minted::BadCredentials => End::waiting(KeyReason::BadCredentials, Again::Later(None), None),
        Minted::UnknownChannel => End::blocked(KeyReason::HubRefused, None),
        Minted::Refused(status) => {
            tracing::warn!(%partner, %channel, status, "the hub refused to make a key");
            End::blocked(KeyReason::HubRefused, None)
        }
        Minted::Later(least) => {
            // "Later" is an answer: it does not count towards the POSTs without one.
            let intent = Intent {
                posts: intent.posts.saturating_sub(1),
                ..intent
            };
            End::waiting(
                KeyReason::HubUnavailable,
                Again::Later(least.or(Some(Duration::ZERO))),
                Some(intent),
            )
        }
        Minted::Unknown(_) | Minted::Created(_) if intent.posts >= MOST_UNCLEAR_POSTS => {
            tracing::error!(%partner, %channel, posts = intent.posts, "the hub never answers clearly");
            End::blocked(KeyReason::HubUnavailable, Some(intent))
        }
        Minted::Unknown(why) => {
            tracing::warn!(%partner, %channel, why, "the hub did not say whether it made a key");
            End::waiting(KeyReason::HubUnavailable, Again::Later(None), Some(intent))
        }
        Minted::Created(_) => End::silent(Again::Now, Some(intent)),
    }
}

#[cfg(test)]
#[path = "mint_tests.rs"]
mod tests;
