//! Due work: the due attributes that CLIENT, KEY, SWEEP and pending CLAIM items carry, and the index by lane.
//!
//! Every change reads the item and writes it only if nobody changed its due attributes meanwhile, so nothing that was
//! made due is lost.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::{AttributeValue, ReturnValuesOnConditionCheckFailure, Select};
use dialog360::id::{ChannelRef, ClientId, PartnerId};
use jiff::{SignedDuration, Timestamp};
use onboarding::claim::ClaimId;
use onboarding::queue::{Due, Entry, Lane, Place, Task};
use onboarding::tenant::Tenant;

use super::{
    Update, Write, Written, as_text, millis, number, number_of, refused_update, text, time_of,
};
use crate::table::{self, ALONE, DUE_ORDER, DUE_PK, Item, PK, SK, StoreError, Table, prefix};

/// How often a change is tried while others change the same item.
const ATTEMPTS: usize = 16;

/// A number behind every order.
const MOST: i128 = i128::pow(10, 37);

/// How long a tenant's place is kept: by then the line has long passed it, or nobody works it off.
const KEEP_PACE: SignedDuration = SignedDuration::from_hours(30 * 24);

const PLACE: &str = "place";
const TAKEN: &str = "taken";
const DUE_VERSION: &str = "due_version";
const SINCE: &str = "due_since";
const PAYER: &str = "payer";
const BOUGHT_FOR: &str = "bought_for";
const FAILURES: &str = "failures";
const PAID: &str = "paid";

/// Work that can be due.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// The key of a channel.
    Channel(ChannelRef),
    /// The open claims on a client.
    Client(PartnerId, ClientId),
    /// A claim that is not registered yet.
    Claim(PartnerId, ClaimId),
    /// The list of all channels.
    Sweep(PartnerId),
}

impl Subject {
    fn from_pk(pk: &str) -> Option<Self> {
        let (kind, partner, rest) = table::parse(pk)?;
        match kind {
            prefix::KEY => Some(Self::Channel(ChannelRef::new(partner, rest.parse().ok()?))),
            prefix::CLIENT => Some(Self::Client(partner, rest.parse().ok()?)),
            prefix::CLAIM => Some(Self::Claim(partner, ClaimId::from_table(rest))),
            prefix::SWEEP => Some(Self::Sweep(partner)),
            _ => None,
        }
    }

    /// The partner it belongs to.
    pub fn partner(&self) -> &PartnerId {
        match self {
            Self::Channel(channel) => &channel.partner,
            Self::Client(partner, _) | Self::Claim(partner, _) | Self::Sweep(partner) => partner,
        }
    }

    /// The kind of work it is in the line.
    pub fn task(&self) -> Task {
        match self {
            Self::Channel(_) => Task::Key,
            Self::Client(..) | Self::Claim(..) | Self::Sweep(_) => Task::Look,
        }
    }

    /// The partition key of its item.
    pub fn pk(&self) -> String {
        match self {
            Self::Channel(channel) => table::mint(channel),
            Self::Client(partner, client) => table::client(partner, client),
            Self::Claim(partner, claim) => table::claim(partner, claim),
            Self::Sweep(partner) => table::sweep(partner),
        }
    }
}

/// A row of the index: a subject, and its order in its lane. The index lags behind the items.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueRow {
    /// The subject.
    pub subject: Subject,
    /// A place in the line (see [`Due::order`]), or a time (ms).
    pub order: i128,
}

/// The due attributes of an item, as they were read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredEntry {
    /// When it is due, and who has taken it.
    pub entry: Entry,
    /// Since when it is in the line (ms), if it is.
    pub since: Option<Timestamp>,
    /// The tenant that pays when it moves into the line by itself.
    pub payer: Option<Tenant>,
    /// How often in a row its work has failed.
    pub failures: u32,
    /// How many calls were paid for with its place.
    pub paid: usize,
    version: i64,
}

impl StoredEntry {
    /// Its order in the index.
    pub fn order(&self, task: Task) -> Option<i128> {
        let since = self.since.unwrap_or_default();
        self.entry.due.map(|due| due.order(task, since))
    }

