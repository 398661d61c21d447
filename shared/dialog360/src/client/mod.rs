//! The Partner API: the calls that onboarding needs.
//!
//! Source: <https://docs.360dialog.com/partner/partner-api/overview>.
//!
//! No call is retried here, but one whose token 360dialog refused, once and with another; nothing is logged, and an answer that cannot be understood is never taken for "no".

mod error;
mod key;
mod keys_path;
mod login;
mod messaging;
mod pages;

pub use error::{ApiError, ErrorKind};
pub use key::{KeyAnswer, KeyOutcome, NewKey};
pub use keys_path::{KeysPath, KeysPathError};
pub use login::LOGIN_TIME;
pub use messaging::{
    MESSAGING_ORIGIN, MessagingApi, MessagingError, MessagingWebhook, WebhookPath, WebhookPathError,
};
pub use pages::{Page, Pages, Query};

use std::time::{Duration, Instant};

use reqwest::header::HeaderValue;
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};

use crate::channel::ChannelObject;
use crate::credentials::{Credentials, Login};
use crate::description::text;
use crate::id::{ChannelId, ChannelRef, ClientId, PartnerId};
use crate::secret::Secret;
use error::{message, retry_after};
use key::new_key;
use login::{Endpoint, Tokens};

/// A refused token is replaced within the same call only if the refusal came within this time.
const SOON: Duration = Duration::from_secs(2);

/// Where the Partner API is.
pub const BASE_URL: &str = "https://hub.360dialog.io/api/v2";

