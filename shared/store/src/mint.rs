//! MINT items: the lease on a channel's key, the intent to make one, and the last verdict. Every write here requires the
//! token of the lease. When the channel is due stands in the same item: see [`super::Queue`].

use std::time::Duration;

use dialog360::id::{ChannelRef, ClientId};
use jiff::Timestamp;
use onboarding::channel::LastWrite;
use onboarding::fact::KeyState;
use onboarding::intent::Intent;
use onboarding::queue::Due;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Update, Write, Written, millis, text, time_of, to_value};
use crate::table::{self, ALONE, Item, StoreError, Table};

/// How long a lease is valid: longer than the wait for a free call in the middle of a key, and a call.
const LEASE: Duration = Duration::from_secs(50);

const LEASE_TOKEN: &str = "lease";
const LEASE_UNTIL: &str = "lease_until";
const INTENT: &str = "intent";
const NOT_BEFORE: &str = "not_before";
const VERDICT: &str = "verdict";
const LAST_ANSWER: &str = "last_answer";
const CLIENT_SEEN: &str = "client_seen";

/// 360dialog's last answer that brought no key, in words for an operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastAnswer {
    /// When the run ended that got it (ms).
    #[serde(with = "jiff::fmt::serde::timestamp::millisecond::required")]
    pub at: Timestamp,
    /// The question and the answer, with 360dialog's message. It belongs into no log.
    pub text: String,
}

/// The MINT item, as it was when the lease was taken.
#[derive(Clone, Debug)]
pub struct Mint {
    channel: ChannelRef,
    token: String,
    /// An intent whose outcome is not known.
    pub intent: Option<Intent>,
    /// After a failure: 360dialog is not called before then, whatever changes.
    pub not_before: Option<Timestamp>,
    /// The verdict of the last run. The channel may not show it yet.
    pub verdict: Option<LastWrite<KeyState>>,
    /// The last answer without a key, until a key is stored.
    pub last_answer: Option<LastAnswer>,
    /// The client whose channel 360dialog has listed it as, and when.
    pub client_seen: Option<ClientSeen>,
}

/// That 360dialog listed a channel as a client's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientSeen {
    /// The client.
    pub client: ClientId,
    /// When the list was asked for (ms).
    #[serde(with = "jiff::fmt::serde::timestamp::millisecond::required")]
    pub at: Timestamp,
}

/// The state of a channel's key for operators and tests.
#[derive(Clone, Debug, Default)]
pub struct MintState {
    /// When it is due.
    pub due: Option<Due>,
    /// The open intent.
    pub intent: Option<Intent>,
    /// The last answer without a key.
    pub last_answer: Option<LastAnswer>,
}

/// Outcome of requesting the lease.
#[derive(Clone, Debug)]
pub enum Leased {
    /// The caller holds it for 50 s.
    Ours(Box<Mint>),
    /// Another worker holds it until then (ms), or renews it.
    Taken(Timestamp),
}

/// The state that the holder stores when it releases the lease.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NextRun {
    /// The intent that stays open.
    pub intent: Option<Intent>,
    /// After a failure: 360dialog is not called before then.
    pub not_before: Option<Timestamp>,
    /// The current verdict.
    pub verdict: Option<LastWrite<KeyState>>,
    /// The last answer without a key.
    pub last_answer: Option<LastAnswer>,
}

/// May hold leases and intents.
#[derive(Clone)]
pub struct Mints(Table);

impl Mints {
    /// The leases of `table`.
    pub fn new(table: Table) -> Self {
        Self(table)
    }

    /// Takes the lease on a channel's key under `token`, unless another worker holds it.
    pub async fn lease(
        &self,
        channel: &ChannelRef,
        token: &str,
        now: Timestamp,
    ) -> Result<Leased, StoreError> {
        let until = now.saturating_add(LEASE).unwrap_or(now);
        let update = Update {
            pk: table::mint(channel),
            expression: "SET lease = :token, lease_until = :until".into(),
            condition: "attribute_not_exists(lease_until) OR lease_until < :now OR lease = :token",
            values: vec![
                (":token", text(token)),
                (":until", millis(until)),
                (":now", millis(now)),
            ],
        };
        match update.send(&self.0).await? {
            Written::Done(item) => Ok(Leased::Ours(Box::new(mint(channel, token, &item)?))),
            Written::Conflict(old) => {
                let held = old.as_ref().and_then(|old| time_of(old, LEASE_UNTIL));
                Ok(Leased::Taken(held.unwrap_or(now)))
            }
        }
    }

    /// The state of a channel's key, without its lease.
    pub async fn read(&self, channel: &ChannelRef) -> Result<Mint, StoreError> {
        let item = self.0.read(table::mint(channel), ALONE).await?;
        mint(channel, "", &item.unwrap_or_default())
    }

