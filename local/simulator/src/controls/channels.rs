//! Controls that make, change and forget channels, mostly without a webhook.

use std::sync::Arc;

use axum::{
    Json,
    extract::{
        Query, State,
        rejection::{JsonRejection, QueryRejection},
    },
    http::StatusCode,
};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Failure;
use crate::{
    channel::{Channel, Death, Key, Permission, Stage},
    fault::present,
    id,
    onboarding::Refusal,
    settings::Partner,
    simulator::Simulator,
    state::{Client, Delivery, Records},
};

type Answer = Result<Json<Value>, Failure>;

/// A field that is absent leaves the channel as it is.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ChannelRequest {
    partner: String,
    channel: String,
    client: Option<String>,
    stage: Option<Stage>,
    permission: Option<Permission>,
    #[serde(default, deserialize_with = "present")]
    created_at: Option<Option<Timestamp>>,
    /// Replaces the merge patch over the object that is shown.
    set: Option<Map<String, Value>>,
    #[serde(default, deserialize_with = "present")]
    dies: Option<Option<Death>>,
    #[serde(default)]
    webhooks: bool,
}

pub(super) async fn set_channel(
    State(simulator): State<Arc<Simulator>>,
    request: Result<Json<ChannelRequest>, JsonRejection>,
) -> Answer {
    let Json(request) = request?;
    let partner = simulator.require_partner(&request.partner)?;
    let ids = [request.client.as_ref(), Some(&request.channel)];
    if !ids.into_iter().flatten().all(|text| id::is_id(text)) {
        return Err(Refusal::MalformedId.into());
    }
    let channel = request.channel.clone();
    let deliveries = simulator.store.change(|records| {
        let script = Script {
            partner,
            is_silent: !request.webhooks,
            records,
            now: Timestamp::now(),
            deliveries: Vec::new(),
        };
        Ok::<_, Failure>(script.apply(request))
    })?;
    simulator.dispatch(deliveries);
    view(&simulator, &partner.id, &channel)
}

/// The change of one channel, with the webhooks that it causes unless it is silent.
struct Script<'a> {
    partner: &'a Partner,
    is_silent: bool,
    records: &'a mut Records,
    now: Timestamp,
    deliveries: Vec<Delivery>,
}

