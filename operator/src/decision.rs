//! An operator's decisions: whose a client is, and that a claim is refused.
//!
//! A decision is recorded first, then the facts that tell of it, then the client is put into the line: the next look at it
//! carries the decision out. Whoever was interrupted gives the same command again.

use std::collections::BTreeSet;

use dialog360::id::{ChannelId, ChannelRef, ClientId, PartnerId};
use jiff::{SignedDuration, Timestamp};
use onboarding::channel::Channel;
use onboarding::claim::{Claim, ClaimId, ClaimStatus};
use onboarding::fact::{Assertion, Binding, Fact, Source};
use onboarding::tenant::Tenant;
use runtime::clock;
use store::table::prefix;
use store::{Channels, ClaimedIds, Claims, Clients, Error, Facts, Queue};
use store::{StoredChannel, StoredClaim, Subject, Write};

use crate::instance::{Instance, OperatorError};
use crate::reporter::word;

/// The calls that a tenant pays for: a look, and one key.
const CALLS: usize = 3;

/// How often a claim is refused, or taken up again, while others save it.
const ATTEMPTS: usize = 8;

/// The smallest time by which a fact can be later than another.
pub(crate) const ONE_STEP: SignedDuration = SignedDuration::from_millis(1);

/// Why a decision was not made. The message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum DecisionError {
    /// The client belongs to nobody.
    #[error(
        "client {1} of {0} belongs to no tenant: check both ids; `operator confirm` gives it to a tenant that claims it"
    )]
    BelongsToNobody(PartnerId, ClientId),
    /// The client belongs to this other tenant.
    #[error("client {1} of {0} belongs to {2} already: `operator move {0} {1} TENANT` moves it")]
    BelongsToAnother(PartnerId, ClientId, String),
    /// The client belongs to this very tenant.
    #[error("client {1} of {0} belongs to {2} already: nothing is to be done")]
    BelongsToIt(PartnerId, ClientId, String),
    /// The tenant does not claim the client.
    #[error(
        "{2} has no open claim on client {1} of {0}: check ids and tenant; `operator list {0}` shows held claims and contested clients"
    )]
    NotClaimed(PartnerId, ClientId, String),
    /// There is no such claim.
    #[error(
        "there is no claim {1} of {0}: check both ids; `operator list {0} --held` shows claims"
    )]
    UnknownClaim(PartnerId, ClaimId),
    /// The claim was confirmed.
    #[error(
        "claim {1} of {0} is confirmed already: `operator move` gives its client to another tenant"
    )]
    Confirmed(PartnerId, ClaimId),
    /// The channel is open.
    #[error(
        "channel {1} of {0} is not cancelled: nothing is to be done; `operator why {0} {1}` shows it"
    )]
    NotCancelled(PartnerId, ChannelId),
    /// Others kept saving the claim.
    #[error("claim {1} of {0} keeps changing: give the command again")]
    KeepsChanging(PartnerId, ClaimId),
}

/// A client that is given to a tenant.
struct Decision<'a> {
    partner: &'a PartnerId,
    client: &'a ClientId,
    tenant: &'a Tenant,
    /// The command, as `operator why` shows it.
    cause: String,
}

impl Instance {
    /// Gives a client that belongs to nobody to a tenant that claims it. Returns what was done, in words.
    pub async fn confirm(
        &self,
        partner: &PartnerId,
        client: &ClientId,
        tenant: &Tenant,
    ) -> Result<String, OperatorError> {
        self.must_serve(partner)?;
        let failed = |error| self.store_error(error);
        let about = || (partner.clone(), client.clone(), word(tenant.as_str()));
        let clients = Clients::new(self.table().clone());
        match clients.owner(partner, client).await.map_err(failed)? {
            None => {}
            Some(owner) if owner == *tenant => {
                let (partner, client, tenant) = about();
                return Err(DecisionError::BelongsToIt(partner, client, tenant).into());
            }
            Some(owner) => {
                let (partner, client, _) = about();
                let owner = word(owner.as_str());
                return Err(DecisionError::BelongsToAnother(partner, client, owner).into());
            }
        }
        let open = clients.open_claims(partner, client).await.map_err(failed)?;
        let open = open.claims;
        let is_theirs =
            |stored: &StoredClaim| stored.claim.is_open() && stored.claim.tenant == *tenant;
        if !open.iter().any(is_theirs) {
            let (partner, client, tenant) = about();
            return Err(DecisionError::NotClaimed(partner, client, tenant).into());
        }
        self.decide("confirm", (partner, client), tenant)
            .await
            .map_err(failed)
    }

