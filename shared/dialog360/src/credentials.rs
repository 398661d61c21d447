//! How requests to the Partner API are authorised.

use crate::secret::Secret;

/// What the Partner API asks for; 360dialog prefers the API key.
///
/// Source: <https://docs.360dialog.com/partner/partner-api/overview>, authentication.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// A bearer token, sent as `Authorization: Bearer`.
    Token(Secret),
    /// A partner API key, sent as `X-API-Key`.
    ApiKey(Secret),
}
