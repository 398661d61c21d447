//! A fact: one thing the hub, a claim, `provision` or an operator said about one channel, kept for ever or for
//! 90 days. A channel is nothing but the join of its facts (see [`crate::channel`]); a fact is never changed.

use data_encoding::HEXLOWER;
use jiff::{Timestamp, ToSpan};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::hub_event::{HubEvent, Permission, Stage};
use crate::id::{ChannelId, ClientId, PartnerId, Tenant};

/// How long facts of the kinds [`Kind::Raw`], [`Kind::Descriptive`] and [`Kind::Stage`] are kept, in hours (90 days).
pub const PASSING_FACT_HOURS: i64 = 90 * 24;

/// Who said it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// A signed webhook of the hub.
    Webhook,
    /// A read of the Partner API by the clock.
    Reconcile,
    /// `provision`: a confirmed claim, a binding, a verdict on the key, a read on the way.
    Provision,
    /// A person on duty.
    Operator,
}

/// What sort of fact it is; decides how long it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// An event about a channel whose name is not known; changes nothing.
    Raw,
    /// Phone number, display name, quality, limit, client.
    Descriptive,
    /// Stage, cancellation.
    Stage,
    /// Permission granted or revoked.
    Permission,
    /// The channel belongs to a tenant.
    Bound,
    /// A verdict on the key.
    Key,
    /// The key is in the vault.
    KeyStored,
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

    fn of(source: Source, kind: Kind, said: &Said, cause: &str) -> Self {
        // A tuple of plain data always serialises; an empty text would still be a valid, if shared, id.
        let content = serde_json::to_vec(&(source, kind, said, cause)).unwrap_or_default();
        Self(HEXLOWER.encode(&Sha256::digest(content)))
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
    /// The key is in the vault: the number can send.
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
    /// The hub refused the partner's credentials.
    BadCredentials,
    /// The hub could not be asked, or did not answer clearly.
    HubUnavailable,
    /// `AUTO_PROVISION` is off.
    SwitchedOff,
    /// A claim waits for an operator.
    HeldForReview,
    /// The channel has a key that is not ours.
    ExistingKey,
    /// The hub does not tell which keys exist.
    KeysUnlisted,
    /// The channel belongs to another client.
    WrongClient,
    /// The hub refused to create the key.
    HubRefused,
    /// The channel was cancelled.
    Cancelled,
}

/// A verdict on a channel's key.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct KeyState {
    /// Where it stands.
    pub status: KeyStatus,
    /// Why; `None` where the status says it all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<KeyReason>,
    /// The hub's id of the stored key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    /// The vault's name of the stored key, an opaque reference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_name: Option<String>,
}

impl KeyState {
    /// A state without a key.
    pub fn without_key(status: KeyStatus, reason: KeyReason) -> Self {
        Self {
            status,
            reason: Some(reason),
            key_id: None,
            secret_name: None,
        }
    }

    /// The key `key_id` is in the vault under `secret_name`.
    pub fn stored(key_id: String, secret_name: String) -> Self {
        Self {
            status: KeyStatus::Stored,
            reason: None,
            key_id: Some(key_id),
            secret_name: Some(secret_name),
        }
    }
}

/// What a fact says; every field that is `None` says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Said {
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
    /// The verdict on its key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyState>,
    /// The WhatsApp number, as the hub writes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phone_number: Option<String>,
    /// The number's display name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// Quality rating, in the hub's word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quality: Option<String>,
    /// Messaging limit, in the hub's word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub messaging_limit: Option<String>,
}

impl Said {
    /// Whether nothing is said at all.
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
                permission: Some(_),
                ..
            } => Kind::Permission,
            Self { claimed: true, .. } => Kind::Permission,
            Self { stage: Some(_), .. }
            | Self {
                cancelled: Some(_), ..
            } => Kind::Stage,
            said if said.is_nothing() => Kind::Raw,
            _ => Kind::Descriptive,
        }
    }
}

