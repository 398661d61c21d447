//! A look at a client: one read of its channels settles all open claims on it.

use std::sync::{Arc, Mutex, PoisonError};

use dialog360::channel::ChannelObject;
use dialog360::client::ApiError;
use dialog360::id::{ChannelRef, ClientId, PartnerId};
use jiff::{SignedDuration, Timestamp};
use onboarding::claim::{Claim, ClaimStatus, Settled};
use onboarding::fact::{Assertion, Binding, KeyStatus};
use onboarding::judgement::{Judgement, Verdict, judge};
use onboarding::queue::{Due, Place, Task};
use onboarding::tenant::Tenant;
use runtime::clock;
use runtime::metric::Metric;
use serde_json::json;
use store::{ClientSeen, Error, StoredClaim, StoredClient, Subject, Write};
use tokio::task::JoinSet;

use crate::retry::RetryAt;
use crate::worker::{NextTime, Stopped, Taken, Worker};
use crate::{Provision, count_refusal};

/// How often a client is judged again with the same list, while claims on it come in.
const JUDGEMENTS: usize = 8;

/// How many channels are recorded at once.
pub(crate) const AT_ONCE: usize = 16;

/// After this the key of a listed channel is due, should the stream lose the record of the channel.
const LOST_RECORD: SignedDuration = SignedDuration::from_secs(60);

/// The channels of a client, read from 360dialog at `sent_at`.
struct List {
    channels: Vec<ChannelObject>,
    sent_at: Timestamp,
}

/// The open claims on a client, and the client as it was just before they were read.
struct Claimed {
    client: StoredClient,
    claims: Vec<StoredClaim>,
    /// Whether there are more pending ones, which another look judges.
    are_more: bool,
}

impl Claimed {
    fn values(&self) -> Vec<Claim> {
        let claims = self.claims.iter();
        claims.map(|stored| stored.claim.clone()).collect()
    }

    /// Whether a read of the client's channels can settle anything.
    fn needs_a_look(&self) -> bool {
        let mut claims = self.claims.iter().map(|stored| &stored.claim);
        let owner = self.client.decision.as_ref().or(self.client.owner.as_ref());
        claims.any(|claim| match owner {
            Some(owner) => claim.is_open() && claim.tenant == *owner,
            None => claim.status == ClaimStatus::Pending,
        }) || self.client.decision.is_some()
    }
}

