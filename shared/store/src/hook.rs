//! HOOK items: the messaging webhook that is to be set at a number, and when. They are due in a partition of their own, so
//! that they take no turn from the queue.

use dialog360::id::{ChannelRef, PartnerId};
use jiff::Timestamp;
use onboarding::channel::LastWrite;
use onboarding::fact::MessagingWebhook;
use onboarding::messaging::pause_after;
use onboarding::queue::TAKEN_FOR;
use serde::de::DeserializeOwned;
use std::time::Duration;

use super::{
    LastAnswer, Update, Write, Written, as_text, millis, number, number_of, text, time_of,
};
use crate::table::{self, ALONE, DUE_ORDER, DUE_PK, Item, StoreError, Table, prefix};
use crate::to_value;

/// How often a change is tried while others change the same item.
const ATTEMPTS: usize = 16;

const WANTED: &str = "wanted";
const DONE: &str = "done";
const FAILURES: &str = "failures";
const TAKEN: &str = "taken";
const LAST_ANSWER: &str = "last_answer";
const TOLD: &str = "told";
const VERSION: &str = "version";

/// The messaging webhook of a number, as its item has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hook {
    /// The mark of the webhook that is to be set, or was last.
    pub wanted: Option<String>,
    /// The mark of the webhook that is set.
    pub done: Option<String>,
    /// When it is to be set (ms); `None`: nothing is to do.
    pub due_at: Option<Timestamp>,
    /// How many tries in a row have failed.
    pub failures: u32,
    /// The last answer by which it was not set, until it is.
    pub last_answer: Option<LastAnswer>,
    /// Where it stands, as was told last. The channel may not show it yet.
    pub told: Option<LastWrite<MessagingWebhook>>,
    /// The token of the run that works on it.
    taken: Option<String>,
    version: i64,
}

impl Hook {
    /// Whether the webhook `wanted` is set, or is about to be.
    pub fn is_settled(&self, wanted: &str) -> bool {
        match self.due_at {
            Some(_) => self.wanted.as_deref() == Some(wanted),
            None => self.done.as_deref() == Some(wanted),
        }
    }

    /// Wants `wanted` to be set now.
    fn ask(&mut self, wanted: &str, now: Timestamp) {
        self.wanted = Some(wanted.to_owned());
        self.due_at = Some(now);
        self.failures = 0;
        self.taken = None;
    }

    /// Takes it for the run `token`: puts it off for a minute, in case the run ends early.
    pub fn take(&mut self, token: &str, now: Timestamp) {
        self.due_at = Some(now.saturating_add(TAKEN_FOR).unwrap_or(now));
        self.taken = Some(token.to_owned());
    }

    /// The webhook `wanted` is set.
    pub fn set(&mut self, wanted: &str) {
        self.wanted = Some(wanted.to_owned());
        self.done = self.wanted.clone();
        self.last_answer = None;
        self.end();
    }

    /// Nothing is to be done about it.
    pub fn end(&mut self) {
        self.due_at = None;
        self.failures = 0;
        self.taken = None;
    }

    /// A try failed with `answer`: the next one comes after the usual pause, and not before `least` is over.
    pub fn fail(&mut self, answer: String, least: Duration, now: Timestamp) {
        self.failures = self.failures.saturating_add(1);
        let pause = pause_after(self.failures).max(least);
        self.due_at = Some(now.saturating_add(pause).unwrap_or(now));
        self.last_answer = Some(LastAnswer {
            at: now,
            text: answer,
        });
        self.taken = None;
    }

    fn from_item(item: &Item) -> Result<Self, StoreError> {
        Ok(Self {
            wanted: as_text(item, WANTED).map(str::to_owned),
            done: as_text(item, DONE).map(str::to_owned),
            due_at: time_of(item, DUE_ORDER),
            failures: number_of(item, FAILURES)
                .and_then(|failures| u32::try_from(failures).ok())
                .unwrap_or(0),
            last_answer: attribute(item, LAST_ANSWER)?,
            told: attribute(item, TOLD)?,
            taken: as_text(item, TAKEN).map(str::to_owned),
            version: number_of(item, VERSION).unwrap_or(0),
        })
    }
}

/// May read and change the messaging webhooks that are to be set.
#[derive(Clone)]
pub struct Hooks(Table);

impl Hooks {
    /// The messaging webhooks of `table`.
    pub fn new(table: Table) -> Self {
        Self(table)
    }

    /// The messaging webhook of a channel, empty if there was none yet.
    pub async fn read(&self, channel: &ChannelRef) -> Result<Hook, StoreError> {
        let item = self.0.read(table::hook(channel), ALONE).await?;
        Hook::from_item(&item.unwrap_or_default())
    }

    /// Up to `limit` channels whose webhook is to be set by `now`, the longest waiting first. One query of the index, which
    /// lags behind the items.
    pub async fn due(
        &self,
        partner: &PartnerId,
        now: Timestamp,
        limit: i32,
    ) -> Result<Vec<ChannelRef>, StoreError> {
        let query = self.0.client.query().table_name(&*self.0.name);
        let query = query
            .index_name(table::BY_DUE)
            .limit(limit)
            .key_condition_expression("due_pk = :lane AND due_order <= :latest")
            .expression_attribute_values(":lane", text(table::due_hooks(partner)))
            .expression_attribute_values(":latest", millis(now));
        let items = query.send().await?.items.unwrap_or_default();
        Ok(items.iter().filter_map(channel_of).collect())
    }

