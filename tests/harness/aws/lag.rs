//! What is due, as the writes that passed have made it: the index `by_due` may be answered as it was a while ago, and it
//! is noted what is taken before its turn.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use onboarding::queue::Lane;
use serde_json::{Value, json};
use store::table::{ALONE, BY_DUE, DUE_ORDER, DUE_PK, PK, SK, prefix};
use tokio::time::Instant;

/// For how long something must have been in the line before it counts that something else is taken first: longer than any
/// lag, and than a worker needs between its look at the line and what it takes.
const LONG_ENOUGH: Duration = Duration::from_secs(10);

/// The mirror of a stack's index, if a test asks for it.
#[derive(Clone, Default)]
pub(super) struct Lag(Arc<Mutex<Option<Mirror>>>);

/// What the index has shown.
#[derive(Default)]
struct Mirror {
    /// The lag.
    by: Duration,
    /// By the partition keys of the items.
    items: HashMap<String, Vec<Written>>,
    /// How often something was taken out of the line.
    taken: usize,
    /// What was taken before its turn, in words.
    too_early: Vec<String>,
}

/// What a write left in the index.
struct Written {
    at: Instant,
    /// The version of the due attributes, if the item has one.
    version: Option<i64>,
    row: Row,
}

/// The due attributes of an item: it is in the index if it has both.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Row {
    lane: Option<String>,
    order: Option<i128>,
}

impl Lag {
    /// Watches what is due from now on, and shows the index as it was so long ago, unless that is zero.
    pub(super) fn set(&self, by: Duration) {
        let nothing = Mirror::default();
        *self.mirror() = Some(Mirror { by, ..nothing });
    }

    /// How often something was taken out of the line, and what of it was before its turn.
    pub(super) fn taken(&self) -> (usize, Vec<String>) {
        let mirror = self.mirror();
        let mirror = mirror.as_ref().expect("it watches");
        (mirror.taken, mirror.too_early.clone())
    }

    /// Notes a call that was done.
    pub(super) fn see(&self, action: &str, body: &[u8]) {
        if !matches!(action, "PutItem" | "UpdateItem" | "DeleteItem") {
            return;
        }
        if let Some(mirror) = self.mirror().as_mut()
            && let Ok(body) = serde_json::from_slice(body)
        {
            mirror.see(action, &body);
        }
    }

    /// The answer to a query of the index; `None` if the call is none, or the index does not lag.
    pub(super) fn answer(&self, action: &str, body: &[u8]) -> Option<Value> {
        if action != "Query" {
            return None;
        }
        let mirror = self.mirror();
        let body: Value = serde_json::from_slice(body).ok()?;
        let is_of_index = body["IndexName"] == BY_DUE;
        mirror
            .as_ref()
            .filter(|mirror| is_of_index && !mirror.by.is_zero())
            .map(|it| it.answer(&body))
    }

    fn mirror(&self) -> MutexGuard<'_, Option<Mirror>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Mirror {
    fn see(&mut self, action: &str, body: &Value) {
        let values = &body["ExpressionAttributeValues"];
        let key = match action {
            "PutItem" => &body["Item"],
            _ => &body["Key"],
        };
        // The checkpoints of the mappings have another key.
        let Some(pk) = key[PK]["S"].as_str() else {
            return;
        };
        let history = self.items.get(pk);
        let last = history.and_then(|history| history.last());
        let before = last.map(|last| last.row.clone()).unwrap_or_default();
        let row = match action {
            "PutItem" => Row {
                lane: lane(&key[DUE_PK]),
                order: order(&key[DUE_ORDER]),
            },
            "UpdateItem" => {
                let update = body["UpdateExpression"].as_str().unwrap_or_default();
                let lane = match change(update, DUE_PK) {
                    Change::None => before.lane.clone(),
                    Change::Removed => None,
                    Change::Set(value) => lane(&values[value]),
                };
                let order = match change(update, DUE_ORDER) {
                    Change::None => before.order,
                    Change::Removed => None,
                    Change::Set(value) => order(&values[value]),
                };
                Row { lane, order }
            }
            _ => Row::default(),
        };
        let version = number(&values[":due_version"]);
        // The answer to a later write may have come first.
        let is_late = last.is_some_and(|last| version.is_some() && last.version >= version);
        if row == before || is_late {
            return;
        }
        if action == "UpdateItem" && !values[":taken"].is_null() {
            self.note_taken(pk, &before);
        }
        let (at, by) = (Instant::now(), self.by);
        let history = self.items.entry(pk.to_owned()).or_default();
        let shown = history.partition_point(|it| it.at + by <= at);
        history.drain(..shown.saturating_sub(1));
        history.push(Written { at, version, row });
    }

    /// Notes that `pk` is taken. A key takes two calls, so a look may pass one that waits for them; else nothing passes
    /// anything.
    fn note_taken(&mut self, pk: &str, row: &Row) {
        let is_line = |lane: &&String| lane.ends_with(&format!("#{}", Lane::Line.number()));
        let (Some(lane), Some(order)) = (row.lane.as_ref().filter(is_line), row.order) else {
            return;
        };
        self.taken += 1;
        for (other, history) in &self.items {
            let Some(last) = history.last() else { continue };
            let is_before = last.row.lane.as_ref() == Some(lane)
                && last.row.order.is_some_and(|before| before < order)
                && last.at.elapsed() > LONG_ENOUGH;
            let may_pass = !pk.starts_with(prefix::KEY) && other.starts_with(prefix::KEY);
            if is_before && !may_pass {
                let waited = last.at.elapsed();
                let words = format!("{pk} at {order} before {other}, {:?}, {waited:?}", last.row);
                self.too_early.push(words);
            }
        }
    }