impl Worker<'_> {
    /// Looks at a client: reads its claims, then its channels, judges, and records the outcome.
    pub(crate) async fn look(
        &mut self,
        client: &ClientId,
        taken: &Taken,
    ) -> Result<NextTime, Stopped> {
        let (provision, now) = (self.provision, clock::now());
        let mut claimed = provision.claimed(self.partner, client).await?;
        let place = taken.entry.entry.due.and_then(Due::place);
        let is_key_paid = taken.entry.paid > Task::Look.calls();
        if !claimed.needs_a_look() {
            provision.refuse_foreign(&mut claimed).await?;
            return Ok(NextTime {
                due: None,
                failures: 0,
            });
        }
        let list = match self.list(client).await? {
            Ok(list) => list,
            Err(why) => {
                count_refusal(&why);
                tracing::warn!(partner = %self.partner, %client, %why, "the client's channels could not be read");
                let failures = taken.entry.failures.saturating_add(1);
                let due = RetryAt::after_error(&why).due(now, failures, place);
                return Ok(NextTime { due, failures });
            }
        };
        let judgement = provision
            .bind(self.partner, client, &mut claimed, &list)
            .await?;
        let Some(judgement) = judgement else {
            tracing::warn!(partner = %self.partner, %client, "the claims on a client keep changing");
            let failures = taken.entry.failures.saturating_add(1);
            let due = RetryAt::Later(None).due(clock::now(), failures, None);
            return Ok(NextTime { due, failures });
        };
        let due = provision
            .record(
                (self.partner, client),
                &mut claimed,
                &judgement,
                list,
                place.filter(|_| is_key_paid),
            )
            .await?;
        Ok(NextTime { due, failures: 0 })
    }

    /// Reads the channels of a client, a call for each page.
    async fn list(&mut self, client: &ClientId) -> Result<Result<List, ApiError>, Stopped> {
        let sent_at = clock::now();
        let mut channels = Vec::new();
        let api = self.provision.api.clone();
        let (partner, access) = (self.partner, self.access.clone());
        let mut pages = api
            .for_partner(partner, &access.credentials)
            .pages(Some(json!({"client_id": client})));
        let mut tried = false;
        while pages.has_more() {
            if let Err(why) = self.prepare_call(client.as_str()).await? {
                return Ok(Err(why));
            }
            let page = pages.next().await;
            if let Err(why) = &page
                && self.tries_another_token(why.kind, &mut tried)
            {
                continue;
            }
            match self.answer_to(client.as_str(), page) {
                Ok(Some(page)) => {
                    let theirs = |channel: &ChannelObject| channel.client.as_ref() == Some(client);
                    channels.extend(page.into_iter().filter(theirs));
                }
                Ok(None) => break,
                Err(why) => return Ok(Err(why)),
            }
        }
        Ok(Ok(List { channels, sent_at }))
    }

    /// The channel as 360dialog lists it, a call for each page; `None` if it does not.
    pub(crate) async fn read_channel(
        &mut self,
        id: &ChannelRef,
    ) -> Result<Result<Option<ChannelObject>, ApiError>, Stopped> {
        let api = self.provision.api.clone();
        let (partner, access) = (self.partner, self.access.clone());
        let mut pages = api
            .for_partner(partner, &access.credentials)
            .pages(Some(json!({"id": id.channel})));
        let mut tried = false;
        while pages.has_more() {
            if let Err(why) = self.prepare_call(id.channel.as_str()).await? {
                return Ok(Err(why));
            }
            let page = pages.next().await;
            if let Err(why) = &page
                && self.tries_another_token(why.kind, &mut tried)
            {
                continue;
            }
            match self.answer_to(id.channel.as_str(), page) {
                Ok(Some(page)) => {
                    let found = page.into_iter().find(|channel| channel.id == id.channel);
                    if found.is_some() {
                        return Ok(Ok(found));
                    }
                }
                Ok(None) => break,
                Err(why) => return Ok(Err(why)),
            }
        }
        Ok(Ok(None))
    }

    /// Hears an answer, and passes it on.
    pub(crate) fn answer_to<T>(
        &mut self,
        about: &str,
        result: Result<T, ApiError>,
    ) -> Result<T, ApiError> {
        self.hear_result(&result, about);
        result
    }
}

impl Provision {
    /// The client, then the open claims on it: a claim that comes in between counts as a change of the client. A pointer
    /// to a closed claim, which a worker left that died, is removed.
    async fn claimed(&self, partner: &PartnerId, client: &ClientId) -> Result<Claimed, Error> {
        let seen = self.clients.read(partner, client).await?;
        let open = self.clients.open_claims(partner, client).await?;
        let (claims, closed): (Vec<_>, Vec<_>) = open
            .claims
            .into_iter()
            .partition(|stored| stored.claim.is_open());
        for stored in closed {
            self.clients.unregister(&stored.claim).await?;
        }
        Ok(Claimed {
            client: seen,
            claims,
            are_more: open.are_more,
        })
    }

    /// Refuses the claims of other tenants than the owner.
    async fn refuse_foreign(&self, claimed: &mut Claimed) -> Result<(), Error> {
        let Some(owner) = claimed.client.owner.clone() else {
            return Ok(());
        };
        for stored in &mut claimed.claims {
            if stored.claim.tenant != owner && stored.claim.is_open() {
                self.refuse(stored).await?;
            }
        }
        Ok(())
    }

    /// Judges the claims, and binds the client if that is the judgement. If the client changed since it was read, the
    /// claims are read and judged again; `None` if it keeps changing.
    async fn bind(
        &self,
        partner: &PartnerId,
        client: &ClientId,
        claimed: &mut Claimed,
        list: &List,
    ) -> Result<Option<Judgement>, Error> {
        for _ in 0..JUDGEMENTS {
            let StoredClient {
                owner, decision, ..
            } = &claimed.client;
            let (claims, now) = (claimed.values(), clock::now());
            let judgement = judge(
                owner.as_ref(),
                decision.as_ref(),
                &claims,
                &list.channels,
                now,
            );
            // A decision is carried out, and so ended, even if the client is that tenant's already.
            let is_settled = judgement.owner == *owner && decision.is_none();
            let seen = &claimed.client;
            let Some(tenant) = judgement.owner.as_ref().filter(|_| !is_settled) else {
                // An operator may have moved it meanwhile.
                if self.clients.read(partner, client).await? == *seen {
                    return Ok(Some(judgement));
                }
                *claimed = self.claimed(partner, client).await?;
                continue;
            };
            self.schedule_sweep(partner).await?;
            if self.clients.bind(partner, client, seen, tenant).await? == Write::Done {
                tracing::info!(%partner, %client, "a client is bound");
                return Ok(Some(judgement));
            }
            *claimed = self.claimed(partner, client).await?;
        }
        Ok(None)
    }

