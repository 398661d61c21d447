//! Making the key, once. Creating a key revokes every other one and cannot be repeated blindly, so: list first,
//! write the intent, POST once, keep the key under a fence, and only then say so.

use std::time::Duration;

use dialog360::client::{ApiError, KeyOutcome, NewKey};
use dialog360::id::ChannelRef;
use jiff::SignedDuration;
use onboarding::channel::Channel;
use onboarding::fact::{Binding, KeyReason, KeyState, KeyStatus};
use onboarding::secret::PartnerAccess;
use runtime::clock;
use runtime::token;
use runtime::vault::{ChannelKey, Moved, Version, secret_name};
use store::{Error, Intent, Mint, Write};

use crate::key::Outcome;
use crate::retry::RetryAt;
use crate::{Provision, RunTime, count_refusal};

/// POSTs without a clear answer after which only an operator goes on.
const MOST_UNCLEAR_POSTS: u32 = 5;

/// How long after a POST without an answer an unknown key may be the one it made.
const LOST_ANSWER: SignedDuration = SignedDuration::from_hours(1);

/// What 360dialog lists before the POST.
enum Listed {
    /// The key in the vault is live.
    Ours,
    /// No key is live but, at most, one of our own whose answer was lost: `baseline` is what was there before.
    Clear { baseline: Vec<String> },
    /// Stop here.
    Stop(Outcome),
}

