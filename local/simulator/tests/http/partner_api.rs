//! The Partner API, as a partner's server uses it.

use std::collections::BTreeSet;

use reqwest::{Method, header::AUTHORIZATION};
use serde_json::{Value, json};
use simulator::Billing;

use crate::support::{API_KEY, Fixture, LONG, PARTNER, TOKEN, answer, keys_path};

async fn call(fixture: &Fixture, method: Method, path: &str) -> (u16, Value) {
    fixture.call(method, path).await
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
        (&json!(2), &json!(1000), &json!(0))
    );
    let page = list(&filters(json!({"id": "cCH"}))).await;
    let channel = &page["partner_channels"][0];
    assert_eq!(channel["client"]["id"], "twoCL");
    assert_eq!(channel["integration"]["state"], "running");
    assert_eq!(channel["integration"]["enabled"], true);
    assert!(channel["integration"]["app_id"].is_string());
    assert_eq!(channel["hub_status"], "live");
    assert_eq!(channel["cancelled_at"], Value::Null);
    assert_eq!(channel["waba_account"]["status"], "approved");
    assert!(channel["created_at"].as_str().unwrap().ends_with('Z'));
    assert_eq!(
        list(&filters(json!({"id": "noCH"}))).await["partner_channels"],
        json!([])
    );
    for query in [
        "filters=no",
        "filters=[1]",
        "limit=0",
        "limit=x",
        "offset=-1",
    ] {
        let page = list(query).await;
        assert_eq!(page["total"], 3, "{query}");
        assert_eq!(page["filters"], json!({}), "{query}");
    }
    let page = list("sort=-id&filters=%7B%22status%22:%22error%22%7D").await;
    assert_eq!((&page["sort"], &page["total"]), (&json!("-id"), &json!(0)));
    assert_eq!(page["filters"], json!({"status": "error"}));
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

#[tokio::test]
async fn all_keys_are_revoked_on_request_with_the_same_permission() {
    let fixture = Fixture::new().await;
    fixture.onboard(&["aCH"]).await;
    let key = fixture.make_key("aCH").await;
    assert_eq!(
        call(&fixture, Method::DELETE, &keys_path("aCH")).await,
        (200, json!({"api_keys": []}))
    );
    assert_eq!(fixture.send_message(&key).await, 401);
    assert_eq!(
        call(&fixture, Method::DELETE, &keys_path("noCH")).await.0,
        404
    );
    fixture
        .complete(json!({"client": "oneCL", "channels": [], "revoked": ["aCH"]}))
        .await;
    for path in [
        keys_path("aCH"),
        "/partners/channels/aCH/api-keys".to_owned(),
    ] {
        assert_eq!(call(&fixture, Method::DELETE, &path).await.0, 403);
    }
}

#[tokio::test]
async fn clients_are_listed_with_what_their_links_said() {
    let fixture = Fixture::new().await;
    let link = fixture.link(&[
        ("email", "a@b.example"),
        ("name", "Acme"),
        ("partner", "t-1"),
    ]);
    let choice = json!({"link": link.as_str(), "client": "oneCL", "channels": ["aCH"]});
    fixture.post("/_hub/complete", &choice).await;
    fixture
        .complete(json!({"client": "twoCL", "channels": []}))
        .await;
    let path = format!("/partners/{PARTNER}/clients");
    let (status, all) = call(&fixture, Method::GET, &path).await;
    assert_eq!((status, &all["total"]), (200, &json!(2)));
    let filter = "filters=%7B%22contact_info.email%22:%22a@b.example%22%7D";
    let (_, one) = call(&fixture, Method::GET, &format!("{path}?{filter}")).await;
    assert_eq!(one["total"], 1);
    let client = &one["clients"][0];
    assert_eq!(
        (&client["id"], &client["name"]),
        (&json!("oneCL"), &json!("Acme"))
    );
    assert_eq!(client["contact_info"], json!({"email": "a@b.example"}));
    assert_eq!(client["partner_payload"], "t-1");
    let created = fixture.receiver.wait_for_event("client_created").await;
    let told = &created.json["data"]["client"];
    assert_eq!(told["contact_info"], json!({"email": "a@b.example"}));
    assert_eq!(
        (&told["id"], &told["name"]),
        (&json!("oneCL"), &json!("Acme"))
    );
}

#[tokio::test]
async fn a_cancelled_channel_is_reported_twice_and_ends() {
    let fixture = Fixture::new().await;
    fixture.onboard(&["aCH"]).await;
    let without_client = format!("/partners/{PARTNER}/channels/aCH/control/cancellation_request");
    assert_eq!(call(&fixture, Method::POST, &without_client).await.0, 404);
    let refused = &fixture.calls("call=cancellation&channel=aCH").await[0];
    assert_eq!(refused["status"], 404);
    let path = |client: &str| {
        format!("/partners/{PARTNER}/clients/{client}/channels/aCH/control/cancellation_request")
    };
    assert_eq!(call(&fixture, Method::POST, &path("twoCL")).await.0, 404);
    let (status, channel) = call(&fixture, Method::POST, &path("oneCL")).await;
    assert_eq!((status, &channel["cancelled_at"]), (200, &Value::Null));
    let processed = fixture
        .receiver
        .wait_for_event("cancellation_processed")
        .await;
    fixture
        .receiver
        .wait_for_event("cancellation_request")
        .await;
    assert_eq!(processed.json["data"]["hub_status"], "cancelled");
    assert!(processed.json["data"]["cancelled_at"].is_string());
    assert_eq!(call(&fixture, Method::POST, &keys_path("aCH")).await.0, 400);
    assert_eq!(call(&fixture, Method::POST, &path("oneCL")).await.0, 200);
    let all = fixture.receiver.wait_for(|all| !all.is_empty()).await;
    let requests = all
        .iter()
        .filter(|webhook| webhook.event() == "cancellation_request");
    let ids: BTreeSet<String> = requests.map(|it| it.json["id"].to_string()).collect();
    assert_eq!(ids.len(), 1, "a request that is repeated changes nothing");
}

#[tokio::test]
async fn a_cancellation_is_processed_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("hub.json");
    let fixture = Fixture::with_settings(|settings| {
        settings.state_file = Some(file.clone());
        settings.stage_delay = LONG;
    })
    .await;
    fixture
        .complete(json!({"client": "oneCL", "channels": ["aCH"]}))
        .await;
    let path =
        format!("/partners/{PARTNER}/clients/oneCL/channels/aCH/control/cancellation_request");
    assert_eq!(call(&fixture, Method::POST, &path).await.0, 200);
    fixture.simulator.stop().await;
    let fixture = Fixture::with_settings(|settings| settings.state_file = Some(file)).await;
    fixture
        .receiver
        .wait_for_event("cancellation_processed")
        .await;
}