    /// Notes that 360dialog listed the channel as a client's.
    pub async fn note_seen(
        &self,
        channel: &ChannelRef,
        seen: &ClientSeen,
    ) -> Result<(), StoreError> {
        let update = Update {
            pk: table::mint(channel),
            expression: "SET client_seen = :seen".into(),
            condition: "attribute_exists(pk) OR attribute_not_exists(pk)",
            values: vec![(":seen", to_value(seen)?)],
        };
        update.send(&self.0).await.map(drop)
    }

    /// Stores the intent, before the POST, or the one before it if none is sent; a conflict if the lease is lost.
    pub async fn intend(&self, mint: &Mint, intent: Option<&Intent>) -> Result<Write, StoreError> {
        let mut values = vec![(":token", text(&mint.token))];
        let expression = match intent {
            Some(intent) => {
                values.push((":intent", to_value(intent)?));
                "SET intent = :intent"
            }
            None => "REMOVE intent",
        };
        let update = Update {
            pk: table::mint(&mint.channel),
            expression: expression.into(),
            condition: "lease = :token",
            values,
        };
        Ok(update.send(&self.0).await?.into())
    }

    /// Extends the lease to 50 s from `now`; a conflict if it is lost.
    pub async fn renew(&self, mint: &Mint, now: Timestamp) -> Result<Write, StoreError> {
        let until = now.saturating_add(LEASE).unwrap_or(now);
        let update = Update {
            pk: table::mint(&mint.channel),
            expression: "SET lease_until = :until".into(),
            condition: "lease = :token AND lease_until >= :now",
            values: vec![
                (":until", millis(until)),
                (":token", text(&mint.token)),
                (":now", millis(now)),
            ],
        };
        Ok(update.send(&self.0).await?.into())
    }

    /// Stores the state and releases the lease. If it is lost, its new holder goes on.
    pub async fn release(&self, mint: &Mint, next: &NextRun) -> Result<Write, StoreError> {
        let verdict = next.verdict.as_ref().map(to_value).transpose()?;
        let intent = next.intent.as_ref().map(to_value).transpose()?;
        let last_answer = next.last_answer.as_ref().map(to_value).transpose()?;
        let fields = [
            (NOT_BEFORE, ":not_before", next.not_before.map(millis)),
            (INTENT, ":intent", intent),
            (VERDICT, ":verdict", verdict),
            (LAST_ANSWER, ":last_answer", last_answer),
        ];
        let mut values = vec![(":token", text(&mint.token))];
        let (mut sets, mut removes) = (Vec::new(), vec![LEASE_TOKEN, LEASE_UNTIL]);
        for (name, placeholder, value) in fields {
            match value {
                Some(value) => {
                    sets.push(format!("{name} = {placeholder}"));
                    values.push((placeholder, value));
                }
                None => removes.push(name),
            }
        }
        let set = match sets.is_empty() {
            true => String::new(),
            false => format!("SET {}", sets.join(", ")),
        };
        let update = Update {
            pk: table::mint(&mint.channel),
            expression: format!("{set} REMOVE {}", removes.join(", ")).into(),
            condition: "lease = :token",
            values,
        };
        Ok(update.send(&self.0).await?.into())
    }

    /// The state of a channel's key; for operators and tests.
    pub async fn inspect(&self, channel: &ChannelRef) -> Result<MintState, StoreError> {
        let item = self
            .0
            .read(table::mint(channel), ALONE)
            .await?
            .unwrap_or_default();
        Ok(MintState {
            due: super::StoredEntry::from_item(&item).entry.due,
            intent: attribute(&item, INTENT)?,
            last_answer: attribute(&item, LAST_ANSWER)?,
        })
    }
}

fn mint(channel: &ChannelRef, token: &str, item: &Item) -> Result<Mint, StoreError> {
    Ok(Mint {
        channel: channel.clone(),
        token: token.to_owned(),
        intent: attribute(item, INTENT)?,
        not_before: time_of(item, NOT_BEFORE),
        verdict: attribute(item, VERDICT)?,
        last_answer: attribute(item, LAST_ANSWER)?,
        client_seen: attribute(item, CLIENT_SEEN)?,
    })
}

/// The value of an attribute. One that cannot be read is an error, never `None`: a key of ours may be live.
fn attribute<T: DeserializeOwned>(item: &Item, name: &str) -> Result<Option<T>, StoreError> {
    let Some(value) = item.get(name).cloned() else {
        return Ok(None);
    };
    serde_dynamo::from_attribute_value(value)
        .map(Some)
        .map_err(|_| StoreError::Malformed("a mint"))
}
