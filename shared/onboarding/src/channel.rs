//! A channel: the join of its facts. Any order, any repetition and any split of the same facts gives the same
//! channel, so nothing here may depend on a clock, on another item or on what came first.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::fact::{Binding, Fact, FactId, KeyReason, KeyState, KeyStatus, Said};
use crate::hub_event::{Permission, Stage};
use crate::id::{ChannelId, ClientId, PartnerId, Tenant};

/// A value, when it was said and by which fact; of two, the later one wins, at equal times the greater fact id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark<T> {
    /// What was said.
    pub value: T,
    /// When (ms).
    #[serde(with = "jiff::fmt::serde::timestamp::millisecond::required")]
    pub at: Timestamp,
    /// By which fact.
    pub fact: FactId,
}

/// One WhatsApp number as the facts about it add up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Channel {
    /// The hub it belongs to.
    pub partner: PartnerId,
    /// Its id at the hub.
    pub id: ChannelId,
    /// The client that owns it at the hub.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<Mark<ClientId>>,
    /// The highest stage reached, and when it first was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reached: Option<Mark<Stage>>,
    /// Whether it is cancelled now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancelled: Option<Mark<bool>>,
    /// Whether the partner may create keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permission: Option<Mark<Permission>>,
    /// That a confirmed claim named it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claimed: Option<Mark<bool>>,
    /// Whose it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binding: Option<Mark<Binding>>,
    /// The owners in whose onboarding session it was created: once fresh, a binding to the same owner stays fresh.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub fresh_for: BTreeSet<(Tenant, ClientId)>,
    /// The last verdict on its key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Mark<KeyState>>,
    /// The WhatsApp number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phone_number: Option<Mark<String>>,
    /// The number's display name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<Mark<String>>,
    /// Quality rating.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quality: Option<Mark<String>>,
    /// Messaging limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub messaging_limit: Option<Mark<String>>,
}

/// The stage as it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShownStage {
    /// The number exists at the hub.
    Created,
    /// It is set up.
    Ready,
    /// It runs; a key may be made.
    Running,
    /// It is live.
    Live,
    /// It is gone.
    Cancelled,
}

impl Channel {
    /// A channel nothing has been said about.
    pub fn unknown(partner: PartnerId, id: ChannelId) -> Self {
        Self {
            partner,
            id,
            client: None,
            reached: None,
            cancelled: None,
            permission: None,
            claimed: None,
            binding: None,
            fresh_for: BTreeSet::new(),
            key: None,
            phone_number: None,
            display_name: None,
            quality: None,
            messaging_limit: None,
        }
    }

    /// Adds one fact. A fact about another channel is none of this channel's business and is left out.
    pub fn join(&mut self, fact: &Fact) {
        if fact.partner != self.partner || fact.channel != self.id {
            return;
        }
        let said = fact.said.clone();
        let Said {
            client,
            stage,
            cancelled,
            permission,
            claimed,
            binding,
            key,
            ..
        } = said;
        join_later(&mut self.client, client, fact);
        join_stage(&mut self.reached, stage, fact);
        join_later(&mut self.cancelled, cancelled, fact);
        join_permission(&mut self.permission, permission, fact);
        join_later(&mut self.claimed, claimed.then_some(true), fact);
        if let Some(binding) = binding.as_ref().filter(|binding| binding.fresh) {
            self.fresh_for
                .insert((binding.tenant.clone(), binding.client.clone()));
        }
        join_later(&mut self.binding, binding, fact);
        join_later(&mut self.key, key, fact);
        join_later(&mut self.phone_number, said.phone_number, fact);
        join_later(&mut self.display_name, said.display_name, fact);
        join_later(&mut self.quality, said.quality, fact);
        join_later(&mut self.messaging_limit, said.messaging_limit, fact);
    }

