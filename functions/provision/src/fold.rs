//! Facts into channels. No clock, no hub and no other item enters here.

use std::collections::BTreeMap;

use onboarding::fact::Fact;
use onboarding::id::{ChannelId, PartnerId};
use platform::store::{Error, Saved, StoredFact};
use platform::stream::{Record, StoppedBefore};
use platform::table::prefix;

use crate::{Provision, dead};

/// How often a save that another worker outran is tried again before the batch comes again.
const TURNS: usize = 10;

impl Provision {
    pub(crate) async fn fold_all(&self, records: &[Record]) -> Result<(), StoppedBefore> {
        let mut by_channel: BTreeMap<(PartnerId, ChannelId), Vec<Fact>> = BTreeMap::new();
        for record in records.iter().filter(|record| Self::folds(record) && record.kind() == prefix::FACT) {
            match record.new.as_ref().map(StoredFact::of_item) {
                Some(Ok(StoredFact { fact, .. })) => {
                    by_channel.entry((fact.partner.clone(), fact.channel.clone())).or_default().push(fact);
                }
                _ => dead(record, "a fact"),
            }
        }
        for ((partner, channel), facts) in by_channel {
            match self.fold_into(&partner, &channel, &facts).await {
                Ok(()) => {}
                Err(Error::Malformed(what)) => {
                    tracing::error!(%partner, %channel, what, "facts were passed: the channel cannot be read");
                }
                Err(error) => {
                    tracing::error!(%error, %partner, %channel, "the batch comes again");
                    // Joining is harmless however often, so the whole batch may come again.
                    return Err(StoppedBefore(records.first().map(|r| r.sequence.clone()).unwrap_or_default()));
                }
            }
        }
        Ok(())
    }

    async fn fold_into(&self, partner: &PartnerId, channel: &ChannelId, facts: &[Fact]) -> Result<(), Error> {
        for _ in 0..TURNS {
            let mut stored = self.channels.read(partner, channel).await?;
            let before = stored.channel.clone();
            stored.channel.join_all(facts);
            // A fact that says nothing still makes the channel known once, so that it can be asked about.
            if stored.channel == before && stored.exists() {
                return Ok(());
            }
            if self.channels.save(&stored).await? == Saved::Done {
                tracing::info!(%partner, %channel, facts = facts.len(), "folded");
                return Ok(());
            }
        }
        Err(Error::Unavailable("the channel keeps changing under the fold".to_owned()))
    }
}
