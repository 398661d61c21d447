//! What becomes of it when the Partner API answers what it should not, or not at all.

use operator::connect::{Ask, Foreign, Keys};
use reqwest::Method;
use serde_json::{Value, json};
use tests::{Bundle, PARTNER, PAYING_PARTNER};

use super::proxy::{HubInFront, Odd};
use super::{
    CONNECT, FOREIGN, REPLACE, Told, addresses, hub_state, ours, run_with, set_addresses,
    unconnected,
};

const QUICK: Ask = Ask::Connect(Foreign::Refuse, Keys::Skip);
const WEBHOOK: &str = "/webhook_url";

/// Runs it for the one partner, through the door before the hub.
async fn run(bundle: &Bundle, front: &HubInFront, ask: Ask) -> Told {
    run_with(
        bundle,
        ask,
        &[("PARTNER_API_URL", &front.url), ("PARTNER_IDS", PARTNER)],
    )
    .await
}

async fn start() -> (Bundle, HubInFront) {
    let bundle = unconnected().await;
    let front = HubInFront::of(&bundle).await;
    (bundle, front)
}

#[tokio::test]
async fn a_429_is_waited_out_as_long_as_it_says() {
    let (bundle, front) = start().await;
    front.now_says(Method::GET, WEBHOOK, Odd::Wait("0", 2));
    front.now_says(Method::POST, WEBHOOK, Odd::Wait("0", 1));
    run(&bundle, &front, QUICK)
        .await
        .is_fine(&["waiting        0 s"]);
    assert_eq!(addresses(&bundle, PARTNER).await, ours(&bundle, PARTNER));
    assert_eq!(front.asked(&Method::POST, WEBHOOK), 2);
}

#[tokio::test]
async fn a_wait_that_is_too_long_or_never_ends_is_told() {
    let (bundle, front) = start().await;
    for (wait, words) in [
        ("3600", "run the command again in 60 minutes"),
        ("0", "run the command again in 1 minutes"),
    ] {
        front.now_says(Method::GET, WEBHOOK, Odd::Wait(wait, 1000));
        run(&bundle, &front, QUICK)
            .await
            .is_trouble(&["asks to wait longer", words]);
        front.recovers();
    }
    assert_eq!(
        addresses(&bundle, PARTNER).await,
        (Value::Null, Value::Null)
    );
}

#[tokio::test]
async fn a_change_that_came_about_in_spite_of_a_500_counts() {
    let (bundle, front) = start().await;
    front.now_says(Method::POST, WEBHOOK, Odd::LosesTheAnswer);
    front.now_says(Method::PATCH, PARTNER, Odd::LosesTheAnswer);
    run(&bundle, &front, QUICK)
        .await
        .is_fine(&["is the bundle's now"]);
    assert_eq!(addresses(&bundle, PARTNER).await, ours(&bundle, PARTNER));
}

#[tokio::test]
async fn a_success_that_changed_nothing_is_told() {
    let (bundle, front) = start().await;
    front.now_says(
        Method::POST,
        WEBHOOK,
        Odd::Says(200, json!({"webhook_url": "https://elsewhere.example"})),
    );
    run(&bundle, &front, QUICK)
        .await
        .is_trouble(&["took the webhook URL, but still names none"]);
    front.recovers();
    front.now_says(Method::PATCH, PARTNER, Odd::Says(200, json!({})));
    run(&bundle, &front, QUICK)
        .await
        .is_trouble(&["took the redirect URL, but still names none"]);
    front.recovers();
    run(&bundle, &front, QUICK).await.is_fine(&[]);
    front.now_says(Method::POST, WEBHOOK, Odd::Says(200, json!({})));
    let still = format!("but still names {}/{PARTNER}/webhook", bundle.url);
    run(&bundle, &front, Ask::Remove)
        .await
        .is_trouble(&[&still]);
    front.recovers();
    run(&bundle, &front, Ask::Remove)
        .await
        .is_fine(&["is none again"]);
    assert_eq!(
        addresses(&bundle, PARTNER).await,
        (Value::Null, Value::Null)
    );
}

