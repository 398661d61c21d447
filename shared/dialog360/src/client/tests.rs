//! The forms in which the Partner API is known to answer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Query, Request};
use axum::http::header::AUTHORIZATION;
use tokio::net::TcpListener;

use super::*;

#[test]
fn every_form_of_a_new_key_is_read() {
    let plain =
        json!({"address": "https://waba.example", "api_key": "k", "app_id": "1", "id": "201126"});
    for body in [plain.clone(), json!({"api_keys": [plain]})] {
        let key = new_key(&body).unwrap();
        assert_eq!(key.api_key.expose(), "k");
        assert_eq!(
            (key.id.as_deref(), key.address.as_deref()),
            (Some("201126"), Some("https://waba.example"))
        );
        assert!(!format!("{key:?}").contains("\"k\""));
    }
    assert_eq!(
        new_key(&json!({"api_key": "k", "id": 7}))
            .unwrap()
            .id
            .as_deref(),
        Some("7")
    );
    for renamed in [
        json!({"key": "k"}),
        json!({"api_keys": [{"key": "k"}]}),
        json!({"api_key": null, "key": "k"}),
    ] {
        let key = new_key(&renamed).unwrap();
        assert_eq!(key.api_key.expose(), "k", "{renamed}");
    }
    for unreadable in [
        json!({}),
        json!({"key": {"id": "1"}}),
        json!({"api_key": ""}),
        json!({"api_keys": []}),
        json!([]),
        json!("k"),
    ] {
        assert!(new_key(&unreadable).is_none(), "{unreadable}");
    }
}

/// What the API answers at an offset.
type Pages = fn(usize) -> Value;

/// A page of `ids`, with a total if there is one.
fn page(ids: impl Iterator<Item = usize>, total: Option<usize>) -> Value {
    let rows: Vec<Value> = ids
        .map(|id| json!({"id": format!("n{id}CH"), "client_id": "aCL"}))
        .collect();
    json!({"partner_channels": rows, "total": total})
}

/// An API that answers every GET with what `pages` says of its offset.
async fn api(pages: Pages) -> PartnerApi {
    let answer = async move |Query(query): Query<HashMap<String, String>>| {
        let offset = query.get("offset");
        axum::Json(pages(offset.map_or(0, |offset| offset.parse().unwrap())))
    };
    served(Router::new().fallback(answer)).await
}

pub(super) async fn served(router: Router) -> PartnerApi {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    PartnerApi::new(http, base, KeysPath::default())
}

/// An API that gives every call one answer, and the calls it got: method, address, credentials and body.
async fn answering(status: u16, body: &'static str) -> (PartnerApi, Arc<Mutex<Vec<String>>>) {
    let calls = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&calls);
    let answer = async move |request: Request| {
        let (call, content) = request.into_parts();
        let content = axum::body::to_bytes(content, 1_000).await.unwrap();
        let headers = [
            call.headers.get(AUTHORIZATION),
            call.headers.get("x-api-key"),
        ];
        let credentials = headers.into_iter().flatten().next().unwrap();
        seen.lock().unwrap().push(format!(
            "{} {} {} {}",
            call.method,
            call.uri,
            credentials.to_str().unwrap(),
            String::from_utf8_lossy(&content)
        ));
        let status = axum::http::StatusCode::from_u16(status).unwrap();
        (status, [("retry-after", "7")], body)
    };
    (served(Router::new().fallback(answer)).await, calls)
}

fn token() -> Credentials {
    Credentials::Token(Secret::new("t"))
}

/// Whether the API of `pages` lists channel n`id`CH, and how many channels of the client.
async fn listed(pages: Pages, id: usize) -> (Result<bool, ApiError>, Result<usize, ApiError>) {
    let (api, partner, token) = (api(pages).await, "aPA".parse().unwrap(), token());
    let client = api.for_partner(&partner, &token);
    let channel = client.channel(&format!("n{id}CH").parse().unwrap()).await;
    let channels = client.channels_of_client(&"aCL".parse().unwrap()).await;
    (
        channel.map(|channel| channel.is_some()),
        channels.map(|channels| channels.len()),
    )
}

