//! Two who use the store at the same time, each request of theirs at a moment that the test chooses.

use std::fmt;
use std::sync::{Mutex, PoisonError, mpsc};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::interceptors::BeforeTransmitInterceptorContextRef;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_dynamodb::error::BoxError;
use runtime::aws::local::dynamodb_config;
use store::table::Table;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::{JoinHandle, block_in_place};

use super::Site;

/// What became of somebody's last request.
enum Report {
    /// The next one waits.
    Waits,
    /// It was the last.
    Ended,
}

/// Holds each request until it may go.
struct Gate {
    may_go: Mutex<mpsc::Receiver<()>>,
    reports: UnboundedSender<Report>,
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gate")
    }
}

impl Intercept for Gate {
    fn name(&self) -> &'static str {
        "Gate"
    }

    fn read_before_transmit(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.reports.send(Report::Waits)?;
        let may_go = self.may_go.lock().unwrap_or_else(PoisonError::into_inner);
        block_in_place(|| may_go.recv())?;
        Ok(())
    }
}

/// Somebody who uses the table, each request at a moment that the test chooses.
pub(super) struct Actor<T> {
    go: mpsc::Sender<()>,
    reports: UnboundedReceiver<Report>,
    waits: bool,
    work: JoinHandle<T>,
}

impl<T: Send + 'static> Actor<T> {
    /// Begins `work`, up to its first request.
    pub(super) async fn begin<F>(site: &Site, work: impl FnOnce(Table) -> F) -> Self
    where
        F: Future<Output = T> + Send + 'static,
    {
        let ((go, may_go), (reports, heard)) = (mpsc::channel(), unbounded_channel());
        let gate = Gate {
            may_go: Mutex::new(may_go),
            reports: reports.clone(),
        };
        let config = dynamodb_config(&site.endpoint).to_builder();
        let config = config
            .retry_config(RetryConfig::disabled())
            .timeout_config(TimeoutConfig::disabled())
            .interceptor(gate);
        let table = Table::new(Client::from_conf(config.build()), &*site.name);
        let work = work(table);
        let mut actor = Self {
            go,
            reports: heard,
            waits: false,
            work: tokio::spawn(async move {
                let outcome = work.await;
                let _ = reports.send(Report::Ended);
                outcome
            }),
        };
        actor.hear().await;
        actor
    }

    async fn hear(&mut self) {
        self.waits = matches!(self.reports.recv().await, Some(Report::Waits));
    }

    /// Lets one request go, and whatever follows, up to the next request.
    pub(super) async fn step(&mut self) {
        if self.waits {
            self.go.send(()).expect("somebody waits");
            self.hear().await;
        }
    }

    pub(super) async fn steps(&mut self, number: usize) {
        for _ in 0..number {
            self.step().await;
        }
    }

    pub(super) async fn end(mut self) -> T {
        while self.waits {
            self.step().await;
        }
        self.work.await.expect("it does not panic")
    }
}

/// All orders of `one` steps of the first and `other` of the second; `true` is one of the first.
pub(super) fn orders(one: usize, other: usize) -> Vec<Vec<bool>> {
    let all = one + other;
    let order = |steps: u32| (0..all).map(|step| steps & (1 << step) != 0).collect();
    let of_the_first = |steps: &u32| usize::try_from(steps.count_ones()) == Ok(one);
    (0..1 << all).filter(of_the_first).map(order).collect()
}
