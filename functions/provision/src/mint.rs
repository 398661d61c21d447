//! Makes the key, once. A new key revokes every other, so a POST cannot be repeated blindly. The steps are: list the
//! keys, store the intent, POST once, and store the key with its verdict (`keep`).

use std::time::Duration;

use dialog360::channel::ChannelObject;
use dialog360::client::{ApiError, ErrorKind, KeyAnswer, KeyOutcome};
use dialog360::id::ChannelRef;
use jiff::{SignedDuration, Timestamp};
use onboarding::channel::Channel;
use onboarding::fact::{Assertion, Binding, KeyReason, KeyState};
use onboarding::intent::{self, Intent, IsNew, Judgement, Keys};
use runtime::clock;
use runtime::token;
use store::Write;

use crate::compare::{MOST_LOST, too_many_lost};
use crate::keep::not_sealed;
use crate::key::{self, Known, Missing, Outcome};
use crate::retry::RetryAt;
use crate::worker::{Stopped, Worker};
use crate::{count_refusal, in_words};

/// After how many POSTs without a clear answer an operator must decide.
const MAX_UNCLEAR_POSTS: usize = 5;

/// How long after a POST without a clear answer the list of keys is read once more, although a key is stored.
const LATE_POST: SignedDuration = SignedDuration::from_mins(10);

/// How long a channel counts as new, in whose place nobody has looked for keys.
const NEW: SignedDuration = SignedDuration::from_hours(24);

/// Whether a key that is stored may be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StoredKeyIs {
    /// It counts as live, although a list is empty.
    Kept,
    /// Comparisons have shown that 360dialog does not list it any more.
    Lost,
}

/// Judgement of 360dialog's list of keys before the POST.
enum Listed {
    /// The stored key is live.
    Ours,
    /// No key is live, except perhaps `ours`, whose answers were lost. `baseline` has the keys before that.
    Clear {
        baseline: Option<Vec<String>>,
        ours: Vec<String>,
    },
    /// No key may be made now.
    Stop(Outcome),
}

