//! Figures in CloudWatch's [Embedded Metric Format][1]: a line of the log that CloudWatch reads as metrics.
//!
//! [1]: https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html

use std::io::Write;

use serde_json::{Map, Value, json};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use crate::clock;
use crate::metric::TARGET;

/// The namespace of all figures.
const NAMESPACE: &str = "WhatsAppOnboarding";

/// Writes figures to standard output.
pub(super) struct Figures {
    function: String,
}

impl Figures {
    pub(super) fn new() -> Self {
        Self { function: std::env::var("AWS_LAMBDA_FUNCTION_NAME").unwrap_or_default() }
    }

    fn line(&self, figure: &Figure) -> Value {
        let mut dimensions = vec![json!(["FunctionName"])];
        if figure.reason.is_some() {
            dimensions.push(json!(["FunctionName", "Reason"]));
        }
        let now = clock::now();
        let metric = json!({"Name": figure.name, "Unit": figure.unit});
        let mut line = json!({
            // Without a level the line would be dropped by a filter above INFO.
            "level": "INFO",
            "timestamp": now.to_string(),
            "_aws": {
                "Timestamp": now.as_millisecond(),
                "CloudWatchMetrics": [{"Namespace": NAMESPACE, "Dimensions": dimensions, "Metrics": [metric]}],
            },
            "FunctionName": self.function,
        });
        let fields = line.as_object_mut().map(std::mem::take).unwrap_or_default();
        let named = [
            (figure.name.clone(), Some(json!(figure.value))),
            ("Reason".to_owned(), figure.reason.clone().map(Value::from)),
        ];
        let fields: Map<String, Value> =
            fields.into_iter().chain(named.into_iter().filter_map(|(name, value)| Some((name, value?)))).collect();
        Value::Object(fields)
    }
}

impl<S: Subscriber> Layer<S> for Figures {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() != TARGET {
            return;
        }
        let mut figure = Figure::default();
        event.record(&mut figure);
        // A log that is closed is nothing a function could do about.
        let _written = writeln!(std::io::stdout().lock(), "{}", self.line(&figure));
    }
}

#[derive(Default)]
struct Figure {
    name: String,
    value: u64,
    unit: String,
    reason: Option<String>,
}

impl Visit for Figure {
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
