//! A stand-in for the Partner API that answers what a test says, also what no hub ever should.
//!
//! It takes no notice of filters: the bundle must filter again. What it was asked, it remembers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use onboarding::id::{ChannelId, PartnerId};
use platform::clock;
use platform::store::{Intent, Mints};
use serde_json::{Value, json};
use tests::{Bundle, PARTNER, PAYING_PARTNER};
use tokio::net::TcpListener;

pub(crate) const CLIENT: &str = "aCL";
pub(crate) const NUMBER: &str = "oneCH";

/// What is asked of the Partner API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Asked {
    Channels,
    Keys,
    NewKey,
}

/// An answer that is not the usual one.
#[derive(Clone, Debug)]
pub(crate) enum Odd {
    /// This status and body.
    Says(u16, Value),
    /// 429 with this `Retry-After`.
    Wait(&'static str),
    /// The usual is done, but 500 is answered.
    LosesTheAnswer,
    /// The usual is done, and nothing is answered.
    DoesItInSilence,
    /// Nothing is done or answered.
    Silence,
}

/// What the hub would know, and how it answers; a test changes it at any time.
#[derive(Default)]
pub(crate) struct Script {
    /// The channels it lists.
    pub(crate) channels: Vec<Value>,
    /// The ids of the live keys by channel; only the last one made was told.
    pub(crate) keys: BTreeMap<String, Vec<String>>,
    /// Answers that are not the usual ones.
    pub(crate) odd: BTreeMap<Asked, Odd>,
    /// Whether keys come in a list of their own, `{"api_keys": […]}`, or bare.
    pub(crate) in_list: bool,
    /// Everything that was asked: method, path, and the header that opens the door.
    pub(crate) asked: Vec<(Method, String, String)>,
}

#[derive(Clone)]
pub(crate) struct StandIn {
    url: String,
    script: Arc<Mutex<Script>>,
}

impl StandIn {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("an address");
        let url = format!("http://{}", listener.local_addr().expect("its address"));
        let stand_in = Self {
            url,
            script: Arc::default(),
        };
        let router = Router::new().fallback(answer).with_state(stand_in.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        stand_in
    }

    /// Its address.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// What it knows and says, to be read and changed.
    pub(crate) fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().expect("no test panics with it")
    }

    /// A bundle that works with it.
    pub(crate) async fn bundle(&self, settings: &[(&str, &str)]) -> Bundle {
        let partners = format!("{PARTNER},{PAYING_PARTNER}");
        let mut all = vec![
            ("HUB", "none"),
            ("PARTNER_IDS", &partners),
            ("PARTNER_API_URL", self.url()),
            ("ALLOWED_ORIGINS", "https://app.example"),
        ];
        all.extend(settings);
        Bundle::start_with(&all).await
    }

    /// A hub that lists `number` of [`CLIENT`], made just now, and a bundle for it.
    pub(crate) async fn with_new(number: &str) -> (Self, Bundle) {
        let hub = Self::start().await;
        hub.script().channels = vec![channel(number, Some(&clock::now().to_string()))];
        let bundle = hub.bundle(&[]).await;
        (hub, bundle)
    }

    /// How often a key of `number` was asked for.
    pub(crate) fn posts(&self, number: &str) -> usize {
        let wanted = format!("/{number}/");
        self.script()
            .asked
            .iter()
            .filter(|(method, path, _)| *method == Method::POST && path.contains(&wanted))
            .count()
    }

    /// Answers `asked` in this way from now on.
    pub(crate) fn now_says(&self, asked: Asked, odd: Odd) {
        self.script().odd.insert(asked, odd);
    }

    /// Answers as usual from now on.
    pub(crate) fn recovers(&self) {
        self.script().odd.clear();
    }
}

/// A running channel of [`CLIENT`], as the Partner API lists it.
pub(crate) fn channel(number: &str, created_at: Option<&str>) -> Value {
    let mut channel =
        json!({"id": number, "client_id": CLIENT, "integration": {"state": "running"}});
    if let Some(created_at) = created_at {
        channel["created_at"] = json!(created_at);
    }
    channel
}

