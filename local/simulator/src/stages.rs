//! A new channel's way from created to live, one step per delay.

use std::{sync::Arc, time::Duration};

use tokio::time::sleep;

use crate::{settings::Partner, simulator::Simulator, store::SaveError};

/// Before a step whose result could not be saved is taken again.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(1);

impl Simulator {
    /// Takes a channel through the stages still before it.
    pub(crate) fn take_through_stages(self: &Arc<Self>, partner: &str, channel: &str) {
        let hub = Arc::clone(self);
        let (partner, channel) = (partner.to_owned(), channel.to_owned());
        self.spawn(async move {
            let Some(settings) = hub.partners.get(&partner) else {
                return;
            };
            loop {
                sleep(hub.stage_delay).await;
                match hub.step(settings, &channel) {
                    Ok(true) => {}
                    Ok(false) => return,
                    Err(error) => {
                        tracing::error!(%partner, %channel, %error, "stage not reached");
                        sleep(PAUSE_AFTER_FAILURE).await;
                    }
                }
            }
        });
    }

    /// Takes up what a stop cut short.
    pub(crate) fn resume(self: &Arc<Self>) {
        let (deliveries, channels) = self.store.read(|records| {
            let deliveries = records
                .outbox
                .values()
                .filter(|it| self.partners.contains_key(&it.partner));
            let channels = records.accounts.iter().flat_map(|(partner, account)| {
                let unsettled = account
                    .channels
                    .values()
                    .filter(|channel| !channel.is_settled());
                unsettled.map(|channel| (partner.clone(), channel.id.clone()))
            });
            (deliveries.cloned().collect(), channels.collect::<Vec<_>>())
        });
        self.dispatch(deliveries);
        for (partner, channel) in channels {
            self.take_through_stages(&partner, &channel);
        }
    }

    /// One step and its event; whether more are to come.
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
            Ok::<_, SaveError>((Some(event), records.announce(partner, event, &view)))
        })?;
        if let Some(event) = event {
            tracing::info!(partner = %partner.id, channel = %channel_id, %event, "channel went on");
        }
        self.dispatch(delivery.into_iter().collect());
        Ok(event.is_some())
    }
}
