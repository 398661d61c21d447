//! The part of the Partner API that lists channels and makes their keys.

use std::{cmp::Ordering, sync::Arc};

use axum::{
    Json, Router,
    extract::{Path, Query, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use data_encoding::HEXLOWER;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::{
    id,
    settings::{Access, Billing, Partner},
    simulator::Simulator,
    state::{Key, Permission, Stage},
    store::SaveError,
};

const DEFAULT_LIMIT: usize = 20;
const GREATEST_LIMIT: usize = 1000;

pub(crate) fn routes() -> Router<Arc<Simulator>> {
    Router::new()
        .route("/api/v2/partners/{partner}/channels", get(channels))
        .route(
            "/api/v2/partners/{partner}/channels/{channel}/api_keys",
            get(keys).post(make_key),
        )
        // The path in the documentation's sample, without the partner.
        .route(
            "/api/v2/partners/channels/{channel}/api-keys",
            get(sample_keys).post(sample_make_key),
        )
}

/// An error in the Partner API's form.
#[derive(Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    message: &'static str,
}

impl ApiError {
    pub(crate) const UNAUTHORIZED: Self = Self {
        status: StatusCode::UNAUTHORIZED,
        message: "Missing or invalid credentials",
    };
    const BAD_FILTERS: Self = Self {
        status: StatusCode::BAD_REQUEST,
        message: "filters is not a JSON object",
    };
    pub(crate) const BAD_ADDRESS: Self = Self {
        status: StatusCode::BAD_REQUEST,
        message: "An address is an absolute http or https URL, or empty",
    };
    const BAD_PAGE: Self = Self {
        status: StatusCode::BAD_REQUEST,
        message: "limit and offset are whole numbers, limit at least 1",
    };
    const NO_SUCH_CHANNEL: Self = Self {
        status: StatusCode::NOT_FOUND,
        message: "Channel not found",
    };
    const NOT_PERMITTED: Self = Self {
        status: StatusCode::FORBIDDEN,
        message: "The client has not permitted API keys for this channel",
    };
    const NOT_RUNNING: Self = Self {
        status: StatusCode::BAD_REQUEST,
        message: "The channel is not running",
    };
    const NOT_SAVED: Self = Self {
        status: StatusCode::INTERNAL_SERVER_ERROR,
        message: "The simulator could not save the change",
    };
}

impl From<SaveError> for ApiError {
    fn from(error: SaveError) -> Self {
        tracing::error!(%error, "nothing changed");
        Self::NOT_SAVED
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let meta = json!({
            "success": false,
            "http_code": self.status.as_u16(),
            "developer_message": self.message,
            "details": [],
            "error_data": {},
        });
        (self.status, Json(json!({"meta": meta}))).into_response()
    }
}

impl Partner {
    pub(crate) fn may_always_make_keys(&self) -> bool {
        self.billing == Billing::PartnerPaid
    }

    fn accepts(&self, headers: &HeaderMap) -> bool {
        self.access.iter().any(|access| match access {
            Access::Token(token) => {
                bearer(headers).is_some_and(|given| is_same_secret(given, token))
            }
            Access::ApiKey(key) => {
                header_text(headers, "x-api-key").is_some_and(|given| is_same_secret(given, key))
            }
        })
    }
}

/// The digest under which a key is stored and found again.
pub(crate) fn digest(secret: &str) -> String {
    HEXLOWER.encode(&Sha256::digest(secret))
}

pub(crate) fn header_text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = header_text(headers, header::AUTHORIZATION.as_str())?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Compares digests, so that the time taken reveals nothing about the secret.
fn is_same_secret(given: &str, secret: &str) -> bool {
    Sha256::digest(given) == Sha256::digest(secret)
}

/// The partner, if the headers hold its credentials. An unknown partner gets the same answer as wrong credentials.
pub(crate) fn authorize<'a>(
    simulator: &'a Simulator,
    partner: &str,
    headers: &HeaderMap,
) -> Result<&'a Partner, ApiError> {
    simulator
        .partners
        .get(partner)
        .filter(|partner| partner.accepts(headers))
        .ok_or(ApiError::UNAUTHORIZED)
}

