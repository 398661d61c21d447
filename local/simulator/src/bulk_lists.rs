//! The faults of a partner's lists: they lag behind, ignore filters, or find nothing.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::state::Account;

/// How the lists of one partner differ from the channels. The default differs in nothing.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ListFaults {
    /// How far lists that are not filtered by id lag behind, milliseconds.
    pub(crate) lag_ms: Option<u32>,
    pub(crate) ignores_filters: bool,
    /// Lists with filters are empty.
    pub(crate) finds_nothing: bool,
    /// A phone number is missing until the quality is known.
    pub(crate) late_numbers: bool,
}

/// The views of one channel, each with the millisecond since which it is shown; the newest stands last.
type Views = Vec<(i64, Value)>;

/// The past of each channel, while lists lag.
pub(crate) type Past = BTreeMap<String, Views>;

impl Account {
    /// Sets the faults of the lists. The channels of now count as known for ever.
    pub(crate) fn set_list_faults(&mut self, faults: ListFaults) {
        self.list_faults = faults;
        self.past.clear();
        self.remember(i64::MIN);
    }

    /// Keeps the channels as they are at a millisecond, for lists that lag.
    pub(crate) fn remember(&mut self, now: i64) {
        if self.list_faults.lag_ms.is_none() {
            return;
        }
        let views = self.channels.values().map(|it| self.channel_view(it));
        let views: Vec<Value> = views.collect();
        self.past.retain(|id, _| self.channels.contains_key(id));
        for (id, view) in self.channels.keys().zip(views) {
            let past = self.past.entry(id.clone()).or_default();
            if past.last().is_none_or(|(_, last)| *last != view) {
                past.push((now, view));
            }
        }
    }

    /// The channels as a list shows them that lags.
    pub(crate) fn bulk_list(&self, now: Timestamp) -> Vec<Value> {
        let Some(lag) = self.list_faults.lag_ms else {
            return self.current_list();
        };
        let now = now.as_millisecond();
        let past = self.past.values();
        past.filter_map(|past| lagging(past, now, lag.into()))
            .collect()
    }

    /// The channels as they are.
    pub(crate) fn current_list(&self) -> Vec<Value> {
        let channels = self.channels.values();
        channels.map(|channel| self.channel_view(channel)).collect()
    }
}

/// A channel of which each field lags another time, the last one by all of the lag; `None` if it is younger.
fn lagging(past: &Views, now: i64, lag: i64) -> Option<Value> {
    let at = |moment: i64| {
        let view = past.iter().rev().find(|(since, _)| *since <= moment);
        view.and_then(|(_, view)| view.as_object())
    };
    at(now - lag)?;
    let names: BTreeSet<&String> = at(now)?.keys().chain(at(now - lag)?.keys()).collect();
    let mut shown = Map::new();
    let mut lags = (1..).map(|place: i64| lag * place / i64::try_from(names.len()).unwrap_or(1));
    for name in &names {
        let moment = now - lags.next().unwrap_or(lag);
        if let Some(value) = at(moment).and_then(|view| view.get(*name)) {
            shown.insert((*name).clone(), value.clone());
        }
    }
    Some(shown.into())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_list_lags_field_by_field_and_misses_new_channels() {
        let past = vec![
            (0, json!({"a": "old", "b": "old"})),
            (100, json!({"a": "new", "b": "new"})),
        ];
        let at = |now| lagging(&past, now, 10);
        assert_eq!(at(9), None);
        assert_eq!(at(104), Some(json!({"a": "old", "b": "old"})));
        assert_eq!(at(105), Some(json!({"a": "new", "b": "old"})));
        assert_eq!(at(110), Some(json!({"a": "new", "b": "new"})));
    }
}
