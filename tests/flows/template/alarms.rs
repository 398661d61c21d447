//! The alarms look at metrics that exist, and tell somebody.

use std::collections::BTreeSet;

use runtime::metric::{KEYS_BLOCKED, Metric, NAMESPACE, OLDEST_DUE_AGE};
use serde_json::Value;

use super::evaluate::Deployment;
use super::{functions, holds, list, logical_id, texts};

#[test]
fn every_alarm_looks_at_a_metric_that_is_written_and_tells_the_topic() {
    holds(
        faults,
        &[
            r#"HubRefusesUs/Properties/MetricName = "BadCredential" → WhatsAppOnboarding BadCredential "#,
            r#"DueIsLate/Properties/Dimensions/0/Value = {"Ref": "SignFunction"} → WhatsAppOnboarding OldestDueAge"#,
            "StreamIsBehind/Properties/AlarmActions = null → StreamIsBehind tells nobody",
            r#"SomethingFailed/Properties/Metrics/0/Expression = "sign" → SomethingFailed counts"#,
        ],
    );
}

fn faults(deployed: &Deployment) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let mut faults = Vec::new();
    for (name, alarm) in deployed.of_type("AWS::CloudWatch::Alarm") {
        seen.extend(metrics(alarm));
        // A blocked key is counted once: that the alarm is over does not say that the key is no longer blocked.
        let is_told_of_its_end = name != "SomethingFailed";
        let end = is_told_of_its_end.then(|| "<AlarmTopic>".to_owned());
        let is_told = texts(&alarm["AlarmActions"]) == ["<AlarmTopic>"];
        if !is_told || texts(&alarm["OKActions"]) != Vec::from_iter(end) {
            faults.push(format!("{name} tells nobody"));
        }
        let mut expressions = list(&alarm["Metrics"])
            .iter()
            .flat_map(|it| texts(&it["Expression"]));
        let expected = match name {
            "StreamIsBehind" => "MAX(METRICS())",
            _ => "SUM(METRICS())",
        };
        if expressions.any(|it| it != expected) {
            faults.push(format!("{name} counts something else"));
        }
    }
    faults.extend(seen.symmetric_difference(&wanted()).cloned());
    faults
}

/// Namespace, name and dimension of all that is looked at.
fn wanted() -> BTreeSet<String> {
    let bad_credentials = Metric::BadCredentials.name();
    let mut wanted = BTreeSet::from([
        format!("{NAMESPACE} {OLDEST_DUE_AGE} <ReconcileFunction>"),
        format!("{NAMESPACE} {KEYS_BLOCKED} <ProvisionFunction>"),
        format!("{NAMESPACE} {bad_credentials} <ProvisionFunction>"),
        "AWS/ApiGateway 5xx <HttpApi>".to_owned(),
        "AWS/Lambda IteratorAge <FoldFunction>".to_owned(),
        "AWS/Lambda IteratorAge <ProvisionFunction>".to_owned(),
        "AWS/SQS ApproximateNumberOfMessagesVisible <FailedRecords.QueueName>".to_owned(),
    ]);
    for function in functions() {
        wanted.insert(format!("AWS/Lambda Errors <{}>", logical_id(&function)));
    }
    wanted
}

fn metrics(alarm: &Value) -> Vec<String> {
    let summed = list(&alarm["Metrics"]).iter();
    let summed = summed.map(|it| &it["MetricStat"]["Metric"]);
    let all = summed.chain([alarm]);
    let looked_at = all.filter(|it| it["MetricName"].is_string());
    let words = |it: &Value| {
        let mut words = [texts(&it["Namespace"]), texts(&it["MetricName"])].concat();
        let dimensions = list(&it["Dimensions"]).iter();
        words.extend(dimensions.flat_map(|it| texts(&it["Value"])));
        words.join(" ")
    };
    looked_at.map(words).collect()
}
