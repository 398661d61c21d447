//! The log of one machine: JSON lines on standard error.

use std::fmt;
use std::io::{IsTerminal, stderr};

use tracing::Event;
use tracing::field::{Field, Visit};
use tracing::subscriber::Subscriber;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, fmt as lines, registry};

/// On a terminal.
const WARNINGS: &str = "warn,dynoxide=error";

/// Elsewhere. Metrics are for CloudWatch; one of them comes every second.
const EVENTS: &str = "info,metric=off,dynoxide=error";

/// Starts the log: on a terminal from WARN, else from INFO without polls and metrics. If `RUST_LOG` is set, it decides.
pub(crate) fn start() {
    let asked = EnvFilter::try_from_default_env().ok();
    let default = if stderr().is_terminal() {
        WARNINGS
    } else {
        EVENTS
    };
    registry()
        .with(asked.is_none().then_some(WithoutPolls))
        .with(asked.unwrap_or_else(|| EnvFilter::new(default)))
        .with(
            lines::layer()
                .json()
                .flatten_event(true)
                .with_writer(stderr),
        )
        .init();
}

/// Leaves out the answered requests of `GET /{partner_id}/channels`: an open page sends one every second.
struct WithoutPolls;

impl<S: Subscriber> Layer<S> for WithoutPolls {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        if event.metadata().target() != "runtime::http" {
            return true;
        }
        let mut request = Request::default();
        event.record(&mut request);
        !(request.is_to_channels && request.is_answered)
    }
}

/// The fields of a request's log line that tell a poll.
#[derive(Default)]
struct Request {
    is_to_channels: bool,
    is_answered: bool,
}

impl Visit for Request {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "function" {
            self.is_to_channels = value == "channels";
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "status" {
            self.is_answered = value == 200;
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
}

#[cfg(test)]
mod tests {
    use std::io::{Result, Write};
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_answered_poll_and_a_metric_are_not_logged_and_everything_else_is() {
        let written = Written::default();
        let writer = written.clone();
        let log = registry()
            .with(WithoutPolls)
            .with(EnvFilter::new(EVENTS))
            .with(lines::layer().with_writer(move || writer.clone()));
        tracing::subscriber::with_default(log, || {
            let request = |function: &str, status: u16| {
                tracing::info!(target: "runtime::http", function, status, "request");
            };
            request("channels", 200);
            request("channels", 503);
            request("sign", 200);
            tracing::info!(target: "metric", value = 0, "metric");
            tracing::info!(target: "provision::key", "key");
        });
        let written = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<&str> = written.lines().collect();
        let wanted = ["503", "sign", "provision::key"];
        assert_eq!(lines.len(), wanted.len(), "{written}");
        for (line, wanted) in lines.iter().zip(wanted) {
            assert!(line.contains(wanted), "{written}");
        }
    }
}
