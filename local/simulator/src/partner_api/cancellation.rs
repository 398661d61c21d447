//! A partner cancels a channel: 360dialog takes the request at once and processes it later.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    http::HeaderMap,
};
use serde_json::Value;

use super::{credentials::authorize, error::ApiError};
use crate::simulator::Simulator;

pub(super) async fn request(
    State(simulator): State<Arc<Simulator>>,
    Path((partner, client, channel)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    let partner = authorize(&simulator, &partner, &headers)?;
    let (view, delivery) = simulator.store.change(|records| {
        let account = records.account_mut(&partner.id);
        let found = account.channels.get_mut(&channel);
        let found = found
            .filter(|found| found.client_id == client)
            .ok_or(ApiError::NO_SUCH_CHANNEL)?;
        let is_repeated = found.is_cancellation_requested || found.is_dead();
        found.is_cancellation_requested = true;
        let found = found.clone();
        let view = account.channel_view(&found);
        let delivery = if is_repeated {
            None
        } else {
            records.queue_webhook(partner, "cancellation_request", &view)
        };
        Ok::<_, ApiError>((view, (!is_repeated).then_some(delivery)))
    })?;
    if let Some(delivery) = delivery {
        tracing::info!(partner = %partner.id, %channel, "cancellation requested");
        simulator.dispatch(delivery.into_iter().collect());
        simulator.process_cancellation(&partner.id, &channel);
    }
    Ok(Json(view))
}
