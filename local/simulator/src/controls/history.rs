//! A control that sends the chats of a number that stays in the WhatsApp Business app.

use std::sync::Arc;

use axum::{
    Json,
    extract::{State, rejection::JsonRejection},
    http::StatusCode,
};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Failure, channels::no_such_channel};
use crate::{history, simulator::Simulator, state::Delivery, webhooks::SendError};

const MOST_BODIES: usize = 100;
const MOST_BYTES: usize = 32 << 20;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HistoryRequest {
    partner: String,
    channel: String,
    #[serde(default = "default_bodies")]
    bodies: usize,
    #[serde(default = "default_bytes")]
    bytes: usize,
}

fn default_bodies() -> usize {
    3
}

fn default_bytes() -> usize {
    1_000_000
}

/// Sends contacts and chats, one after the other, each once.
pub(super) async fn send_history(
    State(simulator): State<Arc<Simulator>>,
    request: Result<Json<HistoryRequest>, JsonRejection>,
) -> Result<Json<Value>, Failure> {
    let Json(request) = request?;
    let partner = simulator.require_partner(&request.partner)?;
    let HistoryRequest { bodies, bytes, .. } = request;
    if bodies > MOST_BODIES || bytes > MOST_BYTES {
        let text = format!("bodies are at most {MOST_BODIES}, and bytes at most {MOST_BYTES}");
        return Err(Failure(StatusCode::BAD_REQUEST, text));
    }
    let channel = simulator.store.read(|records| {
        let channel = records.channel(&partner.id, &request.channel);
        channel.cloned().ok_or_else(no_such_channel)
    })?;
    let now = Timestamp::now();
    let contacts = history::contacts(partner, &channel, now);
    let state_sync = send(&simulator, &contacts).await?;
    let mut statuses = Vec::new();
    for chats in history::chats(partner, &channel, history::Size { bodies, bytes }, now) {
        statuses.push(send(&simulator, &chats).await?);
    }
    Ok(Json(
        json!({"state_sync": state_sync, "statuses": statuses}),
    ))
}

/// The status of the answer; `None` if there was no answer.
async fn send(simulator: &Simulator, delivery: &Delivery) -> Result<Option<u16>, Failure> {
    match simulator.send(delivery).await {
        Ok(status) => Ok(Some(status)),
        Err(SendError::NoAnswer(error)) => {
            tracing::warn!(event = %delivery.event, %error, "history not answered");
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}