/// For addresses without a partner: the partner that has the channel, among those whose credentials are given.
fn authorize_by_channel<'a>(
    simulator: &'a Simulator,
    channel: &str,
    headers: &HeaderMap,
) -> Result<&'a Partner, ApiError> {
    let mut authorized = simulator
        .partners
        .values()
        .filter(|partner| partner.accepts(headers))
        .peekable();
    authorized.peek().ok_or(ApiError::UNAUTHORIZED)?;
    let has_channel = |partner: &&Partner| {
        simulator.store.read(|records| {
            records
                .account(&partner.id)
                .is_some_and(|it| it.channels.contains_key(channel))
        })
    };
    authorized
        .find(|partner| has_channel(partner))
        .ok_or(ApiError::NO_SUCH_CHANNEL)
}

#[derive(Deserialize)]
struct Page {
    limit: Option<String>,
    offset: Option<String>,
    sort: Option<String>,
    filters: Option<String>,
}

async fn channels(
    State(simulator): State<Arc<Simulator>>,
    Path(partner): Path<String>,
    Query(page): Query<Page>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let partner = authorize(&simulator, &partner, &headers)?;
    let limit = whole_number(page.limit.as_deref(), DEFAULT_LIMIT)?.min(GREATEST_LIMIT);
    let offset = whole_number(page.offset.as_deref(), 0)?;
    if limit == 0 {
        return Err(ApiError::BAD_PAGE);
    }
    let filters: Map<String, Value> = match page.filters.as_deref().filter(|text| !text.is_empty())
    {
        Some(text) => serde_json::from_str(text).map_err(|_| ApiError::BAD_FILTERS)?,
        None => Map::new(),
    };
    let mut found: Vec<Value> =
        simulator
            .store
            .read(|records| match records.account(&partner.id) {
                Some(account) => account
                    .channels
                    .values()
                    .map(|channel| account.channel_view(channel))
                    .collect(),
                None => Vec::new(),
            });
    found.retain(|channel| {
        filters
            .iter()
            .all(|(path, wanted)| matches(at_path(channel, path), wanted))
    });
    sort(&mut found, page.sort.as_deref().unwrap_or("created_at"));
    let total = found.len();
    let page: Vec<Value> = found.into_iter().skip(offset).take(limit).collect();
    let answer = json!({
        "count": page.len(), "total": total, "limit": limit, "offset": offset, "partner_channels": page,
    });
    Ok(Json(answer).into_response())
}

fn whole_number(text: Option<&str>, default: usize) -> Result<usize, ApiError> {
    text.map_or(Ok(default), |text| {
        text.parse().map_err(|_| ApiError::BAD_PAGE)
    })
}

/// The value at a dotted path.
fn at_path<'a>(channel: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.')
        .try_fold(channel, |value, name| value.get(name))
}

fn matches(value: Option<&Value>, wanted: &Value) -> bool {
    match wanted {
        Value::Array(any) => any.iter().any(|wanted| matches(value, wanted)),
        Value::Null => value.is_none_or(Value::is_null),
        wanted => value == Some(wanted),
    }
}

/// Sorts by a dotted path, descending if it begins with `-`, then by id.
fn sort(channels: &mut [Value], by: &str) {
    let (path, is_descending) = by
        .strip_prefix('-')
        .map_or((by, false), |path| (path, true));
    let text = |channel: &Value, path: &str| at_path(channel, path).map(Value::to_string);
    channels.sort_by(|a, b| {
        let order = text(a, path).cmp(&text(b, path));
        let order = if is_descending {
            order.reverse()
        } else {
            order
        };
        match order {
            Ordering::Equal => text(a, "id").cmp(&text(b, "id")),
            order => order,
        }
    });
}