    /// The entry that `item` holds.
    pub fn from_item(item: &Item) -> Self {
        let lane = as_text(item, DUE_PK).and_then(|pk| {
            let lanes = Lane::ALL.into_iter();
            lanes
                .into_iter()
                .find(|lane| pk.ends_with(&format!("#{}", lane.number())))
        });
        let place = |name| {
            let number = number_of(item, name).and_then(|number| u64::try_from(number).ok());
            number.map(Place::new)
        };
        let at = time_of(item, DUE_ORDER);
        let due = match lane {
            Some(Lane::Line) => place(PLACE).map(Due::InLine),
            Some(Lane::Alarm) => at.map(|at| Due::At {
                at,
                kept: place(PLACE),
            }),
            Some(Lane::Background) => at.map(Due::Background),
            Some(Lane::Comparison) => at.map(Due::Comparison),
            None => None,
        };
        Self {
            entry: Entry {
                due,
                taken: as_text(item, TAKEN).map(str::to_owned),
            },
            since: time_of(item, SINCE),
            payer: as_text(item, PAYER).and_then(|tenant| tenant.parse().ok()),
            failures: number_of(item, FAILURES)
                .and_then(|failures| u32::try_from(failures).ok())
                .unwrap_or(0),
            paid: number_of(item, PAID)
                .and_then(|paid| usize::try_from(paid).ok())
                .unwrap_or(0),
            version: number_of(item, DUE_VERSION).unwrap_or(0),
        }
    }
}

/// May read and change what is due.
#[derive(Clone)]
pub struct Queue(Table);

impl Queue {
    /// The queue of `table`.
    pub fn new(table: Table) -> Self {
        Self(table)
    }

    /// Up to `limit` rows of a lane after `after`, in their order; in the lanes that are ordered by time, those that
    /// have come up by `now`. One query of the index.
    pub async fn rows(
        &self,
        partner: &PartnerId,
        lane: Lane,
        now: Timestamp,
        limit: i32,
    ) -> Result<Vec<DueRow>, StoreError> {
        let latest = match lane {
            Lane::Line => number(MOST),
            Lane::Alarm | Lane::Background | Lane::Comparison => millis(now),
        };
        let query = self.0.client.query().table_name(&*self.0.name);
        let query = query
            .index_name(table::BY_DUE)
            .limit(limit)
            .key_condition_expression("due_pk = :lane AND due_order <= :latest")
            .expression_attribute_values(":lane", text(table::due(partner, lane)))
            .expression_attribute_values(":latest", latest);
        let items = query.send().await?.items.unwrap_or_default();
        Ok(items.iter().filter_map(row).collect())
    }

    /// How many items a lane holds, counted up to `most`. Some queries of the index; for operators.
    pub async fn count(
        &self,
        partner: &PartnerId,
        lane: Lane,
        most: usize,
    ) -> Result<usize, StoreError> {
        let query = self.0.client.query().table_name(&*self.0.name);
        let query = query
            .index_name(table::BY_DUE)
            .select(Select::Count)
            .limit(i32::try_from(most).unwrap_or(i32::MAX))
            .key_condition_expression("due_pk = :lane")
            .expression_attribute_values(":lane", text(table::due(partner, lane)));
        let mut pages = query.into_paginator().send();
        let mut all = 0_usize;
        while all < most
            && let Some(page) = pages.next().await
        {
            all = all.saturating_add(usize::try_from(page?.count).unwrap_or(0));
        }
        Ok(all.min(most))
    }

