//! What strangers try. Whatever is refused leaves no trace in the table, and is refused alike.

use jiff::SignedDuration;
use onboarding::secret::Secret;
use onboarding::session::Session;
use platform::clock;
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};
use tests::{Bundle, PARTNER, PAYING_PARTNER, assert_same, hmac_sha256};

use crate::everywhere::http::text;

const SAID: &str = "client=aCL&channels=[oneCH]";

/// I2
#[tokio::test]
async fn what_is_refused_leaves_no_trace() {
    let bundle = Bundle::start().await;
    let used = used_state(&bundle).await;
    let foreign = text(&bundle.sign(PAYING_PARTNER, "acme").await["state"]).to_owned();
    let other_tenants = text(&bundle.sign(PARTNER, "globex").await["state"]).to_owned();
    let fresh = text(&bundle.sign(PARTNER, "acme").await["state"]).to_owned();
    let before = bundle.scan_when_quiet("markerCH").await;

    let bodies = [
        r#"{"event":"channel_live","data":{"id":"oneCH"}}"#,
        "not JSON",
    ];
    for body in bodies {
        let of_another_hub = hmac_sha256(
            bundle.secrets.platform_secret(PAYING_PARTNER),
            body.as_bytes(),
        );
        for signature in [
            "",
            "0000",
            &of_another_hub,
            &hmac_sha256("needle-token-direct-0002", body.as_bytes()),
        ] {
            assert_eq!(
                bundle
                    .webhook_signed(PARTNER, body, signature)
                    .await
                    .status(),
                401
            );
        }
    }
    for state in bad_states(&bundle, &fresh, &foreign) {
        assert_eq!(
            come_back(&bundle, &state, SAID).await.status(),
            400,
            "{state}"
        );
        assert_eq!(browse(&bundle, &state, SAID).await.status(), 400, "{state}");
        assert_eq!(
            hand_in(&bundle, Some("acme"), &state, SAID).await.status(),
            400,
            "{state}"
        );
    }
    for other in [
        "client=aCL&channels=[twoCH]",
        "client=bCL&channels=[oneCH]",
        "client=aCL&revoked=[oneCH]",
        "client=aCL",
    ] {
        assert_eq!(
            come_back(&bundle, &used, other).await.status(),
            400,
            "{other}"
        );
        assert_eq!(
            hand_in(&bundle, Some("acme"), &used, other).await.status(),
            400,
            "{other}"
        );
    }
    assert_eq!(
        hand_in(&bundle, Some("acme"), &other_tenants, SAID)
            .await
            .status(),
        400
    );
    assert_eq!(hand_in(&bundle, None, &fresh, SAID).await.status(), 401);
    for path in ["sign", "channels", "channels/oneCH"] {
        let answer = bundle
            .http
            .get(format!("{}/{PARTNER}/{path}", bundle.url))
            .send()
            .await
            .expect("an answer");
        assert_eq!(answer.status(), 401, "{path}");
    }
    assert_same(&before, &without(&bundle.scan().await, &["markerCH"]));
    let later = bundle.scan_when_quiet("laterCH").await;
    assert_same(&before, &without(&later, &["markerCH"]));
}

/// I2
#[tokio::test]
async fn the_same_link_again_says_nothing_new() {
    let bundle = Bundle::start().await;
    let state = used_state(&bundle).await;
    let before = bundle.scan_when_quiet("markerCH").await;
    let first = come_back(&bundle, &state, SAID)
        .await
        .text()
        .await
        .expect("a body");
    for again in [
        "channels=[oneCH]&client=aCL",
        "client=aCL&channels=%5B'oneCH',%20oneCH%5D&revoked=[]&other=1",
        "revoked=&client=aCL&channels=oneCH",
    ] {
        let answer = come_back(&bundle, &state, again).await;
        assert_eq!(
            (
                answer.status().as_u16(),
                answer.text().await.expect("a body")
            ),
            (200, first.clone()),
            "{again}"
        );
        assert_eq!(
            hand_in(&bundle, Some("acme"), &state, again).await.status(),
            200,
            "{again}"
        );
    }
    let later = bundle.scan_when_quiet("laterCH").await;
    assert_same(&before, &without(&later, &["markerCH"]));

    let two = bundle.sign(PARTNER, "acme").await;
    let answer = bundle
        .come_back_with(
            &two,
            "client=aCL&channels=[twoCH,threeCH]&revoked=[fourCH,fiveCH]",
        )
        .await;
    assert_eq!(answer.status(), 200);
    let answer = bundle
        .come_back_with(
            &two,
            "revoked=[fiveCH,fourCH]&channels=[threeCH,twoCH]&client=aCL",
        )
        .await;
    assert_eq!(answer.status(), 200, "another order is the same content");
    let answer = bundle
        .come_back_with(
            &two,
            "client=aCL&channels=[fourCH,fiveCH]&revoked=[twoCH,threeCH]",
        )
        .await;
    assert_eq!(answer.status(), 400, "the other way round is not");
}

