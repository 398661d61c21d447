//! The clock: requeues what is due. It decides nothing and never makes a key.

use dialog360::id::PartnerId;
use jiff::Timestamp;
use runtime::metric;
use runtime::settings::{Environment, PartnerIds, SettingError};
use store::{Error, Requeues};

/// How many due things are requeued for a partner in one pass; the rest waits for the next one.
const MOST: i32 = 100;

/// The settings of this function.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `TABLE_NAME`
    pub table_name: String,
    /// `PARTNER_IDS`
    pub partner_ids: PartnerIds,
}

impl Settings {
    /// Reads them; the error names the one that is missing or malformed.
    pub fn from_env(env: &Environment) -> Result<Self, SettingError> {
        let table_name = env.required("TABLE_NAME", "Name the DynamoDB table.")?;
        Ok(Self {
            table_name,
            partner_ids: env.partner_ids()?,
        })
    }
}

/// What this function may touch.
#[derive(Clone)]
pub struct Reconcile {
    /// Its settings.
    pub settings: Settings,
    /// What is due, and the requeues.
    pub requeues: Requeues,
}

impl Reconcile {
    /// Appends one requeue for everything that is due at `now`; answers how many. One partner's trouble does not keep the
    /// others waiting; the last trouble is the answer.
    pub async fn requeue_due(&self, now: Timestamp) -> Result<usize, Error> {
        let mut requeued = Ok(0);
        let mut oldest = now;
        for partner in self.settings.partner_ids.iter() {
            match self.requeue_due_of(partner, now, &mut oldest).await {
                Ok(more) => {
                    requeued = requeued.map(|requeued: usize| requeued.saturating_add(more))
                }
                Err(error) => {
                    tracing::error!(%error, %partner, "what is due could not be requeued");
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
        let due = self.requeues.due(partner, now, MOST).await?;
        for due in &due {
            *oldest = due.due_at.min(*oldest);
            self.requeues.requeue(due, now).await?;
        }
        Ok(due.len())
    }
}
