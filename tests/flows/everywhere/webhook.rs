//! The webhook: which events are taken, that each is kept once and as it came, and that their order does not matter.

use data_encoding::{BASE64, HEXLOWER};
use serde_json::{Value, json};
use tests::{Ask, Bundle, PARTNER, PAYING_PARTNER, assert_same, bodies, hmac_sha256};

const NUMBER: &str = "oneCH";

/// I2
#[tokio::test]
async fn what_is_signed_in_any_encoding_is_taken_and_all_else_refused_alike() {
    let bundle = Bundle::start().await;
    let secret = bundle.secrets.platform_secret(PARTNER);
    let body = r#"{"event":"channel_live","data":{"id":"oneCH"}}"#;
    let hex = hmac_sha256(secret, body.as_bytes());
    let other_partner = bundle.secrets.platform_secret(PAYING_PARTNER);
    let before = bundle.scan().await;
    let unsigned = bundle.request("POST", &format!("/{PARTNER}/webhook"));
    let refusal = unsigned.body(body).ask().await.problem(401);
    for signature in [
        "",
        "0000",
        &hmac_sha256(secret, b"another body"),
        &hmac_sha256(other_partner, body.as_bytes()),
        &hmac_sha256("needle-token-direct-0002", body.as_bytes()),
        &hex[..63],
        &format!("sha512={hex}"),
    ] {
        let answer = bundle.webhook_signed(PARTNER, body, signature).await;
        assert_eq!(answer.problem(401), refusal, "{signature}");
    }
    let largest = format!("\"{}\"", "x".repeat(5 * 1024 * 1024 - 2));
    let larger = format!("{largest} ");
    bundle.webhook(PARTNER, &larger).await.problem(413);
    assert_same(&before, &bundle.scan().await);

    let raw = HEXLOWER.decode(hex.as_bytes()).expect("hex");
    let (prefixed, base64) = (format!("sha256={hex}"), BASE64.encode(&raw));
    for signature in [&hex, &hex.to_uppercase(), &prefixed, &base64] {
        let answer = bundle.webhook_signed(PARTNER, body, signature).await;
        let answer = answer.is(200);
        assert_eq!(answer.header("cache-control"), "no-store", "{signature}");
        let kind = answer.header("content-type");
        assert!(kind.starts_with("application/json"), "{kind}");
        assert_eq!(answer.text, "{}");
    }
    bundle.webhook(PARTNER, &largest).await.is(200);
}

/// I9
#[tokio::test]
async fn what_is_not_understood_is_kept_as_it_came_and_blocks_nothing() {
    let bundle = Bundle::start().await;
    let three = [
        r#"{"event":"new_thing","data":{"channel":"xCH"}}"#,
        r#"{ "event": 7 }"#,
        "\"text\"",
    ];
    let alone = [
        r#"{"event":"channel_invented","data":{"id":"xCH","colour":"blue"}}"#.to_owned(),
        r#"{"event":"client_created","data":{"id":"aCL"}}"#.to_owned(),
        "this is no JSON {".to_owned(),
        format!("[{}]", vec!["{}"; 26].join(",")),
        "[".repeat(50_000),
        String::new(),
    ];
    for body in &alone {
        bundle.webhook(PARTNER, body).await.is(200);
    }
    let list = format!("[{}]", three.join(" ,\n"));
    bundle.webhook(PARTNER, &list).await.is(200);

    let mut kept = bodies(&bundle.items().await);
    let alone = alone.into_iter().map(String::into_bytes);
    let mut wanted: Vec<Vec<u8>> = alone
        .chain(three.map(|it| it.as_bytes().to_vec()))
        .collect();
    kept.sort();
    wanted.sort();
    assert!(kept == wanted, "every one, and as it came");
    bundle.grant_and_store("acme", NUMBER).await;
}

/// I4
#[tokio::test]
async fn the_same_event_twice_is_one_fact() {
    let bundle = Bundle::start().await;
    bundle.grant("acme", NUMBER).await;
    bundle.complete_story(PARTNER, "acme", NUMBER).await;
    let events = [
        event("channel_created", NUMBER, json!({})),
        event("channel_permission_revoked", NUMBER, json!({})),
        r#"{"event":"something_else"}"#.to_owned(),
    ];
    for event in &events {
        bundle.webhook(PARTNER, event).await.is(200);
    }
    let before = bundle.scan_when_quiet().await;
    for event in &events {
        assert_eq!(bundle.webhook(PARTNER, event).await.is(200).text, "{}");
    }
    assert_same(&before, &bundle.scan_when_quiet().await);
}

/// I4
#[tokio::test]
async fn events_in_reverse_order_give_the_same_channel() {
    let bundle = Bundle::start().await;
    bundle.grant_and_store("acme", NUMBER).await;
    let setup_info = json!({"phone_number": "15550100", "phone_name": "Shop"});
    let quality = json!({"current_quality_rating": "High"});
    let story = [
        ("channel_created", json!({"setup_info": setup_info})),
        ("channel_ready", json!({})),
        ("channel_running", json!({})),
        ("channel_live", json!({})),
        ("channel_permission_granted", json!({})),
        ("phone_number_quality_changed", quality),
    ];
    let story = |number| story.clone().map(|(name, data)| event(name, number, data));
    for event in story("forthCH").iter().chain(story("backCH").iter().rev()) {
        bundle.webhook(PARTNER, event).await.is(200);
    }
    let mut seen = Vec::new();
    for number in ["forthCH", "backCH"] {
        // The simulated hub does not know these two, which is no reason to make them a key.
        let is_over =
            |seen: &Value| seen["stage"] == "live" && seen["key"]["reason"] == "keys_unlisted";
        let about = (PARTNER, "acme", number);
        let mut view = bundle.channel_until(about, is_over).await;
        view["id"].take();
        view["updated_at"].take();
        seen.push(view);
    }
    assert_eq!(seen[0], seen[1]);
    let told = (&seen[0]["quality"], &seen[0]["phone_number"]);
    assert_eq!(told, (&json!("High"), &json!("15550100")));
}

fn event(name: &str, number: &str, mut data: Value) -> String {
    data["id"] = json!(number);
    data["client_id"] = json!("aCL");
    json!({"event": name, "data": data}).to_string()
}
