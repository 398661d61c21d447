//! The Partner API, as far as keys need it. No call is retried here, no body is ever logged, and an answer that
//! cannot be understood is never taken for "no".

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;
use onboarding::fact::{Reading, Said};
use onboarding::hub_event::Stage;
use onboarding::id::{ChannelId, ClientId, PartnerId};
use onboarding::secret::{HubCredentials, Secret};
use reqwest::header::{HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::metric::Metric;
use crate::settings::BaseUrl;
use crate::tls::{NoTls, Tls};

/// Long enough for a TLS handshake across a continent, short enough to leave time for the call itself.
const CONNECT_TIME: Duration = Duration::from_secs(3);

/// The whole of one call; two of them and the AWS calls fit into the function's 20 s.
pub const CALL_TIME: Duration = Duration::from_secs(6);

/// Channels asked for at once.
const PAGE: usize = 100;

/// Pages after which a client's list is given up rather than cut: a cut list must not decide a binding.
const MOST_PAGES: usize = 50;

/// The longest wait that a `Retry-After` may ask for.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 3600);

/// A path of the Partner API that may hold `{partner_id}` and must hold `{channel_id}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeysPath(String);

impl KeysPath {
    fn of(&self, partner: &PartnerId, channel: &ChannelId) -> String {
        self.0
            .replace("{partner_id}", partner.as_str())
            .replace("{channel_id}", channel.as_str())
    }
}

impl Default for KeysPath {
    fn default() -> Self {
        Self("/partners/{partner_id}/channels/{channel_id}/api_keys".to_owned())
    }
}

impl FromStr for KeysPath {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        if !text.starts_with('/') || !text.contains("{channel_id}") {
            return Err("it must start with / and hold {channel_id}");
        }
        let rest = text.replace("{partner_id}", "").replace("{channel_id}", "");
        if rest.contains(|c: char| {
            matches!(c, '{' | '}' | '?' | '#') || c.is_whitespace() || c.is_control()
        }) {
            return Err(
                "it must be a path without a query, whose only placeholders are {partner_id} and {channel_id}",
            );
        }
        Ok(Self(text.to_owned()))
    }
}

/// Why nothing could be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotRead {
    /// 401: the hub does not accept the partner's credentials.
    #[error("the hub refused the credentials")]
    BadCredentials,
    /// 403: the partner may not look at this.
    #[error("the hub does not permit it")]
    NotPermitted,
    /// 429: ask again later.
    #[error("the hub asks to wait")]
    Later(Option<Duration>),
    /// 404 or 405: there is no such thing to read.
    #[error("the hub knows nothing of the kind")]
    NoSuchThing,
    /// No answer, a 5xx, or one that cannot be understood.
    #[error("the hub did not answer clearly ({0})")]
    Unclear(&'static str),
}

/// What asking for a new key came to.
#[derive(Clone, Debug)]
pub enum Minted {
    /// The key, shown this once.
    Created(NewKey),
    /// 403: the client has not permitted it.
    NotPermitted,
    /// 409, 412 or 425: the channel is not ready for it.
    NotReady,
    /// 404: the hub does not know the channel.
    UnknownChannel,
    /// 401: the hub does not accept the partner's credentials.
    BadCredentials,
    /// Any other 4xx; the status.
    Refused(u16),
    /// 429: later; the key may have been made all the same.
    Later(Option<Duration>),
    /// Silence, a 5xx, or an answer without a readable key: it may have been made.
    Unknown(&'static str),
}

/// A new key. `Debug` does not show it.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// The key.
    pub api_key: Secret,
    /// The hub's id of it.
    pub id: Option<String>,
    /// Where messages are sent with it.
    pub address: Option<String>,
}

/// The Partner API of one hub address.
#[derive(Clone)]
pub struct HubApi {
    http: reqwest::Client,
    base: BaseUrl,
    keys_path: KeysPath,
}

impl HubApi {
    /// The API at `base` (`https://hub.360dialog.io/api/v2`).
    pub fn new(base: BaseUrl, keys_path: KeysPath, tls: &Tls) -> Result<Self, NoTls> {
        let http = tls
            .client()
            .connect_timeout(CONNECT_TIME)
            .timeout(CALL_TIME)
            .build()
            .map_err(|_| NoTls)?;
        Ok(Self {
            http,
            base,
            keys_path,
        })
    }

    /// All channels of a client, as they were when the read was sent.
    pub async fn channels_of(
        &self,
        partner: &PartnerId,
        credentials: &HubCredentials,
        client: &ClientId,
    ) -> Result<Vec<Reading>, NotRead> {
        let mut readings = Vec::new();
        self.list(
            partner,
            credentials,
            &json!({"client_id": client}),
            |reading| {
                if reading.client == *client {
                    readings.push(reading);
                }
                ControlFlow::Continue(())
            },
        )
        .await?;
        Ok(readings)
    }

