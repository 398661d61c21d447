//! Claims: what the hub confirms of them becomes facts. A claim decides nothing by itself.

use jiff::Timestamp;
use onboarding::claim::{Claim, ClaimStatus, Standing};
use onboarding::fact::{Reading, Said};
use onboarding::secret::HubCredentials;
use platform::clock;
use platform::hub_api::NotRead;
use platform::store::{Bound, Error, StoredClaim};

use crate::retry::Again;
use crate::{Provision, RunTime};

/// Whose the client of a claim is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    /// The tenant's that claims it.
    Claimant,
    /// Nobody's yet.
    Nobody,
}

impl Provision {
    /// Looks at a pending claim: one read of the client's channels, then facts for what it confirms.
    pub(crate) async fn confirm(
        &self,
        mut stored: StoredClaim,
        run_time: RunTime,
    ) -> Result<(), Error> {
        if stored.claim.status != ClaimStatus::Pending {
            return Ok(());
        }
        let again = self.judge(&mut stored.claim, run_time).await?;
        let claim = &mut stored.claim;
        if claim.status == ClaimStatus::Pending {
            claim.tries = claim.tries.saturating_add(1);
            claim.due_at = again.at(clock::now(), claim.tries);
        }
        let (partner, session, status) = (claim.partner.clone(), claim.id.clone(), claim.status);
        // If another worker saved it meanwhile, that one saw the same hub and its outcome stands.
        self.claims.save(&stored).await?;
        tracing::info!(%partner, claim = %session, ?status, "claim");
        Ok(())
    }

    /// Decides as much of a claim as can be decided now; answers when to look again at the rest.
    async fn judge(&self, claim: &mut Claim, run_time: RunTime) -> Result<Again, Error> {
        let owner = self.clients.owner(&claim.partner, &claim.client).await?;
        if owner.as_ref().is_some_and(|owner| *owner != claim.tenant) {
            claim.refuse();
            return Ok(Again::OnChange);
        }
        if !claim.settled.is_empty() && claim.unsettled().next().is_none() {
            return self.close(claim).await;
        }
        if !run_time.allows_a_call() {
            return Ok(Again::Now);
        }
        let access = match self.secrets.of(&claim.partner).await {
            Ok(access) => access,
            Err(error) => {
                tracing::error!(%error, partner = %claim.partner, "the partner secret failed");
                return Ok(Again::Later(None));
            }
        };
        let sent_at = clock::now();
        let readings = match self
            .hub
            .channels_of(&claim.partner, &access.credentials, &claim.client)
            .await
        {
            Ok(readings) => readings,
            Err(why) => return Ok(trouble(claim, &why)),
        };
        if owner.is_none() {
            match claim.standing(&readings) {
                Standing::NoChannel if claim.patience_is_over(clock::now()) => claim.refuse(),
                Standing::NoChannel => {}
                Standing::Doubtful => claim.hold(),
                Standing::Fresh => {
                    return self
                        .bind(claim, readings, sent_at, &access.credentials, run_time)
                        .await;
                }
            }
            self.tell_readings(claim, &readings, sent_at, Owner::Nobody)
                .await?;
            return Ok(Again::Later(None));
        }
        self.grant(claim, &readings, sent_at).await
    }

    /// Gives the client to the claim's tenant, reads its channels once more, and confirms what is found.
    async fn bind(
        &self,
        claim: &mut Claim,
        mut readings: Vec<Reading>,
        mut sent_at: Timestamp,
        credentials: &HubCredentials,
        run_time: RunTime,
    ) -> Result<Again, Error> {
        if self
            .clients
            .bind(&claim.partner, &claim.client, &claim.tenant)
            .await?
            == Bound::Foreign
        {
            claim.refuse();
            return Ok(Again::OnChange);
        }
        // A channel that appeared between the read and the bind found no owner: this read finds it, or its next look does.
        let now = clock::now();
        if run_time.allows_a_call()
            && let Ok(again) = self
                .hub
                .channels_of(&claim.partner, credentials, &claim.client)
                .await
        {
            readings = again;
            sent_at = now;
        }
        self.grant(claim, &readings, sent_at).await
    }

    /// The client is the tenant's: its channels are bound, and what the claim says of them becomes facts.
    async fn grant(
        &self,
        claim: &mut Claim,
        readings: &[Reading],
        sent_at: Timestamp,
    ) -> Result<Again, Error> {
        self.tell_readings(claim, readings, sent_at, Owner::Claimant)
            .await?;
        for fact in claim.permission_facts(readings) {
            self.facts.append(&fact).await?;
        }
        claim.settle(readings, clock::now());
        self.close(claim).await
    }

    /// Closes the claim once all of it is settled and the fold has seen it: until then its ids show as claimed.
    async fn close(&self, claim: &mut Claim) -> Result<Again, Error> {
        for id in claim.confirmed() {
            let known = self.channels.read(&claim.partner, id).await?.channel;
            if known.tenant() != Some(&claim.tenant) {
                return Ok(Again::Later(None));
            }
        }
        claim.close_if_settled();
        Ok(Again::Later(None))
    }

    /// Appends what a read says that is not known yet and, if the client is the claim's tenant's, the binding.
    async fn tell_readings(
        &self,
        claim: &Claim,
        readings: &[Reading],
        sent_at: Timestamp,
        owner: Owner,
    ) -> Result<(), Error> {
        for reading in readings {
            let mut known = self
                .channels
                .read(&claim.partner, &reading.channel)
                .await?
                .channel;
            self.tell(
                &mut known,
                reading.said.clone(),
                sent_at,
                sent_at.as_millisecond().to_string(),
            )
            .await?;
            if owner == Owner::Claimant {
                let said = Said {
                    binding: Some(claim.binding_of(reading)),
                    ..Said::default()
                };
                self.tell(&mut known, said, clock::now(), claim.id.as_str())
                    .await?;
            }
        }
        Ok(())
    }
}

fn trouble(claim: &Claim, why: &NotRead) -> Again {
    tracing::warn!(partner = %claim.partner, claim = %claim.id, %why, "the client's channels could not be read");
    match why {
        NotRead::Later(least) => Again::Later(*least),
        _ => Again::Later(None),
    }
}
