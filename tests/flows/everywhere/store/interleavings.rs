//! Who makes work due and who works it off, in every order of their requests.

use std::sync::{Arc, Mutex};

use onboarding::queue::{Due, Place};
use store::table::Table;
use store::{Queue, Subject, Write};
use tests::id;

use super::steps::{Actor, orders};
use super::{Site, Succeeds, after, partner, tenant};

in_every_order! {
    made_due_while_taken_is_never_lost_in_any_order_of_the_requests,
    joined_while_taken_is_never_lost_in_any_order_of_the_requests,
    of_two_who_join_the_line_for_one_subject_one_pays_in_any_order_of_the_requests,
}

type Log = Arc<Mutex<Vec<&'static str>>>;

fn note(log: &Log, what: &'static str) {
    log.lock().expect("a log").push(what);
}

fn client(number: usize) -> Subject {
    Subject::Client(partner(), id(&format!("c{number}CL")))
}

/// Reads, takes, works, and records that nothing more is to do.
async fn work_off(table: Table, subject: Subject, log: Log) {
    let queue = Queue::new(table);
    let seen = queue.entry(&subject).ok().await;
    let taken = queue.take(&subject, &seen, "t", after(0)).ok().await;
    if taken == Write::Done {
        note(&log, "work begins");
        queue.done(&subject, "t", None, 0, after(1)).ok().await;
    }
}

/// In all orders of `steps` requests of who makes a subject due that was due `before`, and of the four of a worker: once
/// it is made due, work begins, or is due.
async fn nothing_is_lost<F>(
    site: Site,
    table: Table,
    before: &[Due],
    steps: usize,
    make: fn(Queue, Subject) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let queue = Queue::new(table);
    let mut number = 0;
    for due in before.iter().copied() {
        for order in orders(steps, 4) {
            number += 1;
            let subject = client(number);
            queue.make_due(&subject, due, None, after(-60)).ok().await;
            let log = Log::default();
            let (told, begun) = (log.clone(), log.clone());
            let maker = Actor::begin(&site, |table| {
                let made = make(Queue::new(table), subject.clone());
                async move {
                    made.await;
                    note(&told, "made due");
                }
            });
            let worker = Actor::begin(&site, |table| work_off(table, subject.clone(), begun));
            let (mut maker, mut worker) = (maker.await, worker.await);
            for is_maker in &order {
                match is_maker {
                    true => maker.step().await,
                    false => worker.step().await,
                }
            }
            // Who goes on first after a conflict, counts too.
            if number % 2 == 0 {
                maker.end().await;
                worker.end().await;
            } else {
                worker.end().await;
                maker.end().await;
            }
            let entry = queue.entry(&subject).ok().await.entry;
            let log = log.lock().expect("a log").clone();
            let is_heard = log.ends_with(&["work begins"]);
            assert!(is_heard || entry.due.is_some(), "{due:?} {order:?} {log:?}");
        }
    }
}

async fn made_due_while_taken_is_never_lost_in_any_order_of_the_requests(site: Site, table: Table) {
    assert_eq!(orders(2, 4).len(), 15);
    let paid = Due::At {
        at: after(-60),
        kept: Some(Place::new(3)),
    };
    let before = [
        Due::InLine(Place::new(3)),
        paid,
        Due::Background(after(-60)),
    ];
    let make = |queue: Queue, subject| async move {
        let due = Due::InLine(Place::new(7));
        queue.make_due(&subject, due, None, after(0)).ok().await;
    };
    nothing_is_lost(site, table, &before, 2, make).await;
}

async fn joined_while_taken_is_never_lost_in_any_order_of_the_requests(site: Site, table: Table) {
    let before = [Due::Background(after(-60))];
    // It reads the item, the last place and the tenant's, then it writes.
    let make = |queue: Queue, subject| async move {
        let acme = tenant("acme");
        let joined = queue.join_line(&subject, &acme, 1, after(0));
        joined.ok().await;
    };
    nothing_is_lost(site, table, &before, 4, make).await;
}

async fn of_two_who_join_the_line_for_one_subject_one_pays_in_any_order_of_the_requests(
    site: Site,
    table: Table,
) {
    let (queue, acme) = (Queue::new(table), tenant("acme"));
    let pay = async |number, calls| {
        let subject = client(number);
        let joined = queue.join_line(&subject, &acme, calls, after(0));
        joined.ok().await.number()
    };
    let mut next = 5;
    assert_eq!(pay(1000, 5).await, 0);
    // Both do the same, so one of them may always begin.
    let orders = orders(4, 4);
    for (number, order) in orders.iter().filter(|order| order[0]).enumerate() {
        let (subject, calls) = (client(number), 2 + number % 2);
        let join = |table| {
            let (queue, subject, acme) = (Queue::new(table), subject.clone(), acme.clone());
            async move {
                let joined = queue.join_line(&subject, &acme, calls, after(0));
                joined.ok().await.number()
            }
        };
        let mut one = Actor::begin(&site, join).await;
        let mut other = Actor::begin(&site, join).await;
        for is_one in order {
            match is_one {
                true => one.step().await,
                false => other.step().await,
            }
        }
        assert_eq!([one.end().await, other.end().await], [next; 2], "{order:?}");
        let entry = queue.entry(&subject).ok().await.entry;
        assert_eq!(entry.due, Some(Due::InLine(Place::new(next))), "{order:?}");
        next += 2 + u64::from(calls == 3);
    }
    assert_eq!(pay(1001, 1).await, next);
}
