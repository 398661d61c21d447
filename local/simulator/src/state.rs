//! The records of the simulator: clients, channels, their keys, used signatures, and undelivered webhooks.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    addresses::Addresses,
    bulk_lists::{ListFaults, Past},
    channel::{Channel, rfc3339},
    id, merge_patch, signature,
    template::Template,
};

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
    #[serde(default)]
    pub(crate) templates: Vec<Template>,
    /// The digests of issued tokens, and when each expires.
    #[serde(default)]
    pub(crate) tokens: BTreeMap<String, Timestamp>,
    #[serde(skip)]
    pub(crate) list_faults: ListFaults,
    #[serde(skip)]
    pub(crate) past: Past,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Client {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) created_at: Timestamp,
    #[serde(default)]
    pub(crate) email: Option<String>,
    /// The parameter `partner` of the client's link.
    #[serde(default)]
    pub(crate) payload: Option<String>,
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

    /// Keeps the channels as they are now, for lists that lag.
    pub(crate) fn remember(&mut self, now: Timestamp) {
        for account in self.accounts.values_mut() {
            account.remember(now.as_millisecond());
        }
    }

    pub(crate) fn channel(&self, partner: &str, channel: &str) -> Option<&Channel> {
        self.account(partner)?.channels.get(channel)
    }

    pub(crate) fn channel_mut(&mut self, partner: &str, channel: &str) -> Option<&mut Channel> {
        self.accounts.get_mut(partner)?.channels.get_mut(channel)
    }

    /// The partner id and the channel whose live key has this digest.
    pub(crate) fn channel_with_key(&self, sha256: &str) -> Option<(&str, &Channel)> {
        self.accounts.iter().find_map(|(partner, account)| {
            let has_key = |channel: &&Channel| {
                let key = channel.key.as_ref();
                key.is_some_and(|key| key.sha256 == sha256)
            };
            let channel = account.channels.values().find(has_key)?;
            Some((partner.as_str(), channel))
        })
    }

    /// Partner id and channel id of the channels for which `is_wanted` holds.
    pub(crate) fn channels_that(
        &self,
        is_wanted: impl Fn(&Channel) -> bool,
    ) -> Vec<(String, String)> {
        let mut found = Vec::new();
        for (partner, account) in &self.accounts {
            let wanted = account.channels.values().filter(|it| is_wanted(it));
            found.extend(wanted.map(|channel| (partner.clone(), channel.id.clone())));
        }
        found
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
        let client = self.clients.get(&channel.client_id);
        let mut view = channel.view();
        view.insert(
            "client".to_owned(),
            json!({
                "id": channel.client_id,
                "name": client.map(|client| &client.name),
                "contact_info": {"email": client.and_then(|client| client.email.as_ref())},
            }),
        );
        let mut view = Value::Object(view);
        if self.list_faults.late_numbers
            && channel.quality.is_none()
            && let Some(setup) = view["setup_info"].as_object_mut()
        {
            setup.remove("phone_number");
        }
        merge_patch::apply(&mut view, &channel.patch);
        view
    }
}

impl Client {
    /// The client as the Partner API lists it.
    pub(crate) fn view(&self) -> Value {
        json!({
            "id": self.id,
            "name": self.name,
            "contact_info": {"email": self.email},
            "partner_payload": self.payload,
            "created_at": rfc3339(self.created_at),
        })
    }

    /// The data of `client_created`: the client under `client`, and flat beside it.
    pub(crate) fn event_data(&self) -> Value {
        json!({
            "id": self.id,
            "name": self.name,
            "created_at": rfc3339(self.created_at),
            "client": {"id": self.id, "name": self.name, "contact_info": {"email": self.email}},
        })
    }
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
}
