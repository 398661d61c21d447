//! A channel: one WhatsApp number, its stage, its key, and how it ends.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::id;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Channel {
    pub(crate) id: String,
    pub(crate) client_id: String,
    /// `None` only if a control removed it.
    pub(crate) created_at: Option<Timestamp>,
    pub(crate) phone_number: String,
    pub(crate) phone_name: String,
    pub(crate) waba_id: String,
    pub(crate) waba_external_id: String,
    #[serde(default = "id::number")]
    pub(crate) app_id: String,
    pub(crate) stage: Stage,
    pub(crate) permission: Permission,
    /// Known some time after the channel went live.
    pub(crate) quality: Option<Quality>,
    /// The one live key.
    pub(crate) key: Option<Key>,
    #[serde(default)]
    pub(crate) messaging_webhook: MessagingWebhook,
    /// The ids of uploads.
    #[serde(default)]
    pub(crate) media: BTreeSet<String>,
    #[serde(default)]
    pub(crate) is_cancellation_requested: bool,
    #[serde(default)]
    pub(crate) cancelled_at: Option<Timestamp>,
    #[serde(default)]
    pub(crate) death: Option<Death>,
    /// Set for a number that stays in the WhatsApp Business app.
    #[serde(default)]
    pub(crate) coexistence: Option<Coexistence>,
    /// A control made or changed the channel, so it does not advance by itself.
    #[serde(default)]
    pub(crate) is_scripted: bool,
    /// A JSON merge patch over the object that is shown.
    #[serde(default)]
    pub(crate) patch: Map<String, Value>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Stage {
    Created,
    Ready,
    Running,
    Live,
}

/// Whether the client permits the partner to make keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Permission {
    Unasked,
    Granted,
    Revoked,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Quality {
    pub(crate) rating: String,
    pub(crate) limit: String,
}

/// A key, as its digest: the key itself is shown only once.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Key {
    pub(crate) id: String,
    pub(crate) app_id: String,
    pub(crate) sha256: String,
}

/// Where the messages of a channel go.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct MessagingWebhook {
    pub(crate) url: Option<String>,
    #[serde(default)]
    pub(crate) headers: Map<String, Value>,
}

/// The sign by which a channel shows that it has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Death {
    /// `cancelled_at` is set, and nothing else.
    CancelledAt,
    /// The rest of the `hub_status`.
    PendingDeletion,
    Deleted,
    Terminated,
    Cancelled,
    /// The rest of the WABA's status.
    BspRemoved,
    Disabled,
    Banned,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Coexistence {
    HistoryDue,
    HistorySent,
}

impl Stage {
    pub(crate) const ALL: [Self; 4] = [Self::Created, Self::Ready, Self::Running, Self::Live];

    /// The event that reports the stage.
    pub(crate) fn event(self) -> &'static str {
        match self {
            Self::Created => "channel_created",
            Self::Ready => "channel_ready",
            Self::Running => "channel_running",
            Self::Live => "channel_live",
        }
    }
}

impl Permission {
    /// The event that reports the permission.
    pub(crate) fn event(self) -> Option<&'static str> {
        match self {
            Self::Unasked => None,
            Self::Granted => Some("channel_permission_granted"),
            Self::Revoked => Some("channel_permission_revoked"),
        }
    }
}

impl Quality {
    pub(crate) fn first() -> Self {
        Self {
            rating: "GREEN".to_owned(),
            limit: "TIER_250".to_owned(),
        }
    }
}

impl MessagingWebhook {
    pub(crate) fn view(&self) -> Value {
        json!({"url": self.url, "headers": self.headers})
    }
}

impl Channel {
    /// A channel that was just created, with made-up ids and names.
    pub(crate) fn new(id: &str, client_id: &str, phone_number: String, now: Timestamp) -> Self {
        Self {
            id: id.to_owned(),
            client_id: client_id.to_owned(),
            created_at: Some(now),
            phone_number,
            phone_name: format!("Number {id}"),
            waba_id: id::waba_account(),
            waba_external_id: id::number(),
            app_id: id::number(),
            stage: Stage::Created,
            permission: Permission::Unasked,
            quality: None,
            key: None,
            messaging_webhook: MessagingWebhook::default(),
            media: BTreeSet::new(),
            is_cancellation_requested: false,
            cancelled_at: None,
            death: None,
            coexistence: None,
            is_scripted: false,
            patch: Map::new(),
        }
    }

