//! HMAC with a secret's text as the key.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::secret::Secret;

/// An HMAC-SHA256 over `message`, ready to be finished or verified.
pub(crate) fn hmac_sha256(secret: &Secret, message: &[u8]) -> Hmac<Sha256> {
    keyed::<Hmac<Sha256>>(secret).chain_update(message)
}

/// HMAC takes keys of any length (RFC 2104, section 3), so this cannot fail.
pub(crate) fn keyed<M: KeyInit>(secret: &Secret) -> M {
    M::new_from_slice(secret.expose().as_bytes()).expect("HMAC takes a key of any length")
}
