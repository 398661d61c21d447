//! Watches every call of the Partner API and of the messaging API: records it, limits the rate, and lets faults
//! change its answer.

use std::sync::Arc;

use axum::{
    body::{Body, to_bytes},
    extract::{MatchedPath, RawPathParams, Request, State, rejection::RawPathParamsRejection},
    http::{HeaderMap, Method, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    call_log::{CallRecord, Credential},
    faults::CallTarget,
    partner_api::{
        credentials::{api_key, authorize_by_channel, authorized, bearer, channel_key, digest},
        error::ApiError,
    },
    settings::Access,
    simulator::Simulator,
};

/// The digits of a digest that are shown.
const DIGEST_LENGTH: usize = 12;
/// The largest login, bytes.
const LARGEST_LOGIN: usize = 1 << 20;

/// A call, as controls name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Call {
    Token,
    Channels,
    Clients,
    Partner,
    SetPartner,
    WebhookUrl,
    SetWebhookUrl,
    Keys,
    NewKey,
    DeleteKeys,
    Cancellation,
    MessagingWebhook,
    Message,
    Templates,
    NewTemplate,
    EditTemplate,
    DeleteTemplate,
    NewMedia,
    Media,
    DeleteMedia,
    SetProfile,
}

impl Call {
    /// The call of a method and the path of a route.
    fn from_route(method: &Method, path: &str) -> Option<Self> {
        let path = path.trim_end_matches('/');
        let last = path.rsplit('/').next().unwrap_or_default();
        let call = match (method.as_str(), last) {
            ("POST", "token") => Self::Token,
            ("GET", "channels") => Self::Channels,
            ("GET", "clients") => Self::Clients,
            ("GET", "{partner}") => Self::Partner,
            ("PATCH", "{partner}") => Self::SetPartner,
            ("GET", "webhook_url") => Self::WebhookUrl,
            ("POST", "webhook_url") => Self::SetWebhookUrl,
            ("GET", "api_keys" | "api-keys") => Self::Keys,
            ("POST", "api_keys" | "api-keys") => Self::NewKey,
            ("DELETE", "api_keys" | "api-keys") => Self::DeleteKeys,
            ("POST", "cancellation_request") => Self::Cancellation,
            ("GET" | "POST", "webhook") => Self::MessagingWebhook,
            ("POST", "messages") => Self::Message,
            ("GET", "templates") => Self::Templates,
            ("POST", "templates") => Self::NewTemplate,
            ("PATCH", "{template}") => Self::EditTemplate,
            ("DELETE", "{template}") => Self::DeleteTemplate,
            ("POST", "media") => Self::NewMedia,
            ("GET", "{media}" | "attachments") => Self::Media,
            ("DELETE", "{media}") => Self::DeleteMedia,
            ("POST", "whatsapp_business_profile") => Self::SetProfile,
            _ => return None,
        };
        Some(call)
    }

    /// Whether it is a call of the messaging API, where a channel's key is the credential.
    fn is_messaging(self) -> bool {
        matches!(
            self,
            Self::MessagingWebhook
                | Self::Message
                | Self::Templates
                | Self::NewTemplate
                | Self::DeleteTemplate
                | Self::NewMedia
                | Self::Media
                | Self::DeleteMedia
                | Self::SetProfile
        )
    }

    /// Whether it is a call of the Partner API, all of which count together.
    pub(crate) fn counts_for_rate(self) -> bool {
        !self.is_messaging()
    }
}

