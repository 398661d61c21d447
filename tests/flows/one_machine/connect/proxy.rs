//! A door before the simulated hub that answers some requests itself, as the test says, and passes on the others.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tests::Bundle;
use tokio::net::TcpListener;

/// What happens to a request instead of the usual.
#[derive(Clone, Debug)]
pub(super) enum Odd {
    /// Nothing is done, and this is answered.
    Says(u16, Value),
    /// Nothing is done, and 429 with this `Retry-After` is answered, this many times.
    Wait(&'static str, usize),
    /// It is done, and 500 is answered.
    LosesTheAnswer,
}

/// The largest body that is passed on, bytes.
const LARGEST_BODY: usize = 1 << 20;

#[derive(Clone)]
pub(super) struct HubInFront {
    pub(super) url: String,
    hub: String,
    http: reqwest::Client,
    odd: Arc<Mutex<Vec<(Method, String, Odd)>>>,
    asked: Arc<Mutex<Vec<(Method, String)>>>,
    finds_nothing: Arc<AtomicBool>,
}

impl HubInFront {
    pub(super) async fn of(bundle: &Bundle) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("an address");
        let url = format!(
            "http://{}/api/v2",
            listener.local_addr().expect("its address")
        );
        let (odd, asked, finds_nothing) = (Arc::default(), Arc::default(), Arc::default());
        let (hub, http) = (bundle.hub.clone(), bundle.http.clone());
        let front = Self {
            url,
            hub,
            http,
            odd,
            asked,
            finds_nothing,
        };
        let router = Router::new().fallback(answer).with_state(front.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        front
    }

    /// From now on requests with `method` and a path that ends in `end` are answered in this way.
    pub(super) fn now_says(&self, method: Method, end: &str, odd: Odd) {
        self.odd
            .lock()
            .expect("no test panics with it")
            .push((method, end.to_owned(), odd));
    }

    /// From now on no filter finds anything.
    pub(super) fn finds_nothing(&self) {
        self.finds_nothing.store(true, Ordering::SeqCst);
    }

    /// From now on everything is as usual.
    pub(super) fn recovers(&self) {
        self.finds_nothing.store(false, Ordering::SeqCst);
        self.odd.lock().expect("no test panics with it").clear();
    }

    /// How often `method` was asked for with a path that ends in `end`.
    pub(super) fn asked(&self, method: &Method, end: &str) -> usize {
        let asked = self.asked.lock().expect("no test panics with it");
        asked
            .iter()
            .filter(|(was, path)| was == method && path.ends_with(end))
            .count()
    }

    fn odd(&self, method: &Method, path: &str) -> Option<Odd> {
        let mut all = self.odd.lock().expect("no test panics with it");
        let (_, _, odd) = all.iter_mut().find(|(of, end, odd)| {
            let is_spent = matches!(odd, Odd::Wait(_, 0));
            of == method && path.ends_with(end.as_str()) && !is_spent
        })?;
        let now = odd.clone();
        if let Odd::Wait(_, times) = odd {
            *times -= 1;
        }
        Some(now)
    }

    async fn pass_on(
        &self,
        method: Method,
        path_and_query: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Response {
        let mut request = self
            .http
            .request(method, format!("{}{path_and_query}", self.hub))
            .body(body);
        for name in ["authorization", "x-api-key", "content-type"] {
            if let Some(value) = headers.get(name) {
                request = request.header(name, value);
            }
        }
        let answer = request.send().await.expect("an answer");
        (answer.status(), answer.bytes().await.expect("a body")).into_response()
    }
}

async fn answer(State(front): State<HubInFront>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, LARGEST_BODY).await.expect("a body");
    let (method, path) = (parts.method, parts.uri.path().to_owned());
    front
        .asked
        .lock()
        .expect("no test panics with it")
        .push((method.clone(), path.clone()));
    let whole = parts
        .uri
        .path_and_query()
        .map_or(path.as_str(), |it| it.as_str());
    if front.finds_nothing.load(Ordering::SeqCst) && whole.contains("filters=") {
        return axum::Json(json!({"total": 0, "partner_channels": []})).into_response();
    }
    match front.odd(&method, &path) {
        None => front.pass_on(method, whole, parts.headers, body).await,
        Some(Odd::Says(status, body)) => (
            StatusCode::from_u16(status).expect("a status"),
            axum::Json(body),
        )
            .into_response(),
        Some(Odd::Wait(wait, _)) => (
            StatusCode::TOO_MANY_REQUESTS,
            [("retry-after", wait)],
            "slow down",
        )
            .into_response(),
        Some(Odd::LosesTheAnswer) => {
            front.pass_on(method, whole, parts.headers, body).await;
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
