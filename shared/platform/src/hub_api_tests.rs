//! The shapes the Partner API is known to answer in.

use super::*;

#[test]
fn both_shapes_of_a_new_key_are_read() {
    let plain = json!({"address": "https://waba.example", "api_key": "k", "app_id": "1", "id": "201126"});
    for body in [plain.clone(), json!({"api_keys": [plain]})] {
        let key = new_key(&body).unwrap();
        assert_eq!(key.api_key.expose(), "k");
        assert_eq!((key.id.as_deref(), key.address.as_deref()), (Some("201126"), Some("https://waba.example")));
        assert!(!format!("{key:?}").contains("\"k\""));
    }
    assert_eq!(new_key(&json!({"api_key": "k", "id": 7})).unwrap().id.as_deref(), Some("7"));
    for unreadable in [json!({}), json!({"api_key": ""}), json!({"api_keys": []}), json!([]), json!("k")] {
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
    assert_eq!(first.created_at.unwrap().as_millisecond(), 1_775_740_148_123);
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
    assert_eq!(moment("2026-04-09T13:09:08"), moment("2026-04-09T13:09:08Z"));
    assert_eq!(moment("2026-04-09 13:09:08.5"), moment("2026-04-09T15:09:08.5+02:00"));
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
    assert_eq!(default.of(&partner, &channel), "/partners/aPA/channels/bCH/api_keys");
    assert_eq!(default.0.parse::<KeysPath>().unwrap(), default);
    assert!("/partners/api-keys".parse::<KeysPath>().is_err());
    assert!("channels/{channel_id}".parse::<KeysPath>().is_err());
}
