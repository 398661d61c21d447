//! What a client's browser meets.

use jiff::Timestamp;
use reqwest::header::{CONTENT_TYPE, LOCATION};
use serde_json::json;
use url::{Url, form_urlencoded};

use crate::support::{PARTNER, RETURN, World, answer};

/// Submits the form of a page as a browser does, without following where it leads.
async fn submit(world: &World, link: &Url, fields: &[(&str, &str)]) -> (u16, String) {
    let mut url = link.clone();
    url.set_path(&format!("{}/complete", link.path()));
    let body = form_urlencoded::Serializer::new(String::new())
        .extend_pairs(fields)
        .finish();
    let request = world
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

async fn open(world: &World, link: &Url) -> (u16, String) {
    let response = world.http.get(link.clone()).send().await.unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

#[tokio::test]
async fn a_person_adds_a_number_and_goes_back() {
    let world = World::new().await;
    let link = world.link(&[("state", "a.b c"), ("name", "Acme <Ltd>")]);
    let (status, page) = open(&world, &link).await;
    assert_eq!(status, 200);
    assert!(page.contains("Acme &lt;Ltd&gt;") && page.contains("simulated"));
    for part in [
        r#"id="add""#,
        r#"id="phone""#,
        r#"id="name""#,
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
    let (status, location) = submit(&world, &link, &fields).await;
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
    let created = world.receiver.wait_for_event("channel_created").await;
    assert_eq!(
        created.json["data"]["setup_info"],
        json!({"phone_number": "12125550123", "phone_name": "Acme"})
    );
}

#[tokio::test]
async fn a_known_client_is_offered_its_numbers_and_may_revoke_them() {
    let world = World::new().await;
    world
        .complete(json!({"client": "oaY9LLfUCL", "channels": ["y9MiLoCH"]}))
        .await;

    let link = world.link(&[("client", "oaY9LLfUCL")]);
    let (_, page) = open(&world, &link).await;
    assert!(page.contains(r#"name="revoked" value="y9MiLoCH""#));
    assert!(!page.contains(" checked"));

    let (status, location) = submit(
        &world,
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
    world
        .receiver
        .wait_for_event("channel_permission_revoked")
        .await;
    let link = world.link(&[("client", "oaY9LLfUCL")]);
    assert!(
        open(&world, &link)
            .await
            .1
            .contains(r#"name="channels" value="y9MiLoCH""#)
    );
}

#[tokio::test]
async fn a_signature_is_spent_by_completing_and_by_nothing_else() {
    let world = World::new().await;
    world
        .complete(json!({"client": "otherCL", "channels": ["otherCH"]}))
        .await;
    let link = world.link(&[("state", "s")]);
    assert_eq!(open(&world, &link).await.0, 200);
    assert_eq!(open(&world, &link).await.0, 200);
    let cancelled = submit(&world, &link, &[("action", "cancel")]).await;
    assert_eq!(cancelled, (303, format!("{RETURN}?state=s")));
    let (status, page) = submit(&world, &link, &[("client", "aCL"), ("channels", "otherCH")]).await;
    assert_eq!(status, 409, "{page}");
    assert_eq!(
        submit(&world, &link, &[("add", "on"), ("phone", "call me")])
            .await
            .0,
        400
    );

    assert_eq!(submit(&world, &link, &[("add", "on")]).await.0, 303);
    for (status, page) in [
        open(&world, &link).await,
        submit(&world, &link, &[("add", "on")]).await,
    ] {
        assert_eq!(status, 403);
        assert!(page.contains("already been used"), "{page}");
    }
}

#[tokio::test]
async fn a_refused_signature_is_told_with_its_reason() {
    let world = World::new().await;
    let now = Timestamp::now().as_second();
    let mut unsigned = world.link(&[]);
    unsigned.set_query(Some("redirect_url=http://app.example/"));
    let mut wrong = world.link_of(now, &[]);
    let query = wrong.query().unwrap();
    let query = query.replace(
        &format!("io_timestamp={now}"),
        &format!("io_timestamp={}", now - 1),
    );
    wrong.set_query(Some(&query));
    for (link, reason) in [
        (unsigned, "carries no io_signature"),
        (wrong, "does not match"),
        (world.link_of(now - 25 * 3600, &[]), "older than 24 hours"),
        (world.link_of(now + 3600, &[]), "in the future"),
    ] {
        let (status, page) = open(&world, &link).await;
        assert_eq!(status, 403);
        assert!(page.contains(reason), "{page}");
        let (status, error) = world
            .post("/_hub/complete", &json!({"link": link.as_str()}))
            .await;
        assert_eq!(status, 403);
        assert!(error["error"].as_str().unwrap().contains(reason), "{error}");
    }
    assert!(world.receiver.events().is_empty());
}

#[tokio::test]
async fn a_link_needs_a_known_partner_and_a_way_back() {
    let world = World::with(|settings| settings.partners[0].check_signature = false).await;
    let base = world.hub.url();
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
        let (status, _) = answer(world.http.get(&address).send().await.unwrap()).await;
        assert_eq!(status, expected, "{address}");
    }
}

#[tokio::test]
async fn the_partners_own_address_is_the_way_back_of_a_link_without_one() {
    let world = World::with(|settings| {
        settings.partners[0].check_signature = false;
        settings.partners[0].redirect_url = Some("http://app.example/own?x=1".into());
    })
    .await;
    let link = Url::parse(&format!("{}/onboarding/{PARTNER}", world.hub.url())).unwrap();
    let (status, location) = submit(&world, &link, &[("client", "oaY9LLfUCL")]).await;
    assert_eq!(
        (status, location.as_str()),
        (303, "http://app.example/own?x=1&client=oaY9LLfUCL")
    );
}