    /// Records facts about the listed channels, and the outcome of each claim. Returns when to look again.
    async fn record(
        &self,
        (partner, client): (&PartnerId, &ClientId),
        claimed: &mut Claimed,
        judgement: &Judgement,
        list: List,
        place: Option<Place>,
    ) -> Result<Option<Due>, Error> {
        let owner = judgement.owner.as_ref();
        let granted: Vec<Claim> = claimed
            .claims
            .iter()
            .zip(&judgement.verdicts)
            .filter(|(_, verdict)| **verdict == Verdict::Grant)
            .map(|(stored, _)| stored.claim.clone())
            .collect();
        self.record_channels(partner, client, owner, &granted, &list, place)
            .await?;
        for claim in &granted {
            for fact in claim.permission_facts(&list.channels) {
                let _is_new = self.facts.append(&fact).await?;
            }
        }
        let (mut next, mut is_any_settled): (Option<u32>, bool) = (None, false);
        for (stored, verdict) in claimed.claims.iter_mut().zip(&judgement.verdicts) {
            let before = stored.claim.status;
            self.settle(stored, *verdict, &list.channels).await?;
            let claim = &stored.claim;
            is_any_settled |= claim.status != before;
            if claim.status == ClaimStatus::Pending {
                next = Some(next.map_or(claim.tries, |least| least.min(claim.tries)));
            }
        }
        let now = clock::now();
        // The others have their turn at once, unless these are still in front of them.
        let next = match claimed.are_more && is_any_settled {
            true => Some(RetryAt::Now),
            false => next.map(RetryAt::Looked),
        };
        Ok(next.and_then(|next| next.due(now, 0, None)))
    }

    /// Saves what became of one claim.
    async fn settle(
        &self,
        stored: &mut StoredClaim,
        verdict: Verdict,
        listed: &[ChannelObject],
    ) -> Result<(), Error> {
        let now = clock::now();
        match verdict {
            Verdict::Refuse => return self.refuse(stored).await,
            Verdict::Hold if stored.claim.status == ClaimStatus::Held => return Ok(()),
            Verdict::Hold => {
                stored.claim.hold();
                self.claimed_ids.note(&stored.claim).await?;
            }
            Verdict::Wait if stored.claim.status == ClaimStatus::Held => return Ok(()),
            Verdict::Wait => {}
            Verdict::Grant => {
                stored.claim.reopen();
                stored.claim.settle(listed, now);
                stored.claim.close_if_settled();
                self.forget_settled(&stored.claim).await?;
            }
        }
        let claim = &mut stored.claim;
        claim.register(now);
        if claim.status == ClaimStatus::Pending {
            claim.tries = claim.tries.saturating_add(1);
        }
        self.save(stored).await
    }

    /// Closes a claim as refused.
    pub(crate) async fn refuse(&self, stored: &mut StoredClaim) -> Result<(), Error> {
        // If another worker saved the claim meanwhile, it judged later, so its outcome counts.
        let _judged_later = self.clients.refuse(stored).await?;
        Metric::ClaimsRefused.count();
        log_status(&stored.claim);
        Ok(())
    }

    /// Removes the rows of settled ids, but for those of channels that do not show their tenant yet: the records of
    /// those channels remove them.
    async fn forget_settled(&self, claim: &Claim) -> Result<(), Error> {
        let mut forgotten = Vec::new();
        for (id, settled) in &claim.settled {
            let channel = ChannelRef::new(claim.partner.clone(), id.clone());
            if *settled == Settled::Refused
                || self.channels.read(&channel).await?.channel.tenant() == Some(&claim.tenant)
            {
                forgotten.push(id.clone());
            }
        }
        self.claimed_ids.forget(claim, &forgotten).await
    }

    async fn save(&self, stored: &StoredClaim) -> Result<(), Error> {
        let claim = &stored.claim;
        // If another worker saved the claim meanwhile, it judged later, so its outcome counts.
        let saved = self.claims.save(stored).await?;
        if saved == Write::Done && !claim.is_open() {
            self.clients.unregister(claim).await?;
        }
        log_status(claim);
        Ok(())
    }

