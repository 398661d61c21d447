//! What the functions ask of AWS: every call is written down, and any of them can be made to go wrong.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::clock::Clock;
use super::forward;
use super::lag::Lag;
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
    /// KMS.
    Kms,
    /// CloudFormation, which only the operator reads.
    CloudFormation,
}

impl Service {
    /// Service and action in a header `X-Amz-Target`.
    pub(super) fn of_target(target: &str) -> Option<(Self, &str)> {
        let (name, action) = target.split_once('.')?;
        let service = match name {
            "DynamoDB_20120810" => Self::DynamoDb,
            "DynamoDBStreams_20120810" => Self::Streams,
            "secretsmanager" => Self::SecretsManager,
            "AWSEvents" => Self::EventBridge,
            "TrentService" => Self::Kms,
            _ => return None,
        };
        Some((service, action))
    }
}

/// One call, also one that the SDK made again.
pub(super) struct Call {
    /// The process that made it; `local` is the harness itself.
    pub(super) process: String,
    /// The function that runs there.
    pub(super) function: String,
    pub(super) service: Service,
    /// What was asked, such as `PutItem`.
    pub(super) action: String,
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
    /// How many of them it hurt.
    hits: usize,
}

/// A fault that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultId(usize);

impl Fault {
    /// Every call of `function` from now on.
    pub fn of(function: &str, harm: Harm) -> Self {
        Self {
            function: function.to_owned(),
            service: None,
            action: None,
            about: None,
            pass: 0,
            times: usize::MAX,
            harm,
            seen: 0,
            hits: 0,
        }
    }

    /// Only those of one service.
    #[must_use]
    pub fn at(mut self, service: Service) -> Self {
        self.service = Some(service);
        self
    }

    /// Only those that ask for `action`.
    #[must_use]
    pub fn asking(mut self, action: &str) -> Self {
        self.action = Some(action.to_owned());
        self
    }

    /// Only those whose body holds `text`.
    #[must_use]
    pub fn about(mut self, text: &str) -> Self {
        self.about = Some(text.to_owned());
        self
    }

    /// Only `times` of them in a row, from the `n`th on, counted from 1.
    #[must_use]
    pub fn from_the(mut self, n: usize, times: usize) -> Self {
        (self.pass, self.times) = (n.saturating_sub(1), times);
        self
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
        let action = self.action.as_ref();
        let fits = self.function == call.function
            && self.service.is_none_or(|service| service == call.service)
            && action.is_none_or(|action| *action == call.action)
            && self.about.as_ref().is_none_or(|text| holds(body, text));
        if !fits {
            return false;
        }
        self.seen += 1;
        self.seen > self.pass && self.seen - self.pass <= self.times
    }
}

fn holds(body: &[u8], text: &str) -> bool {
    let mut windows = body.windows(text.len());
    windows.any(|window| window == text.as_bytes())
}

#[derive(Default)]
struct State {
    calls: Vec<Call>,
    events: Vec<Value>,
    faults: Vec<Fault>,
    names: Option<Names>,
    denied: Vec<String>,
    /// The faults before this one are healed.
    healed: usize,
}

/// The place between the functions and AWS.
#[derive(Clone)]
pub struct Calls {
    state: Arc<Mutex<State>>,
    healed: watch::Sender<usize>,
    pub(super) clock: Clock,
    pub(super) lag: Lag,
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
            clock: Clock::default(),
            lag: Lag::default(),
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
        let rights = names.rights(&call.function);
        let checked = rights::check(&rights, call.service, &call.action, body);
        if let Err(asked) = &checked {
            let denied = format!("{} may not {asked}", call.function);
            state.denied.push(denied);
        }
        checked.is_ok()
    }

    /// What functions asked for and may not do.
    pub fn denied(&self) -> Vec<String> {
        self.state().denied.clone()
    }

    /// From now on calls go wrong as `fault` says, besides what was said before.
    pub fn hurt(&self, fault: Fault) -> FaultId {
        let mut state = self.state();
        state.faults.push(fault);
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
        self.state().faults[index].hits
    }

    /// How many calls a fault fitted, hurt or not.
    pub fn fitting(&self, FaultId(index): FaultId) -> usize {
        self.state().faults[index].seen
    }

    /// Forgets all calls so far.
    pub fn forget(&self) {
        self.state().calls.clear();
    }

    /// The calls that `function` made since they were last forgotten, as texts: `DynamoDb PutItem`.
    pub fn of(&self, function: &str) -> Vec<String> {
        let state = self.state();
        let made = state.calls.iter().filter(|call| call.function == function);
        let words = made.map(|call| format!("{:?} {}", call.service, call.action));
        words.collect()
    }

    /// The bodies of all calls that put events.
    pub fn events(&self) -> Vec<Value> {
        self.state().events.clone()
    }

    /// Writes a call down; how it is to go wrong, if at all.
    pub(super) fn record(&self, call: Call, body: &[u8]) -> Option<Harm> {
        let mut state = self.state();
        let healed = state.healed;
        let mut harm = None;
        for fault in &mut state.faults[healed..] {
            if fault.hurts(&call, body) && harm.is_none() {
                harm = Some(fault.harm);
                fault.hits += 1;
            }
        }
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
        let events = serde_json::from_slice::<Value>(body);
        self.state().events.extend(events);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The access key id of the harness's own calls.
pub const HARNESS: &str = "local";