/// One thing said about one channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fact {
    /// Its identity.
    pub id: FactId,
    /// The hub it is about.
    pub partner: PartnerId,
    /// The channel it is about.
    pub channel: ChannelId,
    /// Who said it.
    pub source: Source,
    /// What sort of fact it is.
    pub kind: Kind,
    /// What it says.
    pub said: Said,
    /// When it was said (ms): a webhook's arrival, the moment a read was sent, a claim's arrival.
    #[serde(with = "jiff::fmt::serde::timestamp::millisecond::required")]
    pub received_at: Timestamp,
    /// What led to it: an event's name, a claim, an attempt, the moment of a read.
    pub cause: String,
}

impl Fact {
    /// What `said` says of a channel, at `received_at`, because of `cause`.
    pub fn new(
        (partner, channel): (&PartnerId, &ChannelId),
        source: Source,
        said: Said,
        received_at: Timestamp,
        cause: impl Into<String>,
    ) -> Self {
        let (kind, cause) = (said.kind(), cause.into());
        let id = FactId::of(source, kind, &said, &cause);
        Self {
            id,
            partner: partner.clone(),
            channel: channel.clone(),
            source,
            kind,
            said,
            received_at,
            cause,
        }
    }

    /// The fact a verified webhook event states, or `None` if it names no channel.
    ///
    /// Its id is the hash of the event's own bytes: the envelope's `id` is not known to be unique.
    pub fn of_event(partner: &PartnerId, event: &HubEvent, received_at: Timestamp) -> Option<Self> {
        let channel = event.channel.clone()?;
        let said = if event.is_understood() {
            Said::from(event)
        } else {
            Said::default()
        };
        Some(Self {
            id: FactId(event.id.as_str().to_owned()),
            partner: partner.clone(),
            channel,
            source: Source::Webhook,
            kind: said.kind(),
            said,
            received_at,
            cause: event.name.clone().unwrap_or_default(),
        })
    }

    /// When the fact may be forgotten, or `None` for never.
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.kind
            .is_passing()
            .then(|| {
                self.received_at
                    .saturating_add(PASSING_FACT_HOURS.hours())
                    .ok()
            })
            .flatten()
    }
}

impl From<&HubEvent> for Said {
    fn from(event: &HubEvent) -> Self {
        Self {
            client: event.client.clone(),
            stage: event.stage,
            cancelled: event.cancelled.then_some(true),
            permission: event.permission,
            phone_number: event.phone_number.clone(),
            display_name: event.display_name.clone(),
            quality: event.quality.clone(),
            messaging_limit: event.messaging_limit.clone(),
            ..Self::default()
        }
    }
}

/// What one read of the Partner API says of one channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The channel.
    pub channel: ChannelId,
    /// The client it belongs to.
    pub client: ClientId,
    /// When the hub created it, if it says so.
    pub created_at: Option<Timestamp>,
    /// The rest of what it says.
    pub said: Said,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fact(said: Said, cause: &str) -> Fact {
        let (partner, channel) = ("xPA".parse().unwrap(), "xCH".parse().unwrap());
        Fact::new(
            (&partner, &channel),
            Source::Provision,
            said,
            Timestamp::UNIX_EPOCH,
            cause,
        )
    }

    #[test]
    fn the_same_content_and_cause_is_the_same_fact_whenever_it_is_said() {
        let granted = || Said {
            permission: Some(Permission::Granted),
            ..Said::default()
        };
        assert_eq!(fact(granted(), "1").id, fact(granted(), "1").id);
        assert_ne!(fact(granted(), "1").id, fact(granted(), "2").id);
        let revoked = Said {
            permission: Some(Permission::Revoked),
            ..Said::default()
        };
        assert_ne!(fact(granted(), "1").id, fact(revoked, "1").id);
    }

    #[test]
    fn only_what_the_hub_says_by_the_way_is_forgotten() {
        let passing = Said {
            phone_number: Some("1".into()),
            ..Said::default()
        };
        let ninety_days = Timestamp::from_second(90 * 24 * 3600).unwrap();
        assert_eq!(fact(passing, "").expires_at(), Some(ninety_days));
        let lasting = Said {
            stage: Some(Stage::Live),
            permission: Some(Permission::Granted),
            ..Said::default()
        };
        assert_eq!(fact(lasting, "").expires_at(), None);
    }
}
