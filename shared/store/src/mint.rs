//! KEY items: a channel's sealed API key, the lease on it, the intent to make one, and the last verdict. Every write here
//! requires the token of the lease. When the channel is due stands in the same item: see [`super::Queue`].

use std::time::Duration;

use dialog360::id::{ChannelRef, ClientId};
use jiff::Timestamp;
use onboarding::channel::LastWrite;
use onboarding::fact::KeyState;
use onboarding::intent::Intent;
use onboarding::queue::Due;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use aws_sdk_dynamodb::types::AttributeValue;

use super::{Update, Write, Written, as_text, binary, millis, text, time_of, to_value};
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
const SEALED: &str = "sealed";
const KEY_ID: &str = "key_id";
const ADDRESS: &str = "address";
const STORED_AT: &str = "stored_at";
const MISSING_SINCE: &str = "missing_since";

/// A channel's API key, as the table holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredKey {
    /// The sealed text.
    pub sealed: Vec<u8>,
    /// 360dialog's id of the key, if it is known.
    pub key_id: Option<String>,
    /// The address that messages are sent to with it, if 360dialog gave one.
    pub address: Option<String>,
    /// When it was stored (ms).
    pub stored_at: Timestamp,
}

/// 360dialog's last answer that brought no key, in words for an operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastAnswer {
    /// When the run ended that got it (ms).
    #[serde(with = "jiff::fmt::serde::timestamp::millisecond::required")]
    pub at: Timestamp,
    /// The question and the answer, with 360dialog's message. It belongs into no log.
    pub text: String,
}

/// The KEY item, as it was when the lease was taken.
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
    /// The stored key.
    pub stored: Option<StoredKey>,
    /// Since when 360dialog does not list the stored key, if a comparison has shown that.
    pub missing_since: Option<Timestamp>,
}

impl Mint {
    /// That of a channel for which no key was wanted yet, without a lease.
    pub fn unknown(channel: &ChannelRef) -> Self {
        Self {
            channel: channel.clone(),
            token: String::new(),
            intent: None,
            not_before: None,
            verdict: None,
            last_answer: None,
            client_seen: None,
            stored: None,
            missing_since: None,
        }
    }
}

/// That 360dialog listed a channel as a client's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientSeen {
    /// The client.
    pub client: ClientId,
    /// When the list was asked for (ms).
    #[serde(with = "jiff::fmt::serde::timestamp::millisecond::required")]
    pub at: Timestamp,
    /// When the channel was created (ms), if 360dialog said it.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "jiff::fmt::serde::timestamp::millisecond::optional"
    )]
    pub created_at: Option<Timestamp>,
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
    /// Since when 360dialog does not list the stored key.
    pub missing_since: Option<Timestamp>,
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

    /// Stores a key with the verdict that it is stored, in one write, and the intent that older POSTs leave open; a
    /// conflict if the lease is lost. The item stays due.
    pub async fn keep(
        &self,
        mint: &Mint,
        key: &StoredKey,
        verdict: &LastWrite<KeyState>,
        open: Option<&Intent>,
    ) -> Result<Write, StoreError> {
        let texts = [
            (KEY_ID, ":key_id", key.key_id.as_ref().map(text)),
            (ADDRESS, ":address", key.address.as_ref().map(text)),
            (INTENT, ":intent", open.map(to_value).transpose()?),
        ];
        let fields = [
            (SEALED, ":sealed", Some(binary(&key.sealed))),
            (STORED_AT, ":stored_at", Some(millis(key.stored_at))),
            (VERDICT, ":verdict", Some(to_value(verdict)?)),
            // What was found of the key before it says nothing of this one.
            (MISSING_SINCE, "", None),
        ];
        let changes = Changes::new(fields.into_iter().chain(texts));
        self.write(mint, changes).await
    }

    /// Replaces the text of a stored key by one that another key has sealed; a conflict if another key was stored since.
    pub async fn reseal(
        &self,
        channel: &ChannelRef,
        old: &StoredKey,
        sealed: &[u8],
    ) -> Result<Write, StoreError> {
        let update = Update {
            pk: table::mint(channel),
            expression: "SET sealed = :new".into(),
            condition: "sealed = :old",
            values: vec![(":new", binary(sealed)), (":old", binary(&old.sealed))],
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
            (
                MISSING_SINCE,
                ":missing_since",
                next.missing_since.map(millis),
            ),
        ];
        let token = [(LEASE_TOKEN, "", None), (LEASE_UNTIL, "", None)];
        let changes = Changes::new(fields.into_iter().chain(token));
        self.write(mint, changes).await
    }

    async fn write(&self, mint: &Mint, changes: Changes) -> Result<Write, StoreError> {
        let mut values = changes.values;
        values.push((":token", text(&mint.token)));
        let update = Update {
            pk: table::mint(&mint.channel),
            expression: changes.expression.into(),
            condition: "lease = :token",
            values,
        };
        Ok(update.send(&self.0).await?.into())
    }

    /// The key of a KEY item of a scan.
    pub fn stored_in(item: &Item) -> Result<Option<StoredKey>, StoreError> {
        stored(item)
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

/// An update expression and its values.
struct Changes {
    expression: String,
    values: Vec<(&'static str, AttributeValue)>,
}

impl Changes {
    /// Sets each attribute to its value under its placeholder, or removes it.
    fn new(
        fields: impl Iterator<Item = (&'static str, &'static str, Option<AttributeValue>)>,
    ) -> Self {
        let (mut sets, mut removes, mut values) = (Vec::new(), Vec::new(), Vec::new());
        for (name, placeholder, value) in fields {
            match value {
                Some(value) => {
                    sets.push(format!("{name} = {placeholder}"));
                    values.push((placeholder, value));
                }
                None => removes.push(name),
            }
        }
        let clause = |verb: &str, parts: String| match parts.is_empty() {
            true => String::new(),
            false => format!("{verb} {parts} "),
        };
        let sets = clause("SET", sets.join(", "));
        let expression = sets + &clause("REMOVE", removes.join(", "));
        Self { expression, values }
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
        stored: stored(item)?,
        missing_since: time_of(item, MISSING_SINCE),
    })
}

/// The stored key. One that is there in part is an error, never `None`.
fn stored(item: &Item) -> Result<Option<StoredKey>, StoreError> {
    let Some(sealed) = item.get(SEALED) else {
        return Ok(None);
    };
    let malformed = || StoreError::Malformed("a sealed key");
    let sealed = sealed.as_b().map_err(|_| malformed())?;
    let optional = |name: &str| as_text(item, name).map(str::to_owned);
    Ok(Some(StoredKey {
        sealed: sealed.clone().into_inner(),
        key_id: optional(KEY_ID),
        address: optional(ADDRESS),
        stored_at: time_of(item, STORED_AT).ok_or_else(malformed)?,
    }))
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
