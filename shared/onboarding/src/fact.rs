//! A fact: one thing that 360dialog, `provision` or an operator said about one channel, kept for ever or for 90 days.
//!
//! A channel is nothing but the join of its facts (see [`crate::channel`]); a fact is never changed.

use data_encoding::HEXLOWER;
use dialog360::Description;
use dialog360::channel::ChannelObject;
use dialog360::event::{HubEvent, Permission, Stage};
use dialog360::id::{ChannelRef, ClientId, PartnerId};
use jiff::{Timestamp, ToSpan};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::tenant::Tenant;

/// How long facts of the kinds [`Kind::Raw`], [`Kind::Descriptive`] and [`Kind::Stage`] are kept, in hours (90 days), if no
/// operator said them. A cancellation stays for ever: sent again later it would be a new fact, and cancel a channel that
/// was reopened.
pub const PASSING_FACT_HOURS: i64 = 90 * 24;

/// Seconds of an hour.
const HOUR: i64 = 3600;

/// Who said it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// A signed webhook of 360dialog.
    Webhook,
    /// `provision`: a confirmed claim, a binding, a decision about the key, a read.
    Provision,
    /// A person on duty.
    Operator,
}

/// What sort of fact it is; decides how long it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// An event whose name is not known, or what an operator decided about a claim; changes nothing of the channel.
    Raw,
    /// Phone number, display name, quality, limit, client.
    Descriptive,
    /// Stage.
    Stage,
    /// Cancelled, or reopened by an operator.
    Cancellation,
    /// Permission granted or revoked.
    Permission,
    /// The channel belongs to a tenant.
    Bound,
    /// What was decided about the key.
    Key,
    /// The key is stored.
    KeyStored,
    /// Where the number's messaging webhook stands.
    MessagingWebhook,
}

impl Kind {
    /// Whether facts of this kind may be forgotten after [`PASSING_FACT_HOURS`].
    pub fn is_passing(self) -> bool {
        matches!(self, Self::Raw | Self::Descriptive | Self::Stage)
    }
}

/// The identity of a fact: lower-case hex SHA-256, so that the same thing said twice is one fact.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FactId(String);

impl FactId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn hash(source: Source, kind: Kind, assertion: &Assertion, cause: &str) -> Self {
        // A tuple of plain data always serialises; an empty text would still be a valid, if shared, id.
        let content = serde_json::to_vec(&(source, kind, assertion, cause)).unwrap_or_default();
        Self(HEXLOWER.encode(&Sha256::digest(content)))
    }

    /// The id of an event that was received at `at`: that of its bytes.
    ///
    /// The same bytes may grant a permission again after a revocation. If nothing in them tells the two apart, the hour
    /// of the receipt does.
    fn from_event(event: &HubEvent, at: Timestamp) -> Self {
        let bytes = event.id.as_str();
        if event.permission != Some(Permission::Granted) || event.has_own_id {
            return Self(bytes.to_owned());
        }
        let hour = at.as_second().div_euclid(HOUR);
        Self(HEXLOWER.encode(&Sha256::digest(format!("{bytes} {hour}"))))
    }
}

/// Whose a channel is: written only after the client was given to the tenant for good.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Binding {
    /// The partner's customer.
    pub tenant: Tenant,
    /// The 360dialog client the tenant owns.
    pub client: ClientId,
    /// The channel was created in the onboarding session of the claim that named or found it.
    pub fresh: bool,
}

/// Where the key of a channel stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyStatus {
    /// No key is wanted.
    None,
    /// A key will be made once the reason is gone.
    Waiting,
    /// A key is being made.
    Minting,
    /// The key is stored: the number can send.
    Stored,
    /// Only an operator can go on.
    Blocked,
}

/// Why the key stands where it stands; the words are part of the HTTP contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyReason {
    /// No tenant owns the channel's client yet.
    Unclaimed,
    /// The channel has not reached the stage `running`.
    NotRunning,
    /// The client has not permitted the partner to create keys.
    AwaitingPermission,
    /// 360dialog refused the partner's credentials.
    BadCredentials,
    /// 360dialog could not be asked, or did not answer clearly.
    HubUnavailable,
    /// No key could be sealed, so none was made.
    VaultUnavailable,
    /// `AUTO_PROVISION` is off.
    SwitchedOff,
    /// A claim waits for an operator.
    HeldForReview,
    /// The channel has a key that is not ours.
    ExistingKey,
    /// 360dialog does not list which keys exist.
    KeysUnlisted,
    /// The channel belongs to another client.
    WrongClient,
    /// 360dialog refused to create the key.
    HubRefused,
    /// The channel was cancelled.
    Cancelled,
}

/// Where the key of a channel stands, and why.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct KeyState {
    /// Where it stands.
    pub status: KeyStatus,
    /// Why; `None` where the status says it all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<KeyReason>,
    /// 360dialog's id of the stored key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
}

impl KeyState {
    /// A state without a key.
    pub fn without_key(status: KeyStatus, reason: KeyReason) -> Self {
        Self {
            status,
            reason: Some(reason),
            key_id: None,
        }
    }

