//! Claims: what 360dialog confirms of them becomes facts. A claim decides nothing by itself.

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

/// Whose the client of a claim is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    /// The tenant's that claims it.
    Claimant,
    /// Nobody's yet.
    Nobody,
}

/// The channels of a client, as they were when the read was sent.
struct List {
    channels: Vec<ChannelObject>,
    sent_at: Timestamp,
}

impl Provision {
    /// Confirms a pending claim as far as can be: one read of the client's channels, then facts for what it lists.
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
        // If another worker saved it meanwhile, that one saw the same list and its outcome stands.
        let _saved = self.claims.save(&stored).await?;
        tracing::info!(%partner, claim = %session, ?status, "claim");
        Ok(())
    }

    /// Settles as much of a claim as can be settled now; answers when to retry the rest.
    async fn settle(&self, claim: &mut Claim, run_time: RunTime) -> Result<RetryAt, Error> {
        let owner = self.clients.owner(&claim.partner, &claim.client).await?;
        if owner.as_ref().is_some_and(|owner| *owner != claim.tenant) {
            claim.refuse();
            return Ok(RetryAt::OnChange);
        }
        if !claim.settled.is_empty() && claim.unsettled().next().is_none() {
            return self.close(claim).await;
        }
        if !run_time.allows_a_call() {
            return Ok(RetryAt::Now);
        }
        let access = match self.secrets.get(&claim.partner).await {
            Ok(access) => access,
            Err(error) => {
                tracing::error!(%error, partner = %claim.partner, "the partner secret failed");
                return Ok(RetryAt::Later(None));
            }
        };
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

    /// Reads the channels of a claim's client; the error is when to retry.
    async fn list_client(&self, claim: &Claim, access: &PartnerAccess) -> Result<List, RetryAt> {
        let sent_at = clock::now();
        let client = self.api(&claim.partner, access);
        match client.channels_of_client(&claim.client).await {
            Ok(channels) => Ok(List { channels, sent_at }),
            Err(why) => {
                count_refusal(&why);
                let (partner, session) = (&claim.partner, &claim.id);
                tracing::warn!(%partner, claim = %session, %why, "the client's channels could not be read");
                Err(RetryAt::after_trouble(&why))
            }
        }
    }

    /// Gives the client to the claim's tenant, reads its channels once more, and confirms what is found.
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
        // A channel that appeared between the read and the bind found no owner: this read finds it, or its next run does.
        if run_time.allows_a_call()
            && let Ok(newer) = self.list_client(claim, access).await
        {
            list = newer;
        }
        self.grant(claim, &list).await
    }

    /// The client is the tenant's: its channels are bound, and what the claim says of them becomes facts.
    async fn grant(&self, claim: &mut Claim, list: &List) -> Result<RetryAt, Error> {
        self.record_listed(claim, list, Owner::Claimant).await?;
        for fact in claim.permission_facts(&list.channels) {
            let _is_new = self.facts.append(&fact).await?;
        }
        claim.settle(&list.channels, clock::now());
        self.close(claim).await
    }

    /// Closes the claim once all of it is settled and the fold has seen it: until then its ids show as claimed.
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

    /// Appends what a list says that is not known yet and, if the client is the claim's tenant's, the binding.
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