    /// Moves to the next stage and returns the name of its event; `None` after the last stage, and for a
    /// channel that has ended or is moved by controls.
    pub(crate) fn advance(&mut self) -> Option<&'static str> {
        if self.is_scripted || self.is_dead() {
            return None;
        }
        self.next_step()
    }

    fn next_step(&mut self) -> Option<&'static str> {
        let next = Stage::ALL.into_iter().find(|stage| *stage > self.stage);
        if let Some(stage) = next {
            self.stage = stage;
            return Some(stage.event());
        }
        if self.quality.is_some() {
            return None;
        }
        self.quality = Some(Quality::first());
        Some("phone_number_quality_changed")
    }

    /// Moves to any stage. Returns the events on the way, each with the channel as it was then; there are none
    /// on the way back.
    pub(crate) fn move_to(&mut self, stage: Stage) -> Vec<(&'static str, Self)> {
        if stage < self.stage {
            self.stage = stage;
            self.quality = None;
        }
        let mut steps = Vec::new();
        while self.stage < stage || stage == Stage::Live {
            let Some(event) = self.next_step() else {
                break;
            };
            steps.push((event, self.clone()));
        }
        steps
    }

    /// Whether nothing more happens to the channel by itself.
    pub(crate) fn is_settled(&self) -> bool {
        let has_history = self.coexistence == Some(Coexistence::HistoryDue);
        self.is_scripted || self.is_dead() || (self.is_at_the_end() && !has_history)
    }

    /// Whether the channel went through all stages by itself.
    pub(crate) fn is_at_the_end(&self) -> bool {
        let is_active = !self.is_scripted && !self.is_dead();
        is_active && self.stage == Stage::Live && self.quality.is_some()
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.death.is_some() || self.cancelled_at.is_some()
    }

    /// Ends the channel, or revives it.
    pub(crate) fn set_death(&mut self, death: Option<Death>, now: Timestamp) {
        self.cancelled_at = (death == Some(Death::CancelledAt)).then_some(now);
        self.death = death;
    }

    /// Ends the channel as a cancellation does.
    pub(crate) fn cancel(&mut self, now: Timestamp) {
        self.cancelled_at = Some(now);
        self.death = Some(Death::Cancelled);
    }

    /// The channel without its client.
    pub(crate) fn view(&self) -> Map<String, Value> {
        let view = json!({
            "id": self.id,
            "client_id": self.client_id,
            "status": if self.stage >= Stage::Ready { "ready" } else { "created" },
            "account_mode": "live",
            "hub_status": self.hub_status(),
            "cancelled_at": self.cancelled_at.map(rfc3339),
            "integration": self.integration(),
            "setup_info": {"phone_number": self.phone_number, "phone_name": self.phone_name},
            "waba_account": {
                "id": self.waba_id,
                "external_id": self.waba_external_id,
                "fb_account_status": "approved",
                "status": self.waba_status(),
            },
            "current_quality_rating": self.quality.as_ref().map(|quality| &quality.rating),
            "current_limit": self.quality.as_ref().map(|quality| &quality.limit),
        });
        let Value::Object(mut view) = view else {
            return Map::new();
        };
        if let Some(created_at) = self.created_at {
            view.insert("created_at".to_owned(), rfc3339(created_at).into());
        }
        view
    }

    fn integration(&self) -> Value {
        let is_running = self.stage >= Stage::Running;
        json!({
            "enabled": is_running,
            "app_id": self.app_id,
            "state": if is_running { "running" } else { "pending" },
        })
    }

    fn hub_status(&self) -> &'static str {
        match self.death {
            Some(Death::PendingDeletion) => "pending_deletion",
            Some(Death::Deleted) => "deleted",
            Some(Death::Terminated) => "terminated",
            Some(Death::Cancelled) => "cancelled",
            _ if self.stage == Stage::Live => "live",
            _ => "pending",
        }
    }

    fn waba_status(&self) -> &'static str {
        match self.death {
            Some(Death::BspRemoved) => "bsp_removed",
            Some(Death::Disabled) => "disabled",
            Some(Death::Banned) => "banned",
            _ => "approved",
        }
    }
}

pub(crate) fn rfc3339(moment: Timestamp) -> String {
    format!("{moment:.3}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel() -> Channel {
        Channel::new(
            "aCH",
            "aCL",
            "12125550123".to_owned(),
            Timestamp::UNIX_EPOCH,
        )
    }

    #[test]
    fn times_carry_milliseconds() {
        let moment = Timestamp::from_millisecond(1_775_653_748_040).unwrap();
        assert_eq!(rfc3339(moment), "2026-04-08T13:09:08.040Z");
    }

    #[test]
    fn a_channel_of_an_older_state_file_is_read() {
        let text = r#"{"id": "aCH", "client_id": "aCL", "created_at": "2026-04-08T13:09:08Z",
            "phone_number": "1", "phone_name": "a", "waba_id": "aWA", "waba_external_id": "1",
            "stage": "live", "permission": "granted", "quality": null, "key": null}"#;
        let channel: Channel = serde_json::from_str(text).unwrap();
        assert!(!channel.is_dead() && !channel.is_settled());
    }

    #[test]
    fn each_death_shows_its_own_sign() {
        let signs = [
            (Death::PendingDeletion, "/hub_status", "pending_deletion"),
            (Death::Deleted, "/hub_status", "deleted"),
            (Death::Terminated, "/hub_status", "terminated"),
            (Death::Cancelled, "/hub_status", "cancelled"),
            (Death::BspRemoved, "/waba_account/status", "bsp_removed"),
            (Death::Disabled, "/waba_account/status", "disabled"),
            (Death::Banned, "/waba_account/status", "banned"),
            (
                Death::CancelledAt,
                "/cancelled_at",
                "1970-01-01T00:00:00.000Z",
            ),
        ];
        for (death, path, sign) in signs {
            let mut channel = channel();
            channel.set_death(Some(death), Timestamp::UNIX_EPOCH);
            let view = Value::from(channel.view());
            assert_eq!(view.pointer(path), Some(&json!(sign)));
            assert!(channel.advance().is_none(), "a dead channel stays as it is");
            channel.set_death(None, Timestamp::UNIX_EPOCH);
            assert!(!channel.is_dead());
        }
    }

    #[test]
    fn a_channel_advances_to_live_and_then_learns_its_quality() {
        let mut channel = channel();
        let events: Vec<&str> = std::iter::from_fn(|| channel.advance()).collect();
        let expected = ["channel_ready", "channel_running", "channel_live"];
        assert_eq!(events[..3], expected);
        assert_eq!(events[3..], ["phone_number_quality_changed"]);
        assert!(channel.is_settled());
    }
}
