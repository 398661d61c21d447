//! Metrics in CloudWatch's [Embedded Metric Format][1]: log lines that CloudWatch reads as metrics.
//!
//! [1]: https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html

use std::io::Write;

use serde_json::{Map, Value, json};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use crate::clock;
use crate::metric::{NAMESPACE, TARGET};

/// A layer that passes every metric, as a line, to `write`.
pub(super) struct Metrics<W> {
    function: String,
    write: W,
}

impl<W: Fn(&Value) + 'static> Metrics<W> {
    /// The layer of the function `function`. A filter skips all events that are not metrics, so the log lines of
    /// libraries cost nothing here.
    pub(super) fn layer<S: Subscriber + for<'a> LookupSpan<'a>>(
        function: String,
        write: W,
    ) -> impl Layer<S> {
        Self { function, write }.with_filter(Targets::new().with_target(TARGET, LevelFilter::INFO))
    }

    fn line(&self, metric: &Measurement) -> Value {
        let mut dimensions = vec![json!(["FunctionName"])];
        if metric.reason.is_some() {
            dimensions.push(json!(["FunctionName", "Reason"]));
        }
        let now = clock::now();
        let definition = json!({"Name": metric.name, "Unit": metric.unit});
        let mut line = json!({
            // Without a level, a log filter above INFO would drop the line.
            "level": "INFO",
            "timestamp": now.to_string(),
            "_aws": {
                "Timestamp": now.as_millisecond(),
                "CloudWatchMetrics": [{"Namespace": NAMESPACE, "Dimensions": dimensions, "Metrics": [definition]}],
            },
            "FunctionName": self.function,
        });
        let fields = line.as_object_mut().map(std::mem::take).unwrap_or_default();
        let named = [
            (metric.name.clone(), Some(json!(metric.value))),
            ("Reason".to_owned(), metric.reason.clone().map(Value::from)),
        ];
        let fields: Map<String, Value> = fields
            .into_iter()
            .chain(
                named
                    .into_iter()
                    .filter_map(|(name, value)| Some((name, value?))),
            )
            .collect();
        Value::Object(fields)
    }
}

/// Writes a line to standard output, which Lambda writes to the log.
pub(super) fn print(line: &Value) {
    // A function can do nothing about a closed log.
    let _written = writeln!(std::io::stdout().lock(), "{line}");
}

impl<S: Subscriber, W: Fn(&Value) + 'static> Layer<S> for Metrics<W> {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut metric = Measurement::default();
        event.record(&mut metric);
        (self.write)(&self.line(&metric));
    }
}

#[derive(Default)]
struct Measurement {
    name: String,
    value: u64,
    unit: String,
    reason: Option<String>,
}

impl Visit for Measurement {
    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}

    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "value" {
            self.value = value;
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "metric" => value.clone_into(&mut self.name),
            "unit" => value.clone_into(&mut self.unit),
            "reason" => self.reason = Some(value.to_owned()),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    /// The lines that `work` writes.
    fn lines(work: impl FnOnce()) -> Vec<Value> {
        let (sender, receiver) = mpsc::channel();
        let metrics = Metrics::layer("a-function".to_owned(), move |line: &Value| {
            sender.send(line.clone()).unwrap()
        });
        tracing::subscriber::with_default(tracing_subscriber::registry().with(metrics), work);
        receiver.try_iter().collect()
    }

    #[test]
    fn a_metric_is_one_line_that_cloudwatch_reads() {
        let lines = lines(|| crate::metric::key_blocked("existing_key"));
        let [line] = lines.as_slice() else {
            panic!("{lines:?}")
        };
        let directive = &line["_aws"]["CloudWatchMetrics"][0];
        assert_eq!(directive["Namespace"], "WhatsAppOnboarding");
        assert_eq!(
            directive["Dimensions"],
            json!([["FunctionName"], ["FunctionName", "Reason"]])
        );
        assert_eq!(
            directive["Metrics"],
            json!([{"Name": "KeysBlocked", "Unit": "Count"}])
        );
        assert_eq!(
            (&line["KeysBlocked"], &line["Reason"]),
            (&json!(1), &json!("existing_key"))
        );
        assert_eq!(
            (&line["FunctionName"], &line["level"]),
            (&json!("a-function"), &json!("INFO"))
        );
        assert!(
            line["_aws"]["Timestamp"].is_i64()
                && line["timestamp"]
                    .as_str()
                    .is_some_and(|at| at.ends_with('Z'))
        );
    }

    #[test]
    fn a_dimension_without_a_value_is_left_out() {
        let lines = lines(|| crate::metric::oldest_due(std::time::Duration::from_secs(61)));
        assert_eq!(
            lines[0]["_aws"]["CloudWatchMetrics"][0]["Dimensions"],
            json!([["FunctionName"]])
        );
        assert_eq!(
            (&lines[0]["OldestDueAge"], lines[0].get("Reason")),
            (&json!(61), None)
        );
    }

    #[test]
    fn an_event_that_is_no_metric_makes_no_line() {
        assert!(
            lines(|| tracing::info!(metric = "Signatures", value = 9_u64, "no metric")).is_empty()
        );
    }
}
