//! The clock: wakes what is due. It decides nothing and never makes a key.

use jiff::Timestamp;
use onboarding::id::PartnerId;
use platform::metric;
use platform::settings::{Environment, PartnerIds, SettingError};
use platform::store::{Error, Wakes};

/// How many due things are woken for a partner in one pass; the rest waits for the next one.
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
    /// What is due, and the wake-ups.
    pub wakes: Wakes,
}

impl Reconcile {
    /// Appends one wake-up for everything that is due at `now`; answers how many. One partner's trouble does not keep the
    /// others waiting; the last trouble is the answer.
    pub async fn wake_due(&self, now: Timestamp) -> Result<usize, Error> {
        let mut woken = Ok(0);
        let mut oldest = now;
        for partner in self.settings.partner_ids.iter() {
            match self.wake_due_of(partner, now, &mut oldest).await {
                Ok(more) => woken = woken.map(|woken: usize| woken.saturating_add(more)),
                Err(error) => {
                    tracing::error!(%error, %partner, "what is due could not be woken");
                    woken = Err(error);
                }
            }
        }
        metric::oldest_due(now.duration_since(oldest).unsigned_abs());
        woken
    }

    async fn wake_due_of(
        &self,
        partner: &PartnerId,
        now: Timestamp,
        oldest: &mut Timestamp,
    ) -> Result<usize, Error> {
        let due = self.wakes.due(partner, now, MOST).await?;
        for due in &due {
            *oldest = due.due_at.min(*oldest);
            self.wakes.wake(due, now).await?;
        }
        Ok(due.len())
    }
}
