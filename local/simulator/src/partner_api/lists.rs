//! The lists of a partner's channels and clients: filtered, sorted, and by pages.

use std::{cmp::Ordering, sync::Arc};

use axum::{
    Json,
    extract::{Path, RawQuery, State},
    http::HeaderMap,
};
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use url::form_urlencoded;

use super::{credentials::authorize, error::ApiError};
use crate::{bulk_lists::ListFaults, simulator::Simulator, state::Client};

/// The rows of an answer, unless fewer are asked for.
const MOST_ROWS: usize = 1000;
const DEFAULT_SORT: &str = "created_at";

type Answer = Result<Json<Value>, ApiError>;

pub(super) async fn channels(
    State(simulator): State<Arc<Simulator>>,
    Path(partner): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Answer {
    let partner = authorize(&simulator, &partner, &headers)?;
    let mut page = Page::parse(&query.unwrap_or_default(), DEFAULT_SORT);
    let all = simulator.store.read(|records| {
        let Some(account) = records.account(&partner.id) else {
            return Vec::new();
        };
        let all = if page.filters.contains_key("id") {
            account.current_list()
        } else {
            account.bulk_list(Timestamp::now())
        };
        page.suffer(&account.list_faults, all)
    });
    Ok(Json(page.answer("partner_channels", all)))
}

pub(super) async fn clients(
    State(simulator): State<Arc<Simulator>>,
    Path(partner): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Answer {
    let partner = authorize(&simulator, &partner, &headers)?;
    let mut page = Page::parse(&query.unwrap_or_default(), DEFAULT_SORT);
    let all = simulator.store.read(|records| {
        let Some(account) = records.account(&partner.id) else {
            return Vec::new();
        };
        let all = account.clients.values().map(Client::view).collect();
        page.suffer(&account.list_faults, all)
    });
    Ok(Json(page.answer("clients", all)))
}

/// The part of a list that is asked for. A malformed parameter counts as absent.
#[derive(Debug)]
pub(crate) struct Page {
    limit: usize,
    offset: usize,
    sort: String,
    filters: Map<String, Value>,
}

impl Page {
    pub(crate) fn parse(query: &str, default_sort: &str) -> Self {
        let value = |name: &str| {
            form_urlencoded::parse(query.as_bytes())
                .find(|(key, _)| key == name)
                .map(|(_, value)| value.into_owned())
        };
        let number = |name: &str| value(name).and_then(|text| text.parse().ok());
        let filters = value("filters").and_then(|text| serde_json::from_str(&text).ok());
        Self {
            limit: number("limit")
                .filter(|limit| *limit > 0)
                .map_or(MOST_ROWS, |limit: usize| limit.min(MOST_ROWS)),
            offset: number("offset").unwrap_or(0),
            sort: value("sort")
                .filter(|sort| !sort.is_empty())
                .unwrap_or_else(|| default_sort.to_owned()),
            filters: filters.unwrap_or_default(),
        }
    }

    /// The rows that the faults leave. Filters that are ignored are removed.
    fn suffer(&mut self, faults: &ListFaults, rows: Vec<Value>) -> Vec<Value> {
        if faults.finds_nothing && !self.filters.is_empty() {
            return Vec::new();
        }
        if faults.ignores_filters {
            self.filters.clear();
        }
        rows
    }

    /// The answer, with the rows under `name`.
    pub(crate) fn answer(&self, name: &str, mut rows: Vec<Value>) -> Value {
        rows.retain(|row| self.matches(row));
        sort(&mut rows, &self.sort);
        let total = rows.len();
        let rows: Vec<Value> = rows
            .into_iter()
            .skip(self.offset)
            .take(self.limit)
            .collect();
        let count = rows.len();
        json!({
            "count": count,
            "total": total,
            "limit": self.limit,
            "offset": self.offset,
            "sort": self.sort,
            "filters": self.filters,
            name: rows,
        })
    }

    fn matches(&self, row: &Value) -> bool {
        self.filters
            .iter()
            .all(|(path, wanted)| matches(at_path(row, path), wanted))
    }
}

/// The value at a dotted path.
fn at_path<'a>(row: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(row, |value, name| value.get(name))
}

fn matches(value: Option<&Value>, wanted: &Value) -> bool {
    match wanted {
        Value::Array(any) => any.iter().any(|wanted| matches(value, wanted)),
        Value::Null => value.is_none_or(Value::is_null),
        wanted => value == Some(wanted),
    }
}

/// Sorts by a dotted path, descending if it begins with `-`, then by id.
fn sort(rows: &mut [Value], by: &str) {
    let (path, is_descending) = by
        .strip_prefix('-')
        .map_or((by, false), |path| (path, true));
    let text = |row: &Value, path: &str| at_path(row, path).map(Value::to_string);
    rows.sort_by(|a, b| {
        let order = text(a, path).cmp(&text(b, path));
        let order = if is_descending {
            order.reverse()
        } else {
            order
        };
        match order {
            Ordering::Equal => text(a, "id").cmp(&text(b, "id")),
            order => order,
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_names_a_dotted_path() {
        let channel = json!({"id": "aCH", "setup_info": {"phone_number": "12125550123"}, "current_limit": null});
        assert!(matches(
            at_path(&channel, "setup_info.phone_number"),
            &json!("12125550123")
        ));
        assert!(matches(at_path(&channel, "id"), &json!(["bCH", "aCH"])));
        assert!(matches(at_path(&channel, "current_limit"), &Value::Null));
        assert!(!matches(at_path(&channel, "id"), &json!("bCH")));
        assert!(!matches(at_path(&channel, "no.such.path"), &json!("aCH")));
    }

    #[test]
    fn rows_are_sorted_either_way() {
        let mut rows = [
            json!({"id": "b", "n": "1"}),
            json!({"id": "a", "n": "1"}),
            json!({"id": "c", "n": "2"}),
        ];
        sort(&mut rows, "-n");
        assert_eq!(rows.map(|row| row["id"].clone()), ["c", "a", "b"]);
    }

    #[test]
    fn malformed_parameters_count_as_absent() {
        for query in [
            "",
            "limit=x&offset=-1&filters=no",
            "limit=0&filters=[1]&sort=",
            "limit=5000",
        ] {
            let page = Page::parse(query, DEFAULT_SORT);
            assert_eq!((page.limit, page.offset), (MOST_ROWS, 0), "{query}");
            assert_eq!(page.sort, DEFAULT_SORT, "{query}");
            assert!(page.filters.is_empty(), "{query}");
        }
    }
}
