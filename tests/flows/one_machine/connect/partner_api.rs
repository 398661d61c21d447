//! What becomes of it when the Partner API answers what it should not, or not at all.

use operator::connect::{Action, Keys, OnConflict};
use serde_json::json;
use tests::partner_api::{SimulatedPartnerApi, answer, asks_to_wait, loses_the_answer};
use tests::{Bundle, PARTNER};

use super::{
    CONNECT, FOREIGN, NONE, REPLACE, Told, addresses, hub_state, is_connected, ours, run_with,
    says, set_addresses, unconnected,
};

const QUICK: Action = Action::Connect(OnConflict::Refuse, Keys::Skip);

/// Runs it for the one partner.
async fn run(bundle: &Bundle, action: Action) -> Told {
    run_with(bundle, action, &[("PARTNER_IDS", PARTNER)]).await
}

async fn start() -> (Bundle, SimulatedPartnerApi) {
    let bundle = unconnected().await;
    let api = SimulatedPartnerApi::of(&bundle);
    (bundle, api)
}

/// A client of these numbers went through the hub.
async fn with_channels(bundle: &Bundle, numbers: &[&str]) {
    let signed = bundle.sign(PARTNER, "acme").await;
    let choice = json!({"client": "aCL", "channels": numbers});
    bundle.complete(&signed, choice).await;
}

#[tokio::test]
async fn a_429_is_waited_out_as_long_as_it_says() {
    let (bundle, api) = start().await;
    for (call, times) in [("webhook_url", 2), ("set_webhook_url", 1)] {
        let mut wait = asks_to_wait("0");
        wait["times"] = json!(times);
        api.replies(call, wait).await;
    }
    let told = run(&bundle, QUICK).await;
    told.is_fine(&["waiting        0 s"]);
    is_connected(&bundle, PARTNER).await;
    assert_eq!(api.asked("set_webhook_url").await, 2);
}

#[tokio::test]
async fn a_wait_that_is_too_long_or_never_ends_is_told() {
    let (bundle, api) = start().await;
    for (wait, words) in [
        ("3600", "run the command again in 60 minutes"),
        ("0", "run the command again in 1 minutes"),
    ] {
        api.replies("webhook_url", asks_to_wait(wait)).await;
        let told = run(&bundle, QUICK).await;
        told.is_trouble(&["asks to wait longer", words]);
        api.recovers().await;
    }
    assert_eq!(addresses(&bundle, PARTNER).await, NONE);
}

#[tokio::test]
async fn a_change_that_came_about_in_spite_of_a_500_counts() {
    let (bundle, api) = start().await;
    api.replies("set_webhook_url", loses_the_answer()).await;
    api.replies("set_partner", loses_the_answer()).await;
    let told = run(&bundle, QUICK).await;
    told.is_fine(&["is the bundle's now"]);
    is_connected(&bundle, PARTNER).await;
}

#[tokio::test]
async fn a_success_that_changed_nothing_is_told() {
    let (bundle, api) = start().await;
    let elsewhere = json!({"webhook_url": "https://elsewhere.example"});
    api.replies("set_webhook_url", answer(200, elsewhere)).await;
    let told = run(&bundle, QUICK).await;
    told.is_trouble(&["took the webhook URL, but still names none"]);
    api.recovers().await;
    api.refuses("set_partner", 200).await;
    let told = run(&bundle, QUICK).await;
    told.is_trouble(&["took the redirect URL, but still names none"]);
    api.recovers().await;
    run(&bundle, QUICK).await.is_fine(&[]);
    api.refuses("set_webhook_url", 200).await;
    let still = format!("but still names {}/{PARTNER}/webhook", bundle.url);
    run(&bundle, Action::Remove).await.is_trouble(&[&still]);
    api.recovers().await;
    let told = run(&bundle, Action::Remove).await;
    told.is_fine(&["is none again"]);
    assert_eq!(addresses(&bundle, PARTNER).await, NONE);
}

#[tokio::test]
async fn a_redirect_url_that_is_not_told_is_left_unless_told_to() {
    for (status, body) in [
        (405, json!({})),
        (404, json!({})),
        (403, json!({})),
        (200, json!({"id": PARTNER})),
    ] {
        let (bundle, api) = start().await;
        // Only while it runs: the test reads the redirect URL, too.
        let run = async |action| {
            api.replies("partner", answer(status, body.clone())).await;
            let told = run(&bundle, action).await;
            api.recovers().await;
            told
        };
        let told = run(QUICK).await;
        told.is_fine(&["unknown, 360dialog does not tell it", "was left"]);
        let (webhook, redirect) = ours(&bundle, PARTNER);
        let webhook_alone = (webhook, NONE.1);
        assert_eq!(addresses(&bundle, PARTNER).await, webhook_alone);
        let told = run(REPLACE).await;
        told.is_fine(&["was set; 360dialog does not tell it"]);
        is_connected(&bundle, PARTNER).await;
        let told = run(Action::Remove).await;
        told.is_trouble(&["what the redirect URL was before is not known"]);
        assert_eq!(addresses(&bundle, PARTNER).await, (NONE.0, redirect));
    }
}

