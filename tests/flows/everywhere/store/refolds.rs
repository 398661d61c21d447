//! When all facts of a channel are joined anew: in the order of time, taken once, never lost, never in the queue.

use jiff::Timestamp;
use onboarding::queue::Lane;
use store::table::Table;
use store::{DueRefold, Queue, Refolds, Write};

use super::{Succeeds, after, channel, items_of, other_partner, partner};

contract! {
    due_channels_come_in_order_page_by_page_and_nobody_else_sees_them,
    pages_go_on_behind_channels_that_were_taken_meanwhile,
    making_due_and_beginning_never_make_later,
    of_two_who_take_a_channel_one_gets_it,
    what_is_made_due_while_it_is_taken_stays_due,
    a_due_time_ends_only_while_the_channel_is_bound_to_nobody,
}

/// The channels that are due `seconds` from now, with their times, `limit` on each page.
async fn due(refolds: &Refolds, seconds: i64, limit: i32) -> Vec<DueRefold> {
    let (mut all, mut last, partner) = (Vec::new(), None, partner());
    loop {
        let page = refolds.due(&partner, last, after(seconds), limit);
        let page = page.ok().await;
        assert!(page.rows.len() <= usize::try_from(limit).expect("a limit"));
        all.extend(page.rows);
        last = page.last;
        if last.is_none() {
            return all;
        }
    }
}

fn row(id: &str, seconds: i64) -> DueRefold {
    DueRefold {
        channel: channel(id),
        due: after(seconds),
    }
}

async fn due_channels_come_in_order_page_by_page_and_nobody_else_sees_them(table: Table) {
    let refolds = Refolds::new(table.clone());
    for (id, seconds) in [("cCH", 3), ("aCH", 1), ("dCH", 4), ("bCH", 2), ("eCH", 4)] {
        refolds.begin(&channel(id), after(seconds)).ok().await;
    }
    let three = [row("aCH", 1), row("bCH", 2), row("cCH", 3)];
    for limit in [1, 2, 10] {
        assert_eq!(due(&refolds, 3, limit).await, three);
    }
    assert_eq!(due(&refolds, 4, 1).await.len(), 5);
    assert_eq!(due(&refolds, 0, 10).await, []);
    let count = async |seconds, most| {
        let partner = partner();
        let counted = refolds.count_due(&partner, after(seconds), most);
        counted.ok().await
    };
    assert_eq!((count(3, 10).await, count(9, 2).await), (3, 2));
    let (one, other) = (partner(), other_partner());
    let of_others = refolds.due(&other, None, after(9), 10);
    assert_eq!(of_others.ok().await.rows, []);
    let queue = Queue::new(table);
    for lane in Lane::ALL {
        let rows = queue.rows(&one, lane, Timestamp::MAX, 10);
        assert_eq!(rows.ok().await, []);
    }
}

async fn pages_go_on_behind_channels_that_were_taken_meanwhile(table: Table) {
    let (refolds, partner) = (Refolds::new(table), partner());
    let ids: Vec<String> = (0..9).map(|number| format!("n{number}CH")).collect();
    for id in &ids {
        // All at the same time, as an operator makes them.
        refolds.make_due(&channel(id), after(1)).ok().await;
    }
    let (mut seen, mut last) = (Vec::new(), None);
    loop {
        let page = refolds.due(&partner, last, after(2), 2).ok().await;
        for row in page.rows {
            let taken = refolds.take(&row, after(60)).ok().await;
            assert_eq!(taken, Write::Done);
            seen.push(row.channel.channel.to_string());
        }
        last = page.last;
        if last.is_none() {
            break;
        }
    }
    seen.sort();
    assert_eq!(seen, ids);
}

async fn making_due_and_beginning_never_make_later(table: Table) {
    let refolds = Refolds::new(table);
    let one = channel("oneCH");
    refolds.begin(&one, after(10)).ok().await;
    refolds.begin(&one, after(20)).ok().await;
    refolds.begin(&one, after(5)).ok().await;
    assert_eq!(due(&refolds, 99, 10).await, [row("oneCH", 10)]);
    refolds.make_due(&one, after(3)).ok().await;
    refolds.make_due(&one, after(4)).ok().await;
    assert_eq!(due(&refolds, 99, 10).await, [row("oneCH", 3)]);
}

async fn of_two_who_take_a_channel_one_gets_it(table: Table) {
    let refolds = Refolds::new(table);
    refolds.begin(&channel("oneCH"), after(1)).ok().await;
    let seen = row("oneCH", 1);
    let (a, b) = tokio::join!(
        refolds.take(&seen, after(60)).ok(),
        refolds.take(&seen, after(61)).ok(),
    );
    assert_ne!(a, b);
    // Whoever has taken it may die: it is due again.
    assert_eq!(due(&refolds, 61, 10).await.len(), 1);
    assert_eq!(due(&refolds, 59, 10).await, []);
    let unknown = row("twoCH", 1);
    let taken = refolds.take(&unknown, after(60)).ok().await;
    assert_eq!(taken, Write::Conflict);
}

async fn what_is_made_due_while_it_is_taken_stays_due(table: Table) {
    let refolds = Refolds::new(table);
    let one = channel("oneCH");
    for (is_made_due, due_then) in [(false, 1000), (true, 30)] {
        refolds.make_due(&one, after(1)).ok().await;
        let seen = due(&refolds, 99, 10).await.remove(0);
        let taken = refolds.take(&seen, after(60)).ok().await;
        assert_eq!(taken, Write::Done);
        if is_made_due {
            refolds.make_due(&one, after(30)).ok().await;
        }
        refolds.done(&one, after(60), after(1000)).ok().await;
        assert_eq!(due(&refolds, 9999, 10).await, [row("oneCH", due_then)]);
    }
}

async fn a_due_time_ends_only_while_the_channel_is_bound_to_nobody(table: Table) {
    let refolds = Refolds::new(table.clone());
    let one = channel("oneCH");
    let ends = async || {
        let seen = due(&refolds, 99, 10).await.remove(0);
        let taken = refolds.take(&seen, after(99)).ok().await;
        assert_eq!(taken, Write::Done);
    };
    refolds.make_due(&one, after(1)).ok().await;
    ends().await;
    refolds.end(&one, after(98)).ok().await;
    assert_eq!(
        items_of(&table, "REFOLD#").await.len(),
        1,
        "it was due anew"
    );
    refolds.end(&one, after(99)).ok().await;
    assert!(items_of(&table, "REFOLD#").await.is_empty());
    refolds.make_due(&one, after(1)).ok().await;
    ends().await;
    // It is bound meanwhile, and keeps its time.
    refolds.begin(&one, after(1000)).ok().await;
    refolds.end(&one, after(99)).ok().await;
    assert_eq!(due(&refolds, 99, 10).await, [row("oneCH", 99)]);
}
