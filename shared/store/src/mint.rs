//! MINT items: the lease on a channel's key, the intent to make one, and when to reconcile next. Every write requires
//! the token of the lease, except the request for a rerun.

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use dialog360::id::ChannelRef;
use jiff::Timestamp;
use onboarding::channel::LastWrite;
use onboarding::fact::KeyState;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Update, Write, Written, millis, number, number_of, text, time_of, to_value};
use crate::table::{self, DUE_AT, DUE_PK, Item, StoreError, Table};

/// How long a lease is valid: longer than the function may run (20 s).
const LEASE: Duration = Duration::from_secs(25);

/// How often taking the lease, or else asking its holder to rerun, is tried while the lease changes hands.
const LEASE_ATTEMPTS: usize = 4;

const LEASE_TOKEN: &str = "lease";
const LEASE_UNTIL: &str = "lease_until";
const INTENT: &str = "intent";
const TRIES: &str = "tries";
const NOT_BEFORE: &str = "not_before";
const VERDICT: &str = "verdict";
const LAST_ANSWER: &str = "last_answer";
const RERUN_REQUESTED: &str = "rerun_requested";

/// The intent to make a key: written before the POST, open until its outcome is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// The token of the attempt, which is also the id of the vault's version.
    pub attempt: String,
    /// When the POST was about to be sent (ms).
    #[serde(with = "jiff::fmt::serde::timestamp::millisecond::required")]
    pub sent_at: Timestamp,
    /// The ids of the keys that 360dialog listed before the first POST of this intent.
    pub baseline: Vec<String>,
    /// How many POSTs got no clear answer, this one included.
    pub posts: u32,
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

/// The MINT item, as it was when the lease was taken.
#[derive(Clone, Debug)]
pub struct Mint {
    channel: ChannelRef,
    token: String,
    /// An intent whose outcome is not known.
    pub intent: Option<Intent>,
    /// How many runs in a row have failed.
    pub tries: u32,
    /// After a failure: 360dialog is not called before then, whatever changes.
    pub not_before: Option<Timestamp>,
    /// The verdict of the last run. The channel may not show it yet.
    pub verdict: Option<LastWrite<KeyState>>,
    /// The last answer without a key, until a key is stored.
    pub last_answer: Option<LastAnswer>,
}

/// The state of a channel's key for operators and tests.
#[derive(Clone, Debug, Default)]
pub struct MintState {
    /// When it is due.
    pub due_at: Option<Timestamp>,
    /// The open intent.
    pub intent: Option<Intent>,
    /// The last answer without a key.
    pub last_answer: Option<LastAnswer>,
}

/// Outcome of requesting the lease.
#[derive(Clone, Debug)]
pub enum Leased {
    /// The caller holds it for 25 s.
    Ours(Box<Mint>),
    /// Another worker holds it, and will run again afterwards.
    Taken,
    /// The channel is not due.
    NotDue,
}

/// The reason for a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// The channel changed.
    Change,
    /// It was requeued; the run goes on only if the channel is due.
    Clock,
}