/// A layer over the routes of the Partner API and of the messaging API.
pub(crate) async fn watch(
    State(simulator): State<Arc<Simulator>>,
    route: MatchedPath,
    params: Result<RawPathParams, RawPathParamsRejection>,
    request: Request,
    next: Next,
) -> Response {
    let Some(call) = Call::from_route(request.method(), route.as_str()) else {
        return next.run(request).await;
    };
    let (parts, body) = request.into_parts();
    let (body, username) = match call {
        Call::Token => read_username(body).await,
        _ => (body, None),
    };
    let record = record(&simulator, call, &parts, params.ok().as_ref(), username);
    let (partner, channel) = (record.partner.clone(), record.channel.clone());
    let (number, is_above_limit) = simulator.call_log.arrive(record);
    let target = CallTarget {
        call,
        partner: partner.as_deref(),
        channel: channel.as_deref(),
        is_above_limit,
    };
    let intervention = simulator.faults.match_call(&target);
    let request = Request::from_parts(parts, body);
    let answer = match intervention {
        Some(intervention) => intervention.answer(request, next).await,
        None if is_above_limit => ApiError::TOO_MANY.into_response(),
        None => next.run(request).await,
    };
    let status = answer.status().as_u16();
    simulator.call_log.answered(number, status);
    answer
}

fn record(
    simulator: &Simulator,
    call: Call,
    parts: &Parts,
    params: Option<&RawPathParams>,
    username: Option<String>,
) -> CallRecord {
    let param = |name: &str| {
        let found = params.and_then(|params| params.iter().find(|(key, _)| *key == name));
        found.map(|(_, value)| value.to_owned())
    };
    let (credential, secret) = credential(call, &parts.headers);
    let sha256 = secret.map(digest);
    let (mut partner, mut channel) = (param("partner"), param("channel"));
    match (call, &sha256, &channel) {
        (Call::Token, ..) => partner = partner_with(simulator, username.as_deref()),
        (call, Some(key), _) if call.is_messaging() => {
            (partner, channel) = holder(simulator, key).unzip();
        }
        (_, _, Some(channel)) if partner.is_none() => {
            partner = caller(simulator, channel, &parts.headers);
        }
        _ => {}
    }
    CallRecord {
        call,
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().map(str::to_owned),
        credential,
        digest: sha256.map(|it| it.chars().take(DIGEST_LENGTH).collect()),
        partner,
        channel,
        status: None,
    }
}

/// The credential that was sent, and its kind.
fn credential(call: Call, headers: &HeaderMap) -> (Credential, Option<&str>) {
    if call.is_messaging()
        && let Some(key) = channel_key(headers)
    {
        return (Credential::ChannelKey, Some(key));
    }
    if let Some(key) = api_key(headers) {
        return (Credential::ApiKey, Some(key));
    }
    match bearer(headers) {
        Some(token) => (Credential::Token, Some(token)),
        None => (Credential::None, None),
    }
}

/// The id of the partner that calls an address without a partner: the one that has the channel, else any of those
/// whose credentials were sent.
fn caller(simulator: &Simulator, channel: &str, headers: &HeaderMap) -> Option<String> {
    let caller = authorize_by_channel(simulator, channel, headers).ok();
    let caller = caller.or_else(|| authorized(simulator, headers).next());
    caller.map(|caller| caller.id.clone())
}

/// Partner id and channel id of a channel's key.
fn holder(simulator: &Simulator, sha256: &str) -> Option<(String, String)> {
    simulator.store.read(|records| {
        let (partner, channel) = records.channel_with_key(sha256)?;
        Some((partner.to_owned(), channel.id.clone()))
    })
}

/// The id of the partner that logs in with a username.
fn partner_with(simulator: &Simulator, name: Option<&str>) -> Option<String> {
    let is_its = |access: &Access| matches!(access, Access::Login { username, .. } if Some(username.as_str()) == name);
    let mut partners = simulator.partners.values();
    let partner = partners.find(|partner| partner.access.iter().any(is_its))?;
    Some(partner.id.clone())
}

/// The username in a login. The body is given back.
async fn read_username(body: Body) -> (Body, Option<String>) {
    let Ok(bytes) = to_bytes(body, LARGEST_LOGIN).await else {
        return (Body::empty(), None);
    };
    let login: Option<Value> = serde_json::from_slice(&bytes).ok();
    let username = login.as_ref().and_then(|login| login["username"].as_str());
    let username = username.map(str::to_owned);
    (Body::from(bytes), username)
}
