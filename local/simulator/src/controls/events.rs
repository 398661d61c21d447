//! Controls that send webhooks.

use std::sync::Arc;

use axum::{
    Json,
    extract::{State, rejection::JsonRejection},
    http::StatusCode,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Failure;
use crate::{fault::WrongSignature, simulator::Simulator, state::Delivery, webhooks::SendError};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EventRequest {
    partner: String,
    event: String,
    data: Value,
    signature: Option<WrongSignature>,
}

/// Sends one event, once. Any event name is allowed.
pub(super) async fn event(
    State(simulator): State<Arc<Simulator>>,
    request: Result<Json<EventRequest>, JsonRejection>,
) -> Result<Json<Value>, Failure> {
    let Json(request) = request?;
    simulator.require_partner(&request.partner)?;
    let delivery = Delivery::new(&request.partner, &request.event, &request.data);
    let status = match request.signature {
        None => simulator.send(&delivery).await?,
        Some(WrongSignature::Wrong) => simulator.send_forged(&delivery).await?,
    };
    Ok(Json(json!({"status": status})))
}

impl From<SendError> for Failure {
    fn from(error: SendError) -> Self {
        let status = match error {
            SendError::NoAddress => StatusCode::CONFLICT,
            SendError::NoAnswer(_) => StatusCode::BAD_GATEWAY,
        };
        Self(status, error.to_string())
    }
}
