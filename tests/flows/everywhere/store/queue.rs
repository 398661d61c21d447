//! Due work: in the index by lanes, and in the line at places that tenants pay for.

use onboarding::claim::ClaimId;
use std::slice;

use onboarding::queue::{Due, Lane, Place};
use store::table::Table;
use store::{Queue, StoredEntry, Subject, Works, Write};
use tests::id;
use tokio::task::JoinSet;

use super::{Succeeds, after, channel, other_partner, partner, tenant};

contract! {
    the_line_is_ordered_by_place_with_a_key_before_the_looks_of_its_place,
    alarms_and_the_background_show_once_their_time_has_come_the_earliest_first,
    partners_have_lines_of_their_own,
    each_kind_of_work_is_found_by_its_row,
    a_tenant_pays_for_its_places_and_stands_behind_nobody_elses,
    no_place_is_before_the_one_that_was_taken_last,
    what_is_in_the_line_is_not_charged_again,
    a_place_that_was_paid_for_is_not_charged_again,
    what_a_worker_has_taken_is_charged_again,
    making_due_never_makes_later_and_never_moves_to_a_lesser_lane,
    sixteen_who_join_the_line_for_one_subject_at_once_pay_once,
    sixteen_subjects_that_join_at_once_have_sixteen_places,
}

/// A queue; times are seconds.
#[derive(Clone)]
pub(super) struct Line(pub(super) Queue, pub(super) Table);

impl Line {
    pub(super) fn new(table: Table) -> Self {
        Self(Queue::new(table.clone()), table)
    }

    pub(super) async fn rows(&self, lane: Lane, now: i64) -> Vec<Subject> {
        let rows = self.0.rows(&partner(), lane, after(now), 100).ok().await;
        rows.into_iter().map(|row| row.subject).collect()
    }

    pub(super) async fn join(&self, subject: &Subject, who: &str, calls: usize) -> u64 {
        self.join_at(subject, who, calls, 0).await
    }

    pub(super) async fn join_at(
        &self,
        subject: &Subject,
        who: &str,
        calls: usize,
        now: i64,
    ) -> u64 {
        let place = self
            .0
            .join_line(subject, &tenant(who), calls, after(now))
            .ok()
            .await;
        place.number()
    }

    pub(super) async fn make_due(&self, subject: &Subject, due: Due) {
        self.0.make_due(subject, due, None, after(0)).ok().await;
    }

    pub(super) async fn entry(&self, subject: &Subject) -> StoredEntry {
        self.0.entry(subject).ok().await
    }

    pub(super) async fn due(&self, subject: &Subject) -> Option<Due> {
        self.entry(subject).await.entry.due
    }

    pub(super) async fn take(&self, subject: &Subject, token: &str, now: i64) {
        let seen = self.entry(subject).await;
        assert_eq!(self.take_as(subject, &seen, token, now).await, Write::Done);
    }

    pub(super) async fn take_as(
        &self,
        subject: &Subject,
        seen: &StoredEntry,
        token: &str,
        now: i64,
    ) -> Write {
        self.0.take(subject, seen, token, after(now)).ok().await
    }

    pub(super) async fn done(&self, subject: &Subject, token: &str, next: Option<Due>) {
        self.failed(subject, token, next, 0).await;
    }

    pub(super) async fn failed(
        &self,
        subject: &Subject,
        token: &str,
        next: Option<Due>,
        failures: u32,
    ) {
        self.0
            .done(subject, token, next, failures, after(1))
            .ok()
            .await;
    }

    pub(super) async fn come_up(
        &self,
        subject: &Subject,
        seen: &StoredEntry,
        who: &str,
        calls: usize,
    ) {
        let payer = tenant(who);
        self.0
            .come_up(subject, seen, &payer, calls, after(60))
            .ok()
            .await;
    }

    pub(super) async fn oldest(&self, now: i64) -> Option<i64> {
        let oldest = self.0.oldest(&partner(), after(now)).ok().await;
        oldest.map(|at| at.as_second() - after(0).as_second())
    }

    /// The worker has come to `place`.
    pub(super) async fn reach(&self, place: u64) {
        let works = Works::new(self.1.clone());
        let leased = works.lease(&partner(), "w", after(0)).ok().await;
        let mut work = leased.expect("nobody else works");
        work.place = Place::new(place);
        works.release(&partner(), "w", &work).ok().await;
    }
}

pub(super) fn key(text: &str) -> Subject {
    Subject::Channel(channel(text))
}

pub(super) fn look(text: &str) -> Subject {
    Subject::Client(partner(), id(text))
}

pub(super) fn at(time: i64) -> Due {
    Due::At {
        at: after(time),
        kept: None,
    }
}

