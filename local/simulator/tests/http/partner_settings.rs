//! How a partner reads and sets its own addresses.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{API_KEY, PARTNER, Receiver, TOKEN, World, answer, settings};

const WEBHOOK: &str = "https://partner.example/hook?of=360dialog";
const REDIRECT: &str = "https://partner.example/back";

fn webhook_path() -> String {
    format!("/partners/{PARTNER}/webhook_url")
}

fn partner_path() -> String {
    format!("/partners/{PARTNER}")
}

async fn read(world: &World, path: &str) -> Value {
    let (status, body) = answer(
        world
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

async fn write(world: &World, method: Method, path: &str, body: Value) -> (u16, Value) {
    answer(
        world
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
async fn until_the_partner_sets_them_the_settings_addresses_count() {
    let receiver = Receiver::start().await;
    let configured = settings(&receiver).partners[0].webhook_url.clone().unwrap();
    let world = World::beside(receiver, |settings| {
        settings.partners[0].redirect_url = Some(REDIRECT.into())
    })
    .await;
    assert_eq!(
        read(&world, &webhook_path()).await,
        json!({"webhook_url": configured})
    );
    let partner =
        json!({"id": PARTNER, "webhook_url": configured, "partner_redirect_url": REDIRECT});
    assert_eq!(read(&world, &partner_path()).await, partner);
}

#[tokio::test]
async fn webhooks_go_to_the_address_that_was_set_and_to_none_once_it_is_emptied() {
    let (old, new) = (Receiver::start().await, Receiver::start().await);
    let address = settings(&new).partners[0].webhook_url.clone().unwrap();
    let world = World::beside(old, |_| {}).await;
    let set = write(
        &world,
        Method::POST,
        &webhook_path(),
        json!({"webhook_url": address}),
    )
    .await;
    assert_eq!(set, (200, json!({"webhook_url": address})));
    let event = json!({"partner": PARTNER, "event": "channel_live", "data": {"id": "aCH"}});
    assert_eq!(
        world.post("/_hub/event", &event).await,
        (200, json!({"status": 200}))
    );
    assert_eq!((new.events().len(), world.receiver.events().len()), (1, 0));

    for nothing in [json!(""), Value::Null] {
        write(
            &world,
            Method::POST,
            &webhook_path(),
            json!({"webhook_url": address}),
        )
        .await;
        write(
            &world,
            Method::POST,
            &webhook_path(),
            json!({"webhook_url": nothing}),
        )
        .await;
        assert_eq!(
            read(&world, &webhook_path()).await,
            json!({"webhook_url": null})
        );
        assert_eq!(world.post("/_hub/event", &event).await.0, 409);
    }
}

#[tokio::test]
async fn a_change_of_the_partner_touches_only_what_it_names() {
    let world = World::new().await;
    let before = read(&world, &webhook_path()).await["webhook_url"].clone();
    let (status, partner) = write(
        &world,
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
        &world,
        Method::PATCH,
        &partner_path(),
        json!({"webhook_url": WEBHOOK}),
    )
    .await;
    assert_eq!(
        partner,
        json!({"id": PARTNER, "webhook_url": WEBHOOK, "partner_redirect_url": REDIRECT})
    );
    assert_eq!(read(&world, &partner_path()).await, partner);
}

#[tokio::test]
async fn a_link_without_an_address_of_its_own_ends_where_the_partner_said() {
    let world = World::new().await;
    write(
        &world,
        Method::PATCH,
        &partner_path(),
        json!({"partner_redirect_url": REDIRECT}),
    )
    .await;
    let mut link = world.link(&[("state", "s-1")]);
    let others: Vec<(String, String)> = link
        .query_pairs()
        .into_owned()
        .filter(|(name, _)| name != "redirect_url")
        .collect();
    link.query_pairs_mut().clear().extend_pairs(others);
    let (status, answer) = world
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
    let world = World::with(|settings| settings.state_file = Some(file.clone())).await;
    write(
        &world,
        Method::POST,
        &webhook_path(),
        json!({"webhook_url": WEBHOOK}),
    )
    .await;
    write(
        &world,
        Method::PATCH,
        &partner_path(),
        json!({"partner_redirect_url": REDIRECT}),
    )
    .await;
    world.hub.stop().await;
    let world = World::with(|settings| settings.state_file = Some(file.clone())).await;
    let partner = json!({"id": PARTNER, "webhook_url": WEBHOOK, "partner_redirect_url": REDIRECT});
    assert_eq!(read(&world, &partner_path()).await, partner);
}

#[tokio::test]
async fn what_is_no_address_is_refused_and_changes_nothing() {
    let world = World::new().await;
    let before = read(&world, &partner_path()).await;
    for body in [
        json!({}),
        json!([]),
        json!({"webhook_url": 7}),
        json!({"webhook_url": "partner.example"}),
    ] {
        assert_eq!(
            write(&world, Method::POST, &webhook_path(), body.clone())
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
            write(&world, Method::PATCH, &partner_path(), body.clone())
                .await
                .0,
            400,
            "{body}"
        );
    }
    assert_eq!(read(&world, &partner_path()).await, before);
}

#[tokio::test]
async fn nobody_else_reads_or_sets_them() {
    let world = World::new().await;
    for (method, path) in [
        (Method::GET, webhook_path()),
        (Method::POST, webhook_path()),
        (Method::GET, partner_path()),
        (Method::PATCH, partner_path()),
    ] {
        let asked = world
            .api(method.clone(), &path)
            .json(&json!({"webhook_url": WEBHOOK}));
        assert_eq!(asked.send().await.unwrap().status(), 401, "{method} {path}");
        let unknown = path.replace(PARTNER, "unknownPA");
        let asked = world
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
