//! The signature of a partner webhook.
//!
//! What came from outside is an [`UnverifiedEvent`], which cannot be read; only a signature that
//! matches turns it into a [`VerifiedEvent`]. Nothing is ever compared with `==`.
//! Source: <https://docs.360dialog.com/partner/onboarding/webhook-events-and-setup/signature-validation>.

use std::fmt;

use data_encoding::{BASE64, HEXLOWER, HEXLOWER_PERMISSIVE};
use hmac::Mac;

use crate::hmac::hmac_sha256;
use crate::secret::Secret;

/// The header that carries the signature of a partner webhook.
pub const SIGNATURE_HEADER: &str = "x-360dialog-signature";

/// What some senders write before the signature.
const PREFIX: &[u8] = b"sha256=";

/// Signs a webhook's body as 360dialog does: HMAC-SHA256, lower-case hexadecimal.
///
/// For tests and local tools; only 360dialog signs webhooks.
pub fn sign_webhook(secret: &Secret, body: &[u8]) -> String {
    HEXLOWER.encode(&hmac_sha256(secret, body).finalize().into_bytes())
}

/// A webhook's body whose sender is not known yet. It cannot be read, only verified.
pub struct UnverifiedEvent(Vec<u8>);

/// A webhook's body that was signed with a secret of the partner.
pub struct VerifiedEvent(Vec<u8>);

/// Why a signature was not accepted. The sender is told none of this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSignature {
    /// There is no signature header.
    #[error("the request has no signature")]
    Missing,
    /// The header is no HMAC-SHA256 in any accepted encoding; no secret can match it.
    #[error("the signature has no known form")]
    Malformed,
    /// It was made with none of the secrets: worth another try with freshly read ones.
    #[error("the signature matches none of the secrets")]
    Mismatch,
}

impl UnverifiedEvent {
    /// Takes the raw body, byte for byte as it arrived.
    pub fn new(raw: Vec<u8>) -> Self {
        Self(raw)
    }

    /// Checks the value of the header [`SIGNATURE_HEADER`] against each secret, in order.
    ///
    /// Accepted are hexadecimal of either case and standard base64 with padding, each with or
    /// without `sha256=` before it. Returns the event and the index of the secret that matched.
    ///
    /// # Errors
    /// Gives the event back, so that it can be tried once more after the secrets were read again.
    pub fn verify(
        self,
        header: Option<&[u8]>,
        secrets: &[&Secret],
    ) -> Result<(VerifiedEvent, usize), (Self, BadSignature)> {
        match self.signer(header, secrets) {
            Ok(index) => Ok((VerifiedEvent(self.0), index)),
            Err(reason) => Err((self, reason)),
        }
    }

    fn signer(&self, header: Option<&[u8]>, secrets: &[&Secret]) -> Result<usize, BadSignature> {
        let header = header.ok_or(BadSignature::Missing)?;
        let tag = decode(header).ok_or(BadSignature::Malformed)?;
        secrets
            .iter()
            .position(|secret| self.is_signed_with(secret, &tag))
            .ok_or(BadSignature::Mismatch)
    }

    fn is_signed_with(&self, secret: &Secret, tag: &[u8]) -> bool {
        hmac_sha256(secret, &self.0).verify_slice(tag).is_ok()
    }
}

impl VerifiedEvent {
    /// The body, byte for byte as it was signed.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for UnverifiedEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UnverifiedEvent({} bytes)", self.0.len())
    }
}

impl fmt::Debug for VerifiedEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifiedEvent({} bytes)", self.0.len())
    }
}

fn decode(header: &[u8]) -> Option<Vec<u8>> {
    let text = match header.split_at_checked(PREFIX.len()) {
        Some((start, rest)) if start.eq_ignore_ascii_case(PREFIX) => rest,
        _ => header,
    };
    match text.len() {
        64 => HEXLOWER_PERMISSIVE.decode(text).ok(),
        44 => BASE64.decode(text).ok().filter(|tag| tag.len() == 32),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct WebhookVector {
        platform_secret: String,
        body_base64: String,
        header: Option<String>,
        accept: bool,
        note: String,
    }

    fn event(body: &[u8]) -> UnverifiedEvent {
        UnverifiedEvent::new(body.to_vec())
    }

    #[test]
    fn every_webhook_vector_is_judged_alike() {
        let vectors: Vec<WebhookVector> =
            serde_json::from_str(include_str!("../tests/vectors/webhook_signature.json")).unwrap();
        assert!(!vectors.is_empty());
        for v in vectors {
            let body = BASE64.decode(v.body_base64.as_bytes()).unwrap();
            let header = v.header.as_deref().map(str::as_bytes);
            let verdict = event(&body).verify(header, &[&Secret::new(v.platform_secret)]);
            assert_eq!(verdict.is_ok(), v.accept, "{}", v.note);
        }
    }

    #[test]
    fn the_secret_that_matched_is_told() {
        let (old, new) = (Secret::new("old"), Secret::new("new"));
        let header = sign_webhook(&old, b"{}");
        let (event, index) = event(b"{}")
            .verify(Some(header.as_bytes()), &[&new, &old])
            .unwrap();
        assert_eq!((event.bytes(), index), (&b"{}"[..], 1));
    }

    #[test]
    fn a_refused_event_can_be_tried_with_other_secrets() {
        let (old, new) = (Secret::new("old"), Secret::new("new"));
        let header = sign_webhook(&new, b"{}");
        let (event, reason) = event(b"{}")
            .verify(Some(header.as_bytes()), &[&old])
            .unwrap_err();
        assert_eq!(reason, BadSignature::Mismatch);
        assert!(event.verify(Some(header.as_bytes()), &[&new]).is_ok());
    }

    #[test]
    fn with_no_secret_nothing_is_accepted() {
        let header = sign_webhook(&Secret::new(""), b"{}");
        let (_, reason) = event(b"{}")
            .verify(Some(header.as_bytes()), &[])
            .unwrap_err();
        assert_eq!(reason, BadSignature::Mismatch);
    }

    #[test]
    fn an_upper_case_prefix_is_accepted() {
        let secret = Secret::new("s");
        let header = format!("SHA256={}", sign_webhook(&secret, b"{}").to_uppercase());
        assert!(
            event(b"{}")
                .verify(Some(header.as_bytes()), &[&secret])
                .is_ok()
        );
    }

    #[test]
    fn an_event_does_not_print_its_body() {
        let (event, secret) = (event(b"needle"), Secret::new("s"));
        assert_eq!(format!("{event:?}"), "UnverifiedEvent(6 bytes)");
        let header = sign_webhook(&secret, b"needle");
        let (event, _) = event.verify(Some(header.as_bytes()), &[&secret]).unwrap();
        assert_eq!(format!("{event:?}"), "VerifiedEvent(6 bytes)");
    }

    proptest! {
        #[test]
        fn what_is_signed_verifies_and_nothing_else_does(
            body in proptest::collection::vec(any::<u8>(), 0..64),
            secret in ".{1,40}",
            junk in proptest::collection::vec(any::<u8>(), 0..80),
        ) {
            let secret = Secret::new(secret);
            let header = sign_webhook(&secret, &body);
            prop_assert!(event(&body).verify(Some(header.as_bytes()), &[&secret]).is_ok());
            prop_assert!(event(&body).verify(Some(&junk), &[&secret]).is_err());
        }
    }
}
