//! Items in words, so that two scans can be compared, and what can be read from them.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::AttributeValue;
use store::table::Item;

/// Fails with what is only in one of two scans.
#[track_caller]
pub fn assert_same(before: &[String], after: &[String]) {
    let only = |these: &[String], those: &[String]| -> Vec<String> {
        let only = these.iter().filter(|item| !those.contains(item));
        only.cloned().collect()
    };
    let (gone, new) = (only(before, after), only(after, before));
    let is_same = gone.is_empty() && new.is_empty();
    assert!(is_same, "gone: {gone:#?}\nnew: {new:#?}");
}

/// The partition key of an item.
pub fn pk(item: &Item) -> &str {
    item["pk"].as_s().expect("a key")
}

/// The bodies of all events among `items`, as they came.
pub fn bodies(items: &[Item]) -> Vec<Vec<u8>> {
    let bodies = items
        .iter()
        .filter_map(|item| item.get("body")?.as_b().ok());
    bodies.map(|body| body.as_ref().to_vec()).collect()
}

/// Whether somebody is about to work on an item, or is at it.
pub(crate) fn is_in_hand(item: &Item) -> bool {
    let lane = item.get("due_pk").and_then(|lane| lane.as_s().ok());
    let is_new_claim = || pk(item).starts_with("CLAIM#") && lane.is_some();
    lane.is_some_and(|lane| lane.ends_with("#0")) || item.contains_key("taken") || is_new_claim()
}

/// An item in words that do not depend on the order of its attributes, nor on that within their maps.
pub(crate) fn in_words(item: &Item) -> String {
    let sorted: BTreeMap<_, _> = item.iter().collect();
    let pairs = sorted.into_iter();
    let pairs = pairs.map(|(name, value)| format!("{name}: {}", value_in_words(value)));
    format!("{{{}}}", pairs.collect::<Vec<_>>().join(", "))
}

fn value_in_words(value: &AttributeValue) -> String {
    match value {
        AttributeValue::M(map) => in_words(map),
        AttributeValue::L(list) => {
            let list: Vec<String> = list.iter().map(value_in_words).collect();
            format!("[{}]", list.join(", "))
        }
        other => format!("{other:?}"),
    }
}
