//! A fake Partner API that answers what a test says, also what 360dialog never should.
//!
//! It takes no notice of filters: the bundle must filter again. What it was asked, it remembers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use reqwest::Client;
use runtime::clock;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::{Ask, Bundle, GLANCE, PARTNER, PAYING_PARTNER, until_so};

/// The client of its channels.
pub const CLIENT: &str = "aCL";
/// The channel of most tests.
pub const NUMBER: &str = "oneCH";

/// The largest body that is passed on, bytes.
const LARGEST: usize = 1 << 20;

/// What is asked of the Partner API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Asked {
    /// The list of channels.
    Channels,
    /// The list of a channel's keys.
    Keys,
    /// A new key.
    NewKey,
    /// The webhook URL.
    Webhook,
    /// Another webhook URL.
    NewWebhook,
    /// The partner's settings, such as the redirect URL.
    Partner,
    /// Other settings of the partner.
    NewPartner,
}

impl Asked {
    fn of(method: &Method, path: &str) -> Self {
        let is_webhook = path.ends_with("/webhook_url");
        match *method {
            Method::PATCH => Self::NewPartner,
            Method::POST if is_webhook => Self::NewWebhook,
            Method::POST => Self::NewKey,
            _ if is_webhook => Self::Webhook,
            _ if path.ends_with("/channels") => Self::Channels,
            _ if path.contains("/channels/") => Self::Keys,
            _ => Self::Partner,
        }
    }
}

/// An answer that is not the usual one.
#[derive(Clone, Debug)]
pub enum Reply {
    /// Nothing is done, and this status and body are answered.
    Says(u16, Value),
    /// Nothing is done, and 429 with this `Retry-After` is answered.
    Wait(&'static str),
    /// The usual is done, but 500 is answered.
    LosesTheAnswer,
    /// The usual is done, and nothing is answered.
    DoesItInSilence,
    /// Nothing is done or answered.
    Silence,
    /// The usual is done and answered, once this is no longer the reply.
    Later,
}

/// What it knows, and how it answers; a test changes it at any time.
#[derive(Default)]
pub struct Script {
    /// The channels it lists.
    pub channels: Vec<Value>,
    /// The ids of the live keys by channel; only the last one made was told.
    pub keys: BTreeMap<String, Vec<String>>,
    /// Everything that was asked: method, path, and the header with the credentials.
    pub asked: Vec<(Method, String, String)>,
    /// Whether no filter finds anything.
    pub finds_nothing: bool,
    /// How what is asked is answered, and how often.
    replies: BTreeMap<Asked, (Reply, usize)>,
}

/// The fake.
#[derive(Clone)]
pub struct FakePartnerApi {
    /// Its address.
    pub url: String,
    script: Arc<Mutex<Script>>,
    /// Whom it asks for its usual answers, if it has none of its own.
    hub: Option<String>,
}

impl FakePartnerApi {
    /// Starts one that knows no channel.
    pub async fn start() -> Self {
        Self::start_before(None).await
    }

    /// Starts one whose usual answers are those of the simulated hub of `bundle`.
    pub async fn before(bundle: &Bundle) -> Self {
        Self::start_before(Some(format!("{}/api/v2", bundle.hub))).await
    }

    async fn start_before(hub: Option<String>) -> Self {
        let script = Arc::default();
        let url = String::new();
        let mut api = Self { url, script, hub };
        api.url = serve(Router::new().fallback(answer).with_state(api.clone())).await;
        api
    }

    /// One that lists `number` of [`CLIENT`], made just now, and a bundle for it.
    pub async fn with_new(number: &str) -> (Self, Bundle) {
        let api = Self::start().await;
        api.lists([new_channel(number)]);
        let bundle = api.bundle(&[]).await;
        (api, bundle)
    }

    /// A bundle that works with it.
    pub async fn bundle(&self, settings: &[(&str, &str)]) -> Bundle {
        let partners = format!("{PARTNER},{PAYING_PARTNER}");
        let mut all = vec![
            ("HUB", "none"),
            ("PARTNER_IDS", &partners),
            ("PARTNER_API_URL", &self.url),
            ("ALLOWED_ORIGINS", "https://app.example"),
        ];
        all.extend(settings);
        Bundle::start_with(&all).await
    }

    /// What it knows and says, to be read and changed.
    pub fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().expect("no test panics with it")
    }

    /// Lists these channels, and no others, from now on.
    pub fn lists(&self, channels: impl Into<Vec<Value>>) {
        self.script().channels = channels.into();
    }

    /// Lists this channel, too.
    pub fn adds(&self, channel: Value) {
        self.script().channels.push(channel);
    }

    /// Answers `asked` in this way from now on.
    pub fn replies(&self, asked: Asked, reply: Reply) {
        self.replies_times(asked, reply, usize::MAX);
    }

    /// Answers `asked` in this way the next `times`.
    pub fn replies_times(&self, asked: Asked, reply: Reply, times: usize) {
        self.script().replies.insert(asked, (reply, times));
    }

    /// Answers `asked` with this status and `{}` from now on.
    pub fn refuses(&self, asked: Asked, status: u16) {
        self.replies(asked, Reply::Says(status, json!({})));
    }

    /// Answers as usual from now on.
    pub fn recovers(&self) {
        let mut script = self.script();
        script.replies.clear();
        script.finds_nothing = false;
    }

    /// How often this was asked.
    pub fn asked(&self, asked: Asked) -> usize {
        let script = self.script();
        let all = script.asked.iter();
        all.filter(|(method, path, _)| Asked::of(method, path) == asked)
            .count()
    }

