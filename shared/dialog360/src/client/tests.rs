//! The forms in which the Partner API is known to answer.

use std::collections::HashMap;

use axum::Router;
use axum::extract::Query;
use tokio::net::TcpListener;

use super::*;

#[test]
fn both_forms_of_a_new_key_are_read() {
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
    for unreadable in [
        json!({}),
        json!({"api_key": ""}),
        json!({"api_keys": []}),
        json!([]),
        json!("k"),
    ] {
        assert!(new_key(&unreadable).is_none(), "{unreadable}");
    }
}

#[test]
fn retry_after_is_seconds_or_a_date_and_never_more_than_a_day() {
    let wait = |text: &str| {
        let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_str(text).unwrap())]);
        retry_after(&headers)
    };
    assert_eq!(wait("7"), Some(Duration::from_secs(7)));
    assert_eq!(wait("99999999"), Some(LONGEST_WAIT));
    assert_eq!(wait("Thu, 01 Jan 1970 00:00:00 GMT"), Some(Duration::ZERO));
    assert_eq!(wait("soon"), None);
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
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await });
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    PartnerApi::new(http, base, KeysPath::default())
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
    let cut = ApiError::Unreadable("the list of channels is cut");
    let same_page: Pages = |_| page(0..100, Some(150));
    let both = (Err(cut.clone()), Err(cut.clone()));
    assert_eq!(listed(same_page, 149).await, both);
    assert_eq!(listed(same_page, 99).await.0, Ok(true));
    let empty: Pages = |_| page(0..0, Some(2));
    assert_eq!(listed(empty, 0).await, (Err(cut.clone()), Err(cut)));
    let endless: Pages = |offset| page(offset..offset + 1, None);
    let endless_list = ApiError::Unreadable("the list of channels does not end");
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
    let cut = Err(ApiError::Unreadable("not all keys are listed"));
    assert_eq!(keys(|_| json!({"api_keys": [], "total": 2})).await, cut);
    let one_of_two: Pages = |_| json!({"api_keys": [{"id": "1"}], "count": 2});
    assert_eq!(keys(one_of_two).await, cut);
    let one: Pages = |_| json!({"api_keys": [{"id": "1"}], "count": 1, "total": 1});
    assert_eq!(keys(one).await, Ok(1));
    assert_eq!(keys(|_| json!([{"id": "1"}, {"id": 2}])).await, Ok(2));
}