    /// Moves a client that belongs to another tenant to this one, which need not claim it. Returns what was done, in words.
    pub async fn move_client(
        &self,
        partner: &PartnerId,
        client: &ClientId,
        tenant: &Tenant,
    ) -> Result<String, OperatorError> {
        self.must_serve(partner)?;
        let failed = |error| self.store_error(error);
        let about = || (partner.clone(), client.clone());
        let clients = Clients::new(self.table().clone());
        match clients.owner(partner, client).await.map_err(failed)? {
            Some(owner) if owner != *tenant => {}
            Some(owner) => {
                let (partner, client) = about();
                let owner = word(owner.as_str());
                return Err(DecisionError::BelongsToIt(partner, client, owner).into());
            }
            None => {
                let (partner, client) = about();
                return Err(DecisionError::BelongsToNobody(partner, client).into());
            }
        }
        self.decide("move", (partner, client), tenant)
            .await
            .map_err(failed)
    }

    async fn decide(
        &self,
        verb: &str,
        (partner, client): (&PartnerId, &ClientId),
        tenant: &Tenant,
    ) -> Result<String, Error> {
        let (table, now) = (self.table(), clock::now());
        Clients::new(table.clone())
            .decide(partner, client, tenant)
            .await?;
        let decision = Decision {
            partner,
            client,
            tenant,
            cause: format!("{verb} {client} {tenant} {}", now.as_millisecond()),
        };
        let (mut bound, facts) = (Vec::new(), Facts::new(table.clone()));
        for item in table.scan_kinds(partner, &[prefix::CHANNEL]).await? {
            let channel = StoredChannel::from_item(&item)?.channel;
            if let Some(fact) = decision.fact(&channel, now) {
                let _is_new = facts.append(&fact).await?;
                bound.push(channel.id.channel);
            }
        }
        let subject = Subject::Client(partner.clone(), client.clone());
        let queue = Queue::new(table.clone());
        queue.join_line(&subject, tenant, CALLS, now).await?;
        let (tenant, number) = (word(tenant.as_str()), bound.len());
        Ok(format!(
            "client {client} of {partner} is given to {tenant}, with {number} known channels; the next look at it carries this out"
        ))
    }

    /// Refuses an open claim, and has the other claims on its client judged again. Returns what was done, in words.
    pub async fn refuse(
        &self,
        partner: &PartnerId,
        claim: &ClaimId,
    ) -> Result<String, OperatorError> {
        self.must_serve(partner)?;
        let failed = |error| self.store_error(error);
        let refused = self.refuse_open(partner, claim).await?;
        // A look that is under way finds that the claims have changed; one that was faster has bound the client.
        let clients = Clients::new(self.table().clone());
        let seen = clients.claims_changed(partner, &refused.client).await;
        let owner = seen.map_err(failed)?.owner;
        self.tell_of_refusal(&refused).await.map_err(failed)?;
        let others = self.judge_others(&refused).await.map_err(failed)?;
        let client = &refused.client;
        let tenant = word(refused.tenant.as_str());
        let rest = match others {
            _ if owner.as_ref() == Some(&refused.tenant) => {
                format!(
                    "but the client belongs to {tenant} already: `operator move {partner} {client} TENANT` gives it to another"
                )
            }
            0 => "nobody else claims it".to_owned(),
            others => format!("the next look at it judges the {others} other open claims again"),
        };
        Ok(format!(
            "claim {claim} of {tenant} on client {client} of {partner} is refused; {rest}"
        ))
    }

    /// Refuses a claim that is open, or was refused by a command that was interrupted.
    async fn refuse_open(
        &self,
        partner: &PartnerId,
        claim: &ClaimId,
    ) -> Result<Claim, OperatorError> {
        let failed = |error| self.store_error(error);
        let about = || (partner.clone(), claim.clone());
        let table = self.table();
        let claims = Claims::new(table.clone());
        let clients = Clients::new(table.clone());
        for _ in 0..ATTEMPTS {
            let read = claims.read(partner, claim).await.map_err(failed)?;
            let Some(mut stored) = read else {
                let (partner, claim) = about();
                return Err(DecisionError::UnknownClaim(partner, claim).into());
            };
            if stored.claim.status == ClaimStatus::Confirmed {
                let (partner, claim) = about();
                return Err(DecisionError::Confirmed(partner, claim).into());
            }
            if clients.refuse(&mut stored).await.map_err(failed)? == Write::Done {
                return Ok(stored.claim);
            }
        }
        let (partner, claim) = about();
        Err(DecisionError::KeepsChanging(partner, claim).into())
    }

