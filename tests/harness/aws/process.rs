//! One process of a function, and the Runtime API at an address of its own that it asks for events.

use std::collections::HashMap;
use std::fmt;
use std::fs::OpenOptions;
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::sync::{Notify, mpsc, oneshot, watch};

use super::runtime_api::{Failure, REGION, Spec, request_id};
use crate::moved_time;

/// The processes that run, so that one can be killed by its name.
#[derive(Clone, Default)]
pub struct Processes(Arc<Mutex<Running>>);

/// A process by the name it signs its calls with.
type Running = HashMap<String, Arc<Process>>;

impl Processes {
    /// The process `name`, if it runs.
    pub fn named(&self, name: &str) -> Option<Arc<Process>> {
        self.running().get(name).cloned()
    }

    /// The function that the process `name` runs or ran.
    pub fn function_of(name: &str) -> &str {
        name.trim_end_matches(|c: char| c.is_ascii_digit())
    }

    /// The running processes of `function`.
    pub fn of(&self, function: &str) -> Vec<Arc<Process>> {
        let mut running: Vec<_> = self.running().values().cloned().collect();
        running.retain(|process| Self::function_of(&process.name) == function);
        running
    }

    pub(super) fn add(&self, process: Arc<Process>) {
        self.running().insert(process.name.clone(), process);
    }

    fn running(&self) -> MutexGuard<'_, Running> {
        let mut running = lock(&self.0);
        running.retain(|_, process| !process.has_ended());
        running
    }
}

/// What a mutex holds, also after a test has panicked with it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A running process of a function.
pub struct Process {
    /// Its name, which is its access key id, too.
    pub name: String,
    /// Its process id.
    pub pid: u32,
    shared: Arc<Shared>,
    hand_over: mpsc::Sender<Invocation>,
    kill: Arc<Notify>,
    ended: watch::Receiver<Option<String>>,
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.pid)
    }
}

/// An event on its way to the process.
struct Invocation {
    id: String,
    event: Bytes,
    deadline: u128,
    taken: oneshot::Sender<()>,
    answer: AnswerTo,
}

/// Who waits for the answer to an invocation.
type AnswerTo = oneshot::Sender<Result<Bytes, Failure>>;

/// What the process and its Runtime API share.
struct Shared {
    arn: String,
    invocations: tokio::sync::Mutex<mpsc::Receiver<Invocation>>,
    /// The invocation that the process has and has not answered.
    open: Mutex<Option<(String, AnswerTo)>>,
    /// It asked for an event.
    asked: watch::Sender<bool>,
    /// How many invocations it answered.
    answered: watch::Sender<usize>,
    /// What it said when it gave up at its start.
    gave_up: Mutex<Option<String>>,
}