#[tokio::test]
async fn every_state_that_cannot_be_used_gets_the_same_answer() {
    let bundle = Bundle::start().await;
    let used = used_state(&bundle).await;
    let foreign = text(&bundle.sign(PAYING_PARTNER, "acme").await["state"]).to_owned();
    let other_tenants = text(&bundle.sign(PARTNER, "globex").await["state"]).to_owned();
    let fresh = text(&bundle.sign(PARTNER, "acme").await["state"]).to_owned();
    let other = "client=aCL&channels=[twoCH]";
    let (mut problems, mut pages) = (Vec::new(), Vec::new());
    for state in bad_states(&bundle, &fresh, &foreign).iter().chain([&used]) {
        problems.push(whole(come_back(&bundle, state, other).await).await);
        problems.push(whole(hand_in(&bundle, Some("acme"), state, other).await).await);
        pages.push(whole(browse(&bundle, state, other).await).await);
    }
    problems.push(whole(hand_in(&bundle, Some("acme"), &other_tenants, other).await).await);
    let two = format!("{other}&state={fresh}");
    problems.push(whole(come_back(&bundle, &used, &two).await).await);
    pages.push(whole(browse(&bundle, &used, &two).await).await);
    assert!(problems[0].contains("application/problem+json") && pages[0].contains("text/html"));
    for answers in [&mut problems, &mut pages] {
        answers.dedup();
        assert_eq!(answers.len(), 1, "{answers:#?}");
    }
}

#[tokio::test]
async fn a_state_that_is_no_text_is_refused_like_every_other() {
    let bundle = Bundle::start().await;
    let wanted = whole(come_back(&bundle, "forged", SAID).await).await;
    assert_eq!(
        whole(come_back(&bundle, "%FF%FE", SAID).await).await,
        wanted
    );
}

/// States that were never issued here for this hub, or too long ago.
fn bad_states(bundle: &Bundle, fresh: &str, foreign: &str) -> Vec<String> {
    let (payload, tag) = fresh.split_once('.').expect("a seal");
    let (another_payload, _) = foreign.split_once('.').expect("a seal");
    let swapped: String = tag.chars().rev().collect();
    vec![
        "x".to_owned(),
        "x.y".to_owned(),
        payload.to_owned(),
        format!("{payload}."),
        format!("{payload}.{swapped}"),
        format!("{another_payload}.{tag}"),
        foreign.to_owned(),
        sealed(bundle, PARTNER, "needle-token-direct-0002", 0),
        sealed(
            bundle,
            PARTNER,
            bundle.secrets.platform_secret(PARTNER),
            48 * 3600,
        ),
        sealed(
            bundle,
            PARTNER,
            bundle.secrets.platform_secret(PARTNER),
            400 * 24 * 3600,
        ),
        sealed(
            bundle,
            PAYING_PARTNER,
            bundle.secrets.platform_secret(PARTNER),
            0,
        ),
        "A".repeat(5_000),
    ]
}

/// A state of `partner` for `acme`, sealed with `secret` so many seconds ago.
fn sealed(bundle: &Bundle, partner: &str, secret: &str, seconds: i64) -> String {
    let issued_at = clock::now() - SignedDuration::from_secs(seconds);
    let session = Session {
        partner: partner.parse().expect("an id"),
        tenant: "acme".parse().expect("a tenant"),
        second: issued_at.as_second(),
        issued_at,
        origin: bundle.url.parse().expect("an origin"),
        return_to: None,
    };
    session.seal(&Secret::new(secret)).as_str().to_owned()
}

/// The state of a visit that is over: `aCL` granted `oneCH`, and the hub has nothing more to tell.
async fn used_state(bundle: &Bundle) -> String {
    let signed = bundle.sign(PARTNER, "acme").await;
    let choice = json!({"client": "aCL", "channels": ["oneCH"]});
    let way_back = bundle.complete(text(&signed["url"]), choice).await;
    assert_eq!(bundle.come_back(&way_back).await.status(), 200);
    let is_complete =
        |seen: &Value| seen["key"]["status"] == "stored" && seen["quality"] == "GREEN";
    bundle
        .channel_until((PARTNER, "acme", "oneCH"), is_complete)
        .await;
    text(&signed["state"]).to_owned()
}

async fn come_back(bundle: &Bundle, state: &str, query: &str) -> Response {
    bundle
        .come_back(&format!(
            "{}/{PARTNER}/redirect/{state}?{query}",
            bundle.url
        ))
        .await
}

async fn browse(bundle: &Bundle, state: &str, query: &str) -> Response {
    let address = format!("{}/{PARTNER}/redirect?{query}&state={state}", bundle.url);
    bundle.http.get(address).send().await.expect("an answer")
}

async fn hand_in(bundle: &Bundle, tenant: Option<&str>, state: &str, query: &str) -> Response {
    let mut request = bundle
        .http
        .post(format!("{}/{PARTNER}/redirect", bundle.url));
    if let Some(tenant) = tenant {
        request = request.bearer_auth(bundle.token(tenant));
    }
    request
        .json(&json!({"query": format!("?{query}&state={state}")}))
        .send()
        .await
        .expect("an answer")
}

/// An answer to the last byte, but for its date.
async fn whole(answer: Response) -> String {
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    let mut headers = answer.headers().clone();
    headers.remove("date");
    let mut headers: Vec<String> = headers
        .iter()
        .map(|(name, value)| format!("{name}: {value:?}"))
        .collect();
    headers.sort();
    format!("{headers:?}\n{}", answer.text().await.expect("a body"))
}

fn without(items: &[String], words: &[&str]) -> Vec<String> {
    items
        .iter()
        .filter(|item| !words.iter().any(|word| item.contains(word)))
        .cloned()
        .collect()
}
