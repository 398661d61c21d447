//! A proxy before the simulated hub that answers some requests itself, as the test says, and passes on the others.

use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::body::{Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tests::Bundle;
use tests::partner_api::{Reply, says, serve, slow_down};

/// The largest body that is passed on, bytes.
const LARGEST_BODY: usize = 1 << 20;

/// The proxy.
#[derive(Clone)]
pub(super) struct Proxy {
    /// Its address.
    pub(super) url: String,
    script: Arc<Mutex<Script>>,
}

struct Script {
    hub: String,
    http: reqwest::Client,
    /// Method, end of the path, how it is answered, and how often.
    replies: Vec<(Method, String, Reply, usize)>,
    asked: Vec<(Method, String)>,
    finds_nothing: bool,
}

impl Proxy {
    pub(super) async fn before(bundle: &Bundle) -> Self {
        let script = Arc::new(Mutex::new(Script {
            hub: bundle.hub.clone(),
            http: bundle.http.clone(),
            replies: Vec::new(),
            asked: Vec::new(),
            finds_nothing: false,
        }));
        let router = Router::new().fallback(answer).with_state(script.clone());
        let url = format!("{}/api/v2", serve(router).await);
        Self { url, script }
    }

    /// From now on requests with `method` and a path that ends in `end` are answered in this way.
    pub(super) fn replies(&self, method: Method, end: &str, reply: Reply) {
        self.replies_times(method, end, reply, usize::MAX);
    }

    /// The same with this status and body.
    pub(super) fn says(&self, method: Method, end: &str, status: u16, body: Value) {
        self.replies(method, end, Reply::Says(status, body));
    }

    /// The next `times` such requests are answered in this way.
    pub(super) fn replies_times(&self, method: Method, end: &str, reply: Reply, times: usize) {
        let reply = (method, end.to_owned(), reply, times);
        self.script().replies.push(reply);
    }

    /// From now on no filter finds anything.
    pub(super) fn finds_nothing(&self) {
        self.script().finds_nothing = true;
    }

    /// From now on everything is as usual.
    pub(super) fn recovers(&self) {
        let mut script = self.script();
        script.finds_nothing = false;
        script.replies.clear();
    }

    /// How often `method` was asked for with a path that ends in `end`.
    pub(super) fn asked(&self, method: &Method, end: &str) -> usize {
        let script = self.script();
        let asked = script.asked.iter();
        let asked = asked.filter(|(was, path)| was == method && path.ends_with(end));
        asked.count()
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().expect("no test panics with it")
    }
}

impl Script {
    /// How this request is answered instead of the usual.
    fn reply(&mut self, parts: &Parts) -> Option<Reply> {
        let (method, path) = (&parts.method, parts.uri.path());
        self.asked.push((method.clone(), path.to_owned()));
        let is_filtered = parts.uri.query().is_some_and(|it| it.contains("filters="));
        if self.finds_nothing && is_filtered {
            let nothing = json!({"total": 0, "partner_channels": []});
            return Some(Reply::Says(200, nothing));
        }
        let mut replies = self.replies.iter_mut();
        let (_, _, reply, times) = replies.find(|(of, end, _, times)| {
            of == method && path.ends_with(end.as_str()) && *times > 0
        })?;
        *times -= 1;
        Some(reply.clone())
    }
}

async fn answer(State(script): State<Arc<Mutex<Script>>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, LARGEST_BODY).await.expect("a body");
    let (reply, usual) = {
        let mut script = script.lock().expect("no test panics with it");
        let reply = script.reply(&parts);
        (
            reply,
            pass_on(script.http.clone(), &script.hub, parts, body),
        )
    };
    match reply {
        None => usual.await,
        Some(Reply::Says(status, body)) => says(status, &body),
        Some(Reply::Wait(wait)) => slow_down(wait),
        Some(Reply::LosesTheAnswer) => {
            usual.await;
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
        Some(Reply::DoesItInSilence | Reply::Silence | Reply::Later) => {
            std::future::pending().await
        }
    }
}

fn pass_on(
    http: reqwest::Client,
    hub: &str,
    parts: Parts,
    body: Bytes,
) -> impl Future<Output = Response> + use<> {
    let path = parts.uri.path_and_query().expect("a path");
    let mut request = http
        .request(parts.method, format!("{hub}{path}"))
        .body(body);
    for name in ["authorization", "x-api-key", "content-type"] {
        if let Some(value) = parts.headers.get(name) {
            request = request.header(name, value);
        }
    }
    async move {
        let answer = request.send().await.expect("an answer");
        (answer.status(), answer.bytes().await.expect("a body")).into_response()
    }
}