#[tokio::test]
async fn a_list_is_read_to_its_end_however_360dialog_pages() {
    // Takes no notice of filters, and gives fewer than were asked for.
    let small: Pages = |offset| page(offset..(offset + 60).min(150), Some(150));
    assert_eq!(listed(small, 149).await, (Ok(true), Ok(150)));
    assert_eq!(listed(small, 150).await, (Ok(false), Ok(150)));
    let no_total: Pages = |offset| page(offset..(offset + 60).min(150).max(offset), None);
    assert_eq!(listed(no_total, 149).await, (Ok(true), Ok(150)));
    // Takes no notice of the offset.
    let whole: Pages = |_| page(0..150, None);
    assert_eq!(listed(whole, 150).await, (Ok(false), Ok(150)));
    // One channel on two pages is one.
    let shifted: Pages = |offset| page(offset.saturating_sub(10)..(offset + 60).min(150), None);
    assert_eq!(listed(shifted, 150).await, (Ok(false), Ok(150)));
    // A page without a usable id is not the end.
    let strange: Pages = |offset| match offset {
        0 => json!({"partner_channels": [{"id": "not/an/id"}]}),
        _ => page(offset..(offset + 60).min(150).max(offset), None),
    };
    assert_eq!(listed(strange, 149).await, (Ok(true), Ok(149)));
}

#[tokio::test]
async fn a_list_that_is_cut_is_unreadable() {
    let cut = ApiError::from(ErrorKind::Unreadable("the list of channels is cut"));
    let same_page: Pages = |_| page(0..100, Some(150));
    let both = (Err(cut.clone()), Err(cut.clone()));
    assert_eq!(listed(same_page, 149).await, both);
    assert_eq!(listed(same_page, 99).await.0, Ok(true));
    let empty: Pages = |_| page(0..0, Some(2));
    assert_eq!(listed(empty, 0).await, (Err(cut.clone()), Err(cut)));
    let endless: Pages = |offset| page(offset..offset + 1, None);
    let endless_list = ApiError::from(ErrorKind::Unreadable("the list of channels does not end"));
    let both = (Err(endless_list.clone()), Err(endless_list));
    assert_eq!(listed(endless, 999).await, both);
}

#[tokio::test]
async fn a_list_of_keys_shorter_than_its_total_is_unreadable() {
    async fn keys(pages: Pages) -> Result<usize, ApiError> {
        let (api, partner, token) = (api(pages).await, "aPA".parse().unwrap(), token());
        let channel = "bCH".parse().unwrap();
        let ids = api.for_partner(&partner, &token).key_ids(&channel).await;
        ids.map(|ids| ids.len())
    }
    let cut = Err(ApiError::from(ErrorKind::Unreadable(
        "not all keys are listed",
    )));
    assert_eq!(keys(|_| json!({"api_keys": [], "total": 2})).await, cut);
    let one_of_two: Pages = |_| json!({"api_keys": [{"id": "1"}], "count": 2});
    assert_eq!(keys(one_of_two).await, cut);
    let one: Pages = |_| json!({"api_keys": [{"id": "1"}], "count": 1, "total": 1});
    assert_eq!(keys(one).await, Ok(1));
    assert_eq!(keys(|_| json!([{"id": "1"}, {"id": 2}])).await, Ok(2));
}

#[tokio::test]
async fn a_partner_without_channels_has_an_empty_list() {
    let none: Pages = |_| page(0..0, Some(0));
    assert_eq!(listed(none, 0).await, (Ok(false), Ok(0)));
}

#[tokio::test]
async fn a_list_is_given_up_after_the_pages_that_the_caller_says() {
    let endless: Pages = |offset| page(offset..offset + 1, None);
    let (api, partner, token) = (api(endless).await, "aPA".parse().unwrap(), token());
    let mut pages = api.for_partner(&partner, &token).pages(None).up_to(1);
    assert_eq!(pages.next().await.unwrap().unwrap().len(), 1);
    let endless_list = ApiError::from(ErrorKind::Unreadable("the list of channels does not end"));
    assert_eq!(pages.next().await, Err(endless_list));
}

