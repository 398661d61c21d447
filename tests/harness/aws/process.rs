//! One process of a function, and the Runtime API at an address of its own that it asks for events.

use std::collections::HashMap;
use std::fmt;
use std::fs::OpenOptions;
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::sync::{Notify, mpsc, oneshot, watch};

use super::runtime_api::{Failure, Spec, request_id};

/// The processes that run, so that one can be killed by its name.
#[derive(Clone, Default)]
pub struct Processes(Arc<Mutex<Running>>);

/// A process by the name it signs its calls with, and the name of its function.
type Running = HashMap<String, (String, Arc<Process>)>;

impl Processes {
    /// The process `name`, if it runs.
    pub fn named(&self, name: &str) -> Option<Arc<Process>> {
        self.running().get(name).map(|(_, process)| process.clone())
    }

    /// The function that the process `name` runs or ran.
    pub fn function_of(name: &str) -> &str {
        name.trim_end_matches(|c: char| c.is_ascii_digit())
    }

    /// The running processes of `function`.
    pub fn of(&self, function: &str) -> Vec<Arc<Process>> {
        let running = self.running();
        running
            .values()
            .filter(|(of, _)| of == function)
            .map(|(_, process)| process.clone())
            .collect()
    }

    pub(super) fn add(&self, function: &str, process: Arc<Process>) {
        self.running()
            .insert(process.name.clone(), (function.to_owned(), process));
    }

    fn running(&self) -> MutexGuard<'_, HashMap<String, (String, Arc<Process>)>> {
        let mut running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        running.retain(|_, (_, process)| !process.has_ended());
        running
    }
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
}

/// An invocation that the process has and has not answered.
struct Open {
    id: String,
    answer: oneshot::Sender<Result<Bytes, Failure>>,
}

/// What the process and its Runtime API share.
struct Shared {
    arn: String,
    invocations: tokio::sync::Mutex<mpsc::Receiver<Invocation>>,
    open: Mutex<Option<Open>>,
    /// The process took the invocation that is open.
    taken: watch::Sender<bool>,
    /// It asked for an event.
    asked: watch::Sender<bool>,
    /// How many invocations it answered.
    answered: watch::Sender<usize>,
    /// What it said when it gave up at its start.
    gave_up: Mutex<Option<String>>,
}

