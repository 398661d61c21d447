//! The sweep: once a day the list of all channels is read, a page at a time and in the background, so that what no record
//! and no webhook has brought is found all the same. It brings no permission, and a client gets no owner by it.

use std::time::Duration;

use dialog360::channel::ChannelObject;
use dialog360::client::{ApiError, Page, Query};
use dialog360::id::{ChannelRef, PartnerId};
use jiff::Timestamp;
use onboarding::channel::Channel;
use onboarding::fact::Assertion;
use onboarding::queue::Due;
use runtime::clock;
use store::{Error, Subject};
use tokio::task::JoinSet;

use crate::look::{AT_ONCE, joined};
use crate::retry::RetryAt;
use crate::worker::{NextTime, Stopped, Taken, Worker};
use crate::{Provision, count_refusal, key};

/// The time between the ends of two sweeps.
const ONE_DAY: Duration = Duration::from_secs(24 * 3600);

/// The most rows of a list: one that does not end is read anew tomorrow.
const MOST_ROWS: usize = 1_000_000;

impl Worker<'_> {
    /// Reads one page of the list of all channels. The next one is due at once, in the background.
    pub(crate) async fn sweep(&mut self, taken: &Taken) -> Result<NextTime, Stopped> {
        let (provision, partner) = (self.provision, self.partner);
        let offset = provision.sweeps.offset(partner).await?;
        let query = Query {
            offset,
            ..Query::default()
        };
        let (sent_at, page) = (clock::now(), self.page(&query).await?);
        let page = match page {
            Ok(page) => page,
            Err(why) => {
                count_refusal(&why);
                tracing::warn!(%partner, %why, "the list of all channels could not be read");
                let failures = taken.entry.failures.saturating_add(1);
                let due = RetryAt::after_error(&why).due(clock::now(), failures, None);
                let due = due.and_then(Due::time).map(Due::Background);
                return Ok(NextTime { due, failures });
            }
        };
        let next = behind(&page, &query);
        let rows = page.rows;
        provision.record_page(partner, page, sent_at).await?;
        provision
            .sweeps
            .go_on_at(partner, next.unwrap_or(0))
            .await?;
        tracing::info!(%partner, offset, rows, "swept");
        let now = clock::now();
        let at = match next {
            Some(_) => now,
            None => now.saturating_add(ONE_DAY).unwrap_or(now),
        };
        Ok(NextTime {
            due: Some(Due::Background(at)),
            failures: 0,
        })
    }

    async fn page(&mut self, query: &Query) -> Result<Result<Page, ApiError>, Stopped> {
        let about = "all channels";
        let mut tried = false;
        loop {
            if let Err(why) = self.prepare_call(about).await? {
                return Ok(Err(why));
            }
            match self.api().page(query).await {
                Err(why) if self.tries_another_token(why.kind, &mut tried) => {}
                page => return Ok(self.answer_to(about, page)),
            }
        }
    }
}

/// Where the list goes on behind a page, unless it ends there.
fn behind(page: &Page, query: &Query) -> Option<usize> {
    let read = query.offset.saturating_add(page.rows);
    let is_end = match page.total {
        Some(total) => read >= total,
        None => page.rows < query.limit,
    };
    (!is_end && page.rows > 0 && read < MOST_ROWS).then_some(read)
}

impl Provision {
    /// Sees to it that the list is read within a day. Called before a client gets its first owner: until then no sweep
    /// has anything to find.
    pub(crate) async fn schedule_sweep(&self, partner: &PartnerId) -> Result<(), Error> {
        let now = clock::now();
        let tomorrow = Due::Background(now.saturating_add(ONE_DAY).unwrap_or(now));
        let subject = Subject::Sweep(partner.clone());
        self.queue.make_due(&subject, tomorrow, None, now).await
    }

