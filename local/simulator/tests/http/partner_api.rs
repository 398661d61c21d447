//! The Partner API, as a partner's server uses it.

use std::collections::BTreeSet;

use reqwest::{Method, header::AUTHORIZATION};
use serde_json::{Value, json};
use simulator::Billing;

use crate::support::{API_KEY, Fixture, LONG, PARTNER, TOKEN, answer};

async fn call(fixture: &Fixture, method: Method, path: &str) -> (u16, Value) {
    answer(
        fixture
            .api(method, path)
            .header("X-API-Key", API_KEY)
            .send()
            .await
            .unwrap(),
    )
    .await
}

fn keys_path(channel: &str) -> String {
    format!("/partners/{PARTNER}/channels/{channel}/api_keys")
}

#[tokio::test]
async fn a_partner_token_or_an_api_key_is_required() {
    let fixture = Fixture::new().await;
    let path = format!("/partners/{PARTNER}/channels");
    let request = || fixture.api(Method::GET, &path);
    let good = [
        request().bearer_auth(TOKEN),
        request().header("x-api-key", API_KEY),
    ];
    for request in good {
        assert_eq!(request.send().await.unwrap().status(), 200);
    }
    let bad = [
        request(),
        request().bearer_auth(API_KEY),
        request().header("x-api-key", TOKEN),
        request().header(AUTHORIZATION, TOKEN),
        fixture
            .api(Method::GET, "/partners/unknownPA/channels")
            .bearer_auth(TOKEN),
        fixture.api(Method::POST, "/partners/channels/y9MiLoCH/api-keys"),
    ];
    for request in bad {
        let (status, error) = answer(request.send().await.unwrap()).await;
        assert_eq!(status, 401);
        assert_eq!(error["meta"]["http_code"], 401);
        assert_eq!(error["meta"]["success"], false);
        assert!(error["meta"]["developer_message"].is_string());
    }
}

#[tokio::test]
async fn channels_are_listed_by_pages_and_filters() {
    let fixture = Fixture::new().await;
    fixture
        .complete(json!({"client": "oneCL", "channels": ["aCH", "bCH"]}))
        .await;
    fixture
        .complete(json!({"client": "twoCL", "channels": ["cCH"]}))
        .await;
    fixture
        .receiver
        .wait_for(|all| {
            let live = all
                .iter()
                .filter(|it| it.event() == "phone_number_quality_changed")
                .map(|it| it.json["data"]["id"].to_string());
            live.collect::<BTreeSet<_>>().len() == 3
        })
        .await;

    let list = async |query: &str| {
        call(
            &fixture,
            Method::GET,
            &format!("/partners/{PARTNER}/channels?{query}"),
        )
        .await
        .1
    };
    let page = list("limit=2&offset=1&sort=-id").await;
    assert_eq!((&page["count"], &page["total"]), (&json!(2), &json!(3)));
    assert_eq!(page["partner_channels"][0]["id"], "bCH");

    let filters = |filters: Value| format!("filters={}", filters.to_string().replace('"', "%22"));
    let page = list(&filters(json!({"client_id": "oneCL", "status": "ready"}))).await;
    assert_eq!(
        (&page["total"], &page["limit"], &page["offset"]),
        (&json!(2), &json!(20), &json!(0))
    );
    let page = list(&filters(json!({"id": "cCH"}))).await;
    let channel = &page["partner_channels"][0];
    assert_eq!(channel["client"]["id"], "twoCL");
    assert_eq!(channel["integration"]["state"], "running");
    assert_eq!(channel["hub_status"], "live");
    assert!(channel["created_at"].as_str().unwrap().ends_with('Z'));
    assert_eq!(
        list(&filters(json!({"id": "noCH"}))).await["partner_channels"],
        json!([])
    );
    for query in ["filters=no", "limit=0", "limit=x", "offset=-1"] {
        assert_eq!(
            call(
                &fixture,
                Method::GET,
                &format!("/partners/{PARTNER}/channels?{query}")
            )
            .await
            .0,
            400,
            "{query}"
        );
    }
}

#[tokio::test]
async fn a_new_key_revokes_the_key_before() {
    let fixture = Fixture::new().await;
    fixture
        .complete(json!({"client": "oneCL", "channels": ["aCH"]}))
        .await;
    fixture.receiver.wait_for_event("channel_running").await;
    assert_eq!(
        call(&fixture, Method::GET, &keys_path("aCH")).await,
        (200, json!({"api_keys": []}))
    );

    let (status, first) = call(&fixture, Method::POST, &keys_path("aCH")).await;
    assert_eq!(status, 201);
    assert_eq!(
        first["address"],
        format!("{}/waba", fixture.simulator.url())
    );
    let first_key = first["api_key"].as_str().unwrap();
    assert_eq!(fixture.send_message(first_key).await, 200);

    let (status, second) = call(&fixture, Method::POST, "/partners/channels/aCH/api-keys").await;
    assert_eq!(status, 201);
    let second = &second["api_keys"][0];
    assert_eq!(fixture.send_message(first_key).await, 401);
    assert_eq!(
        fixture
            .send_message(second["api_key"].as_str().unwrap())
            .await,
        200
    );
    let listed = json!({"api_keys": [{"id": second["id"], "app_id": second["app_id"]}]});
    assert_eq!(
        call(&fixture, Method::GET, &keys_path("aCH")).await,
        (200, listed.clone())
    );
    assert_eq!(
        call(&fixture, Method::GET, "/partners/channels/aCH/api-keys").await,
        (200, listed)
    );
}

#[tokio::test]
async fn no_key_without_the_clients_permission() {
    let fixture = Fixture::new().await;
    fixture
        .complete(json!({"client": "oneCL", "channels": ["aCH"]}))
        .await;
    fixture.receiver.wait_for_event("channel_running").await;
    fixture
        .complete(json!({"client": "oneCL", "channels": [], "revoked": ["aCH"]}))
        .await;
    let (status, error) = call(&fixture, Method::POST, &keys_path("aCH")).await;
    assert_eq!((status, &error["meta"]["http_code"]), (403, &json!(403)));
}

#[tokio::test]
async fn where_the_partner_pays_no_permission_is_needed() {
    let fixture =
        Fixture::with_settings(|settings| settings.partners[0].billing = Billing::PartnerPaid)
            .await;
    fixture
        .complete(json!({"client": "oneCL", "channels": ["aCH"]}))
        .await;
    fixture
        .complete(json!({"client": "oneCL", "channels": [], "revoked": ["aCH"]}))
        .await;
    fixture.receiver.wait_for_event("channel_running").await;
    assert_eq!(call(&fixture, Method::POST, &keys_path("aCH")).await.0, 201);
}

#[tokio::test]
async fn no_key_before_the_channel_runs_or_for_one_that_is_not_there() {
    let fixture = Fixture::with_settings(|settings| settings.stage_delay = LONG).await;
    fixture
        .complete(json!({"client": "oneCL", "channels": ["aCH"]}))
        .await;
    let (status, error) = call(&fixture, Method::POST, &keys_path("aCH")).await;
    assert_eq!(status, 400);
    assert!(
        error["meta"]["developer_message"]
            .as_str()
            .unwrap()
            .contains("not running")
    );
    for path in [
        keys_path("noCH"),
        "/partners/channels/noCH/api-keys".to_owned(),
    ] {
        assert_eq!(call(&fixture, Method::POST, &path).await.0, 404);
        assert_eq!(call(&fixture, Method::GET, &path).await.0, 404);
    }
}
