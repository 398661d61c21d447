//! What the functions ask of AWS: every call is written down, and any of them can be made to go wrong.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::forward;
use super::process::Processes;
use super::rights::{self, Names};

/// A service of AWS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Service {
    /// DynamoDB.
    DynamoDb,
    /// DynamoDB's streams, which only the harness reads.
    Streams,
    /// Secrets Manager.
    SecretsManager,
    /// EventBridge.
    EventBridge,
}

impl Service {
    /// Service and action in a header `X-Amz-Target`.
    pub(super) fn of_target(target: &str) -> Option<(Self, &str)> {
        let (name, action) = target.split_once('.')?;
        Some((
            match name {
                "DynamoDB_20120810" => Self::DynamoDb,
                "DynamoDBStreams_20120810" => Self::Streams,
                "secretsmanager" => Self::SecretsManager,
                "AWSEvents" => Self::EventBridge,
                _ => return None,
            },
            action,
        ))
    }
}

/// One call, also one that the SDK made again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The process that made it; `local` is the harness itself.
    pub process: String,
    /// The function that runs there.
    pub function: String,
    /// The service.
    pub service: Service,
    /// What was asked, such as `PutItem`.
    pub action: String,
    /// Whether it was made to go wrong.
    pub was_hurt: bool,
}

/// How a call goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Harm {
    /// It is throttled, and not done.
    Throttle,
    /// 500, and it is not done.
    Fail,
    /// No answer, and it is not done.
    Silence,
    /// It is done, and no answer comes.
    LoseAnswer,
    /// It is done once the faults are healed.
    Hold,
    /// The process that made it is killed (SIGKILL) before it is done.
    KillBefore,
    /// The process that made it is killed (SIGKILL) once it is done.
    KillAfter,
}

/// Calls that go wrong.
#[derive(Clone, Debug)]
pub struct Fault {
    function: String,
    service: Option<Service>,
    action: Option<String>,
    about: Option<String>,
    pass: usize,
    times: usize,
    harm: Harm,
    /// How many calls it fitted so far.
    seen: usize,
}

/// A fault that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultId(usize);

impl Fault {
    /// Every call of `function` from now on.
    pub fn of(function: &str, harm: Harm) -> Self {
        let (service, action, about) = (None, None, None);
        Self {
            function: function.to_owned(),
            service,
            action,
            about,
            pass: 0,
            times: usize::MAX,
            harm,
            seen: 0,
        }
    }

    /// Only those of one service.
    #[must_use]
    pub fn at(self, service: Service) -> Self {
        Self {
            service: Some(service),
            ..self
        }
    }

    /// Only those that ask for `action`.
    #[must_use]
    pub fn asking(self, action: &str) -> Self {
        Self {
            action: Some(action.to_owned()),
            ..self
        }
    }

    /// Only those whose body holds `text`.
    #[must_use]
    pub fn about(self, text: &str) -> Self {
        Self {
            about: Some(text.to_owned()),
            ..self
        }
    }

    /// Only `times` of them in a row, from the `n`th on, counted from 1.
    #[must_use]
    pub fn from_the(self, n: usize, times: usize) -> Self {
        Self {
            pass: n.saturating_sub(1),
            times,
            ..self
        }
    }

    /// Only the `n`th of them, counted from 1.
    #[must_use]
    pub fn only_the(self, n: usize) -> Self {
        self.from_the(n, 1)
    }

    /// Only the first `n` of them.
    #[must_use]
    pub fn the_first(self, n: usize) -> Self {
        self.from_the(1, n)
    }

    /// Whether it fits a call, and if so whether that one is to be hurt.
    fn hurts(&mut self, call: &Call, body: &[u8]) -> bool {
        let fits = self.function == call.function
            && self.service.is_none_or(|service| service == call.service)
            && self
                .action
                .as_ref()
                .is_none_or(|action| *action == call.action)
            && self.about.as_ref().is_none_or(|text| holds(body, text));
        if !fits {
            return false;
        }
        self.seen += 1;
        self.seen > self.pass && self.seen - self.pass <= self.times
    }
}

fn holds(body: &[u8], text: &str) -> bool {
    body.windows(text.len())
        .any(|window| window == text.as_bytes())
}

