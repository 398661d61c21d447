//! Stops without a warning, stops with one, and starts that must not succeed.

use std::collections::BTreeMap;
use std::net::TcpListener;

use serde_json::{Value, json};
use tests::{Bundle, PARTNER, until};
use tokio::process::Command;

use crate::doors::text;
use crate::stand_in::{Asked, NUMBER, Odd, StandIn, claim};

/// Slow enough that a stop falls between two stages.
const SLOW: &[(&str, &str)] = &[("HUB_STAGE_DELAY_MS", "400")];

/// I1
#[tokio::test]
async fn a_link_signed_before_a_crash_leads_to_a_key_after_it() {
    let mut bundle = Bundle::start().await;
    let signed = bundle.sign(PARTNER, "acme").await;
    bundle.kill_and_restart().await;
    let choice = json!({"client": "aCL", "channels": ["oneCH"]});
    let way_back = bundle.complete(text(&signed["url"]), choice).await;
    bundle.kill_and_restart().await;
    assert_eq!(bundle.come_back(&way_back).await.status(), 200);
    bundle.kill_and_restart().await;
    has_a_working_key(&bundle, "oneCH").await;
    let next = bundle.sign(PARTNER, "acme").await;
    assert_ne!(next["timestamp"], signed["timestamp"], "a second is given once, over all lives");
}

/// I1
#[tokio::test]
async fn a_claim_that_was_answered_is_there_after_a_crash() {
    let mut bundle = Bundle::start_with(SLOW).await;
    bundle.onboard(PARTNER, "acme", json!({"client": "aCL", "channels": ["oneCH", "twoCH"]})).await;
    let claims = |items: Vec<String>| items.iter().filter(|item| item.contains("CLAIM#")).count();
    bundle.kill_and_restart().await;
    assert_eq!(claims(bundle.scan().await), 1);
    for number in ["oneCH", "twoCH"] {
        has_a_working_key(&bundle, number).await;
    }
}

/// I1, I7
#[tokio::test]
async fn a_crash_between_any_two_stages_changes_nothing_about_the_end() {
    let mut bundle = Bundle::start_with(SLOW).await;
    bundle.onboard(PARTNER, "acme", json!({"client": "aCL", "channels": ["oneCH"]})).await;
    let about = (PARTNER, "acme", "oneCH");
    let steps: [fn(&Value) -> bool; 4] = [
        |seen| seen["claim"] == "confirmed",
        |seen| ["ready", "running", "live"].iter().any(|stage| seen["stage"] == *stage),
        |seen| ["running", "live"].iter().any(|stage| seen["stage"] == *stage),
        |seen| seen["key"]["status"] == "minting" || seen["key"]["status"] == "stored",
    ];
    for step in steps {
        let seen = bundle.channel_until(about, step).await;
        bundle.kill_and_restart().await;
        let again = bundle.channel(PARTNER, "acme", "oneCH").await.expect("what was seen stays");
        assert!(step(&again), "{seen} {again}");
    }
    has_a_working_key(&bundle, "oneCH").await;
    bundle.channel_until(about, |seen| seen["stage"] == "live").await;
}

/// I7
#[tokio::test]
async fn a_crash_while_a_key_is_being_made_ends_with_the_live_key_stored() {
    let (hub, mut bundle) = StandIn::with_new(NUMBER).await;
    for posts in 1..=2 {
        hub.now_says(Asked::NewKey, Odd::DoesItInSilence);
        if posts == 1 {
            claim(&bundle, PARTNER, NUMBER).await;
        }
        until(|| async { if hub.posts(NUMBER) == posts { Ok(()) } else { Err(format!("{:?}", hub.script().keys)) } })
            .await;
        bundle.kill_and_restart().await;
    }
    hub.recovers();
    bundle.stored(PARTNER, "acme", NUMBER).await;
    let key = bundle.vault_key(PARTNER, NUMBER).expect("a key");
    assert_eq!(json!(hub.script().keys[NUMBER]), json!([key["key_id"]]));
    assert_eq!(hub.posts(NUMBER), 3);
}

/// I1
#[tokio::test]
async fn a_webhook_that_was_answered_is_there_after_a_crash() {
    let mut bundle = Bundle::start().await;
    let events: Vec<String> = (0..10)
        .map(|index| json!({"event": "channel_running", "data": {"id": format!("n{index}CH"), "client_id": "aCL"}}))
        .map(|event| event.to_string())
        .collect();
    for event in &events {
        assert_eq!(bundle.webhook(PARTNER, event).await.status(), 200);
    }
    bundle.kill_and_restart().await;
    let kept = bundle.items().await.into_iter().filter_map(|item| item.get("body")?.as_b().ok().cloned());
    let mut kept: Vec<String> = kept.map(|body| String::from_utf8_lossy(body.as_ref()).into_owned()).collect();
    kept.sort();
    assert_eq!(kept, events);
    // Nothing of it is lost on the way into the channels either.
    until(|| async {
        let channels = bundle.scan().await.iter().filter(|item| item.contains("S(\"CHANNEL#")).count();
        if channels == events.len() { Ok(()) } else { Err(channels.to_string()) }
    })
    .await;
}