    /// How often a key of `number` was asked for.
    pub fn posts(&self, number: &str) -> usize {
        let path = format!("/{number}/");
        let script = self.script();
        let posts = script.asked.iter().filter(|(it, ..)| it == Method::POST);
        posts.filter(|(_, asked, _)| asked.contains(&path)).count()
    }

    /// Waits until a key of `number` was asked for so often.
    pub async fn is_posted(&self, number: &str, times: usize) {
        until_so("a key is asked for", || self.posts(number) >= times).await;
    }

    /// Fails unless the key that the vault keeps for `number` of [`PARTNER`] is the live one, and the only one.
    pub fn has_live_key(&self, bundle: &Bundle, number: &str) {
        let key = bundle.vault_key(PARTNER, number).expect("a key");
        assert_eq!(json!(self.script().keys[number]), json!([key["key_id"]]));
    }
}

/// A running channel of [`CLIENT`], as the Partner API lists it.
pub fn channel(number: &str, created_at: Option<&str>) -> Value {
    let mut channel =
        json!({"id": number, "client_id": CLIENT, "integration": {"state": "running"}});
    if let Some(created_at) = created_at {
        channel["created_at"] = json!(created_at);
    }
    channel
}

/// The same, made just now.
pub fn new_channel(number: &str) -> Value {
    channel(number, Some(&clock::now().to_string()))
}

/// The tenant `acme` comes back with a permission for `numbers`, separated by commas.
pub async fn claim(bundle: &Bundle, partner: &str, numbers: &str) {
    let query = format!("client={CLIENT}&channels=[{numbers}]");
    bundle.claim(partner, "acme", &query).await;
}

/// Answers as `router` does at the address that is returned, for as long as the test runs.
pub async fn serve(router: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("an address");
    let url = format!("http://{}", listener.local_addr().expect("its address"));
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

fn says(status: u16, body: &Value) -> Response {
    let status = StatusCode::from_u16(status).expect("a status");
    (status, axum::Json(body)).into_response()
}

async fn answer(State(api): State<FakePartnerApi>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path();
    let asked = Asked::of(&parts.method, path);
    let reply = api.script().reply(asked, &parts);
    while api.script().is_later(asked) {
        tokio::time::sleep(GLANCE).await;
    }
    match &reply {
        Some(Reply::Says(status, body)) => return says(*status, body),
        Some(Reply::Wait(wait)) => {
            let status = StatusCode::TOO_MANY_REQUESTS;
            return (status, [("retry-after", *wait)], "slow down").into_response();
        }
        // Nobody waits for so long: the connection is closed from the other side.
        Some(Reply::Silence) => return std::future::pending().await,
        _ => {}
    }
    let usual = match &api.hub {
        None => api.script().usual(asked, path),
        Some(hub) => pass_on(hub, &parts, body).await,
    };
    match reply {
        Some(Reply::LosesTheAnswer) => says(500, &json!({"meta": {"success": false}})),
        Some(Reply::DoesItInSilence) => std::future::pending().await,
        _ => usual,
    }
}

/// What `hub` answers.
async fn pass_on(hub: &str, parts: &Parts, body: Body) -> Response {
    let body = to_bytes(body, LARGEST).await.expect("a body");
    let path = parts.uri.path_and_query().expect("a path");
    let mut headers = parts.headers.clone();
    headers.remove("host");
    let http = Client::builder().no_proxy().build().expect("a client");
    let request = http.request(parts.method.clone(), format!("{hub}{path}"));
    let answer = request.headers(headers).body(body).ask().await;
    let status = StatusCode::from_u16(answer.status).expect("a status");
    (status, answer.text).into_response()
}

impl Script {
    /// Remembers what is asked; how it is answered instead of the usual.
    fn reply(&mut self, asked: Asked, parts: &Parts) -> Option<Reply> {
        let header = |name: &str| {
            let value = parts
                .headers
                .get(name)
                .and_then(|value| value.to_str().ok());
            value.unwrap_or_default()
        };
        let credentials = format!("{}|{}", header("authorization"), header("x-api-key"));
        let path = parts.uri.path().to_owned();
        self.asked.push((parts.method.clone(), path, credentials));
        let is_filtered = parts.uri.query().is_some_and(|it| it.contains("filters="));
        if self.finds_nothing && is_filtered {
            return Some(Reply::Says(
                200,
                json!({"total": 0, "partner_channels": []}),
            ));
        }
        let (reply, times) = self.replies.get_mut(&asked)?;
        *times = times.checked_sub(1)?;
        Some(reply.clone())
    }

    fn is_later(&self, asked: Asked) -> bool {
        matches!(self.replies.get(&asked), Some((Reply::Later, _)))
    }

    fn usual(&mut self, asked: Asked, path: &str) -> Response {
        let number = path.rsplit('/').nth(1).unwrap_or_default();
        match asked {
            Asked::Channels => {
                let channels = &self.channels;
                says(
                    200,
                    &json!({"total": channels.len(), "partner_channels": channels}),
                )
            }
            Asked::Keys => {
                let keys = self.keys.get(number).into_iter().flatten();
                let keys = keys.map(|id| json!({"id": id, "app_id": "1"}));
                says(200, &keys.collect())
            }
            Asked::NewKey => {
                let posts = self.asked.iter().filter(|(it, ..)| *it == Method::POST);
                let id = format!("made{}", posts.count());
                self.keys.insert(number.to_owned(), vec![id.clone()]);
                let secret = format!("secret of {number} {id}");
                let key =
                    json!({"id": id, "app_id": "1", "api_key": secret, "address": "https://x"});
                says(201, &key)
            }
            _ => says(404, &json!({})),
        }
    }
}