impl Provision {
    /// Makes the key of a channel that wants one; `None` when the lease was lost.
    pub(crate) async fn mint(
        &self,
        mint: &Mint,
        known: &mut Channel,
        binding: &Binding,
        access: &PartnerAccess,
        run_time: RunTime,
    ) -> Result<Option<Outcome>, Error> {
        let open = mint.intent.clone();
        let name = secret_name(&self.settings.channel_secret_prefix, &known.id);
        let current = match self.vault.current(&name, &token::fresh()).await {
            Ok(current) => current,
            Err(error) => {
                tracing::error!(%error, partner = %known.id.partner, channel = %known.id.channel, "the key vault failed");
                return Ok(Some(Outcome::silent(RetryAt::Later(None), open)));
            }
        };
        if !run_time.allows_a_call() {
            return Ok(Some(Outcome::silent(RetryAt::Now, open)));
        }
        let baseline = match self
            .list(known, binding, access, &current, open.as_ref(), run_time)
            .await
        {
            Listed::Ours => return Ok(Some(stored(current.key_id, name))),
            Listed::Clear { baseline } => baseline,
            Listed::Stop(outcome) => return Ok(Some(outcome)),
        };
        if !run_time.allows_a_call() {
            return Ok(Some(Outcome::silent(RetryAt::Now, open)));
        }
        let posts = open.as_ref().map_or(0, |intent| intent.posts);
        if posts >= MOST_UNCLEAR_POSTS {
            return Ok(Some(Outcome::blocked(KeyReason::HubUnavailable, open)));
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
        self.record_key_status(known, minting, &intent.attempt)
            .await?;
        // Last before the POST: an intent without one would count as a POST without an answer.
        if self.mints.intend(mint, &intent).await? == Write::Conflict {
            return Ok(None);
        }
        let client = self.api(&known.id.partner, access);
        match client.create_key(&known.id.channel).await {
            KeyOutcome::Created(key) => {
                self.keep(mint, known, binding, &current, intent, key).await
            }
            other => Ok(Some(after_post(known, &other, intent))),
        }
    }

    /// Reads the channel and its keys: may a key be made without revoking one that is in use?
    async fn list(
        &self,
        known: &Channel,
        binding: &Binding,
        access: &PartnerAccess,
        current: &Version,
        open: Option<&Intent>,
        run_time: RunTime,
    ) -> Listed {
        let intent = || open.cloned();
        let client = self.api(&known.id.partner, access);
        match client.channel(&known.id.channel).await {
            Ok(Some(listed)) if listed.client.as_ref() == Some(&binding.client) => {}
            Ok(Some(listed)) if listed.client.is_some() => {
                return Listed::Stop(Outcome::blocked(KeyReason::WrongClient, intent()));
            }
            // 360dialog that does not list a channel which its own events name is behind, not wrong.
            Ok(_) => {
                let why = ApiError::Unreadable("the channel is not listed");
                return Listed::Stop(not_read(known, &why, intent()));
            }
            Err(why) => return Listed::Stop(not_read(known, &why, intent())),
        }
        if !run_time.allows_a_call() {
            return Listed::Stop(Outcome::silent(RetryAt::Now, intent()));
        }
        match client.key_ids(&known.id.channel).await {
            Ok(ids) => judge(ids, current, open),
            Err(ApiError::NotPermitted) => Listed::Stop(Outcome::waiting(
                KeyReason::AwaitingPermission,
                RetryAt::Tomorrow,
                intent(),
            )),
            // The vault's key was made by this very attempt, which was cut before it could say so.
            Err(ApiError::NotFound) if open.is_some_and(|intent| intent.attempt == current.id) => {
                Listed::Ours
            }
            // Without a list only a channel that was made in our own session can have no key of somebody else's.
            Err(ApiError::NotFound)
                if known.is_fresh() && current.key_id.is_none() && open.is_none_or(is_recent) =>
            {
                Listed::Clear {
                    baseline: open
                        .map(|intent| intent.baseline.clone())
                        .unwrap_or_default(),
                }
            }
            Err(ApiError::NotFound) => {
                Listed::Stop(Outcome::blocked(KeyReason::KeysUnlisted, intent()))
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
    ) -> Result<Option<Outcome>, Error> {
        let name = secret_name(&self.settings.channel_secret_prefix, &known.id);
        let key_id = key.id.clone();
        let key = ChannelKey {
            api_key: key.api_key,
            key_id: key.id,
            address: key.address,
            channel: known.id.channel.clone(),
            client: binding.client.clone(),
            tenant: binding.tenant.clone(),
        };
        if let Err(error) = self.vault.put_attempt(&name, &intent.attempt, &key).await {
            tracing::error!(%error, partner = %known.id.partner, channel = %known.id.channel, "a new key could not be kept");
            return Ok(Some(Outcome::silent(RetryAt::Later(None), Some(intent))));
        }
        if self.mints.renew(mint, clock::now()).await? == Write::Conflict {
            return Ok(None);
        }
        match self
            .vault
            .make_current(&name, &intent.attempt, &current.id)
            .await
        {
            Ok(Moved::Done) => Ok(Some(stored(key_id, name))),
            Ok(Moved::Fenced) => Ok(Some(Outcome::silent(RetryAt::Now, Some(intent)))),
            Err(error) => {
                tracing::error!(%error, partner = %known.id.partner, channel = %known.id.channel, "a new key was not made current");
                Ok(Some(Outcome::silent(RetryAt::Now, Some(intent))))
            }
        }
    }
}

/// The key is in the vault and live; the intent is closed with it.
fn stored(key_id: Option<String>, name: String) -> Outcome {
    let verdict = KeyState {
        status: KeyStatus::Stored,
        reason: None,
        key_id,
        secret_name: Some(name),
    };
    Outcome {
        verdict: Some(verdict),
        retry_at: RetryAt::OnChange,
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
        _ => Listed::Stop(Outcome::blocked(KeyReason::ExistingKey, open.cloned())),
    }
}

fn may_be_ours(id: &String, intent: &Intent) -> bool {
    is_recent(intent) && !intent.baseline.contains(id)
}

fn is_recent(intent: &Intent) -> bool {
    clock::now().duration_since(intent.sent_at) < LOST_ANSWER
}

/// Trouble before the POST is retried for ever.
fn not_read(known: &Channel, why: &ApiError, intent: Option<Intent>) -> Outcome {
    let ChannelRef { partner, channel } = &known.id;
    tracing::warn!(%partner, %channel, %why, "the keys of a channel could not be read");
    count_refusal(why);
    let reason = match why {
        ApiError::BadCredentials => KeyReason::BadCredentials,
        _ => KeyReason::HubUnavailable,
    };
    Outcome::waiting(reason, RetryAt::after_trouble(why), intent)
}

/// Where a POST that brought no key leaves us: a clear refusal closes the intent, anything else leaves it open.
fn after_post(known: &Channel, answer: &KeyOutcome, intent: Intent) -> Outcome {
    let ChannelRef { partner, channel } = &known.id;
    match answer {
        KeyOutcome::NotPermitted => {
            Outcome::waiting(KeyReason::AwaitingPermission, RetryAt::Tomorrow, None)
        }
        KeyOutcome::NotReady => Outcome::waiting(KeyReason::NotRunning, RetryAt::Later(None), None),
        KeyOutcome::BadCredentials => {
            count_refusal(&ApiError::BadCredentials);
            Outcome::waiting(KeyReason::BadCredentials, RetryAt::Later(None), None)
        }
        KeyOutcome::UnknownChannel => Outcome::blocked(KeyReason::HubRefused, None),
        KeyOutcome::Refused(status) => {
            tracing::warn!(%partner, %channel, status, "360dialog refused to make a key");
            Outcome::blocked(KeyReason::HubRefused, None)
        }
        KeyOutcome::RateLimited(least) => {
            // "Later" is an answer: it does not count towards the POSTs without one.
            let intent = Intent {
                posts: intent.posts.saturating_sub(1),
                ..intent
            };
            Outcome::waiting(
                KeyReason::HubUnavailable,
                RetryAt::Later(least.or(Some(Duration::ZERO))),
                Some(intent),
            )
        }
        KeyOutcome::Unknown(_) | KeyOutcome::Created(_) if intent.posts >= MOST_UNCLEAR_POSTS => {
            tracing::error!(%partner, %channel, posts = intent.posts, "360dialog never answers clearly");
            Outcome::blocked(KeyReason::HubUnavailable, Some(intent))
        }
        KeyOutcome::Unknown(why) => {
            tracing::warn!(%partner, %channel, why, "360dialog did not say whether it made a key");
            Outcome::waiting(
                KeyReason::HubUnavailable,
                RetryAt::Later(None),
                Some(intent),
            )
        }
        KeyOutcome::Created(_) => Outcome::silent(RetryAt::Now, Some(intent)),
    }
}

#[cfg(test)]
#[path = "mint_tests.rs"]
mod tests;