    /// One channel, or `None` if the hub does not list it.
    pub async fn channel(
        &self,
        partner: &PartnerId,
        credentials: &HubCredentials,
        channel: &ChannelId,
    ) -> Result<Option<Reading>, NotRead> {
        let mut found = None;
        self.list(partner, credentials, &json!({"id": channel}), |reading| {
            if reading.channel != *channel {
                return ControlFlow::Continue(());
            }
            found = Some(reading);
            ControlFlow::Break(())
        })
        .await?;
        Ok(found)
    }

    /// The ids of a channel's keys.
    pub async fn keys(
        &self,
        partner: &PartnerId,
        credentials: &HubCredentials,
        channel: &ChannelId,
    ) -> Result<Vec<String>, NotRead> {
        let body = self
            .get(credentials, &self.keys_path.of(partner, channel), &[])
            .await?;
        let keys = body
            .get("api_keys")
            .unwrap_or(&body)
            .as_array()
            .ok_or(NotRead::Unclear("no list of keys"))?;
        let says_more = |name| {
            body.get(name)
                .and_then(Value::as_u64)
                .is_some_and(|said| said > keys.len() as u64)
        };
        if says_more("total") || says_more("count") {
            return Err(NotRead::Unclear("not all keys are listed"));
        }
        let ids: Option<Vec<String>> = keys.iter().map(|key| id_text(key.get("id")?)).collect();
        ids.ok_or(NotRead::Unclear("a key without an id"))
    }

    /// Asks for a new key, once. The hub revokes every other key of the channel.
    pub async fn create_key(
        &self,
        partner: &PartnerId,
        credentials: &HubCredentials,
        channel: &ChannelId,
    ) -> Minted {
        let request = self.request(
            Method::POST,
            credentials,
            &self.keys_path.of(partner, channel),
        );
        let Ok(answer) = send(request.json(&json!({}))).await else {
            return Minted::Unknown("no answer");
        };
        let status = answer.status();
        match status {
            _ if status.is_success() => {}
            StatusCode::UNAUTHORIZED => return Minted::BadCredentials,
            StatusCode::FORBIDDEN => return Minted::NotPermitted,
            StatusCode::NOT_FOUND => return Minted::UnknownChannel,
            StatusCode::CONFLICT | StatusCode::PRECONDITION_FAILED | StatusCode::TOO_EARLY => {
                return Minted::NotReady;
            }
            StatusCode::TOO_MANY_REQUESTS => return Minted::Later(retry_after(answer.headers())),
            _ if status.is_client_error() => return Minted::Refused(status.as_u16()),
            _ => return Minted::Unknown("an unclear status"),
        }
        let body: Option<Value> = answer.json().await.ok();
        body.as_ref()
            .and_then(new_key)
            .map_or(Minted::Unknown("no readable key"), Minted::Created)
    }

    /// Hands over one channel after the other, once each, until `see` has seen enough or the list is at its end.
    ///
    /// A hub may take no notice of `filters` or of `offset`, or give fewer than were asked for.
    async fn list(
        &self,
        partner: &PartnerId,
        credentials: &HubCredentials,
        filters: &Value,
        mut see: impl FnMut(Reading) -> ControlFlow<()>,
    ) -> Result<(), NotRead> {
        let mut seen = HashSet::new();
        let mut offset = 0;
        for _ in 0..MOST_PAGES {
            let Page { rows, total } = self.page(partner, credentials, filters, offset).await?;
            let known = seen.len();
            for row in &rows {
                let is_new = text(row, &["id"]).is_some_and(|id| seen.insert(id));
                if is_new && reading(row).is_some_and(|reading| see(reading).is_break()) {
                    return Ok(());
                }
            }
            offset += rows.len();
            // A page with nothing new on it is the end, unless the hub itself says that there is more.
            if seen.len() == known {
                let is_cut = total.is_some_and(|total| seen.len() < total);
                return if is_cut {
                    Err(NotRead::Unclear("the list of channels is cut"))
                } else {
                    Ok(())
                };
            }
            if total.is_some_and(|total| offset >= total) {
                return Ok(());
            }
        }
        Err(NotRead::Unclear("the list of channels does not end"))
    }

    async fn page(
        &self,
        partner: &PartnerId,
        credentials: &HubCredentials,
        filters: &Value,
        offset: usize,
    ) -> Result<Page, NotRead> {
        let query = [
            ("limit", PAGE.to_string()),
            ("offset", offset.to_string()),
            ("filters", filters.to_string()),
        ];
        let body = self
            .get(
                credentials,
                &format!("/partners/{partner}/channels"),
                &query,
            )
            .await?;
        let rows = body.get("partner_channels").and_then(Value::as_array);
        let rows = rows.ok_or(NotRead::Unclear("no list of channels"))?.clone();
        let total = body
            .get("total")
            .and_then(Value::as_u64)
            .and_then(|total| usize::try_from(total).ok());
        Ok(Page { rows, total })
    }

