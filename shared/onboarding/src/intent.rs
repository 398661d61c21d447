//! The intent to make a channel's key, and the judgement of a list of keys: which of them are ours, and whether another one
//! may be made, since a new key revokes every other.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// How long after a POST without a clear answer a key that appears counts as the one it made.
const LOST_ANSWER: SignedDuration = SignedDuration::from_hours(1);

/// A POST for a key whose outcome is not known: it may have made one, or make one yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Post {
    /// When it was about to be sent (ms).
    #[serde(with = "jiff::fmt::serde::timestamp::millisecond::required")]
    pub at: Timestamp,
    /// The answer, as far as it is known.
    pub answer: Answer,
}

/// An answer that does not tell whether a key was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// 429: probably none was made.
    RateLimited,
    /// None, or one that cannot be understood.
    Unclear,
}

/// The intent to make a key: written before a POST, and open until the outcome of every POST is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// The token of the last attempt.
    pub attempt: String,
    /// The ids of the keys that 360dialog listed before the first POST; `None` where it lists none: then no key that
    /// appears counts as ours.
    pub baseline: Option<Vec<String>>,
    /// The ids of keys that POSTs without a clear answer have made.
    #[serde(default)]
    pub ours: Vec<String>,
    /// The POSTs whose outcome is not known, the oldest first.
    #[serde(default)]
    pub unanswered: Vec<Post>,
}

impl Intent {
    /// The intent of a new attempt at `now`, which goes on with the open one.
    pub fn next(
        open: Option<&Self>,
        attempt: impl Into<String>,
        baseline: Option<Vec<String>>,
        ours: Vec<String>,
        now: Timestamp,
    ) -> Self {
        let mut unanswered = open.map_or_else(Vec::new, |open| open.unanswered.clone());
        unanswered.push(Post {
            at: now,
            answer: Answer::Unclear,
        });
        Self {
            attempt: attempt.into(),
            baseline,
            ours,
            unanswered,
        }
    }

    /// How many POSTs had no clear answer; a 429 is remembered, and not counted.
    pub fn unclear(&self) -> usize {
        let unclear = |post: &&Post| post.answer == Answer::Unclear;
        self.unanswered.iter().filter(unclear).count()
    }

    /// Whether a key that appears at `now` can be that of a POST without a clear answer.
    pub fn expects_a_key(&self, now: Timestamp) -> bool {
        let is_recent = |post: &Post| now.duration_since(post.at) < LOST_ANSWER;
        self.unanswered.iter().any(is_recent)
    }

    /// Whether such a POST is older than an hour: its key may be any that is there.
    pub fn is_stale(&self, now: Timestamp) -> bool {
        let is_old = |post: &Post| now.duration_since(post.at) >= LOST_ANSWER;
        self.unanswered.iter().any(is_old)
    }

    /// After a clear refusal of the last POST: that one is settled, and nothing older. `None` once nothing is left open.
    #[must_use]
    pub fn refused(mut self) -> Option<Self> {
        self.unanswered.pop();
        self.if_open()
    }

    /// After a 429 to the last POST.
    #[must_use]
    pub fn rate_limited(mut self) -> Self {
        if let Some(last) = self.unanswered.last_mut() {
            last.answer = Answer::RateLimited;
        }
        self
    }

    /// After the key of the last POST was stored: what is left open at `now`, for older POSTs may make a key yet.
    #[must_use]
    pub fn stored(mut self, now: Timestamp) -> Option<Self> {
        self.unanswered.pop();
        self.unanswered
            .retain(|post| now.duration_since(post.at) < LOST_ANSWER);
        self.if_open().filter(|open| !open.unanswered.is_empty())
    }

    /// After the last POST made the key `id`, which could not be stored: it may be replaced.
    #[must_use]
    pub fn made(mut self, id: String) -> Self {
        self.unanswered.pop();
        if !self.ours.contains(&id) {
            self.ours.push(id);
        }
        self
    }

    fn if_open(self) -> Option<Self> {
        (!self.unanswered.is_empty() || !self.ours.is_empty()).then_some(self)
    }
}

/// 360dialog's list of a channel's keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keys {
    /// These ids.
    Listed(Vec<String>),
    /// It lists no keys (404, 405).
    Unlisted,
}

