//! One customer of the partner's own application.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The longest name of a tenant, in characters (not bytes).
const LONGEST: usize = 128;

/// One customer of the partner's own application, as that application names it.
///
/// 1 to 128 characters of any kind: it is never part of a path or a link.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Tenant(String);

/// The text is no name of a tenant. The text itself is not repeated: it may be anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a tenant has 1 to {LONGEST} characters")]
pub struct TenantError;

impl Tenant {
    /// The name, as it came in.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Tenant {
    type Error = TenantError;

    fn try_from(text: String) -> Result<Self, TenantError> {
        let is_allowed = (1..=LONGEST).contains(&text.chars().count());
        is_allowed.then_some(Self(text)).ok_or(TenantError)
    }
}

impl FromStr for Tenant {
    type Err = TenantError;

    fn from_str(text: &str) -> Result<Self, TenantError> {
        text.to_owned().try_into()
    }
}

impl From<Tenant> for String {
    fn from(tenant: Tenant) -> Self {
        tenant.0
    }
}

impl fmt::Display for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_has_1_to_128_characters_which_are_not_bytes() {
        for good in ["a", "a b#c/d", &"ü".repeat(128)] {
            let tenant: Tenant = good.parse().unwrap();
            assert_eq!(
                (tenant.as_str(), tenant.to_string()),
                (good, good.to_owned())
            );
            assert_eq!(String::from(tenant), good);
        }
        for bad in ["", &"ü".repeat(129)] {
            assert_eq!(bad.parse::<Tenant>(), Err(TenantError));
        }
    }
}
