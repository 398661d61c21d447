//! Settings of one machine that the bundle and the operator share.

use std::str::FromStr;

/// The data directory, unless `DATA` says otherwise.
pub const DATA: &str = ".local";

/// The table's name on one machine, unless `TABLE_NAME` says otherwise.
pub const TABLE: &str = "onboarding";

/// Where the bundle listens unless `LISTEN` says otherwise.
pub const LISTEN: &str = "127.0.0.1:8360";

/// Where the simulator listens unless `HUB_LISTEN` says otherwise: the stock button with `env="local"` goes there.
pub const HUB_LISTEN: &str = "127.0.0.1:8082";

/// Which 360dialog the bundle works with: the setting `HUB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hub {
    /// The simulator beside it, with the demo.
    Simulated,
    /// One that is elsewhere: `PARTNER_API_URL`.
    None,
}

impl FromStr for Hub {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        match text {
            "simulated" => Ok(Self::Simulated),
            "none" => Ok(Self::None),
            _ => Err("say simulated or none"),
        }
    }
}