/// Judgement of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// The stored key is live.
    Stored,
    /// No key is live but such as our own POSTs made, which are `ours`: another one may be made.
    Clear {
        /// The baseline of the next intent.
        baseline: Option<Vec<String>>,
        /// The keys that lost answers made.
        ours: Vec<String>,
    },
    /// Somebody else's key may be live.
    Foreign,
    /// Nobody knows which keys are live.
    Unknown,
}

/// Judges the list of a channel's keys at `now`. `stored` is the id of the stored key, which may be unknown; `is_new` says
/// that the channel was created in its own session within the last day, and that nothing is stored.
pub fn judge(
    keys: &Keys,
    stored: Option<&str>,
    open: Option<&Intent>,
    is_new: IsNew,
    now: Timestamp,
) -> Judgement {
    let ours = open.map_or_else(Vec::new, |open| open.ours.clone());
    let ids = match keys {
        Keys::Listed(ids) => ids,
        Keys::Unlisted if is_new == IsNew::No || open.is_some_and(|open| open.is_stale(now)) => {
            return Judgement::Unknown;
        }
        Keys::Unlisted => {
            return Judgement::Clear {
                baseline: None,
                ours,
            };
        }
    };
    if stored.is_some_and(|stored| ids.iter().any(|id| id == stored)) {
        return Judgement::Stored;
    }
    let baseline = match open {
        Some(open) => open.baseline.clone(),
        // The keys before the first POST of an intent: there is none, else this would not be clear.
        None => Some(Vec::new()),
    };
    let others: Vec<&String> = ids.iter().filter(|id| !ours.contains(id)).collect();
    match others.as_slice() {
        [] => Judgement::Clear { baseline, ours },
        [one] if open.is_some_and(|open| open.may_have_made(one, now)) => Judgement::Clear {
            ours: ours.into_iter().chain([(*one).clone()]).collect(),
            baseline,
        },
        _ => Judgement::Foreign,
    }
}

impl Intent {
    /// Whether a key that was not seen before is that of a POST without a clear answer.
    fn may_have_made(&self, id: &String, now: Timestamp) -> bool {
        let is_new = |baseline: &Vec<String>| !baseline.contains(id);
        self.expects_a_key(now) && self.baseline.as_ref().is_some_and(is_new)
    }
}

