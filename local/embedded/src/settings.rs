//! Settings for one machine that the bundle and the operator share.

use std::str::FromStr;

/// The data directory, unless `DATA` says otherwise.
pub const DATA: &str = ".local";

/// The table's name on one machine, unless `TABLE_NAME` says otherwise.
pub const TABLE: &str = "onboarding";

/// The name of the table of large bodies on one machine, unless `BODIES_TABLE_NAME` says otherwise.
pub const BODIES_TABLE: &str = "onboarding-bodies";

/// The address of the bundle, unless `LISTEN` says otherwise.
pub const LISTEN: &str = "127.0.0.1:8360";

/// The address of the simulator, unless `HUB_LISTEN` says otherwise. The stock button uses it if `env` is `local`.
pub const HUB_LISTEN: &str = "127.0.0.1:8082";

/// Whether the bundle starts the simulator: the setting `HUB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hub {
    /// It starts the simulator and the demo.
    Simulated,
    /// It starts neither; `PARTNER_API_URL` names the Partner API.
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
