//! What a tenant, a person at the hub, the browser and 360dialog do with a bundle.

use dialog360::id::ChannelRef;
use std::fmt::Debug;
use std::str::FromStr;

use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit, Mac};
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use sha2::Sha256;

use crate::{Answer, Ask, Bundle, PARTNER, text, until_seen};

impl Bundle {
    /// A token that names `tenant`.
    pub fn token(&self, tenant: &str) -> String {
        let jwt = local::jwt::Jwt::new(dialog360::secret::Secret::new(self.secrets.jwt.clone()));
        jwt.token("sub", tenant).expect("a token")
    }

    /// A request without a token.
    pub fn request(&self, method: &str, path: &str) -> RequestBuilder {
        let method = method.parse().expect("a method");
        self.http.request(method, format!("{}{path}", self.url))
    }

    /// A GET of `path` with the tenant's token.
    pub fn get(&self, tenant: &str, path: &str) -> RequestBuilder {
        let request = self.request("GET", path);
        request.bearer_auth(self.token(tenant))
    }

    /// A signed link for `tenant`.
    pub async fn sign(&self, partner: &str, tenant: &str) -> Value {
        let request = self.get(tenant, &format!("/{partner}/sign"));
        request.ask().await.is(200).json()
    }

    /// Goes through the simulated hub as a person would; answers where the browser is sent.
    ///
    /// `choice` is the body of `POST /_hub/complete` without the link.
    pub async fn complete(&self, signed: &Value, mut choice: Value) -> String {
        choice["link"] = signed["url"].clone();
        let request = self.http.post(format!("{}/_hub/complete", self.hub));
        let answer = request.json(&choice).ask().await.is(200).json();
        text(&answer["redirect_url"]).to_owned()
    }

    /// Comes back to the bundle as a program, which gets JSON.
    pub async fn come_back(&self, redirect_url: &str) -> Answer {
        let request = self.http.get(redirect_url);
        request.header("accept", "application/json").ask().await
    }

    /// Comes back with `query` and the state of `signed`, without having been at the hub: a browser can say anything.
    pub async fn come_back_with(&self, signed: &Value, query: &str) -> Answer {
        let redirect_url = text(&signed["query_parameters"]["redirect_url"]);
        self.come_back(&format!("{redirect_url}?{query}")).await
    }

    /// The tenant's own page hands in what `query` says, without any link.
    pub async fn hand_in(&self, partner: &str, tenant: &str, query: &str) {
        let request = self.request("POST", &format!("/{partner}/redirect"));
        let request = request.bearer_auth(self.token(tenant));
        let request = request.json(&json!({"query": format!("?{query}")}));
        request.ask().await.is(200);
    }

    /// The tenant claims what `query` says by a link of its own, without having been at the hub.
    pub async fn claim(&self, partner: &str, tenant: &str, query: &str) {
        let signed = self.sign(partner, tenant).await;
        self.come_back_with(&signed, query).await.is(200);
    }

    /// From the first click to the browser's return: signs, completes, comes back; answers the JSON.
    pub async fn onboard(&self, partner: &str, tenant: &str, choice: Value) -> Value {
        let signed = self.sign(partner, tenant).await;
        let redirect_url = self.complete(&signed, choice).await;
        self.come_back(&redirect_url).await.is(200).json()
    }

    /// The client `aCL` of [`PARTNER`] grants a number, with a link of `tenant`.
    pub async fn grant(&self, tenant: &str, number: &str) {
        let choice = json!({"client": "aCL", "channels": [number]});
        self.onboard(PARTNER, tenant, choice).await;
    }

    /// The same, up to the stored key.
    pub async fn grant_and_store(&self, tenant: &str, number: &str) -> Value {
        self.grant(tenant, number).await;
        self.stored(PARTNER, tenant, number).await
    }

    /// The tenant's channels.
    pub async fn channels(&self, partner: &str, tenant: &str) -> Vec<Value> {
        let (mut all, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = format!("/{partner}/channels?limit=100&cursor={cursor}");
            let list = self.get(tenant, &page).ask().await.is(200).json();
            all.extend(list["channels"].as_array().cloned().unwrap_or_default());
            match list["next"].as_str() {
                Some(next) => cursor = next.to_owned(),
                None => return all,
            }
        }
    }