#[tokio::test]
async fn a_redirect_url_that_is_not_told_is_left_unless_told_to() {
    for (status, body) in [
        (405, json!({})),
        (404, json!({})),
        (403, json!({})),
        (200, json!({"id": PARTNER})),
    ] {
        let (bundle, front) = start().await;
        front.now_says(Method::GET, PARTNER, Odd::Says(status, body));
        run(&bundle, &front, QUICK)
            .await
            .is_fine(&["unknown, 360dialog does not tell it", "was left"]);
        let (webhook, redirect) = ours(&bundle, PARTNER);
        assert_eq!(
            addresses(&bundle, PARTNER).await,
            (webhook.clone(), Value::Null)
        );
        run(&bundle, &front, REPLACE)
            .await
            .is_fine(&["was set; 360dialog does not tell it"]);
        assert_eq!(
            addresses(&bundle, PARTNER).await,
            (webhook, redirect.clone())
        );
        run(&bundle, &front, Ask::Remove)
            .await
            .is_trouble(&["what the redirect URL was before is not known"]);
        assert_eq!(addresses(&bundle, PARTNER).await, (Value::Null, redirect));
    }
}

#[tokio::test]
async fn a_webhook_url_that_is_not_told_is_left_and_is_trouble() {
    for (status, body) in [
        (405, json!({})),
        (200, json!({"url": "x"})),
        (200, json!({"webhook_url": ["x"]})),
    ] {
        let (bundle, front) = start().await;
        set_addresses(&bundle, PARTNER, FOREIGN, "").await;
        let before = hub_state(&bundle);
        front.now_says(Method::GET, WEBHOOK, Odd::Says(status, body));
        run(&bundle, &front, QUICK)
            .await
            .is_trouble(&["does not tell its webhook URL", "--replace"]);
        assert_eq!(hub_state(&bundle), before);
        run(&bundle, &front, REPLACE).await.is_fine(&[]);
        assert_eq!(addresses(&bundle, PARTNER).await, ours(&bundle, PARTNER));
    }
}

#[tokio::test]
async fn a_refusal_says_what_to_do_and_changes_nothing() {
    let (bundle, front) = start().await;
    let before = hub_state(&bundle);
    for (status, words) in [
        (
            401,
            "refuses the credentials (HTTP 401): correct partner_api_key or partner_token",
        ),
        (403, "does not permit it (HTTP 403)"),
        (500, "did not do it (HTTP 500): run the command again"),
    ] {
        front.now_says(
            Method::GET,
            WEBHOOK,
            Odd::Says(status, json!({"meta": {"success": false}})),
        );
        for ask in [QUICK, Ask::Check, Ask::Remove] {
            run(&bundle, &front, ask).await.is_trouble(&[words]);
        }
        front.recovers();
    }
    let nobody = [("PARTNER_API_URL", "http://127.0.0.1:1/api/v2")];
    run_with(&bundle, QUICK, &nobody)
        .await
        .is_trouble(&["360dialog does not answer"]);
    assert_eq!(hub_state(&bundle), before);
    front.now_says(Method::POST, WEBHOOK, Odd::Says(400, json!({})));
    run(&bundle, &front, QUICK)
        .await
        .is_trouble(&["did not do it (HTTP 400)"]);
    assert_eq!(
        addresses(&bundle, PARTNER).await,
        (Value::Null, Value::Null)
    );
}

#[tokio::test]
async fn what_was_there_is_kept_before_anything_is_set() {
    let (bundle, front) = start().await;
    set_addresses(&bundle, PARTNER, FOREIGN, "").await;
    front.now_says(Method::POST, WEBHOOK, Odd::Says(400, json!({})));
    run(&bundle, &front, REPLACE)
        .await
        .is_trouble(&["did not do it (HTTP 400)"]);
    assert_eq!(
        addresses(&bundle, PARTNER).await,
        (json!(FOREIGN), Value::Null)
    );
    let items = bundle.scan().await;
    let kept = items
        .iter()
        .find(|item| item.contains(&format!("S(\"CONNECT#{PARTNER}\")")));
    assert!(
        kept.is_some_and(|kept| kept.contains(FOREIGN)),
        "{items:#?}"
    );
}

