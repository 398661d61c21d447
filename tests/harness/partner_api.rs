//! 360dialog for tests in which it misbehaves: the simulator, by its controls. A call is named as there.

use std::time::Duration;

use reqwest::{Client, Method};
use serde_json::{Value, json};
use simulator::{Partner, RunningSimulator, Settings};

use crate::{Ask, Bundle, PARTNER, PAYING_PARTNER, Secrets, until_seen};

/// The client of its channels.
pub const CLIENT: &str = "aCL";
/// The channel of most tests.
pub const NUMBER: &str = "oneCH";
/// The life of a token that outlives the test.
pub const HOUR: Duration = Duration::from_secs(3600);

/// A simulator that a test tells how to answer.
pub struct SimulatedPartnerApi {
    /// The address of the simulator.
    url: String,
    secrets: Secrets,
    http: Client,
    _simulator: Option<RunningSimulator>,
}

impl SimulatedPartnerApi {
    /// Starts one that knows no channel, sends no webhook and takes no notice of filters: the bundle must filter again.
    pub async fn start() -> Self {
        Self::start_as(Secrets::two_hubs(), HOUR).await
    }

    /// The same with other secrets, and for logins with tokens that live so long.
    pub async fn start_as(secrets: Secrets, token_lifetime: Duration) -> Self {
        let settings = Settings {
            token_lifetime,
            ..Settings::default()
        };
        Self::start_with(secrets, settings).await
    }

    /// One that takes only so many calls of a partner in a span, such as `5/30s`.
    pub async fn with_rate(rate: &str) -> Self {
        let settings = Settings {
            rate: Some(rate.parse().expect("a rate")),
            ..Settings::default()
        };
        Self::start_with(Secrets::two_hubs(), settings).await
    }

    async fn start_with(secrets: Secrets, settings: Settings) -> Self {
        let partners = Partner::from_secrets_json(&secrets.file.to_string());
        let settings = Settings {
            listen: ([127, 0, 0, 1], 0).into(),
            partners: partners.expect("secrets"),
            ..settings
        };
        let simulator = RunningSimulator::start(settings).await;
        let simulator = simulator.expect("the simulator");
        let api = Self {
            url: simulator.url().to_owned(),
            secrets,
            http: Client::builder().no_proxy().build().expect("a client"),
            _simulator: Some(simulator),
        };
        for partner in [PARTNER, PAYING_PARTNER] {
            let wrong = json!({"partner": partner, "ignores_filters": true});
            api.control(Method::POST, "lists", wrong).await;
        }
        api
    }

    /// The simulator that `bundle` brings.
    pub fn of(bundle: &Bundle) -> Self {
        Self {
            url: bundle.hub.clone(),
            secrets: bundle.secrets.clone(),
            http: bundle.http.clone(),
            _simulator: None,
        }
    }

    /// One that lists `number` of [`CLIENT`], made just now, and a bundle for it.
    pub async fn with_new(number: &str) -> (Self, Bundle) {
        let api = Self::start().await;
        api.adds(new_channel(number)).await;
        let bundle = api.bundle(&[]).await;
        (api, bundle)
    }

    /// A bundle that works with it.
    pub async fn bundle(&self, settings: &[(&str, &str)]) -> Bundle {
        let partners = format!("{PARTNER},{PAYING_PARTNER}");
        let address = format!("{}/api/v2", self.url);
        let mut all = vec![
            ("HUB", "none"),
            ("PARTNER_IDS", &partners),
            ("PARTNER_API_URL", &address),
            ("PARTNER_API_RATE", "off"),
            ("ALLOWED_ORIGINS", "https://app.example"),
        ];
        all.extend(settings);
        Bundle::start_as(self.secrets.clone(), &all).await
    }

    /// Lists of [`PARTNER`] take notice of filters.
    pub async fn heeds_filters(&self) {
        let heeds = json!({"partner": PARTNER, "ignores_filters": false});
        self.control(Method::POST, "lists", heeds).await;
    }

    /// Lists this channel, too, for both partners; one that it knows is changed.
    pub async fn adds(&self, channel: Value) {
        for partner in [PARTNER, PAYING_PARTNER] {
            self.adds_at(partner, channel.clone()).await;
        }
    }

    /// The same for one partner.
    pub async fn adds_at(&self, partner: &str, mut channel: Value) {
        channel["partner"] = json!(partner);
        self.control(Method::POST, "channel", channel).await;
    }

    /// Lists no channel of [`PARTNER`] any more.
    pub async fn forgets(&self) {
        let channels = format!("channels?partner={PARTNER}");
        self.control(Method::DELETE, &channels, json!({})).await;
    }

    /// From now on no list of [`PARTNER`] that is filtered finds anything.
    pub async fn finds_nothing(&self) {
        let nothing = json!({"partner": PARTNER, "finds_nothing": true});
        self.control(Method::POST, "lists", nothing).await;
    }

    /// Answers `call` in this way from now on; `fault` is one of the simulator's, without the name of the call.
    pub async fn replies(&self, call: &str, mut fault: Value) {
        fault["call"] = json!(call);
        self.control(Method::POST, "faults", fault).await;
    }

    /// Answers `call` with this status and `{}` from now on.
    pub async fn refuses(&self, call: &str, status: u16) {
        self.replies(call, answer(status, json!({}))).await;
    }

    /// Answers `call` as usual from now on.
    pub async fn answers_as_usual(&self, call: &str) {
        self.replies(call, json!({})).await;
    }