    /// Adds every one of `facts`.
    pub fn join_all<'a>(&mut self, facts: impl IntoIterator<Item = &'a Fact>) {
        facts.into_iter().for_each(|fact| self.join(fact));
    }

    /// What is left of `said` when everything that this channel already shows is taken out.
    pub fn news(&self, said: Said) -> Said {
        Said {
            client: unless_known(said.client, &self.client),
            stage: said.stage.filter(|stage| {
                self.reached
                    .as_ref()
                    .is_none_or(|reached| *stage > reached.value)
            }),
            cancelled: unless_known(said.cancelled, &self.cancelled),
            permission: unless_known(said.permission, &self.permission),
            claimed: said.claimed && self.claimed.is_none(),
            binding: said.binding.filter(|binding| !self.has_binding(binding)),
            key: unless_known(said.key, &self.key),
            phone_number: unless_known(said.phone_number, &self.phone_number),
            display_name: unless_known(said.display_name, &self.display_name),
            quality: unless_known(said.quality, &self.quality),
            messaging_limit: unless_known(said.messaging_limit, &self.messaging_limit),
        }
    }

    /// Whether it was created in the onboarding session of its owner.
    pub fn is_fresh(&self) -> bool {
        self.binding
            .as_ref()
            .is_some_and(|Mark { value, .. }| self.is_fresh_for(value))
    }

    fn is_fresh_for(&self, binding: &Binding) -> bool {
        self.fresh_for
            .contains(&(binding.tenant.clone(), binding.client.clone()))
    }

    /// Whether `said` adds nothing to the binding there is.
    fn has_binding(&self, said: &Binding) -> bool {
        let same = |known: &Binding| known.tenant == said.tenant && known.client == said.client;
        let is_owner = self
            .binding
            .as_ref()
            .is_some_and(|known| same(&known.value));
        is_owner && (!said.fresh || self.is_fresh_for(said))
    }

    /// The tenant it belongs to.
    pub fn tenant(&self) -> Option<&Tenant> {
        self.binding.as_ref().map(|binding| &binding.value.tenant)
    }

    /// Whether it is cancelled now.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled
            .as_ref()
            .is_some_and(|cancelled| cancelled.value)
    }

    /// Whether the client permits the partner to create keys, as far as is known.
    pub fn is_permitted(&self) -> bool {
        self.permission
            .as_ref()
            .is_some_and(|permission| permission.value == Permission::Granted)
    }

    /// Whether the stage `running` was reached.
    pub fn is_running(&self) -> bool {
        self.reached
            .as_ref()
            .is_some_and(|reached| reached.value >= Stage::Running)
    }

    /// The stage as it is shown, or `None` while none is known.
    pub fn stage(&self) -> Option<ShownStage> {
        if self.is_cancelled() {
            return Some(ShownStage::Cancelled);
        }
        Some(match self.reached.as_ref()?.value {
            Stage::Created => ShownStage::Created,
            Stage::Ready => ShownStage::Ready,
            Stage::Running => ShownStage::Running,
            Stage::Live => ShownStage::Live,
        })
    }

    /// When anything about it last became so.
    pub fn updated_at(&self) -> Option<Timestamp> {
        [
            at(&self.client),
            at(&self.reached),
            at(&self.cancelled),
            at(&self.permission),
            at(&self.claimed),
            at(&self.binding),
            at(&self.key),
            at(&self.phone_number),
            at(&self.display_name),
            at(&self.quality),
            at(&self.messaging_limit),
        ]
        .into_iter()
        .flatten()
        .max()
    }

    /// Where its key stands before the first verdict.
    fn key_to_come(&self) -> KeyView {
        let reason = match (self.is_running(), self.is_permitted()) {
            (false, _) => KeyReason::NotRunning,
            (true, false) => KeyReason::AwaitingPermission,
            (true, true) => {
                return KeyView {
                    status: KeyStatus::Minting,
                    reason: None,
                    secret_name: None,
                };
            }
        };
        KeyView {
            status: KeyStatus::Waiting,
            reason: Some(reason),
            secret_name: None,
        }
    }

    /// The channel as the tenant sees it, or `None` while it belongs to nobody.
    pub fn view(&self) -> Option<ChannelView> {
        let binding = &self.binding.as_ref()?.value;
        Some(ChannelView {
            id: self.id.clone(),
            partner_id: self.partner.clone(),
            client_id: binding.client.clone(),
            tenant: binding.tenant.clone(),
            stage: self.stage(),
            permission: match &self.permission {
                None => PermissionView::Unknown,
                Some(Mark {
                    value: Permission::Granted,
                    ..
                }) => PermissionView::Granted,
                Some(Mark {
                    value: Permission::Revoked,
                    ..
                }) => PermissionView::Revoked,
            },
            claim: if self.claimed.is_some() {
                ClaimView::Confirmed
            } else {
                ClaimView::None
            },
            key: self
                .key
                .as_ref()
                .map_or_else(|| self.key_to_come(), |key| KeyView::from(&key.value)),
            phone_number: value(&self.phone_number),
            display_name: value(&self.display_name),
            quality: value(&self.quality),
            messaging_limit: value(&self.messaging_limit),
            updated_at: self.updated_at().unwrap_or_default(),
        })
    }
}

