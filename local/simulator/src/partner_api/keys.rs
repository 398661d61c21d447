//! A channel's API keys: listed, made, and revoked.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
};
use serde_json::{Value, json};

use super::{
    credentials::{authorize, authorize_by_channel, digest},
    error::ApiError,
};
use crate::{
    channel::{Channel, Key, Permission, Stage},
    id,
    settings::{Billing, Partner},
    simulator::Simulator,
};

type Answer = Result<Json<Value>, ApiError>;
type Created = Result<(StatusCode, Json<Value>), ApiError>;
type At<T> = (State<Arc<Simulator>>, Path<T>, HeaderMap);

impl Partner {
    pub(crate) fn may_always_make_keys(&self) -> bool {
        self.billing == Billing::PartnerPaid
    }
}

impl Key {
    /// A new key of a channel, and the secret that is shown once.
    pub(crate) fn generate(app_id: &str) -> (Self, String) {
        let secret = id::api_key();
        let key = Self {
            id: id::number(),
            app_id: app_id.to_owned(),
            sha256: digest(&secret),
        };
        (key, secret)
    }
}

pub(super) async fn list(
    (State(simulator), Path((partner, channel)), headers): At<(String, String)>,
) -> Answer {
    let partner = authorize(&simulator, &partner, &headers)?;
    list_keys(&simulator, partner, &channel)
}

pub(super) async fn sample_list((State(simulator), Path(channel), headers): At<String>) -> Answer {
    let partner = authorize_by_channel(&simulator, &channel, &headers)?;
    list_keys(&simulator, partner, &channel)
}

pub(super) async fn make(
    (State(simulator), Path((partner, channel)), headers): At<(String, String)>,
) -> Created {
    let partner = authorize(&simulator, &partner, &headers)?;
    let key = new_key(&simulator, partner, &channel)?;
    Ok((StatusCode::CREATED, Json(key)))
}

pub(super) async fn sample_make((State(simulator), Path(channel), headers): At<String>) -> Created {
    let partner = authorize_by_channel(&simulator, &channel, &headers)?;
    let key = new_key(&simulator, partner, &channel)?;
    Ok((StatusCode::CREATED, Json(json!({"api_keys": [key]}))))
}

pub(super) async fn revoke(
    (State(simulator), Path((partner, channel)), headers): At<(String, String)>,
) -> Answer {
    let partner = authorize(&simulator, &partner, &headers)?;
    revoke_keys(&simulator, partner, &channel)
}

pub(super) async fn sample_revoke(
    (State(simulator), Path(channel), headers): At<String>,
) -> Answer {
    let partner = authorize_by_channel(&simulator, &channel, &headers)?;
    revoke_keys(&simulator, partner, &channel)
}

fn list_keys(simulator: &Simulator, partner: &Partner, channel: &str) -> Answer {
    let key = simulator.store.read(|records| {
        let channel = records.channel(&partner.id, channel);
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

/// Makes a key, which revokes the key before. Only this answer holds the key itself.
fn new_key(simulator: &Simulator, partner: &Partner, channel_id: &str) -> Result<Value, ApiError> {
    let (answer, revoked) = simulator.store.change(|records| {
        let channel = records
            .channel_mut(&partner.id, channel_id)
            .ok_or(ApiError::NO_SUCH_CHANNEL)?;
        require_permission(partner, channel)?;
        if channel.stage < Stage::Running || channel.is_dead() {
            return Err(ApiError::NOT_RUNNING);
        }
        let (key, secret) = Key::generate(&channel.app_id);
        let address = format!("{}/waba", simulator.public_url);
        let answer = json!({
            "address": address, "api_key": secret, "app_id": key.app_id, "id": key.id,
        });
        Ok((answer, channel.key.replace(key)))
    })?;
    let revoked = revoked.map(|key| key.id);
    tracing::info!(partner = %partner.id, channel = %channel_id, ?revoked, "API key made");
    Ok(answer)
}

fn revoke_keys(simulator: &Simulator, partner: &Partner, channel_id: &str) -> Answer {
    let revoked = simulator.store.change(|records| {
        let channel = records
            .channel_mut(&partner.id, channel_id)
            .ok_or(ApiError::NO_SUCH_CHANNEL)?;
        require_permission(partner, channel)?;
        Ok::<_, ApiError>(channel.key.take())
    })?;
    let revoked = revoked.map(|key| key.id);
    tracing::info!(partner = %partner.id, channel = %channel_id, ?revoked, "API keys revoked");
    Ok(Json(json!({"api_keys": []})))
}

fn require_permission(partner: &Partner, channel: &Channel) -> Result<(), ApiError> {
    if partner.may_always_make_keys() || channel.permission == Permission::Granted {
        Ok(())
    } else {
        Err(ApiError::NOT_PERMITTED)
    }
}
