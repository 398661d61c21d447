//! A claim: what a browser says on a tenant's behalf, and how much of it 360dialog has confirmed since.
//!
//! A state or a token proves who asks, not who owns the number: a claim changes no channel by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use data_encoding::HEXLOWER;
use dialog360::Description;
use dialog360::channel::ChannelObject;
use dialog360::event::Permission;
use dialog360::id::{ChannelId, ChannelRef, ClientId, PartnerId};
use dialog360::redirect::RedirectQuery;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::channel::{ChannelView, ClaimView, KeyView, PermissionView, shown};
use crate::fact::{Assertion, Binding, Fact, KeyReason, Source};
use crate::session::Session;
use crate::tenant::Tenant;

/// How much earlier than its session's link a channel may have been created and still count as created in it:
/// clocks differ.
const CLOCK_ALLOWANCE: SignedDuration = SignedDuration::from_mins(5);

/// How far back a claim without a session reaches when it asks which channels are new.
const SESSIONLESS_REACH: SignedDuration = SignedDuration::from_hours(24);

/// How long an id may stay unknown to 360dialog before it is refused.
const UNKNOWN_ID_PATIENCE: SignedDuration = SignedDuration::from_hours(24);

/// How long after the door `provision` looks at the latest, should the stream lose the record.
const FIRST_LOOK: SignedDuration = SignedDuration::from_secs(60);

/// The name of a claim: the second of its session, or a hash where there is none; no two sessions share one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClaimId(String);

impl ClaimId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// An id as the table holds it.
    pub fn from_table(id: impl Into<String>) -> Self {
        Self(id.into())
    }
}

impl fmt::Display for ClaimId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a claim stands as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClaimStatus {
    /// Not all of it is settled; looked at again at `due_at`.
    Pending,
    /// The client is nobody's and its channels are older than the session: an operator decides.
    Held,
    /// All of it is settled, and something of it was confirmed.
    Confirmed,
    /// Nothing of it holds.
    Refused,
}

/// How one id of a claim was settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Settled {
    /// 360dialog listed it as the client's.
    Confirmed,
    /// 360dialog did not list it for 24 hours.
    Refused,
}

/// What a read of an unclaimed client's channels says about the right to bind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BindDecision {
    /// It has no channel yet: wait.
    Wait,
    /// It has some, and all were created in the session: bind.
    Bind,
    /// Some existed before: hold.
    Hold,
}

/// One claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The partner it is about.
    pub partner: PartnerId,
    /// Its name.
    pub id: ClaimId,
    /// On whose behalf it was made.
    pub tenant: Tenant,
    /// The client it claims.
    pub client: ClientId,
    /// The channels the browser says were permitted.
    pub channels: Vec<ChannelId>,
    /// The channels the browser says were taken back.
    pub revoked: Vec<ChannelId>,
    /// The digest of client and both lists as sets.
    pub digest: String,
    /// When it came in (ms).
    #[serde(with = "jiff::fmt::serde::timestamp::millisecond::required")]
    pub received_at: Timestamp,
    /// Channels created since then count as created in its session (ms).
    #[serde(with = "jiff::fmt::serde::timestamp::millisecond::required")]
    pub fresh_since: Timestamp,
    /// Where it stands.
    pub status: ClaimStatus,
    /// The ids that are settled.
    #[serde(default)]
    pub settled: BTreeMap<ChannelId, Settled>,
    /// How often it was looked at in vain.
    #[serde(default)]
    pub tries: u32,
    /// When it is looked at next (ms); `None` once it is closed or held.
    #[serde(default, with = "jiff::fmt::serde::timestamp::millisecond::optional")]
    pub due_at: Option<Timestamp>,
}

impl Claim {
    /// The claim of a browser that came back with a valid state; `None` when it was cancelled.
    pub fn from_session(session: &Session, query: &RedirectQuery, now: Timestamp) -> Option<Self> {
        let id = ClaimId(session.second.to_string());
        let fresh_since = earlier(session.issued_at, CLOCK_ALLOWANCE);
        Self::new(
            (&session.partner, &session.tenant),
            id,
            query,
            now,
            fresh_since,
        )
    }

    /// The claim of an authenticated caller without a state; `None` when it was cancelled.
    pub fn from_caller(
        partner: &PartnerId,
        tenant: &Tenant,
        query: &RedirectQuery,
        now: Timestamp,
    ) -> Option<Self> {
        // JSON keeps the two texts apart whatever they hold.
        let content =
            serde_json::json!([tenant.as_str(), query.digest(), now.as_second()]).to_string();
        let id = ClaimId(format!("c{}", HEXLOWER.encode(&Sha256::digest(content))));
        Self::new(
            (partner, tenant),
            id,
            query,
            now,
            earlier(now, SESSIONLESS_REACH),
        )
    }

    fn new(
        (partner, tenant): (&PartnerId, &Tenant),
        id: ClaimId,
        query: &RedirectQuery,
        now: Timestamp,
        fresh_since: Timestamp,
    ) -> Option<Self> {
        Some(Self {
            partner: partner.clone(),
            id,
            tenant: tenant.clone(),
            client: query.client.clone()?,
            channels: query.channels.clone(),
            revoked: query.revoked.clone(),
            digest: query.digest(),
            received_at: now,
            fresh_since,
            status: ClaimStatus::Pending,
            settled: BTreeMap::new(),
            tries: 0,
            due_at: Some(now.saturating_add(FIRST_LOOK).unwrap_or(now)),
        })
    }

