//! The signature of an onboarding link ("IO signature").
//!
//! Source: <https://docs.360dialog.com/partner/onboarding/integrated-onboarding/io-signature>.

use std::str::FromStr;

use data_encoding::{BASE64, HEXLOWER};
use hmac::{Hmac, Mac};
use sha2::Sha512;

use crate::hmac::keyed;
use crate::id::PartnerId;
use crate::secret::Secret;

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
pub fn sign_io(secret: &Secret, partner: &PartnerId, second: i64, encoding: IoEncoding) -> String {
    let mac = keyed::<Hmac<Sha512>>(secret);
    let tag = mac
        .chain_update(format!("{partner}|{second}"))
        .finalize()
        .into_bytes();
    match encoding {
        IoEncoding::Hex => HEXLOWER.encode(&tag),
        IoEncoding::Base64 => BASE64.encode(&tag),
    }
}

#[cfg(test)]
mod tests {
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
    fn an_encoding_is_hex_or_base64() {
        assert_eq!("hex".parse(), Ok(IoEncoding::Hex));
        assert_eq!("base64".parse(), Ok(IoEncoding::Base64));
        assert_eq!("HEX".parse::<IoEncoding>(), Err(IoEncodingError));
    }
}