fn at<T>(mark: &Option<Mark<T>>) -> Option<Timestamp> {
    mark.as_ref().map(|mark| mark.at)
}

fn value<T: Clone>(mark: &Option<Mark<T>>) -> Option<T> {
    mark.as_ref().map(|mark| mark.value.clone())
}

fn unless_known<T: PartialEq>(said: Option<T>, known: &Option<Mark<T>>) -> Option<T> {
    said.filter(|said| known.as_ref().is_none_or(|known| known.value != *said))
}

/// Puts the greater of what stands in `slot` and what `fact` says there; `rank` must be a total order of marks.
fn join_by<T, R: Ord>(
    slot: &mut Option<Mark<T>>,
    said: Option<T>,
    fact: &Fact,
    rank: impl Fn(&Mark<T>) -> R,
) {
    let Some(value) = said else { return };
    let new = Mark {
        value,
        at: fact.received_at,
        fact: fact.id.clone(),
    };
    if slot.as_ref().is_none_or(|old| rank(&new) > rank(old)) {
        *slot = Some(new);
    }
}

fn join_later<T>(slot: &mut Option<Mark<T>>, said: Option<T>, fact: &Fact) {
    join_by(slot, said, fact, |mark| (mark.at, mark.fact.clone()));
}

/// A stage only moves up; of two facts about the same stage the first one counts.
fn join_stage(slot: &mut Option<Mark<Stage>>, said: Option<Stage>, fact: &Fact) {
    use std::cmp::Reverse;
    join_by(slot, said, fact, |mark| {
        (mark.value, Reverse((mark.at, mark.fact.clone())))
    });
}

/// At equal times a revocation wins.
fn join_permission(slot: &mut Option<Mark<Permission>>, said: Option<Permission>, fact: &Fact) {
    join_by(slot, said, fact, |mark| {
        (
            mark.at,
            mark.value == Permission::Revoked,
            mark.fact.clone(),
        )
    });
}

/// Permission as it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PermissionView {
    /// Nobody has said anything yet.
    Unknown,
    /// The partner may create keys.
    Granted,
    /// The client took the permission back.
    Revoked,
}

/// The claim on a channel as it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClaimView {
    /// Nobody claimed it.
    None,
    /// Claimed, not yet found at the hub.
    Pending,
    /// Claimed; an operator must confirm it.
    Held,
    /// Claimed and confirmed by the hub.
    Confirmed,
}

/// The key as it is shown; never the key itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyView {
    /// Where it stands.
    pub status: KeyStatus,
    /// Why.
    pub reason: Option<KeyReason>,
    /// The vault's name of the stored key, an opaque reference.
    pub secret_name: Option<String>,
}

impl From<&KeyState> for KeyView {
    fn from(key: &KeyState) -> Self {
        Self {
            status: key.status,
            reason: key.reason,
            secret_name: key.secret_name.clone(),
        }
    }
}

/// A channel as `GET /{partner_id}/channels` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelView {
    /// Its id at the hub.
    pub id: ChannelId,
    /// The hub it belongs to.
    pub partner_id: PartnerId,
    /// The 360dialog client it belongs to.
    pub client_id: ClientId,
    /// The tenant it belongs to.
    pub tenant: Tenant,
    /// The stage, `None` while unknown.
    pub stage: Option<ShownStage>,
    /// Permission to create keys.
    pub permission: PermissionView,
    /// The claim on it.
    pub claim: ClaimView,
    /// Its key.
    pub key: KeyView,
    /// The WhatsApp number.
    pub phone_number: Option<String>,
    /// The number's display name.
    pub display_name: Option<String>,
    /// Quality rating.
    pub quality: Option<String>,
    /// Messaging limit.
    pub messaging_limit: Option<String>,
    /// When anything about it last became so; RFC 3339, whole seconds, UTC.
    #[serde(serialize_with = "whole_seconds")]
    pub updated_at: Timestamp,
}

/// Writes a time as RFC 3339 in UTC with whole seconds, `2026-04-09T13:09:08Z`.
pub fn whole_seconds<S: serde::Serializer>(
    at: &Timestamp,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&Timestamp::from_second(at.as_second()).unwrap_or_default())
}

#[cfg(test)]
#[path = "channel_tests.rs"]
mod tests;
