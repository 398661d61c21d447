//! The messaging API, as far as clients use it while they set a channel up: whether its key is live, where messages go,
//! templates, media and the profile.

mod media;
mod templates;

use std::sync::Arc;

use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State, rejection::JsonRejection},
    http::HeaderMap,
    routing::{delete, get, patch, post},
};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use url::Url;

use crate::{
    channel::MessagingWebhook,
    id,
    partner_api::{
        credentials::{channel_key, digest},
        error::ApiError,
    },
    simulator::Simulator,
    state::Records,
};

type Answer = Result<Json<Value>, ApiError>;

pub(crate) fn routes() -> Router<Arc<Simulator>> {
    Router::new()
        .route("/waba/messages", post(send_message))
        .route("/waba/v1/configs/webhook", get(webhook).post(set_webhook))
        .route(
            "/waba/v1/configs/templates",
            get(templates::list).post(templates::submit),
        )
        .route(
            "/waba/v1/configs/templates/{template}",
            delete(templates::delete),
        )
        .route(
            "/waba/media",
            post(media::upload).layer(DefaultBodyLimit::max(media::LARGEST_UPLOAD)),
        )
        .route("/waba/{media}", get(media::show).delete(media::delete))
        .route("/waba/whatsapp_business/attachments/", get(media::download))
        .route("/waba/whatsapp_business_profile", post(set_profile))
        // Not below `/waba`, and older than the rest of the Partner API.
        .route(
            "/v1/partners/{partner}/waba_accounts/{waba}/waba_templates/{template}",
            patch(templates::edit),
        )
}

/// Accepts any message and any mark as read from a caller with a live key, and sends neither.
async fn send_message(
    State(simulator): State<Arc<Simulator>>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    simulator.store.read(|records| caller(records, &headers))?;
    let message: Value = serde_json::from_slice(&body).unwrap_or_default();
    if message["status"] == "read" {
        return Ok(Json(json!({"success": true})));
    }
    let to = &message["to"];
    Ok(Json(json!({
        "messaging_product": "whatsapp",
        "contacts": [{"input": to, "wa_id": to}],
        "messages": [{"id": id::message()}],
    })))
}

/// Accepts any profile, and forgets it.
async fn set_profile(State(simulator): State<Arc<Simulator>>, headers: HeaderMap) -> Answer {
    let caller = simulator.store.read(|records| caller(records, &headers));
    caller.map(|_| Json(json!({"success": true})))
}

async fn webhook(State(simulator): State<Arc<Simulator>>, headers: HeaderMap) -> Answer {
    simulator.store.read(|records| {
        let (partner, channel) = caller(records, &headers)?;
        let channel = records.channel(&partner, &channel);
        let webhook = channel.map(|channel| channel.messaging_webhook.view());
        webhook.map(Json).ok_or(ApiError::UNAUTHORIZED)
    })
}

#[derive(Deserialize)]
struct WebhookRequest {
    url: String,
    #[serde(default)]
    headers: Map<String, Value>,
}

async fn set_webhook(
    State(simulator): State<Arc<Simulator>>,
    headers: HeaderMap,
    request: Result<Json<WebhookRequest>, JsonRejection>,
) -> Answer {
    let (partner, channel) = simulator.store.read(|records| caller(records, &headers))?;
    let Json(request) = request.map_err(|_| ApiError::BAD_MESSAGING_WEBHOOK)?;
    let is_http =
        Url::parse(&request.url).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
    if !is_http {
        return Err(ApiError::BAD_MESSAGING_WEBHOOK);
    }
    let webhook = MessagingWebhook {
        url: Some(request.url),
        headers: request.headers,
    };
    let view = webhook.view();
    simulator.store.change(|records| {
        let channel = records.channel_mut(&partner, &channel);
        channel.ok_or(ApiError::UNAUTHORIZED)?.messaging_webhook = webhook;
        Ok::<_, ApiError>(())
    })?;
    tracing::info!(%partner, %channel, "messaging webhook set");
    Ok(Json(view))
}

/// Partner id and channel id of the live key in the headers.
fn caller(records: &Records, headers: &HeaderMap) -> Result<(String, String), ApiError> {
    let key = channel_key(headers).ok_or(ApiError::UNAUTHORIZED)?;
    let found = records.channel_with_key(&digest(key));
    let (partner, channel) = found.ok_or(ApiError::UNAUTHORIZED)?;
    Ok((partner.to_owned(), channel.id.clone()))
}
