//! An operator sets right: facts that were not joined, events that were given up, and a number that was cancelled.

use jiff::SignedDuration;
use runtime::clock;
use serde_json::{Value, json};
use store::{Outbox, WaitingEvent};
use tests::aws::stack::STACK;
use tests::partner_api::{NUMBER, SimulatedPartnerApi, claim, new_channel};
use tests::{Bundle, PARTNER, id, is_on_aws, pk, until, until_seen};

use super::{fails, says};

/// A bundle with these numbers, whose keys are stored.
async fn with_keys(numbers: &[&str]) -> (SimulatedPartnerApi, Bundle) {
    let api = SimulatedPartnerApi::start().await;
    for number in numbers {
        api.adds(new_channel(number)).await;
    }
    let bundle = api.bundle(&[]).await;
    if is_on_aws() {
        bundle.aws().deploy(STACK, &[]);
    }
    claim(&bundle, PARTNER, &numbers.join(",")).await;
    for number in numbers {
        bundle.stored(PARTNER, "acme", number).await;
    }
    bundle.scan_when_quiet().await;
    (api, bundle)
}

/// Removes the saved channel of a number, as a restore may lose it.
async fn loses(bundle: &Bundle, number: &str) {
    let table = bundle.table().await;
    let channel = format!("CHANNEL#{PARTNER}#{number}");
    let items = bundle.items().await;
    let item = items.iter().find(|item| pk(item) == channel);
    let removed = table.remove(item.expect("it is saved")).await;
    removed.expect("the table");
}

async fn is_as_before(bundle: &Bundle, before: &Value) {
    let number = before["id"].as_str().expect("an id");
    let about = (PARTNER, "acme", number);
    bundle.channel_until(about, |seen| seen == before).await;
}

/// I4, I13
#[tokio::test]
async fn lost_channels_come_back_from_their_facts_one_by_one_or_all_at_once() {
    let (api, bundle) = with_keys(&[NUMBER, "twoCH"]).await;
    bundle.event("channel_live", "strayCH").await;
    bundle.scan_when_quiet().await;
    let mut before = Vec::new();
    for number in [NUMBER, "twoCH"] {
        let seen = bundle.channel(PARTNER, "acme", number).await;
        before.push(seen.expect("it is theirs"));
    }

    loses(&bundle, NUMBER).await;
    assert_eq!(bundle.channel(PARTNER, "acme", NUMBER).await, None);
    let done = says(&bundle, &["refold", PARTNER, NUMBER]).await;
    let words = format!("channel {NUMBER} of {PARTNER} is due: `fold` joins its ");
    assert!(done.starts_with(&words), "{done}");
    is_as_before(&bundle, &before[0]).await;

    for number in [NUMBER, "twoCH", "strayCH"] {
        loses(&bundle, number).await;
    }
    let done = says(&bundle, &["refold", PARTNER, "--all"]).await;
    let words = format!(" channels of {PARTNER} are due");
    assert!(done.contains(&words), "{done}");
    for before in &before {
        is_as_before(&bundle, before).await;
    }
    until(|| async {
        let listed = says(&bundle, &["list", PARTNER, "--unclaimed"]).await;
        let is_back = listed.contains("channel=strayCH client=- stage=live");
        is_back.then_some(()).ok_or(listed)
    })
    .await;
    until(|| async {
        let queue = says(&bundle, &["queue", PARTNER]).await;
        let is_done = queue.ends_with("\nrefold           0 wait\n");
        is_done.then_some(()).ok_or(queue)
    })
    .await;
    // It is nobody's, so that it is not joined every day.
    let stray = format!("REFOLD#{PARTNER}#strayCH");
    let is_gone = |items: &Vec<_>| items.iter().all(|item| pk(item) != stray);
    until_seen(|| bundle.items(), is_gone).await;
    bundle.scan_when_quiet().await;
    for number in [NUMBER, "twoCH"] {
        assert_eq!(api.posts(number).await, 1, "the key of {number} stays");
    }
    for (arguments, words) in [
        ([PARTNER, "otherCH"], "nothing is known of channel otherCH"),
        (["otherPA", NUMBER], "the bundle serves no partner otherPA"),
        (["otherPA", "--all"], "the bundle serves no partner otherPA"),
    ] {
        fails(&bundle, &["refold", arguments[0], arguments[1]], words).await;
    }
}

