//! The messaging API, as far as it takes to check whether a channel's key is live.

use std::sync::Arc;

use axum::{Json, Router, extract::State, http::HeaderMap, routing::post};
use serde_json::{Value, json};

use crate::{
    id,
    partner_api::{ApiError, digest, header_text},
    simulator::Simulator,
};

pub(crate) fn routes() -> Router<Arc<Simulator>> {
    Router::new().route("/waba/messages", post(send_message))
}

/// Accepts any message from a caller with a live key, and does not send it.
async fn send_message(
    State(simulator): State<Arc<Simulator>>,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    let key = header_text(&headers, "d360-api-key")
        .map(digest)
        .ok_or(ApiError::UNAUTHORIZED)?;
    let is_live = simulator.store.read(|records| {
        let mut channels = records
            .accounts
            .values()
            .flat_map(|account| account.channels.values());
        channels.any(|channel| channel.key.as_ref().is_some_and(|live| live.sha256 == key))
    });
    if is_live {
        Ok(Json(json!({"messages": [{"id": id::message()}]})))
    } else {
        Err(ApiError::UNAUTHORIZED)
    }
}