/// The tenant `acme` comes back with a permission for `number`.
pub(crate) async fn claim(bundle: &Bundle, partner: &str, number: &str) {
    let signed = bundle.sign(partner, "acme").await;
    let answer = bundle
        .come_back_with(&signed, &format!("client={CLIENT}&channels=[{number}]"))
        .await;
    assert_eq!(answer.status(), 200);
}

/// When the key of `number` is looked at next, s from now, and the open intent.
pub(crate) async fn outlook(bundle: &Bundle, number: &str) -> (Option<i64>, Option<Intent>) {
    let (partner, number): (PartnerId, ChannelId) = (
        PARTNER.parse().expect("an id"),
        number.parse().expect("an id"),
    );
    let mints = Mints::new(bundle.table().await);
    let (due_at, intent) = mints.outlook(&partner, &number).await.expect("an outlook");
    (due_at.map(seconds_from_now), intent)
}

pub(crate) fn seconds_from_now(at: Timestamp) -> i64 {
    at.as_second() - clock::now().as_second()
}

async fn answer(
    State(hub): State<StandIn>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let header = |name: &str| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    };
    let opened_by = format!("{}|{}", header("authorization"), header("x-api-key"));
    let answer = hub.script().answer(method, uri.path(), opened_by);
    match answer {
        Some(answer) => answer,
        // Nobody waits for so long: the connection is closed from the other side.
        None => std::future::pending().await,
    }
}

impl Script {
    /// Remembers what is asked and answers it, or not at all.
    fn answer(&mut self, method: Method, path: &str, opened_by: String) -> Option<Response> {
        let asked = match (&method, path.ends_with("/channels")) {
            (&Method::GET, true) => Asked::Channels,
            (&Method::GET, false) => Asked::Keys,
            _ => Asked::NewKey,
        };
        self.asked.push((method, path.to_owned(), opened_by));
        Some(match self.odd.get(&asked).cloned() {
            None => self.usual(asked, path),
            Some(Odd::Says(status, body)) => json_answer(status, &body),
            Some(Odd::Wait(wait)) => (
                StatusCode::TOO_MANY_REQUESTS,
                [("retry-after", wait)],
                "slow down",
            )
                .into_response(),
            Some(Odd::LosesTheAnswer) => {
                let _lost = self.usual(asked, path);
                json_answer(500, &json!({"meta": {"success": false}}))
            }
            Some(Odd::DoesItInSilence) => {
                let _lost = self.usual(asked, path);
                return None;
            }
            Some(Odd::Silence) => return None,
        })
    }

    fn usual(&mut self, asked: Asked, path: &str) -> Response {
        if asked == Asked::Channels {
            return json_answer(
                200,
                &json!({"total": self.channels.len(), "partner_channels": self.channels}),
            );
        }
        let number = path.rsplit('/').nth(1).unwrap_or_default().to_owned();
        let made = self
            .asked
            .iter()
            .filter(|(method, _, _)| *method == Method::POST)
            .count();
        let keys = self.keys.entry(number.clone()).or_default();
        if asked == Asked::Keys {
            let list: Vec<Value> = keys
                .iter()
                .map(|id| json!({"id": id, "app_id": "1"}))
                .collect();
            return json_answer(
                200,
                &if self.in_list {
                    json!({"api_keys": list})
                } else {
                    json!(list)
                },
            );
        }
        let id = format!("made{made}");
        *keys = vec![id.clone()];
        let key = json!({"id": id, "app_id": "1", "api_key": format!("secret of {number} {id}"), "address": "https://x"});
        if self.in_list {
            json_answer(200, &json!({"api_keys": [key]}))
        } else {
            json_answer(201, &key)
        }
    }
}

fn json_answer(status: u16, body: &Value) -> Response {
    (
        StatusCode::from_u16(status).expect("a status"),
        axum::Json(body),
    )
        .into_response()
}
