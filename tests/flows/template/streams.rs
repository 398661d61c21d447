//! Which records of the table's stream each mapping hands to its function, against what that takes.

use aws_sdk_dynamodb::types::AttributeValue;
use fold::Fold;
use provision::Provision;
use serde_json::{Value, json};
use store::stream::{Change, Record};
use store::table::PK;
use store::table::prefix::{
    CHANNEL, CLAIM, CLAIMED, CLIENT, DEAD, DUE, FACT, HEARTBEAT, KEY, OUTBOX, PACE, RAW, REFOLD,
    SECOND, WORK,
};
use tests::text;

use super::evaluate::Deployment;
use super::{entries, holds, list};

/// A mapping, its function, and the records that this takes.
type Mapping = (&'static str, &'static str, fn(&Record) -> bool);

const MAPPINGS: [Mapping; 2] = [
    ("FoldStream", "<FoldFunction>", Fold::takes),
    ("ProvisionStream", "<ProvisionFunction>", Provision::takes),
];

/// Every kind of item, some that are to come, and some that only look like one.
const KINDS: [&str; 21] = [
    SECOND, FACT, RAW, CLAIM, CLAIMED, CLIENT, CHANNEL, KEY, WORK, PACE, DUE, OUTBOX, DEAD,
    HEARTBEAT, REFOLD, "HOOK", "SWEEP", "FACTS", "XFACT", "CHANNELS", "",
];

#[test]
fn each_mapping_hands_over_what_its_function_takes_and_nothing_else() {
    holds(
        faults,
        &[
            r#"ProvisionStream/Properties/FilterCriteria/Filters/- = {"Pattern": "{}"} → ProvisionStream: INSERT SECOND"#,
            "ProvisionStream/Properties/FilterCriteria/Filters/0 = null → ProvisionStream: INSERT CHANNEL",
        ],
    );
}

#[test]
fn a_record_that_fails_comes_again_alone_for_a_time_and_is_then_put_aside() {
    holds(
        carelessness,
        &[
            "FoldStream/Properties/FunctionResponseTypes = null → FoldStream",
            "ProvisionStream/Properties/MaximumRecordAgeInSeconds = -1 → ProvisionStream",
            r#"ProvisionStream/Properties/FunctionName = {"Ref": "FoldFunction"} → ProvisionStream"#,
            "FailedRecords/Properties/SqsManagedSseEnabled = false → FailedRecords",
        ],
    );
}

fn faults(deployed: &Deployment) -> Vec<String> {
    let mut faults = Vec::new();
    for (mapping, _, takes) in MAPPINGS {
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
        let known = MAPPINGS.iter().find(|(name, ..)| *name == mapping);
        let seen = json!([
            it["FunctionResponseTypes"],
            it["BisectBatchOnFunctionError"],
            it["DestinationConfig"]["OnFailure"]["Destination"],
            it["StartingPosition"],
            it["EventSourceArn"],
            it["FunctionName"],
        ]);
        let wanted = json!([
            ["ReportBatchItemFailures"],
            true,
            "<FailedRecords.Arn>",
            "TRIM_HORIZON",
            "<Table.StreamArn>",
            known.map(|(_, function, _)| function),
        ]);
        let retries = it["MaximumRetryAttempts"].as_i64().unwrap_or_default();
        let age = it["MaximumRecordAgeInSeconds"].as_i64().unwrap_or_default();
        let is_for_a_time = retries > 0 && (1..24 * 3600).contains(&age);
        if seen != wanted || !is_for_a_time {
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