pub(super) fn at_keeping(time: i64, place: u64) -> Due {
    Due::At {
        at: after(time),
        kept: Some(Place::new(place)),
    }
}

pub(super) fn in_line(place: u64) -> Due {
    Due::InLine(Place::new(place))
}

pub(super) fn background(time: i64) -> Due {
    Due::Background(after(time))
}

async fn the_line_is_ordered_by_place_with_a_key_before_the_looks_of_its_place(table: Table) {
    let line = Line::new(table);
    let order = [
        (look("zCL"), 2),
        (key("zCH"), 3),
        (look("aCL"), 3),
        (key("aCH"), 4),
        (look("bCL"), 10),
        (look("cCL"), u64::from(u32::MAX) * 1000),
    ];
    for (subject, place) in order.iter().rev() {
        line.make_due(subject, in_line(*place)).await;
    }
    let wanted = order.map(|(subject, _)| subject);
    assert_eq!(line.rows(Lane::Line, 0).await, wanted);
    let two = line.0.rows(&partner(), Lane::Line, after(0), 2).ok().await;
    let two: Vec<Subject> = two.into_iter().map(|row| row.subject).collect();
    assert_eq!(two, wanted[..2]);
}

async fn alarms_and_the_background_show_once_their_time_has_come_the_earliest_first(table: Table) {
    let line = Line::new(table);
    for (lane, due) in [
        (Lane::Alarm, at as fn(i64) -> Due),
        (Lane::Background, background),
    ] {
        let names = ["c", "a", "b"].map(|name| look(&format!("{name}{}CL", lane.number())));
        for (subject, time) in names.iter().zip([10, 30, 20]) {
            line.make_due(subject, due(time)).await;
        }
        let [first, last, middle] = names;
        assert_eq!(line.rows(lane, 9).await, []);
        assert_eq!(line.rows(lane, 10).await, slice::from_ref(&first));
        assert_eq!(line.rows(lane, 29).await, [first.clone(), middle.clone()]);
        assert_eq!(line.rows(lane, 1000).await, [first, middle, last]);
    }
    assert_eq!(line.rows(Lane::Line, 1000).await, []);
}

async fn partners_have_lines_of_their_own(table: Table) {
    let line = Line::new(table);
    let theirs = Subject::Client(other_partner(), id("aCL"));
    line.reach(100).await;
    assert_eq!(line.join(&look("aCL"), "acme", 3).await, 100);
    assert_eq!(line.join(&theirs, "acme", 3).await, 0);
    assert_eq!(line.rows(Lane::Line, 0).await, [look("aCL")]);
    let rows = line
        .0
        .rows(&other_partner(), Lane::Line, after(0), 9)
        .ok()
        .await;
    let rows: Vec<Subject> = rows.into_iter().map(|row| row.subject).collect();
    assert_eq!(rows, [theirs]);
}

async fn each_kind_of_work_is_found_by_its_row(table: Table) {
    let line = Line::new(table);
    let claim = Subject::Claim(partner(), ClaimId::from_table("1"));
    for due in [in_line(0), at(0), background(0)] {
        let subjects = [key("aCH"), look("aCL"), claim.clone()];
        for subject in &subjects {
            line.take(subject, "t", 0).await;
            line.done(subject, "t", Some(due)).await;
        }
        let mut rows = line.rows(due.lane(), 0).await;
        rows.sort();
        assert_eq!(rows, subjects, "{due:?}");
    }
}

async fn a_tenant_pays_for_its_places_and_stands_behind_nobody_elses(table: Table) {
    let line = Line::new(table);
    for number in 0..20 {
        let place = line.join(&look(&format!("c{number}CL")), "flood", 3).await;
        assert_eq!(place, 3 * number);
    }
    assert_eq!(line.join(&key("aCH"), "a # tenant", 2).await, 0);
    assert_eq!(line.join(&key("bCH"), "a # tenant", 2).await, 2);
    let rows = line.rows(Lane::Line, 0).await;
    let wanted = [key("aCH"), look("c0CL"), key("bCH"), look("c1CL")];
    assert_eq!(rows[..4], wanted);
}

async fn no_place_is_before_the_one_that_was_taken_last(table: Table) {
    let line = Line::new(table);
    assert_eq!(line.join(&look("aCL"), "early", 3).await, 0);
    line.reach(100).await;
    assert_eq!(line.join(&look("bCL"), "early", 3).await, 100);
    assert_eq!(line.join(&look("cCL"), "new", 200).await, 100);
    line.reach(150).await;
    assert_eq!(line.join(&look("dCL"), "early", 3).await, 150);
    // Who has taken places ahead has taken them.
    assert_eq!(line.join(&look("eCL"), "new", 3).await, 300);
}

