//! The only place that makes random values: the unique tokens of leases and attempts.

use uuid::Uuid;

/// A new token of 36 characters: a UUID of version 4, from the kernel's generator.
pub fn fresh() -> String {
    Uuid::new_v4().to_string()
}