    /// One channel as the tenant sees it, or `None` for 404.
    pub async fn channel(&self, partner: &str, tenant: &str, channel: &str) -> Option<Value> {
        let request = self.get(tenant, &format!("/{partner}/channels/{channel}"));
        let answer = request.ask().await;
        (answer.status != 404).then(|| answer.is(200).json())
    }

    /// Waits until a channel of the tenant is as `wanted` says.
    pub async fn channel_until(
        &self,
        (partner, tenant, channel): (&str, &str, &str),
        wanted: impl Fn(&Value) -> bool,
    ) -> Value {
        let read = || async {
            let seen = self.channel(partner, tenant, channel).await;
            seen.unwrap_or(Value::Null)
        };
        until_seen(read, wanted).await
    }

    /// Waits until `field` of a channel of `acme` at [`PARTNER`] has this value.
    pub async fn channel_has(&self, channel: &str, field: &str, value: &str) -> Value {
        let about = (PARTNER, "acme", channel);
        self.channel_until(about, |seen| seen[field] == value).await
    }

    /// Waits until the key of a channel of `acme` at [`PARTNER`] has this status and reason.
    pub async fn key_is(&self, channel: &str, status: &str, reason: &str) -> Value {
        let key = json!({"status": status, "reason": reason});
        let about = (PARTNER, "acme", channel);
        self.channel_until(about, |seen| seen["key"] == key).await
    }

    /// Waits until the channel's key is stored.
    pub async fn stored(&self, partner: &str, tenant: &str, channel: &str) -> Value {
        let about = (partner, tenant, channel);
        let is_stored = |seen: &Value| seen["key"]["status"] == "stored";
        self.channel_until(about, is_stored).await
    }

    /// Waits until the simulated hub has nothing more to say about a number.
    pub async fn complete_story(&self, partner: &str, tenant: &str, channel: &str) -> Value {
        let is_over = |seen: &Value| {
            let is_told = seen["quality"] == "GREEN" && seen["stage"] == "live";
            is_told && seen["key"]["status"] == "stored"
        };
        self.channel_until((partner, tenant, channel), is_over)
            .await
    }

    /// The id of the stored key of a channel.
    pub async fn key_id(&self, partner: &str, channel: &str) -> String {
        self.stored_key(partner, channel).await.expect("a key")["key_id"].to_string()
    }

    /// Fails unless a message can be sent with the stored key: the hub's own word.
    pub async fn can_send(&self, partner: &str, channel: &str) {
        let key = self.stored_key(partner, channel).await.expect("a key");
        let address = format!("{}/messages", text(&key["address"]));
        let message = json!({"messaging_product": "whatsapp", "to": "15550100", "type": "text"});
        let request = self.http.post(address).json(&message);
        let request = request.header("D360-API-KEY", text(&key["api_key"]));
        request.ask().await.is(200);
    }

    /// Posts `body` to the webhook, signed with the partner's platform secret.
    pub async fn webhook(&self, partner: &str, body: &str) -> Answer {
        let signature = hmac_sha256(self.secrets.platform_secret(partner), body.as_bytes());
        self.webhook_signed(partner, body, &signature).await
    }

    /// Posts `body` to the webhook with any signature.
    pub async fn webhook_signed(&self, partner: &str, body: &str, signature: &str) -> Answer {
        let request = self.request("POST", &format!("/{partner}/webhook"));
        let request = request.header("x-360dialog-signature", signature);
        let request = request.header("content-type", "application/json");
        request.body(body.to_owned()).ask().await
    }

    /// [`PARTNER`]'s webhook brings the event `name` about a number, and nothing else.
    pub async fn event(&self, name: &str, number: &str) {
        let event = json!({"event": name, "data": {"id": number}});
        self.webhook(PARTNER, &event.to_string()).await.is(200);
    }
}

/// The lower-case hex HMAC-SHA256 of `body`, made without any of our own code.
pub fn hmac_sha256(secret: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any key will do");
    mac.update(body);
    HEXLOWER.encode(&mac.finalize().into_bytes())
}

/// A value of the domain that a test is sure of.
#[track_caller]
pub fn id<T: FromStr<Err: Debug>>(text: &str) -> T {
    text.parse().expect("a good one")
}

/// The channel `number` of `partner`.
pub fn channel_ref(partner: &str, number: &str) -> ChannelRef {
    ChannelRef::new(id(partner), id(number))
}