impl Shared {
    fn open(&self) -> MutexGuard<'_, Option<Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Process {
    /// Starts a process of the function `spec`.
    pub(super) async fn start(spec: &Spec, name: &str) -> Result<Arc<Self>, Failure> {
        let cannot = |what: &str, why: std::io::Error| Failure::Init(format!("{what}: {why}"));
        let (hand_over, invocations) = mpsc::channel(1);
        let shared = Arc::new(Shared {
            arn: spec.arn(),
            invocations: invocations.into(),
            open: Mutex::default(),
            taken: watch::Sender::new(false),
            asked: watch::Sender::new(false),
            answered: watch::Sender::new(0),
            gave_up: Mutex::default(),
        });
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .map_err(|why| cannot("no address", why))?;
        let address = listener
            .local_addr()
            .map_err(|why| cannot("no address", why))?
            .to_string();
        let server = tokio::spawn(axum::serve(listener, routes(shared.clone())).into_future());

        let open = || OpenOptions::new().create(true).append(true).open(&spec.log);
        let (output, errors) = (open(), open());
        let child = Command::new(&spec.program)
            .env_clear()
            .envs(spec.environment_of(name, &address))
            .stdin(Stdio::null())
            .stdout(output.map_err(|why| cannot("the log", why))?)
            .stderr(errors.map_err(|why| cannot("the log", why))?)
            .kill_on_drop(true)
            .spawn()
            .map_err(|why| cannot(&spec.program.display().to_string(), why))?;
        let pid = child.id().unwrap_or_default();
        let (kill, (end, ended)) = (Arc::new(Notify::new()), watch::channel(None));
        let watched = (shared.clone(), kill.clone());
        tokio::spawn(async move {
            let why = see_end(child, &watched.1).await;
            end.send_replace(Some(why));
            watched.0.open().take();
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
        let said = self
            .shared
            .gave_up
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        outcome.map_err(|failure| said.map_or(failure, Failure::Init))
    }

    /// Hands an event over and waits for the answer; `None` if it ended before it took the event.
    pub(super) async fn run(
        &self,
        event: Bytes,
        time_out: Duration,
    ) -> Option<Result<Bytes, Failure>> {
        let (answer, answered) = oneshot::channel();
        let id = request_id();
        let mut taken = self.shared.taken.subscribe();
        self.shared.taken.send_replace(false);
        *self.shared.open() = Some(Open {
            id: id.clone(),
            answer,
        });
        let deadline = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            + time_out;
        let invocation = Invocation {
            id,
            event,
            deadline: deadline.as_millis(),
        };
        let is_handed_over = self.hand_over.send(invocation).await.is_ok();
        let ended_before = tokio::select! {
            biased;
            _ = taken.wait_for(|taken| *taken) => false,
            _ = self.end() => true,
        };
        if !is_handed_over || ended_before {
            return None;
        }
        Some(tokio::select! {
            answer = answered => match answer {
                Ok(answer) => answer,
                Err(_) => Err(Failure::Died(self.end().await)),
            },
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
        end.ok()
            .and_then(|end| end.clone())
            .unwrap_or_else(|| "nobody saw how".to_owned())
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
    child
        .wait()
        .await
        .map_or_else(|error| error.to_string(), |status| status.to_string())
}

fn routes(shared: Arc<Shared>) -> Router {
    let base = "/2018-06-01/runtime";
    Router::new()
        .route(&format!("{base}/invocation/next"), get(next))
        .route(
            &format!("{base}/invocation/{{id}}/response"),
            post(response),
        )
        .route(&format!("{base}/invocation/{{id}}/error"), post(error))
        .route(&format!("{base}/init/error"), post(init_error))
        .layer(axum::extract::DefaultBodyLimit::disable())
        .with_state(shared)
}

async fn next(State(shared): State<Arc<Shared>>) -> Response {
    shared.asked.send_replace(true);
    let Some(Invocation {
        id,
        event,
        deadline,
    }) = shared.invocations.lock().await.recv().await
    else {
        return StatusCode::GONE.into_response();
    };
    shared.taken.send_replace(true);
    let headers = [
        ("content-type", "application/json".to_owned()),
        ("lambda-runtime-aws-request-id", id),
        ("lambda-runtime-deadline-ms", deadline.to_string()),
        ("lambda-runtime-invoked-function-arn", shared.arn.clone()),
        (
            "lambda-runtime-trace-id",
            "Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=0".to_owned(),
        ),
    ];
    (headers, event).into_response()
}

async fn response(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    body: Bytes,
) -> StatusCode {
    answer(&shared, &id, Ok(body))
}

async fn error(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    body: Bytes,
) -> StatusCode {
    answer(
        &shared,
        &id,
        Err(Failure::Error(String::from_utf8_lossy(&body).into_owned())),
    )
}

async fn init_error(State(shared): State<Arc<Shared>>, _: HeaderMap, body: Bytes) -> StatusCode {
    *shared
        .gave_up
        .lock()
        .unwrap_or_else(PoisonError::into_inner) =
        Some(String::from_utf8_lossy(&body).into_owned());
    StatusCode::ACCEPTED
}

/// Takes the answer to the invocation that is open; another one is over.
fn answer(shared: &Shared, id: &str, outcome: Result<Bytes, Failure>) -> StatusCode {
    match shared.open().take_if(|open| open.id == id) {
        Some(open) => {
            shared.answered.send_modify(|answered| *answered += 1);
            let _nobody_waits = open.answer.send(outcome);
            StatusCode::ACCEPTED
        }
        None => StatusCode::BAD_REQUEST,
    }
}
