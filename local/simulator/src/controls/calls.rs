//! Controls of the calls that arrive: those that came, and the faults that change their answers.

use std::sync::Arc;

use axum::{
    Json,
    extract::{
        Query, State,
        rejection::{JsonRejection, QueryRejection},
    },
};
use serde_json::{Value, json};

use super::Failure;
use crate::{call_log::CallFilter, fault::Fault, simulator::Simulator};

pub(super) async fn calls(
    State(simulator): State<Arc<Simulator>>,
    filter: Result<Query<CallFilter>, QueryRejection>,
) -> Result<Json<Value>, Failure> {
    let Query(filter) = filter?;
    let partners = simulator.partners.keys();
    Ok(Json(simulator.call_log.view(&filter, partners)))
}

pub(super) async fn forget_calls(State(simulator): State<Arc<Simulator>>) -> Json<Value> {
    simulator.call_log.forget();
    Json(json!({}))
}

pub(super) async fn faults(State(simulator): State<Arc<Simulator>>) -> Json<Value> {
    Json(json!({"faults": simulator.faults.all()}))
}

/// Adds one fault, or a list of them.
pub(super) async fn add_faults(
    State(simulator): State<Arc<Simulator>>,
    body: Result<Json<Value>, JsonRejection>,
) -> Result<Json<Value>, Failure> {
    let Json(body) = body?;
    let faults: Vec<Fault> = if body.is_array() {
        serde_json::from_value(body)?
    } else {
        vec![serde_json::from_value(body)?]
    };
    for fault in &faults {
        fault.check().map_err(|error| Failure::bad(&error))?;
        if let Some(partner) = &fault.partner {
            simulator.require_partner(partner)?;
        }
    }
    simulator.faults.add(faults);
    Ok(Json(json!({"faults": simulator.faults.all()})))
}

pub(super) async fn remove_faults(State(simulator): State<Arc<Simulator>>) -> Json<Value> {
    simulator.faults.clear();
    Json(json!({"faults": []}))
}
