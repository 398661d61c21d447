//! Routes for tests: they follow an onboarding link as a person would, and send a single event.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{State, rejection::JsonRejection},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use crate::{
    onboarding::{Choice, Link, NewNumber, Refusal, Session},
    pages,
    simulator::Simulator,
    state::Delivery,
    webhooks::SendError,
};

pub(crate) fn routes() -> Router<Arc<Simulator>> {
    Router::new()
        .route("/_hub/healthz", get(async || StatusCode::OK))
        .route("/_hub/complete", post(complete))
        .route("/_hub/event", post(event))
}

/// The refusal of a control.
struct Failure(StatusCode, String);

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

impl From<JsonRejection> for Failure {
    fn from(rejection: JsonRejection) -> Self {
        Self(rejection.status(), rejection.body_text())
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CompleteRequest {
    link: String,
    client: Option<String>,
    channels: Option<Vec<String>>,
    revoked: Option<Vec<String>>,
    #[serde(default)]
    cancel: bool,
}

async fn complete(
    State(simulator): State<Arc<Simulator>>,
    request: Result<Json<CompleteRequest>, JsonRejection>,
) -> Result<Json<Value>, Failure> {
    let Json(request) = request?;
    let no_link = || {
        Failure(
            StatusCode::BAD_REQUEST,
            "link is not an absolute onboarding address".to_owned(),
        )
    };
    let url = Url::parse(&request.link).map_err(|_| no_link())?;
    let partner = pages::partner_in_path(url.path()).ok_or_else(no_link)?;
    let link = Link::parse(url.query().unwrap_or_default());
    let session = Session::begin(&simulator, partner, &link)?;
    let redirect_url = if request.cancel {
        session.cancel()
    } else {
        let new_number = request.channels.is_none().then(NewNumber::default);
        let choice = Choice {
            client: request.client,
            client_name: link.value("name").map(str::to_owned),
            grant: request.channels.unwrap_or_default(),
            new_number,
            revoke: request.revoked.unwrap_or_default(),
        };
        session.complete(&simulator, choice).await?
    };
    Ok(Json(json!({"redirect_url": redirect_url})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EventRequest {
    partner: String,
    event: String,
    data: Value,
}

/// Sends one event, once. Any event name is allowed.
async fn event(
    State(simulator): State<Arc<Simulator>>,
    request: Result<Json<EventRequest>, JsonRejection>,
) -> Result<Json<Value>, Failure> {
    let Json(request) = request?;
    if !simulator.partners.contains_key(&request.partner) {
        return Err(Refusal::UnknownPartner.into());
    }
    let delivery = Delivery::new(&request.partner, &request.event, &request.data);
    let status = simulator.send(&delivery).await.map_err(|error| {
        let status = match error {
            SendError::NoAddress => StatusCode::CONFLICT,
            SendError::NoAnswer(_) => StatusCode::BAD_GATEWAY,
        };
        Failure(status, error.to_string())
    })?;
    Ok(Json(json!({"status": status})))
}
