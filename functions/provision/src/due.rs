//! Records of the stream become due work in the table. Nothing here calls 360dialog.

use dialog360::id::{ChannelRef, ClientId, PartnerId};
use onboarding::channel::Channel;
use onboarding::claim::{ClaimId, ClaimStatus};
use onboarding::fact::{Assertion, Binding};
use onboarding::queue::{Due, Task};
use onboarding::tenant::Tenant;
use runtime::clock;
use runtime::metric::Metric;
use store::stream::{Change, Record};
use store::table::prefix;
use store::{Error, StoredChannel, StoredClaim, Subject};

use crate::{Provision, key};

/// A claim pays for its look, and for one key.
const CLAIM_PAYS: usize = 3;

impl Provision {
    /// Whether the stream mapping passes a record on: claims, channels, the heartbeat.
    pub fn takes(record: &Record) -> bool {
        let kinds = [prefix::CLAIM, prefix::CHANNEL, prefix::HEARTBEAT];
        kinds.contains(&record.kind()) && record.change != Change::Removed
    }

    /// Makes due what follows from a record, and returns it.
    pub(crate) async fn make_due(&self, record: &Record) -> Result<Vec<Subject>, Error> {
        let new = record
            .new
            .as_ref()
            .ok_or(Error::Malformed("a record without its image"))?;
        match record.kind() {
            prefix::HEARTBEAT => {
                Metric::Heartbeats.count();
                Ok(Vec::new())
            }
            prefix::CLAIM => {
                let claim = StoredClaim::from_item(new)?.claim;
                if claim.registered_at.is_some() {
                    return Ok(Vec::new());
                }
                let subject = self.register(&claim.partner, &claim.id).await?;
                Ok(subject.into_iter().collect())
            }
            _ => {
                let new = StoredChannel::from_item(new)?.channel;
                let old = record.old.as_ref().map(StoredChannel::from_item);
                let old = old.transpose()?.map(|old| old.channel);
                self.channel_changed(old.as_ref(), &new).await
            }
        }
    }

    /// Registers a claim with its client, so that every later look at the client counts it. The claim is read: its record
    /// may be an old one.
    pub(crate) async fn register(
        &self,
        partner: &PartnerId,
        claim: &ClaimId,
    ) -> Result<Option<Subject>, Error> {
        let Some(mut stored) = self.claims.read(partner, claim).await? else {
            return Ok(None);
        };
        let claim = &stored.claim;
        if claim.status != ClaimStatus::Pending || claim.registered_at.is_some() {
            return Ok(None);
        }
        let client = self.clients.register(claim).await?;
        let owner = client.decision.or(client.owner);
        if owner.is_some_and(|owner| owner != claim.tenant) {
            self.refuse(&mut stored).await?;
            return Ok(None);
        }
        self.claimed_ids.note(claim).await?;
        let subject = Subject::Client(claim.partner.clone(), claim.client.clone());
        let now = clock::now();
        let (queue, tenant) = (&self.queue, &claim.tenant);
        queue.join_line(&subject, tenant, CLAIM_PAYS, now).await?;
        stored.claim.register(now);
        // A conflict: a look has settled it already, or another run has registered it.
        let _saved = self.claims.save(&stored).await?;
        Ok(Some(subject))
    }

    async fn channel_changed(
        &self,
        old: Option<&Channel>,
        new: &Channel,
    ) -> Result<Vec<Subject>, Error> {
        if !key::is_relevant_change(old, new) {
            return Ok(Vec::new());
        }
        let Some(tenant) = new.tenant() else {
            return self.find_owner(new).await;
        };
        if old.and_then(Channel::tenant) != Some(tenant) {
            self.claimed_ids.forget_own(&new.id, tenant).await?;
        }
        // What a revocation does to a key is not known.
        if key::is_granted_again(old, new) && key::is_stored(new) {
            let (now, subject) = (clock::now(), Subject::Channel(new.id.clone()));
            let due = Due::Comparison(now);
            self.queue
                .make_due(&subject, due, Some(tenant), now)
                .await?;
            return Ok(Vec::new());
        }
        let subject = self.make_key_due(&new.id).await?;
        Ok(subject.into_iter().collect())
    }