async fn keys(
    State(simulator): State<Arc<Simulator>>,
    Path((partner, channel)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    list_keys(
        &simulator,
        authorize(&simulator, &partner, &headers)?,
        &channel,
    )
}

async fn sample_keys(
    State(simulator): State<Arc<Simulator>>,
    Path(channel): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    list_keys(
        &simulator,
        authorize_by_channel(&simulator, &channel, &headers)?,
        &channel,
    )
}

fn list_keys(
    simulator: &Simulator,
    partner: &Partner,
    channel: &str,
) -> Result<Json<Value>, ApiError> {
    let key = simulator.store.read(|records| {
        let channel = records
            .account(&partner.id)
            .and_then(|account| account.channels.get(channel));
        channel
            .map(|channel| channel.key.clone())
            .ok_or(ApiError::NO_SUCH_CHANNEL)
    })?;
    let keys: Vec<Value> = key
        .iter()
        .map(|key| json!({"id": key.id, "app_id": key.app_id}))
        .collect();
    Ok(Json(json!({"api_keys": keys})))
}

async fn make_key(
    State(simulator): State<Arc<Simulator>>,
    Path((partner, channel)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let key = new_key(
        &simulator,
        authorize(&simulator, &partner, &headers)?,
        &channel,
    )?;
    Ok((StatusCode::CREATED, Json(key)))
}

async fn sample_make_key(
    State(simulator): State<Arc<Simulator>>,
    Path(channel): Path<String>,
    headers: HeaderMap,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let key = new_key(
        &simulator,
        authorize_by_channel(&simulator, &channel, &headers)?,
        &channel,
    )?;
    Ok((StatusCode::CREATED, Json(json!({"api_keys": [key]}))))
}

/// Makes a key, which revokes the key before. Only this answer holds the key itself.
fn new_key(simulator: &Simulator, partner: &Partner, channel_id: &str) -> Result<Value, ApiError> {
    let secret = id::api_key();
    let key = Key {
        id: id::number(),
        app_id: id::number(),
        sha256: digest(&secret),
    };
    let answer = json!({
        "address": format!("{}/waba", simulator.public_url), "api_key": secret, "app_id": key.app_id, "id": key.id,
    });
    let revoked = simulator.store.change(|records| {
        let account = records.account_mut(&partner.id);
        let channel = account
            .channels
            .get_mut(channel_id)
            .ok_or(ApiError::NO_SUCH_CHANNEL)?;
        if !partner.may_always_make_keys() && channel.permission != Permission::Granted {
            return Err(ApiError::NOT_PERMITTED);
        }
        if channel.stage < Stage::Running {
            return Err(ApiError::NOT_RUNNING);
        }
        Ok(channel.key.replace(key))
    })?;
    let revoked = revoked.map(|key| key.id);
    tracing::info!(partner = %partner.id, channel = %channel_id, ?revoked, "API key made");
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_names_a_dotted_path() {
        let channel = json!({"id": "aCH", "setup_info": {"phone_number": "12125550123"}, "current_limit": null});
        assert!(matches(
            at_path(&channel, "setup_info.phone_number"),
            &json!("12125550123")
        ));
        assert!(matches(at_path(&channel, "id"), &json!(["bCH", "aCH"])));
        assert!(matches(at_path(&channel, "current_limit"), &Value::Null));
        assert!(!matches(at_path(&channel, "id"), &json!("bCH")));
        assert!(!matches(at_path(&channel, "no.such.path"), &json!("aCH")));
    }

    #[test]
    fn channels_are_sorted_either_way() {
        let mut channels = [
            json!({"id": "b", "n": "1"}),
            json!({"id": "a", "n": "1"}),
            json!({"id": "c", "n": "2"}),
        ];
        sort(&mut channels, "-n");
        assert_eq!(
            channels.map(|channel| channel["id"].clone()),
            ["c", "a", "b"]
        );
    }
}
