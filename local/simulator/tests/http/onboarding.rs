//! The onboarding pages, as a client's browser uses them.

use jiff::Timestamp;
use reqwest::header::{CONTENT_TYPE, LOCATION};
use serde_json::json;
use url::{Url, form_urlencoded};

use crate::support::{Fixture, PARTNER, RETURN, answer};

/// Submits the form of a page as a browser does, without following where it leads.
async fn submit(fixture: &Fixture, link: &Url, fields: &[(&str, &str)]) -> (u16, String) {
    let mut url = link.clone();
    url.set_path(&format!("{}/complete", link.path()));
    let body = form_urlencoded::Serializer::new(String::new())
        .extend_pairs(fields)
        .finish();
    let request = fixture
        .http
        .post(url)
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(body);
    let response = request.send().await.unwrap();
    let location = response
        .headers()
        .get(LOCATION)
        .map(|location| location.to_str().unwrap().to_owned());
    let status = response.status().as_u16();
    (status, location.unwrap_or(response.text().await.unwrap()))
}

async fn open(fixture: &Fixture, link: &Url) -> (u16, String) {
    let response = fixture.http.get(link.clone()).send().await.unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

#[tokio::test]
async fn a_person_adds_a_number_and_is_redirected() {
    let fixture = Fixture::new().await;
    let link = fixture.link(&[("state", "a.b c"), ("name", "Acme <Ltd>")]);
    let (status, page) = open(&fixture, &link).await;
    assert_eq!(status, 200);
    assert!(page.contains("Acme &lt;Ltd&gt;") && page.contains("simulated"));
    for part in [
        r#"id="add""#,
        r#"id="phone""#,
        r#"id="name""#,
        r#"id="coexistence""#,
        r#"id="grant""#,
        r#"id="cancel""#,
        "checked",
    ] {
        assert!(page.contains(part), "{part}");
    }

    let fields = [
        ("add", "on"),
        ("phone", "+1 212 555 0123"),
        ("name", "Acme"),
        ("action", "grant"),
    ];
    let (status, location) = submit(&fixture, &link, &fields).await;
    assert_eq!(status, 303);
    assert!(
        location.starts_with(&format!("{RETURN}?client=")),
        "{location}"
    );
    assert!(
        location.contains("&channels=[") && location.ends_with("]&state=a.b%20c"),
        "{location}"
    );
    assert!(!location.contains("revoked"));
    let created = fixture.receiver.wait_for_event("channel_created").await;
    assert_eq!(
        created.json["data"]["setup_info"],
        json!({"phone_number": "12125550123", "phone_name": "Acme"})
    );
}

#[tokio::test]
async fn a_known_client_is_offered_its_numbers_and_may_revoke_them() {
    let fixture = Fixture::new().await;
    fixture
        .complete(json!({"client": "oaY9LLfUCL", "channels": ["y9MiLoCH"]}))
        .await;

    let link = fixture.link(&[("client", "oaY9LLfUCL")]);
    let (_, page) = open(&fixture, &link).await;
    assert!(page.contains(r#"name="revoked" value="y9MiLoCH""#));
    assert!(!page.contains(" checked"));

    let (status, location) = submit(
        &fixture,
        &link,
        &[("client", "oaY9LLfUCL"), ("revoked", "y9MiLoCH")],
    )
    .await;
    assert_eq!(
        (status, location),
        (
            303,
            format!("{RETURN}?client=oaY9LLfUCL&revoked=[y9MiLoCH]")
        )
    );
    fixture
        .receiver
        .wait_for_event("channel_permission_revoked")
        .await;
    let link = fixture.link(&[("client", "oaY9LLfUCL")]);
    assert!(
        open(&fixture, &link)
            .await
            .1
            .contains(r#"name="channels" value="y9MiLoCH""#)
    );
}

#[tokio::test]
async fn a_signature_is_spent_by_completing_and_by_nothing_else() {
    let fixture = Fixture::new().await;
    fixture
        .complete(json!({"client": "otherCL", "channels": ["otherCH"]}))
        .await;
    let link = fixture.link(&[("state", "s")]);
    assert_eq!(open(&fixture, &link).await.0, 200);
    assert_eq!(open(&fixture, &link).await.0, 200);
    let cancelled = submit(&fixture, &link, &[("action", "cancel")]).await;
    assert_eq!(cancelled, (303, format!("{RETURN}?state=s")));
    let (status, page) = submit(
        &fixture,
        &link,
        &[("client", "aCL"), ("channels", "otherCH")],
    )
    .await;
    assert_eq!(status, 409, "{page}");
    assert_eq!(
        submit(&fixture, &link, &[("add", "on"), ("phone", "call me")])
            .await
            .0,
        400
    );

    assert_eq!(submit(&fixture, &link, &[("add", "on")]).await.0, 303);
    for (status, page) in [
        open(&fixture, &link).await,
        submit(&fixture, &link, &[("add", "on")]).await,
    ] {
        assert_eq!(status, 403);
        assert!(page.contains("already been used"), "{page}");
    }
}

#[tokio::test]
async fn a_refused_signature_shows_its_reason() {
    let fixture = Fixture::new().await;
    let now = Timestamp::now().as_second();
    let mut unsigned = fixture.link(&[]);
    unsigned.set_query(Some("redirect_url=http://app.example/"));
    let mut wrong = fixture.link_signed_at(now, &[]);
    let query = wrong.query().unwrap();
    let query = query.replace(
        &format!("io_timestamp={now}"),
        &format!("io_timestamp={}", now - 1),
    );
    wrong.set_query(Some(&query));
    for (link, reason) in [
        (unsigned, "carries no io_signature"),
        (wrong, "does not match"),
        (
            fixture.link_signed_at(now - 25 * 3600, &[]),
            "older than 24 hours",
        ),
        (fixture.link_signed_at(now + 3600, &[]), "in the future"),
    ] {
        let (status, page) = open(&fixture, &link).await;
        assert_eq!(status, 403);
        assert!(page.contains(reason), "{page}");
        let (status, error) = fixture
            .post("/_hub/complete", &json!({"link": link.as_str()}))
            .await;
        assert_eq!(status, 403);
        assert!(error["error"].as_str().unwrap().contains(reason), "{error}");
    }
    assert!(fixture.receiver.events().is_empty());
}

#[tokio::test]
async fn a_link_needs_a_known_partner_and_a_redirect_url() {
    let fixture =
        Fixture::with_settings(|settings| settings.partners[0].check_signature = false).await;
    let base = fixture.simulator.url();
    for (address, expected) in [
        (format!("{base}/onboarding/unknownPA"), 404),
        (format!("{base}/onboarding/{PARTNER}"), 400),
        (
            format!("{base}/onboarding/{PARTNER}?redirect_url=javascript:alert(1)"),
            400,
        ),
        (
            format!("{base}/onboarding/{PARTNER}?redirect_url={RETURN}"),
            200,
        ),
        (
            format!("{base}/dashboard/app/{PARTNER}?redirect_url={RETURN}"),
            200,
        ),
    ] {
        let (status, _) = answer(fixture.http.get(&address).send().await.unwrap()).await;
        assert_eq!(status, expected, "{address}");
    }
}

#[tokio::test]
async fn a_link_without_redirect_url_uses_the_configured_one() {
    let fixture = Fixture::with_settings(|settings| {
        settings.partners[0].check_signature = false;
        settings.partners[0].redirect_url = Some("http://app.example/own?x=1".into());
    })
    .await;
    let link = Url::parse(&format!("{}/onboarding/{PARTNER}", fixture.simulator.url())).unwrap();
    let (status, location) = submit(&fixture, &link, &[("client", "oaY9LLfUCL")]).await;
    assert_eq!(
        (status, location.as_str()),
        (303, "http://app.example/own?x=1&client=oaY9LLfUCL")
    );
}