async fn what_is_in_the_line_is_not_charged_again(table: Table) {
    let line = Line::new(table);
    line.join(&look("aCL"), "acme", 3).await;
    let place = line.join(&look("bCL"), "acme", 3).await;
    line.reach(100).await;
    for who in ["acme", "other"] {
        assert_eq!(line.join(&look("bCL"), who, 3).await, place);
    }
    assert_eq!(line.due(&look("bCL")).await, Some(in_line(place)));
    line.reach(0).await;
    assert_eq!(line.join(&look("cCL"), "acme", 3).await, 6);
    assert_eq!(line.join(&look("dCL"), "other", 3).await, 0);
}

async fn a_place_that_was_paid_for_is_not_charged_again(table: Table) {
    let line = Line::new(table);
    line.join(&key("aCH"), "acme", 2).await;
    let (subject, place) = (key("bCH"), 2);
    assert_eq!(line.join(&subject, "acme", 2).await, place);
    line.take(&subject, "t", 0).await;
    let waits = at_keeping(600, place);
    line.done(&subject, "t", Some(waits)).await;
    assert_eq!(line.due(&subject).await, Some(waits));
    assert_eq!(line.join(&subject, "acme", 2).await, place);
    assert_eq!(line.rows(Lane::Line, 0).await, [key("aCH"), subject]);
    assert_eq!(line.rows(Lane::Alarm, 9999).await, []);
    assert_eq!(line.join(&key("cCH"), "acme", 2).await, 4);
}

async fn what_a_worker_has_taken_is_charged_again(table: Table) {
    let line = Line::new(table);
    let subject = look("aCL");
    assert_eq!(line.join(&subject, "acme", 3).await, 0);
    line.take(&subject, "t", 0).await;
    assert_eq!(line.join(&subject, "acme", 3).await, 3);
    assert_eq!(line.due(&subject).await, Some(in_line(3)));
    // What waits without a place pays, too.
    line.take(&subject, "t", 0).await;
    line.done(&subject, "t", Some(at(600))).await;
    assert_eq!(line.join(&subject, "acme", 3).await, 6);
}

async fn making_due_never_makes_later_and_never_moves_to_a_lesser_lane(table: Table) {
    let line = Line::new(table);
    let all = [
        in_line(3),
        in_line(9),
        at(5),
        at(50),
        at_keeping(20, 1),
        background(1),
        background(100),
    ];
    for (number, one) in all.into_iter().enumerate() {
        for (other_number, other) in all.into_iter().enumerate() {
            let subject = look(&format!("{number}-{other_number}CL"));
            line.make_due(&subject, one).await;
            line.make_due(&subject, other).await;
            let both = line.due(&subject).await.expect("it is due");
            let said = format!("{one:?} and {other:?} is {both:?}");
            assert_eq!(both.lane(), one.lane().min(other.lane()), "{said}");
            let times = [one.time(), other.time()].into_iter().flatten();
            assert!(
                both.time().is_none_or(|at| Some(at) == times.min()),
                "{said}"
            );
            assert!(
                line.rows(both.lane(), 9999).await.contains(&subject),
                "{said}"
            );
            let lesser = Lane::ALL.into_iter().filter(|lane| *lane != both.lane());
            for lane in lesser {
                assert!(!line.rows(lane, 9999).await.contains(&subject), "{said}");
            }
        }
    }
}

async fn sixteen_who_join_the_line_for_one_subject_at_once_pay_once(table: Table) {
    let line = Line::new(table);
    for round in 0..5 {
        let (subject, who) = (look(&format!("c{round}CL")), format!("tenant {round}"));
        let mut tasks = JoinSet::new();
        for _ in 0..16 {
            let (line, subject, who) = (line.clone(), subject.clone(), who.clone());
            tasks.spawn(async move { line.join(&subject, &who, 3).await });
        }
        assert_eq!(tasks.join_all().await, [0; 16]);
        let rows = line.rows(Lane::Line, 0).await;
        let is_it = |row: &&Subject| **row == subject;
        assert_eq!(rows.iter().filter(is_it).count(), 1);
        assert_eq!(line.join(&key(&format!("c{round}CH")), &who, 2).await, 3);
    }
}

async fn sixteen_subjects_that_join_at_once_have_sixteen_places(table: Table) {
    let line = Line::new(table);
    line.reach(1000).await;
    let mut tasks = JoinSet::new();
    for number in 0..16 {
        let (line, subject) = (line.clone(), look(&format!("c{number}CL")));
        tasks.spawn(async move { line.join(&subject, "acme", 3).await });
    }
    let mut places = tasks.join_all().await;
    places.sort_unstable();
    let wanted: Vec<u64> = (0..16).map(|number| 1000 + 3 * number).collect();
    assert_eq!(places, wanted);
    assert_eq!(line.rows(Lane::Line, 0).await.len(), 16);
}