/// Whether a channel cannot have a key of somebody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IsNew {
    /// It was created in its own session within the last day, and nothing is stored.
    Yes,
    /// It may have one.
    No,
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 10_000;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn ids(ids: &[&str]) -> Vec<String> {
        ids.iter().map(|id| (*id).to_owned()).collect()
    }

    /// An intent with POSTs that were sent so many seconds ago.
    fn intent(ages: &[i64], baseline: &[&str], ours: &[&str]) -> Intent {
        let post = |age: &i64| Post {
            at: at(NOW - age),
            answer: Answer::Unclear,
        };
        Intent {
            attempt: "a".to_owned(),
            baseline: Some(ids(baseline)),
            ours: ids(ours),
            unanswered: ages.iter().map(post).collect(),
        }
    }

    fn judged(listed: &[&str], stored: Option<&str>, open: Option<&Intent>) -> Judgement {
        let keys = Keys::Listed(ids(listed));
        judge(&keys, stored, open, IsNew::No, at(NOW))
    }

    fn clear(ours: &[&str]) -> Judgement {
        Judgement::Clear {
            baseline: Some(Vec::new()),
            ours: ids(ours),
        }
    }

    #[test]
    fn a_key_is_made_where_none_is_live_and_never_beside_a_foreign_one() {
        assert_eq!(judged(&[], None, None), clear(&[]));
        assert_eq!(judged(&["1"], None, None), Judgement::Foreign);
        assert_eq!(judged(&["2"], Some("1"), None), Judgement::Foreign);
        assert_eq!(judged(&["1"], Some("1"), None), Judgement::Stored);
        assert_eq!(judged(&["2", "1"], Some("1"), None), Judgement::Stored);
    }

    #[test]
    fn the_one_key_that_appears_within_an_hour_of_a_lost_answer_is_ours_and_stays_so() {
        let lost = intent(&[60], &[], &[]);
        assert_eq!(judged(&["1"], None, Some(&lost)), clear(&["1"]));
        assert_eq!(judged(&["1", "2"], None, Some(&lost)), Judgement::Foreign);
        let hours_later = intent(&[9000], &[], &["1"]);
        assert_eq!(judged(&["1"], None, Some(&hours_later)), clear(&["1"]));
        assert_eq!(judged(&["2"], None, Some(&hours_later)), Judgement::Foreign);
        let nothing_seen = intent(&[9000], &[], &[]);
        assert_eq!(
            judged(&["1"], None, Some(&nothing_seen)),
            Judgement::Foreign
        );
    }

    #[test]
    fn a_key_of_before_or_beside_an_unknown_baseline_is_never_ours() {
        let lost = intent(&[60], &["1"], &[]);
        assert_eq!(judged(&["1"], None, Some(&lost)), Judgement::Foreign);
        let mut unlisted = intent(&[60], &[], &[]);
        unlisted.baseline = None;
        assert_eq!(judged(&["1"], None, Some(&unlisted)), Judgement::Foreign);
    }

    /// POST 1 made a key, and its answer was lost; POST 2 was refused.
    #[test]
    fn a_refusal_ends_its_own_post_and_nothing_older() {
        let first = intent(&[60], &[], &[]);
        let second = Intent::next(Some(&first), "b", Some(Vec::new()), Vec::new(), at(NOW));
        let open = second.refused().expect("the first is open");
        assert_eq!(judged(&["1"], None, Some(&open)), clear(&["1"]));
        assert_eq!(open.unanswered.len(), 1);
        let alone = Intent::next(None, "a", Some(Vec::new()), Vec::new(), at(NOW));
        assert_eq!(alone.refused(), None);
        let with_ours = Intent::next(None, "a", Some(Vec::new()), ids(&["1"]), at(NOW));
        assert_eq!(with_ours.refused().map(|open| open.ours), Some(ids(&["1"])));
    }

    #[test]
    fn a_429_is_remembered_and_not_counted() {
        let open = Intent::next(None, "a", Some(Vec::new()), Vec::new(), at(NOW)).rate_limited();
        assert_eq!((open.unclear(), open.unanswered.len()), (0, 1));
        assert_eq!(judged(&["1"], None, Some(&open)), clear(&["1"]));
        // The hour is that of its own POST: later ones do not make it longer.
        let old = intent(&[4000], &[], &[]).rate_limited();
        assert_eq!(judged(&["1"], None, Some(&old)), Judgement::Foreign);
    }

    #[test]
    fn older_posts_stay_open_for_their_hour_after_a_key_is_stored() {
        let open = Intent::next(
            Some(&intent(&[60], &[], &[])),
            "b",
            Some(Vec::new()),
            Vec::new(),
            at(NOW),
        );
        assert_eq!(
            open.stored(at(NOW)).map(|open| open.unanswered.len()),
            Some(1)
        );
        let late = Intent::next(
            Some(&intent(&[4000], &[], &[])),
            "b",
            Some(Vec::new()),
            Vec::new(),
            at(NOW),
        );
        assert_eq!(late.stored(at(NOW)), None);
        let alone = Intent::next(None, "a", Some(Vec::new()), ids(&["1"]), at(NOW));
        assert_eq!(
            alone.stored(at(NOW)),
            None,
            "its key has revoked the others"
        );
    }

    #[test]
    fn without_a_list_only_a_new_channel_gets_a_key_and_none_after_an_old_lost_answer() {
        let judged =
            |is_new, open: Option<&Intent>| judge(&Keys::Unlisted, None, open, is_new, at(NOW));
        let clear = Judgement::Clear {
            baseline: None,
            ours: Vec::new(),
        };
        assert_eq!(judged(IsNew::Yes, None), clear);
        assert_eq!(judged(IsNew::Yes, Some(&intent(&[60], &[], &[]))), clear);
        let stale = intent(&[4000, 60], &[], &[]);
        assert_eq!(judged(IsNew::Yes, Some(&stale)), Judgement::Unknown);
        assert_eq!(judged(IsNew::No, None), Judgement::Unknown);
    }
}
