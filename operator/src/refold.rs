//! Has the facts of channels joined anew: by the next run of `fold`, which alone saves channels.

use dialog360::id::{ChannelRef, PartnerId};
use runtime::clock;
use store::{Channels, Facts, Refolds};

use crate::instance::{Instance, OperatorError};

/// After how many channels the progress is printed.
const PROGRESS: usize = 500;

impl Instance {
    /// Makes a channel due to be joined anew. Returns what was done, in words.
    pub async fn refold(&self, id: &ChannelRef) -> Result<String, OperatorError> {
        let ChannelRef { partner, channel } = id;
        self.must_serve(partner)?;
        let (table, failed) = (self.table(), |error| self.store_error(error));
        let facts = Facts::new(table.clone()).read_all(id).await;
        let (facts, _) = facts.map_err(failed)?;
        let stored = Channels::new(table.clone()).read(id).await;
        if facts.is_empty() && !stored.map_err(failed)?.exists() {
            return Err(self.unknown(id));
        }
        let refolds = Refolds::new(table.clone());
        let made = refolds.make_due(id, clock::now()).await;
        made.map_err(failed)?;
        let number = facts.len();
        Ok(format!(
            "channel {channel} of {partner} is due: `fold` joins its {number} facts anew in its next run"
        ))
    }

    /// Makes every known channel of a partner due to be joined anew, and says through `say` how far it is. Returns what was
    /// done, in words.
    pub async fn refold_all(
        &self,
        partner: &PartnerId,
        say: &mut dyn FnMut(&str),
    ) -> Result<String, OperatorError> {
        self.must_serve(partner)?;
        let failed = |error| self.store_error(error);
        let refolds = Refolds::new(self.table().clone());
        let known = refolds.known_channels(partner).await.map_err(failed)?;
        let all = known.len();
        for (index, channel) in known.into_iter().enumerate() {
            if index > 0 && index.is_multiple_of(PROGRESS) {
                say(&format!("{index} of {all} channels"));
            }
            let id = ChannelRef::new(partner.clone(), channel);
            let made = refolds.make_due(&id, clock::now()).await;
            made.map_err(failed)?;
        }
        Ok(format!(
            "{all} channels of {partner} are due: `fold` joins their facts anew in its next runs; `operator queue {partner}` shows how many still wait"
        ))
    }
}
