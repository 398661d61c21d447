//! Requeues due claims and channels, on a schedule. It never makes a key.

use dialog360::id::PartnerId;
use jiff::Timestamp;
use runtime::metric;
use runtime::settings::{Environment, PartnerIds, SettingError};
use store::{Error, Requeues};

/// How many due items are requeued for a partner in one run; the rest waits for the next run.
const MAX_REQUEUED: i32 = 100;

/// The settings of this function.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `TABLE_NAME`
    pub table_name: String,
    /// `PARTNER_IDS`
    pub partner_ids: PartnerIds,
}

impl Settings {
    /// Reads the settings. The error names the one that is missing or malformed.
    pub fn from_env(env: &Environment) -> Result<Self, SettingError> {
        let table_name = env.required("TABLE_NAME", "Name the DynamoDB table.")?;
        Ok(Self {
            table_name,
            partner_ids: env.partner_ids()?,
        })
    }
}

/// The handles of this function: everything it may read or write.
#[derive(Clone)]
pub struct Reconcile {
    /// Its settings.
    pub settings: Settings,
    /// The due items, and the requeues.
    pub requeues: Requeues,
}

impl Reconcile {
    /// Appends a requeue for every item that is due at `now`, and returns their number. An error of one partner does
    /// not stop the others; the last error is returned.
    pub async fn requeue_due(&self, now: Timestamp) -> Result<usize, Error> {
        let mut requeued = Ok(0);
        let mut oldest = now;
        for partner in self.settings.partner_ids.iter() {
            match self.requeue_due_of(partner, now, &mut oldest).await {
                Ok(more) => {
                    requeued = requeued.map(|requeued: usize| requeued.saturating_add(more))
                }
                Err(error) => {
                    tracing::error!(%error, %partner, "due items could not be requeued");
                    requeued = Err(error);
                }
            }
        }
        metric::oldest_due(now.duration_since(oldest).unsigned_abs());
        requeued
    }

    async fn requeue_due_of(
        &self,
        partner: &PartnerId,
        now: Timestamp,
        oldest: &mut Timestamp,
    ) -> Result<usize, Error> {
        let due = self.requeues.due(partner, now, MAX_REQUEUED).await?;
        for due in &due {
            *oldest = due.due_at.min(*oldest);
            self.requeues.requeue(due, now).await?;
        }
        Ok(due.len())
    }
}
