//! Compares a stored key with 360dialog's list, once a day. A key that is missing twice, a day apart, is made again: one empty
//! answer of 360dialog in trouble must not replace the keys of a fleet.

use jiff::{SignedDuration, Timestamp};
use onboarding::fact::KeyReason;
use onboarding::intent::Intent;
use runtime::clock;

use crate::key::{Known, Missing, Outcome, Wanted};
use crate::mint::StoredKeyIs;
use crate::retry::RetryAt;
use crate::worker::{Stopped, Worker};

/// How long a key must have been missing before it counts as lost: two comparisons lie a day apart.
const MISSING_FOR: SignedDuration = SignedDuration::from_hours(23);

/// How many keys of a partner are made again in a day because they were lost.
pub(crate) const MOST_LOST: usize = 3;

/// Outcome of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compared {
    /// 360dialog lists the key, or nothing was learnt.
    Kept,
    /// It does not, for the first time since then (ms).
    Missing(Timestamp),
    /// It did not a day ago, either.
    Lost,
}

impl Worker<'_> {
    /// Compares the stored key with 360dialog's list; `None` if the lease was lost.
    pub(crate) async fn compare(&mut self, known: &mut Known) -> Result<Option<Outcome>, Stopped> {
        let open = known.mint.intent.clone();
        let Ok(listed) = self.read_keys(known).await? else {
            return Ok(Some(Outcome::silent(RetryAt::Compare, open)));
        };
        let since = known.mint.missing_since;
        let missing = match judge(known.stored_id(), &listed, since, clock::now()) {
            Compared::Kept => Missing::No,
            Compared::Missing(since) => Missing::Since(since),
            Compared::Lost => return self.replace_lost(known).await,
        };
        let outcome = Outcome::silent(RetryAt::Compare, open).understood();
        Ok(Some(outcome.with_missing(missing)))
    }

    /// Makes the key again, if it is wanted still.
    pub(crate) async fn replace_lost(
        &mut self,
        known: &mut Known,
    ) -> Result<Option<Outcome>, Stopped> {
        let (id, open) = (known.channel.id.clone(), known.mint.intent.clone());
        tracing::error!(partner = %id.partner, channel = %id.channel, "360dialog does not list the stored key any more");
        let switch = self.provision.settings.auto_provision;
        let wanted = Wanted::judge_unstored(&known.channel, self.access.billing, switch);
        match known.binding() {
            Some(binding) if wanted == Wanted::Yes => {
                self.mint(known, &binding, StoredKeyIs::Lost).await
            }
            // No other key may be made: what is stored stays so, and the next list may show it again.
            _ => Ok(Some(Outcome::silent(RetryAt::Compare, open))),
        }
    }
}

/// The outcome for a lost key while too many others are made again.
pub(crate) fn too_many_lost(open: Option<Intent>) -> Outcome {
    let outcome = Outcome::blocked(KeyReason::HubUnavailable, open);
    outcome.with_answer(format!(
        "the list of keys: {MOST_LOST} keys were lost within a day, and made again; this one is lost, too"
    ))
}

/// Judges a list. A key whose id is not known is missing only from an empty one.
fn judge(
    stored: Option<&str>,
    listed: &[String],
    since: Option<Timestamp>,
    now: Timestamp,
) -> Compared {
    let is_listed = match stored {
        Some(stored) => listed.iter().any(|id| id == stored),
        None => !listed.is_empty(),
    };
    match since {
        _ if is_listed => Compared::Kept,
        Some(since) if now.duration_since(since) >= MISSING_FOR => Compared::Lost,
        since => Compared::Missing(since.unwrap_or(now)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hour: i64) -> Timestamp {
        Timestamp::from_second(hour * 3600).unwrap()
    }

    #[test]
    fn a_key_is_lost_if_two_lists_a_day_apart_lack_it() {
        let judged = |listed: &[&str], since: Option<i64>, now| {
            let listed: Vec<String> = listed.iter().map(|id| (*id).to_owned()).collect();
            judge(Some("1"), &listed, since.map(at), at(now))
        };
        assert_eq!(judged(&["2", "1"], Some(0), 24), Compared::Kept);
        assert_eq!(judged(&[], None, 24), Compared::Missing(at(24)));
        assert_eq!(judged(&["2"], None, 24), Compared::Missing(at(24)));
        assert_eq!(judged(&[], Some(20), 24), Compared::Missing(at(20)));
        assert_eq!(judged(&[], Some(0), 24), Compared::Lost);
        assert_eq!(judged(&["2"], Some(0), 24), Compared::Lost);
    }

    #[test]
    fn a_key_without_an_id_is_missing_only_from_an_empty_list() {
        let now = at(24);
        assert_eq!(
            judge(None, &["2".to_owned()], Some(at(0)), now),
            Compared::Kept
        );
        assert_eq!(judge(None, &[], Some(at(0)), now), Compared::Lost);
    }
}
