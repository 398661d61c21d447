//! Moves a new channel from created to live, one stage per delay.

use std::{sync::Arc, time::Duration};

use tokio::time::sleep;

use crate::{settings::Partner, simulator::Simulator, store::SaveError};

/// The pause before a step is repeated whose result could not be saved.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(1);

impl Simulator {
    /// Moves a channel through its remaining stages.
    pub(crate) fn advance_through_stages(self: &Arc<Self>, partner: &str, channel: &str) {
        let simulator = Arc::clone(self);
        let (partner, channel) = (partner.to_owned(), channel.to_owned());
        self.spawn(async move {
            let Some(settings) = simulator.partners.get(&partner) else {
                return;
            };
            loop {
                sleep(simulator.stage_delay).await;
                match simulator.step(settings, &channel) {
                    Ok(true) => {}
                    Ok(false) => return,
                    Err(error) => {
                        tracing::error!(%partner, %channel, %error, "the next stage could not be saved");
                        sleep(PAUSE_AFTER_FAILURE).await;
                    }
                }
            }
        });
    }

    /// Resumes undelivered webhooks and unfinished channels after a restart.
    pub(crate) fn resume(self: &Arc<Self>) {
        let (deliveries, unsettled, cancelling) = self.store.read(|records| {
            let deliveries = records
                .outbox
                .values()
                .filter(|it| self.partners.contains_key(&it.partner));
            (
                deliveries.cloned().collect(),
                records.channels_that(|channel| !channel.is_settled()),
                records.channels_that(|channel| {
                    channel.is_cancellation_requested && !channel.is_dead()
                }),
            )
        });
        self.dispatch(deliveries);
        for (partner, channel) in unsettled {
            self.advance_through_stages(&partner, &channel);
        }
        for (partner, channel) in cancelling {
            self.process_cancellation(&partner, &channel);
        }
    }

    /// Moves a channel one stage on and sends the event; `false` at the last stage.
    fn step(self: &Arc<Self>, partner: &Partner, channel_id: &str) -> Result<bool, SaveError> {
        let (event, delivery) = self.store.change(|records| {
            let account = records.account_mut(&partner.id);
            let Some(channel) = account.channels.get_mut(channel_id) else {
                return Ok((None, None));
            };
            let Some(event) = channel.advance() else {
                return Ok((None, None));
            };
            let channel = channel.clone();
            let view = account.channel_view(&channel);
            Ok::<_, SaveError>((Some(event), records.queue_webhook(partner, event, &view)))
        })?;
        if let Some(event) = event {
            tracing::info!(partner = %partner.id, channel = %channel_id, %event, "channel reached its next stage");
        }
        self.dispatch(delivery.into_iter().collect());
        Ok(event.is_some())
    }
}