impl Worker<'_> {
    /// Makes the key of a channel; `None` if the lease was lost.
    pub(crate) async fn mint(
        &mut self,
        known: &mut Known,
        binding: &Binding,
        stored_key: StoredKeyIs,
    ) -> Result<Option<Outcome>, Stopped> {
        let open = known.mint.intent.clone();
        let (provision, id) = (self.provision, known.channel.id.clone());
        let is_stored = key::is_stored(&known.channel) && stored_key == StoredKeyIs::Kept;
        let has_key = known.mint.stored.is_some() && stored_key == StoredKeyIs::Kept;
        if !provision.can_seal(&id).await {
            return Ok(Some(kept_if(is_stored, not_sealed(open))));
        }
        if let Some(stop) = self.check_client(known, binding).await? {
            return Ok(Some(kept_if(is_stored, stop)));
        }
        let (baseline, ours) = match self.list_keys(known).await? {
            Listed::Ours => return Ok(Some(stored(known.stored_id()))),
            // One empty list is no reason to replace a key that is stored: another one must show the same tomorrow.
            Listed::Clear { ours, .. } if has_key && ours.is_empty() => {
                let since = known.mint.missing_since.unwrap_or(clock::now());
                let outcome = stored(known.stored_id());
                return Ok(Some(outcome.with_missing(Missing::Since(since))));
            }
            Listed::Clear { baseline, ours } => (baseline, ours),
            Listed::Stop(outcome) => return Ok(Some(kept_if(is_stored, outcome))),
        };
        let posts = open.as_ref().map_or(0, Intent::unclear);
        if posts >= MAX_UNCLEAR_POSTS {
            let intent = open.map(|open| Intent { ours, ..open });
            return Ok(Some(Outcome::blocked(KeyReason::HubUnavailable, intent)));
        }
        let is_replaced = stored_key == StoredKeyIs::Lost && open.is_none();
        if is_replaced && !self.may_replace(MOST_LOST) {
            return Ok(Some(too_many_lost(open)));
        }
        let attempt = token::fresh();
        provision
            .record_key_status(&mut known.channel, KeyState::minting(), &attempt)
            .await?;
        // The login, and the wait for a free call, come before the intent, the call's time behind it: so neither does an
        // intent stay without a POST, nor is a POST later than its time says.
        if let Err(why) = self.log_in_if_needed(id.channel.as_str()).await? {
            return Ok(Some(not_read(&known.channel, "a login", &why, open)));
        }
        self.wait_for_a_call().await?;
        if is_replaced {
            self.count_replaced().await?;
        }
        let intent = Intent::next(open.as_ref(), attempt, baseline, ours, clock::now());
        if provision.mints.intend(&known.mint, Some(&intent)).await? == Write::Conflict {
            return Ok(None);
        }
        if let Err(stopped) = self.count_call().await {
            // Nothing was sent, so the intent before this one stays.
            let before = provision.mints.intend(&known.mint, open.as_ref());
            let _lost_lease = before.await?;
            return Err(stopped);
        }
        let mut answer = self.api().create_key(&id.channel).await;
        let mut tried = false;
        // A refused token makes no key, so this is still the one POST of the intent.
        if matches!(answer.outcome, KeyOutcome::BadCredentials)
            && self.tries_another_token(ErrorKind::BadCredentials, &mut tried)
            && let Ok(()) = self.prepare_call(id.channel.as_str()).await?
        {
            answer = self.api().create_key(&id.channel).await;
        }
        self.hear(heard(&answer.outcome), id.channel.as_str());
        match answer.outcome {
            KeyOutcome::Created(key) => self.keep(known, intent, key).await,
            // No POST was sent: the intent before this one stays.
            KeyOutcome::NotAsked(why) => Ok(Some(not_read(&known.channel, "a login", &why, open))),
            _ => Ok(Some(after_post(&known.channel, &answer, intent))),
        }
    }

    /// Reads the channel if it is long ago that 360dialog said whose it is. Returns why no key may be made.
    async fn check_client(
        &mut self,
        known: &mut Known,
        binding: &Binding,
    ) -> Result<Option<Outcome>, Stopped> {
        if !known.doubts_client(binding) {
            return Ok(None);
        }
        let (sent_at, open) = (clock::now(), known.mint.intent.clone());
        let channel = self.read_channel(&known.channel.id.clone()).await?;
        if let Ok(Some(listed)) = &channel {
            let cause = sent_at.as_millisecond().to_string();
            let assertion = Assertion::from(listed);
            self.provision
                .append_if_new(&mut known.channel, assertion, sent_at, cause)
                .await?;
            if listed.is_dead {
                return Ok(Some(Outcome::cancelled(open).understood()));
            }
        }
        Ok(judge_channel(
            &known.channel,
            binding,
            channel,
            open.as_ref(),
        ))
    }

    /// Reads the channel's keys, to find out whether a new key would revoke one that is in use.
    async fn list_keys(&mut self, known: &Known) -> Result<Listed, Stopped> {
        let keys = self.read_keys(known).await?;
        Ok(judge_keys(known, keys))
    }

    /// The ids of the channel's keys, as 360dialog lists them. Extends the lease.
    pub(crate) async fn read_keys(
        &mut self,
        known: &Known,
    ) -> Result<Result<Vec<String>, ApiError>, Stopped> {
        let channel = &known.channel;
        let about = channel.id.channel.as_str();
        let mut tried = false;
        let keys = loop {
            if let Err(why) = self.prepare_call(about).await? {
                return Ok(Err(why));
            }
            match self.api().key_ids(&channel.id.channel).await {
                Err(why) if self.tries_another_token(why.kind, &mut tried) => {}
                keys => break self.answer_to(about, keys),
            }
        };
        let renewed = self
            .provision
            .mints
            .renew(&known.mint, clock::now())
            .await?;
        if renewed == Write::Conflict {
            return Err(Stopped::LeaseLost);
        }
        Ok(keys)
    }
}

/// The meaning of the answer to a POST for the next calls.
fn heard(outcome: &KeyOutcome) -> onboarding::queue::Heard {
    use onboarding::queue::Heard;
    match outcome {
        KeyOutcome::RateLimited(wait) => Heard::RateLimited(*wait),
        KeyOutcome::BadCredentials => Heard::BadCredentials,
        KeyOutcome::Unknown("no answer") => Heard::Nothing,
        _ => Heard::Answer,
    }
}

/// The outcome if the stored key is live.
fn stored(key_id: Option<&str>) -> Outcome {
    Outcome {
        verdict: Some(KeyState::stored(key_id.map(str::to_owned))),
        missing: Missing::No,
        ..Outcome::silent(RetryAt::Compare, None).understood()
    }
}

/// When the list of keys is read again after a key was stored: older POSTs may make another one.
pub(crate) fn until_late_posts(open: Option<&Intent>) -> RetryAt {
    let last = open.and_then(|open| open.unanswered.last());
    let later = last.and_then(|post| post.at.saturating_add(LATE_POST).ok());
    later.map_or(RetryAt::Compare, RetryAt::Until)
}

/// An outcome before any POST: a key that is stored stays so.
fn kept_if(is_stored: bool, outcome: Outcome) -> Outcome {
    match is_stored {
        true => outcome.without_verdict(),
        false => outcome,
    }
}

/// Why no key may be made, judged by the channel alone.
fn judge_channel(
    known: &Channel,
    binding: &Binding,
    channel: Result<Option<ChannelObject>, ApiError>,
    open: Option<&Intent>,
) -> Option<Outcome> {
    let why = match channel {
        Ok(Some(listed)) if listed.client.as_ref() == Some(&binding.client) => return None,
        Ok(Some(listed)) if listed.client.is_some() => {
            let blocked = Outcome::blocked(KeyReason::WrongClient, open.cloned());
            return Some(blocked.understood());
        }
        // 360dialog has sent events about this channel, so a list without it is only late.
        Ok(_) => ErrorKind::Unreadable("the channel is not listed").into(),
        Err(why) => why,
    };
    Some(not_read(known, "the channel", &why, open.cloned()))
}