#[derive(Default)]
struct State {
    calls: Vec<Call>,
    events: Vec<Value>,
    faults: Vec<Fault>,
    names: Option<Names>,
    denied: Vec<String>,
    /// By fault: how many calls it hurt.
    hits: Vec<usize>,
    /// The faults before this one are healed.
    healed: usize,
}

/// The place between the functions and AWS.
#[derive(Clone)]
pub struct Calls {
    state: Arc<Mutex<State>>,
    healed: watch::Sender<usize>,
    /// Where the functions find AWS.
    pub url: String,
}

impl Calls {
    /// Starts it in front of `place`.
    pub(super) async fn start(place: forward::Place, processes: Processes) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("an address");
        let calls = Self {
            state: Arc::default(),
            healed: watch::Sender::new(0),
            url: format!("http://{}", listener.local_addr().expect("its address")),
        };
        forward::serve(listener, place, processes, calls.clone());
        calls
    }

    /// From now on a function may do what the template lets it do in a deployment with these names, and nothing else.
    pub(super) fn permit(&self, names: Names) {
        self.state().names = Some(names);
    }

    /// Whether a function may make a call.
    pub(super) fn allows(&self, call: &Call, body: &[u8]) -> bool {
        let mut state = self.state();
        let Some(names) = state.names.as_ref().filter(|_| call.function != HARNESS) else {
            return true;
        };
        let Err(asked) = rights::check(
            &names.rights(&call.function),
            call.service,
            &call.action,
            body,
        ) else {
            return true;
        };
        state
            .denied
            .push(format!("{} may not {asked}", call.function));
        false
    }

    /// What functions asked for and may not do.
    pub fn denied(&self) -> Vec<String> {
        self.state().denied.clone()
    }

    /// From now on calls go wrong as `fault` says, besides what was said before.
    pub fn hurt(&self, fault: Fault) -> FaultId {
        let mut state = self.state();
        state.faults.push(fault);
        state.hits.push(0);
        FaultId(state.faults.len() - 1)
    }

    /// From now on nothing goes wrong, and what was held goes on.
    pub fn heal(&self) {
        let mut state = self.state();
        state.healed = state.faults.len();
        self.healed.send_replace(state.healed);
    }

    /// How many calls a fault has hurt.
    pub fn hits(&self, FaultId(index): FaultId) -> usize {
        self.state().hits[index]
    }

    /// How many calls a fault fitted, hurt or not.
    pub fn fitting(&self, FaultId(index): FaultId) -> usize {
        self.state().faults[index].seen
    }

    /// Forgets all calls so far.
    pub fn forget(&self) {
        self.state().calls.clear();
    }

    /// All calls that functions made since they were last forgotten.
    pub fn made(&self) -> Vec<Call> {
        self.state()
            .calls
            .iter()
            .filter(|call| call.function != HARNESS)
            .cloned()
            .collect()
    }

    /// The calls that `function` made, as texts: `DynamoDb PutItem`.
    pub fn of(&self, function: &str) -> Vec<String> {
        let made = self
            .made()
            .into_iter()
            .filter(|call| call.function == function);
        made.map(|call| format!("{:?} {}", call.service, call.action))
            .collect()
    }

    /// The bodies of all calls that put events.
    pub fn events(&self) -> Vec<Value> {
        self.state().events.clone()
    }

    /// Writes a call down; how it is to go wrong, if at all.
    pub(super) fn record(&self, mut call: Call, body: &[u8]) -> Option<Harm> {
        let mut state = self.state();
        let state = &mut *state;
        let mut harm = None;
        let faults = state
            .faults
            .iter_mut()
            .zip(&mut state.hits)
            .skip(state.healed);
        for (fault, hits) in faults {
            if fault.hurts(&call, body) && harm.is_none() {
                harm = Some(fault.harm);
                *hits += 1;
            }
        }
        call.was_hurt = harm.is_some();
        state.calls.push(call);
        harm
    }

    /// Waits until the faults of this moment are healed.
    pub(super) async fn until_healed(&self) {
        let now = self.state().faults.len();
        let mut healed = self.healed.subscribe();
        let _closed = healed.wait_for(|healed| *healed >= now).await;
    }

    pub(super) fn record_events(&self, body: &[u8]) {
        self.state()
            .events
            .extend(serde_json::from_slice::<Value>(body));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The access key id of the harness's own calls.
const HARNESS: &str = "local";
