//! Signatures with the platform secret: of onboarding links (ours) and of webhooks (the hub's).
//!
//! What came from outside is an [`UnverifiedEvent`], which cannot be read; only a signature that
//! matches turns it into a [`VerifiedEvent`]. Nothing is ever compared with `==`.

use std::fmt;
use std::str::FromStr;

use data_encoding::{BASE64, HEXLOWER, HEXLOWER_PERMISSIVE};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Sha256, Sha512};

use crate::id::PartnerId;
use crate::secret::Secret;

/// What some senders write before the signature.
const PREFIX: &[u8] = b"sha256=";

/// How the signature of an onboarding link is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IoEncoding {
    /// Lower-case hexadecimal, 128 characters.
    #[default]
    Hex,
    /// Standard base64 with padding, 88 characters (RFC 4648, section 4).
    Base64,
}

/// The setting names no known encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it must be hex or base64")]
pub struct IoEncodingError;

impl FromStr for IoEncoding {
    type Err = IoEncodingError;

    fn from_str(text: &str) -> Result<Self, IoEncodingError> {
        match text {
            "hex" => Ok(Self::Hex),
            "base64" => Ok(Self::Base64),
            _ => Err(IoEncodingError),
        }
    }
}

/// Signs an onboarding link: HMAC-SHA512 over `{partner}|{second}`.
///
/// `second` is UNIX time in seconds. The text holds nothing else, so two links of the same second
/// carry the same signature, and only one of them can be used.
/// Source: <https://docs.360dialog.com/partner>, Integrated Onboarding, IO signature.
pub fn sign_io(secret: &Secret, partner: &PartnerId, second: i64, encoding: IoEncoding) -> String {
    let mac = keyed::<Hmac<Sha512>>(secret.expose().as_bytes());
    let tag = mac
        .chain_update(format!("{partner}|{second}"))
        .finalize()
        .into_bytes();
    match encoding {
        IoEncoding::Hex => HEXLOWER.encode(&tag),
        IoEncoding::Base64 => BASE64.encode(&tag),
    }
}

/// Signs a webhook's body as the hub does: HMAC-SHA256, lower-case hexadecimal.
///
/// For tests and local tools; only the hub signs webhooks.
pub fn sign_webhook(secret: &Secret, body: &[u8]) -> String {
    HEXLOWER.encode(
        &hmac_sha256(secret.expose().as_bytes(), body)
            .finalize()
            .into_bytes(),
    )
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

    /// Checks the value of the header `x-360dialog-signature` against each secret, in order.
    ///
    /// Accepted are hexadecimal of either case and standard base64 with padding, each with or
    /// without `sha256=` before it. Returns the event and the index of the secret that matched.
    /// Source: <https://docs.360dialog.com/partner>, partner webhooks.
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
        hmac_sha256(secret.expose().as_bytes(), &self.0)
            .verify_slice(tag)
            .is_ok()
    }
}

impl VerifiedEvent {
    /// The body, byte for byte as it was signed.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The same, given away.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
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

/// An HMAC-SHA256 over `message`, ready to be finished or verified.
pub(crate) fn hmac_sha256(key: &[u8], message: &[u8]) -> Hmac<Sha256> {
    keyed::<Hmac<Sha256>>(key).chain_update(message)
}

/// HMAC takes keys of any length (RFC 2104, section 3), so this cannot fail.
fn keyed<M: KeyInit>(key: &[u8]) -> M {
    M::new_from_slice(key).expect("HMAC takes a key of any length")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct IoVector {
        platform_secret: String,
        partner_id: PartnerId,
        timestamp: i64,
        hex: String,
        base64: String,
    }

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
    fn every_link_vector_is_signed_alike() {
        let vectors: Vec<IoVector> =
            serde_json::from_str(include_str!("../tests/vectors/io_signature.json")).unwrap();
        assert!(!vectors.is_empty());
        for v in vectors {
            let secret = Secret::new(v.platform_secret);
            let sign = |encoding| sign_io(&secret, &v.partner_id, v.timestamp, encoding);
            assert_eq!(sign(IoEncoding::Hex), v.hex);
            assert_eq!(sign(IoEncoding::Base64), v.base64);
        }
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
        assert_eq!(
            format!("{:?}", event(b"needle")),
            "UnverifiedEvent(6 bytes)"
        );
    }

    #[test]
    fn an_encoding_is_hex_or_base64() {
        assert_eq!("hex".parse(), Ok(IoEncoding::Hex));
        assert_eq!("base64".parse(), Ok(IoEncoding::Base64));
        assert_eq!("HEX".parse::<IoEncoding>(), Err(IoEncodingError));
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
