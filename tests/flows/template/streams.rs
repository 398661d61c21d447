//! Which records of the table's stream each mapping hands to `provision`, against what it takes.

use aws_sdk_dynamodb::types::AttributeValue;
use platform::stream::{Change, Record};
use platform::table::{PK, prefix};
use provision::Provision;
use serde_json::{Value, json};

use super::evaluate::Deployment;
use super::{entries, holds, list};

/// A mapping, and what of `provision` takes its records.
type Mapping = (&'static str, fn(&Record) -> bool);

const MAPPINGS: [Mapping; 2] = [("Fold", Provision::folds), ("Act", Provision::acts_on)];

/// Every kind of item, some that are to come, and some that only look like one.
const KINDS: [&str; 16] = [
    prefix::SECOND,
    prefix::FACT,
    prefix::RAW,
    prefix::CLAIM,
    prefix::CLIENT,
    prefix::CHANNEL,
    prefix::MINT,
    prefix::WAKE,
    prefix::DUE,
    "GATE",
    "SWEEP",
    "DEAD",
    "FACTS",
    "XFACT",
    "CHANNELS",
    "",
];

#[test]
fn each_mapping_hands_over_what_provision_takes_and_nothing_else() {
    holds(
        faults,
        &[
            ("Fold: INSERT WAKE", |it| swap(it, "Fold", "RAW#", "WAKE#")),
            ("Fold: MODIFY FACT", |it| {
                swap(it, "Fold", r#"["INSERT"]"#, r#"["INSERT","MODIFY"]"#)
            }),
            ("Act: INSERT CHANNELS", |it| {
                swap(it, "Act", "CHANNEL#", "CHANNEL")
            }),
            ("Act: REMOVE CHANNEL", |it| {
                swap(it, "Act", r#""MODIFY""#, r#""MODIFY","REMOVE""#)
            }),
            ("Act: INSERT CHANNEL", |it| drop(filters(it, "Act").pop())),
            ("Act: INSERT SECOND", |it| {
                filters(it, "Act").push(json!({"Pattern": "{}"}))
            }),
        ],
    );
}

#[test]
fn a_record_that_fails_comes_again_alone_for_a_time_and_is_then_put_aside() {
    holds(
        carelessness,
        &[
            ("Fold", |it| {
                drop(properties(it, "Fold")["FunctionResponseTypes"].take())
            }),
            ("Act", |it| {
                properties(it, "Act")["BisectBatchOnFunctionError"] = json!(false)
            }),
            ("Act", |it| {
                properties(it, "Act")["MaximumRecordAgeInSeconds"] = json!(-1)
            }),
            ("Act", |it| {
                properties(it, "Act")["MaximumRetryAttempts"] = json!(-1)
            }),
            ("Act", |it| {
                drop(properties(it, "Act")["DestinationConfig"].take())
            }),
            ("Act", |it| {
                properties(it, "Act")["StartingPosition"] = json!("LATEST")
            }),
            ("Act", |it| {
                properties(it, "Act")["FunctionName"] = json!({"Ref": "ProvisionFunction"})
            }),
            ("Act", |it| {
                properties(it, "Act")["FunctionName"] = json!({"Ref": "FoldAlias"})
            }),
            ("Act", |it| {
                properties(it, "ActAlias")["FunctionVersion"] = json!("7")
            }),
            ("FailedRecords", |it| {
                properties(it, "FailedRecords")["SqsManagedSseEnabled"] = json!(false)
            }),
        ],
    );
}

fn faults(deployed: &Deployment) -> Vec<String> {
    let mut faults = Vec::new();
    for (mapping, takes) in MAPPINGS {
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
            && it["FunctionName"] == format!("<{mapping}Alias>")
            && is_alias_of_provision(deployed, &format!("{mapping}Alias"));
        if !is_careful || MAPPINGS.iter().all(|(name, _)| *name != mapping) {
            faults.push(format!("{mapping}: {it}"));
        }
    }
    if deployed.properties("FailedRecords")["SqsManagedSseEnabled"] != json!(true) {
        faults.push("FailedRecords is not encrypted".to_owned());
    }
    faults
}

/// Lambda takes one mapping for a stream and a function: each has an alias of its own, of the newest code.
fn is_alias_of_provision(deployed: &Deployment, name: &str) -> bool {
    let mut aliases = deployed.of_type("AWS::Lambda::Alias");
    let alias = aliases.find_map(|(alias, it)| (alias == name).then_some(it));
    alias.is_some_and(|it| {
        it["FunctionName"] == "<ProvisionFunction>" && it["FunctionVersion"] == "$LATEST"
    })
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