impl Process {
    /// Starts a process of the function `spec`.
    pub(super) async fn start(spec: &Spec, name: &str) -> Result<Arc<Self>, Failure> {
        let cannot = |why: std::io::Error| Failure::Init(why.to_string());
        let (hand_over, invocations) = mpsc::channel(1);
        let shared = Arc::new(Shared {
            arn: format!(
                "arn:aws:lambda:{REGION}:123456789012:function:{}",
                spec.name
            ),
            invocations: invocations.into(),
            open: Mutex::default(),
            asked: watch::Sender::new(false),
            answered: watch::Sender::new(0),
            gave_up: Mutex::default(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(cannot)?;
        let address = listener.local_addr().map_err(cannot)?.to_string();
        let server = tokio::spawn(axum::serve(listener, routes(shared.clone())).into_future());

        let log = || OpenOptions::new().create(true).append(true).open(&spec.log);
        let child = Command::new(&spec.program)
            .env_clear()
            .envs(spec.environment_of(name, &address))
            .envs(moved_time::variables())
            .stdin(Stdio::null())
            .stdout(log().map_err(cannot)?)
            .stderr(log().map_err(cannot)?)
            .kill_on_drop(true)
            .spawn();
        let child =
            child.map_err(|why| Failure::Init(format!("{}: {why}", spec.program.display())))?;
        let pid = child.id().unwrap_or_default();
        let (kill, (end, ended)) = (Arc::new(Notify::new()), watch::channel(None));
        let killed = kill.clone();
        tokio::spawn(async move {
            let why = see_end(child, &killed).await;
            end.send_replace(Some(why));
            server.abort();
        });
        Ok(Arc::new(Self {
            name: name.to_owned(),
            pid,
            shared,
            hand_over,
            kill,
            ended,
        }))
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        self.ended.borrow().is_some()
    }

    /// Kills it (SIGKILL) and waits until it has ended.
    pub async fn kill(&self) {
        self.kill.notify_one();
        self.end().await;
    }

    /// Waits until it asks for an event.
    pub(super) async fn asks(&self, patience: Duration) -> Result<(), Failure> {
        let mut asked = self.shared.asked.subscribe();
        let outcome = tokio::select! {
            _ = asked.wait_for(|asked| *asked) => Ok(()),
            why = self.end() => Err(Failure::Init(why)),
            () = tokio::time::sleep(patience) => Err(Failure::Init("it never asked for an event".to_owned())),
        };
        if outcome.is_err() {
            self.kill().await;
        }
        let said = lock(&self.shared.gave_up).clone();
        outcome.map_err(|failure| said.map_or(failure, Failure::Init))
    }

    /// Hands an event over and waits for the answer; `None` if it ended before it took the event.
    pub(super) async fn run(
        &self,
        event: Bytes,
        time_out: Duration,
    ) -> Option<Result<Bytes, Failure>> {
        let (taken, is_taken) = oneshot::channel();
        let (answer, answered) = oneshot::channel();
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let invocation = Invocation {
            id: request_id(),
            event,
            deadline: (now.unwrap_or_default() + time_out).as_millis(),
            taken,
            answer,
        };
        self.hand_over.send(invocation).await.ok()?;
        tokio::select! {
            biased;
            Ok(()) = is_taken => {}
            _ = self.end() => return None,
        }
        Some(tokio::select! {
            biased;
            Ok(answer) = answered => answer,
            why = self.end() => Err(Failure::Died(why)),
            () = tokio::time::sleep(time_out) => {
                self.kill().await;
                Err(Failure::TimedOut)
            }
        })
    }

    /// Waits until the invocation of this moment is over: answered, or ended with the process.
    pub(super) async fn answer_or_end(&self) {
        let mut answered = self.shared.answered.subscribe();
        tokio::select! {
            _ = answered.changed() => {}
            _ = self.end() => {}
        }
    }

    /// Waits until it has ended; how it did.
    async fn end(&self) -> String {
        let mut ended = self.ended.clone();
        let end = ended.wait_for(Option::is_some).await;
        let how = end.ok().and_then(|end| end.clone());
        how.unwrap_or_else(|| "nobody saw how".to_owned())
    }
}

/// Waits until the process ends by itself or is to be killed, and is gone.
async fn see_end(mut child: Child, kill: &Notify) -> String {
    tokio::select! {
        _ = child.wait() => {}
        () = kill.notified() => {
            let _gone = child.kill().await;
        }
    }
    let status = child.wait().await;
    status.map_or_else(|error| error.to_string(), |status| status.to_string())
}

fn routes(shared: Arc<Shared>) -> Router {
    let router = Router::new()
        .route("/invocation/next", get(next))
        .route("/invocation/{id}/response", post(response))
        .route("/invocation/{id}/error", post(error))
        .route("/init/error", post(init_error));
    Router::new()
        .nest("/2018-06-01/runtime", router)
        .layer(DefaultBodyLimit::disable())
        .with_state(shared)
}

/// What the process that asks shares with us.
type Ours = State<Arc<Shared>>;

async fn next(State(shared): Ours) -> Response {
    shared.asked.send_replace(true);
    let Some(invocation) = shared.invocations.lock().await.recv().await else {
        return StatusCode::GONE.into_response();
    };
    let Invocation { id, answer, .. } = invocation;
    *lock(&shared.open) = Some((id.clone(), answer));
    let _nobody_waits = invocation.taken.send(());
    let deadline = invocation.deadline.to_string();
    let trace = "Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=0";
    let headers = [
        ("content-type", "application/json"),
        ("lambda-runtime-aws-request-id", &id),
        ("lambda-runtime-deadline-ms", &deadline),
        ("lambda-runtime-invoked-function-arn", &shared.arn),
        ("lambda-runtime-trace-id", trace),
    ];
    (headers, invocation.event).into_response()
}

async fn response(State(shared): Ours, Path(id): Path<String>, body: Bytes) -> StatusCode {
    answer(&shared, &id, Ok(body))
}

async fn error(State(shared): Ours, Path(id): Path<String>, body: String) -> StatusCode {
    answer(&shared, &id, Err(Failure::Error(body)))
}

async fn init_error(State(shared): Ours, body: String) -> StatusCode {
    *lock(&shared.gave_up) = Some(body);
    StatusCode::ACCEPTED
}

/// Takes the answer to the invocation that is open; another one is over.
fn answer(shared: &Shared, id: &str, outcome: Result<Bytes, Failure>) -> StatusCode {
    let Some((_, answer)) = lock(&shared.open).take_if(|(open, _)| open == id) else {
        return StatusCode::BAD_REQUEST;
    };
    shared.answered.send_modify(|answered| *answered += 1);
    let _nobody_waits = answer.send(outcome);
    StatusCode::ACCEPTED
}
