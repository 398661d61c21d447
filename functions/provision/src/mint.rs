//! Makes the key, once. A new key revokes every other, so a POST cannot be repeated blindly. The steps are: list the
//! keys, store the intent, POST once, store the key behind the fence, and only then record it.

use std::time::Duration;

use dialog360::channel::ChannelObject;
use dialog360::client::{ApiError, ErrorKind, KeyAnswer, KeyOutcome, NewKey};
use dialog360::id::ChannelRef;
use jiff::SignedDuration;
use onboarding::channel::Channel;
use onboarding::fact::{Assertion, Binding, KeyReason, KeyState, KeyStatus};
use onboarding::secret::PartnerAccess;
use runtime::clock;
use runtime::token;
use runtime::vault::{ChannelKey, Moved, Version, secret_name};
use store::{Error, Intent, Mint, Write};

use crate::key::{Heard, Outcome};
use crate::retry::RetryAt;
use crate::{Provision, RunTime, count_refusal, in_words};

/// After how many POSTs without a clear answer an operator must decide.
const MAX_UNCLEAR_POSTS: u32 = 5;

/// How long after a POST without an answer an unknown key counts as the one it made.
const LOST_ANSWER: SignedDuration = SignedDuration::from_hours(1);

/// Judgement of 360dialog's list of keys before the POST.
enum Listed {
    /// The key in the vault is live.
    Ours,
    /// No key is live, except perhaps one of our own whose answer was lost. `baseline` has the keys before that.
    Clear { baseline: Vec<String> },
    /// No key may be made now.
    Stop(Outcome),
}

impl Provision {
    /// Makes the key of a channel; `None` if the lease was lost.
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
        self.log_in(&known.id.partner, access, run_time).await;
        if !run_time.allows_a_call() {
            return Ok(Some(Outcome::silent(RetryAt::Now, open)));
        }
        let listed = self
            .list(known, binding, access, &current, open.as_ref(), run_time)
            .await?;
        let baseline = match listed {
            Listed::Ours => return Ok(Some(stored(current.key_id, name))),
            Listed::Clear { baseline } => baseline,
            Listed::Stop(outcome) => return Ok(Some(outcome)),
        };
        if !run_time.allows_a_call() {
            return Ok(Some(Outcome::silent(RetryAt::Now, open)));
        }
        let posts = open.as_ref().map_or(0, |intent| intent.posts);
        if posts >= MAX_UNCLEAR_POSTS {
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
        // Directly before the POST: an intent without a POST counts as a POST without an answer.
        if self.mints.intend(mint, &intent).await? == Write::Conflict {
            return Ok(None);
        }
        let client = self.api(&known.id.partner, access);
        let answer = client.create_key(&known.id.channel).await;
        match answer.outcome {
            KeyOutcome::Created(key) => {
                self.keep(mint, known, binding, &current, intent, key).await
            }
            // No POST was sent: the intent before this one stays.
            KeyOutcome::NotAsked(why) => Ok(Some(not_read(known, "a login", &why, open))),
            _ => Ok(Some(after_post(known, &answer, intent))),
        }
    }

    /// Reads the channel and its keys, to find out whether a new key would revoke one that is in use.
    async fn list(
        &self,
        known: &mut Channel,
        binding: &Binding,
        access: &PartnerAccess,
        current: &Version,
        open: Option<&Intent>,
        run_time: RunTime,
    ) -> Result<Listed, Error> {
        let sent_at = clock::now();
        let channel = self.api(&known.id.partner, access);
        let channel = channel.channel(&known.id.channel).await;
        if let Ok(Some(listed)) = &channel
            && listed.is_dead
        {
            let cause = sent_at.as_millisecond().to_string();
            self.append_if_new(known, Assertion::from(listed), sent_at, cause)
                .await?;
            let cancelled = Outcome::cancelled(open.cloned());
            return Ok(Listed::Stop(cancelled.understood()));
        }
        if let Some(stop) = judge_channel(known, binding, channel, open) {
            return Ok(stop);
        }
        if !run_time.allows_a_call() {
            return Ok(Listed::Stop(Outcome::silent(RetryAt::Now, open.cloned())));
        }
        let keys = self.api(&known.id.partner, access);
        let keys = keys.key_ids(&known.id.channel).await;
        Ok(judge_keys(known, keys, current, open))
    }

    /// Stores a new key: first beside the current one, then, if the lease is still held, as the current one.
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
            tracing::error!(%error, partner = %known.id.partner, channel = %known.id.channel, "a new key could not be stored");
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

/// The outcome if the key in the vault is live; it closes the intent.
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
        heard: Heard::Understood,
    }
}

/// Why no key may be made, judged by the channel alone.
fn judge_channel(
    known: &Channel,
    binding: &Binding,
    channel: Result<Option<ChannelObject>, ApiError>,
    open: Option<&Intent>,
) -> Option<Listed> {
    let why = match channel {
        Ok(Some(listed)) if listed.client.as_ref() == Some(&binding.client) => return None,
        Ok(Some(listed)) if listed.client.is_some() => {
            let blocked = Outcome::blocked(KeyReason::WrongClient, open.cloned());
            return Some(Listed::Stop(blocked.understood()));
        }
        // 360dialog has sent events about this channel, so a list without it is only late.
        Ok(_) => ErrorKind::Unreadable("the channel is not listed").into(),
        Err(why) => why,
    };
    let outcome = not_read(known, "the channel", &why, open.cloned());
    Some(Listed::Stop(outcome))
}

