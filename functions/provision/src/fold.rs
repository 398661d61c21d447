//! Facts into channels. No clock, no hub and no other item enters here.

use std::collections::BTreeMap;

use onboarding::fact::Fact;
use onboarding::id::{ChannelId, PartnerId};
use platform::event_bus::BusEvent;
use platform::store::{Error, RawEvent, Saved, StoredFact};
use platform::stream::{Record, StoppedBefore};
use platform::table::prefix;

use crate::{Provision, dead, events};

/// How often a save that another worker outran is tried again before the batch comes again.
const TURNS: usize = 10;

/// How many channels of a batch may fail, 4 s each, before the rest is left for the next time.
const MOST_FAILURES: usize = 2;

impl Provision {
    pub(crate) async fn fold_all(&self, records: &[Record]) -> Result<(), StoppedBefore> {
        let mut by_channel: BTreeMap<(PartnerId, ChannelId), Vec<(usize, Fact)>> = BTreeMap::new();
        let mut told = Vec::new();
        for (place, record) in records
            .iter()
            .enumerate()
            .filter(|(_, record)| Self::folds(record))
        {
            match read(record) {
                Ok((fact, event)) => {
                    told.extend(event);
                    if let Some(fact) = fact {
                        let about = (fact.partner.clone(), fact.channel.clone());
                        by_channel.entry(about).or_default().push((place, fact));
                    }
                }
                Err(what) => dead(record, what),
            }
        }
        let mut failed = Vec::new();
        for ((partner, channel), facts) in by_channel {
            let first = facts.iter().map(|(place, _)| *place).min();
            let facts: Vec<Fact> = facts.into_iter().map(|(_, fact)| fact).collect();
            // One channel in trouble is no trouble of the others; a table in trouble is everybody's.
            if failed.len() >= MOST_FAILURES {
                failed.extend(first);
                continue;
            }
            match self.fold_into(&partner, &channel, &facts).await {
                Ok(()) => {}
                Err(Error::Malformed(what)) => {
                    tracing::error!(%partner, %channel, what, "facts were passed: the channel cannot be read");
                }
                Err(error) => {
                    tracing::error!(%error, %partner, %channel, "its facts come again");
                    failed.extend(first);
                }
            }
        }
        if let Err(error) = self.bus.put(&told).await {
            tracing::error!(%error, "what came will be told again");
            failed.push(0);
        }
        // Joining and telling are harmless however often: all from there on may come again.
        match failed
            .into_iter()
            .min()
            .and_then(|place| records.get(place))
        {
            Some(record) => Err(StoppedBefore(record.sequence.clone())),
            None => Ok(()),
        }
    }

    async fn fold_into(
        &self,
        partner: &PartnerId,
        channel: &ChannelId,
        facts: &[Fact],
    ) -> Result<(), Error> {
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
        Err(Error::Unavailable(
            "the channel keeps changing under the fold".to_owned(),
        ))
    }
}

/// The fact that a record brings, and what the partner's application is told of it.
fn read(record: &Record) -> Result<(Option<Fact>, Option<BusEvent>), &'static str> {
    let item = record.new.as_ref().ok_or("a record without its image")?;
    if record.kind() == prefix::RAW {
        let raw = RawEvent::of_item(item).map_err(|_| "a raw event")?;
        return Ok((
            None,
            Some(events::of_raw(&raw).map_err(|_| "a raw event that cannot be told")?),
        ));
    }
    let stored = StoredFact::of_item(item).map_err(|_| "a fact")?;
    let event = events::of_fact(&stored).map_err(|_| "a fact that cannot be told")?;
    Ok((Some(stored.fact), event))
}
