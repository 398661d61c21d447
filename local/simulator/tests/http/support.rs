//! A simulator, a receiver of its webhooks, and links signed as a partner's server signs them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU16, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, StatusCode},
    routing::post,
};
use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use reqwest::{Client, Response};
use serde_json::{Value, json};
use sha2::{Sha256, Sha512};
use simulator::{Access, Billing, Partner, RunningSimulator, Settings};
use tokio::{net::TcpListener, sync::watch, time::timeout};
use url::Url;

pub(crate) const PARTNER: &str = "aAbBcCPA";
pub(crate) const SECRET: &str = "test_platform_secret";
pub(crate) const TOKEN: &str = "test_token";
pub(crate) const API_KEY: &str = "test_api_key";
pub(crate) const USERNAME: &str = "test_user";
pub(crate) const PASSWORD: &str = "test_password";
pub(crate) const RETURN: &str = "http://app.example/back";
pub(crate) const LONG: Duration = Duration::from_secs(3600);
/// The first link is signed for so long ago, so that no test runs out of seconds.
const OLDEST_LINK_SECONDS: i64 = 3600;
/// Ends a test that would otherwise hang.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Fixture {
    pub(crate) simulator: RunningSimulator,
    pub(crate) receiver: Receiver,
    pub(crate) http: Client,
    next_second: AtomicI64,
}

impl Fixture {
    pub(crate) async fn new() -> Self {
        Self::with_settings(|_| {}).await
    }

    pub(crate) async fn with_settings(change: impl FnOnce(&mut Settings)) -> Self {
        Self::with_receiver(Receiver::start().await, change).await
    }

    pub(crate) async fn with_receiver(
        receiver: Receiver,
        change: impl FnOnce(&mut Settings),
    ) -> Self {
        let mut settings = settings(&receiver);
        change(&mut settings);
        let simulator = RunningSimulator::start(settings).await.unwrap();
        let http = Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .unwrap();
        let next_second = AtomicI64::new(Timestamp::now().as_second() - OLDEST_LINK_SECONDS);
        Self {
            simulator,
            receiver,
            http,
            next_second,
        }
    }

    /// A link with a signature of its own, and the parameters `more`.
    pub(crate) fn link(&self, more: &[(&str, &str)]) -> Url {
        self.link_signed_at(self.next_second.fetch_add(1, Ordering::SeqCst), more)
    }

    /// A link signed for a given second.
    pub(crate) fn link_signed_at(&self, second: i64, more: &[(&str, &str)]) -> Url {
        let mut url = Url::parse(&format!(
            "{}/dashboard/app/{PARTNER}/permissions",
            self.simulator.url()
        ))
        .unwrap();
        url.query_pairs_mut()
            .append_pair("redirect_url", RETURN)
            .append_pair("io_signature", &sign(PARTNER, second))
            .append_pair("io_timestamp", &second.to_string())
            .extend_pairs(more);
        url
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        answer(
            self.http
                .post(format!("{}{path}", self.simulator.url()))
                .json(body)
                .send()
                .await
                .unwrap(),
        )
        .await
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        let url = format!("{}{path}", self.simulator.url());
        answer(self.http.get(url).send().await.unwrap()).await
    }

    pub(crate) async fn delete(&self, path: &str) -> (u16, Value) {
        let url = format!("{}{path}", self.simulator.url());
        answer(self.http.delete(url).send().await.unwrap()).await
    }

    /// Uses a control that must succeed.
    pub(crate) async fn control(&self, name: &str, body: Value) -> Value {
        let (status, answer) = self.post(&format!("/_hub/{name}"), &body).await;
        assert_eq!(status, 200, "{answer}");
        answer
    }

    /// The calls that arrived, of those that the query `filter` matches.
    pub(crate) async fn calls(&self, filter: &str) -> Vec<Value> {
        let (status, answer) = self.get(&format!("/_hub/calls?{filter}")).await;
        assert_eq!(status, 200, "{answer}");
        answer["calls"].as_array().unwrap().clone()
    }