#[tokio::test]
async fn a_clean_stop_succeeds_and_takes_its_address_back() {
    let mut bundle = Bundle::start().await;
    bundle.onboard(PARTNER, "acme", json!({"client": "aCL", "channels": ["oneCH"]})).await;
    bundle.stored(PARTNER, "acme", "oneCH").await;
    let endpoint = bundle.data().join("endpoint");
    assert!(endpoint.exists());
    bundle.stop().await;
    assert!(!endpoint.exists());
    bundle.kill_and_restart().await;
    assert_eq!(bundle.stored(PARTNER, "acme", "oneCH").await["claim"], "confirmed");
    assert!(bundle.can_send(PARTNER, "oneCH").await);
}

#[tokio::test]
async fn a_start_that_cannot_succeed_names_the_setting() {
    let directory = tempfile::tempdir().expect("a directory");
    let taken = TcpListener::bind("127.0.0.1:0").expect("an address");
    let taken = taken.local_addr().expect("its address").to_string();
    let data = directory.path().join("data").display().to_string();
    let free = BTreeMap::from([("LISTEN", "127.0.0.1:0"), ("HUB_LISTEN", "127.0.0.1:0"), ("DATA", &data)]);
    for (name, value) in [
        ("LISTEN", taken.as_str()),
        ("HUB_LISTEN", &taken),
        ("LISTEN", "nowhere"),
        ("HUB", "real"),
        ("AUTO_PROVISION", "maybe"),
        ("IO_SIGNATURE_ENCODING", "base58"),
        ("IO_TIMESTAMP_WINDOW", "-1"),
        ("ALLOWED_ORIGINS", "https://app.example/path"),
        ("PARTNER_IDS", "not an id"),
        ("HUB_API_KEYS_PATH", "/keys"),
        ("PUBLIC_URL", "app.example"),
        ("SECRETS_FILE", "/nowhere/secrets.json"),
        ("DATA", "/proc/nothing/here"),
    ] {
        let mut settings = free.clone();
        settings.insert(name, value);
        let why = refuses_to_start(&settings).await;
        assert!(why.contains(name), "{name}={value}: {why}");
    }
}

#[tokio::test]
async fn without_the_simulated_hub_every_missing_setting_is_named() {
    let directory = tempfile::tempdir().expect("a directory");
    let secrets = directory.path().join("secrets.json");
    let content = json!({PARTNER: {"platform_secret": "s", "partner_token": "t"}});
    std::fs::write(&secrets, content.to_string()).expect("the secrets file");
    let (data, secrets) = (directory.path().join("data").display().to_string(), secrets.display().to_string());
    let mut settings = BTreeMap::from([("HUB", "none"), ("LISTEN", "127.0.0.1:0"), ("DATA", data.as_str())]);
    for (name, value) in [
        ("SECRETS_FILE", secrets.as_str()),
        ("PARTNER_IDS", PARTNER),
        ("PARTNER_API_URL", "http://127.0.0.1:9"),
        ("ALLOWED_ORIGINS", "https://app.example"),
        ("JWT_HS256_SECRET", "a secret"),
    ] {
        let why = refuses_to_start(&settings).await;
        assert!(why.contains(name), "{name}: {why}");
        settings.insert(name, value);
    }
}

async fn has_a_working_key(bundle: &Bundle, number: &str) {
    let seen = bundle.stored(PARTNER, "acme", number).await;
    assert_eq!((&seen["claim"], &seen["permission"]), (&json!("confirmed"), &json!("granted")));
    assert!(bundle.can_send(PARTNER, number).await);
}

/// Starts the program, which must end by itself and fail; what it says about it.
async fn refuses_to_start(settings: &BTreeMap<&str, &str>) -> String {
    let mut program = Command::new(tests::program());
    let ended = program.env_clear().envs(settings).env("RUST_LOG", "off").kill_on_drop(true).output();
    let ended = ended.await.expect("it ends");
    assert!(!ended.status.success(), "{settings:?}");
    assert!(ended.stdout.is_empty(), "{settings:?}");
    String::from_utf8(ended.stderr).expect("text")
}