    /// Since when the first of the line has been in it, or the first alarm has come up (ms).
    pub async fn oldest(
        &self,
        partner: &PartnerId,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, StoreError> {
        let head = self.rows(partner, Lane::Line, now, 1).await?;
        let since = match head.first() {
            Some(row) => self.entry(&row.subject).await?.since,
            None => None,
        };
        let alarm = self.rows(partner, Lane::Alarm, now, 1).await?;
        let alarm = alarm.first().and_then(|row| i64::try_from(row.order).ok());
        let alarm = alarm.and_then(|at| Timestamp::from_millisecond(at).ok());
        Ok(alarm.into_iter().chain(since).min())
    }

    /// The item of `subject`, empty if there is none.
    pub async fn item(&self, subject: &Subject) -> Result<Item, StoreError> {
        let item = self.0.read(subject.pk(), ALONE).await?;
        Ok(item.unwrap_or_default())
    }

    /// The due attributes of `subject`.
    pub async fn entry(&self, subject: &Subject) -> Result<StoredEntry, StoreError> {
        Ok(StoredEntry::from_item(&self.item(subject).await?))
    }

    /// Puts `subject` into the line, where `payer` pays `calls` calls for its place, unless it has paid already. Returns
    /// the place.
    pub async fn join_line(
        &self,
        subject: &Subject,
        payer: &Tenant,
        calls: usize,
        now: Timestamp,
    ) -> Result<Place, StoreError> {
        let mut bought = None;
        for _ in 0..ATTEMPTS {
            let seen = self.entry(subject).await?;
            let paid = seen.entry.due.and_then(Due::place);
            let place = match (paid.filter(|_| seen.entry.is_paid()), bought) {
                (Some(place), _) | (None, Some(place)) => place,
                (None, None) => {
                    let place = self.buy(subject, &seen, payer, calls, now).await?;
                    *bought.insert(place)
                }
            };
            let entry = seen.entry.made_due(Due::InLine(place));
            if entry == seen.entry {
                return Ok(place);
            }
            let paid = bought.map_or(seen.paid, |_| calls);
            let seen = StoredEntry { paid, ..seen };
            if self.write(subject, &seen, &entry, Some(payer), now).await? == Write::Done {
                return Ok(place);
            }
        }
        Err(contended())
    }

    /// Moves `subject`, whose time has come, into the line: to the place it has kept, even if the worker that took it has
    /// died, or to one that `payer` pays for.
    pub async fn come_up(
        &self,
        subject: &Subject,
        seen: &StoredEntry,
        payer: &Tenant,
        calls: usize,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let kept = seen.entry.due.and_then(Due::place);
        let (place, paid) = match kept {
            Some(place) => (place, seen.paid),
            None => (self.buy(subject, seen, payer, calls, now).await?, calls),
        };
        let seen = &StoredEntry {
            paid,
            ..seen.clone()
        };
        let entry = Entry {
            due: Some(Due::InLine(place)),
            taken: None,
        };
        // A conflict: it was made due meanwhile, or another run has moved it.
        let _moved = self.write(subject, seen, &entry, None, now).await?;
        Ok(())
    }

    /// Makes `subject` due at `due`, or earlier or in a greater lane if it was so already. `payer` pays when it moves
    /// into the line by itself.
    pub async fn make_due(
        &self,
        subject: &Subject,
        due: Due,
        payer: Option<&Tenant>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        for _ in 0..ATTEMPTS {
            let seen = self.entry(subject).await?;
            let entry = seen.entry.made_due(due);
            if entry == seen.entry {
                return Ok(());
            }
            if self.write(subject, &seen, &entry, payer, now).await? == Write::Done {
                return Ok(());
            }
        }
        Err(contended())
    }

    /// Takes `subject` under `token`, if its due attributes are still as they were `seen`: it is put off for a minute.
    pub async fn take(
        &self,
        subject: &Subject,
        seen: &StoredEntry,
        token: &str,
        now: Timestamp,
    ) -> Result<Write, StoreError> {
        let entry = seen.entry.taken(token, now);
        self.write(subject, seen, &entry, None, now).await
    }

    /// Records when `subject`, which was taken under `token`, is due next, and how often in a row it has failed. If it was
    /// made due meanwhile, it stays due.
    pub async fn done(
        &self,
        subject: &Subject,
        token: &str,
        next: Option<Due>,
        failures: u32,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        for _ in 0..ATTEMPTS {
            let read = self.entry(subject).await?;
            // Another worker is at it: what this one found out is outdated.
            if read
                .entry
                .taken
                .as_deref()
                .is_some_and(|other| other != token)
            {
                return Ok(());
            }
            let entry = read.entry.done(token, next);
            if entry == read.entry && failures == read.failures {
                return Ok(());
            }
            let seen = StoredEntry { failures, ..read };
            if self.write(subject, &seen, &entry, None, now).await? == Write::Done {
                return Ok(());
            }
        }
        Err(contended())
    }

    /// Puts `subject` off until `at`, if its due attributes are still as they were `seen`.
    pub async fn put_off(
        &self,
        subject: &Subject,
        seen: &StoredEntry,
        at: Timestamp,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let entry = Entry {
            due: Some(Due::At { at, kept: None }),
            taken: None,
        };
        // A conflict: it was made due meanwhile.
        let _put_off = self.write(subject, seen, &entry, None, now).await?;
        Ok(())
    }

    /// Makes `subject` no longer due, if its due attributes are still as they were `seen`.
    pub async fn drop(
        &self,
        subject: &Subject,
        seen: &StoredEntry,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let nothing = Entry::default();
        // A conflict: it was made due meanwhile.
        let _dropped = self.write(subject, seen, &nothing, None, now).await?;
        Ok(())
    }

    /// The next place of a tenant, `calls` calls long: never before the place that was taken last. Of those who buy at
    /// once for the same subject, as it was `seen`, one pays, and all get its place.
    async fn buy(
        &self,
        subject: &Subject,
        seen: &StoredEntry,
        tenant: &Tenant,
        calls: usize,
        now: Timestamp,
    ) -> Result<Place, StoreError> {
        let partner = subject.partner();
        let work = self.0.read(table::work(partner), ALONE).await?;
        let floor = work.as_ref().and_then(|item| number_of(item, PLACE));
        let expires_at = now.saturating_add(KEEP_PACE).unwrap_or(now).as_second();
        let bought_for = format!("{}@{}", subject.pk(), seen.version);
        let step = (
            "SET bought_place = next_place, next_place = next_place + :calls, bought_for = :this, expires_at = :expires_at",
            "next_place >= :floor AND bought_for <> :this",
        );
        let jump = (
            "SET bought_place = :floor, next_place = :floor + :calls, bought_for = :this, expires_at = :expires_at",
            "attribute_not_exists(next_place) OR (next_place < :floor AND bought_for <> :this)",
        );
        for (expression, condition) in [step, jump].repeat(ATTEMPTS) {
            let update = Update {
                pk: table::pace(partner, tenant),
                expression: expression.into(),
                condition,
                values: vec![
                    (":calls", number(calls)),
                    (":floor", number(floor.unwrap_or(0))),
                    (":this", text(&bought_for)),
                    (":expires_at", number(expires_at)),
                ],
            };
            let (Written::Done(item) | Written::Conflict(Some(item))) =
                update.send(&self.0).await?
            else {
                continue;
            };
            if as_text(&item, BOUGHT_FOR) == Some(&bought_for) {
                let place = number_of(&item, "bought_place").unwrap_or(0);
                return Ok(Place::new(u64::try_from(place).unwrap_or(0)));
            }
        }
        Err(contended())
    }

    /// Writes the due attributes of `subject`, if they are still as they were `seen`.
    async fn write(
        &self,
        subject: &Subject,
        seen: &StoredEntry,
        entry: &Entry,
        payer: Option<&Tenant>,
        now: Timestamp,
    ) -> Result<Write, StoreError> {
        let partner = subject.partner();
        let lane = entry.due.map(Due::lane);
        let since = (lane == Some(Lane::Line)).then(|| seen.since.unwrap_or(now));
        let place = entry.due.and_then(Due::place).map(Place::number);
        let order = entry
            .due
            .map(|due| due.order(subject.task(), since.unwrap_or(now)));
        let mut fields: BTreeMap<&str, Option<AttributeValue>> = BTreeMap::from([
            (DUE_PK, lane.map(|lane| text(table::due(partner, lane)))),
            (DUE_ORDER, order.map(number)),
            (PLACE, place.map(number)),
            (TAKEN, entry.taken.as_deref().map(text)),
            (SINCE, since.map(millis)),
            (PAID, place.map(|_| number(seen.paid))),
            (FAILURES, (seen.failures > 0).then(|| number(seen.failures))),
            (DUE_VERSION, Some(number(seen.version.saturating_add(1)))),
        ]);
        if let Some(payer) = payer {
            fields.insert(PAYER, Some(text(payer.as_str())));
        }
        let (mut sets, mut removes) = (Vec::new(), Vec::new());
        let update = self.0.client.update_item().table_name(&*self.0.name);
        let mut update = update
            .key(PK, text(subject.pk()))
            .key(SK, text(ALONE))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::None);
        for (name, value) in fields {
            match value {
                Some(value) => {
                    sets.push(format!("{name} = :{name}"));
                    update = update.expression_attribute_values(format!(":{name}"), value);
                }
                None => removes.push(name),
            }
        }
        let removes = match removes.is_empty() {
            true => String::new(),
            false => format!(" REMOVE {}", removes.join(", ")),
        };
        let update = update.update_expression(format!("SET {}{removes}", sets.join(", ")));
        let update = match seen.version {
            0 => update.condition_expression("attribute_not_exists(due_version)"),
            version => update
                .condition_expression("due_version = :seen")
                .expression_attribute_values(":seen", number(version)),
        };
        match update.send().await {
            Ok(_) => Ok(Write::Done),
            Err(error) => refused_update(error).map(|_| Write::Conflict),
        }
    }
}

fn contended() -> StoreError {
    StoreError::Unavailable("an item keeps changing".to_owned())
}

fn row(item: &Item) -> Option<DueRow> {
    Some(DueRow {
        subject: Subject::from_pk(as_text(item, PK)?)?,
        order: item.get(DUE_ORDER)?.as_n().ok()?.parse().ok()?,
    })
}
