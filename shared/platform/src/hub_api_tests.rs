//! The shapes the Partner API is known to answer in.

use std::collections::HashMap;

use axum::Router;
use axum::extract::Query;
use tokio::net::TcpListener;

use super::*;

#[test]
fn both_shapes_of_a_new_key_are_read() {
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
fn a_channel_is_read_by_integration_and_hub_status_and_never_by_status() {
    let mut channel = json!({
        "id": "aCH", "client": {"id": "bCL"}, "status": "running", "created_at": "2026-04-09T13:09:08.123Z",
        "setup_info": {"phone_number": "15550100", "phone_name": "Acme"}, "current_quality_rating": "High",
    });
    let first = reading(&channel).unwrap();
    assert_eq!((first.client.as_str(), first.said.stage), ("bCL", None));
    assert_eq!(
        first.created_at.unwrap().as_millisecond(),
        1_775_740_148_123
    );
    assert_eq!(first.said.phone_number.as_deref(), Some("15550100"));

    channel["integration"] = json!({"state": "running"});
    assert_eq!(reading(&channel).unwrap().said.stage, Some(Stage::Running));
    channel["hub_status"] = json!("live");
    assert_eq!(reading(&channel).unwrap().said.stage, Some(Stage::Live));
    channel["id"] = json!("not/an/id");
    assert_eq!(reading(&channel), None);
}

#[test]
fn a_time_without_a_zone_is_utc() {
    assert_eq!(
        moment("2026-04-09T13:09:08"),
        moment("2026-04-09T13:09:08Z")
    );
    assert_eq!(
        moment("2026-04-09 13:09:08.5"),
        moment("2026-04-09T15:09:08.5+02:00")
    );
    assert_eq!(moment("yesterday"), None);
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

#[test]
fn a_keys_path_names_the_channel() {
    let (partner, channel) = ("aPA".parse().unwrap(), "bCH".parse().unwrap());
    let default = KeysPath::default();
    assert_eq!(
        default.of(&partner, &channel),
        "/partners/aPA/channels/bCH/api_keys"
    );
    assert_eq!(default.0.parse::<KeysPath>().unwrap(), default);
    assert!("/partners/api-keys".parse::<KeysPath>().is_err());
    assert!("channels/{channel_id}".parse::<KeysPath>().is_err());
    for bad in [
        "/{channel_id}/{waba}",
        "/{channel_id}/}",
        "/{channel_id}?x=1",
        "/{channel_id}#x",
        "/{channel_id}/a b",
    ] {
        assert!(bad.parse::<KeysPath>().is_err(), "{bad}");
    }
}

/// What a stand-in answers at an offset.
type Pages = fn(usize) -> Value;

/// A page of `ids`, with a total if the hub gives one.
fn page(ids: impl Iterator<Item = usize>, total: Option<usize>) -> Value {
    let rows: Vec<Value> = ids
        .map(|id| json!({"id": format!("n{id}CH"), "client_id": "aCL"}))
        .collect();
    json!({"partner_channels": rows, "total": total})
}

/// The API of a hub that answers every GET with what `pages` says of its offset.
async fn hub(pages: Pages) -> HubApi {
    let answer = async move |Query(query): Query<HashMap<String, String>>| {
        axum::Json(pages(
            query
                .get("offset")
                .map_or(0, |offset| offset.parse().unwrap()),
        ))
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await });
    HubApi::new(
        base.parse().unwrap(),
        KeysPath::default(),
        &Tls::new().unwrap(),
    )
    .unwrap()
}

/// Whether the hub of `pages` lists channel n`id`CH, and how many channels of the client.
async fn listed(pages: Pages, id: usize) -> (Result<bool, NotRead>, Result<usize, NotRead>) {
    let (hub, partner) = (hub(pages).await, "aPA".parse().unwrap());
    let token = HubCredentials::Token(Secret::new("t"));
    let channel = hub
        .channel(&partner, &token, &format!("n{id}CH").parse().unwrap())
        .await;
    let channels = hub
        .channels_of(&partner, &token, &"aCL".parse().unwrap())
        .await;
    (
        channel.map(|reading| reading.is_some()),
        channels.map(|readings| readings.len()),
    )
}

#[tokio::test]
async fn a_list_is_read_to_its_end_however_the_hub_pages() {
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
}

#[tokio::test]
async fn a_list_that_is_cut_is_unclear() {
    let cut = NotRead::Unclear("the list of channels is cut");
    let same_page: Pages = |_| page(0..100, Some(150));
    assert_eq!(
        listed(same_page, 149).await,
        (Err(cut.clone()), Err(cut.clone()))
    );
    assert_eq!(listed(same_page, 99).await.0, Ok(true));
    let empty: Pages = |_| page(0..0, Some(2));
    assert_eq!(listed(empty, 0).await, (Err(cut.clone()), Err(cut)));
    let endless: Pages = |offset| page(offset..offset + 1, None);
    let unclear = NotRead::Unclear("the list of channels does not end");
    assert_eq!(
        listed(endless, 999).await,
        (Err(unclear.clone()), Err(unclear))
    );
}

#[tokio::test]
async fn a_list_of_keys_shorter_than_its_total_is_unclear() {
    async fn keys(pages: Pages) -> Result<usize, NotRead> {
        let token = HubCredentials::Token(Secret::new("t"));
        let keys = hub(pages)
            .await
            .keys(&"aPA".parse().unwrap(), &token, &"bCH".parse().unwrap())
            .await;
        keys.map(|ids| ids.len())
    }
    let cut = Err(NotRead::Unclear("not all keys are listed"));
    assert_eq!(keys(|_| json!({"api_keys": [], "total": 2})).await, cut);
    assert_eq!(
        keys(|_| json!({"api_keys": [{"id": "1"}], "count": 2})).await,
        cut
    );
    assert_eq!(
        keys(|_| json!({"api_keys": [{"id": "1"}], "count": 1, "total": 1})).await,
        Ok(1)
    );
    assert_eq!(keys(|_| json!([{"id": "1"}, {"id": 2}])).await, Ok(2));
}
