//! Runs a function on AWS Lambda: its start, its log, its metrics, requests from the gateway, and batches of the
//! stream.

mod emf;
mod gateway;
mod records;

pub use gateway::serve;
pub use records::consume;

use std::future::Future;
use std::pin::Pin;
use std::process::ExitCode;

use tracing::{Level, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, filter};

use crate::aws::Aws;
use crate::metric;
use crate::settings::Environment;

/// Our own crates. Their log lines obey I8 (no secrets in the log) at every level.
const OURS: [&str; 10] = [
    "dialog360",
    "onboarding",
    "store",
    "runtime",
    "sign",
    "redirect",
    "webhook",
    "channels",
    "fold",
    "provision",
];

/// Why a function does not start, or ends.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// Starts a function. The log is started first, so that it shows a missing setting.
pub async fn start<F: Future<Output = Result<(), Error>>>(run: impl FnOnce(Aws) -> F) -> ExitCode {
    start_log();
    // Boxed: nested in the future of `main`, its type would exceed the compiler's recursion limit.
    let run: Pin<Box<dyn Future<Output = Result<(), Error>>>> =
        Box::pin(async { run(Aws::from_environment(Environment::from_process())?).await });
    match run.await {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            tracing::error!(%why, "the function does not start");
            ExitCode::FAILURE
        }
    }
}

/// Logs JSON lines with `level` and an RFC 3339 `timestamp`, which Lambda's log filter reads, and metrics as EMF lines.
fn start_log() {
    // `Targets` filters by target only. `EnvFilter` also filters by field, but needs a regex engine.
    let levels = std::env::var("RUST_LOG")
        .ok()
        .and_then(|levels| levels.parse().ok());
    let function = std::env::var("AWS_LAMBDA_FUNCTION_NAME").unwrap_or_default();
    lines_and_metrics(
        levels.unwrap_or_else(|| Targets::new().with_default(LevelFilter::INFO)),
        function,
    )
    .init();
}

fn lines_and_metrics(levels: Targets, function: String) -> impl Subscriber + Send + Sync {
    // There is only the span of the invocation, so no list of spans is needed.
    let lines = tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_span_list(false);
    let lines = lines.with_filter(filter::filter_fn(|line| {
        is_logged(line.target(), *line.level())
    }));
    // The level filter must be the outer one: only then are lines below the level skipped early.
    let lines = lines.with_filter(levels);
    let metrics = emf::Metrics::layer(function, emf::print);
    tracing_subscriber::registry().with(lines).with(metrics)
}

/// Whether a line is logged. Below INFO libraries log whole requests, with states and tokens in them, so their lines
/// below INFO are dropped whatever `RUST_LOG` says.
fn is_logged(target: &str, level: Level) -> bool {
    let library = target.split("::").next().unwrap_or_default();
    target != metric::TARGET && (OURS.contains(&library) || level <= Level::INFO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_subscriber_reports_its_most_verbose_level() {
        for (levels, most) in [
            ("info", LevelFilter::INFO),
            ("warn,sign=debug", LevelFilter::DEBUG),
        ] {
            let subscriber = lines_and_metrics(levels.parse().unwrap(), String::new());
            assert_eq!(subscriber.max_level_hint(), Some(most), "{levels}");
        }
    }

    #[test]
    fn libraries_log_nothing_below_info() {
        assert!(is_logged("runtime::http", Level::TRACE) && is_logged("sign", Level::DEBUG));
        assert!(is_logged("lambda_runtime::layers", Level::INFO));
        for chatty in [
            "lambda_runtime::requests",
            "aws_smithy_runtime",
            "hyper::proto",
            "signature",
            "metric",
        ] {
            assert!(!is_logged(chatty, Level::DEBUG), "{chatty}");
        }
    }
}
