//! The alarms look at metrics that exist, and tell somebody.

use std::collections::BTreeSet;

use runtime::metric::{KEYS_BLOCKED, Metric, NAMESPACE, OLDEST_DUE_AGE};
use serde_json::Value;
use tests::text;

use super::evaluate::Deployment;
use super::{Template, everything, functions, holds, list, logical_id, texts};

/// An alarm of the template, as far as a test can look at what the alarm looks at.
pub(crate) struct Alarm {
    /// Namespace, name and dimension of its metrics.
    pub(crate) metrics: Vec<String>,
    /// Whether it adds their values; else it takes the greatest.
    pub(crate) is_sum: bool,
    /// It rings above this, or below it.
    pub(crate) threshold: f64,
}

impl Alarm {
    /// The alarm `name` of this repository's template.
    pub(crate) fn from_template(name: &str) -> Self {
        let deployed = Template::here().deployed(&everything());
        let alarm = deployed.properties(name);
        let ways = [&alarm["Statistic"], &alarm["Metrics"][0]["Expression"]];
        Self {
            metrics: metrics(alarm),
            is_sum: ways.iter().any(|way| **way == "Sum" || **way == SUM),
            threshold: alarm["Threshold"].as_f64().expect("a number"),
        }
    }
}

const SUM: &str = "SUM(METRICS())";

/// Counted once, and still waiting for somebody when the alarm is over: that is not told.
const NEVER_OVER: [&str; 3] = ["EventIsGivenUp", "KeyIsBlocked", "RecordIsGivenUp"];

/// Rung by silence: what they look at is there every minute.
const HEARTBEATS: [&str; 3] = ["DueIsLate", "FoldStandsStill", "ProvisionStandsStill"];

#[test]
fn every_alarm_looks_at_a_metric_that_is_written_and_tells_the_topic() {
    holds(
        faults,
        &[
            r#"HubRefusesUs/Properties/MetricName = "BadCredential" → WhatsAppOnboarding BadCredential "#,
            r#"DueIsLate/Properties/Dimensions/0/Value = {"Ref": "SignFunction"} → WhatsAppOnboarding OldestDueAge"#,
            "StreamIsBehind/Properties/AlarmActions = null → StreamIsBehind tells nobody",
            r#"FunctionFails/Properties/Metrics/0/Expression = "sign" → FunctionFails counts"#,
            r#"FoldStandsStill/Properties/TreatMissingData = "notBreaching" → FoldStandsStill and silence"#,
            r#"ApiFails/Properties/AlarmDescription = "Something failed." → ApiFails does not say what to do"#,
        ],
    );
}

#[test]
fn every_alarm_has_a_test_that_makes_its_cause_happen() {
    let tests = include_str!("../on_aws/alarms.rs");
    let deployed = Template::here().deployed(&everything());
    for (name, _) in deployed.of_type("AWS::CloudWatch::Alarm") {
        assert!(tests.contains(&format!("{name:?}")), "{name}");
    }
}

fn faults(deployed: &Deployment) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let mut faults = Vec::new();
    for (name, alarm) in deployed.of_type("AWS::CloudWatch::Alarm") {
        seen.extend(metrics(alarm));
        let is_told_of_its_end = !NEVER_OVER.contains(&name);
        let end = is_told_of_its_end.then(|| "<AlarmTopic>".to_owned());
        let is_told = texts(&alarm["AlarmActions"]) == ["<AlarmTopic>"];
        if !is_told || texts(&alarm["OKActions"]) != Vec::from_iter(end) {
            faults.push(format!("{name} tells nobody"));
        }
        let silence = if HEARTBEATS.contains(&name) {
            "breaching"
        } else {
            "notBreaching"
        };
        if alarm["TreatMissingData"] != silence {
            faults.push(format!("{name} and silence"));
        }
        let says_what_to_do = ["Read ", "read ", "Repair ", "Compare ", "Put ", "See "];
        let description = text(&alarm["AlarmDescription"]);
        if !says_what_to_do
            .iter()
            .any(|verb| description.contains(verb))
        {
            faults.push(format!("{name} does not say what to do"));
        }
        let mut expressions = list(&alarm["Metrics"])
            .iter()
            .flat_map(|it| texts(&it["Expression"]));
        let expected = match name {
            "StreamIsBehind" => "MAX(METRICS())",
            _ => SUM,
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
    let counted = |metric: Metric, function: &str| {
        format!("{NAMESPACE} {} <{}>", metric.name(), logical_id(function))
    };
    let mut wanted = BTreeSet::from([
        format!("{NAMESPACE} {OLDEST_DUE_AGE} <ProvisionFunction>"),
        format!("{NAMESPACE} {KEYS_BLOCKED} <ProvisionFunction>"),
        counted(Metric::BadCredentials, "provision"),
        counted(Metric::WebhooksRefused, "webhook"),
        counted(Metric::EventsGivenUp, "fold"),
        "AWS/ApiGateway 5xx <HttpApi>".to_owned(),
        "AWS/SQS NumberOfMessagesSent <FailedRecords.QueueName>".to_owned(),
    ]);
    for function in ["fold", "provision"] {
        wanted.insert(counted(Metric::Heartbeats, function));
        for metric in ["IteratorAge", "DestinationDeliveryFailures"] {
            wanted.insert(format!("AWS/Lambda {metric} <{}>", logical_id(function)));
        }
    }
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
