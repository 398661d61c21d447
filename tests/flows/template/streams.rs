//! Which records of the table's stream each mapping hands to its function, against what that takes.

use aws_sdk_dynamodb::types::AttributeValue;
use fold::Fold;
use provision::Provision;
use serde_json::{Value, json};
use store::stream::{Change, Record};
use store::table::{PK, prefix};

use super::evaluate::Deployment;
use super::{entries, holds, list};

/// A mapping, its function, and the records that function takes.
type Mapping = (&'static str, &'static str, fn(&Record) -> bool);

const MAPPINGS: [Mapping; 2] = [
    ("FoldStream", "<FoldFunction>", Fold::takes),
    ("ProvisionStream", "<ProvisionFunction>", Provision::takes),
];

/// Every kind of item, some that are to come, and some that only look like one.
const KINDS: [&str; 17] = [
    prefix::SECOND,
    prefix::FACT,
    prefix::RAW,
    prefix::CLAIM,
    prefix::CLIENT,
    prefix::CHANNEL,
    prefix::MINT,
    prefix::WAKE,
    prefix::DUE,
    prefix::OUTBOX,
    prefix::DEAD,
    "SWEEP",
    "HOOK",
    "FACTS",
    "XFACT",
    "CHANNELS",
    "",
];

#[test]
fn each_mapping_hands_over_what_its_function_takes_and_nothing_else() {
    holds(
        faults,
        &[
            ("FoldStream: INSERT WAKE", |it| {
                swap(it, "FoldStream", "RAW#", "WAKE#")
            }),
            ("FoldStream: MODIFY FACT", |it| {
                swap(it, "FoldStream", r#"["INSERT"]"#, r#"["INSERT","MODIFY"]"#)
            }),
            ("ProvisionStream: INSERT CHANNELS", |it| {
                swap(it, "ProvisionStream", "CHANNEL#", "CHANNEL")
            }),
            ("ProvisionStream: REMOVE CHANNEL", |it| {
                swap(it, "ProvisionStream", r#""MODIFY""#, r#""MODIFY","REMOVE""#)
            }),
            ("ProvisionStream: INSERT CHANNEL", |it| {
                drop(filters(it, "ProvisionStream").pop())
            }),
            ("ProvisionStream: INSERT SECOND", |it| {
                filters(it, "ProvisionStream").push(json!({"Pattern": "{}"}))
            }),
        ],
    );
}

#[test]
fn a_record_that_fails_comes_again_alone_for_a_time_and_is_then_put_aside() {
    holds(
        carelessness,
        &[
            ("FoldStream", |it| {
                drop(properties(it, "FoldStream")["FunctionResponseTypes"].take())
            }),
            ("ProvisionStream", |it| {
                properties(it, "ProvisionStream")["BisectBatchOnFunctionError"] = json!(false)
            }),
            ("ProvisionStream", |it| {
                properties(it, "ProvisionStream")["MaximumRecordAgeInSeconds"] = json!(-1)
            }),
            ("ProvisionStream", |it| {
                properties(it, "ProvisionStream")["MaximumRetryAttempts"] = json!(-1)
            }),
            ("ProvisionStream", |it| {
                drop(properties(it, "ProvisionStream")["DestinationConfig"].take())
            }),
            ("ProvisionStream", |it| {
                properties(it, "ProvisionStream")["StartingPosition"] = json!("LATEST")
            }),
            ("ProvisionStream", |it| {
                properties(it, "ProvisionStream")["FunctionName"] = json!({"Ref": "FoldFunction"})
            }),
            ("FailedRecords", |it| {
                properties(it, "FailedRecords")["SqsManagedSseEnabled"] = json!(false)
            }),
        ],
    );
}

fn faults(deployed: &Deployment) -> Vec<String> {
    let mut faults = Vec::new();
    for (mapping, _, takes) in MAPPINGS {
        let filters = list(&deployed.properties(mapping)["FilterCriteria"]["Filters"]);
        let patterns = filters.iter().map(|it| {
            it["Pattern"]
                .as_str()
                .and_then(|it| serde_json::from_str(it).ok())
        });
        let Some(patterns) = patterns.collect::<Option<Vec<Value>>>() else {
            faults.push(format!("{mapping}: a pattern is no JSON"));
            continue;
        };
        for kind in KINDS {
            for (name, change) in [
                ("INSERT", Change::Inserted),
                ("MODIFY", Change::Modified),
                ("REMOVE", Change::Removed),
            ] {
                let pk = if kind.is_empty() {
                    "FACT".to_owned()
                } else {
                    format!("{kind}#aPA#x")
                };
                let event = json!({"eventName": name, "dynamodb": {"Keys": {"pk": {"S": pk}, "sk": {"S": "-"}}}});
                let is_handed_over = patterns.iter().any(|pattern| matches(pattern, &event));
                if is_handed_over != takes(&record(change, pk)) {
                    faults.push(format!("{mapping}: {name} {kind}"));
                }
            }
        }
    }
    faults
}

fn carelessness(deployed: &Deployment) -> Vec<String> {
    let mut faults = Vec::new();
    for (mapping, it) in deployed.of_type("AWS::Lambda::EventSourceMapping") {
        let is_careful = it["FunctionResponseTypes"] == json!(["ReportBatchItemFailures"])
            && it["BisectBatchOnFunctionError"] == json!(true)
            && it["MaximumRetryAttempts"]
                .as_i64()
                .is_some_and(|times| times > 0)
            && it["MaximumRecordAgeInSeconds"]
                .as_i64()
                .is_some_and(|age| (1..24 * 3600).contains(&age))
            && it["DestinationConfig"]["OnFailure"]["Destination"] == "<FailedRecords.Arn>"
            && it["StartingPosition"] == "TRIM_HORIZON"
            && it["EventSourceArn"] == "<Table.StreamArn>"
            && MAPPINGS
                .iter()
                .any(|(name, function, _)| *name == mapping && it["FunctionName"] == *function);
        if !is_careful {
            faults.push(format!("{mapping}: {it}"));
        }
    }
    if deployed.properties("FailedRecords")["SqsManagedSseEnabled"] != json!(true) {
        faults.push("FailedRecords is not encrypted".to_owned());
    }
    faults
}

fn record(change: Change, pk: String) -> Record {
    let keys = [(PK.to_owned(), AttributeValue::S(pk))].into();
    Record {
        sequence: "1".to_owned(),
        change,
        keys,
        new: None,
        old: None,
    }
}

/// Whether Lambda's filter lets an event through: every field of the pattern is there, with one of its alternatives.
fn matches(pattern: &Value, event: &Value) -> bool {
    if let Value::Array(alternatives) = pattern {
        return alternatives.iter().any(|alternative| {
            match (&alternative["prefix"], event.as_str()) {
                (Value::String(prefix), Some(text)) => text.starts_with(prefix.as_str()),
                (Value::Null, _) if alternative.is_string() => alternative == event,
                _ => panic!("the test does not know {alternative}"),
            }
        });
    }
    entries(pattern)
        .all(|(name, pattern)| event.get(name).is_some_and(|event| matches(pattern, event)))
}

fn properties<'a>(template: &'a mut Value, name: &str) -> &'a mut Value {
    &mut template["Resources"][name]["Properties"]
}

fn filters<'a>(template: &'a mut Value, mapping: &str) -> &'a mut Vec<Value> {
    properties(template, mapping)["FilterCriteria"]["Filters"]
        .as_array_mut()
        .expect("filters")
}

/// Replaces `old` by `new` in the patterns of a mapping.
fn swap(template: &mut Value, mapping: &str, old: &str, new: &str) {
    for filter in filters(template, mapping) {
        let pattern = filter["Pattern"]
            .as_str()
            .expect("a pattern")
            .replace(old, new);
        filter["Pattern"] = json!(pattern);
    }
}
