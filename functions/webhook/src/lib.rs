//! `POST /{partner_id}/webhook`: verifies the signature over the raw bytes, appends the event, and answers.
//!
//! An event that is not understood is stored with its raw bytes. The same event again is the same fact, so a replay
//! changes nothing.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::post;
use axum::{Json, Router};
use dialog360::event::HubEvent;
use dialog360::id::PartnerId;
use dialog360::webhook::{BadSignature, SIGNATURE_HEADER, UnverifiedEvent, VerifiedEvent};
use onboarding::secret::SigningSecrets;
use runtime::clock;
use runtime::http::{LimitedBody, Partner, PartnerState, Problem, Refusal, finish};
use runtime::metric::Metric;
use runtime::secrets::PartnerSecrets;
use runtime::settings::{Environment, PartnerIds, SettingError};
use serde_json::{Value, json};
use store::{Events, Write};
use tokio::time::timeout;

/// The largest body, bytes. On AWS Lambda takes a request of 6 MiB with the body escaped or in base64: 5 MiB of ordinary
/// JSON, and 4 MiB of anything.
/// Source: <https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>
pub const LARGEST_BODY: usize = 5 * 1024 * 1024;

/// 360dialog waits 5 s for an answer (documented for webhooks of messages); a later one counts as none.
const ANSWER_WITHIN: Duration = Duration::from_millis(4500);

/// The settings of this function.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `TABLE_NAME`
    pub table_name: String,
    /// `BODIES_TABLE_NAME`
    pub bodies_table_name: String,
    /// `PARTNER_IDS`
    pub partner_ids: PartnerIds,
}

impl Settings {
    /// Reads the settings. The error names the one that is missing or malformed.
    pub fn from_env(env: &Environment) -> Result<Self, SettingError> {
        let bodies = "Name the DynamoDB table of large bodies.";
        Ok(Self {
            table_name: env.required("TABLE_NAME", "Name the DynamoDB table.")?,
            bodies_table_name: env.required("BODIES_TABLE_NAME", bodies)?,
            partner_ids: env.partner_ids()?,
        })
    }
}

/// The handles of this function: everything it may read or write.
#[derive(Clone)]
pub struct Webhook {
    /// Its settings.
    pub settings: Settings,
    /// The events, which it appends, with their bodies.
    pub events: Events,
    /// The platform secret.
    pub secrets: PartnerSecrets<SigningSecrets>,
}

/// The routes of this function.
pub fn routes(webhook: Webhook) -> Router {
    let served = webhook.settings.partner_ids.clone();
    finish(
        Router::new()
            .route("/{partner_id}/webhook", post(answer))
            .with_state(Arc::new(webhook)),
        "webhook",
        served,
    )
}

impl PartnerState for Webhook {
    fn partner_ids(&self) -> &PartnerIds {
        &self.settings.partner_ids
    }
}

async fn answer(
    State(webhook): State<Arc<Webhook>>,
    Partner(partner): Partner,
    headers: HeaderMap,
    LimitedBody(body): LimitedBody<LARGEST_BODY>,
) -> Result<Json<Value>, Refusal> {
    match timeout(ANSWER_WITHIN, webhook.accept(&partner, &headers, body)).await {
        Ok(accepted) => accepted.map(|()| Json(json!({}))),
        // The event may have been stored all the same. If 360dialog sends it again, it is the same fact.
        Err(_) => {
            tracing::error!("the table or the partner secret took too long");
            Err(Problem::unavailable().into())
        }
    }
}

impl Webhook {
    /// Opens the connection and reads the secrets that the first request needs.
    pub async fn warm_up(&self) {
        let partners = &self.settings.partner_ids;
        let preconnect = async {
            if let Some(partner) = partners.first() {
                self.events.preconnect(partner).await;
            }
        };
        tokio::join!(self.secrets.warm_up(partners), preconnect);
    }

    async fn accept(
        &self,
        partner: &PartnerId,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<(), Refusal> {
        let event = self.verify(partner, headers, body).await?;
        let now = clock::now();
        for event in HubEvent::parse(event) {
            let is_new = self.events.append(partner, &event, now).await? == Write::Done;
            let (name, channel) = (
                event.name.as_deref(),
                event.channel.as_ref().map(|id| id.as_str()),
            );
            tracing::info!(%partner, name, channel, is_new, understood = event.is_understood(), "event");
            if !is_new {
                Metric::WebhooksDuplicate.count();
            }
            if !event.is_understood() {
                Metric::WebhooksUnknown.count();
            }
        }
        Metric::WebhooksAccepted.count();
        Ok(())
    }

    /// Verifies the signature of a body. If it does not match, the secret is read again, since it may have been
    /// rotated.
    async fn verify(
        &self,
        partner: &PartnerId,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<VerifiedEvent, Refusal> {
        let header = single_header(headers, SIGNATURE_HEADER);
        let event = UnverifiedEvent::new(body.into());
        let secrets = self.secrets.get(partner).await?;
        let event = match event.verify(header, &secrets.accepted(clock::now())) {
            Ok((event, which)) => return Ok(note_secret(partner, event, which)),
            Err((event, BadSignature::Mismatch)) => event,
            Err(_) => return Err(bad_signature()),
        };
        let reread = self.secrets.reread(partner).await?;
        match event.verify(header, &reread.accepted(clock::now())) {
            Ok((event, which)) => Ok(note_secret(partner, event, which)),
            Err(_) => Err(bad_signature()),
        }
    }
}

/// The same answer to a missing and to a wrong signature.
fn bad_signature() -> Refusal {
    Metric::WebhooksRefused.count();
    Problem::unauthorized("Sign the raw body with the platform secret of this partner.").into()
}

fn note_secret(partner: &PartnerId, event: VerifiedEvent, which: usize) -> VerifiedEvent {
    if which > 0 {
        Metric::PreviousSecretUses.count();
        tracing::warn!(%partner, "360dialog still signs with the previous platform secret");
    }
    event
}

/// The value of a header that is sent once; two count as none.
fn single_header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a [u8]> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    values.next().is_none().then_some(value.as_bytes())
}

#[cfg(test)]
#[path = "lib_tests.rs"]
mod tests;
