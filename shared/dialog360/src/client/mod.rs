//! The Partner API: the calls that onboarding needs.
//!
//! Source: <https://docs.360dialog.com/partner/partner-api/overview>.
//!
//! No call is retried here, nothing is logged, and an answer that cannot be understood is never taken for "no".

mod keys_path;
mod pages;
mod rate;

pub use keys_path::{KeysPath, KeysPathError};
pub use pages::{Page, Pages, Query};
pub use rate::Rate;

use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};

use crate::channel::ChannelObject;
use crate::credentials::Credentials;
use crate::description::text;
use crate::id::{ChannelId, ChannelRef, ClientId, PartnerId};
use crate::secret::Secret;

/// Where the Partner API is.
pub const BASE_URL: &str = "https://hub.360dialog.io/api/v2";

/// The longest wait that a `Retry-After` may ask for.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 3600);

/// Why 360dialog did not do what it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// 401: it does not accept the partner's credentials.
    #[error("360dialog refuses the credentials")]
    BadCredentials,
    /// 403: the partner may not do this.
    #[error("360dialog does not permit it")]
    NotPermitted,
    /// 404 or 405: there is no such thing.
    #[error("360dialog knows nothing of the kind")]
    NotFound,
    /// 429: ask again, after this wait if it said one.
    #[error("360dialog asks to wait")]
    RateLimited(Option<Duration>),
    /// Any other status.
    #[error("360dialog answered with status {0}")]
    Status(u16),
    /// An answer in no known form, and what is wrong with it.
    #[error("360dialog's answer cannot be understood ({0})")]
    Unreadable(&'static str),
    /// No answer.
    #[error("360dialog did not answer")]
    Silent,
}

/// Outcome of asking for a new key.
#[derive(Clone, Debug)]
pub enum KeyOutcome {
    /// The key, shown this once.
    Created(NewKey),
    /// 403: the client has not permitted it.
    NotPermitted,
    /// 409, 412 or 425: the channel is not ready for it.
    NotReady,
    /// 404: 360dialog does not know the channel.
    UnknownChannel,
    /// 401: it does not accept the partner's credentials.
    BadCredentials,
    /// Any other 4xx; the status.
    Refused(u16),
    /// 429: later; the key may have been made all the same.
    RateLimited(Option<Duration>),
    /// Silence, a 5xx, or an answer without a readable key: it may have been made.
    Unknown(&'static str),
}

/// A new key. `Debug` does not show it.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// The key.
    pub api_key: Secret,
    /// 360dialog's id of it.
    pub id: Option<String>,
    /// Where messages are sent with it.
    pub address: Option<String>,
}

/// The Partner API at one address, for any partner.
#[derive(Clone, Debug)]
pub struct PartnerApi {
    http: reqwest::Client,
    base_url: String,
    keys_path: KeysPath,
}

impl PartnerApi {
    /// The API at `base_url` (see [`BASE_URL`]; without a slash at its end).
    ///
    /// `http` should have a time-out and follow no redirect: a redirect would carry the credentials elsewhere.
    pub fn new(http: reqwest::Client, base_url: impl Into<String>, keys_path: KeysPath) -> Self {
        Self {
            http,
            base_url: base_url.into(),
            keys_path,
        }
    }

    /// The API as `partner` may use it with `credentials`.
    pub fn for_partner<'a>(
        &'a self,
        partner: &'a PartnerId,
        credentials: &'a Credentials,
    ) -> PartnerClient<'a> {
        PartnerClient {
            api: self,
            partner,
            credentials,
        }
    }
}

/// The Partner API as one partner uses it; every method makes one call, those that read to an end of a list more.
#[derive(Clone, Copy, Debug)]
pub struct PartnerClient<'a> {
    api: &'a PartnerApi,
    partner: &'a PartnerId,
    credentials: &'a Credentials,
}

impl<'a> PartnerClient<'a> {
    /// All channels of a client.
    pub async fn channels_of_client(
        self,
        client: &ClientId,
    ) -> Result<Vec<ChannelObject>, ApiError> {
        let mut pages = self.pages(Some(json!({"client_id": client})));
        let mut found = Vec::new();
        while let Some(channels) = pages.next().await? {
            let is_theirs = |channel: &ChannelObject| channel.client.as_ref() == Some(client);
            found.extend(channels.into_iter().filter(is_theirs));
        }
        Ok(found)
    }

