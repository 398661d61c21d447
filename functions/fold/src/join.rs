//! Facts into channels. No clock, no call of 360dialog and no other item enters here.

use std::collections::BTreeMap;

use dialog360::id::ChannelRef;
use onboarding::fact::Fact;
use store::{Error, Write};

use crate::Fold;

/// How often a save that another worker outran is tried again before the batch comes again.
const TURNS: usize = 10;

/// How many channels of a batch may fail, 4 s each, before the rest is left for the next time.
const MOST_FAILURES: usize = 2;

/// The facts of a batch by channel, each with its place in the batch.
#[derive(Default)]
pub(crate) struct Facts(BTreeMap<ChannelRef, Vec<(usize, Fact)>>);

impl Extend<(usize, Fact)> for Facts {
    fn extend<I: IntoIterator<Item = (usize, Fact)>>(&mut self, facts: I) {
        for (place, fact) in facts {
            let of_channel = self.0.entry(fact.channel.clone()).or_default();
            of_channel.push((place, fact));
        }
    }
}

impl Fold {
    /// Joins facts into their channels; the places of those that must come again.
    pub(crate) async fn join(&self, facts: Facts) -> Vec<usize> {
        let mut failed = Vec::new();
        for (channel, facts) in facts.0 {
            let (places, facts): (Vec<usize>, Vec<Fact>) = facts.into_iter().unzip();
            // One channel in trouble is no trouble of the others; a table in trouble is everybody's.
            if failed.len() >= MOST_FAILURES {
                failed.extend(places.into_iter().min());
                continue;
            }
            let ChannelRef {
                partner,
                channel: id,
            } = &channel;
            match self.join_into(&channel, &facts).await {
                Ok(()) => {}
                Err(Error::Malformed(what)) => {
                    tracing::error!(%partner, channel = %id, what, "facts were passed: the channel cannot be read");
                }
                Err(error) => {
                    tracing::error!(%error, %partner, channel = %id, "facts come again");
                    failed.extend(places.into_iter().min());
                }
            }
        }
        failed
    }

    async fn join_into(&self, channel: &ChannelRef, facts: &[Fact]) -> Result<(), Error> {
        for _ in 0..TURNS {
            let mut stored = self.channels.read(channel).await?;
            let before = stored.channel.clone();
            stored.channel.join_all(facts);
            // A fact that says nothing still makes the channel known once, so that it can be asked about.
            if stored.channel == before && stored.exists() {
                return Ok(());
            }
            if self.channels.save(&stored).await? == Write::Done {
                let ChannelRef { partner, channel } = channel;
                tracing::info!(%partner, %channel, facts = facts.len(), "folded");
                return Ok(());
            }
        }
        let why = "the channel keeps changing under the fold";
        Err(Error::Unavailable(why.to_owned()))
    }
}
