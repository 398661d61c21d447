//! The only place that asks for the time.

use jiff::Timestamp;

/// The time now, in whole milliseconds: what is stored and what is compared must not differ by less.
pub fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
}
