//! A number's key: made once, never in place of somebody else's, and not lost whatever the Partner API answers.

use data_encoding::HEXLOWER;
use onboarding::intent::Intent;
use onboarding::queue::{Due, Lane};
use runtime::clock;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use store::{Mints, Queue, Subject};
use tests::partner_api::{NUMBER, SimulatedPartnerApi, asks_to_wait, loses_the_answer};
use tests::partner_api::{answer, channel, claim, new_channel};
use tests::{Bundle, PARTNER, PAYING_PARTNER, channel_ref, until, until_seen};

const LONG_AGO: Option<&str> = Some("2020-02-02T02:02:02Z");
const DAY: i64 = 24 * 3600;

/// I6
#[tokio::test]
async fn a_key_that_is_not_ours_is_never_replaced() {
    let (api, bundle) = SimulatedPartnerApi::with_new(NUMBER).await;
    api.has_foreign_key(NUMBER, "somebodys").await;
    claim(&bundle, PARTNER, NUMBER).await;
    bundle.key_is(NUMBER, "blocked", "existing_key").await;
    for event in [
        "channel_running",
        "channel_live",
        "channel_permission_granted",
    ] {
        bundle.event(event, NUMBER).await;
    }
    api.adds(new_channel("laterCH")).await;
    claim(&bundle, PARTNER, "laterCH").await;
    bundle.stored(PARTNER, "acme", "laterCH").await;
    bundle.scan_when_quiet().await;
    let posts = (api.posts(NUMBER).await, api.posts("laterCH").await);
    assert_eq!(posts, (0, 1));
    bundle.key_is(NUMBER, "blocked", "existing_key").await;
    assert_eq!(api.keys(PARTNER, NUMBER).await, json!(["somebodys"]));
}

/// I6
#[tokio::test]
async fn without_a_list_of_keys_only_a_number_of_this_visit_gets_one() {
    let (api, bundle) = SimulatedPartnerApi::with_new(NUMBER).await;
    api.refuses("keys", 405).await;
    claim(&bundle, PARTNER, NUMBER).await;
    bundle.stored(PARTNER, "acme", NUMBER).await;
    api.adds(channel("elderCH", LONG_AGO)).await;
    claim(&bundle, PARTNER, "elderCH").await;
    bundle.key_is("elderCH", "blocked", "keys_unlisted").await;
    let posts = (api.posts(NUMBER).await, api.posts("elderCH").await);
    assert_eq!(posts, (1, 0));
}

/// I6
#[tokio::test]
async fn where_keys_are_not_listed_a_stored_key_stays_stored() {
    let api = SimulatedPartnerApi::start().await;
    let numbers: Vec<String> = (0..6).map(|index| format!("n{index}CH")).collect();
    for number in &numbers {
        api.adds(new_channel(number)).await;
    }
    api.refuses("keys", 404).await;
    let bundle = api.bundle(&[]).await;
    claim(&bundle, PARTNER, &numbers.join(",")).await;
    for number in &numbers {
        until(|| async {
            let key = bundle.stored_key(PARTNER, number).await;
            key.ok_or(number.clone())
        })
        .await;
    }
    bundle.scan_when_quiet().await;
    let seen = bundle.channels(PARTNER, "acme").await;
    let are_stored = seen.iter().all(|row| row["key"]["status"] == "stored");
    assert!(are_stored, "{seen:#?}");
    for number in &numbers {
        assert_eq!(api.posts(number).await, 1, "{number}");
    }
}

#[tokio::test]
async fn refused_credentials_are_told_and_asked_with_again() {
    let (api, bundle) = SimulatedPartnerApi::with_new(NUMBER).await;
    api.refuses("keys", 401).await;
    claim(&bundle, PARTNER, NUMBER).await;
    bundle.key_is(NUMBER, "waiting", "bad_credentials").await;
    api.refuses("new_key", 401).await;
    api.answers_as_usual("keys").await;
    bundle.waits_are_over().await;
    api.is_posted(NUMBER, 1).await;
    bundle.key_is(NUMBER, "waiting", "bad_credentials").await;
    api.recovers().await;
    bundle.waits_are_over().await;
    ends_with_the_live_key(&api, &bundle).await;
}

