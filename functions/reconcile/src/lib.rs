//! The clock: wakes what is due. It decides nothing and never makes a key.

use jiff::Timestamp;
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
        Ok(Self { table_name, partner_ids: env.partner_ids()? })
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
    /// Appends one wake-up for everything that is due at `now`; answers how many.
    pub async fn wake_due(&self, now: Timestamp) -> Result<usize, Error> {
        let mut woken = 0;
        let mut oldest = now;
        for partner in self.settings.partner_ids.iter() {
            for due in self.wakes.due(partner, now, MOST).await? {
                oldest = oldest.min(due.due_at);
                self.wakes.wake(&due, now).await?;
                woken += 1;
            }
        }
        metric::oldest_due(now.duration_since(oldest).unsigned_abs());
        Ok(woken)
    }
}
