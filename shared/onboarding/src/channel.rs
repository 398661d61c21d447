//! A channel: the join of its facts. Any order, any repetition and any split of the same facts gives the same
//! channel, so nothing here may depend on a clock, on another item or on what came first.

use std::collections::{BTreeMap, BTreeSet};

use dialog360::event::{Permission, Stage};
use dialog360::id::{ChannelId, ChannelRef, ClientId, PartnerId};
use dialog360::{Description, Field};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::fact::{
    Assertion, Binding, Fact, FactId, KeyReason, KeyState, KeyStatus, MessagingWebhook,
};
use crate::tenant::Tenant;

/// A value, when it was said and by which fact; of two, the later one wins, at equal times the greater fact id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastWrite<T> {
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
    /// Which one it is.
    pub id: ChannelRef,
    /// The client that owns it at 360dialog.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<LastWrite<ClientId>>,
    /// The highest stage reached, and when it first was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reached: Option<LastWrite<Stage>>,
    /// Whether it is cancelled now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancelled: Option<LastWrite<bool>>,
    /// Whether the partner may create keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permission: Option<LastWrite<Permission>>,
    /// That a confirmed claim named it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claimed: Option<LastWrite<bool>>,
    /// Whose it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binding: Option<LastWrite<Binding>>,
    /// The owners in whose onboarding session it was created: once fresh, a binding to the same owner stays fresh.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub fresh_for: BTreeSet<(Tenant, ClientId)>,
    /// Where its key stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<LastWrite<KeyState>>,
    /// Where its messaging webhook stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub messaging_webhook: Option<LastWrite<MessagingWebhook>>,
    /// What describes it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub description: BTreeMap<Field, LastWrite<String>>,
}

/// The stage as it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShownStage {
    /// The number exists at 360dialog.
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
    pub fn unknown(id: ChannelRef) -> Self {
        Self {
            id,
            client: None,
            reached: None,
            cancelled: None,
            permission: None,
            claimed: None,
            binding: None,
            fresh_for: BTreeSet::new(),
            key: None,
            messaging_webhook: None,
            description: BTreeMap::new(),
        }
    }

    /// Adds one fact. A fact about another channel is none of this channel's business and is left out.
    pub fn join(&mut self, fact: &Fact) {
        if fact.channel != self.id {
            return;
        }
        let Assertion {
            client,
            stage,
            cancelled,
            permission,
            claimed,
            binding,
            key,
            messaging_webhook,
            description,
        } = fact.assertion.clone();
        join_later(&mut self.client, client, fact);
        join_stage(&mut self.reached, stage, fact);
        join_later(&mut self.cancelled, cancelled, fact);
        join_permission(&mut self.permission, permission, fact);
        join_later(&mut self.claimed, claimed.then_some(true), fact);
        if let Some(binding) = binding.as_ref().filter(|binding| binding.fresh) {
            let owner = (binding.tenant.clone(), binding.client.clone());
            self.fresh_for.insert(owner);
        }
        join_later(&mut self.binding, binding, fact);
        join_later(&mut self.key, key, fact);
        join_later(&mut self.messaging_webhook, messaging_webhook, fact);
        for (field, text) in description {
            let mut slot = self.description.remove(&field);
            join_later(&mut slot, Some(text), fact);
            self.description
                .extend(slot.map(|written| (field, written)));
        }
    }

    /// Adds every one of `facts`.
    pub fn join_all<'a>(&mut self, facts: impl IntoIterator<Item = &'a Fact>) {
        facts.into_iter().for_each(|fact| self.join(fact));
    }

    /// What is left of `assertion` when everything that this channel already shows is taken out.
    pub fn news(&self, assertion: Assertion) -> Assertion {
        let is_higher = |stage: &Stage| {
            self.reached
                .as_ref()
                .is_none_or(|reached| *stage > reached.value)
        };
        let is_new = |field: &Field, text: &String| {
            self.description
                .get(field)
                .is_none_or(|known| known.value != *text)
        };
        let mut description = assertion.description;
        description.retain(|field, text| is_new(field, text));
        Assertion {
            client: unless_known(assertion.client, &self.client),
            stage: assertion.stage.filter(is_higher),
            cancelled: unless_known(assertion.cancelled, &self.cancelled),
            permission: unless_known(assertion.permission, &self.permission),
            claimed: assertion.claimed && self.claimed.is_none(),
            binding: assertion
                .binding
                .filter(|binding| !self.has_binding(binding)),
            key: unless_known(assertion.key, &self.key),
            messaging_webhook: unless_known(assertion.messaging_webhook, &self.messaging_webhook),
            description,
        }
    }

    /// Whether it was created in the onboarding session of its owner.
    pub fn is_fresh(&self) -> bool {
        self.binding
            .as_ref()
            .is_some_and(|LastWrite { value, .. }| self.is_fresh_for(value))
    }

    fn is_fresh_for(&self, binding: &Binding) -> bool {
        self.fresh_for
            .contains(&(binding.tenant.clone(), binding.client.clone()))
    }

    /// Whether `new` adds nothing to the binding there is.
    fn has_binding(&self, new: &Binding) -> bool {
        let same = |known: &Binding| known.tenant == new.tenant && known.client == new.client;
        let is_owner = self
            .binding
            .as_ref()
            .is_some_and(|known| same(&known.value));
        is_owner && (!new.fresh || self.is_fresh_for(new))
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
        let described = self.description.values().map(|written| written.at);
        [
            at(&self.client),
            at(&self.reached),
            at(&self.cancelled),
            at(&self.permission),
            at(&self.claimed),
            at(&self.binding),
            at(&self.key),
            at(&self.messaging_webhook),
        ]
        .into_iter()
        .flatten()
        .chain(described)
        .max()
    }

    /// Where its key stands before the first decision about it.
    fn key_to_come(&self) -> KeyView {
        match (self.is_running(), self.is_permitted()) {
            (false, _) => KeyView::waiting(KeyReason::NotRunning),
            (true, false) => KeyView::waiting(KeyReason::AwaitingPermission),
            (true, true) => KeyView {
                status: KeyStatus::Minting,
                reason: None,
            },
        }
    }

    /// The channel as the tenant sees it, or `None` while it belongs to nobody.
    pub fn view(&self) -> Option<ChannelView> {
        let binding = &self.binding.as_ref()?.value;
        let permission = self.permission.as_ref().map(|permission| permission.value);
        let key = self.key.as_ref().map(|key| KeyView::from(&key.value));
        let messaging_webhook = self.messaging_webhook.as_ref().map(|written| written.value);
        let described = self.description.iter();
        let described = described.map(|(field, written)| (*field, written.value.clone()));
        Some(ChannelView {
            id: self.id.channel.clone(),
            partner_id: self.id.partner.clone(),
            client_id: binding.client.clone(),
            tenant: binding.tenant.clone(),
            stage: self.stage(),
            permission: match permission {
                None => PermissionView::Unknown,
                Some(Permission::Granted) => PermissionView::Granted,
                Some(Permission::Revoked) => PermissionView::Revoked,
            },
            claim: match self.claimed {
                Some(_) => ClaimView::Confirmed,
                None => ClaimView::None,
            },
            key: key.unwrap_or_else(|| self.key_to_come()),
            messaging_webhook: Some(messaging_webhook.unwrap_or(MessagingWebhook::Off)),
            description: shown(described.collect()),
            updated_at: self.updated_at().unwrap_or_default(),
        })
    }
}