#[tokio::test]
async fn a_missing_permission_is_asked_for_again_tomorrow_or_when_it_is_granted() {
    let (api, bundle) = SimulatedPartnerApi::with_new(NUMBER).await;
    let forbidden = json!({"meta": {"success": false, "http_code": 403}});
    api.replies("new_key", answer(403, forbidden)).await;
    let before = clock::now().as_second();
    claim(&bundle, PARTNER, NUMBER).await;
    bundle
        .key_is(NUMBER, "waiting", "awaiting_permission")
        .await;
    bundle.scan_when_quiet().await;
    let (due_at, intent) = plan(&bundle).await;
    is_about(due_at, before, DAY);
    assert_eq!(intent, None, "a clear refusal closes the intent");
    api.recovers().await;
    for permission in ["revoked", "granted"] {
        let event = format!("channel_permission_{permission}");
        bundle.event(&event, NUMBER).await;
        bundle.channel_has(NUMBER, "permission", permission).await;
    }
    ends_with_the_live_key(&api, &bundle).await;
}

#[tokio::test]
async fn a_refusal_without_a_cure_blocks() {
    let (api, bundle) = SimulatedPartnerApi::with_new(NUMBER).await;
    api.refuses("new_key", 422).await;
    let before = clock::now().as_second();
    claim(&bundle, PARTNER, NUMBER).await;
    bundle.key_is(NUMBER, "blocked", "hub_refused").await;
    bundle.scan_when_quiet().await;
    let (due_at, intent) = plan(&bundle).await;
    is_about(due_at, before, DAY);
    assert_eq!(intent, None);
}

/// I7
#[tokio::test]
async fn a_key_whose_answer_was_lost_is_made_again_and_the_live_one_is_stored() {
    let (api, bundle) = SimulatedPartnerApi::with_new(NUMBER).await;
    api.replies("new_key", loses_the_answer()).await;
    claim(&bundle, PARTNER, NUMBER).await;
    bundle.key_is(NUMBER, "waiting", "hub_unavailable").await;
    // Cut twice: the second lost key is no foreign one either.
    bundle.waits_are_over().await;
    api.is_posted(NUMBER, 2).await;
    api.recovers().await;
    bundle.waits_are_over().await;
    ends_with_the_live_key(&api, &bundle).await;
    bundle.scan_when_quiet().await;
    let (due_at, intent) = plan(&bundle).await;
    let intent = intent.expect("the lost POSTs are remembered");
    let last = intent.unanswered.last().expect("a POST").at.as_second();
    assert_eq!((due_at, intent.unanswered.len()), (Some(last + 600), 2));
    // Nothing came of them later.
    bundle.waits_are_over().await;
    // Only the comparison of tomorrow is left.
    let closed = |(due_at, intent): &(Option<i64>, Option<Intent>)| {
        due_at.is_some_and(|at| at > last + 12 * 3600) && intent.is_none()
    };
    until_seen(|| plan(&bundle), closed).await;
    assert_eq!(api.posts(NUMBER).await, 3);
    ends_with_the_live_key(&api, &bundle).await;
}

/// A look because of another number is no reason to ask again.
#[tokio::test]
async fn a_number_with_a_foreign_key_is_not_asked_about_again_because_of_another_one() {
    let (api, bundle) = SimulatedPartnerApi::with_new(NUMBER).await;
    api.has_foreign_key(NUMBER, "theirs").await;
    claim(&bundle, PARTNER, NUMBER).await;
    bundle.key_is(NUMBER, "blocked", "existing_key").await;
    api.adds(new_channel("twoCH")).await;
    claim(&bundle, PARTNER, "twoCH").await;
    bundle.stored(PARTNER, "acme", "twoCH").await;
    bundle.scan_when_quiet().await;
    let blocked = Subject::Channel(channel_ref(PARTNER, NUMBER));
    let entry = Queue::new(bundle.table().await).entry(&blocked).await;
    let due = entry.expect("a read").entry.due;
    assert_eq!(due.map(Due::lane), Some(Lane::Background), "tomorrow");
    let asked = format!("call=keys&channel={NUMBER}");
    assert_eq!(api.calls(&asked).await.len(), 1);
}

