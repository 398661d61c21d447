//! Moves a new channel from created to live, one stage per delay.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::time::sleep;

use crate::{
    channel::{Channel, Coexistence},
    history::{self, Size},
    settings::Partner,
    simulator::Simulator,
    store::SaveError,
};

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
                    Ok(false) => return simulator.send_history(settings, &channel),
                    Err(error) => {
                        tracing::error!(%partner, %channel, %error, "the next stage could not be saved");
                        sleep(PAUSE_AFTER_FAILURE).await;
                    }
                }
            }
        });
    }

    /// Sends the contacts and chats of a number that stays in the WhatsApp Business app, unless they were sent.
    /// They are large, so they are not kept over a restart.
    fn send_history(self: &Arc<Self>, partner: &Partner, channel_id: &str) {
        let channel = self.store.change(|records| {
            let channel = records.channel_mut(&partner.id, channel_id);
            let due = |channel: &&mut Channel| {
                channel.coexistence == Some(Coexistence::HistoryDue) && channel.is_at_the_end()
            };
            Ok::<_, SaveError>(channel.filter(due).map(|channel| {
                channel.coexistence = Some(Coexistence::HistorySent);
                channel.clone()
            }))
        });
        match channel {
            Ok(Some(channel)) => {
                let now = Timestamp::now();
                let mut deliveries = vec![history::contacts(partner, &channel, now)];
                deliveries.extend(history::chats(partner, &channel, Size::USUAL, now));
                self.dispatch(deliveries);
            }
            Ok(None) => {}
            Err(error) => {
                tracing::error!(partner = %partner.id, channel = %channel_id, %error, "history not sent");
            }
        }
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