fn at<T>(written: &Option<LastWrite<T>>) -> Option<Timestamp> {
    written.as_ref().map(|written| written.at)
}

fn unless_known<T: PartialEq>(asserted: Option<T>, known: &Option<LastWrite<T>>) -> Option<T> {
    asserted.filter(|new| known.as_ref().is_none_or(|known| known.value != *new))
}

/// Puts the greater of what stands in `slot` and what `fact` says there; `rank` must be a total order.
fn join_by<T, R: Ord>(
    slot: &mut Option<LastWrite<T>>,
    asserted: Option<T>,
    fact: &Fact,
    rank: impl Fn(&LastWrite<T>) -> R,
) {
    let Some(value) = asserted else { return };
    let new = LastWrite {
        value,
        at: fact.received_at,
        fact: fact.id.clone(),
    };
    *slot = slot.take().into_iter().chain([new]).max_by_key(rank);
}

fn join_later<T>(slot: &mut Option<LastWrite<T>>, asserted: Option<T>, fact: &Fact) {
    join_by(slot, asserted, fact, |written| {
        (written.at, written.fact.clone())
    });
}

/// A stage only moves up; of two facts about the same stage the first one counts.
fn join_stage(slot: &mut Option<LastWrite<Stage>>, asserted: Option<Stage>, fact: &Fact) {
    use std::cmp::Reverse;
    join_by(slot, asserted, fact, |written| {
        (written.value, Reverse((written.at, written.fact.clone())))
    });
}

/// At equal times a revocation wins.
fn join_permission(
    slot: &mut Option<LastWrite<Permission>>,
    asserted: Option<Permission>,
    fact: &Fact,
) {
    join_by(slot, asserted, fact, |written| {
        (
            written.at,
            written.value == Permission::Revoked,
            written.fact.clone(),
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
    /// Claimed, not yet found at 360dialog.
    Pending,
    /// Claimed; an operator must confirm it.
    Held,
    /// Claimed and confirmed by 360dialog.
    Confirmed,
}

/// The key as it is shown; never the key itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyView {
    /// Where it stands.
    pub status: KeyStatus,
    /// Why.
    pub reason: Option<KeyReason>,
}

impl KeyView {
    /// No key yet, for `reason`.
    pub(crate) fn waiting(reason: KeyReason) -> Self {
        Self {
            status: KeyStatus::Waiting,
            reason: Some(reason),
        }
    }
}

impl From<&KeyState> for KeyView {
    fn from(key: &KeyState) -> Self {
        Self {
            status: key.status,
            reason: key.reason,
        }
    }
}

/// A channel as `GET /{partner_id}/channels` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelView {
    /// Its id at 360dialog.
    pub id: ChannelId,
    /// The partner it belongs to.
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
    /// Where its messaging webhook stands; `None` for an id that is only claimed.
    pub messaging_webhook: Option<MessagingWebhook>,
    /// What describes it, each field by its name; `None` for what is not known.
    #[serde(flatten)]
    pub description: BTreeMap<Field, Option<String>>,
    /// When anything about it last became so; RFC 3339, whole seconds, UTC.
    #[serde(serialize_with = "whole_seconds")]
    pub updated_at: Timestamp,
}

/// Every descriptive field, with the text that is known of it.
pub(crate) fn shown(mut description: Description) -> BTreeMap<Field, Option<String>> {
    let text = |field| (field, description.remove(&field));
    Field::ALL.into_iter().map(text).collect()
}

/// Writes a time as RFC 3339 in UTC with whole seconds, `2026-04-09T13:09:08Z`.
fn whole_seconds<S: serde::Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&Timestamp::from_second(at.as_second()).unwrap_or_default())
}

#[cfg(test)]
#[path = "channel_tests.rs"]
mod tests;