/// The state that the holder stores when it releases the lease; by default nothing is due.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NextRun {
    /// When to run next; `None`: when something changes.
    pub due_at: Option<Timestamp>,
    /// The intent that stays open.
    pub intent: Option<Intent>,
    /// How many runs in a row have failed.
    pub tries: u32,
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
    ///
    /// In that case, after a change, it asks the holder to run again, so that the change is not missed.
    pub async fn lease(
        &self,
        channel: &ChannelRef,
        token: &str,
        trigger: Trigger,
        now: Timestamp,
    ) -> Result<Leased, StoreError> {
        for _ in 0..LEASE_ATTEMPTS {
            let old = match self.take(channel, token, trigger, now).await? {
                Written::Done(item) => {
                    return Ok(Leased::Ours(Box::new(mint(channel, token, &item)?)));
                }
                Written::Conflict(old) => old.unwrap_or_default(),
            };
            let is_free = time_of(&old, LEASE_UNTIL).is_none_or(|until| until < now);
            if trigger == Trigger::Clock {
                return Ok(if is_free {
                    Leased::NotDue
                } else {
                    Leased::Taken
                });
            }
            let holder = old.get(LEASE_TOKEN).cloned().unwrap_or_else(|| text(""));
            if self.request_rerun(channel, holder).await? == Write::Done {
                return Ok(Leased::Taken);
            }
        }
        Err(StoreError::Unavailable(
            "the lease keeps changing hands".to_owned(),
        ))
    }

    async fn take(
        &self,
        channel: &ChannelRef,
        token: &str,
        trigger: Trigger,
        now: Timestamp,
    ) -> Result<Written<Item>, StoreError> {
        let until = now.saturating_add(LEASE).unwrap_or(now);
        let update = Update {
            pk: table::mint(channel),
            expression: "SET lease = :token, lease_until = :until, due_at = :until, due_pk = :due REMOVE rerun_requested".into(),
            condition: match trigger {
                Trigger::Change => "attribute_not_exists(lease_until) OR lease_until < :now OR lease = :token",
                Trigger::Clock => {
                    "due_at <= :now AND (attribute_not_exists(lease_until) OR lease_until < :now OR lease = :token)"
                }
            },
            values: vec![
                (":token", text(token)),
                (":until", millis(until)),
                (":due", text(table::due(&channel.partner))),
                (":now", millis(now)),
            ],
        };
        update.send(&self.0).await
    }

    /// Asks `holder` to run again afterwards; a conflict if it no longer holds the lease.
    async fn request_rerun(
        &self,
        channel: &ChannelRef,
        holder: AttributeValue,
    ) -> Result<Write, StoreError> {
        let update = Update {
            pk: table::mint(channel),
            expression: "SET rerun_requested = :yes".into(),
            condition: "lease = :holder",
            values: vec![(":yes", AttributeValue::Bool(true)), (":holder", holder)],
        };
        Ok(update.send(&self.0).await?.into())
    }

    /// Stores the intent, before the POST; a conflict if the lease is lost.
    pub async fn intend(&self, mint: &Mint, intent: &Intent) -> Result<Write, StoreError> {
        let update = Update {
            pk: table::mint(&mint.channel),
            expression: "SET intent = :intent".into(),
            condition: "lease = :token",
            values: vec![
                (":intent", to_value(intent)?),
                (":token", text(&mint.token)),
            ],
        };
        Ok(update.send(&self.0).await?.into())
    }

    /// Extends the lease by 25 s from `now`; a conflict if it is lost.
    pub async fn renew(&self, mint: &Mint, now: Timestamp) -> Result<Write, StoreError> {
        let until = now.saturating_add(LEASE).unwrap_or(now);
        let update = Update {
            pk: table::mint(&mint.channel),
            expression: "SET lease_until = :until, due_at = :until".into(),
            condition: "lease = :token AND lease_until >= :now",
            values: vec![
                (":until", millis(until)),
                (":token", text(&mint.token)),
                (":now", millis(now)),
            ],
        };
        Ok(update.send(&self.0).await?.into())
    }

    /// Releases the lease. If a rerun was requested meanwhile, the channel is due at once.
    pub async fn release(
        &self,
        mint: &Mint,
        next: &NextRun,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let no_rerun = "lease = :token AND attribute_not_exists(rerun_requested)";
        let released = self.release_on(no_rerun, mint, next).await?;
        let Written::Conflict(Some(old)) = released else {
            return Ok(());
        };
        if old.get(LEASE_TOKEN) == Some(&text(&mint.token)) {
            let at_once = NextRun {
                due_at: Some(now),
                ..next.clone()
            };
            self.release_on("lease = :token", mint, &at_once).await?;
        }
        Ok(())
    }

    async fn release_on(
        &self,
        condition: &'static str,
        mint: &Mint,
        next: &NextRun,
    ) -> Result<Written<Item>, StoreError> {
        let verdict = next.verdict.as_ref().map(to_value).transpose()?;
        let intent = next.intent.as_ref().map(to_value).transpose()?;
        let last_answer = next.last_answer.as_ref().map(to_value).transpose()?;
        let fields = [
            (TRIES, ":tries", Some(number(next.tries))),
            (DUE_AT, ":due_at", next.due_at.map(millis)),
            (
                DUE_PK,
                ":due",
                next.due_at.map(|_| text(table::due(&mint.channel.partner))),
            ),
            (NOT_BEFORE, ":not_before", next.not_before.map(millis)),
            (INTENT, ":intent", intent),
            (VERDICT, ":verdict", verdict),
            (LAST_ANSWER, ":last_answer", last_answer),
        ];
        let mut values = vec![(":token", text(&mint.token))];
        let (mut sets, mut removes) = (Vec::new(), vec![LEASE_TOKEN, LEASE_UNTIL, RERUN_REQUESTED]);
        for (name, placeholder, value) in fields {
            match value {
                Some(value) => {
                    sets.push(format!("{name} = {placeholder}"));
                    values.push((placeholder, value));
                }
                None => removes.push(name),
            }
        }
        let update = Update {
            pk: table::mint(&mint.channel),
            expression: format!("SET {} REMOVE {}", sets.join(", "), removes.join(", ")).into(),
            condition,
            values,
        };
        update.send(&self.0).await
    }

    /// The state of a channel's key; for operators and tests.
    pub async fn inspect(&self, channel: &ChannelRef) -> Result<MintState, StoreError> {
        let item = self
            .0
            .read(table::mint(channel), table::ALONE)
            .await?
            .unwrap_or_default();
        Ok(MintState {
            due_at: time_of(&item, DUE_AT),
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
        tries: number_of(item, TRIES)
            .and_then(|tries| u32::try_from(tries).ok())
            .unwrap_or(0),
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