/// I7: the first POST has made a key although its answer was an error, and the second one is refused.
#[tokio::test]
async fn a_refusal_after_a_lost_answer_does_not_make_its_key_a_foreign_one() {
    let (api, bundle) = SimulatedPartnerApi::with_new(NUMBER).await;
    api.replies("new_key", loses_the_answer()).await;
    claim(&bundle, PARTNER, NUMBER).await;
    bundle.key_is(NUMBER, "waiting", "hub_unavailable").await;
    api.refuses("new_key", 403).await;
    bundle.waits_are_over().await;
    bundle
        .key_is(NUMBER, "waiting", "awaiting_permission")
        .await;
    bundle.scan_when_quiet().await;
    let before = clock::now().as_second() - 60;
    let (due_at, intent) = plan(&bundle).await;
    assert_eq!(intent.map(|intent| intent.unanswered.len()), Some(1));
    let due_at = due_at.expect("it is due");
    assert!(
        due_at > before + 3600 && due_at < before + DAY,
        "within the hour"
    );
    api.recovers().await;
    bundle.waits_are_over().await;
    ends_with_the_live_key(&api, &bundle).await;
    assert_eq!(api.posts(NUMBER).await, 3);
}

/// I7: a POST takes its effect when the next one's key is stored already.
#[tokio::test]
async fn a_post_that_takes_effect_late_is_noticed_and_its_key_is_replaced() {
    let (api, bundle) = SimulatedPartnerApi::with_new(NUMBER).await;
    api.replies("new_key", answer(502, json!("bad gateway")))
        .await;
    claim(&bundle, PARTNER, NUMBER).await;
    bundle.key_is(NUMBER, "waiting", "hub_unavailable").await;
    api.recovers().await;
    bundle.waits_are_over().await;
    ends_with_the_live_key(&api, &bundle).await;
    bundle.scan_when_quiet().await;
    // It revokes the stored key.
    api.has_foreign_key(NUMBER, "late").await;
    bundle.waits_are_over().await;
    api.is_posted(NUMBER, 3).await;
    let is_live = || async {
        api.keys(PARTNER, NUMBER).await
            == json!([bundle.stored_key(PARTNER, NUMBER).await.expect("a key")["key_id"]])
    };
    until_seen(is_live, |is_live| *is_live).await;
    ends_with_the_live_key(&api, &bundle).await;
}

/// I6, I7
#[tokio::test]
async fn after_a_lost_answer_a_key_that_was_there_before_is_still_not_ours() {
    let (api, bundle) = SimulatedPartnerApi::with_new(NUMBER).await;
    api.replies("new_key", answer(502, json!("bad gateway")))
        .await;
    claim(&bundle, PARTNER, NUMBER).await;
    bundle.key_is(NUMBER, "waiting", "hub_unavailable").await;
    let two = json!({"api_keys": [{"id": "two"}, {"id": "three"}]});
    api.replies("keys", answer(200, two)).await;
    bundle.waits_are_over().await;
    bundle.key_is(NUMBER, "blocked", "existing_key").await;
}

/// I7
#[tokio::test]
async fn a_hub_that_never_answers_clearly_is_asked_five_times() {
    let (api, bundle) = SimulatedPartnerApi::with_new(NUMBER).await;
    api.replies("new_key", answer(201, json!({"id": "7"})))
        .await;
    claim(&bundle, PARTNER, NUMBER).await;
    for posts in 1..5 {
        api.is_posted(NUMBER, posts).await;
        bundle.waits_are_over().await;
    }
    bundle.key_is(NUMBER, "blocked", "hub_unavailable").await;
    assert_eq!(api.posts(NUMBER).await, 5);
}