impl Script<'_> {
    fn apply(mut self, request: ChannelRequest) -> Vec<Delivery> {
        let known = self.records.channel(&self.partner.id, &request.channel);
        let known = known.cloned();
        let is_new = known.is_none();
        let mut channel = known.unwrap_or_else(|| self.new_channel(&request.channel));
        channel.is_scripted = true;
        if let Some(client) = request.client {
            channel.client_id = client;
        }
        channel.created_at = request.created_at.unwrap_or(channel.created_at);
        channel.patch = request.set.unwrap_or(channel.patch);
        self.ensure_client(&channel.client_id);
        if is_new {
            self.report(Stage::Created.event(), &channel);
        }
        let steps = request.stage.map(|stage| channel.move_to(stage));
        for (event, reached) in steps.unwrap_or_default() {
            self.report(event, &reached);
        }
        self.permit(&mut channel, request.permission);
        if let Some(death) = request.dies {
            channel.set_death(death, self.now);
        }
        let account = self.records.account_mut(&self.partner.id);
        account.channels.insert(channel.id.clone(), channel);
        self.deliveries
    }

    fn new_channel(&self, id: &str) -> Channel {
        let phone_number = self.records.unused_phone_number();
        Channel::new(id, &id::client(), phone_number, self.now)
    }

    fn permit(&mut self, channel: &mut Channel, permission: Option<Permission>) {
        let Some(permission) = permission.filter(|it| *it != channel.permission) else {
            return;
        };
        channel.permission = permission;
        if let Some(event) = permission.event() {
            self.report(event, channel);
        }
    }

    fn ensure_client(&mut self, id: &str) {
        let account = self.records.account_mut(&self.partner.id);
        if account.clients.contains_key(id) {
            return;
        }
        let client = Client {
            id: id.to_owned(),
            name: format!("Client {id}"),
            created_at: self.now,
            email: None,
            payload: None,
        };
        let data = client.event_data();
        account.clients.insert(id.to_owned(), client);
        self.queue("client_created", &data);
    }

    fn report(&mut self, event: &str, channel: &Channel) {
        let account = self.records.account_mut(&self.partner.id);
        let view = account.channel_view(channel);
        self.queue(event, &view);
    }

    fn queue(&mut self, event: &str, data: &Value) {
        if !self.is_silent {
            self.deliveries
                .extend(self.records.queue_webhook(self.partner, event, data));
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ChannelQuery {
    partner: String,
    channel: String,
}

pub(super) async fn channel(
    State(simulator): State<Arc<Simulator>>,
    query: Result<Query<ChannelQuery>, QueryRejection>,
) -> Answer {
    let Query(query) = query?;
    simulator.require_partner(&query.partner)?;
    view(&simulator, &query.partner, &query.channel)
}

/// A channel as this control shows it: the object, and what 360dialog knows beside it.
fn view(simulator: &Simulator, partner: &str, channel: &str) -> Answer {
    simulator.store.read(|records| {
        let account = records.account(partner).ok_or_else(no_such_channel)?;
        let channel = account.channels.get(channel).ok_or_else(no_such_channel)?;
        let keys: Vec<&String> = channel.key.iter().map(|key| &key.id).collect();
        Ok(Json(json!({
            "channel": account.channel_view(channel),
            "stage": channel.stage,
            "permission": channel.permission,
            "keys": keys,
            "messaging_webhook": channel.messaging_webhook.view(),
        })))
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PartnerQuery {
    partner: String,
}

/// Forgets all channels of a partner, and their keys.
pub(super) async fn forget_channels(
    State(simulator): State<Arc<Simulator>>,
    query: Result<Query<PartnerQuery>, QueryRejection>,
) -> Answer {
    let Query(PartnerQuery { partner }) = query?;
    simulator.require_partner(&partner)?;
    simulator.store.change(|records| {
        records.account_mut(&partner).channels.clear();
        Ok::<_, Failure>(())
    })?;
    Ok(Json(json!({})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeyRequest {
    partner: String,
    channel: String,
    /// The id of the new key, instead of a random one.
    id: Option<String>,
}

/// The client makes a key of its own, which revokes the others.
pub(super) async fn make_key(
    State(simulator): State<Arc<Simulator>>,
    request: Result<Json<KeyRequest>, JsonRejection>,
) -> Answer {
    let Json(request) = request?;
    simulator.require_partner(&request.partner)?;
    let id = simulator.store.change(|records| {
        let channel = records.channel_mut(&request.partner, &request.channel);
        let channel = channel.ok_or_else(no_such_channel)?;
        let (mut key, _) = Key::generate(&channel.app_id);
        key.id = request.id.unwrap_or(key.id);
        let id = key.id.clone();
        channel.key = Some(key);
        Ok::<_, Failure>(id)
    })?;
    Ok(Json(json!({"id": id})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PermissionRequest {
    partner: String,
    channel: String,
    permission: Permission,
    #[serde(default)]
    webhook: bool,
}

/// The client grants or revokes its permission.
pub(super) async fn permit(
    State(simulator): State<Arc<Simulator>>,
    request: Result<Json<PermissionRequest>, JsonRejection>,
) -> Answer {
    let Json(request) = request?;
    let partner = simulator.require_partner(&request.partner)?;
    let no_answer = || {
        let text = "permission is granted or revoked".to_owned();
        Failure(StatusCode::BAD_REQUEST, text)
    };
    let event = request.permission.event().ok_or_else(no_answer)?;
    let delivery = simulator.store.change(|records| {
        let account = records.account_mut(&partner.id);
        let channel = account.channels.get_mut(&request.channel);
        let channel = channel.ok_or_else(no_such_channel)?;
        channel.permission = request.permission;
        let channel = channel.clone();
        let view = account.channel_view(&channel);
        Ok::<_, Failure>(if request.webhook {
            records.queue_webhook(partner, event, &view)
        } else {
            None
        })
    })?;
    simulator.dispatch(delivery.into_iter().collect());
    view(&simulator, &partner.id, &request.channel)
}

pub(super) fn no_such_channel() -> Failure {
    Failure(
        StatusCode::NOT_FOUND,
        "There is no such channel.".to_owned(),
    )
}
