//! CloudWatch's metrics: those that AWS's services record, which the harness plays, and those that the functions write
//! into their log in the [Embedded Metric Format][1].
//!
//! A metric is named by its namespace, its name and the value of its one dimension: `AWS/Lambda Errors fold`.
//!
//! [1]:
//! https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

use crate::text;

/// The API, as the dimension of its metrics names it.
pub const API: &str = "api";
/// The queue of the records that were given up, likewise.
pub const FAILED_RECORDS: &str = "failed-records";

/// The metrics of one stack that AWS's services record.
#[derive(Clone, Debug, Default)]
pub struct Metrics(Arc<Mutex<Vec<(String, f64)>>>);

impl Metrics {
    /// Records a value.
    pub(super) fn record(&self, namespace: &str, name: &str, dimension: &str, value: f64) {
        self.lock()
            .push((format!("{namespace} {name} {dimension}"), value));
    }

    /// The values of `metric`, with those that are in the lines of `log`.
    pub(super) fn values(&self, metric: &str, log: &str) -> Vec<f64> {
        let recorded = self.lock().clone();
        let written = log.lines().flat_map(written);
        let all = recorded.into_iter().chain(written);
        all.filter_map(|(name, value)| (name == metric).then_some(value))
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(String, f64)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The metrics in a line of the log, by its dimension `FunctionName`.
fn written(line: &str) -> Vec<(String, f64)> {
    let line: Value = serde_json::from_str(line).unwrap_or_default();
    let directives = line["_aws"]["CloudWatchMetrics"].as_array();
    let of_one = |directive: &Value| {
        let dimensions = directive["Dimensions"].as_array()?;
        let has_it = dimensions.contains(&json!(["FunctionName"]));
        let name = has_it.then(|| text(&directive["Metrics"][0]["Name"]))?;
        let (namespace, function) = (text(&directive["Namespace"]), text(&line["FunctionName"]));
        let value = line[name].as_f64().expect("a metric is a number");
        Some((format!("{namespace} {name} {function}"), value))
    };
    directives
        .into_iter()
        .flatten()
        .filter_map(of_one)
        .collect()
}
