//! Stops without a warning.

use serde_json::{Value, json};
use tests::{Bundle, PARTNER, until};

use crate::everywhere::http::text;
use crate::partner_api::{Asked, NUMBER, Odd, StandIn, claim};

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
    assert_ne!(
        next["timestamp"], signed["timestamp"],
        "a second is given once, over all lives"
    );
}

/// I1
#[tokio::test]
async fn a_claim_that_was_answered_is_there_after_a_crash() {
    let mut bundle = Bundle::start_with(SLOW).await;
    bundle
        .onboard(
            PARTNER,
            "acme",
            json!({"client": "aCL", "channels": ["oneCH", "twoCH"]}),
        )
        .await;
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
    bundle
        .onboard(
            PARTNER,
            "acme",
            json!({"client": "aCL", "channels": ["oneCH"]}),
        )
        .await;
    let about = (PARTNER, "acme", "oneCH");
    let steps: [fn(&Value) -> bool; 4] = [
        |seen| seen["claim"] == "confirmed",
        |seen| {
            ["ready", "running", "live"]
                .iter()
                .any(|stage| seen["stage"] == *stage)
        },
        |seen| {
            ["running", "live"]
                .iter()
                .any(|stage| seen["stage"] == *stage)
        },
        |seen| seen["key"]["status"] == "minting" || seen["key"]["status"] == "stored",
    ];
    for step in steps {
        let seen = bundle.channel_until(about, step).await;
        bundle.kill_and_restart().await;
        let again = bundle
            .channel(PARTNER, "acme", "oneCH")
            .await
            .expect("what was seen stays");
        assert!(step(&again), "{seen} {again}");
    }
    has_a_working_key(&bundle, "oneCH").await;
    bundle
        .channel_until(about, |seen| seen["stage"] == "live")
        .await;
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
        until(|| async {
            if hub.posts(NUMBER) == posts {
                Ok(())
            } else {
                Err(format!("{:?}", hub.script().keys))
            }
        })
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
    let kept = bundle
        .items()
        .await
        .into_iter()
        .filter_map(|item| item.get("body")?.as_b().ok().cloned());
    let mut kept: Vec<String> = kept
        .map(|body| String::from_utf8_lossy(body.as_ref()).into_owned())
        .collect();
    kept.sort();
    assert_eq!(kept, events);
    // Nothing of it is lost on the way into the channels either.
    until(|| async {
        let channels = bundle
            .scan()
            .await
            .iter()
            .filter(|item| item.contains("S(\"CHANNEL#"))
            .count();
        if channels == events.len() {
            Ok(())
        } else {
            Err(channels.to_string())
        }
    })
    .await;
}

async fn has_a_working_key(bundle: &Bundle, number: &str) {
    let seen = bundle.stored(PARTNER, "acme", number).await;
    assert_eq!(
        (&seen["claim"], &seen["permission"]),
        (&json!("confirmed"), &json!("granted"))
    );
    assert!(bundle.can_send(PARTNER, number).await);
}