/// Neither because something else changed, nor because the permission came and went.
#[tokio::test]
async fn a_hub_that_asks_to_wait_is_left_alone_for_so_long() {
    let (api, bundle) = SimulatedPartnerApi::with_new(NUMBER).await;
    api.replies("new_key", asks_to_wait("7200")).await;
    let before = clock::now().as_second();
    claim(&bundle, PARTNER, NUMBER).await;
    bundle.key_is(NUMBER, "waiting", "hub_unavailable").await;
    bundle.scan_when_quiet().await;
    let (due_at, intent) = plan(&bundle).await;
    is_about(due_at, before, 7200);
    assert!(intent.is_some(), "the key may have been made all the same");

    bundle.event("channel_live", NUMBER).await;
    bundle.channel_has(NUMBER, "stage", "live").await;
    for round in 0..3 {
        // Another event each time: the same bytes would be the same fact.
        for (permission, reason) in [
            ("revoked", "awaiting_permission"),
            ("granted", "hub_unavailable"),
        ] {
            let name = format!("channel_permission_{permission}");
            let event = json!({"event": name, "round": round, "data": {"id": NUMBER}});
            bundle.webhook(PARTNER, &event.to_string()).await.is(200);
            bundle.key_is(NUMBER, "waiting", reason).await;
        }
    }
    bundle.scan_when_quiet().await;
    assert_eq!(api.posts(NUMBER).await, 1);
}

#[tokio::test]
async fn keys_are_asked_for_at_the_path_that_is_set_with_the_partners_own_credentials() {
    let own_path = "/partners/channels/{channel_id}/api-keys";
    let api = SimulatedPartnerApi::start().await;
    api.adds(new_channel(NUMBER)).await;
    let bundle = api.bundle(&[("HUB_API_KEYS_PATH", own_path)]).await;
    for (partner, kind, secret) in [
        (PARTNER, "token", "needle-token-direct-0002"),
        (PAYING_PARTNER, "api_key", "needle-apikey-paying-0004"),
    ] {
        api.forgets_calls().await;
        claim(&bundle, partner, NUMBER).await;
        bundle.stored(partner, "acme", NUMBER).await;
        let key = bundle.stored_key(partner, NUMBER).await.expect("a key");
        assert_eq!(api.keys(partner, NUMBER).await, json!([key["key_id"]]));
        bundle.can_send(partner, NUMBER).await;
        let calls = api.calls("").await;
        let keys = format!("/api/v2/partners/channels/{NUMBER}/api-keys");
        let is_post = |call: &Value| call["method"] == "POST" && call["path"] == keys;
        assert!(calls.iter().any(is_post), "{calls:#?}");
        let digest = &HEXLOWER.encode(&Sha256::digest(secret))[..12];
        let is_its = |call: &Value| call["credential"] == kind && call["digest"] == digest;
        assert!(calls.iter().all(is_its), "{calls:#?}");
    }
}

/// When the key is due (UNIX seconds), and the open intent.
async fn plan(bundle: &Bundle) -> (Option<i64>, Option<Intent>) {
    let mints = Mints::new(bundle.table().await);
    let plan = mints.inspect(&channel_ref(PARTNER, NUMBER)).await;
    let plan = plan.expect("a plan");
    let due_at = plan.due.and_then(Due::time);
    (due_at.map(|at| at.as_second()), plan.intent)
}

/// Fails unless something is due `wait` seconds after some moment between `before` and now.
#[track_caller]
fn is_about(due_at: Option<i64>, before: i64, wait: i64) {
    let range = before + wait..=clock::now().as_second() + wait;
    let due_at = due_at.expect("it is due");
    assert!(range.contains(&due_at), "{due_at} is not in {range:?}");
}

/// The stored key is the one that is live at the hub.
async fn ends_with_the_live_key(api: &SimulatedPartnerApi, bundle: &Bundle) {
    bundle.stored(PARTNER, "acme", NUMBER).await;
    api.has_live_key(bundle, NUMBER).await;
}
