//! What a test does instead of a person: follow a link, send an event.

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
    onboarding::{Choice, Link, NewNumber, Refusal, Visit},
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

/// A control that was not carried out.
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
struct Completion {
    link: String,
    client: Option<String>,
    channels: Option<Vec<String>>,
    revoked: Option<Vec<String>>,
    #[serde(default)]
    cancel: bool,
}

async fn complete(
    State(hub): State<Arc<Simulator>>,
    asked: Result<Json<Completion>, JsonRejection>,
) -> Result<Json<Value>, Failure> {
    let Json(asked) = asked?;
    let no_link = || {
        Failure(
            StatusCode::BAD_REQUEST,
            "link is not an absolute onboarding address".to_owned(),
        )
    };
    let url = Url::parse(&asked.link).map_err(|_| no_link())?;
    let partner = pages::partner_of(url.path()).ok_or_else(no_link)?;
    let link = Link::parse(url.query().unwrap_or_default());
    let visit = Visit::begin(&hub, partner, &link)?;
    let redirect_url = if asked.cancel {
        visit.cancel()
    } else {
        let new_number = asked.channels.is_none().then(NewNumber::default);
        let choice = Choice {
            client: asked.client,
            client_name: link.value("name").map(str::to_owned),
            grant: asked.channels.unwrap_or_default(),
            new_number,
            revoke: asked.revoked.unwrap_or_default(),
        };
        visit.complete(&hub, choice).await?
    };
    Ok(Json(json!({"redirect_url": redirect_url})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Event {
    partner: String,
    event: String,
    data: Value,
}

/// Sent once, as asked, whether or not such an event exists.
async fn event(
    State(hub): State<Arc<Simulator>>,
    asked: Result<Json<Event>, JsonRejection>,
) -> Result<Json<Value>, Failure> {
    let Json(asked) = asked?;
    if !hub.partners.contains_key(&asked.partner) {
        return Err(Refusal::UnknownPartner.into());
    }
    let delivery = Delivery::new(&asked.partner, &asked.event, &asked.data);
    let status = hub.send(&delivery).await.map_err(|error| {
        let status = match error {
            SendError::NoAddress => StatusCode::CONFLICT,
            SendError::NoAnswer(_) => StatusCode::BAD_GATEWAY,
        };
        Failure(status, error.to_string())
    })?;
    Ok(Json(json!({"status": status})))
}
