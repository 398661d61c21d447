//! Opens a cancelled channel again.

use dialog360::id::ChannelRef;
use jiff::Timestamp;
use onboarding::channel::Channel;
use onboarding::fact::{Assertion, Fact, Source};
use onboarding::queue::Task;
use runtime::clock;
use store::{Channels, Facts, Queue, Subject};

use crate::decision::{DecisionError, ONE_STEP};
use crate::instance::{Instance, OperatorError};

impl Instance {
    /// Opens a cancelled channel again, and puts its key into the line. Returns what was done, in words.
    pub async fn reopen_channel(&self, id: &ChannelRef) -> Result<String, OperatorError> {
        let ChannelRef { partner, channel } = id;
        self.must_serve(partner)?;
        let (table, failed) = (self.table(), |error| self.store_error(error));
        let stored = Channels::new(table.clone()).read(id).await;
        let stored = stored.map_err(failed)?;
        if !stored.exists() {
            return Err(self.unknown(id));
        }
        let now = clock::now();
        let Some(fact) = reopening(&stored.channel, now) else {
            let (partner, channel) = (partner.clone(), channel.clone());
            return Err(DecisionError::NotCancelled(partner, channel).into());
        };
        let appended = Facts::new(table.clone()).append(&fact).await;
        let _is_new = appended.map_err(failed)?;
        // Without a tenant `provision` looks for one when `fold` has saved the channel.
        if let Some(tenant) = stored.channel.tenant() {
            let (queue, subject) = (Queue::new(table.clone()), Subject::Channel(id.clone()));
            let calls = Task::Key.calls();
            let joined = queue.join_line(&subject, tenant, calls, now).await;
            joined.map_err(failed)?;
        }
        Ok(format!(
            "channel {channel} of {partner} is open again; a cancellation that comes from now on, and a list of 360dialog that shows it as dead, cancel it again"
        ))
    }
}

/// The fact that a channel is open again; `None` if it is not cancelled.
///
/// It is later than the cancellation that it ends, whatever the clock of whoever heard of that said.
fn reopening(channel: &Channel, now: Timestamp) -> Option<Fact> {
    let cancelled = channel.cancelled.as_ref().filter(|it| it.value)?;
    let after = cancelled.at.saturating_add(ONE_STEP).ok();
    let at = after.map_or(now, |after| after.max(now));
    let assertion = Assertion {
        cancelled: Some(false),
        ..Assertion::default()
    };
    let cause = format!("reopen {}", now.as_millisecond());
    let (id, source) = (channel.id.clone(), Source::Operator);
    Some(Fact::new(id, source, assertion, at, cause))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_reopening_is_later_than_the_cancellation_it_ends_and_earlier_than_the_next() {
        let id = ChannelRef::new("aPA".parse().unwrap(), "bCH".parse().unwrap());
        let mut channel = Channel::unknown(id.clone());
        assert_eq!(reopening(&channel, at(1)), None);
        let cancelled = |second, cause: &str| {
            let assertion = Assertion {
                cancelled: Some(true),
                ..Assertion::default()
            };
            Fact::new(id.clone(), Source::Webhook, assertion, at(second), cause)
        };
        channel.join(&cancelled(100, "first"));
        // A clock that is behind.
        let opened = reopening(&channel, at(50)).unwrap();
        channel.join(&opened);
        assert!(!channel.is_cancelled());
        assert_eq!(reopening(&channel, at(200)), None, "it is open");
        // The old one once more, and one that comes late.
        channel.join_all(&[cancelled(100, "first"), cancelled(99, "late")]);
        assert!(!channel.is_cancelled());
        channel.join(&cancelled(101, "next"));
        assert!(channel.is_cancelled());
        let again = reopening(&channel, at(102)).unwrap();
        assert_ne!(again.id, opened.id, "a fact of its own");
    }
}
