//! The [Lambda Runtime API][1], and functions run by it as Lambda runs them: a program is a process of its own that asks
//! for one event after the other; more events at once mean more processes.
//!
//! What a process writes to standard output and standard error is appended to one file. A process that dies or takes
//! too long makes its invocation fail, and another one is started for the next. Nothing here knows any AWS service.
//!
//! [1]: https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use uuid::Uuid;

use super::metrics::Metrics;
pub use super::process::{Process, Processes};
use crate::owned;

/// The region that functions are told they run in.
pub const REGION: &str = "eu-central-1";

/// How long a process may take until it asks for its first event: Lambda's ten seconds, threefold, since machines that
/// run tests are shared.
const INIT: Duration = Duration::from_secs(30);

/// What a function is made of.
#[derive(Clone, Debug)]
pub struct Spec {
    /// Its name: letters only.
    pub name: String,
    /// The program.
    pub program: PathBuf,
    /// Its environment, but for what Lambda sets itself. Credentials may be left out: each process then has an access
    /// key id of its own, which is the process's name.
    pub environment: BTreeMap<String, String>,
    /// How long an invocation may take.
    pub time_out: Duration,
    /// How many processes there may be at once.
    pub most: usize,
    /// The file that all output is appended to.
    pub log: PathBuf,
    /// Where its metrics go.
    pub metrics: Metrics,
}

/// An invocation that brought no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The function said that it failed.
    #[error("the function failed: {0}")]
    Error(String),
    /// The process ended before it answered.
    #[error("the process ended: {0}")]
    Died(String),
    /// It took too long and was killed.
    #[error("it took too long")]
    TimedOut,
    /// No process got so far as to ask for an event.
    #[error("the function does not start: {0}")]
    Init(String),
}

/// An invocation that was answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// What the function answered.
    pub payload: Bytes,
    /// The process that did.
    pub process: Arc<Process>,
    /// From when the event was handed over until it was answered.
    pub duration: Duration,
}

impl Answer {
    /// The answer as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.payload).expect("a function answers JSON")
    }
}

/// A function, and the processes that run it.
pub struct Function {
    spec: Spec,
    processes: Processes,
    places: Semaphore,
    idle: Mutex<Vec<Arc<Process>>>,
    started: AtomicUsize,
}

impl Function {
    /// The function `spec`, whose processes are listed in `processes` as long as they run. None is started yet.
    pub fn new(spec: Spec, processes: Processes) -> Self {
        let places = Semaphore::new(spec.most);
        Self {
            spec,
            processes,
            places,
            idle: Mutex::default(),
            started: AtomicUsize::new(0),
        }
    }

    /// Invokes it with `event` and waits for the answer; a process is started unless one is idle.
    pub async fn invoke(&self, event: &Value) -> Result<Answer, Failure> {
        let outcome = self.run(event).await;
        if outcome.is_err() {
            let metrics = &self.spec.metrics;
            metrics.record("AWS/Lambda", "Errors", &self.spec.name, 1.0);
        }
        outcome
    }

    async fn run(&self, event: &Value) -> Result<Answer, Failure> {
        let event = Bytes::from(serde_json::to_vec(event).expect("JSON can be written"));
        let _place = self.places.acquire().await.expect("it is never closed");
        loop {
            let process = match self.idle_process() {
                Some(process) => process,
                None => self.start_process().await?,
            };
            let begun = Instant::now();
            // One that died while it was idle is replaced, as nobody's invocation was lost with it.
            let Some(outcome) = process.run(event.clone(), self.spec.time_out).await else {
                continue;
            };
            if !process.has_ended() {
                self.idle().push(process.clone());
            }
            return outcome.map(|payload| Answer {
                payload,
                process,
                duration: begun.elapsed(),
            });
        }
    }

    /// Starts a process and waits until it asks for an event, so that the next invocation is a warm one.
    pub async fn warm_up(&self) -> Result<(), Failure> {
        let process = self.start_process().await?;
        self.idle().push(process);
        Ok(())
    }

    /// Kills every process of it (SIGKILL); invocations under way fail.
    pub async fn kill(&self) {
        for process in self.processes.of(&self.spec.name) {
            process.kill().await;
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// How many processes of it were started so far.
    pub fn starts(&self) -> usize {
        self.started.load(Ordering::SeqCst)
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Arc<Process>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn idle_process(&self) -> Option<Arc<Process>> {
        let mut idle = self.idle();
        idle.retain(|process| !process.has_ended());
        idle.pop()
    }

    async fn start_process(&self) -> Result<Arc<Process>, Failure> {
        let number = self.started.fetch_add(1, Ordering::SeqCst);
        let name = format!("{}{number}", self.spec.name);
        let process = Process::start(&self.spec, &name).await?;
        self.processes.add(process.clone());
        process.asks(INIT).await?;
        Ok(process)
    }
}

impl Spec {
    /// The environment of a process called `name` that is to ask `runtime_api` for events.
    pub(super) fn environment_of(&self, name: &str, runtime_api: &str) -> BTreeMap<String, String> {
        let of_lambda = [
            ("AWS_LAMBDA_RUNTIME_API", runtime_api),
            ("AWS_LAMBDA_FUNCTION_NAME", &self.name),
            ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256"),
            ("AWS_LAMBDA_LOG_GROUP_NAME", "/aws/lambda/function"),
            ("AWS_LAMBDA_LOG_STREAM_NAME", name),
            ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand"),
            ("AWS_REGION", REGION),
            ("AWS_DEFAULT_REGION", REGION),
            ("AWS_ACCESS_KEY_ID", name),
            ("AWS_SECRET_ACCESS_KEY", "none"),
            ("AWS_SESSION_TOKEN", "none"),
            ("LAMBDA_TASK_ROOT", "/var/task"),
            ("_HANDLER", "bootstrap"),
            ("TZ", ":UTC"),
        ];
        let mut environment = owned(&of_lambda);
        environment.extend(self.environment.clone());
        environment
    }
}

/// A name for an invocation that no other one has.
pub(super) fn request_id() -> String {
    Uuid::new_v4().to_string()
}
