//! The only place that asks for chance: names of leases and attempts, which nobody else has chosen.

use uuid::Uuid;

/// A new one, 36 characters: a UUID of version 4, from the kernel's generator.
pub fn fresh() -> String {
    Uuid::new_v4().to_string()
}
