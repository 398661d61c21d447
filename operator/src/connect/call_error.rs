//! Why a call of the Partner API failed or was not made, and what to do about it.

use std::time::Duration;

use dialog360::client::{ApiError, ErrorKind};
use store::Error as StoreError;

use super::clock_check::WrongClock;
use crate::instance::Instance;

/// The wait after a 429 without `Retry-After`.
pub(crate) const WAIT: Duration = Duration::from_secs(30);

/// Why there is no good answer. The message says what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// 360dialog refused the call, or did not answer.
    #[error("{}", advice(.0))]
    Api(#[from] ApiError),
    /// The table failed, in which calls are counted; and the advice.
    #[error("the bundle's table cannot be read or written ({0}): {1}")]
    Table(StoreError, String),
    /// The table answers too slowly.
    #[error(
        "the bundle's table answers too slowly to keep 360dialog's limit: run the command again, if need be on a machine \
         that is nearer to it"
    )]
    Slow,
    /// This machine's clock is wrong.
    #[error(transparent)]
    Clock(#[from] WrongClock),
}

/// Why a call could not be counted, or the clock not compared.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotCounted {
    /// The table failed.
    #[error(transparent)]
    Table(#[from] StoreError),
    /// The table answers too slowly.
    #[error("the table answers too slowly")]
    Slow,
}

impl CallError {
    /// The error for a call that could not be counted in the table of `instance`.
    pub(crate) fn not_counted(why: NotCounted, instance: &Instance) -> Self {
        match why {
            NotCounted::Table(why) => Self::Table(why, instance.table_advice()),
            NotCounted::Slow => Self::Slow,
        }
    }
}

/// Advice about an error of the Partner API.
pub(crate) fn advice(error: &ApiError) -> String {
    let advice = advice_by_kind(error.kind);
    match &error.message {
        Some(message) => format!("{advice} (360dialog says: {message})"),
        None => advice,
    }
}

fn advice_by_kind(kind: ErrorKind) -> String {
    match kind {
        ErrorKind::BadCredentials => {
            "360dialog refuses the credentials (HTTP 401): correct partner_api_key or partner_token, or username and \
             password, in the partner secret"
                .to_owned()
        }
        ErrorKind::NotPermitted => {
            "360dialog does not permit it (HTTP 403): ask 360dialog to open the Partner API for these credentials"
                .to_owned()
        }
        ErrorKind::NotFound => {
            "360dialog knows nothing of the kind (HTTP 404 or 405): check the partner id and the Partner API's address"
                .to_owned()
        }
        ErrorKind::RateLimited(wait) => {
            let minutes = wait.unwrap_or(WAIT).as_secs().div_ceil(60).max(1);
            format!("360dialog asks to wait longer (HTTP 429): run the command again in {minutes} minutes")
        }
        ErrorKind::Status(status) => format!(
            "360dialog did not do it (HTTP {status}): run the command again, and ask 360dialog if it stays so"
        ),
        ErrorKind::Unreadable(what) => format!(
            "360dialog's answer cannot be understood ({what}): check the Partner API's address"
        ),
        ErrorKind::Silent => {
            "360dialog does not answer: check the Partner API's address and this machine's network, and run the \
             command again"
                .to_owned()
        }
    }
}
