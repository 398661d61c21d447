//! Joins facts into channels. The result depends on no clock, no call to 360dialog and no other item.

use std::collections::BTreeMap;

use dialog360::id::ChannelRef;
use onboarding::fact::Fact;
use runtime::clock;
use store::{Error, Write};
use tokio::time::{Duration, Instant};

use crate::Fold;
use crate::refold::next_refold;

/// How often a save is tried in a run if other workers save the channel at the same time.
const SAVE_ATTEMPTS: usize = 10;

/// The run time that must be left to begin a channel: a read, a due time and a save, 4 s each at most, and the events of the
/// batch.
const CHANNEL_TIME: Duration = Duration::from_secs(32);

/// The facts of a batch by channel, each with the index of its record in the batch.
#[derive(Default)]
pub(crate) struct NewFacts(BTreeMap<ChannelRef, Vec<(usize, Fact)>>);

impl Extend<(usize, Fact)> for NewFacts {
    fn extend<I: IntoIterator<Item = (usize, Fact)>>(&mut self, facts: I) {
        for (place, fact) in facts {
            let facts_of_channel = self.0.entry(fact.channel.clone()).or_default();
            facts_of_channel.push((place, fact));
        }
    }
}

/// Whose the channel is into which facts were joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Joined {
    /// It belongs to a tenant.
    ToBound,
    /// It belongs to nobody, or is not there.
    ToUnbound,
}

impl Fold {
    /// Joins facts into their channels, as long as there is time before `until`. Returns the indexes of the records to
    /// repeat. One channel that fails does not stop the others.
    pub(crate) async fn join(&self, facts: NewFacts, until: Instant) -> Vec<usize> {
        let mut failed = Vec::new();
        for (channel, facts) in facts.0 {
            let (places, facts): (Vec<usize>, Vec<Fact>) = facts.into_iter().unzip();
            if until.saturating_duration_since(Instant::now()) < CHANNEL_TIME {
                failed.extend(places.into_iter().min());
                continue;
            }
            let ChannelRef {
                partner,
                channel: id,
            } = &channel;
            match self.join_into(&channel, &facts).await {
                Ok(_) => {}
                Err(Error::Malformed(what)) => {
                    tracing::error!(%partner, channel = %id, what, "facts were skipped: the channel cannot be read");
                }
                Err(error) => {
                    tracing::error!(%error, %partner, channel = %id, "facts will be repeated");
                    failed.extend(places.into_iter().min());
                }
            }
        }
        failed
    }

    /// Joins facts into one channel, and saves it if that changes it. Without facts nothing is saved.
    pub(crate) async fn join_into(
        &self,
        channel: &ChannelRef,
        facts: &[Fact],
    ) -> Result<Joined, Error> {
        for _ in 0..SAVE_ATTEMPTS {
            let mut stored = self.channels.read(channel).await?;
            let before = stored.channel.clone();
            stored.channel.join_all(facts);
            let joined = match stored.channel.tenant() {
                Some(_) => Joined::ToBound,
                None => Joined::ToUnbound,
            };
            // A fact without content is saved once too, so that the channel exists and can be looked up.
            if stored.channel == before && (stored.exists() || facts.is_empty()) {
                return Ok(joined);
            }
            // First, so that no bound channel is without.
            if joined == Joined::ToBound && before.tenant().is_none() {
                let first = next_refold(channel, clock::now());
                self.refolds.begin(channel, first).await?;
            }
            if self.channels.save(&stored).await? == Write::Done {
                let ChannelRef { partner, channel } = channel;
                tracing::info!(%partner, %channel, facts = facts.len(), "folded");
                return Ok(joined);
            }
        }
        let why = "other workers keep saving the channel";
        Err(Error::Unavailable(why.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use onboarding::fact::{Assertion, Source};
    use runtime::aws::local;

    use super::*;
    use crate::Settings;

    /// I7
    #[tokio::test(start_paused = true)]
    async fn no_channel_is_begun_without_the_time_that_it_may_take() {
        // Nobody reaches the table, and retries take time.
        let table = local::table("http://127.0.0.1:1", "table");
        let settings = Settings {
            table_name: "table".to_owned(),
            bodies_table_name: "bodies".to_owned(),
            partner_ids: "aPA".parse().unwrap(),
        };
        let fold = Fold::new(settings, table.clone(), table, None);
        for (left, is_begun) in [(31, false), (33, true)] {
            let channel = ChannelRef::new("aPA".parse().unwrap(), "aCH".parse().unwrap());
            let mut facts = NewFacts::default();
            facts.extend([(
                7,
                Fact::new(
                    channel,
                    Source::Webhook,
                    Assertion::default(),
                    clock::now(),
                    "x",
                ),
            )]);
            let begun = Instant::now();
            assert_eq!(
                fold.join(facts, begun + Duration::from_secs(left)).await,
                [7]
            );
            assert_eq!(begun.elapsed() > Duration::ZERO, is_begun, "{left} s");
        }
    }
}
