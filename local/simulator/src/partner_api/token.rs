//! Tokens for a username and password, as the legacy authentication issues them.

use std::sync::Arc;

use axum::{
    Json,
    extract::{State, rejection::JsonRejection},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;

use super::credentials::{digest, is_same_secret};
use super::error::ApiError;
use crate::{
    id,
    settings::{Access, Partner},
    simulator::Simulator,
};

#[derive(Deserialize)]
pub(super) struct Login {
    username: String,
    password: String,
}

pub(super) async fn issue(
    State(simulator): State<Arc<Simulator>>,
    login: Result<Json<Login>, JsonRejection>,
) -> Result<Response, ApiError> {
    let Ok(Json(login)) = login else {
        let text = "The body is JSON with username and password";
        return Ok(refusal(StatusCode::BAD_REQUEST, "invalid_request", text));
    };
    let Some(partner) = find(&simulator, &login) else {
        let text = "Wrong username or password";
        return Ok(refusal(StatusCode::UNAUTHORIZED, "invalid_grant", text));
    };
    let token = id::token();
    simulator.store.change(|records| {
        let now = Timestamp::now();
        // A lifetime beyond the calendar does not end.
        let expires_at = now.checked_add(simulator.token_lifetime);
        let tokens = &mut records.account_mut(&partner.id).tokens;
        tokens.retain(|_, expires_at| *expires_at > now);
        tokens.insert(digest(&token), expires_at.unwrap_or(Timestamp::MAX));
        Ok::<_, ApiError>(())
    })?;
    tracing::info!(partner = %partner.id, "token issued");
    let answer = json!({
        "access_token": token,
        "refresh_token": id::token(),
        "token_type": "Bearer",
        "expires_in": simulator.token_lifetime.as_secs(),
    });
    Ok(Json(answer).into_response())
}

fn find<'a>(simulator: &'a Simulator, login: &Login) -> Option<&'a Partner> {
    let is_right = |access: &Access| match access {
        Access::Login { username, password } => {
            *username == login.username && is_same_secret(&login.password, password)
        }
        Access::Token(_) | Access::ApiKey(_) => false,
    };
    let mut partners = simulator.partners.values();
    partners.find(|partner| partner.access.iter().any(is_right))
}

fn refusal(status: StatusCode, error: &str, description: &str) -> Response {
    let body = json!({"error": error, "error_description": description});
    (status, Json(body)).into_response()
}