    fn answer(&self, body: &Value) -> Value {
        let (now, values) = (Instant::now(), &body["ExpressionAttributeValues"]);
        let wanted = lane(&values[":lane"]);
        let latest = order(&values[":latest"]).unwrap_or(i128::MAX);
        let mut rows: Vec<(i128, &String)> = Vec::new();
        for (pk, history) in &self.items {
            let shown = history.iter().rfind(|it| it.at + self.by <= now);
            if let Some(Row {
                lane,
                order: Some(order),
            }) = shown.map(|shown| &shown.row)
                && *lane == wanted
                && *order <= latest
            {
                rows.push((*order, pk));
            }
        }
        rows.sort();
        let limit = body["Limit"].as_u64().and_then(|it| it.try_into().ok());
        rows.truncate(limit.unwrap_or(usize::MAX));
        let mut answer = json!({"Count": rows.len(), "ScannedCount": rows.len()});
        if body["Select"] != "COUNT" {
            let item = |(order, pk): (i128, &String)| {
                json!({
                    PK: {"S": pk}, SK: {"S": ALONE},
                    DUE_PK: {"S": wanted}, DUE_ORDER: {"N": order.to_string()},
                })
            };
            answer["Items"] = rows.into_iter().map(item).collect();
        }
        answer
    }
}

/// What an update does to an attribute.
enum Change<'a> {
    None,
    Removed,
    /// It gets the value of this name.
    Set(&'a str),
}

fn change<'a>(update: &'a str, attribute: &str) -> Change<'a> {
    let (sets, removes) = update.split_once(" REMOVE ").unwrap_or((update, ""));
    if removes.split(", ").any(|name| name == attribute) {
        return Change::Removed;
    }
    let sets = sets.trim_start_matches("SET ").split(", ");
    let mut sets = sets.filter_map(|set| set.split_once(" = "));
    let set = sets.find(|(name, _)| *name == attribute);
    set.map_or(Change::None, |(_, value)| Change::Set(value))
}

fn lane(value: &Value) -> Option<String> {
    value["S"].as_str().map(str::to_owned)
}

fn order(value: &Value) -> Option<i128> {
    value["N"].as_str()?.parse().ok()
}

fn number(value: &Value) -> Option<i64> {
    value["N"].as_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "DUE#p#0";

    /// A write of due attributes, as the queue makes it.
    fn sets(pk: &str, version: u8, lane: &str, order: u8, taken: Option<&str>) -> Value {
        let mut values = json!({
            ":due_version": {"N": version.to_string()},
            ":due_pk": {"S": lane}, ":due_order": {"N": order.to_string()},
        });
        if let Some(token) = taken {
            values[":taken"] = json!({"S": token});
        }
        json!({
            "Key": {PK: {"S": pk}, SK: {"S": ALONE}},
            "UpdateExpression": "SET due_order = :due_order, due_pk = :due_pk REMOVE place",
            "ExpressionAttributeValues": values,
        })
    }

    fn shown(mirror: &Mirror, latest: u8) -> Vec<String> {
        let query = json!({"Limit": 2, "ExpressionAttributeValues": {
            ":lane": {"S": LINE}, ":latest": {"N": latest.to_string()},
        }});
        let answer = mirror.answer(&query);
        let items = answer["Items"].as_array().unwrap().iter();
        let keys = items.map(|item| item[PK]["S"].as_str().unwrap().to_owned());
        keys.collect()
    }

    #[tokio::test(start_paused = true)]
    async fn the_index_shows_a_write_and_a_removal_after_its_lag() {
        let by = Duration::from_secs(2);
        let nothing = Mirror::default();
        let mut mirror = Mirror { by, ..nothing };
        for (pk, order) in [("KEY#c", 3), ("KEY#a", 1), ("KEY#b", 2)] {
            mirror.see("UpdateItem", &sets(pk, 1, LINE, order, None));
        }
        assert_eq!(shown(&mirror, 9), [] as [&str; 0]);
        tokio::time::sleep(by).await;
        assert_eq!(shown(&mirror, 9), ["KEY#a", "KEY#b"]);
        assert_eq!(shown(&mirror, 1), ["KEY#a"]);
        let mut removal = sets("KEY#a", 2, LINE, 1, None);
        removal["UpdateExpression"] =
            json!("SET due_version = :due_version REMOVE due_order, due_pk");
        mirror.see("UpdateItem", &removal);
        assert_eq!(shown(&mirror, 9), ["KEY#a", "KEY#b"]);
        tokio::time::sleep(by).await;
        assert_eq!(shown(&mirror, 9), ["KEY#b", "KEY#c"]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_passes_something_that_has_waited_is_too_early_but_for_a_look_that_passes_a_key() {
        let mut mirror = Mirror::default();
        for (pk, order) in [("KEY#a", 1), ("CLIENT#b", 2), ("CLIENT#c", 3), ("KEY#d", 4)] {
            mirror.see("UpdateItem", &sets(pk, 1, LINE, order, None));
        }
        tokio::time::sleep(2 * LONG_ENOUGH).await;
        for (pk, too_early) in [("CLIENT#b", 0), ("KEY#d", 2), ("CLIENT#c", 2), ("KEY#a", 2)] {
            let take = sets(pk, 2, "DUE#p#1", 9, Some("token"));
            mirror.see("UpdateItem", &take);
            assert_eq!(mirror.too_early.len(), too_early, "{pk}");
        }
        assert_eq!(mirror.taken, 4);
    }
}