#[tokio::test]
async fn a_webhook_url_that_is_not_told_is_left_and_is_trouble() {
    for (status, body) in [
        (405, json!({})),
        (200, json!({"url": "x"})),
        (200, json!({"webhook_url": ["x"]})),
    ] {
        let (bundle, api) = start().await;
        set_addresses(&bundle, PARTNER, FOREIGN, "").await;
        let before = hub_state(&bundle);
        api.replies("webhook_url", answer(status, body)).await;
        let told = run(&bundle, QUICK).await;
        told.is_trouble(&["does not tell its webhook URL", "--replace"]);
        assert_eq!(hub_state(&bundle), before);
        run(&bundle, REPLACE).await.is_fine(&[]);
        is_connected(&bundle, PARTNER).await;
    }
}

#[tokio::test]
async fn a_refusal_says_what_to_do_and_changes_nothing() {
    let (bundle, api) = start().await;
    let before = hub_state(&bundle);
    for (status, words) in [
        (
            401,
            "refuses the credentials (HTTP 401): correct partner_api_key or partner_token",
        ),
        (403, "does not permit it (HTTP 403)"),
        (500, "did not do it (HTTP 500): run the command again"),
    ] {
        let failed = json!({"meta": {"success": false}});
        api.replies("webhook_url", answer(status, failed)).await;
        for ask in [QUICK, Action::Check, Action::Remove] {
            run(&bundle, ask).await.is_trouble(&[words]);
        }
        api.recovers().await;
    }
    let nobody = [("PARTNER_API_URL", "http://127.0.0.1:1/api/v2")];
    let told = run_with(&bundle, QUICK, &nobody).await;
    told.is_trouble(&["360dialog does not answer"]);
    assert_eq!(hub_state(&bundle), before);
    api.refuses("set_webhook_url", 400).await;
    let told = run(&bundle, QUICK).await;
    told.is_trouble(&["did not do it (HTTP 400)"]);
    assert_eq!(addresses(&bundle, PARTNER).await, NONE);
}

#[tokio::test]
async fn what_was_there_is_kept_before_anything_is_set() {
    let (bundle, api) = start().await;
    set_addresses(&bundle, PARTNER, FOREIGN, "").await;
    api.refuses("set_webhook_url", 400).await;
    let told = run(&bundle, REPLACE).await;
    told.is_trouble(&["did not do it (HTTP 400)"]);
    let unchanged = (json!(FOREIGN), NONE.1);
    assert_eq!(addresses(&bundle, PARTNER).await, unchanged);
    let of_partner = format!("S(\"CONNECT#{PARTNER}\")");
    let mut items = bundle.scan().await;
    items.retain(|item| item.contains(&of_partner));
    says(&items[0], &[FOREIGN]);
}

#[tokio::test]
async fn keys_that_cannot_be_listed_are_no_trouble_and_soon_not_asked_for() {
    let (bundle, api) = start().await;
    with_channels(&bundle, &["aCH", "bCH", "cCH", "dCH", "eCH"]).await;
    api.refuses("keys", 405).await;
    run(&bundle, CONNECT).await.is_fine(&[
        "its keys cannot be listed",
        "3 channels in a row",
        "3 not listed",
    ]);
    assert_eq!(api.asked("keys").await, 3);
    api.recovers().await;
    api.refuses("keys", 401).await;
    let told = run(&bundle, CONNECT).await;
    told.is_trouble(&["refuses the credentials"]);
    api.recovers().await;
    api.replies("channels", answer(200, json!({"channels": []})))
        .await;
    let told = run(&bundle, CONNECT).await;
    told.is_trouble(&["no partner_channels"]);
    let made = api.asked("new_key").await;
    assert_eq!(made, 0, "no key is ever made");
}

#[tokio::test]
async fn assumptions_that_do_not_hold_are_told_apart_from_trouble() {
    let (bundle, api) = start().await;
    let channels = json!({"partner_channels": [
        {"id": "aCH", "client_id": "aCL", "created_at": "2026-04-09T13:09:08Z"},
        {"id": "bCH", "client": {"id": "bCL"}, "hub_status": "live", "integration": {"state": "running"}},
    ]});
    api.replies("channels", answer(200, channels)).await;
    api.refuses("keys", 404).await;
    api.refuses("partner", 405).await;
    run(&bundle, Action::Check).await.is_fine(&[
        "not confirmed  the redirect URL can be read (not documented): HTTP 404 or 405",
        "not confirmed  the list says its total: it is missing",
        "confirmed      every channel names its client",
        "not confirmed  every channel has created_at: 1 of 2 have it",
        "not confirmed  every channel has integration.state: 1 of 2 have it",
        "not confirmed  filters by id are honoured: other channels come too",
        "not confirmed  limit and offset are honoured",
        "not confirmed  keys can be listed: HTTP 404 or 405",
    ]);
    api.recovers().await;
    with_channels(&bundle, &["aCH", "bCH"]).await;
    api.finds_nothing().await;
    run(&bundle, Action::Check).await.is_trouble(&[
        "not confirmed  filters by client_id are honoured: it does not find what it names",
        "TROUBLE        without it the bundle confirms no permission",
    ]);
    api.recovers().await;
    api.refuses("channels", 500).await;
    run(&bundle, Action::Check).await.is_trouble(&[
        "not confirmed  channels are listed",
        "TROUBLE        without a list of channels",
    ]);
    api.recovers().await;
    api.refuses("webhook_url", 401).await;
    let told = run(&bundle, Action::Check).await;
    told.is_trouble(&["not confirmed  the credentials are accepted"]);
}
