//! A partner reads and sets its own addresses.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{API_KEY, Fixture, PARTNER, Receiver, TOKEN, answer, settings};

const WEBHOOK: &str = "https://partner.example/hook?of=360dialog";
const REDIRECT: &str = "https://partner.example/back";

fn webhook_path() -> String {
    format!("/partners/{PARTNER}/webhook_url")
}

fn partner_path() -> String {
    format!("/partners/{PARTNER}")
}

/// The partner as it is shown.
fn view(webhook_url: &str, redirect_url: &str) -> Value {
    json!({
        "id": PARTNER,
        "brand_name": format!("Partner {PARTNER}"),
        "payment_plan": "direct_paid",
        "webhook_url": webhook_url,
        "partner_redirect_url": redirect_url,
    })
}

async fn read(fixture: &Fixture, path: &str) -> Value {
    let (status, body) = answer(
        fixture
            .api(Method::GET, path)
            .bearer_auth(TOKEN)
            .send()
            .await
            .unwrap(),
    )
    .await;
    assert_eq!(status, 200, "{body}");
    body
}

async fn write(fixture: &Fixture, method: Method, path: &str, body: Value) -> (u16, Value) {
    answer(
        fixture
            .api(method, path)
            .header("X-API-Key", API_KEY)
            .json(&body)
            .send()
            .await
            .unwrap(),
    )
    .await
}

#[tokio::test]
async fn the_configured_addresses_count_until_the_partner_sets_others() {
    let receiver = Receiver::start().await;
    let configured = settings(&receiver).partners[0].webhook_url.clone().unwrap();
    let fixture = Fixture::with_receiver(receiver, |settings| {
        settings.partners[0].redirect_url = Some(REDIRECT.into())
    })
    .await;
    assert_eq!(
        read(&fixture, &webhook_path()).await,
        json!({"webhook_url": configured})
    );
    let partner = view(&configured, REDIRECT);
    assert_eq!(read(&fixture, &partner_path()).await, partner);
}

#[tokio::test]
async fn webhooks_go_to_the_address_that_was_set_and_stop_when_it_is_emptied() {
    let (old, new) = (Receiver::start().await, Receiver::start().await);
    let address = settings(&new).partners[0].webhook_url.clone().unwrap();
    let fixture = Fixture::with_receiver(old, |_| {}).await;
    let set = write(
        &fixture,
        Method::POST,
        &webhook_path(),
        json!({"webhook_url": address}),
    )
    .await;
    assert_eq!(set, (200, json!({"webhook_url": address})));
    let event = json!({"partner": PARTNER, "event": "channel_live", "data": {"id": "aCH"}});
    assert_eq!(
        fixture.post("/_hub/event", &event).await,
        (200, json!({"status": 200}))
    );
    assert_eq!(
        (new.events().len(), fixture.receiver.events().len()),
        (1, 0)
    );

    for nothing in [json!(""), Value::Null] {
        write(
            &fixture,
            Method::POST,
            &webhook_path(),
            json!({"webhook_url": address}),
        )
        .await;
        write(
            &fixture,
            Method::POST,
            &webhook_path(),
            json!({"webhook_url": nothing}),
        )
        .await;
        assert_eq!(
            read(&fixture, &webhook_path()).await,
            json!({"webhook_url": null})
        );
        assert_eq!(fixture.post("/_hub/event", &event).await.0, 409);
    }
}

#[tokio::test]
async fn a_change_of_the_partner_changes_only_the_fields_it_names() {
    let fixture = Fixture::new().await;
    let before = read(&fixture, &webhook_path()).await["webhook_url"].clone();
    let (status, partner) = write(
        &fixture,
        Method::PATCH,
        &partner_path(),
        json!({"partner_redirect_url": REDIRECT, "name": "x"}),
    )
    .await;
    assert_eq!(
        (
            status,
            &partner["partner_redirect_url"],
            &partner["webhook_url"]
        ),
        (200, &json!(REDIRECT), &before)
    );
    let (_, partner) = write(
        &fixture,
        Method::PATCH,
        &partner_path(),
        json!({"webhook_url": WEBHOOK}),
    )
    .await;
    assert_eq!(partner, view(WEBHOOK, REDIRECT));
    assert_eq!(read(&fixture, &partner_path()).await, partner);
}

#[tokio::test]
async fn a_link_without_redirect_url_uses_the_one_the_partner_set() {
    let fixture = Fixture::new().await;
    write(
        &fixture,
        Method::PATCH,
        &partner_path(),
        json!({"partner_redirect_url": REDIRECT}),
    )
    .await;
    let mut link = fixture.link(&[("state", "s-1")]);
    let others: Vec<(String, String)> = link
        .query_pairs()
        .into_owned()
        .filter(|(name, _)| name != "redirect_url")
        .collect();
    link.query_pairs_mut().clear().extend_pairs(others);
    let (status, answer) = fixture
        .post(
            "/_hub/complete",
            &json!({"link": link.as_str(), "cancel": true}),
        )
        .await;
    assert_eq!(
        (status, answer),
        (
            200,
            json!({"redirect_url": format!("{REDIRECT}?state=s-1")})
        )
    );
}

#[tokio::test]
async fn addresses_survive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("hub.json");
    let fixture = Fixture::with_settings(|settings| settings.state_file = Some(file.clone())).await;
    write(
        &fixture,
        Method::POST,
        &webhook_path(),
        json!({"webhook_url": WEBHOOK}),
    )
    .await;
    write(
        &fixture,
        Method::PATCH,
        &partner_path(),
        json!({"partner_redirect_url": REDIRECT}),
    )
    .await;
    fixture.simulator.stop().await;
    let fixture = Fixture::with_settings(|settings| settings.state_file = Some(file.clone())).await;
    let partner = view(WEBHOOK, REDIRECT);
    assert_eq!(read(&fixture, &partner_path()).await, partner);
}

#[tokio::test]
async fn a_malformed_address_is_refused_and_changes_nothing() {
    let fixture = Fixture::new().await;
    let before = read(&fixture, &partner_path()).await;
    for body in [
        json!({}),
        json!([]),
        json!({"webhook_url": 7}),
        json!({"webhook_url": "partner.example"}),
    ] {
        assert_eq!(
            write(&fixture, Method::POST, &webhook_path(), body.clone())
                .await
                .0,
            400,
            "{body}"
        );
    }
    for body in [
        json!("x"),
        json!({"partner_redirect_url": "ftp://partner.example"}),
    ] {
        assert_eq!(
            write(&fixture, Method::PATCH, &partner_path(), body.clone())
                .await
                .0,
            400,
            "{body}"
        );
    }
    assert_eq!(read(&fixture, &partner_path()).await, before);
}

#[tokio::test]
async fn only_the_partner_reads_and_sets_its_addresses() {
    let fixture = Fixture::new().await;
    for (method, path) in [
        (Method::GET, webhook_path()),
        (Method::POST, webhook_path()),
        (Method::GET, partner_path()),
        (Method::PATCH, partner_path()),
    ] {
        let asked = fixture
            .api(method.clone(), &path)
            .json(&json!({"webhook_url": WEBHOOK}));
        assert_eq!(asked.send().await.unwrap().status(), 401, "{method} {path}");
        let unknown = path.replace(PARTNER, "unknownPA");
        let asked = fixture
            .api(method.clone(), &unknown)
            .bearer_auth(TOKEN)
            .json(&json!({"webhook_url": WEBHOOK}));
        assert_eq!(
            asked.send().await.unwrap().status(),
            401,
            "{method} {unknown}"
        );
    }
}
