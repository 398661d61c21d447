//! Which records of the table's stream each mapping hands to `provision`, against what it takes.

use aws_sdk_dynamodb::types::AttributeValue;
use platform::stream::{Change, Record};
use platform::table::PK;
use platform::table::prefix::{CHANNEL, CLAIM, CLIENT, DUE, FACT, MINT, RAW, SECOND, WAKE};
use provision::Provision;
use serde_json::{Value, json};
use tests::text;

use super::evaluate::Deployment;
use super::{entries, holds, list};

/// A mapping, and what of `provision` takes its records.
type Mapping = (&'static str, fn(&Record) -> bool);

const MAPPINGS: [Mapping; 2] = [("Fold", Provision::folds), ("Act", Provision::acts_on)];

/// Every kind of item, some that are to come, and some that only look like one.
const KINDS: [&str; 16] = [
    SECOND, FACT, RAW, CLAIM, CLIENT, CHANNEL, MINT, WAKE, DUE, "GATE", "SWEEP", "DEAD", "FACTS",
    "XFACT", "CHANNELS", "",
];

#[test]
fn each_mapping_hands_over_what_provision_takes_and_nothing_else() {
    holds(
        faults,
        &[
            r#"Act/Properties/FilterCriteria/Filters/- = {"Pattern": "{}"} → Act: INSERT SECOND"#,
            "Act/Properties/FilterCriteria/Filters/1 = null → Act: INSERT CHANNEL",
        ],
    );
}

#[test]
fn a_record_that_fails_comes_again_alone_for_a_time_and_is_then_put_aside() {
    holds(
        carelessness,
        &[
            "Fold/Properties/FunctionResponseTypes = null → Fold",
            "Act/Properties/MaximumRecordAgeInSeconds = -1 → Act",
            r#"Act/Properties/FunctionName = {"Ref": "FoldAlias"} → Act"#,
            r#"ActAlias/Properties/FunctionVersion = "7" → Act"#,
            "FailedRecords/Properties/SqsManagedSseEnabled = false → FailedRecords",
        ],
    );
}

fn faults(deployed: &Deployment) -> Vec<String> {
    let mut faults = Vec::new();
    for (mapping, takes) in MAPPINGS {
        let filters = list(&deployed.properties(mapping)["FilterCriteria"]["Filters"]);
        let pattern = |it: &Value| serde_json::from_str(text(&it["Pattern"])).expect("JSON");
        let patterns: Vec<Value> = filters.iter().map(pattern).collect();
        for kind in KINDS {
            for (name, change) in [
                ("INSERT", Change::Inserted),
                ("MODIFY", Change::Modified),
                ("REMOVE", Change::Removed),
            ] {
                let pk = match kind {
                    "" => "FACT".to_owned(),
                    kind => format!("{kind}#aPA#x"),
                };
                let keys = json!({"pk": {"S": pk}, "sk": {"S": "-"}});
                let event = json!({"eventName": name, "dynamodb": {"Keys": keys}});
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
        // Lambda takes one mapping for a stream and a function: each has an alias of its own, of the newest code.
        let alias = deployed.properties(&format!("{mapping}Alias"));
        let seen = json!([
            it["FunctionResponseTypes"],
            it["BisectBatchOnFunctionError"],
            it["DestinationConfig"]["OnFailure"]["Destination"],
            it["StartingPosition"],
            it["EventSourceArn"],
            it["FunctionName"],
            alias["FunctionName"],
            alias["FunctionVersion"],
        ]);
        let wanted = json!([
            ["ReportBatchItemFailures"],
            true,
            "<FailedRecords.Arn>",
            "TRIM_HORIZON",
            "<Table.StreamArn>",
            format!("<{mapping}Alias>"),
            "<ProvisionFunction>",
            "$LATEST",
        ]);
        let retries = it["MaximumRetryAttempts"].as_i64().unwrap_or_default();
        let age = it["MaximumRecordAgeInSeconds"].as_i64().unwrap_or_default();
        let is_for_a_time = retries > 0 && (1..24 * 3600).contains(&age);
        let is_known = MAPPINGS.iter().any(|(name, _)| *name == mapping);
        if seen != wanted || !is_for_a_time || !is_known {
            faults.push(format!("{mapping}: {it}"));
        }
    }
    if deployed.properties("FailedRecords")["SqsManagedSseEnabled"] != json!(true) {
        faults.push("FailedRecords is not encrypted".to_owned());
    }
    faults
}

fn record(change: Change, pk: String) -> Record {
    Record {
        sequence: "1".to_owned(),
        change,
        keys: [(PK.to_owned(), AttributeValue::S(pk))].into(),
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
