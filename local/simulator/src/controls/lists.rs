//! A control of the faults of lists.

use std::sync::Arc;

use axum::{
    Json,
    extract::{State, rejection::JsonRejection},
};
use serde_json::{Map, Value, json};

use super::Failure;
use crate::{bulk_lists::ListFaults, simulator::Simulator};

/// Replaces the faults of a partner's lists: `{"partner", …}`.
pub(super) async fn set_lists(
    State(simulator): State<Arc<Simulator>>,
    request: Result<Json<Map<String, Value>>, JsonRejection>,
) -> Result<Json<Value>, Failure> {
    let Json(mut request) = request?;
    let partner = request.remove("partner").unwrap_or_default();
    let partner = simulator.require_partner(partner.as_str().unwrap_or_default())?;
    let faults: ListFaults = serde_json::from_value(request.into())?;
    let shown = json!(faults);
    simulator.store.change(|records| {
        records.account_mut(&partner.id).set_list_faults(faults);
        Ok::<_, Failure>(())
    })?;
    Ok(Json(shown))
}
