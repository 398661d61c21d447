//! Runs a function on AWS Lambda: its start, its log lines, its metrics, and what the gateway says of a request.

mod emf;
mod gateway;
mod records;

pub use gateway::serve;
pub use records::{consume, consume_stream};

use std::future::Future;
use std::pin::Pin;
use std::process::ExitCode;

use lambda_runtime::{LambdaEvent, service_fn};
use serde::de::IgnoredAny;
use tracing::{Level, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, filter};

use crate::aws::Aws;
use crate::metric;
use crate::settings::Environment;

/// The crates whose log lines are written with I8 in mind.
const OURS: [&str; 11] = [
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
    "reconcile",
];

/// Why a function does not start or does not go on.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// Starts a function: log lines first, so that a setting that is missing is said in one of them.
pub async fn start<F: Future<Output = Result<(), Error>>>(run: impl FnOnce(Aws) -> F) -> ExitCode {
    log();
    // A future of its own on the heap: nested in `main`'s, its type is deeper than the compiler looks.
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

/// Does `work` at every tick of a schedule until Lambda ends the process; an error is the function's, and counted.
pub async fn tick<T, E, F>(work: impl Fn() -> F) -> Result<(), Error>
where
    F: Future<Output = Result<T, E>>,
    E: Into<Error>,
{
    let work = &work;
    lambda_runtime::run(service_fn(move |_: LambdaEvent<IgnoredAny>| async move {
        work().await.map(|_| ()).map_err(|error| {
            let error: Error = error.into();
            tracing::error!(%error, "the tick failed");
            error
        })
    }))
    .await
}

/// JSON lines with `level` and an RFC 3339 `timestamp`, as Lambda's log filter reads them; metrics in a form of their own.
fn log() {
    // Levels by target, no more: the filter that knows fields, too, brings a regex engine along.
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
    // The one span is the invocation's: no list of spans beside it.
    let lines = tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_span_list(false);
    let lines = lines.with_filter(filter::filter_fn(|line| {
        is_fit_for_the_log(line.target(), *line.level())
    }));
    // The levels outside: only so is a line below them passed over without being asked about.
    let lines = lines.with_filter(levels);
    let metrics = emf::Metrics::layer(function, emf::print);
    tracing_subscriber::registry().with(lines).with(metrics)
}

/// Libraries write whole requests, with the states and tokens in them, below INFO; whatever `RUST_LOG` says, they do
/// not get to.
fn is_fit_for_the_log(target: &str, level: Level) -> bool {
    let library = target.split("::").next().unwrap_or_default();
    target != metric::TARGET && (OURS.contains(&library) || level <= Level::INFO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_below_the_level_is_passed_over_at_once() {
        for (levels, most) in [
            ("info", LevelFilter::INFO),
            ("warn,sign=debug", LevelFilter::DEBUG),
        ] {
            let subscriber = lines_and_metrics(levels.parse().unwrap(), String::new());
            assert_eq!(subscriber.max_level_hint(), Some(most), "{levels}");
        }
    }

    #[test]
    fn no_library_writes_requests_into_the_log() {
        assert!(
            is_fit_for_the_log("runtime::http", Level::TRACE)
                && is_fit_for_the_log("sign", Level::DEBUG)
        );
        assert!(is_fit_for_the_log("lambda_runtime::layers", Level::INFO));
        for chatty in [
            "lambda_runtime::requests",
            "aws_smithy_runtime",
            "hyper::proto",
            "signature",
            "metric",
        ] {
            assert!(!is_fit_for_the_log(chatty, Level::DEBUG), "{chatty}");
        }
    }
}