/// Judges the answer to a request for the list of keys.
fn judge_keys(
    known: &Channel,
    keys: Result<Vec<String>, ApiError>,
    current: &Version,
    open: Option<&Intent>,
) -> Listed {
    let question = "the list of keys";
    let why = match keys {
        Ok(ids) => return judge(ids, current, open),
        Err(why) => why,
    };
    let outcome = match why.kind {
        ErrorKind::NotPermitted => {
            let reason = KeyReason::AwaitingPermission;
            Outcome::waiting(reason, RetryAt::Tomorrow, open.cloned())
        }
        // The key in the vault was made by this very attempt, which was cut off before it could record that.
        ErrorKind::NotFound if open.is_some_and(|intent| intent.attempt == current.id) => {
            return Listed::Ours;
        }
        // Without a list, only a channel that was created in our own session is sure to have no foreign key.
        ErrorKind::NotFound
            if known.is_fresh() && current.key_id.is_none() && open.is_none_or(is_recent) =>
        {
            let baseline = open.map(|intent| intent.baseline.clone());
            return Listed::Clear {
                baseline: baseline.unwrap_or_default(),
            };
        }
        ErrorKind::NotFound => Outcome::blocked(KeyReason::KeysUnlisted, open.cloned()),
        _ => return Listed::Stop(not_read(known, question, &why, open.cloned())),
    };
    Listed::Stop(outcome.with_answer(in_words(question, &why)))
}

/// Judges a list of keys.
fn judge(ids: Vec<String>, current: &Version, open: Option<&Intent>) -> Listed {
    if current
        .key_id
        .as_ref()
        .is_some_and(|ours| ids.contains(ours))
    {
        return Listed::Ours;
    }
    match (ids.as_slice(), open) {
        // The baseline of an open intent stays: else an attempt that is cut off twice would take its own lost key for a
        // foreign one.
        ([], Some(intent)) => Listed::Clear {
            baseline: intent.baseline.clone(),
        },
        ([], None) => Listed::Clear {
            baseline: Vec::new(),
        },
        ([one], Some(intent)) if may_be_ours(one, intent) => Listed::Clear {
            baseline: intent.baseline.clone(),
        },
        _ => {
            let blocked = Outcome::blocked(KeyReason::ExistingKey, open.cloned());
            Listed::Stop(blocked.understood())
        }
    }
}

fn may_be_ours(id: &String, intent: &Intent) -> bool {
    is_recent(intent) && !intent.baseline.contains(id)
}

fn is_recent(intent: &Intent) -> bool {
    clock::now().duration_since(intent.sent_at) < LOST_ANSWER
}

/// The outcome of a failed read before the POST. It is retried for ever.
fn not_read(known: &Channel, question: &str, why: &ApiError, intent: Option<Intent>) -> Outcome {
    let ChannelRef { partner, channel } = &known.id;
    tracing::warn!(%partner, %channel, %why, "the keys of a channel could not be read");
    count_refusal(why);
    let reason = match why.kind {
        ErrorKind::BadCredentials => KeyReason::BadCredentials,
        _ => KeyReason::HubUnavailable,
    };
    let waiting = Outcome::waiting(reason, RetryAt::after_error(why), intent);
    waiting.with_answer(in_words(question, why))
}

/// The outcome of a POST that brought no key. A clear refusal closes the intent, any other answer leaves it open.
fn after_post(known: &Channel, answer: &KeyAnswer, intent: Intent) -> Outcome {
    judge_post(known, &answer.outcome, intent).with_answer(post_in_words(answer))
}

/// The answer to a POST in words for an operator: a success without a key is told apart from silence.
fn post_in_words(answer: &KeyAnswer) -> String {
    let status = answer.status.map(|status| format!("status {status}"));
    let unclear = match &answer.outcome {
        KeyOutcome::Unknown(why) => Some((*why).to_owned()),
        _ => None,
    };
    let parts = [status, unclear, answer.message.clone()];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    format!("a new key: {}", parts.join(": "))
}

fn judge_post(known: &Channel, outcome: &KeyOutcome, intent: Intent) -> Outcome {
    let ChannelRef { partner, channel } = &known.id;
    match outcome {
        KeyOutcome::NotPermitted => {
            Outcome::waiting(KeyReason::AwaitingPermission, RetryAt::Tomorrow, None)
        }
        KeyOutcome::NotReady => Outcome::waiting(KeyReason::NotRunning, RetryAt::Later(None), None),
        KeyOutcome::BadCredentials => {
            count_refusal(&ErrorKind::BadCredentials.into());
            Outcome::waiting(KeyReason::BadCredentials, RetryAt::Later(None), None)
        }
        KeyOutcome::UnknownChannel => Outcome::blocked(KeyReason::HubRefused, None),
        KeyOutcome::Refused(status) => {
            tracing::warn!(%partner, %channel, status, "360dialog refused to make a key");
            Outcome::blocked(KeyReason::HubRefused, None)
        }
        KeyOutcome::RateLimited(least) => {
            // 429 is a clear answer, so this POST does not count as one without an answer.
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
        KeyOutcome::Unknown(_) | KeyOutcome::Created(_) if intent.posts >= MAX_UNCLEAR_POSTS => {
            tracing::error!(%partner, %channel, posts = intent.posts, "360dialog gave no clear answer to any POST");
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
        KeyOutcome::NotAsked(_) | KeyOutcome::Created(_) => {
            Outcome::silent(RetryAt::Now, Some(intent))
        }
    }
}

#[cfg(test)]
#[path = "mint_tests.rs"]
mod tests;
