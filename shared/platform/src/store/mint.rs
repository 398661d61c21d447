//! MINT: the lease on a channel's key, the intent to make one, and when to look again. Every write but a nudge
//! demands the token of the lease.

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use jiff::Timestamp;
use onboarding::channel::Mark;
use onboarding::fact::KeyState;
use onboarding::id::{ChannelId, PartnerId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Update, Written, millis, number, number_of, text, time_of, to_value};
use crate::table::{self, DUE_AT, DUE_PK, Item, StoreError, Table};

/// How long a lease holds: longer than the function may run (20 s).
const LEASE: Duration = Duration::from_secs(25);

/// How often a look that finds the lease taken tries to leave word before it takes the lease itself.
const TURNS: usize = 4;

const LEASE_TOKEN: &str = "lease";
const LEASE_UNTIL: &str = "lease_until";
const INTENT: &str = "intent";
const TRIES: &str = "tries";
const NOT_BEFORE: &str = "not_before";
const VERDICT: &str = "verdict";
const NUDGED: &str = "nudged";

/// The intent to make a key: written before the POST, open until its outcome is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// The attempt's token, also the vault's version.
    pub attempt: String,
    /// When the POST was sent, or about to be (ms).
    #[serde(with = "jiff::fmt::serde::timestamp::millisecond::required")]
    pub sent_at: Timestamp,
    /// The ids of the keys the hub listed before our first POST of this intent.
    pub baseline: Vec<String>,
    /// How many POSTs went unanswered, this one included.
    pub posts: u32,
}

/// What was found when the lease was taken.
#[derive(Clone, Debug)]
pub struct Mint {
    partner: PartnerId,
    channel: ChannelId,
    token: String,
    /// An intent whose outcome is not known.
    pub intent: Option<Intent>,
    /// How often in a row there was trouble.
    pub tries: u32,
    /// After trouble: the hub is not asked before then, whatever changes.
    pub not_before: Option<Timestamp>,
    /// The verdict of the last look, which the channel may not show yet.
    pub verdict: Option<Mark<KeyState>>,
}

/// What asking for the lease came to.
#[derive(Clone, Debug)]
pub enum Leased {
    /// It is ours for 25 s.
    Ours(Box<Mint>),
    /// Another worker has it, and will look again when it is done.
    Taken,
    /// It is not due.
    NotDue,
}

/// Why somebody looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// The channel changed.
    ByChange,
    /// The clock says so: only if it is due.
    ByClock,
}

/// What the holder leaves behind; by default nothing to look at again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NextLook {
    /// When to look again; `None`: not before something changes.
    pub due_at: Option<Timestamp>,
    /// The intent that stays open.
    pub intent: Option<Intent>,
    /// How often in a row there was trouble.
    pub tries: u32,
    /// After trouble: the hub is not asked before then.
    pub not_before: Option<Timestamp>,
    /// The verdict that stands now.
    pub verdict: Option<Mark<KeyState>>,
}

/// May hold leases and intents.
#[derive(Clone)]
pub struct Mints(Table);

impl Mints {
    /// The leases of `table`.
    pub fn new(table: Table) -> Self {
        Self(table)
    }

    /// Takes the lease on a channel's key under `token`, if nobody has it.
    ///
    /// If somebody has it, leaves word, so that what this look was for is not missed.
    pub async fn lease(
        &self,
        (partner, channel): (&PartnerId, &ChannelId),
        token: &str,
        asked: Asked,
        now: Timestamp,
    ) -> Result<Leased, StoreError> {
        for _ in 0..TURNS {
            let old = match self.take(partner, channel, token, asked, now).await? {
                Written::Done(item) => {
                    return Ok(Leased::Ours(Box::new(mint(
                        partner, channel, token, &item,
                    )?)));
                }
                Written::Refused(old) => old.unwrap_or_default(),
            };
            let is_free = time_of(&old, LEASE_UNTIL).is_none_or(|until| until < now);
            if asked == Asked::ByClock {
                return Ok(if is_free {
                    Leased::NotDue
                } else {
                    Leased::Taken
                });
            }
            let holder = old.get(LEASE_TOKEN).cloned().unwrap_or_else(|| text(""));
            if self.nudge(partner, channel, holder).await? {
                return Ok(Leased::Taken);
            }
        }
        Err(StoreError::Unavailable(
            "the lease keeps changing hands".to_owned(),
        ))
    }

    async fn take(
        &self,
        partner: &PartnerId,
        channel: &ChannelId,
        token: &str,
        asked: Asked,
        now: Timestamp,
    ) -> Result<Written<Item>, StoreError> {
        let until = now.saturating_add(LEASE).unwrap_or(now);
        let update = Update {
            pk: table::mint(partner, channel),
            sets: "SET lease = :token, lease_until = :until, due_at = :until, due_pk = :due REMOVE nudged".into(),
            condition: match asked {
                Asked::ByChange => "attribute_not_exists(lease_until) OR lease_until < :now OR lease = :token",
                Asked::ByClock => {
                    "due_at <= :now AND (attribute_not_exists(lease_until) OR lease_until < :now OR lease = :token)"
                }
            },
            values: vec![
                (":token", text(token)),
                (":until", millis(until)),
                (":due", text(table::due(partner))),
                (":now", millis(now)),
            ],
        };
        update.send(&self.0).await
    }