    /// A key is stored. 360dialog may not have told its id.
    pub fn stored(key_id: Option<String>) -> Self {
        Self {
            status: KeyStatus::Stored,
            reason: None,
            key_id,
        }
    }

    /// A key is being made.
    pub fn minting() -> Self {
        Self {
            status: KeyStatus::Minting,
            reason: None,
            key_id: None,
        }
    }
}

/// Where a number's messaging webhook stands: whether its messages go to `MESSAGING_WEBHOOK_URL`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MessagingWebhook {
    /// None is to be set.
    Off,
    /// It is to be set.
    Waiting,
    /// It is set at the number.
    Set,
    /// It could not be set. It is tried again all the same.
    Failed,
}

/// What a fact asserts of a channel; every field that is `None` says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Assertion {
    /// The client the channel belongs to at 360dialog.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<ClientId>,
    /// The stage that was reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stage: Option<Stage>,
    /// `true`: the cancellation was processed; `false`: an operator reopened the channel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cancelled: Option<bool>,
    /// Whether the partner may create keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub permission: Option<Permission>,
    /// A confirmed claim named the channel.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub claimed: bool,
    /// Whose the channel is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub binding: Option<Binding>,
    /// Where its key stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyState>,
    /// Where its messaging webhook stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub messaging_webhook: Option<MessagingWebhook>,
    /// What describes the channel.
    #[serde(skip_serializing_if = "Description::is_empty")]
    pub description: Description,
}

impl Assertion {
    /// Whether it asserts nothing at all.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    fn kind(&self) -> Kind {
        match self {
            Self {
                binding: Some(_), ..
            } => Kind::Bound,
            Self { key: Some(key), .. } if key.status == KeyStatus::Stored => Kind::KeyStored,
            Self { key: Some(_), .. } => Kind::Key,
            Self {
                messaging_webhook: Some(_),
                ..
            } => Kind::MessagingWebhook,
            Self {
                permission: Some(_),
                ..
            }
            | Self { claimed: true, .. } => Kind::Permission,
            Self {
                cancelled: Some(_), ..
            } => Kind::Cancellation,
            Self { stage: Some(_), .. } => Kind::Stage,
            assertion if assertion.is_nothing() => Kind::Raw,
            _ => Kind::Descriptive,
        }
    }
}

/// One thing said about one channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fact {
    /// Its identity.
    pub id: FactId,
    /// The channel it is about.
    pub channel: ChannelRef,
    /// Who said it.
    pub source: Source,
    /// What sort of fact it is.
    pub kind: Kind,
    /// What it says.
    pub assertion: Assertion,
    /// When it was said (ms): a webhook's arrival, the moment a read was sent, a claim's arrival.
    #[serde(with = "jiff::fmt::serde::timestamp::millisecond::required")]
    pub received_at: Timestamp,
    /// What led to it: an event's name, a claim, an attempt, the moment of a read.
    pub cause: String,
}

impl Fact {
    /// That `assertion` was made of `channel` at `received_at`, because of `cause`.
    pub fn new(
        channel: ChannelRef,
        source: Source,
        assertion: Assertion,
        received_at: Timestamp,
        cause: impl Into<String>,
    ) -> Self {
        let (kind, cause) = (assertion.kind(), cause.into());
        Self {
            id: FactId::hash(source, kind, &assertion, &cause),
            channel,
            source,
            kind,
            assertion,
            received_at,
            cause,
        }
    }

    /// The fact a verified webhook event states, or `None` if it names no channel.
    ///
    /// Its id is the hash of the event's own bytes, for a grant of permission without an `id` of its own also of the hour:
    /// the envelope's `id` is not known to be unique.
    pub fn from_event(
        partner: &PartnerId,
        event: &HubEvent,
        received_at: Timestamp,
    ) -> Option<Self> {
        let channel = ChannelRef::new(partner.clone(), event.channel.clone()?);
        let assertion = if event.is_understood() {
            Assertion::from(event)
        } else {
            Assertion::default()
        };
        Some(Self {
            id: FactId::from_event(event, received_at),
            channel,
            source: Source::Webhook,
            kind: assertion.kind(),
            assertion,
            received_at,
            cause: event.name.clone().unwrap_or_default(),
        })
    }

    /// When the fact may be forgotten, or `None` for never.
    pub fn expires_at(&self) -> Option<Timestamp> {
        let is_passing = self.kind.is_passing() && self.source != Source::Operator;
        is_passing
            .then(|| {
                self.received_at
                    .saturating_add(PASSING_FACT_HOURS.hours())
                    .ok()
            })
            .flatten()
    }
}

impl From<&HubEvent> for Assertion {
    fn from(event: &HubEvent) -> Self {
        Self {
            client: event.client.clone(),
            stage: event.stage,
            cancelled: event.cancelled.then_some(true),
            permission: event.permission,
            description: event.description.clone(),
            ..Self::default()
        }
    }
}

impl From<&ChannelObject> for Assertion {
    fn from(channel: &ChannelObject) -> Self {
        Self {
            client: channel.client.clone(),
            stage: channel.stage(),
            cancelled: channel.is_dead.then_some(true),
            description: channel.description.clone(),
            ..Self::default()
        }
    }
}

#[cfg(test)]
#[path = "fact_tests.rs"]
mod tests;