    /// Whether it is neither confirmed nor refused.
    pub fn is_open(&self) -> bool {
        matches!(self.status, ClaimStatus::Pending | ClaimStatus::Held)
    }

    /// The ids it names that are not settled.
    pub fn unsettled(&self) -> impl Iterator<Item = &ChannelId> {
        self.channels
            .iter()
            .chain(&self.revoked)
            .filter(|id| !self.settled.contains_key(*id))
    }

    /// Whether a channel was created in the claim's session; no, if 360dialog does not say when.
    pub fn is_fresh(&self, channel: &ChannelObject) -> bool {
        channel
            .created_at
            .is_some_and(|created_at| created_at >= self.fresh_since)
    }

    /// Whether all the channels of its client, as just read, allow the client to be bound by this claim.
    pub fn bind_decision(&self, listed: &[ChannelObject]) -> BindDecision {
        match listed {
            [] => BindDecision::Wait,
            all if all.iter().all(|channel| self.is_fresh(channel)) => BindDecision::Bind,
            _ => BindDecision::Hold,
        }
    }

    /// What `read` makes known of a channel of the claim's client, once the client is the tenant's.
    pub fn binding_of(&self, channel: &ChannelObject) -> Binding {
        Binding {
            tenant: self.tenant.clone(),
            client: self.client.clone(),
            fresh: self.is_fresh(channel),
        }
    }

    /// The permission facts for the ids that are named, unsettled and among `listed`; dated as the claim.
    pub fn permission_facts(&self, listed: &[ChannelObject]) -> Vec<Fact> {
        let found: BTreeSet<&ChannelId> = listed.iter().map(|channel| &channel.id).collect();
        let granted = self.channels.iter().map(|id| (id, Permission::Granted));
        let revoked = self.revoked.iter().map(|id| (id, Permission::Revoked));
        granted
            .chain(revoked)
            .filter(|(id, _)| found.contains(id) && !self.settled.contains_key(*id))
            .map(|(id, permission)| {
                let assertion = Assertion {
                    permission: Some(permission),
                    claimed: true,
                    ..Assertion::default()
                };
                Fact::new(
                    ChannelRef::new(self.partner.clone(), id.clone()),
                    Source::Provision,
                    assertion,
                    self.received_at,
                    self.id.as_str(),
                )
            })
            .collect()
    }

    /// Settles what can be settled after a read of the client's channels, once the client is the tenant's.
    ///
    /// The claim stays open: see [`Claim::close_if_settled`].
    pub fn settle(&mut self, listed: &[ChannelObject], now: Timestamp) {
        let found: BTreeSet<&ChannelId> = listed.iter().map(|channel| &channel.id).collect();
        let patience_is_over = self.patience_is_over(now);
        for id in self.unsettled().cloned().collect::<Vec<_>>() {
            if found.contains(&id) {
                self.settled.insert(id, Settled::Confirmed);
            } else if patience_is_over {
                self.settled.insert(id, Settled::Refused);
            }
        }
    }

    /// The ids that 360dialog confirmed.
    pub fn confirmed(&self) -> impl Iterator<Item = &ChannelId> {
        self.settled
            .iter()
            .filter(|(_, settled)| **settled == Settled::Confirmed)
            .map(|(id, _)| id)
    }

    /// Closes it if every id is settled; to be called once the channels it confirmed show their tenant, so that an id
    /// is seen as claimed or as a channel at any time.
    pub fn close_if_settled(&mut self) {
        if self.unsettled().next().is_none() {
            let nothing_held =
                !self.settled.is_empty() && self.settled.values().all(|s| *s == Settled::Refused);
            self.close(if nothing_held {
                ClaimStatus::Refused
            } else {
                ClaimStatus::Confirmed
            });
        }
    }

    /// Whether an id 360dialog does not know is no longer waited for.
    pub fn patience_is_over(&self, now: Timestamp) -> bool {
        now.duration_since(self.received_at) >= UNKNOWN_ID_PATIENCE
    }

    /// Refuses all of it.
    pub fn refuse(&mut self) {
        self.close(ClaimStatus::Refused);
    }

    /// Leaves it to an operator.
    pub fn hold(&mut self) {
        self.close(ClaimStatus::Held);
    }

    fn close(&mut self, status: ClaimStatus) {
        self.status = status;
        self.due_at = None;
    }

    /// The ids it names, as the tenant sees them while the claim is open.
    pub fn views(&self) -> impl Iterator<Item = ChannelView> {
        let (claim, reason) = match self.status {
            ClaimStatus::Held => (ClaimView::Held, KeyReason::HeldForReview),
            _ => (ClaimView::Pending, KeyReason::Unclaimed),
        };
        let refused = |id: &&ChannelId| self.settled.get(*id) != Some(&Settled::Refused);
        self.channels
            .iter()
            .chain(&self.revoked)
            .filter(refused)
            .map(move |id| ChannelView {
                id: id.clone(),
                partner_id: self.partner.clone(),
                client_id: self.client.clone(),
                tenant: self.tenant.clone(),
                stage: None,
                permission: PermissionView::Unknown,
                claim,
                key: KeyView::waiting(reason),
                description: shown(Description::new()),
                updated_at: self.received_at,
            })
    }
}

fn earlier(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.saturating_sub(by).unwrap_or(at)
}

#[cfg(test)]
#[path = "claim_tests.rs"]
mod tests;
