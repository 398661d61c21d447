//! Confirms claims: the parts that 360dialog confirms become facts. A claim alone changes nothing.

use dialog360::channel::ChannelObject;
use dialog360::id::ChannelRef;
use jiff::Timestamp;
use onboarding::claim::{BindDecision, Claim, ClaimStatus};
use onboarding::fact::Assertion;
use onboarding::secret::PartnerAccess;
use runtime::clock;
use store::{Error, StoredClaim, Write};

use crate::retry::RetryAt;
use crate::{Provision, RunTime, count_refusal};

/// The owner of the client that a claim names.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    /// The tenant that claims it.
    Claimant,
    /// No tenant yet.
    Nobody,
}

/// The channels of a client, read from 360dialog at `sent_at`.
struct List {
    channels: Vec<ChannelObject>,
    sent_at: Timestamp,
}

impl Provision {
    /// Confirms as much of a pending claim as possible: reads the client's channels, and appends facts for them.
    pub(crate) async fn confirm(
        &self,
        mut stored: StoredClaim,
        run_time: RunTime,
    ) -> Result<(), Error> {
        if stored.claim.status != ClaimStatus::Pending {
            return Ok(());
        }
        let retry_at = self.settle(&mut stored.claim, run_time).await?;
        let claim = &mut stored.claim;
        if claim.status == ClaimStatus::Pending {
            claim.tries = claim.tries.saturating_add(1);
            claim.due_at = retry_at.time(clock::now(), claim.tries);
        }
        let (partner, session, status) = (claim.partner.clone(), claim.id.clone(), claim.status);
        // If another worker saved the claim meanwhile, it read the same list, so its outcome counts.
        let _saved = self.claims.save(&stored).await?;
        tracing::info!(%partner, claim = %session, ?status, "claim");
        Ok(())
    }

    /// Settles as much of a claim as possible now. Returns when to retry the rest.
    async fn settle(&self, claim: &mut Claim, run_time: RunTime) -> Result<RetryAt, Error> {
        let owner = self.clients.owner(&claim.partner, &claim.client).await?;
        if owner.as_ref().is_some_and(|owner| *owner != claim.tenant) {
            claim.refuse();
            return Ok(RetryAt::OnChange);
        }
        if !claim.settled.is_empty() && claim.unsettled().next().is_none() {
            return self.close(claim).await;
        }
        let access = match self.secrets.get(&claim.partner).await {
            Ok(access) => access,
            Err(error) => {
                tracing::error!(%error, partner = %claim.partner, "the partner secret failed");
                return Ok(RetryAt::Later(None));
            }
        };
        self.log_in(&claim.partner, &access, run_time).await;
        if !run_time.allows_a_call() {
            return Ok(RetryAt::Now);
        }
        let list = match self.list_client(claim, &access).await {
            Ok(list) => list,
            Err(retry_at) => return Ok(retry_at),
        };
        if owner.is_some() {
            return self.grant(claim, &list).await;
        }
        match claim.bind_decision(&list.channels) {
            BindDecision::Wait if claim.patience_is_over(clock::now()) => claim.refuse(),
            BindDecision::Wait => {}
            BindDecision::Hold => claim.hold(),
            BindDecision::Bind => return self.bind(claim, list, &access, run_time).await,
        }
        self.record_listed(claim, &list, Owner::Nobody).await?;
        Ok(RetryAt::Later(None))
    }

    /// Reads the channels of a claim's client. The error says when to retry.
    async fn list_client(&self, claim: &Claim, access: &PartnerAccess) -> Result<List, RetryAt> {
        let sent_at = clock::now();
        let client = self.api(&claim.partner, access);
        match client.channels_of_client(&claim.client).await {
            Ok(channels) => Ok(List { channels, sent_at }),
            Err(why) => {
                count_refusal(&why);
                let (partner, session) = (&claim.partner, &claim.id);
                tracing::warn!(%partner, claim = %session, %why, "the client's channels could not be read");
                Err(RetryAt::after_error(&why))
            }
        }
    }

    /// Binds the client to the claim's tenant, reads its channels once more, and grants the claim.
    async fn bind(
        &self,
        claim: &mut Claim,
        mut list: List,
        access: &PartnerAccess,
        run_time: RunTime,
    ) -> Result<RetryAt, Error> {
        let (partner, client, tenant) = (&claim.partner, &claim.client, &claim.tenant);
        if self.clients.bind(partner, client, tenant).await? == Write::Conflict {
            claim.refuse();
            return Ok(RetryAt::OnChange);
        }
        // A channel that appeared between the first read and the bind found no owner. This read finds it, or else its
        // next run.
        if run_time.allows_a_call()
            && let Ok(newer) = self.list_client(claim, access).await
        {
            list = newer;
        }
        self.grant(claim, &list).await
    }

    /// Binds the listed channels, and appends the claim's permissions as facts. The client belongs to the tenant.
    async fn grant(&self, claim: &mut Claim, list: &List) -> Result<RetryAt, Error> {
        self.record_listed(claim, list, Owner::Claimant).await?;
        for fact in claim.permission_facts(&list.channels) {
            let _is_new = self.facts.append(&fact).await?;
        }
        claim.settle(&list.channels, clock::now());
        self.close(claim).await
    }

    /// Closes the claim once all of it is settled and `fold` has joined the bindings. Until then its ids are shown as
    /// claimed.
    async fn close(&self, claim: &mut Claim) -> Result<RetryAt, Error> {
        for id in claim.confirmed() {
            let id = ChannelRef::new(claim.partner.clone(), id.clone());
            let known = self.channels.read(&id).await?.channel;
            if known.tenant() != Some(&claim.tenant) {
                return Ok(RetryAt::Later(None));
            }
        }
        claim.close_if_settled();
        Ok(RetryAt::Later(None))
    }

    /// Appends facts for what the list adds to the known channels and, if the claimant owns the client, the bindings.
    async fn record_listed(&self, claim: &Claim, list: &List, owner: Owner) -> Result<(), Error> {
        for channel in &list.channels {
            let id = ChannelRef::new(claim.partner.clone(), channel.id.clone());
            let mut known = self.channels.read(&id).await?.channel;
            let (listed, cause) = (Assertion::from(channel), list.sent_at.as_millisecond());
            self.append_if_new(&mut known, listed, list.sent_at, cause.to_string())
                .await?;
            if owner == Owner::Claimant {
                let bound = Assertion {
                    binding: Some(claim.binding_of(channel)),
                    ..Assertion::default()
                };
                self.append_if_new(&mut known, bound, clock::now(), claim.id.as_str())
                    .await?;
            }
        }
        Ok(())
    }
}
