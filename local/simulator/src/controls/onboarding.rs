//! A control that follows an onboarding link as a person would.

use std::sync::Arc;

use axum::{
    Json,
    extract::{State, rejection::JsonRejection},
    http::StatusCode,
};
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use super::Failure;
use crate::{
    channel::Coexistence,
    onboarding::{Choice, Link, NewNumber, Session},
    pages,
    simulator::Simulator,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CompleteRequest {
    link: String,
    client: Option<String>,
    channels: Option<Vec<String>>,
    revoked: Option<Vec<String>>,
    #[serde(default)]
    cancel: bool,
    /// New numbers stay in the WhatsApp Business app.
    #[serde(default)]
    coexistence: bool,
}

impl CompleteRequest {
    fn choice(self, link: &Link) -> Choice {
        let coexistence = self.coexistence.then_some(Coexistence::HistoryDue);
        let new_number = NewNumber {
            coexistence,
            ..NewNumber::default()
        };
        Choice {
            client: self.client,
            client_name: link.value("name").map(str::to_owned),
            new_number: self.channels.is_none().then_some(new_number),
            grant: self.channels.unwrap_or_default(),
            revoke: self.revoked.unwrap_or_default(),
            coexistence,
        }
    }
}

pub(super) async fn complete(
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
        session.complete(&simulator, request.choice(&link)).await?
    };
    Ok(Json(json!({"redirect_url": redirect_url})))
}
