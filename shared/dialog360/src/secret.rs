//! A text that must not be shown.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};

/// A text that is neither printed nor left in memory after use.
///
/// There is no `Display` and no `Serialize`; `Debug` says only that there is one.
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// Wraps a text that is already known to be usable.
    pub fn new(text: impl Into<String>) -> Self {
        Self(SecretString::from(text.into()))
    }

    /// The text itself: for signing, and for the one request that carries it.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret([redacted])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_does_not_print() {
        assert_eq!(format!("{:?}", Secret::new("needle")), "Secret([redacted])");
    }
}