/// Judges the answer to a request for the list of keys.
fn judge_keys(known: &Known, keys: Result<Vec<String>, ApiError>) -> Listed {
    let (channel, open) = (&known.channel, known.mint.intent.as_ref());
    let question = "the list of keys";
    let (keys, why) = match keys {
        Ok(ids) => (Keys::Listed(ids), None),
        Err(why) if why.kind == ErrorKind::NotFound => (Keys::Unlisted, Some(why)),
        Err(why) if why.kind == ErrorKind::NotPermitted => {
            let reason = KeyReason::AwaitingPermission;
            let outcome = Outcome::waiting(reason, after_refusal(open), open.cloned());
            return Listed::Stop(outcome.with_answer(in_words(question, &why)));
        }
        Err(why) => return Listed::Stop(not_read(channel, question, &why, open.cloned())),
    };
    let now = clock::now();
    let reason = match intent::judge(&keys, known.stored_id(), open, is_new(known, now), now) {
        Judgement::Stored => return Listed::Ours,
        Judgement::Clear { baseline, ours } => return Listed::Clear { baseline, ours },
        Judgement::Foreign => KeyReason::ExistingKey,
        Judgement::Unknown => KeyReason::KeysUnlisted,
    };
    let blocked = Outcome::blocked(reason, open.cloned());
    Listed::Stop(match why {
        Some(why) => blocked.with_answer(in_words(question, &why)),
        None => blocked.understood(),
    })
}

/// Whether a channel was created in its own session within the last day, and nothing is stored.
fn is_new(known: &Known, now: Timestamp) -> IsNew {
    let created_at = known
        .mint
        .client_seen
        .as_ref()
        .and_then(|seen| seen.created_at);
    let is_young = created_at.is_some_and(|at| now.duration_since(at) < NEW);
    match is_young && known.channel.is_fresh() && known.mint.stored.is_none() {
        true => IsNew::Yes,
        false => IsNew::No,
    }
}

/// When a refusal is doubted: soon, while a POST may make a key yet.
fn after_refusal(open: Option<&Intent>) -> RetryAt {
    match open {
        Some(open) if !open.unanswered.is_empty() => RetryAt::Hourly,
        _ => RetryAt::Tomorrow,
    }
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

/// The outcome of a POST that brought no key. A clear refusal ends this POST and nothing older; any other answer leaves it
/// open.
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
    let unclear = intent.unclear();
    match outcome {
        KeyOutcome::NotPermitted => {
            let open = intent.refused();
            let retry_at = after_refusal(open.as_ref());
            Outcome::waiting(KeyReason::AwaitingPermission, retry_at, open)
        }
        KeyOutcome::NotReady => Outcome::waiting(
            KeyReason::NotRunning,
            RetryAt::Later(None),
            intent.refused(),
        ),
        KeyOutcome::BadCredentials => {
            count_refusal(&ErrorKind::BadCredentials.into());
            Outcome::waiting(
                KeyReason::BadCredentials,
                RetryAt::Later(None),
                intent.refused(),
            )
        }
        KeyOutcome::UnknownChannel => Outcome::blocked(KeyReason::HubRefused, intent.refused()),
        KeyOutcome::Refused(status) => {
            tracing::warn!(%partner, %channel, status, "360dialog refused to make a key");
            Outcome::blocked(KeyReason::HubRefused, intent.refused())
        }
        // Remembered, since it may have been done all the same, and not counted.
        KeyOutcome::RateLimited(least) => Outcome::waiting(
            KeyReason::HubUnavailable,
            RetryAt::Later(least.or(Some(Duration::ZERO))),
            Some(intent.rate_limited()),
        ),
        KeyOutcome::Unknown(_) | KeyOutcome::Created(_) if unclear >= MAX_UNCLEAR_POSTS => {
            tracing::error!(%partner, %channel, posts = unclear, "360dialog gave no clear answer to any POST");
            Outcome::blocked(KeyReason::HubUnavailable, Some(intent))
        }
        KeyOutcome::Unknown(why) => {
            tracing::warn!(%partner, %channel, why, "360dialog did not say whether it made a key");
            let retry_at = RetryAt::Unclear(unclear);
            Outcome::waiting(KeyReason::HubUnavailable, retry_at, Some(intent))
        }
        KeyOutcome::NotAsked(_) | KeyOutcome::Created(_) => {
            Outcome::silent(RetryAt::Now, Some(intent))
        }
    }
}

#[cfg(test)]
#[path = "mint_tests.rs"]
mod tests;
