//! A claim: what a browser says on a tenant's behalf, and how much of it 360dialog has confirmed since.
//!
//! A state or a token proves who asks, not who owns the number: a claim changes no channel by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER;
use dialog360::channel::ChannelObject;
use dialog360::event::Permission;
use dialog360::id::{ChannelId, ChannelRef, ClientId, PartnerId};
use dialog360::redirect::RedirectQuery;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::fact::{Assertion, Fact, Source};
use crate::session::Session;
use crate::tenant::Tenant;

/// How much earlier than its session's link a channel may have been created and still count as created in it:
/// clocks differ.
const CLOCK_ALLOWANCE: SignedDuration = SignedDuration::from_mins(5);

/// How far back a claim without a session reaches when it asks which channels are new.
const SESSIONLESS_REACH: SignedDuration = SignedDuration::from_hours(24);

/// The letter with which the id of a claim without a session begins; a second begins with none.
const SESSIONLESS: char = 'c';

/// The number of digits of the hash in such an id.
const HASH: usize = 64;

/// The most digits of a second.
const LONGEST_SECOND: usize = 19;

/// How long an id may stay unknown to 360dialog before it is refused.
const UNKNOWN_ID_PATIENCE: SignedDuration = SignedDuration::from_hours(24);

/// How long after the door `provision` looks at the latest, should the stream lose the record.
const FIRST_LOOK: SignedDuration = SignedDuration::from_secs(60);

/// The name of a claim: the second of its session, or a hash of tenant and content where there is none; no two sessions
/// share one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClaimId(String);

impl ClaimId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is the name of a session.
    pub fn has_session(&self) -> bool {
        !self.0.starts_with(SESSIONLESS)
    }

    /// An id as the table holds it.
    pub fn from_table(id: impl Into<String>) -> Self {
        Self(id.into())
    }
}

/// The text is no id of a claim. The text itself is not repeated: it may be anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a claim's id is the second of its session, or 'c' and 64 hexadecimal digits")]
pub struct ClaimIdError;

impl FromStr for ClaimId {
    type Err = ClaimIdError;

    fn from_str(text: &str) -> Result<Self, ClaimIdError> {
        let is_digit = |byte: u8| byte.is_ascii_digit();
        let is_hex = |byte: u8| is_digit(byte) || (b'a'..=b'f').contains(&byte);
        let is_id = match text.strip_prefix(SESSIONLESS) {
            Some(hash) => hash.len() == HASH && hash.bytes().all(is_hex),
            None => (1..=LONGEST_SECOND).contains(&text.len()) && text.bytes().all(is_digit),
        };
        is_id.then(|| Self(text.to_owned())).ok_or(ClaimIdError)
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
    /// When it is looked at next (ms); `None` once it is registered, closed or held.
    #[serde(default, with = "jiff::fmt::serde::timestamp::millisecond::optional")]
    pub due_at: Option<Timestamp>,
    /// When it was registered with its client (ms); `None` while nobody but the door has seen it.
    #[serde(default, with = "jiff::fmt::serde::timestamp::millisecond::optional")]
    pub registered_at: Option<Timestamp>,
    /// How many claims without a session had the same tenant and content before, and are closed.
    #[serde(default, skip_serializing_if = "is_first")]
    pub generation: u32,
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

    /// The claim of an authenticated caller without a state; `None` when it was cancelled. The same tenant and content
    /// give the same id.
    pub fn from_caller(
        partner: &PartnerId,
        tenant: &Tenant,
        query: &RedirectQuery,
        now: Timestamp,
    ) -> Option<Self> {
        // JSON keeps the two texts apart whatever they hold.
        let content = serde_json::json!([tenant.as_str(), query.digest()]).to_string();
        let hash = HEXLOWER.encode(&Sha256::digest(content));
        let id = ClaimId(format!("{SESSIONLESS}{hash}"));
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
            registered_at: None,
            generation: 0,
        })
    }

    /// The name of this claim that no other claim ever has: the claims of one id differ in their generation.
    pub fn cause(&self) -> String {
        match self.generation {
            0 => self.id.to_string(),
            generation => format!("{}.{generation}", self.id),
        }
    }

    /// Notes that it is registered with its client, which makes it due from now on.
    pub fn register(&mut self, now: Timestamp) {
        self.registered_at = Some(now);
        self.due_at = None;
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
                    self.cause(),
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

    /// Takes it up again after it was left to an operator.
    pub fn reopen(&mut self) {
        if self.status == ClaimStatus::Held {
            self.status = ClaimStatus::Pending;
        }
    }

    /// Leaves it to an operator.
    pub fn hold(&mut self) {
        self.close(ClaimStatus::Held);
    }

    fn close(&mut self, status: ClaimStatus) {
        self.status = status;
        self.due_at = None;
    }
}

fn is_first(generation: &u32) -> bool {
    *generation == 0
}

fn earlier(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.saturating_sub(by).unwrap_or(at)
}

#[cfg(test)]
#[path = "claim_tests.rs"]
mod tests;