    /// Waits until a call has arrived.
    pub(crate) async fn wait_for_call(&self, filter: &str) -> Value {
        let arrived = timeout(PATIENCE, async {
            loop {
                if let Some(call) = self.calls(filter).await.pop() {
                    return call;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        arrived.await.expect("the call waited for never came")
    }

    /// Follows a fresh link with `choice`, and returns the address the browser is redirected to.
    pub(crate) async fn complete(&self, choice: Value) -> Url {
        let mut body = json!({"link": self.link(&[]).as_str()});
        body.as_object_mut()
            .unwrap()
            .extend(choice.as_object().unwrap().clone());
        let (status, answer) = self.post("/_hub/complete", &body).await;
        assert_eq!(status, 200, "{answer}");
        Url::parse(answer["redirect_url"].as_str().unwrap()).unwrap()
    }

    pub(crate) fn api(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        self.http
            .request(method, format!("{}/api/v2{path}", self.simulator.url()))
    }

    /// Calls the Partner API with the API key.
    pub(crate) async fn call(&self, method: reqwest::Method, path: &str) -> (u16, Value) {
        let request = self.api(method, path).header("X-API-Key", API_KEY);
        answer(request.send().await.unwrap()).await
    }

    /// Onboards channels of the client `oneCL`, and waits until they run.
    pub(crate) async fn onboard(&self, channels: &[&str]) {
        self.complete(json!({"client": "oneCL", "channels": channels}))
            .await;
        for channel in channels {
            let has_run = |webhook: &Webhook| {
                webhook.event() == "channel_running" && webhook.json["data"]["id"] == *channel
            };
            self.receiver.wait_for(|all| all.iter().any(has_run)).await;
        }
    }

    /// Makes a key of a channel, and returns it.
    pub(crate) async fn make_key(&self, channel: &str) -> String {
        let (status, key) = self.call(reqwest::Method::POST, &keys_path(channel)).await;
        assert_eq!(status, 201, "{key}");
        key["api_key"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn send_message(&self, key: &str) -> u16 {
        let request = self
            .http
            .post(format!("{}/waba/messages", self.simulator.url()))
            .header("D360-API-KEY", key);
        request
            .json(&json!({}))
            .send()
            .await
            .unwrap()
            .status()
            .as_u16()
    }
}

pub(crate) fn keys_path(channel: &str) -> String {
    format!("/partners/{PARTNER}/channels/{channel}/api_keys")
}

pub(crate) fn settings(receiver: &Receiver) -> Settings {
    Settings {
        listen: "127.0.0.1:0".parse().unwrap(),
        stage_delay: Duration::from_millis(5),
        partners: vec![Partner {
            id: PARTNER.into(),
            platform_secret: SECRET.into(),
            access: vec![
                Access::Token(TOKEN.into()),
                Access::ApiKey(API_KEY.into()),
                Access::Login {
                    username: USERNAME.into(),
                    password: PASSWORD.into(),
                },
            ],
            billing: Billing::DirectPaid,
            webhook_url: Some(receiver.url.clone()),
            redirect_url: None,
            check_signature: true,
        }],
        ..Settings::default()
    }
}

pub(crate) async fn answer(response: Response) -> (u16, Value) {
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    (
        status,
        serde_json::from_str(&text).unwrap_or(Value::String(text)),
    )
}

fn sign(partner: &str, second: i64) -> String {
    let mut mac = Hmac::<Sha512>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(format!("{partner}|{second}").as_bytes());
    HEXLOWER.encode(&mac.finalize().into_bytes())
}

/// A partner's webhook. It keeps what it receives and answers with the status that the test sets.
pub(crate) struct Receiver {
    url: String,
    status: Arc<AtomicU16>,
    seen: watch::Receiver<Vec<Webhook>>,
}

#[derive(Clone)]
pub(crate) struct Webhook {
    pub(crate) body: Bytes,
    pub(crate) json: Value,
    pub(crate) status: u16,
}

impl Webhook {
    pub(crate) fn event(&self) -> &str {
        self.json["event"].as_str().unwrap()
    }
}

type Inbox = (Arc<AtomicU16>, watch::Sender<Vec<Webhook>>);

impl Receiver {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!(
            "http://{}/{PARTNER}/webhook",
            listener.local_addr().unwrap()
        );
        let status = Arc::new(AtomicU16::new(200));
        let (inbox, seen) = watch::channel(Vec::new());
        let routes = Router::new()
            .route("/{partner}/webhook", post(receive))
            .layer(DefaultBodyLimit::disable())
            .with_state((Arc::clone(&status), inbox));
        tokio::spawn(async { axum::serve(listener, routes).await });
        Self { url, status, seen }
    }

    pub(crate) fn answer_with(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    pub(crate) fn events(&self) -> Vec<String> {
        self.seen
            .borrow()
            .iter()
            .map(|webhook| webhook.event().to_owned())
            .collect()
    }

    /// Waits until `enough` holds for the webhooks received, and returns them.
    pub(crate) async fn wait_for(&self, enough: impl Fn(&[Webhook]) -> bool) -> Vec<Webhook> {
        let mut seen = self.seen.clone();
        let arrived = timeout(PATIENCE, seen.wait_for(|webhooks| enough(webhooks))).await;
        arrived
            .expect("the webhooks waited for never came")
            .unwrap()
            .clone()
    }

    pub(crate) async fn wait_for_event(&self, event: &str) -> Webhook {
        let is_it = |webhook: &Webhook| webhook.event() == event && webhook.status == 200;
        self.wait_for(|all| all.iter().any(is_it))
            .await
            .into_iter()
            .find(is_it)
            .unwrap()
    }
}

async fn receive(
    State((status, inbox)): State<Inbox>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(&body);
    let signature = HEXLOWER.encode(&mac.finalize().into_bytes());
    let is_signed = headers["x-360dialog-signature"] == signature.as_str();
    let status = match is_signed {
        true => status.load(Ordering::SeqCst),
        false => 401,
    };
    let json = serde_json::from_slice(&body).unwrap();
    inbox.send_modify(|seen| seen.push(Webhook { body, json, status }));
    StatusCode::from_u16(status).unwrap()
}