    /// One channel, or `None` if 360dialog does not list it.
    pub async fn channel(self, id: &ChannelId) -> Result<Option<ChannelObject>, ApiError> {
        let mut pages = self.pages(Some(json!({"id": id})));
        while let Some(channels) = pages.next().await? {
            let found = channels.into_iter().find(|channel| channel.id == *id);
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// The partner's channels, page by page; only those that fit `filters` (a JSON object), if there are any.
    ///
    /// 360dialog may take no notice of filters: filter again.
    pub fn pages(self, filters: Option<Value>) -> Pages<'a> {
        Pages::new(self, filters)
    }

    /// One page of the partner's channels.
    pub async fn page(self, query: &Query) -> Result<Page, ApiError> {
        let path = format!("/partners/{}/channels", self.partner);
        let request = self.request(Method::GET, &path).query(&query.pairs());
        Page::parse(&json_of(request).await?)
    }

    /// The ids of a channel's keys.
    pub async fn key_ids(self, channel: &ChannelId) -> Result<Vec<String>, ApiError> {
        let body = json_of(self.request(Method::GET, &self.keys_path(channel))).await?;
        let keys = body.get("api_keys").unwrap_or(&body).as_array();
        let keys = keys.ok_or(ApiError::Unreadable("no list of keys"))?;
        let counts_more = |name| {
            let count = body.get(name).and_then(Value::as_u64);
            count.is_some_and(|count| count > keys.len() as u64)
        };
        if counts_more("total") || counts_more("count") {
            return Err(ApiError::Unreadable("not all keys are listed"));
        }
        let ids: Option<Vec<String>> = keys.iter().map(|key| text(key.get("id"))).collect();
        ids.ok_or(ApiError::Unreadable("a key without an id"))
    }

    /// Asks for a new key, once. 360dialog revokes every other key of the channel.
    pub async fn create_key(self, channel: &ChannelId) -> KeyOutcome {
        let request = self.request(Method::POST, &self.keys_path(channel));
        let Ok(response) = request.json(&json!({})).send().await else {
            return KeyOutcome::Unknown("no answer");
        };
        let status = response.status();
        match status {
            _ if status.is_success() => {}
            StatusCode::UNAUTHORIZED => return KeyOutcome::BadCredentials,
            StatusCode::FORBIDDEN => return KeyOutcome::NotPermitted,
            StatusCode::NOT_FOUND => return KeyOutcome::UnknownChannel,
            StatusCode::CONFLICT | StatusCode::PRECONDITION_FAILED | StatusCode::TOO_EARLY => {
                return KeyOutcome::NotReady;
            }
            StatusCode::TOO_MANY_REQUESTS => {
                return KeyOutcome::RateLimited(retry_after(response.headers()));
            }
            _ if status.is_client_error() => return KeyOutcome::Refused(status.as_u16()),
            _ => return KeyOutcome::Unknown("an unclear status"),
        }
        let body: Option<Value> = response.json().await.ok();
        let key = body.as_ref().and_then(new_key);
        key.map_or(KeyOutcome::Unknown("no readable key"), KeyOutcome::Created)
    }

    /// The answer that holds `webhook_url`, where webhooks go now.
    pub async fn webhook_settings(self) -> Result<Value, ApiError> {
        self.settings(Method::GET, "/webhook_url", None).await
    }

    /// The answer that holds `partner_redirect_url`. That it can be read is not documented.
    pub async fn partner_settings(self) -> Result<Value, ApiError> {
        self.settings(Method::GET, "", None).await
    }

    /// Sets where webhooks go.
    pub async fn set_webhook_url(self, url: &str) -> Result<(), ApiError> {
        let body = json!({"webhook_url": url});
        let answer = self.settings(Method::POST, "/webhook_url", Some(body));
        answer.await.map(drop)
    }

    /// Sets where browsers go whose link names no address.
    pub async fn set_redirect_url(self, url: &str) -> Result<(), ApiError> {
        let body = json!({"partner_redirect_url": url});
        self.settings(Method::PATCH, "", Some(body)).await.map(drop)
    }

    /// A success that says nothing is `null`.
    async fn settings(
        self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<Value, ApiError> {
        let request = self.request(method, &format!("/partners/{}{path}", self.partner));
        let request = body
            .into_iter()
            .fold(request, |request, body| request.json(&body));
        Ok(success_of(request).await?.json().await.unwrap_or_default())
    }

    fn keys_path(self, channel: &ChannelId) -> String {
        let channel = ChannelRef::new(self.partner.clone(), channel.clone());
        self.api.keys_path.fill(&channel)
    }

    /// A request with the credentials.
    fn request(self, method: Method, path: &str) -> RequestBuilder {
        let request = self
            .api
            .http
            .request(method, format!("{}{path}", self.api.base_url));
        match self.credentials {
            Credentials::Token(token) => request.bearer_auth(token.expose()),
            Credentials::ApiKey(key) => request.header("X-API-Key", sensitive(key)),
        }
    }
}

async fn json_of(request: RequestBuilder) -> Result<Value, ApiError> {
    let body = success_of(request).await?.json().await;
    body.map_err(|_| ApiError::Unreadable("not JSON"))
}

async fn success_of(request: RequestBuilder) -> Result<Response, ApiError> {
    let response = request.send().await.map_err(|_| ApiError::Silent)?;
    match response.status() {
        status if status.is_success() => Ok(response),
        StatusCode::UNAUTHORIZED => Err(ApiError::BadCredentials),
        StatusCode::FORBIDDEN => Err(ApiError::NotPermitted),
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => Err(ApiError::NotFound),
        StatusCode::TOO_MANY_REQUESTS => {
            Err(ApiError::RateLimited(retry_after(response.headers())))
        }
        status => Err(ApiError::Status(status.as_u16())),
    }
}

/// A header that debug output does not show; text that no header can hold becomes empty, and 360dialog refuses it.
fn sensitive(secret: &Secret) -> HeaderValue {
    let mut value = HeaderValue::from_str(secret.expose()).unwrap_or(HeaderValue::from_static(""));
    value.set_sensitive(true);
    value
}

/// The wait a `Retry-After` asks for, in seconds or as a date,
/// [RFC 9110 §10.2.3](https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3).
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let seconds = match text.parse::<u64>() {
        Ok(seconds) => seconds,
        Err(_) => {
            let until = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
            u64::try_from(until.duration_since(jiff::Timestamp::now()).as_secs()).unwrap_or(0)
        }
    };
    Some(Duration::from_secs(seconds).min(LONGEST_WAIT))
}

/// The key in an answer: the object itself, or the first of `api_keys`.
fn new_key(body: &Value) -> Option<NewKey> {
    let key = match body.get("api_keys") {
        Some(keys) => keys.as_array()?.first()?,
        None => body,
    };
    let api_key = key.get("api_key")?.as_str().filter(|key| !key.is_empty())?;
    Some(NewKey {
        api_key: Secret::new(api_key),
        id: text(key.get("id")),
        address: text(key.get("address")),
    })
}

#[cfg(test)]
mod tests;