    async fn get(
        &self,
        credentials: &HubCredentials,
        path: &str,
        query: &[(&str, String)],
    ) -> Result<Value, NotRead> {
        let request = self.request(Method::GET, credentials, path).query(query);
        let answer = send(request)
            .await
            .map_err(|_| NotRead::Unclear("no answer"))?;
        match answer.status() {
            StatusCode::UNAUTHORIZED => Err(NotRead::BadCredentials),
            StatusCode::FORBIDDEN => Err(NotRead::NotPermitted),
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => Err(NotRead::NoSuchThing),
            StatusCode::TOO_MANY_REQUESTS => Err(NotRead::Later(retry_after(answer.headers()))),
            status if !status.is_success() => Err(NotRead::Unclear("an unclear status")),
            _ => answer
                .json()
                .await
                .map_err(|_| NotRead::Unclear("not JSON")),
        }
    }

    fn request(
        &self,
        method: Method,
        credentials: &HubCredentials,
        path: &str,
    ) -> reqwest::RequestBuilder {
        let request = self
            .http
            .request(method, format!("{}{path}", self.base.as_str()));
        match credentials {
            HubCredentials::Token(token) => request.bearer_auth(token.expose()),
            HubCredentials::ApiKey(key) => request.header("X-API-Key", sensitive(key)),
        }
    }
}

/// Sends a request; credentials that are refused are counted, since only the partner can mend them.
async fn send(request: reqwest::RequestBuilder) -> reqwest::Result<reqwest::Response> {
    let answer = request.send().await?;
    if answer.status() == StatusCode::UNAUTHORIZED {
        Metric::BadCredentials.count();
        tracing::error!("the hub refuses the partner's credentials");
    }
    Ok(answer)
}

struct Page {
    rows: Vec<Value>,
    total: Option<usize>,
}

/// A header that debug output does not show; text that no header can hold becomes empty, and the hub refuses it.
fn sensitive(secret: &Secret) -> HeaderValue {
    let mut value = HeaderValue::from_str(secret.expose()).unwrap_or(HeaderValue::from_static(""));
    value.set_sensitive(true);
    value
}

/// The wait a `Retry-After` asks for, in seconds or as a date,
/// [RFC 9110 §10.2.3](https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3).
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let seconds = match text.parse::<u64>() {
        Ok(seconds) => seconds,
        Err(_) => {
            let until = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
            u64::try_from(until.duration_since(crate::clock::now()).as_secs()).unwrap_or(0)
        }
    };
    Some(Duration::from_secs(seconds).min(LONGEST_WAIT))
}

/// What a channel object says; one without usable ids says nothing.
fn reading(channel: &Value) -> Option<Reading> {
    let client = text(channel, &["client_id"])
        .or_else(|| text(channel, &["client", "id"]))?
        .parse()
        .ok()?;
    let running = text(channel, &["integration", "state"]).is_some_and(|state| state == "running");
    let live = text(channel, &["hub_status"]).is_some_and(|status| status == "live");
    Some(Reading {
        channel: text(channel, &["id"])?.parse().ok()?,
        created_at: text(channel, &["created_at"]).and_then(|at| moment(&at)),
        said: Said {
            client: Some(ClientId::clone(&client)),
            stage: if live {
                Some(Stage::Live)
            } else {
                running.then_some(Stage::Running)
            },
            phone_number: text(channel, &["setup_info", "phone_number"]),
            display_name: text(channel, &["setup_info", "phone_name"]),
            quality: text(channel, &["current_quality_rating"]),
            messaging_limit: text(channel, &["current_limit"]),
            ..Said::default()
        },
        client,
    })
}

/// A time with its zone, or without one and then in UTC.
fn moment(text: &str) -> Option<Timestamp> {
    let civil = || {
        text.parse::<jiff::civil::DateTime>()
            .ok()?
            .to_zoned(jiff::tz::TimeZone::UTC)
            .ok()
    };
    text.parse()
        .ok()
        .or_else(|| civil().map(|zoned| zoned.timestamp()))
}

fn text(value: &Value, path: &[&str]) -> Option<String> {
    let value = path.iter().try_fold(value, |value, name| value.get(name))?;
    id_text(value).filter(|text| text.chars().count() <= 256)
}

/// A text or a whole number, as text.
fn id_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn new_key(body: &Value) -> Option<NewKey> {
    let key = match body.get("api_keys") {
        Some(keys) => keys.as_array()?.first()?,
        None => body,
    };
    Some(NewKey {
        api_key: Secret::new(key.get("api_key")?.as_str().filter(|key| !key.is_empty())?),
        id: key.get("id").and_then(id_text),
        address: text(key, &["address"]),
    })
}

#[cfg(test)]
#[path = "hub_api_tests.rs"]
mod tests;
