//! The templates of the WABA that a channel belongs to: listed, submitted and deleted with the channel's key, and
//! edited by the partner.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, RawQuery, State, rejection::JsonRejection},
    http::{HeaderMap, StatusCode},
};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, caller};
use crate::{
    id,
    partner_api::{credentials::authorize, error::ApiError, lists::Page},
    simulator::Simulator,
    state::Records,
    template::{Content, Template},
};

const DEFAULT_SORT: &str = "id";
/// Clients write filters and sorting with or without it.
const PREFIX: &str = "business_templates.";

pub(super) async fn list(
    State(simulator): State<Arc<Simulator>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Answer {
    let page = Page::parse(&query.unwrap_or_default().replace(PREFIX, ""), DEFAULT_SORT);
    let rows = simulator.store.read(|records| {
        let (partner, waba_id) = waba(records, &headers)?;
        let account = records.account(&partner);
        let templates = account.into_iter().flat_map(|account| &account.templates);
        let rows = templates.filter(|it| it.waba_id == waba_id);
        Ok::<_, ApiError>(rows.map(|it| it.view(&partner)).collect())
    })?;
    let mut answer = page.answer("waba_templates", rows);
    answer["sort"] = json!([answer["sort"]]);
    Ok(Json(answer))
}

pub(super) async fn submit(
    State(simulator): State<Arc<Simulator>>,
    headers: HeaderMap,
    content: Result<Json<Content>, JsonRejection>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let (partner, waba_id) = simulator.store.read(|records| waba(records, &headers))?;
    let Json(content) = content.map_err(|_| ApiError::BAD_TEMPLATE)?;
    let now = Timestamp::now();
    let template = Template {
        id: id::template(),
        external_id: id::number(),
        waba_id,
        created_at: now,
        modified_at: now,
        content,
    };
    let answer = template.submitted();
    simulator.store.change(|records| {
        let templates = &mut records.account_mut(&partner).templates;
        if templates.iter().any(|it| is_same(it, &template)) {
            return Err(ApiError::TEMPLATE_NAME_IN_USE);
        }
        templates.push(template);
        Ok(())
    })?;
    Ok((StatusCode::CREATED, Json(answer)))
}

/// Deletes a template in all its languages.
pub(super) async fn delete(
    State(simulator): State<Arc<Simulator>>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Answer {
    simulator.store.change(|records| {
        let (partner, waba_id) = waba(records, &headers)?;
        let templates = &mut records.account_mut(&partner).templates;
        let count = templates.len();
        templates.retain(|it| it.waba_id != waba_id || it.content.name != name);
        if templates.len() == count {
            return Err(ApiError::NO_SUCH_TEMPLATE);
        }
        Ok(())
    })?;
    let message = format!("template name={name} was deleted");
    let meta = json!({"success": true, "http_code": 200, "developer_message": message});
    Ok(Json(json!({"meta": meta})))
}

#[derive(Deserialize)]
pub(super) struct Edit {
    components: Option<Vec<Value>>,
}

/// Takes the partner's credentials, not a channel's key.
pub(super) async fn edit(
    State(simulator): State<Arc<Simulator>>,
    Path((partner, waba_id, id)): Path<(String, String, String)>,
    headers: HeaderMap,
    edit: Result<Json<Edit>, JsonRejection>,
) -> Answer {
    let partner = authorize(&simulator, &partner, &headers)?;
    let Json(edit) = edit.map_err(|_| ApiError::BAD_TEMPLATE)?;
    simulator.store.change(|records| {
        let templates = &mut records.account_mut(&partner.id).templates;
        let found = templates.iter_mut().find(|it| it.id == id);
        let template = found
            .filter(|it| it.waba_id == waba_id)
            .ok_or(ApiError::NO_SUCH_TEMPLATE)?;
        if let Some(components) = edit.components {
            template.content.components = components;
        }
        template.modified_at = Timestamp::now();
        Ok::<_, ApiError>(())
    })?;
    Ok(Json(json!({"success": true})))
}

/// Partner id and WABA id of the channel whose live key is in the headers.
fn waba(records: &Records, headers: &HeaderMap) -> Result<(String, String), ApiError> {
    let (partner, channel) = caller(records, headers)?;
    let channel = records.channel(&partner, &channel);
    let waba_id = channel.map(|channel| channel.waba_id.clone());
    Ok((partner, waba_id.ok_or(ApiError::UNAUTHORIZED)?))
}

/// Whether a WABA cannot have both.
fn is_same(one: &Template, other: &Template) -> bool {
    one.waba_id == other.waba_id
        && one.content.name == other.content.name
        && one.content.language == other.content.language
}