/// The Partner API at one address, for any partner.
#[derive(Clone, Debug)]
pub struct PartnerApi {
    http: reqwest::Client,
    base_url: String,
    keys_path: KeysPath,
    tokens: Tokens,
    repeats: bool,
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
            tokens: Tokens::default(),
            repeats: true,
        }
    }

    /// The same without a second request in one call, for callers that count requests: a refused token is forgotten, and
    /// the caller may call again, with a login before that.
    #[must_use]
    pub fn with_single_requests(self) -> Self {
        Self {
            repeats: false,
            ..self
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
        Page::parse(&self.json(request).await?)
    }

    /// The ids of a channel's keys.
    pub async fn key_ids(self, channel: &ChannelId) -> Result<Vec<String>, ApiError> {
        let path = self.keys_path(channel);
        let body = self.json(self.request(Method::GET, &path)).await?;
        let keys = body.get("api_keys").unwrap_or(&body).as_array();
        let keys = keys.ok_or(ErrorKind::Unreadable("no list of keys"))?;
        let counts_more = |name| {
            let count = body.get(name).and_then(Value::as_u64);
            count.is_some_and(|count| count > keys.len() as u64)
        };
        if counts_more("total") || counts_more("count") {
            return Err(ErrorKind::Unreadable("not all keys are listed").into());
        }
        let ids: Option<Vec<String>> = keys.iter().map(|key| text(key.get("id"))).collect();
        ids.ok_or_else(|| ErrorKind::Unreadable("a key without an id").into())
    }

    /// Asks for a new key, once. 360dialog revokes every other key of the channel.
    ///
    /// Only a refused token (401), which makes no key, is followed by a second request with a new one.
    pub async fn create_key(self, channel: &ChannelId) -> KeyAnswer {
        let request = self.request(Method::POST, &self.keys_path(channel));
        let Answer { response, token } = match self.send(request.json(&json!({}))).await {
            Ok(answer) => answer,
            Err(NoResponse::NotSent(why)) => return KeyAnswer::not_asked(why),
            Err(NoResponse::Silent) => return KeyOutcome::Unknown("no answer").into(),
        };
        let status = response.status();
        let (outcome, message) = if status.is_success() {
            let body: Option<Value> = response.json().await.ok();
            let key = body.as_ref().and_then(new_key);
            let unreadable = KeyOutcome::Unknown("no readable key");
            (key.map_or(unreadable, KeyOutcome::Created), None)
        } else {
            let wait = retry_after(response.headers());
            let message = message(response, &self.secrets(token.as_ref())).await;
            (KeyOutcome::refused(status, wait), message)
        };
        KeyAnswer {
            outcome,
            status: Some(status.as_u16()),
            message,
        }
    }

    /// Whether the next request would make a login first, which is a call, too.
    pub async fn needs_login(self) -> bool {
        match self.credentials {
            Credentials::Login(login) => self.api.tokens.needs_login(self.partner, login).await,
            Credentials::Token(_) | Credentials::ApiKey(_) => false,
        }
    }

    /// Makes the login that the next request would make first, if it needs one.
    pub async fn log_in(self) -> Result<(), ApiError> {
        match self.credentials {
            Credentials::Login(login) => self.token(login).await.map(drop),
            Credentials::Token(_) | Credentials::ApiKey(_) => Ok(()),
        }
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
        Ok(self
            .success(request)
            .await?
            .json()
            .await
            .unwrap_or_default())
    }

    fn keys_path(self, channel: &ChannelId) -> String {
        let channel = ChannelRef::new(self.partner.clone(), channel.clone());
        self.api.keys_path.fill(&channel)
    }

    /// A request without credentials.
    fn request(self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("{}{path}", self.api.base_url);
        self.api.http.request(method, url)
    }

    async fn json(self, request: RequestBuilder) -> Result<Value, ApiError> {
        let body = self.success(request).await?.json().await;
        body.map_err(|_| ErrorKind::Unreadable("not JSON").into())
    }

    async fn success(self, request: RequestBuilder) -> Result<Response, ApiError> {
        let Answer { response, token } = match self.send(request).await {
            Ok(answer) => answer,
            Err(NoResponse::NotSent(why)) => return Err(why),
            Err(NoResponse::Silent) => return Err(ErrorKind::Silent.into()),
        };
        if response.status().is_success() {
            return Ok(response);
        }
        Err(ApiError::read(response, &self.secrets(token.as_ref())).await)
    }

    /// The texts that a message must not repeat.
    fn secrets<'b>(&'b self, token: Option<&'b Secret>) -> Vec<&'b Secret> {
        let credentials = self.credentials.secrets().into_iter();
        credentials.chain(token).collect()
    }

    /// Sends a request with the credentials.
    async fn send(self, request: RequestBuilder) -> Result<Answer, NoResponse> {
        let request = match self.credentials {
            Credentials::Token(token) => request.bearer_auth(token.expose()),
            Credentials::ApiKey(key) => request.header("X-API-Key", sensitive(key)),
            Credentials::Login(login) => return self.send_as(login, request).await,
        };
        Answer::to(request, None).await
    }

    /// Sends a request with a token, and once more with a new token if 360dialog refuses that one soon. A slow refusal
    /// leaves no time for a second: the next request has the new token.
    async fn send_as(self, login: &Login, request: RequestBuilder) -> Result<Answer, NoResponse> {
        let token = self.token_for_request(login).await;
        let token = token.map_err(NoResponse::NotSent)?;
        let (again, sent_at) = (request.try_clone(), Instant::now());
        let answer = Answer::to(request, Some(token.clone())).await?;
        let Some(again) = again.filter(|_| answer.is_unauthorized()) else {
            return Ok(answer);
        };
        let (tokens, endpoint) = (&self.api.tokens, self.endpoint());
        if !self.api.repeats || sent_at.elapsed() > SOON {
            tokens.forget(self.partner, login, &token).await;
            return Ok(answer);
        }
        let renewed = tokens.renew(self.partner, login, &token, &endpoint).await;
        let Ok(token) = renewed else {
            return Ok(answer);
        };
        let answer = Answer::to(again, Some(token.clone())).await?;
        if answer.is_unauthorized() {
            let why = ErrorKind::BadCredentials.into();
            tokens.pause(self.partner, login, &token, &why).await;
        }
        Ok(answer)
    }

    async fn token(self, login: &Login) -> Result<Secret, ApiError> {
        let tokens = &self.api.tokens;
        tokens.get(self.partner, login, &self.endpoint()).await
    }

    /// The token for a request: without a second request in one call the one there is, for which the caller made a
    /// login.
    async fn token_for_request(self, login: &Login) -> Result<Secret, ApiError> {
        if !self.api.repeats
            && let Some(token) = self.api.tokens.present(self.partner, login).await
        {
            return Ok(token);
        }
        self.token(login).await
    }

    fn endpoint(self) -> Endpoint<'a> {
        Endpoint {
            http: &self.api.http,
            base_url: &self.api.base_url,
        }
    }
}

/// A response, and the token that was sent for it, if it was not among the credentials.
struct Answer {
    response: Response,
    token: Option<Secret>,
}

impl Answer {
    async fn to(request: RequestBuilder, token: Option<Secret>) -> Result<Self, NoResponse> {
        let request = match &token {
            Some(token) => request.bearer_auth(token.expose()),
            None => request,
        };
        let response = request.send().await.map_err(|_| NoResponse::Silent)?;
        Ok(Self { response, token })
    }

    fn is_unauthorized(&self) -> bool {
        self.response.status() == StatusCode::UNAUTHORIZED
    }
}

/// Why there is no response.
enum NoResponse {
    /// The request was not sent: the login before it failed.
    NotSent(ApiError),
    /// The request was sent, or may have been.
    Silent,
}

/// A header that debug output does not show; text that no header can hold becomes empty, and 360dialog refuses it.
fn sensitive(secret: &Secret) -> HeaderValue {
    let mut value = HeaderValue::from_str(secret.expose()).unwrap_or(HeaderValue::from_static(""));
    value.set_sensitive(true);
    value
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod login_tests;
