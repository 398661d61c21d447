//! The only place that reads the clock.

use jiff::Timestamp;

/// The time now, in whole milliseconds, as it is stored: a stored and a fresh time then compare exactly.
pub fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
}