    /// Appends a fact that changes nothing to every known channel that a refused claim names.
    async fn tell_of_refusal(&self, claim: &Claim) -> Result<(), Error> {
        let (table, now) = (self.table(), clock::now());
        let (channels, facts) = (Channels::new(table.clone()), Facts::new(table.clone()));
        let cause = format!("refuse {} of {}", claim.cause(), claim.tenant);
        let ids: BTreeSet<&ChannelId> = claim.channels.iter().chain(&claim.revoked).collect();
        for id in ids {
            let id = ChannelRef::new(claim.partner.clone(), id.clone());
            if channels.read(&id).await?.exists() {
                let nothing = Assertion::default();
                let fact = Fact::new(id, Source::Operator, nothing, now, cause.clone());
                let _is_new = facts.append(&fact).await?;
            }
        }
        Ok(())
    }

    /// Takes the other open claims on the client of a refused claim up again, and puts the client into the line. Returns how
    /// many there are.
    async fn judge_others(&self, refused: &Claim) -> Result<usize, Error> {
        let (table, now) = (self.table(), clock::now());
        let (partner, client) = (&refused.partner, &refused.client);
        let clients = Clients::new(table.clone());
        let mut others = clients.open_claims(partner, client).await?.claims;
        others.retain(|stored| stored.claim.is_open());
        for stored in &others {
            self.reopen(stored.clone()).await?;
        }
        if let Some(first) = others.first() {
            let subject = Subject::Client(partner.clone(), client.clone());
            let (queue, payer) = (Queue::new(table.clone()), &first.claim.tenant);
            queue.join_line(&subject, payer, CALLS, now).await?;
        }
        Ok(others.len())
    }

    /// Takes a held claim up again. If others save it meanwhile, they judge it.
    async fn reopen(&self, mut stored: StoredClaim) -> Result<(), Error> {
        if stored.claim.status != ClaimStatus::Held {
            return Ok(());
        }
        stored.claim.reopen();
        let table = self.table();
        ClaimedIds::new(table.clone()).note(&stored.claim).await?;
        let _judged_meanwhile = Claims::new(table.clone()).save(&stored).await?;
        Ok(())
    }
}

impl Decision<'_> {
    /// The fact that the decision gives a channel to its tenant; `None` if the channel is not the client's.
    ///
    /// It is later than the binding that it ends, whatever the clock of whoever bound it said.
    fn fact(&self, channel: &Channel, now: Timestamp) -> Option<Fact> {
        let bound = channel.binding.as_ref();
        let said = channel.client.as_ref().map(|client| &client.value);
        let client = bound.map(|bound| &bound.value.client).or(said)?;
        if client != self.client || channel.id.partner != *self.partner {
            return None;
        }
        let after = bound.and_then(|bound| bound.at.saturating_add(ONE_STEP).ok());
        let binding = Binding {
            tenant: self.tenant.clone(),
            client: self.client.clone(),
            fresh: false,
        };
        let assertion = Assertion {
            binding: Some(binding),
            ..Assertion::default()
        };
        let at = after.map_or(now, |after| after.max(now));
        let id = channel.id.clone();
        let cause = self.cause.as_str();
        Some(Fact::new(id, Source::Operator, assertion, at, cause))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn channel(client: Option<&str>, bound: Option<(&str, &str)>) -> Channel {
        let id = ChannelRef::new("aPA".parse().unwrap(), "bCH".parse().unwrap());
        let binding = bound.map(|(tenant, client)| Binding {
            tenant: tenant.parse().unwrap(),
            client: client.parse().unwrap(),
            fresh: true,
        });
        let assertion = Assertion {
            client: client.map(|client| client.parse().unwrap()),
            binding,
            ..Assertion::default()
        };
        let fact = Fact::new(id.clone(), Source::Provision, assertion, at(100), "");
        let mut channel = Channel::unknown(id);
        channel.join(&fact);
        channel
    }

    #[test]
    fn the_channels_of_the_client_are_given_to_the_tenant_by_the_latest_fact() {
        let decision = Decision {
            partner: &"aPA".parse().unwrap(),
            client: &"aCL".parse().unwrap(),
            tenant: &"globex".parse().unwrap(),
            cause: "move aCL globex 1".to_owned(),
        };
        for (mut channel, is_theirs) in [
            (channel(Some("aCL"), None), true),
            (channel(None, Some(("acme", "aCL"))), true),
            // At 360dialog it belongs to another client now: it stays with the tenant of the one that it was bound by.
            (channel(Some("zCL"), Some(("acme", "aCL"))), true),
            (channel(Some("aCL"), Some(("acme", "zCL"))), false),
            (channel(Some("zCL"), None), false),
            (channel(None, None), false),
        ] {
            // A clock that is behind.
            let fact = decision.fact(&channel, at(50));
            assert_eq!(fact.is_some(), is_theirs);
            if let Some(fact) = fact {
                channel.join(&fact);
                assert_eq!(channel.tenant(), Some(decision.tenant));
                assert_eq!(fact.expires_at(), None);
            }
        }
    }
}