#[tokio::test]
async fn every_call_has_its_address_its_body_and_the_credentials() {
    let (api, calls) = answering(200, "[]").await;
    let (partner, token) = ("aPA".parse().unwrap(), token());
    let client = api.for_partner(&partner, &token);
    let (channel, client_id) = ("bCH".parse().unwrap(), "cCL".parse().unwrap());
    assert_eq!(client.webhook_settings().await, Ok(json!([])));
    assert_eq!(client.partner_settings().await, Ok(json!([])));
    client.set_webhook_url("https://a.example/w").await.unwrap();
    client
        .set_redirect_url("https://a.example/r")
        .await
        .unwrap();
    assert_eq!(client.key_ids(&channel).await, Ok(Vec::new()));
    let no_key = client.create_key(&channel).await;
    assert!(matches!(
        no_key.outcome,
        KeyOutcome::Unknown("no readable key")
    ));
    let no_list = ApiError::from(ErrorKind::Unreadable("no partner_channels"));
    assert_eq!(client.channel(&channel).await, Err(no_list.clone()));
    assert_eq!(client.channels_of_client(&client_id).await, Err(no_list));
    let api_key = Credentials::ApiKey(Secret::new("k"));
    let client = api.for_partner(&partner, &api_key);
    client.webhook_settings().await.unwrap();
    let expected = [
        "GET /partners/aPA/webhook_url Bearer t ",
        "GET /partners/aPA Bearer t ",
        r#"POST /partners/aPA/webhook_url Bearer t {"webhook_url":"https://a.example/w"}"#,
        r#"PATCH /partners/aPA Bearer t {"partner_redirect_url":"https://a.example/r"}"#,
        "GET /partners/aPA/channels/bCH/api_keys Bearer t ",
        "POST /partners/aPA/channels/bCH/api_keys Bearer t {}",
        "GET /partners/aPA/channels?limit=1000&offset=0&filters=%7B%22id%22%3A%22bCH%22%7D Bearer t ",
        "GET /partners/aPA/channels?limit=1000&offset=0&filters=%7B%22client_id%22%3A%22cCL%22%7D Bearer t ",
        "GET /partners/aPA/webhook_url k ",
    ];
    assert_eq!(*calls.lock().unwrap(), expected);
}

#[tokio::test]
async fn every_answer_has_its_meaning() {
    let wait = Some(Duration::from_secs(7));
    for (status, error, outcome) in [
        (400, ErrorKind::Status(400), "Refused(400)"),
        (401, ErrorKind::BadCredentials, "BadCredentials"),
        (403, ErrorKind::NotPermitted, "NotPermitted"),
        (404, ErrorKind::NotFound, "UnknownChannel"),
        (405, ErrorKind::NotFound, "Refused(405)"),
        (409, ErrorKind::Status(409), "NotReady"),
        (412, ErrorKind::Status(412), "NotReady"),
        (425, ErrorKind::Status(425), "NotReady"),
        (429, ErrorKind::RateLimited(wait), "RateLimited(Some(7s))"),
        (
            302,
            ErrorKind::Status(302),
            r#"Unknown("an unclear status")"#,
        ),
        (
            500,
            ErrorKind::Status(500),
            r#"Unknown("an unclear status")"#,
        ),
    ] {
        let (api, _) = answering(status, r#"{"error":"no","error_description":"denied"}"#).await;
        let (partner, token) = ("aPA".parse().unwrap(), token());
        let client = api.for_partner(&partner, &token);
        let told = Some("denied".to_owned());
        let wanted = ApiError {
            kind: error,
            message: told.clone(),
        };
        assert_eq!(client.webhook_settings().await, Err(wanted), "{status}");
        let key = client.create_key(&"bCH".parse().unwrap()).await;
        assert_eq!(format!("{:?}", key.outcome), outcome, "{status}");
        assert_eq!((key.status, key.message), (Some(status), told));
    }
}

#[tokio::test]
async fn a_success_that_says_nothing_is_null_and_as_a_list_unreadable() {
    let (api, _) = answering(200, "").await;
    let (partner, token) = ("aPA".parse().unwrap(), token());
    let client = api.for_partner(&partner, &token);
    assert_eq!(client.webhook_settings().await, Ok(Value::Null));
    let keys = client.key_ids(&"bCH".parse().unwrap()).await;
    assert_eq!(keys, Err(ApiError::from(ErrorKind::Unreadable("not JSON"))));
}

#[test]
fn the_credentials_do_not_print() {
    assert_eq!(format!("{:?}", sensitive(&Secret::new("k"))), "Sensitive");
    assert_eq!(format!("{:?}", token()), "Token(Secret([redacted]))");
}