    /// Appends what the list adds to the known channels and, if the client has an owner, the bindings; the keys that are
    /// wanted next are due in a minute at the latest. The first of them has the place that the claim paid for.
    async fn record_channels(
        &self,
        partner: &PartnerId,
        client: &ClientId,
        owner: Option<&Tenant>,
        granted: &[Claim],
        list: &List,
        place: Option<Place>,
    ) -> Result<(), Error> {
        let place = Arc::new(Mutex::new(place.filter(|_| owner.is_some())));
        let named = |channel: &ChannelObject| {
            let mut ids = granted.iter().flat_map(|claim| &claim.channels);
            !ids.any(|id| *id == channel.id)
        };
        let mut channels: Vec<&ChannelObject> = list.channels.iter().collect();
        channels.sort_by_key(|channel| named(channel));
        let mut tasks = JoinSet::new();
        for channel in channels {
            let binding = owner.map(|tenant| Binding {
                tenant: tenant.clone(),
                client: client.clone(),
                fresh: granted.iter().any(|claim| claim.is_fresh(channel)),
            });
            let listed = Listed {
                id: ChannelRef::new(partner.clone(), channel.id.clone()),
                assertion: Assertion::from(channel),
                binding,
                is_granted: !named(channel),
                place: place.clone(),
                sent_at: list.sent_at,
                created_at: channel.created_at,
            };
            if tasks.len() >= AT_ONCE
                && let Some(done) = tasks.join_next().await
            {
                joined(done)?;
            }
            let provision = self.clone();
            tasks.spawn(async move { provision.record_channel(listed).await });
        }
        while let Some(done) = tasks.join_next().await {
            joined(done)?;
        }
        Ok(())
    }

    async fn record_channel(&self, listed: Listed) -> Result<(), Error> {
        let Listed {
            id,
            assertion,
            binding,
            is_granted,
            place,
            sent_at,
            created_at,
        } = listed;
        let mut known = self.channels.read(&id).await?.channel;
        let cause = sent_at.as_millisecond().to_string();
        self.append_if_new(&mut known, assertion, sent_at, cause)
            .await?;
        let Some(binding) = binding else {
            return Ok(());
        };
        let (client, tenant) = (binding.client.clone(), binding.tenant.clone());
        let bound = Assertion {
            binding: Some(binding),
            ..Assertion::default()
        };
        let cause = sent_at.as_millisecond().to_string();
        // As old as the list: what an operator has decided since counts more.
        let is_bound_now = self
            .append_if_new(&mut known, bound, sent_at, cause)
            .await?;
        let is_stored = known.key.as_ref().map(|key| key.value.status) == Some(KeyStatus::Stored);
        if known.is_cancelled() || is_stored {
            return Ok(());
        }
        let seen = ClientSeen {
            client,
            at: sent_at,
            created_at,
        };
        self.mints.note_seen(&id, &seen).await?;
        let subject = Subject::Channel(id);
        // A question that was asked before is not asked again because of another number.
        let is_news = is_bound_now || is_granted;
        if !is_news && self.queue.entry(&subject).await?.entry.due.is_some() {
            return Ok(());
        }
        let now = clock::now();
        let place = place.lock().unwrap_or_else(PoisonError::into_inner).take();
        let due = Due::At {
            at: now.saturating_add(LOST_RECORD).unwrap_or(now),
            kept: place,
        };
        self.queue.make_due(&subject, due, Some(&tenant), now).await
    }
}

fn log_status(claim: &Claim) {
    let (partner, status) = (&claim.partner, claim.status);
    tracing::info!(%partner, claim = %claim.id, ?status, "claim");
}

/// One channel of a list, with what is to be recorded of it.
struct Listed {
    id: ChannelRef,
    assertion: Assertion,
    binding: Option<Binding>,
    /// Whether a claim that is granted names it.
    is_granted: bool,
    /// The place that the claims have paid for, for the first key that is wanted.
    place: Arc<Mutex<Option<Place>>>,
    sent_at: Timestamp,
    created_at: Option<Timestamp>,
}

pub(crate) fn joined(done: Result<Result<(), Error>, tokio::task::JoinError>) -> Result<(), Error> {
    done.unwrap_or_else(|_| Err(Error::Unavailable("a task ended early".to_owned())))
}