#[tokio::test]
async fn keys_that_cannot_be_listed_are_no_trouble_and_soon_not_asked_for() {
    let (bundle, front) = start().await;
    let signed = bundle.sign(PARTNER, "acme").await;
    let numbers = json!({"client": "aCL", "channels": ["aCH", "bCH", "cCH", "dCH", "eCH"]});
    bundle
        .complete(signed["url"].as_str().expect("a link"), numbers)
        .await;
    front.now_says(Method::GET, "/api_keys", Odd::Says(405, json!({})));
    run(&bundle, &front, CONNECT).await.is_fine(&[
        "its keys cannot be listed",
        "3 channels in a row",
        "3 not listed",
    ]);
    assert_eq!(front.asked(&Method::GET, "/api_keys"), 3);
    front.recovers();
    front.now_says(Method::GET, "/api_keys", Odd::Says(401, json!({})));
    run(&bundle, &front, CONNECT)
        .await
        .is_trouble(&["refuses the credentials"]);
    front.recovers();
    front.now_says(
        Method::GET,
        "/channels",
        Odd::Says(200, json!({"channels": []})),
    );
    run(&bundle, &front, CONNECT)
        .await
        .is_trouble(&["no partner_channels"]);
    assert_eq!(
        front.asked(&Method::POST, "/api_keys"),
        0,
        "no key is ever made"
    );
}

#[tokio::test]
async fn assumptions_that_do_not_hold_are_told_apart_from_trouble() {
    let (bundle, front) = start().await;
    let rows = json!([
        {"id": "aCH", "client_id": "aCL", "created_at": "2026-04-09T13:09:08Z"},
        {"id": "bCH", "client": {"id": "bCL"}, "hub_status": "live", "integration": {"state": "running"}},
    ]);
    front.now_says(
        Method::GET,
        "/channels",
        Odd::Says(200, json!({"partner_channels": rows})),
    );
    front.now_says(Method::GET, "/api_keys", Odd::Says(404, json!({})));
    front.now_says(Method::GET, PARTNER, Odd::Says(405, json!({})));
    run(&bundle, &front, Ask::Check).await.is_fine(&[
        "not confirmed  the redirect URL can be read (not documented): HTTP 404 or 405",
        "not confirmed  the list says its total: it is missing",
        "confirmed      every channel names its client",
        "not confirmed  every channel has created_at: 1 of 2 have it",
        "not confirmed  every channel has integration.state: 1 of 2 have it",
        "not confirmed  filters by id are honoured: other channels come too",
        "not confirmed  limit and offset are honoured",
        "not confirmed  keys can be listed: HTTP 404 or 405",
    ]);
    front.recovers();
    let signed = bundle.sign(PARTNER, "acme").await;
    let numbers = json!({"client": "aCL", "channels": ["aCH", "bCH"]});
    bundle
        .complete(signed["url"].as_str().expect("a link"), numbers)
        .await;
    front.finds_nothing();
    run(&bundle, &front, Ask::Check).await.is_trouble(&[
        "not confirmed  filters by client_id are honoured: it does not find what it names",
        "TROUBLE        without it the bundle confirms no permission",
    ]);
    front.recovers();
    front.now_says(Method::GET, "/channels", Odd::Says(500, json!({})));
    let words = [
        "not confirmed  channels are listed",
        "TROUBLE        without a list of channels",
    ];
    run(&bundle, &front, Ask::Check).await.is_trouble(&words);
    front.recovers();
    front.now_says(Method::GET, WEBHOOK, Odd::Says(401, json!({})));
    run(&bundle, &front, Ask::Check)
        .await
        .is_trouble(&["not confirmed  the credentials are accepted"]);
}

#[tokio::test]
async fn trouble_with_one_partner_does_not_stop_the_others() {
    let (bundle, front) = start().await;
    front.now_says(
        Method::GET,
        &format!("{PARTNER}{WEBHOOK}"),
        Odd::Says(401, json!({})),
    );
    run_with(&bundle, QUICK, &[("PARTNER_API_URL", &front.url)])
        .await
        .is_trouble(&["refuses the credentials"]);
    assert_eq!(
        addresses(&bundle, PARTNER).await,
        (Value::Null, Value::Null)
    );
    assert_eq!(
        addresses(&bundle, PAYING_PARTNER).await,
        ours(&bundle, PAYING_PARTNER)
    );
}