    /// Leaves word for `holder`; `false` if it no longer holds the lease.
    async fn nudge(
        &self,
        partner: &PartnerId,
        channel: &ChannelId,
        holder: AttributeValue,
    ) -> Result<bool, StoreError> {
        let update = Update {
            pk: table::mint(partner, channel),
            sets: "SET nudged = :yes".into(),
            condition: "lease = :holder",
            values: vec![(":yes", AttributeValue::Bool(true)), (":holder", holder)],
        };
        Ok(matches!(update.send(&self.0).await?, Written::Done(_)))
    }

    /// Writes the intent, before the POST; `false` if the lease is lost.
    pub async fn intend(&self, mint: &Mint, intent: &Intent) -> Result<bool, StoreError> {
        let update = Update {
            pk: table::mint(&mint.partner, &mint.channel),
            sets: "SET intent = :intent".into(),
            condition: "lease = :token",
            values: vec![
                (":intent", to_value(intent)?),
                (":token", text(&mint.token)),
            ],
        };
        Ok(matches!(update.send(&self.0).await?, Written::Done(_)))
    }

    /// Holds the lease for another 25 s; `false` if it is lost.
    pub async fn renew(&self, mint: &Mint, now: Timestamp) -> Result<bool, StoreError> {
        let until = now.saturating_add(LEASE).unwrap_or(now);
        let update = Update {
            pk: table::mint(&mint.partner, &mint.channel),
            sets: "SET lease_until = :until, due_at = :until".into(),
            condition: "lease = :token AND lease_until >= :now",
            values: vec![
                (":until", millis(until)),
                (":token", text(&mint.token)),
                (":now", millis(now)),
            ],
        };
        Ok(matches!(update.send(&self.0).await?, Written::Done(_)))
    }

    /// Gives the lease back. If somebody left word meanwhile, the channel is due at once.
    pub async fn release(
        &self,
        mint: &Mint,
        next: &NextLook,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let quiet = "lease = :token AND attribute_not_exists(nudged)";
        let released = self.release_on(quiet, mint, next).await?;
        let Written::Refused(Some(old)) = released else {
            return Ok(());
        };
        if old.get(LEASE_TOKEN) == Some(&text(&mint.token)) {
            let at_once = NextLook {
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
        next: &NextLook,
    ) -> Result<Written<Item>, StoreError> {
        let verdict = next.verdict.as_ref().map(to_value).transpose()?;
        let intent = next.intent.as_ref().map(to_value).transpose()?;
        let fields = [
            (TRIES, ":tries", Some(number(next.tries))),
            (DUE_AT, ":due_at", next.due_at.map(millis)),
            (
                DUE_PK,
                ":due",
                next.due_at.map(|_| text(table::due(&mint.partner))),
            ),
            (NOT_BEFORE, ":not_before", next.not_before.map(millis)),
            (INTENT, ":intent", intent),
            (VERDICT, ":verdict", verdict),
        ];
        let mut values = vec![(":token", text(&mint.token))];
        let (mut sets, mut removes) = (Vec::new(), vec![LEASE_TOKEN, LEASE_UNTIL, NUDGED]);
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
            pk: table::mint(&mint.partner, &mint.channel),
            sets: format!("SET {} REMOVE {}", sets.join(", "), removes.join(", ")).into(),
            condition,
            values,
        };
        update.send(&self.0).await
    }

    /// When the channel is looked at next, and the open intent; for operators and tests.
    pub async fn outlook(
        &self,
        partner: &PartnerId,
        channel: &ChannelId,
    ) -> Result<(Option<Timestamp>, Option<Intent>), StoreError> {
        let item = self
            .0
            .read(table::mint(partner, channel), table::ALONE)
            .await?
            .unwrap_or_default();
        Ok((time_of(&item, DUE_AT), kept(&item, INTENT)?))
    }
}

fn mint(
    partner: &PartnerId,
    channel: &ChannelId,
    token: &str,
    item: &Item,
) -> Result<Mint, StoreError> {
    Ok(Mint {
        partner: partner.clone(),
        channel: channel.clone(),
        token: token.to_owned(),
        intent: kept(item, INTENT)?,
        not_before: time_of(item, NOT_BEFORE),
        verdict: kept(item, VERDICT)?,
        tries: number_of(item, TRIES)
            .and_then(|tries| u32::try_from(tries).ok())
            .unwrap_or(0),
    })
}

/// What an attribute keeps; if it cannot be read that is an error, never "none": a key of ours may be live.
fn kept<T: DeserializeOwned>(item: &Item, name: &str) -> Result<Option<T>, StoreError> {
    let Some(value) = item.get(name).cloned() else {
        return Ok(None);
    };
    serde_dynamo::from_attribute_value(value)
        .map(Some)
        .map_err(|_| StoreError::Malformed("a mint"))
}
