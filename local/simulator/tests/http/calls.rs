//! The calls that a control shows, and the rate limit.

use data_encoding::HEXLOWER;
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::{API_KEY, Fixture, PARTNER, PASSWORD, TOKEN, USERNAME, keys_path};

fn digest(secret: &str) -> Value {
    HEXLOWER.encode(&Sha256::digest(secret))[..12].into()
}

#[tokio::test]
async fn a_call_is_shown_with_the_digest_of_its_credential() {
    let fixture = Fixture::new().await;
    fixture.onboard(&["aCH"]).await;
    let key = fixture.make_key("aCH").await;
    let path = format!("/partners/{PARTNER}/channels?limit=1");
    fixture
        .api(Method::GET, &path)
        .bearer_auth(TOKEN)
        .send()
        .await
        .unwrap();
    fixture
        .api(Method::GET, &keys_path("noCH"))
        .send()
        .await
        .unwrap();
    let sample = "/partners/channels/aCH/api-keys";
    fixture.call(Method::GET, sample).await;

    let all = fixture.calls("").await;
    let expected = json!({
        "call": "new_key", "method": "POST", "path": format!("/api/v2{}", keys_path("aCH")), "query": null,
        "credential": "api_key", "digest": digest(API_KEY), "partner": PARTNER, "channel": "aCH", "status": 201,
    });
    assert_eq!(all[0], expected);
    assert_eq!(
        (&all[1]["query"], &all[1]["credential"]),
        (&json!("limit=1"), &json!("token"))
    );
    assert_eq!(all[1]["digest"], digest(TOKEN));
    assert_eq!(
        (&all[2]["credential"], &all[2]["digest"]),
        (&json!("none"), &Value::Null)
    );
    assert_eq!(
        (&all[2]["channel"], &all[2]["status"]),
        (&json!("noCH"), &json!(401))
    );
    assert_eq!(
        (&all[3]["partner"], &all[3]["path"]),
        (&json!(PARTNER), &json!(format!("/api/v2{sample}")))
    );
    fixture
        .call(Method::GET, "/partners/channels/noCH/api-keys")
        .await;
    let unknown = &fixture.calls("channel=noCH").await[1];
    assert_eq!(
        (&unknown["partner"], &unknown["status"]),
        (&json!(PARTNER), &json!(404))
    );
    let text = json!(all).to_string();
    assert!(
        ![API_KEY, TOKEN, key.as_str()]
            .iter()
            .any(|secret| text.contains(secret))
    );
}

#[tokio::test]
async fn logins_and_messaging_webhooks_are_shown_with_their_partner() {
    let fixture = Fixture::new().await;
    fixture.onboard(&["aCH"]).await;
    let key = fixture.make_key("aCH").await;
    fixture
        .post(
            "/api/v2/token",
            &json!({"username": USERNAME, "password": PASSWORD}),
        )
        .await;
    let url = format!("{}/waba/v1/configs/webhook", fixture.simulator.url());
    fixture
        .http
        .get(url)
        .header("D360-API-KEY", &key)
        .send()
        .await
        .unwrap();
    let login = &fixture.calls("call=token").await[0];
    assert_eq!(
        (&login["partner"], &login["status"]),
        (&json!(PARTNER), &json!(200))
    );
    let webhook = &fixture.calls("call=messaging_webhook&channel=aCH").await[0];
    assert_eq!(
        (&webhook["partner"], &webhook["credential"]),
        (&json!(PARTNER), &json!("channel_key"))
    );
    assert_eq!(webhook["digest"], digest(&key));
}

#[tokio::test]
async fn calls_are_filtered_and_forgotten() {
    let fixture = Fixture::new().await;
    fixture.call(Method::GET, &keys_path("aCH")).await;
    fixture.call(Method::GET, &keys_path("bCH")).await;
    assert_eq!(fixture.calls(&format!("partner={PARTNER}")).await.len(), 2);
    assert_eq!(fixture.calls("channel=bCH&call=keys").await.len(), 1);
    assert_eq!(fixture.calls("call=new_key").await, [] as [Value; 0]);
    assert_eq!(fixture.get("/_hub/calls?cal=keys").await.0, 400);
    assert_eq!(fixture.get("/_hub/calls?call=kees").await.0, 400);
    assert_eq!(fixture.delete("/_hub/calls").await.0, 200);
    let (_, answer) = fixture.get("/_hub/calls").await;
    let rates = json!({PARTNER: {"limit": null, "highest": 0}});
    assert_eq!(answer, json!({"calls": [], "rates": rates}));
}

#[tokio::test]
async fn calls_above_the_limit_are_refused_and_counted() {
    let fixture =
        Fixture::with_settings(|settings| settings.rate = Some("2/3600s".parse().unwrap())).await;
    let login = json!({"username": USERNAME, "password": "wrong"});
    assert_eq!(
        fixture.post("/api/v2/token", &login).await.0,
        401,
        "a login counts"
    );
    assert_eq!(fixture.call(Method::GET, &keys_path("aCH")).await.0, 404);
    let request = fixture.api(Method::GET, &keys_path("aCH"));
    let refused = request.header("X-API-Key", API_KEY).send().await.unwrap();
    assert_eq!(refused.status(), 429);
    assert!(!refused.headers().contains_key("retry-after"));
    let (_, answer) = fixture.get("/_hub/calls").await;
    let rate = json!({"limit": "2/3600s", "highest": 3});
    assert_eq!(answer["rates"][PARTNER], rate);
    let fault = json!({"call": "any", "above_limit": true, "answer": {"status": 429, "headers": {"retry-after": "7"}}});
    fixture.control("faults", fault).await;
    let request = fixture.api(Method::GET, &keys_path("aCH"));
    let refused = request.header("X-API-Key", API_KEY).send().await.unwrap();
    assert_eq!(refused.headers()["retry-after"], "7");
}
