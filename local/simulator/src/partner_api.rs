//! The part of the Partner API that is simulated.

pub(crate) mod credentials;
pub(crate) mod error;

mod token;
pub(crate) mod lists;
mod keys;
mod cancellation;
mod settings;

use std::sync::Arc;

use axum::{
    Router,
    routing::{any, get, post},
};

use self::error::ApiError;
use crate::simulator::Simulator;

pub(crate) fn routes() -> Router<Arc<Simulator>> {
    Router::new()
        .route("/api/v2/token", post(token::issue))
        .route("/api/v2/partners/{partner}/channels", get(lists::channels))
        .route("/api/v2/partners/{partner}/clients", get(lists::clients))
        .route(
            "/api/v2/partners/{partner}/channels/{channel}/api_keys",
            get(keys::list).post(keys::make).delete(keys::revoke),
        )
        // The path in the documentation's sample, without the partner.
        .route(
            "/api/v2/partners/channels/{channel}/api-keys",
            get(keys::sample_list)
                .post(keys::sample_make)
                .delete(keys::sample_revoke),
        )
        .route(
            "/api/v2/partners/{partner}/clients/{client}/channels/{channel}/control/cancellation_request",
            post(cancellation::request),
        )
        // Without the client the address does not exist, and nothing is cancelled.
        .route(
            "/api/v2/partners/{partner}/channels/{channel}/control/cancellation_request",
            post(async || ApiError::NO_SUCH_PATH),
        )
        .merge(settings::routes())
        .route(
            "/api/v2/{*path}",
            any(async || ApiError::NO_SUCH_PATH),
        )
}
