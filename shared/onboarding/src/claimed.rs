//! An id that an open claim names, and how the tenant sees it until it is the tenant's channel.

use dialog360::Description;
use dialog360::id::{ChannelId, ChannelRef, ClientId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::channel::{ChannelView, ClaimView, KeyView, PermissionView, shown};
use crate::claim::{Claim, ClaimId, ClaimStatus, Settled};
use crate::fact::KeyReason;
use crate::tenant::Tenant;

/// One id that an open claim names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimedId {
    /// The id.
    pub channel: ChannelRef,
    /// The tenant that claims it.
    pub tenant: Tenant,
    /// The client that the claim names with it.
    pub client: ClientId,
    /// The claim.
    pub claim: ClaimId,
    /// The generation of the claim.
    #[serde(default)]
    pub generation: u32,
    /// Where the claim stands: pending or held.
    pub status: ClaimStatus,
    /// When the claim came in (ms).
    #[serde(with = "jiff::fmt::serde::timestamp::millisecond::required")]
    pub received_at: Timestamp,
}

impl ClaimedId {
    /// The id as the tenant sees it: who claims it, and nothing that is known of it.
    pub fn view(&self) -> ChannelView {
        let (claim, reason) = match self.status {
            ClaimStatus::Held => (ClaimView::Held, KeyReason::HeldForReview),
            _ => (ClaimView::Pending, KeyReason::Unclaimed),
        };
        ChannelView {
            id: self.channel.channel.clone(),
            partner_id: self.channel.partner.clone(),
            client_id: self.client.clone(),
            tenant: self.tenant.clone(),
            stage: None,
            permission: PermissionView::Unknown,
            claim,
            key: KeyView::waiting(reason),
            messaging_webhook: None,
            description: shown(Description::new()),
            updated_at: self.received_at,
        }
    }
}

impl Claim {
    /// An id of this claim, as it is noted.
    pub fn claimed(&self, id: &ChannelId) -> ClaimedId {
        ClaimedId {
            channel: ChannelRef::new(self.partner.clone(), id.clone()),
            tenant: self.tenant.clone(),
            client: self.client.clone(),
            claim: self.id.clone(),
            generation: self.generation,
            status: self.status,
            received_at: self.received_at,
        }
    }

    /// The ids it names, as the tenant sees them while the claim is open.
    pub fn views(&self) -> impl Iterator<Item = ChannelView> {
        let refused = |id: &&ChannelId| self.settled.get(*id) == Some(&Settled::Refused);
        self.channels
            .iter()
            .chain(&self.revoked)
            .filter(move |id| !refused(id))
            .map(|id| self.claimed(id).view())
    }
}
