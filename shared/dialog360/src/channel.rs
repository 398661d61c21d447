//! The channel object of the Partner API.
//!
//! Source: <https://docs.360dialog.com/partner/partner-api/overview>; its forms as they were seen.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde_json::Value;

use crate::description::{self, Description, text};
use crate::event::Stage;
use crate::id::{ChannelId, ClientId};

/// `hub_status` of a channel that is dead: 360dialog sends no webhook for it.
const DEAD_HUB_STATUS: [&str; 4] = ["pending_deletion", "deleted", "terminated", "cancelled"];

/// `waba_account.status` of a channel that is dead.
const DEAD_WABA_STATUS: [&str; 3] = ["bsp_removed", "disabled", "banned"];

/// A channel as a list of the Partner API shows it. What is absent or of another shape is `None`.
///
/// Its `status` says nothing about whether it runs: it stays `ready` on channels that are live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelObject {
    /// Its id.
    pub id: ChannelId,
    /// The client it belongs to: `client_id`, or `client.id`.
    pub client: Option<ClientId>,
    /// When it was created; a time without a zone is taken as UTC.
    pub created_at: Option<Timestamp>,
    /// `hub_status`: `live`, `pending_deletion`, `deleted`, `terminated` or `cancelled`.
    pub hub_status: Option<String>,
    /// `integration.state`, such as `running`.
    pub integration_state: Option<String>,
    /// Whether it is dead: cancelled, deleted, or its WhatsApp Business Account taken away.
    pub is_dead: bool,
    /// What describes it.
    pub description: Description,
}

/// Whether a channel object, or the data of an event that is one, shows a dead channel.
///
/// A channel can die without any webhook; it shows in `cancelled_at`, `hub_status` or `waba_account.status`.
pub(crate) fn shows_death(object: &Value) -> bool {
    let is_one_of = |pointer: &str, words: &[&str]| {
        let word = object.pointer(pointer).and_then(Value::as_str);
        word.is_some_and(|word| words.iter().any(|dead| word.eq_ignore_ascii_case(dead)))
    };
    text(object.get("cancelled_at")).is_some()
        || is_one_of("/hub_status", &DEAD_HUB_STATUS)
        || is_one_of("/waba_account/status", &DEAD_WABA_STATUS)
}

impl ChannelObject {
    /// Reads a channel object; `None` without a usable id.
    pub fn parse(object: &Value) -> Option<Self> {
        let text_at = |pointer: &str| text(object.pointer(pointer));
        let client = text_at("/client_id").or_else(|| text_at("/client/id"));
        Some(Self {
            id: text_at("/id")?.parse().ok()?,
            client: client.and_then(|client| client.parse().ok()),
            created_at: text_at("/created_at").and_then(|at| moment(&at)),
            hub_status: text_at("/hub_status"),
            integration_state: text_at("/integration/state"),
            is_dead: shows_death(object),
            description: description::read(object),
        })
    }

    /// The stage it has reached, as far as it shows.
    pub fn stage(&self) -> Option<Stage> {
        if self.hub_status.as_deref() == Some("live") {
            return Some(Stage::Live);
        }
        let is_running = self.integration_state.as_deref() == Some("running");
        is_running.then_some(Stage::Running)
    }
}

/// A time with its zone, or without one and then in UTC.
fn moment(text: &str) -> Option<Timestamp> {
    let in_utc = || text.parse::<DateTime>().ok()?.to_zoned(TimeZone::UTC).ok();
    text.parse().ok().or_else(|| Some(in_utc()?.timestamp()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::description::Field;

    #[test]
    fn the_stage_is_read_by_integration_and_hub_status_and_never_by_status() {
        let mut object = json!({
            "id": "aCH", "client": {"id": "bCL"}, "status": "running",
            "created_at": "2026-04-09T13:09:08.123Z", "setup_info": {"phone_number": "15550100"},
        });
        let first = ChannelObject::parse(&object).unwrap();
        assert_eq!(first.client, Some("bCL".parse().unwrap()));
        assert_eq!(
            first.created_at.unwrap().as_millisecond(),
            1_775_740_148_123
        );
        assert_eq!(first.description[&Field::PhoneNumber], "15550100");
        assert_eq!(first.stage(), None);

        object["integration"] = json!({"state": "running"});
        let stage = |object: &Value| ChannelObject::parse(object).unwrap().stage();
        assert_eq!(stage(&object), Some(Stage::Running));
        object["hub_status"] = json!("deleted");
        assert_eq!(stage(&object), Some(Stage::Running));
        object["hub_status"] = json!("live");
        assert_eq!(stage(&object), Some(Stage::Live));
    }

    #[test]
    fn a_dead_channel_shows_in_three_places() {
        let mut signs = vec![json!({"cancelled_at": "2026-04-09T13:09:08Z"})];
        signs.extend(DEAD_HUB_STATUS.map(|word| json!({"hub_status": word})));
        signs.extend(DEAD_WABA_STATUS.map(|word| json!({"waba_account": {"status": word}})));
        signs.push(json!({"hub_status": "Deleted"}));
        signs.push(json!({"cancelled_at": 1_775_740_148}));
        let is_dead = |mut object: Value| {
            object["id"] = json!("aCH");
            ChannelObject::parse(&object).unwrap().is_dead
        };
        assert!(signs.len() > 8 && signs.into_iter().all(is_dead));
        for alive in [
            json!({}),
            json!({"cancelled_at": null, "hub_status": "live", "waba_account": {"status": "approved"}}),
            json!({"cancelled_at": "", "hub_status": null, "waba_account": null}),
            json!({"status": "deleted"}),
        ] {
            assert!(!is_dead(alive.clone()), "{alive}");
        }
    }

    #[test]
    fn without_a_usable_id_there_is_no_channel() {
        for object in [json!({"id": "not/an/id"}), json!({}), json!([]), json!(7)] {
            assert_eq!(ChannelObject::parse(&object), None, "{object}");
        }
        let bare = ChannelObject::parse(&json!({"id": "aCH", "client_id": "not an id"})).unwrap();
        assert_eq!(
            (bare.client, bare.created_at, bare.hub_status),
            (None, None, None)
        );
    }

    #[test]
    fn a_time_without_a_zone_is_utc() {
        assert_eq!(
            moment("2026-04-09T13:09:08"),
            moment("2026-04-09T13:09:08Z")
        );
        let half_past = moment("2026-04-09T15:09:08.5+02:00");
        assert_eq!(moment("2026-04-09 13:09:08.5"), half_past);
        assert_eq!((half_past.is_some(), moment("yesterday")), (true, None));
    }
}