    /// Answers everything as usual from now on.
    pub async fn recovers(&self) {
        self.control(Method::DELETE, "faults", json!({})).await;
    }

    /// Its address, which is the origin of the messaging API, too.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// All calls that arrived.
    pub async fn all_calls(&self) -> Vec<Value> {
        self.seen_calls("").await
    }

    /// How often the messaging webhook of `number` was to be set.
    pub async fn webhook_calls(&self, number: &str) -> usize {
        let calls = format!("call=messaging_webhook&channel={number}");
        self.seen_calls(&calls).await.len()
    }

    /// The messaging webhook that a number has.
    pub async fn messaging_webhook(&self, partner: &str, number: &str) -> Value {
        let channel = format!("channel?partner={partner}&channel={number}");
        let mut channel = self.control(Method::GET, &channel, json!({})).await;
        channel["messaging_webhook"].take()
    }

    async fn seen_calls(&self, query: &str) -> Vec<Value> {
        let calls = format!("calls?{query}");
        let seen = self.control(Method::GET, &calls, json!({})).await;
        seen["calls"].as_array().expect("a list").clone()
    }

    /// The calls of the Partner API that arrived, of those that `query` names.
    pub async fn calls(&self, query: &str) -> Vec<Value> {
        let mut calls = self.seen_calls(query).await;
        calls.retain(|call| call["credential"] != "channel_key");
        calls
    }

    /// The most calls of [`PARTNER`] that arrived in a span of the limit.
    pub async fn highest_rate(&self) -> u64 {
        let seen = self.control(Method::GET, "calls", json!({})).await;
        let highest = &seen["rates"][PARTNER]["highest"];
        highest.as_u64().expect("a count")
    }

    /// Forgets the calls.
    pub async fn forgets_calls(&self) {
        self.control(Method::DELETE, "calls", json!({})).await;
    }

    /// How often this call was made.
    pub async fn asked(&self, call: &str) -> usize {
        self.calls(&format!("call={call}")).await.len()
    }

    /// Waits until this call was made so often.
    pub async fn is_asked(&self, call: &str, times: usize) {
        until_seen(|| self.asked(call), |seen| *seen >= times).await;
    }

    /// How often a key of `number` was asked for.
    pub async fn posts(&self, number: &str) -> usize {
        let posts = format!("call=new_key&channel={number}");
        self.calls(&posts).await.len()
    }

    /// Waits until a key of `number` was asked for so often.
    pub async fn is_posted(&self, number: &str, times: usize) {
        until_seen(|| self.posts(number), |seen| *seen >= times).await;
    }

    /// Somebody else makes a key of `number`, which has this id.
    pub async fn has_foreign_key(&self, number: &str, id: &str) {
        let key = json!({"partner": PARTNER, "channel": number, "id": id});
        self.control(Method::POST, "key", key).await;
    }

    /// Every key of `number` is revoked, by nobody who would say so.
    pub async fn loses_keys(&self, number: &str) {
        let keys = format!("partners/{PARTNER}/channels/{number}/api_keys");
        let revoke = self.http.delete(format!("{}/api/v2/{keys}", self.url));
        let token = crate::text(&self.secrets.file[PARTNER]["partner_token"]);
        assert!(revoke.bearer_auth(token).ask().await.status < 300);
    }

    /// The ids of the live keys.
    pub async fn keys(&self, partner: &str, number: &str) -> Value {
        let channel = format!("channel?partner={partner}&channel={number}");
        self.control(Method::GET, &channel, json!({})).await["keys"].take()
    }

    /// Fails unless the stored key of `number` of [`PARTNER`] is the live one, and the only one.
    pub async fn has_live_key(&self, bundle: &Bundle, number: &str) {
        let key = bundle.stored_key(PARTNER, number).await.expect("a key");
        let keys = self.keys(PARTNER, number).await;
        assert_eq!(keys, json!([key["key_id"]]));
        bundle.can_send(PARTNER, number).await;
    }

    async fn control(&self, method: Method, path: &str, body: Value) -> Value {
        let url = format!("{}/_hub/{path}", self.url);
        let request = self.http.request(method, url).json(&body);
        request.ask().await.is(200).json()
    }
}

/// A running and permitted channel of [`CLIENT`], as a control takes it.
pub fn channel(number: &str, created_at: Option<&str>) -> Value {
    let mut channel = new_channel(number);
    channel["created_at"] = json!(created_at);
    channel
}

/// The same, made just now.
pub fn new_channel(number: &str) -> Value {
    json!({"channel": number, "client": CLIENT, "stage": "running", "permission": "granted"})
}

/// The fault of a call that is not done, and answered with this status and body.
pub fn answer(status: u16, body: Value) -> Value {
    json!({"answer": {"status": status, "body": body}})
}

/// The fault of a call that is not done, and answered with 429 and this `Retry-After`.
pub fn asks_to_wait(wait: &str) -> Value {
    json!({"answer": {"status": 429, "headers": {"retry-after": wait}}})
}

/// The fault of a call that is done, but answered with 500.
pub fn loses_the_answer() -> Value {
    json!({"answer": {"status": 500}, "is_done": true})
}

/// The tenant `acme` comes back with a permission for `numbers`, separated by commas.
pub async fn claim(bundle: &Bundle, partner: &str, numbers: &str) {
    let query = format!("client={CLIENT}&channels=[{numbers}]");
    bundle.claim(partner, "acme", &query).await;
}
