//! Signed webhooks: stored together with the change they report, then sent until they are answered with 200.

use std::{sync::Arc, time::Duration};

use reqwest::header::CONTENT_TYPE;
use serde_json::{Value, json};
use tokio::{sync::oneshot, time::sleep};

use crate::{
    fault::{Fault, WrongSignature},
    id,
    settings::Partner,
    signature,
    simulator::Simulator,
    state::{Delivery, Records},
    store::SaveError,
};

const SIGNATURE_HEADER: &str = "x-360dialog-signature";
/// How long 360dialog waits for an answer.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(5);
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Why a webhook got no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    #[error("the partner has no webhook URL")]
    NoAddress,
    #[error("the webhook URL did not answer: {0}")]
    NoAnswer(reqwest::Error),
}

impl Records {
    /// Stores a webhook, which [`Simulator::dispatch`] sends once it is durable; `None` for a partner
    /// without a webhook URL.
    pub(crate) fn queue_webhook(
        &mut self,
        partner: &Partner,
        event: &str,
        data: &Value,
    ) -> Option<Delivery> {
        self.webhook_url(partner)?;
        let delivery = Delivery::new(&partner.id, event, data);
        self.outbox.insert(delivery.id.clone(), delivery.clone());
        Some(delivery)
    }
}

impl Delivery {
    pub(crate) fn new(partner: &str, event: &str, data: &Value) -> Self {
        let id = id::event();
        let body = json!({"id": id, "event": event, "data": data}).to_string();
        Self {
            id,
            partner: partner.to_owned(),
            event: event.to_owned(),
            body,
        }
    }
}

impl Simulator {
    /// Starts sending. Each receiver gets a message when its webhook has been tried once.
    pub(crate) fn dispatch(
        self: &Arc<Self>,
        deliveries: Vec<Delivery>,
    ) -> Vec<oneshot::Receiver<()>> {
        deliveries
            .into_iter()
            .map(|delivery| {
                let (tried, first_try) = oneshot::channel();
                self.spawn(deliver(Arc::clone(self), delivery, tried));
                first_try
            })
            .collect()
    }

    /// Sends a webhook once, signed, and returns the HTTP status of the answer.
    pub(crate) async fn send(&self, delivery: &Delivery) -> Result<u16, SendError> {
        self.send_signed(delivery, signature::sign_webhook).await
    }

    /// Sends a webhook once with a wrong signature.
    pub(crate) async fn send_forged(&self, delivery: &Delivery) -> Result<u16, SendError> {
        self.send_signed(delivery, signature::forge_webhook).await
    }

    async fn send_signed(
        &self,
        delivery: &Delivery,
        sign: impl Fn(&str, &[u8]) -> String,
    ) -> Result<u16, SendError> {
        let partner = self
            .partners
            .get(&delivery.partner)
            .ok_or(SendError::NoAddress)?;
        let address = self
            .store
            .read(|records| records.webhook_url(partner).map(str::to_owned));
        let address = address.ok_or(SendError::NoAddress)?;
        let _permit = self.sending.acquire().await.ok();
        let answer = self
            .http
            .post(address)
            .timeout(TIMEOUT)
            .header(CONTENT_TYPE, "application/json")
            .header(
                SIGNATURE_HEADER,
                sign(&partner.platform_secret, delivery.body.as_bytes()),
            )
            .body(delivery.body.clone())
            .send()
            .await
            .map_err(|error| SendError::NoAnswer(error.without_url()))?;
        let status = answer.status().as_u16();
        if status == 200 {
            self.faults.webhook_delivered(&partner.id);
        }
        Ok(status)
    }

    /// Sends a webhook once, as a fault says.
    async fn send_with(&self, delivery: &Delivery, fault: &Fault) -> Result<u16, SendError> {
        for _ in 1..fault.copies.unwrap_or(1) {
            self.send_with_signature(delivery, fault).await.ok();
        }
        self.send_with_signature(delivery, fault).await
    }

    async fn send_with_signature(
        &self,
        delivery: &Delivery,
        fault: &Fault,
    ) -> Result<u16, SendError> {
        match fault.signature {
            None => self.send(delivery).await,
            Some(WrongSignature::Wrong) => self.send_forged(delivery).await,
        }
    }
}

async fn deliver(simulator: Arc<Simulator>, delivery: Delivery, tried: oneshot::Sender<()>) {
    let mut tried = Some(tried);
    let mut pause = FIRST_PAUSE;
    let Delivery {
        id, partner, event, ..
    } = &delivery;
    loop {
        let (fault, released) = simulator.faults.match_webhook(partner, event);
        if fault.swap || fault.delay_ms.is_some() {
            // Nobody waits for a webhook that is late or held back.
            tried = None;
        }
        sleep(fault.delay()).await;
        if let Some(released) = released {
            // Ends with an error if all are released.
            let _ = released.await;
        }
        let outcome = simulator.send_with(&delivery, &fault).await;
        if let Some(tried) = tried.take() {
            // Fails only if nobody waits for it.
            let _ = tried.send(());
        }
        match outcome {
            Ok(200) => break,
            Ok(status) => {
                tracing::warn!(%partner, %event, %id, status, "webhook not answered with 200")
            }
            Err(error) => tracing::warn!(%partner, %event, %id, %error, "webhook not delivered"),
        }
        sleep(pause).await;
        pause = LONGEST_PAUSE.min(pause * 2);
    }
    tracing::info!(%partner, %event, %id, "webhook delivered");
    let removed = simulator.store.change(|records| {
        records.outbox.remove(id);
        Ok::<_, SaveError>(())
    });
    if let Err(error) = removed {
        tracing::error!(%partner, %event, %id, %error, "webhook delivered, but not removed: it may be sent again");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_envelope_has_id_event_and_data() {
        let delivery = Delivery::new("aAbBcCPA", "channel_live", &json!({"id": "tlbN64CH"}));
        let body: Value = serde_json::from_str(&delivery.body).unwrap();
        assert_eq!(
            body,
            json!({"id": delivery.id, "event": "channel_live", "data": {"id": "tlbN64CH"}})
        );
        assert!(delivery.id.starts_with("evt_"));
    }
}
