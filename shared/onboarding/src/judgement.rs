//! The meaning of one read of a client's channels for the open claims on that client.

use std::collections::BTreeSet;

use dialog360::channel::ChannelObject;
use dialog360::id::ChannelId;
use jiff::{SignedDuration, Timestamp};

use crate::claim::Claim;
use crate::tenant::Tenant;

/// How long a claim that names none of the client's channels waits for another tenant's claim.
const MERE_ID_WAIT: SignedDuration = SignedDuration::from_hours(1);

/// The outcome for one claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The client is its tenant's: what it names and the list shows is confirmed.
    Grant,
    /// An operator decides.
    Hold,
    /// It stays open.
    Wait,
    /// The client is another tenant's, or unknown to 360dialog for too long.
    Refuse,
}

/// The outcome of a look at a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// The tenant that the client belongs to, or is to be bound to.
    pub owner: Option<Tenant>,
    /// One verdict for each claim, in their order.
    pub verdicts: Vec<Verdict>,
}

/// Judges `claims`, all open claims on a client, by the channels that 360dialog lists as the client's.
///
/// A client without an `owner` is bound only to a tenant with a claim that names a listed channel, if all its channels
/// were created in one of that tenant's sessions and no other tenant's claim names a listed channel. `decision`, an
/// operator's, stands above that.
pub fn judge(
    owner: Option<&Tenant>,
    decision: Option<&Tenant>,
    claims: &[Claim],
    listed: &[ChannelObject],
    now: Timestamp,
) -> Judgement {
    let owner = decision.or(owner);
    let look = Look {
        claims,
        listed,
        found: listed.iter().map(|channel| &channel.id).collect(),
        now,
    };
    let owner = owner.or_else(|| look.winner());
    let verdict = |claim: &Claim| match owner {
        Some(owner) if *owner == claim.tenant => Verdict::Grant,
        Some(_) => Verdict::Refuse,
        None => look.verdict(claim),
    };
    Judgement {
        owner: owner.cloned(),
        verdicts: claims.iter().map(verdict).collect(),
    }
}

struct Look<'a> {
    claims: &'a [Claim],
    listed: &'a [ChannelObject],
    found: BTreeSet<&'a ChannelId>,
    now: Timestamp,
}

impl<'a> Look<'a> {
    /// The tenant to which the client is to be bound.
    fn winner(&self) -> Option<&'a Tenant> {
        if self.listed.is_empty() {
            return None;
        }
        let naming = self.tenants(|claim| self.names_listed(claim));
        let all = self.tenants(|_| true);
        let tenant = match (naming.len(), all.len()) {
            (1, _) => naming.first(),
            (0, 1) if self.claims.iter().any(|claim| self.has_waited(claim)) => all.first(),
            _ => None,
        };
        tenant.copied().filter(|tenant| self.is_fresh_for(tenant))
    }

    fn tenants(&self, which: impl Fn(&Claim) -> bool) -> BTreeSet<&'a Tenant> {
        let claims = self.claims.iter().filter(|claim| which(claim));
        claims.map(|claim| &claim.tenant).collect()
    }

    fn names_listed(&self, claim: &Claim) -> bool {
        let mut named = claim.channels.iter().chain(&claim.revoked);
        named.any(|id| self.found.contains(id))
    }

    /// Whether all channels were created in one of the tenant's sessions.
    fn is_fresh_for(&self, tenant: &Tenant) -> bool {
        let mut theirs = self.claims.iter().filter(|claim| claim.tenant == *tenant);
        theirs.any(|claim| self.listed.iter().all(|channel| claim.is_fresh(channel)))
    }

    fn has_waited(&self, claim: &Claim) -> bool {
        let since = claim.registered_at.unwrap_or(claim.received_at);
        self.now.duration_since(since) >= MERE_ID_WAIT
    }

    /// The verdict on a claim while the client is nobody's.
    fn verdict(&self, claim: &Claim) -> Verdict {
        // An old channel, and another tenant that names one of the channels, need an operator.
        let is_settled = self.names_listed(claim)
            || !(self.listed.is_empty() || self.is_fresh_for(&claim.tenant))
            || (!self.listed.is_empty() && self.has_waited(claim));
        if is_settled {
            return Verdict::Hold;
        }
        match claim.patience_is_over(self.now) {
            true => Verdict::Refuse,
            false => Verdict::Wait,
        }
    }
}

#[cfg(test)]
#[path = "judgement_tests.rs"]
mod tests;
