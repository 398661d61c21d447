//! The controls for tests, and the host names they answer to.

use reqwest::header::HOST;
use serde_json::json;
use simulator::{RunningSimulator, StartError};

use crate::support::{Fixture, PARTNER, RETURN, Receiver, settings};

#[tokio::test]
async fn a_link_is_followed_as_a_person_would() {
    let fixture = Fixture::new().await;
    let link = fixture.link(&[("state", "s-1")]);
    let choice = json!({
        "link": link.as_str(), "client": "oaY9LLfUCL", "channels": ["aCH", "bCH", "aCH"], "revoked": ["cCH"],
    });
    let (status, answer) = fixture.post("/_hub/complete", &choice).await;
    let address = format!("{RETURN}?client=oaY9LLfUCL&channels=[aCH,bCH]&revoked=[cCH]&state=s-1");
    assert_eq!((status, answer), (200, json!({"redirect_url": address})));

    let link = fixture.link(&[("state", "s-2")]);
    let (status, answer) = fixture
        .post(
            "/_hub/complete",
            &json!({"link": link.as_str(), "cancel": true}),
        )
        .await;
    assert_eq!(
        (status, answer),
        (200, json!({"redirect_url": format!("{RETURN}?state=s-2")}))
    );
}

#[tokio::test]
async fn one_channel_is_made_if_none_is_named_and_no_channel_for_an_empty_list() {
    let fixture = Fixture::new().await;
    let made = fixture.complete(json!({})).await;
    assert!(made.query().unwrap().contains("&channels=["));
    let none = fixture.complete(json!({"channels": []})).await;
    assert!(!none.query().unwrap().contains("channels"));
}

#[tokio::test]
async fn a_link_that_cannot_be_followed_is_refused() {
    let fixture = Fixture::new().await;
    let link = fixture.link(&[]);
    for (body, expected) in [
        (json!({"lnk": "mistyped"}), 422),
        (json!({"link": "nowhere"}), 400),
        (
            json!({"link": format!("{}/elsewhere", fixture.simulator.url())}),
            400,
        ),
        (json!({"link": link.as_str(), "client": "a/b"}), 400),
        (json!({"link": link.as_str(), "channels": ["a]"]}), 400),
        (
            json!({"link": link.as_str(), "channels": ["aCH"], "revoked": ["aCH"]}),
            400,
        ),
        (
            json!({"link": link.as_str().replace(PARTNER, "unknownPA")}),
            404,
        ),
    ] {
        let (status, answer) = fixture.post("/_hub/complete", &body).await;
        assert_eq!(status, expected, "{answer}");
        assert!(answer["error"].is_string(), "{answer}");
    }
}

#[tokio::test]
async fn any_event_is_sent_and_its_status_returned() {
    let fixture = Fixture::new().await;
    fixture.receiver.answer_with(401);
    let asked = json!({"partner": PARTNER, "event": "never_heard_of", "data": {"id": "aCH"}});
    assert_eq!(
        fixture.post("/_hub/event", &asked).await,
        (200, json!({"status": 401}))
    );
    let sent = fixture.receiver.wait_for(|all| !all.is_empty()).await;
    assert_eq!(sent[0].event(), "never_heard_of");
    assert_eq!(sent[0].json["data"], json!({"id": "aCH"}));
    let unknown = json!({"partner": "unknownPA", "event": "x", "data": {}});
    assert_eq!(fixture.post("/_hub/event", &unknown).await.0, 404);
}

#[tokio::test]
async fn an_event_without_a_receiver_is_answered_502() {
    let fixture = Fixture::with_settings(|settings| {
        settings.partners[0].webhook_url = Some("http://127.0.0.1:1/".into())
    })
    .await;
    let asked = json!({"partner": PARTNER, "event": "x", "data": {}});
    let (status, answer) = fixture.post("/_hub/event", &asked).await;
    assert_eq!(status, 502, "{answer}");
}

#[tokio::test]
async fn pages_and_controls_answer_to_this_machines_names_only() {
    let fixture = Fixture::with_settings(|settings| {
        settings.public_url = Some("http://hub.example:8082/".into())
    })
    .await;
    assert_eq!(fixture.simulator.url(), "http://hub.example:8082");
    let base = format!("http://{}", fixture.simulator.addr());
    let page = format!("/onboarding/{PARTNER}");
    for (path, host, expected) in [
        ("/_hub/healthz", "localhost:1", 200),
        ("/_hub/healthz", "hub.example", 200),
        ("/_hub/healthz", "evil.example", 421),
        (page.as_str(), "evil.example", 421),
        ("/api/v2/partners/x/channels", "evil.example", 401),
    ] {
        let response = fixture
            .http
            .get(format!("{base}{path}"))
            .header(HOST, host)
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), expected, "{path} {host}");
    }
}

#[tokio::test]
async fn a_busy_port_a_damaged_state_and_a_bad_url_are_different_errors() {
    let fixture = Fixture::new().await;
    let receiver = Receiver::start().await;
    let mut busy = settings(&receiver);
    busy.listen = fixture.simulator.addr();
    assert!(
        matches!(RunningSimulator::start(busy).await, Err(StartError::Listen { addr, .. }) if addr == fixture.simulator.addr())
    );

    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "{").unwrap();
    let mut damaged = settings(&receiver);
    damaged.state_file = Some(file.path().into());
    assert!(matches!(
        RunningSimulator::start(damaged).await,
        Err(StartError::State { .. })
    ));

    let mut nameless = settings(&receiver);
    nameless.public_url = Some("hub.example".into());
    assert!(matches!(
        RunningSimulator::start(nameless).await,
        Err(StartError::PublicUrl)
    ));
}
