//! The alarms look at figures that exist, and tell somebody.

use std::collections::BTreeSet;

use runtime::metric::{KEYS_BLOCKED, Metric, NAMESPACE, OLDEST_DUE_AGE};
use serde_json::{Value, json};

use super::evaluate::Deployment;
use super::{functions, holds, list, logical_id, texts};

#[test]
fn every_alarm_looks_at_a_figure_that_is_written_and_tells_the_topic() {
    holds(
        faults,
        &[
            ("WhatsAppOnboarding BadCredential ", |it| {
                alarm(it, "HubRefusesUs")["MetricName"] = json!("BadCredential")
            }),
            ("WhatsAppOnboarding OldestDueAge", |it| {
                alarm(it, "DueIsLate")["Dimensions"][0]["Value"] = json!({"Ref": "SignFunction"});
            }),
            ("<WebhookFunction>", |it| {
                alarm(it, "SomethingFailed")["Metrics"]
                    .as_array_mut()
                    .expect("metrics")
                    .retain(|it| it["Id"] != "webhook");
            }),
            ("StreamIsBehind tells nobody", |it| {
                drop(alarm(it, "StreamIsBehind")["AlarmActions"].take())
            }),
            ("SomethingFailed counts", |it| {
                alarm(it, "SomethingFailed")["Metrics"][0]["Expression"] = json!("sign")
            }),
        ],
    );
}

fn faults(deployed: &Deployment) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let mut faults = Vec::new();
    for (name, alarm) in deployed.of_type("AWS::CloudWatch::Alarm") {
        seen.extend(figures(alarm));
        // A blocked key is counted once: that the alarm is over does not say that the key is no longer blocked.
        let is_told_of_its_end = name != "SomethingFailed";
        let end: &[&str] = if is_told_of_its_end {
            &["<AlarmTopic>"]
        } else {
            &[]
        };
        if texts(&alarm["AlarmActions"]) != ["<AlarmTopic>"] || texts(&alarm["OKActions"]) != end {
            faults.push(format!("{name} tells nobody"));
        }
        let expression = match name {
            "StreamIsBehind" => "MAX(METRICS())",
            _ => "SUM(METRICS())",
        };
        let sums = list(&alarm["Metrics"])
            .iter()
            .filter(|it| it["Expression"].is_string());
        if sums.filter(|it| it["Expression"] != expression).count() > 0 {
            faults.push(format!("{name} counts something else"));
        }
    }
    let wanted = wanted();
    faults.extend(seen.symmetric_difference(&wanted).cloned());
    faults
}

/// Namespace, name and dimension of all that is looked at.
fn wanted() -> BTreeSet<String> {
    let ours = [
        format!("{NAMESPACE} {OLDEST_DUE_AGE} <ReconcileFunction>"),
        format!("{NAMESPACE} {KEYS_BLOCKED} <ProvisionFunction>"),
        format!(
            "{NAMESPACE} {} <ProvisionFunction>",
            Metric::BadCredentials.name()
        ),
    ];
    let of_aws = [
        "AWS/ApiGateway 5xx <HttpApi>",
        "AWS/Lambda IteratorAge <FoldFunction>",
        "AWS/Lambda IteratorAge <ProvisionFunction>",
        "AWS/SQS ApproximateNumberOfMessagesVisible <FailedRecords.QueueName>",
    ];
    let errors = functions()
        .into_iter()
        .map(|function| format!("AWS/Lambda Errors <{}>", logical_id(&function)));
    ours.into_iter()
        .chain(of_aws.map(str::to_owned))
        .chain(errors)
        .collect()
}

fn figures(alarm: &Value) -> Vec<String> {
    let figure = |it: &Value| {
        let dimensions: Vec<String> = list(&it["Dimensions"])
            .iter()
            .flat_map(|it| texts(&it["Value"]))
            .collect();
        let name = |part: &str| texts(&it[part]).join("");
        format!(
            "{} {} {}",
            name("Namespace"),
            name("MetricName"),
            dimensions.join(" ")
        )
    };
    let summed = list(&alarm["Metrics"])
        .iter()
        .filter(|it| !it["MetricStat"].is_null());
    let own = Some(alarm).filter(|alarm| alarm["MetricName"].is_string());
    summed
        .map(|it| figure(&it["MetricStat"]["Metric"]))
        .chain(own.map(figure))
        .collect()
}

fn alarm<'a>(template: &'a mut Value, name: &str) -> &'a mut Value {
    &mut template["Resources"][name]["Properties"]
}
