//! HOOK: what is to be set is due once, apart from the lanes, and nothing that was wanted meanwhile is lost.

use std::time::Duration;

use dialog360::id::ChannelRef;
use onboarding::channel::Channel;
use onboarding::fact::{Assertion, Fact, MessagingWebhook, Source};
use onboarding::queue::Lane;
use store::table::Table;
use store::{Hook, Hooks, Queue, Write};
use tests::id;

use super::{Succeeds, after, other_partner, partner};

contract! {
    what_is_wanted_is_due_until_it_is_set,
    the_same_webhook_is_wanted_once_and_another_one_anew,
    what_was_wanted_while_a_run_was_at_it_is_due_after_it,
    a_late_run_makes_due_again_what_another_has_set,
    the_webhook_that_waits_longest_comes_first_and_none_is_in_a_lane,
    every_field_is_kept,
}

fn number(name: &str) -> ChannelRef {
    ChannelRef::new(partner(), id(name))
}

async fn due(hooks: &Hooks, now: i64) -> Vec<String> {
    let due = hooks.due(&partner(), after(now), 9).ok().await;
    due.iter().map(|it| it.channel.to_string()).collect()
}

/// Takes the webhook of a number, as a run does.
async fn take(hooks: &Hooks, number: &ChannelRef, now: i64) -> Hook {
    let mut hook = hooks.read(number).ok().await;
    hook.take("token", after(now));
    assert_eq!(hooks.save(number, &mut hook).ok().await, Write::Done);
    hook
}

async fn what_is_wanted_is_due_until_it_is_set(table: Table) {
    let (hooks, one) = (Hooks::new(table), number("oneCH"));
    assert_eq!(hooks.read(&one).ok().await, Hook::default());
    hooks.make_due(&one, "a", None, after(5)).ok().await;
    assert_eq!(due(&hooks, 4).await, [""; 0]);
    assert_eq!(due(&hooks, 5).await, ["oneCH"]);
    let mut hook = take(&hooks, &one, 6).await;
    // A run that dies now leaves it due in a minute.
    assert_eq!(due(&hooks, 65).await, [""; 0]);
    assert_eq!(due(&hooks, 66).await, ["oneCH"]);
    hook.set("a");
    assert_eq!(hooks.save(&one, &mut hook).ok().await, Write::Done);
    assert_eq!(due(&hooks, 999_999).await, [""; 0]);
    assert_eq!(hooks.read(&one).ok().await.done.as_deref(), Some("a"));
}

async fn the_same_webhook_is_wanted_once_and_another_one_anew(table: Table) {
    let (hooks, one) = (Hooks::new(table), number("oneCH"));
    hooks.make_due(&one, "a", None, after(0)).ok().await;
    let mut hook = take(&hooks, &one, 0).await;
    hook.fail("no answer".to_owned(), Duration::ZERO, after(0));
    assert_eq!(hooks.save(&one, &mut hook).ok().await, Write::Done);
    // It waits for its pause, however often it is wanted.
    hooks.make_due(&one, "a", None, after(1)).ok().await;
    assert_eq!(due(&hooks, 59).await, [""; 0]);
    hooks.make_due(&one, "b", None, after(2)).ok().await;
    assert_eq!(due(&hooks, 2).await, ["oneCH"]);
    let mut hook = take(&hooks, &one, 2).await;
    hook.set("b");
    assert_eq!(hooks.save(&one, &mut hook).ok().await, Write::Done);
    hooks.make_due(&one, "b", None, after(3)).ok().await;
    assert_eq!(due(&hooks, 999).await, [""; 0]);
    hooks.make_due(&one, "a", None, after(4)).ok().await;
    assert_eq!(due(&hooks, 4).await, ["oneCH"]);
}

async fn what_was_wanted_while_a_run_was_at_it_is_due_after_it(table: Table) {
    let (hooks, one) = (Hooks::new(table), number("oneCH"));
    hooks.make_due(&one, "a", None, after(0)).ok().await;
    let mut hook = take(&hooks, &one, 0).await;
    hooks.make_due(&one, "b", None, after(1)).ok().await;
    hook.set("a");
    assert_eq!(hooks.save(&one, &mut hook).ok().await, Write::Conflict);
    hooks.make_due_again(&one, after(2)).ok().await;
    let stored = hooks.read(&one).ok().await;
    assert_eq!(stored.wanted.as_deref(), Some("b"));
    assert_eq!((stored.done, stored.due_at), (None, Some(after(1))));
}

async fn a_late_run_makes_due_again_what_another_has_set(table: Table) {
    let (hooks, one) = (Hooks::new(table), number("oneCH"));
    hooks.make_due(&one, "a", None, after(0)).ok().await;
    let mut late = take(&hooks, &one, 0).await;
    let mut other = take(&hooks, &one, 60).await;
    other.set("a");
    assert_eq!(hooks.save(&one, &mut other).ok().await, Write::Done);
    late.set("a");
    assert_eq!(hooks.save(&one, &mut late).ok().await, Write::Conflict);
    hooks.make_due_again(&one, after(70)).ok().await;
    assert_eq!(due(&hooks, 70).await, ["oneCH"]);
}

async fn the_webhook_that_waits_longest_comes_first_and_none_is_in_a_lane(table: Table) {
    let hooks = Hooks::new(table.clone());
    for (name, at) in [("cCH", 3), ("aCH", 1), ("bCH", 2)] {
        hooks
            .make_due(&number(name), "a", None, after(at))
            .ok()
            .await;
    }
    let foreign = ChannelRef::new(other_partner(), id("dCH"));
    hooks.make_due(&foreign, "a", None, after(0)).ok().await;
    assert_eq!(due(&hooks, 2).await, ["aCH", "bCH"]);
    assert_eq!(due(&hooks, 3).await, ["aCH", "bCH", "cCH"]);
    let queue = Queue::new(table);
    for lane in Lane::ALL {
        let count = queue.count(&partner(), lane, 9).ok().await;
        assert_eq!(count, 0, "{lane:?}");
    }
}

async fn every_field_is_kept(table: Table) {
    let (hooks, one) = (Hooks::new(table), number("oneCH"));
    hooks.make_due(&one, "a", None, after(0)).ok().await;
    let mut hook = take(&hooks, &one, 0).await;
    hook.set("a");
    assert_eq!(hooks.save(&one, &mut hook).ok().await, Write::Done);
    hooks.make_due(&one, "b", None, after(1)).ok().await;
    let mut hook = take(&hooks, &one, 1).await;
    hook.fail("status 500".to_owned(), Duration::ZERO, after(2));
    let asserted = Assertion {
        messaging_webhook: Some(MessagingWebhook::Waiting),
        ..Assertion::default()
    };
    let mut channel = Channel::unknown(one.clone());
    channel.join(&Fact::new(
        one.clone(),
        Source::Provision,
        asserted,
        after(1),
        "",
    ));
    hook.told = channel.messaging_webhook;
    assert_eq!(hooks.save(&one, &mut hook).ok().await, Write::Done);
    assert_eq!(hooks.read(&one).ok().await, hook);
    assert_eq!((hook.failures, hook.due_at), (1, Some(after(62))));
}