    /// Wants the webhook `wanted` to be set at `now`, unless it is set, or about to be. `told` is what was told of that.
    pub async fn make_due(
        &self,
        channel: &ChannelRef,
        wanted: &str,
        told: Option<&LastWrite<MessagingWebhook>>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        for _ in 0..ATTEMPTS {
            let mut hook = self.read(channel).await?;
            if hook.is_settled(wanted) {
                return Ok(());
            }
            hook.ask(wanted, now);
            hook.told = told.cloned().or(hook.told);
            if self.save(channel, &mut hook).await? == Write::Done {
                return Ok(());
            }
        }
        Err(contended())
    }

    /// Wants the webhook to be set once more at `now`, unless that is due anyhow: a late call may have set another.
    pub async fn make_due_again(
        &self,
        channel: &ChannelRef,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        for _ in 0..ATTEMPTS {
            let mut hook = self.read(channel).await?;
            if hook.due_at.is_some() {
                return Ok(());
            }
            hook.due_at = Some(now);
            if self.save(channel, &mut hook).await? == Write::Done {
                return Ok(());
            }
        }
        Err(contended())
    }

    /// Saves `hook`, if nobody has saved another since it was read.
    pub async fn save(&self, channel: &ChannelRef, hook: &mut Hook) -> Result<Write, StoreError> {
        let lane = text(table::due_hooks(&channel.partner));
        let fields = [
            (WANTED, ":wanted", hook.wanted.as_deref().map(text)),
            (DONE, ":done", hook.done.as_deref().map(text)),
            (DUE_PK, ":lane", hook.due_at.map(|_| lane)),
            (DUE_ORDER, ":due_order", hook.due_at.map(millis)),
            (TAKEN, ":taken", hook.taken.as_deref().map(text)),
            (
                FAILURES,
                ":failures",
                (hook.failures > 0).then(|| number(hook.failures)),
            ),
            (TOLD, ":told", hook.told.as_ref().map(to_value).transpose()?),
            (
                LAST_ANSWER,
                ":last_answer",
                hook.last_answer.as_ref().map(to_value).transpose()?,
            ),
        ];
        let version = hook.version.saturating_add(1);
        let mut values = vec![
            (":version", number(version)),
            (":seen", number(hook.version)),
        ];
        let (mut sets, mut removes) = (vec!["version = :version".to_owned()], Vec::new());
        for (name, placeholder, value) in fields {
            match value {
                Some(value) => {
                    sets.push(format!("{name} = {placeholder}"));
                    values.push((placeholder, value));
                }
                None => removes.push(name),
            }
        }
        let removes = match removes.is_empty() {
            true => String::new(),
            false => format!(" REMOVE {}", removes.join(", ")),
        };
        let update = Update {
            pk: table::hook(channel),
            expression: format!("SET {}{removes}", sets.join(", ")).into(),
            condition: "version = :seen OR attribute_not_exists(pk)",
            values,
        };
        match update.send(&self.0).await? {
            Written::Done(_) => {
                hook.version = version;
                Ok(Write::Done)
            }
            Written::Conflict(_) => Ok(Write::Conflict),
        }
    }
}

fn attribute<T: DeserializeOwned>(item: &Item, name: &str) -> Result<Option<T>, StoreError> {
    let value = item.get(name).cloned();
    let value = value.map(serde_dynamo::from_attribute_value).transpose();
    value.map_err(|_| StoreError::Malformed("a messaging webhook"))
}

fn contended() -> StoreError {
    StoreError::Unavailable("an item keeps changing".to_owned())
}

fn channel_of(item: &Item) -> Option<ChannelRef> {
    let (kind, partner, channel) = table::parse(as_text(item, table::PK)?)?;
    let channel = channel.parse().ok().filter(|_| kind == prefix::HOOK)?;
    Some(ChannelRef::new(partner, channel))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn another_webhook_is_wanted_even_while_one_waits_and_the_same_is_not() {
        let mut hook = Hook::default();
        assert!(!hook.is_settled("one"));
        hook.ask("one", at(0));
        assert!(hook.is_settled("one") && !hook.is_settled("two"));
        hook.set("one");
        assert!(hook.is_settled("one") && !hook.is_settled("two"));
        // The try of another may have come through, although its answer was lost.
        hook.ask("two", at(1));
        hook.fail("no answer".to_owned(), Duration::ZERO, at(1));
        assert!(hook.is_settled("two") && !hook.is_settled("one"));
    }

    #[test]
    fn a_run_that_ends_early_leaves_its_webhook_due_in_a_minute() {
        let mut hook = Hook::default();
        hook.ask("one", at(0));
        hook.take("token", at(5));
        assert_eq!(hook.due_at, Some(at(65)));
        assert!(hook.is_settled("one"));
        assert_eq!(hook.done, None);
    }

    #[test]
    fn failed_tries_wait_longer_and_another_webhook_begins_anew() {
        let mut hook = Hook::default();
        hook.ask("one", at(0));
        hook.fail("status 500".to_owned(), Duration::ZERO, at(0));
        hook.fail("status 500".to_owned(), Duration::ZERO, at(0));
        assert_eq!((hook.failures, hook.due_at), (2, Some(at(300))));
        hook.fail("status 429".to_owned(), Duration::from_secs(7200), at(0));
        assert_eq!(hook.due_at, Some(at(7200)));
        hook.ask("two", at(9));
        assert_eq!((hook.failures, hook.due_at), (0, Some(at(9))));
        hook.set("two");
        assert_eq!((hook.due_at, hook.last_answer), (None, None));
    }
}