    async fn record_page(
        &self,
        partner: &PartnerId,
        page: Page,
        sent_at: Timestamp,
    ) -> Result<(), Error> {
        let mut tasks = JoinSet::new();
        for listed in page.channels {
            if tasks.len() >= AT_ONCE
                && let Some(done) = tasks.join_next().await
            {
                joined(done)?;
            }
            let (provision, partner) = (self.clone(), partner.clone());
            tasks.spawn(async move {
                match provision.record_swept(partner, listed, sent_at).await {
                    // It must not hold up the others.
                    Err(Error::Malformed(what)) => {
                        tracing::error!(what, "a channel was passed over: it, its client or a claim is not in the form we write");
                        Ok(())
                    }
                    recorded => recorded,
                }
            });
        }
        while let Some(done) = tasks.join_next().await {
            joined(done)?;
        }
        Ok(())
    }

    /// Appends what the list adds to a channel that is known or whose client has an owner or is claimed, and makes due
    /// what is to be done about it.
    async fn record_swept(
        &self,
        partner: PartnerId,
        listed: ChannelObject,
        sent_at: Timestamp,
    ) -> Result<(), Error> {
        let id = ChannelRef::new(partner, listed.id.clone());
        let stored = self.channels.read(&id).await?;
        if !stored.exists() && !self.is_of_interest(&id.partner, &listed).await? {
            return Ok(());
        }
        let mut known = stored.channel;
        let mut assertion = Assertion::from(&listed);
        // The list lags: what it says of the client counts only where none is known, and what it describes only where
        // nothing was said lately.
        if known.client.is_some() {
            assertion.client = None;
        }
        assertion.description.retain(|field, _| {
            let said = known.description.get(field);
            said.is_none_or(|said| sent_at.duration_since(said.at).unsigned_abs() > ONE_DAY)
        });
        let cause = format!("sweep {}", sent_at.as_millisecond());
        self.append_if_new(&mut known, assertion, sent_at, cause)
            .await?;
        if known.tenant().is_none() {
            self.find_owner(&known).await?;
            return Ok(());
        }
        self.heal_key(&mut known).await?;
        if !key::is_stored(&known) {
            return Ok(());
        }
        self.heal_hook(&mut known).await
    }

    /// Whether the client of a channel has an owner, or somebody claims it.
    async fn is_of_interest(
        &self,
        partner: &PartnerId,
        listed: &ChannelObject,
    ) -> Result<bool, Error> {
        let Some(client) = &listed.client else {
            return Ok(false);
        };
        let seen = self.clients.read(partner, client).await?;
        Ok(seen.owner.is_some()
            || (seen.was_claimed() && self.clients.claimant(partner, client).await?.is_some()))
    }

    /// Makes the key of a bound channel due that waits for nothing: its record was lost, or a stored key is not compared. A
    /// verdict that the channel does not show is told once more.
    async fn heal_key(&self, known: &mut Channel) -> Result<(), Error> {
        if known.is_cancelled() {
            return Ok(());
        }
        let mint = self.mints.read(&known.id).await?;
        let channel = known.clone();
        let mut both = key::Known { channel, mint };
        self.tell(&mut both).await?;
        *known = both.channel;
        let subject = Subject::Channel(known.id.clone());
        if self.queue.entry(&subject).await?.entry.due.is_some() {
            return Ok(());
        }
        let now = clock::now();
        let due = match key::is_stored(known) {
            true => RetryAt::Compare.due(now, 0, None),
            false => Some(Due::Background(now)),
        };
        let due = due.unwrap_or(Due::Background(now));
        self.queue
            .make_due(&subject, due, known.tenant(), now)
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(rows: usize, total: Option<usize>) -> Page {
        Page {
            channels: Vec::new(),
            rows,
            total,
        }
    }

    #[test]
    fn a_list_goes_on_until_its_total_or_until_a_page_is_not_full() {
        let at = |offset| Query {
            offset,
            ..Query::default()
        };
        assert_eq!(behind(&page(1000, Some(2500)), &at(0)), Some(1000));
        assert_eq!(behind(&page(500, Some(2500)), &at(2000)), None);
        // 360dialog may give fewer rows than were asked for.
        assert_eq!(behind(&page(20, Some(2500)), &at(0)), Some(20));
        assert_eq!(behind(&page(1000, None), &at(0)), Some(1000));
        assert_eq!(behind(&page(999, None), &at(0)), None);
        // A list that does not end, or shows nothing more.
        assert_eq!(behind(&page(0, Some(2500)), &at(1000)), None);
        assert_eq!(behind(&page(1000, None), &at(MOST_ROWS)), None);
    }
}
