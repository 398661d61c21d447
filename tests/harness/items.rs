//! Items in words, so that two scans can be compared, and what can be read from them.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::AttributeValue;
use platform::store::StoredClaim;
use platform::table::Item;

/// Fails with what is only in one of two scans.
pub fn assert_same(before: &[String], after: &[String]) {
    let only = |these: &[String], those: &[String]| -> Vec<String> {
        these
            .iter()
            .filter(|item| !those.contains(item))
            .cloned()
            .collect()
    };
    let (gone, new) = (only(before, after), only(after, before));
    assert!(
        gone.is_empty() && new.is_empty(),
        "gone: {gone:#?}\nnew: {new:#?}"
    );
}

/// Whether an item is a claim that is settled and only waits for the fold to be closed.
pub(crate) fn is_about_to_close(item: &Item) -> bool {
    let is_claim = item
        .get("pk")
        .and_then(|pk| pk.as_s().ok())
        .is_some_and(|pk| pk.starts_with("CLAIM#"));
    let stored = is_claim.then(|| StoredClaim::of_item(item).expect("a claim"));
    stored.is_some_and(|StoredClaim { claim, .. }| {
        claim.is_open() && !claim.settled.is_empty() && claim.unsettled().next().is_none()
    })
}

/// An item in words that do not depend on the order of its attributes, nor on that within their maps.
pub(crate) fn in_words(item: &Item) -> String {
    let sorted: BTreeMap<_, _> = item
        .iter()
        .map(|(name, value)| (name, value_in_words(value)))
        .collect();
    let pairs: Vec<String> = sorted
        .into_iter()
        .map(|(name, value)| format!("{name}: {value}"))
        .collect();
    format!("{{{}}}", pairs.join(", "))
}

fn value_in_words(value: &AttributeValue) -> String {
    match value {
        AttributeValue::M(map) => in_words(map),
        AttributeValue::L(list) => format!(
            "[{}]",
            list.iter()
                .map(value_in_words)
                .collect::<Vec<_>>()
                .join(", ")
        ),
        other => format!("{other:?}"),
    }
}
