//! Routes for tests and for people who try things out: they move the simulator where no client of 360dialog can.

mod onboarding;
mod events;
mod history;
mod channels;
mod lists;
mod calls;

use std::{error::Error, sync::Arc};

use axum::{
    Json, Router,
    extract::{
        DefaultBodyLimit,
        rejection::{JsonRejection, QueryRejection},
    },
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{delete, get, post},
};
use serde_json::json;

use crate::{onboarding::Refusal, settings::Partner, simulator::Simulator, store::SaveError};

/// The largest body of a control, bytes: an event can hold months of chats.
const LARGEST_BODY: usize = 64 << 20;

pub(crate) fn routes() -> Router<Arc<Simulator>> {
    Router::new()
        .route("/_hub/healthz", get(async || StatusCode::OK))
        .route("/_hub/complete", post(onboarding::complete))
        .route("/_hub/event", post(events::event))
        .route("/_hub/history", post(history::send_history))
        .route(
            "/_hub/channel",
            get(channels::channel).post(channels::set_channel),
        )
        .route("/_hub/channels", delete(channels::forget_channels))
        .route("/_hub/key", post(channels::make_key))
        .route("/_hub/permission", post(channels::permit))
        .route("/_hub/lists", post(lists::set_lists))
        .route("/_hub/calls", get(calls::calls).delete(calls::forget_calls))
        .route(
            "/_hub/faults",
            get(calls::faults)
                .post(calls::add_faults)
                .delete(calls::remove_faults),
        )
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
}

/// The refusal of a control.
struct Failure(StatusCode, String);

impl Failure {
    fn bad(error: &impl Error) -> Self {
        Self(StatusCode::BAD_REQUEST, error.to_string())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.0, Json(json!({"error": self.1}))).into_response()
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self(refusal.status(), refusal.to_string())
    }
}

impl From<SaveError> for Failure {
    fn from(error: SaveError) -> Self {
        Refusal::from(error).into()
    }
}

impl From<JsonRejection> for Failure {
    fn from(rejection: JsonRejection) -> Self {
        Self(rejection.status(), rejection.body_text())
    }
}

impl From<QueryRejection> for Failure {
    fn from(rejection: QueryRejection) -> Self {
        Self(rejection.status(), rejection.body_text())
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        Self(StatusCode::UNPROCESSABLE_ENTITY, error.to_string())
    }
}

impl Simulator {
    fn require_partner(&self, id: &str) -> Result<&Partner, Failure> {
        let partner = self.partners.get(id);
        partner.ok_or_else(|| Refusal::UnknownPartner.into())
    }
}
