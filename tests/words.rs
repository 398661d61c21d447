//! Items in words, so that two scans can be compared.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::AttributeValue;
use platform::table::Item;

/// An item in words that do not depend on the order of its attributes, nor on that within their maps.
pub(crate) fn in_words(item: &Item) -> String {
    let sorted: BTreeMap<_, _> = item.iter().map(|(name, value)| (name, value_in_words(value))).collect();
    let pairs: Vec<String> = sorted.into_iter().map(|(name, value)| format!("{name}: {value}")).collect();
    format!("{{{}}}", pairs.join(", "))
}

fn value_in_words(value: &AttributeValue) -> String {
    match value {
        AttributeValue::M(map) => in_words(map),
        AttributeValue::L(list) => format!("[{}]", list.iter().map(value_in_words).collect::<Vec<_>>().join(", ")),
        other => format!("{other:?}"),
    }
}
