//! Kills without a warning: what was answered is there, and what was begun is finished.

use std::time::Duration;

use serde_json::{Value, json};
use store::table::Item;
use tests::partner_api::{NUMBER, SimulatedPartnerApi, claim, new_channel};
use tests::{Bundle, PARTNER, bodies, pk, text, until_seen};

/// Slow enough that a stop falls between two stages.
const SLOW: &[(&str, &str)] = &[("HUB_STAGE_DELAY_MS", "400")];

/// I1
#[tokio::test]
async fn a_link_signed_before_a_crash_leads_to_a_key_after_it() {
    let mut bundle = Bundle::start().await;
    let signed = bundle.sign(PARTNER, "acme").await;
    bundle.kill_and_restart().await;
    let choice = json!({"client": "aCL", "channels": ["oneCH"]});
    let way_back = bundle.complete(&signed, choice).await;
    bundle.kill_and_restart().await;
    bundle.come_back(&way_back).await.is(200);
    bundle.kill_and_restart().await;
    has_a_working_key(&bundle, "oneCH").await;
    let next = bundle.sign(PARTNER, "acme").await;
    let (before, after) = (&signed["timestamp"], &next["timestamp"]);
    assert_ne!(before, after, "a second is given once, over all lives");
}

/// I1, I7
#[tokio::test]
async fn a_crash_between_any_two_stages_changes_nothing_about_the_end() {
    let mut bundle = Bundle::start_with(SLOW).await;
    bundle.grant("acme", "oneCH").await;
    let about = (PARTNER, "acme", "oneCH");
    let is_any = |seen: &Value, any: &[&str]| any.iter().any(|it| seen == it);
    let steps: [&dyn Fn(&Value) -> bool; 4] = [
        &|seen| seen["claim"] == "confirmed",
        &|seen| is_any(&seen["stage"], &["ready", "running", "live"]),
        &|seen| is_any(&seen["stage"], &["running", "live"]),
        // `minting` is only on the way: the next run decides anew.
        &|seen| seen["key"]["status"] == "stored",
    ];
    for step in steps {
        let seen = bundle.channel_until(about, step).await;
        bundle.kill_and_restart().await;
        let again = bundle.channel(PARTNER, "acme", "oneCH").await;
        let again = again.expect("what was seen stays");
        assert!(step(&again), "{seen} {again}");
    }
    has_a_working_key(&bundle, "oneCH").await;
    bundle.channel_has("oneCH", "stage", "live").await;
}

/// I7
#[tokio::test]
async fn a_crash_while_a_key_is_being_made_ends_with_the_live_key_stored() {
    let (api, mut bundle) = SimulatedPartnerApi::with_new(NUMBER).await;
    let done_in_silence = json!({"answer": "silence", "is_done": true});
    api.replies("new_key", done_in_silence).await;
    claim(&bundle, PARTNER, NUMBER).await;
    for posts in 1..=2 {
        api.is_posted(NUMBER, posts).await;
        bundle.kill_and_restart().await;
    }
    api.recovers().await;
    bundle.stored(PARTNER, "acme", NUMBER).await;
    api.has_live_key(&bundle, NUMBER).await;
    assert_eq!(api.posts(NUMBER).await, 3);
}

/// I7, I12
#[tokio::test]
async fn a_crash_at_a_call_of_360dialog_keeps_the_limit_and_ends_with_the_live_key_stored() {
    let (api, mut bundle) = with_limit().await;
    let calls = ["channels", "keys", "new_key"];
    for call in calls {
        let number = format!("{call}CH").replace('_', "");
        adds(&api, &number).await;
        // It takes its effect once nobody waits for its answer.
        api.replies(call, json!({"hold": true})).await;
        let before = api.asked(call).await;
        claims(&bundle, &number).await;
        api.is_asked(call, before + 1).await;
        bundle.kill_and_restart().await;
        api.recovers().await;
    }
    all_are_stored(&api, &bundle, calls.len()).await;
}

/// I7, I12
#[tokio::test]
async fn crashes_at_any_moment_keep_the_limit_and_end_with_every_live_key_stored() {
    crashes(3).await;
}

const RATE: &str = "9/2s";

/// A number, and a crash at some moment after its claim, so many times.
pub(super) async fn crashes(many: usize) {
    let seed = fastrand::u64(..);
    eprintln!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let (api, mut bundle) = with_limit().await;
    for index in 0..many {
        let number = format!("n{index}CH");
        adds(&api, &number).await;
        claims(&bundle, &number).await;
        tokio::time::sleep(Duration::from_millis(random.u64(..400))).await;
        bundle.kill_and_restart().await;
    }
    all_are_stored(&api, &bundle, many).await;
}

async fn with_limit() -> (SimulatedPartnerApi, Bundle) {
    let api = SimulatedPartnerApi::with_rate(RATE).await;
    let bundle = api.bundle(&[("PARTNER_API_RATE", RATE)]).await;
    (api, bundle)
}

/// A number of a client of its own.
async fn adds(api: &SimulatedPartnerApi, number: &str) {
    let mut channel = new_channel(number);
    channel["client"] = json!(format!("{number}ofCL"));
    api.adds(channel).await;
}

async fn claims(bundle: &Bundle, number: &str) {
    let query = format!("client={number}ofCL&channels=[{number}]");
    bundle.claim(PARTNER, "acme", &query).await;
}

/// All of so many numbers have their live key, and the hub never counted more calls than the limit allows.
async fn all_are_stored(api: &SimulatedPartnerApi, bundle: &Bundle, many: usize) {
    bundle.waits_are_over().await;
    let is_stored = |row: &Value| row["key"]["status"] == "stored";
    let all = |rows: &Vec<Value>| rows.len() == many && rows.iter().all(is_stored);
    for row in until_seen(|| bundle.channels(PARTNER, "acme"), all).await {
        api.has_live_key(bundle, text(&row["id"])).await;
    }
    let highest = api.highest_rate().await;
    assert!(highest <= 9, "{highest} calls in a span of {RATE}");
}

/// I1
#[tokio::test]
async fn a_webhook_that_was_answered_is_there_after_a_crash() {
    let mut bundle = Bundle::start().await;
    let events = (0..10).map(|index| {
        let data = json!({"id": format!("n{index}CH"), "client_id": "aCL"});
        json!({"event": "channel_running", "data": data}).to_string()
    });
    let events: Vec<String> = events.collect();
    for event in &events {
        bundle.webhook(PARTNER, event).await.is(200);
    }
    bundle.kill_and_restart().await;
    let mut kept = bodies(&bundle.items().await);
    kept.sort();
    assert!(kept.iter().eq(events.iter().map(String::as_bytes)));
    // Nothing of it is lost on the way into the channels either.
    let are_all = |items: &Vec<Item>| {
        let channels = items.iter().filter(|it| pk(it).starts_with("CHANNEL#"));
        channels.count() == events.len()
    };
    until_seen(|| bundle.items(), are_all).await;
}

async fn has_a_working_key(bundle: &Bundle, number: &str) {
    let seen = bundle.stored(PARTNER, "acme", number).await;
    let state = (&seen["claim"], &seen["permission"]);
    assert_eq!(state, (&json!("confirmed"), &json!("granted")));
    bundle.can_send(PARTNER, number).await;
}
