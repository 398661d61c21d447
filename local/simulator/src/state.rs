//! The records of the simulator: clients, channels, their keys, used signatures, and undelivered webhooks.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{addresses::Addresses, id, signature};

/// How many random numbers are tried before one that is in use is accepted.
const PHONE_NUMBER_DRAWS: usize = 50;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Records {
    /// By partner id.
    pub(crate) accounts: BTreeMap<String, Account>,
    /// Webhooks that have not been answered with 200, by event id.
    pub(crate) outbox: BTreeMap<String, Delivery>,
}

/// The clients, channels and settings of one partner.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Account {
    pub(crate) clients: BTreeMap<String, Client>,
    pub(crate) channels: BTreeMap<String, Channel>,
    /// The seconds of used signatures. A signature covers only partner and second, so the second identifies it.
    pub(crate) used_seconds: BTreeSet<i64>,
    /// Addresses that the partner has set; they win over the configured ones.
    #[serde(default)]
    pub(crate) addresses: Addresses,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Client {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) created_at: Timestamp,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Channel {
    pub(crate) id: String,
    pub(crate) client_id: String,
    pub(crate) created_at: Timestamp,
    pub(crate) phone_number: String,
    pub(crate) phone_name: String,
    pub(crate) waba_id: String,
    pub(crate) waba_external_id: String,
    pub(crate) stage: Stage,
    pub(crate) permission: Permission,
    /// Known some time after the channel went live.
    pub(crate) quality: Option<Quality>,
    /// The one live key.
    pub(crate) key: Option<Key>,
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

/// A webhook that is not delivered yet.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Delivery {
    pub(crate) id: String,
    pub(crate) partner: String,
    pub(crate) event: String,
    /// The bytes that are signed and sent, the same at every attempt.
    pub(crate) body: String,
}

impl Records {
    pub(crate) fn account(&self, partner: &str) -> Option<&Account> {
        self.accounts.get(partner)
    }

    pub(crate) fn account_mut(&mut self, partner: &str) -> &mut Account {
        self.accounts.entry(partner.to_owned()).or_default()
    }

    /// A phone number that no channel has.
    pub(crate) fn unused_phone_number(&self) -> String {
        let is_taken = |number: &String| {
            self.accounts
                .values()
                .flat_map(|account| account.channels.values())
                .any(|it| it.phone_number == *number)
        };
        (0..PHONE_NUMBER_DRAWS)
            .map(|_| id::phone_number())
            .find(|number| !is_taken(number))
            .unwrap_or_else(id::phone_number)
    }
}

impl Account {
    /// Marks a signature as used; `false` if it was used before.
    pub(crate) fn spend(&mut self, second: i64, now: Timestamp) -> bool {
        // Older signatures are refused because they have expired.
        let oldest = now.as_second() - signature::LIFETIME_SECONDS;
        self.used_seconds.retain(|used| *used >= oldest);
        self.used_seconds.insert(second)
    }

    /// A channel as the Partner API and the webhooks show it.
    pub(crate) fn channel_view(&self, channel: &Channel) -> Value {
        let client_name = self
            .clients
            .get(&channel.client_id)
            .map(|client| client.name.as_str());
        json!({
            "id": channel.id,
            "client_id": channel.client_id,
            "client": {"id": channel.client_id, "name": client_name},
            "created_at": rfc3339(channel.created_at),
            "status": if channel.stage >= Stage::Ready { "ready" } else { "pending" },
            "account_mode": "live",
            "hub_status": if channel.stage >= Stage::Live { "live" } else { "pending" },
            "integration": {"state": if channel.stage >= Stage::Running { "running" } else { "pending" }},
            "setup_info": {"phone_number": channel.phone_number, "phone_name": channel.phone_name},
            "waba_account": {
                "id": channel.waba_id,
                "external_id": channel.waba_external_id,
                "fb_account_status": "approved",
            },
            "current_quality_rating": channel.quality.as_ref().map(|quality| &quality.rating),
            "current_limit": channel.quality.as_ref().map(|quality| &quality.limit),
        })
    }
}

impl Client {
    pub(crate) fn view(&self) -> Value {
        json!({"id": self.id, "name": self.name, "created_at": rfc3339(self.created_at)})
    }
}

impl Channel {
    /// Moves to the next stage and returns the name of its event; `None` after the last stage.
    pub(crate) fn advance(&mut self) -> Option<&'static str> {
        let (stage, event) = match self.stage {
            Stage::Created => (Stage::Ready, "channel_ready"),
            Stage::Ready => (Stage::Running, "channel_running"),
            Stage::Running => (Stage::Live, "channel_live"),
            Stage::Live if self.quality.is_none() => {
                self.quality = Some(Quality {
                    rating: "GREEN".to_owned(),
                    limit: "TIER_250".to_owned(),
                });
                (Stage::Live, "phone_number_quality_changed")
            }
            Stage::Live => return None,
        };
        self.stage = stage;
        Some(event)
    }

    pub(crate) fn is_settled(&self) -> bool {
        self.stage == Stage::Live && self.quality.is_some()
    }
}

fn rfc3339(moment: Timestamp) -> String {
    format!("{moment:.3}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_used_once_and_forgotten_once_it_has_expired() {
        let mut account = Account::default();
        let now = Timestamp::from_second(1_775_653_748).unwrap();
        assert!(account.spend(1_775_653_748, now));
        assert!(!account.spend(1_775_653_748, now));
        let later = Timestamp::from_second(1_775_653_749 + signature::LIFETIME_SECONDS).unwrap();
        assert!(account.spend(1_775_653_760, later));
        assert_eq!(account.used_seconds.len(), 1);
    }

    #[test]
    fn times_carry_milliseconds() {
        let moment = Timestamp::from_millisecond(1_775_653_748_040).unwrap();
        assert_eq!(rfc3339(moment), "2026-04-08T13:09:08.040Z");
    }
}