/// I1, I8
#[tokio::test]
async fn events_that_were_given_up_are_listed_without_their_bodies_and_sent_again() {
    let bundle = Bundle::start().await;
    if is_on_aws() {
        bundle.aws().deploy(STACK, &[]);
    }
    let (outbox, now) = (Outbox::new(bundle.table().await), clock::now());
    let put_at = now - SignedDuration::from_hours(24);
    for (number, event) in ["first", "second", "third"].into_iter().enumerate() {
        let later = SignedDuration::from_secs(i64::try_from(number).expect("a number"));
        let event = WaitingEvent {
            partner: id(PARTNER),
            id: event.to_owned(),
            detail_type: "hub.event".to_owned(),
            // The operator's output must not hold it.
            detail: json!({"id": event, "event": "needle"}).to_string(),
            put_at: put_at + later,
        };
        let given_up = outbox.give_up(&event, "Throttling Exception", now).await;
        given_up.expect("the table");
    }
    let listed = says(&bundle, &["dead", PARTNER]).await;
    let first = listed.lines().next().unwrap_or_default();
    assert!(
        first.starts_with("event id=first type=hub.event size=31 since=20")
            && first.ends_with(&format!("Z given_up={now} why=\"Throttling Exception\"")),
        "{listed}"
    );
    assert!(listed.ends_with("\n3 given up\n"), "{listed}");

    let unknown = "no event fourth of aAbBcCPA was given up";
    fails(&bundle, &["dead", PARTNER, "--retry", "fourth"], unknown).await;
    let done = says(&bundle, &["dead", PARTNER, "--retry", "second"]).await;
    assert!(done.starts_with("1 events of aAbBcCPA are in"), "{done}");
    is_published(&bundle, "second").await;
    let listed = says(&bundle, &["dead", PARTNER]).await;
    assert!(listed.ends_with("\n2 given up\n"), "{listed}");
    assert!(!listed.contains("id=second"), "{listed}");

    let done = says(&bundle, &["dead", PARTNER, "--retry"]).await;
    assert!(done.starts_with("2 events of aAbBcCPA are in"), "{done}");
    for event in ["first", "third"] {
        is_published(&bundle, event).await;
    }
    assert_eq!(says(&bundle, &["dead", PARTNER]).await, "0 given up\n");
    let stranger = "the bundle serves no partner otherPA";
    fails(&bundle, &["dead", "otherPA"], stranger).await;
}

async fn is_published(bundle: &Bundle, event: &str) {
    let is_it = |told: &Value| told["detail"]["id"] == event;
    until_seen(|| bundle.events(), |all| all.iter().any(is_it)).await;
}

/// The webhook that a number is cancelled, as 360dialog names it.
async fn is_cancelled(bundle: &Bundle, name: &str) {
    let event = json!({"id": name, "event": "cancellation_processed", "data": {"id": NUMBER}});
    bundle.webhook(PARTNER, &event.to_string()).await.is(200);
}

/// I4, I7
#[tokio::test]
async fn a_cancelled_number_is_opened_again_until_it_is_cancelled_anew() {
    let (api, bundle) = with_keys(&[NUMBER]).await;
    let open = "channel oneCH of aAbBcCPA is not cancelled: nothing is to be done";
    fails(&bundle, &["reopen", PARTNER, NUMBER], open).await;
    is_cancelled(&bundle, "evt_1").await;
    bundle.key_is(NUMBER, "none", "cancelled").await;

    let done = says(&bundle, &["reopen", PARTNER, NUMBER]).await;
    assert!(done.starts_with("channel oneCH of aAbBcCPA is open again"));
    bundle.channel_has(NUMBER, "stage", "running").await;
    bundle.stored(PARTNER, "acme", NUMBER).await;
    // 360dialog may send an event again whenever it likes.
    is_cancelled(&bundle, "evt_1").await;
    bundle.scan_when_quiet().await;
    bundle.channel_has(NUMBER, "stage", "running").await;
    assert_eq!(api.posts(NUMBER).await, 1, "the key stays");
    let story = says(&bundle, &["why", PARTNER, NUMBER]).await;
    let told = "  operator cancellation  reopen ";
    assert!(story.contains(told), "{story}");
    assert!(story.contains("stage: cancelled → running"), "{story}");

    is_cancelled(&bundle, "evt_2").await;
    bundle.key_is(NUMBER, "none", "cancelled").await;
    let unknown = "nothing is known of channel otherCH";
    fails(&bundle, &["reopen", PARTNER, "otherCH"], unknown).await;
}

/// I6
#[tokio::test]
async fn the_blocked_key_of_a_number_that_is_opened_again_is_judged_anew() {
    let (api, bundle) = SimulatedPartnerApi::with_new(NUMBER).await;
    if is_on_aws() {
        bundle.aws().deploy(STACK, &[]);
    }
    api.has_foreign_key(NUMBER, "theirs").await;
    claim(&bundle, PARTNER, NUMBER).await;
    bundle.key_is(NUMBER, "blocked", "existing_key").await;
    is_cancelled(&bundle, "evt_1").await;
    bundle.key_is(NUMBER, "none", "cancelled").await;
    bundle.scan_when_quiet().await;
    let asked = api.asked("keys").await;
    says(&bundle, &["reopen", PARTNER, NUMBER]).await;
    bundle.key_is(NUMBER, "blocked", "existing_key").await;
    assert!(api.asked("keys").await > asked, "360dialog was asked again");
    assert_eq!(api.posts(NUMBER).await, 0);
}
