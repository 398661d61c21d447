//! Processes requested cancellations, one stage delay after the request.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::time::sleep;

use crate::{settings::Partner, simulator::Simulator, store::SaveError};

impl Simulator {
    /// Cancels a channel after the delay of a stage, and reports it.
    pub(crate) fn process_cancellation(self: &Arc<Self>, partner: &str, channel: &str) {
        let simulator = Arc::clone(self);
        let (partner, channel) = (partner.to_owned(), channel.to_owned());
        self.spawn(async move {
            let Some(settings) = simulator.partners.get(&partner) else {
                return;
            };
            sleep(simulator.stage_delay).await;
            if let Err(error) = simulator.cancel(settings, &channel) {
                tracing::error!(%partner, %channel, %error, "the cancellation could not be saved");
            }
        });
    }

    fn cancel(self: &Arc<Self>, partner: &Partner, channel_id: &str) -> Result<(), SaveError> {
        let delivery = self.store.change(|records| {
            let account = records.account_mut(&partner.id);
            let Some(channel) = account.channels.get_mut(channel_id) else {
                return Ok(None);
            };
            channel.cancel(Timestamp::now());
            let channel = channel.clone();
            let view = account.channel_view(&channel);
            let event = "cancellation_processed";
            Ok::<_, SaveError>(records.queue_webhook(partner, event, &view))
        })?;
        tracing::info!(partner = %partner.id, channel = %channel_id, "channel cancelled");
        self.dispatch(delivery.into_iter().collect());
        Ok(())
    }
}