    /// Looks for the owner of a channel that is bound to nobody. A channel of a client that nobody claims costs nothing.
    pub(crate) async fn find_owner(&self, channel: &Channel) -> Result<Vec<Subject>, Error> {
        if channel.is_cancelled() {
            return Ok(Vec::new());
        }
        let id = &channel.id;
        let Some(client) = channel.client.as_ref().map(|client| &client.value) else {
            let mut subjects = Vec::new();
            for client in self.claimed_ids.clients(id).await? {
                if let Some(tenant) = self.clients.claimant(&id.partner, &client).await? {
                    subjects.push(self.wake_client(&id.partner, &client, &tenant).await?);
                }
            }
            return Ok(subjects);
        };
        // Claims are read before the owner: who binds the client in between has read the channel's client, or will.
        let claimant = self.clients.claimant(&id.partner, client).await?;
        let seen = self.clients.read(&id.partner, client).await?;
        // A look carries an operator's decision out.
        if let Some(tenant) = seen.decision {
            return Ok(vec![self.wake_client(&id.partner, client, &tenant).await?]);
        }
        if let Some(tenant) = seen.owner {
            let binding = Binding {
                tenant,
                client: client.clone(),
                fresh: false,
            };
            let assertion = Assertion {
                binding: Some(binding),
                ..Assertion::default()
            };
            let (mut known, now) = (self.channels.read(id).await?.channel, clock::now());
            // Another fact each time: should the stream lose the record of one, the next is joined.
            let cause = format!("the client is bound, {}", now.as_millisecond());
            self.append_if_new(&mut known, assertion, now, cause)
                .await?;
            return Ok(Vec::new());
        }
        let Some(tenant) = claimant else {
            return Ok(Vec::new());
        };
        Ok(vec![self.wake_client(&id.partner, client, &tenant).await?])
    }

    /// The tenant that pays for work which does not name one.
    pub(crate) async fn find_payer(&self, subject: &Subject) -> Result<Option<Tenant>, Error> {
        match subject {
            Subject::Channel(id) => Ok(self.channels.read(id).await?.channel.tenant().cloned()),
            Subject::Client(partner, client) => {
                let seen = self.clients.read(partner, client).await?;
                match seen.decision.or(seen.owner) {
                    Some(tenant) => Ok(Some(tenant)),
                    None => self.clients.claimant(partner, client).await,
                }
            }
            Subject::Claim(partner, claim) => {
                let stored = self.claims.read(partner, claim).await?;
                Ok(stored.map(|stored| stored.claim.tenant))
            }
            Subject::Sweep(_) => Ok(None),
        }
    }

    /// Makes a client due that `tenant` claims.
    async fn wake_client(
        &self,
        partner: &PartnerId,
        client: &ClientId,
        tenant: &Tenant,
    ) -> Result<Subject, Error> {
        let subject = Subject::Client(partner.clone(), client.clone());
        let (calls, now) = (Task::Look.calls(), clock::now());
        self.queue.join_line(&subject, tenant, calls, now).await?;
        Ok(subject)
    }

    /// Puts the key of a bound channel into the line if a call can help; else records why not.
    pub(crate) async fn make_key_due(&self, id: &ChannelRef) -> Result<Option<Subject>, Error> {
        let subject = Subject::Channel(id.clone());
        let Some(tenant) = self.key_is_wanted(id).await? else {
            return Ok(None);
        };
        let (calls, now) = (Task::Key.calls(), clock::now());
        self.queue.join_line(&subject, &tenant, calls, now).await?;
        Ok(Some(subject))
    }
}
