//! The part of the Partner API in which a partner reads and sets its own addresses.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Path, State, rejection::JsonRejection},
    http::HeaderMap,
    routing::get,
};
use serde_json::{Map, Value, json};

use super::{credentials::authorize, error::ApiError};
use crate::{
    addresses::AddressSetting,
    settings::{Billing, Partner},
    simulator::Simulator,
};

type Body = Result<Json<Map<String, Value>>, JsonRejection>;

pub(super) fn routes() -> Router<Arc<Simulator>> {
    Router::new()
        .route(
            "/api/v2/partners/{partner}",
            get(partner).patch(change_partner),
        )
        .route(
            "/api/v2/partners/{partner}/webhook_url",
            get(webhook_url).post(set_webhook_url),
        )
}

async fn partner(
    State(simulator): State<Arc<Simulator>>,
    Path(partner): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    Ok(Json(view(
        &simulator,
        authorize(&simulator, &partner, &headers)?,
    )))
}

async fn change_partner(
    State(simulator): State<Arc<Simulator>>,
    Path(partner): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    let partner = authorize(&simulator, &partner, &headers)?;
    let Json(body) = body.map_err(|_| ApiError::BAD_ADDRESS)?;
    set(
        &simulator,
        partner,
        address(&body, "webhook_url")?,
        address(&body, "partner_redirect_url")?,
    )?;
    Ok(Json(view(&simulator, partner)))
}

async fn webhook_url(
    State(simulator): State<Arc<Simulator>>,
    Path(partner): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    let partner = authorize(&simulator, &partner, &headers)?;
    Ok(Json(
        json!({"webhook_url": view(&simulator, partner)["webhook_url"]}),
    ))
}

async fn set_webhook_url(
    State(simulator): State<Arc<Simulator>>,
    Path(partner): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    let partner = authorize(&simulator, &partner, &headers)?;
    let Json(body) = body.map_err(|_| ApiError::BAD_ADDRESS)?;
    let webhook_url = address(&body, "webhook_url")?.ok_or(ApiError::BAD_ADDRESS)?;
    set(&simulator, partner, Some(webhook_url), None)?;
    Ok(Json(
        json!({"webhook_url": view(&simulator, partner)["webhook_url"]}),
    ))
}

fn view(simulator: &Simulator, partner: &Partner) -> Value {
    simulator.store.read(|records| {
        json!({
            "id": partner.id,
            "brand_name": format!("Partner {}", partner.id),
            "payment_plan": match partner.billing {
                Billing::DirectPaid => "direct_paid",
                Billing::PartnerPaid => "partner_paid",
            },
            "webhook_url": records.webhook_url(partner),
            "partner_redirect_url": records.redirect_url(partner),
        })
    })
}

/// The address under `name`, if the body has that field; null and an empty text set no address.
fn address(body: &Map<String, Value>, name: &str) -> Result<Option<AddressSetting>, ApiError> {
    let text = match body.get(name) {
        None => return Ok(None),
        Some(Value::Null) => "",
        Some(value) => value.as_str().ok_or(ApiError::BAD_ADDRESS)?,
    };
    AddressSetting::parse(text)
        .map(Some)
        .ok_or(ApiError::BAD_ADDRESS)
}

fn set(
    simulator: &Simulator,
    partner: &Partner,
    webhook_url: Option<AddressSetting>,
    redirect_url: Option<AddressSetting>,
) -> Result<(), ApiError> {
    simulator.store.change(|records| {
        records
            .account_mut(&partner.id)
            .addresses
            .set(webhook_url, redirect_url);
        Ok::<_, ApiError>(())
    })?;
    tracing::info!(partner = %partner.id, "addresses set");
    Ok(())
}
