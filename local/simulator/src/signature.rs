//! The two signatures made with the platform secret: that of onboarding links, and that of webhooks.

use data_encoding::{
    BASE64, BASE64_NOPAD, BASE64URL, BASE64URL_NOPAD, HEXLOWER, HEXLOWER_PERMISSIVE,
};
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use sha2::{Sha256, Sha512};

/// "Each signature is valid for 24 hours."
pub(crate) const LIFETIME_SECONDS: i64 = 24 * 60 * 60;

/// Why an onboarding link's signature is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("The link carries no io_signature.")]
    NoSignature,
    #[error("The link carries no io_timestamp.")]
    NoTimestamp,
    #[error("io_timestamp is not a number of seconds.")]
    MalformedTimestamp,
    #[error("io_signature is neither hex nor base64.")]
    MalformedSignature,
    #[error("io_signature does not match partner and timestamp.")]
    Wrong,
    #[error("io_timestamp lies in the future.")]
    Future,
    #[error("The signature is older than 24 hours.")]
    Expired,
    #[error("The signature has already been used.")]
    Used,
}

/// Verifies the signature of a link and returns the second it was signed for.
///
/// The caller checks whether it has been used. The second identifies the signature, since that covers
/// only partner and second.
pub(crate) fn check_link(
    platform_secret: &str,
    partner: &str,
    signature: Option<&str>,
    timestamp: Option<&str>,
    now: Timestamp,
) -> Result<i64, Refusal> {
    let signature = signature
        .filter(|text| !text.is_empty())
        .ok_or(Refusal::NoSignature)?;
    let timestamp = timestamp
        .filter(|text| !text.is_empty())
        .ok_or(Refusal::NoTimestamp)?;
    let second = decimal(timestamp).ok_or(Refusal::MalformedTimestamp)?;
    let signature = decode(signature).ok_or(Refusal::MalformedSignature)?;

    let mut mac = Hmac::<Sha512>::new_from_slice(platform_secret.as_bytes())
        .expect("HMAC takes keys of any length");
    mac.update(format!("{partner}|{timestamp}").as_bytes());
    mac.verify_slice(&signature).map_err(|_| Refusal::Wrong)?;

    let age = now.as_second() - second;
    match age {
        ..0 => Err(Refusal::Future),
        0..=LIFETIME_SECONDS => Ok(second),
        _ => Err(Refusal::Expired),
    }
}

/// The signature of a webhook: lower-case hex over the raw body.
pub(crate) fn sign_webhook(platform_secret: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(platform_secret.as_bytes())
        .expect("HMAC takes keys of any length");
    mac.update(body);
    HEXLOWER.encode(&mac.finalize().into_bytes())
}

/// A signature of the right form that does not verify.
pub(crate) fn forge_webhook(platform_secret: &str, body: &[u8]) -> String {
    sign_webhook(&format!("not {platform_secret}"), body)
}

/// Parses canonical decimal digits, so that no two texts mean the same second.
fn decimal(text: &str) -> Option<i64> {
    let second: i64 = text.parse().ok()?;
    // Not negative, so that subtracting it from the clock cannot overflow.
    (second >= 0 && second.to_string() == text).then_some(second)
}

fn decode(text: &str) -> Option<Vec<u8>> {
    // A plus sign that was pasted into a link unescaped arrives as a space.
    let text = text.replace(' ', "+");
    [
        HEXLOWER_PERMISSIVE,
        BASE64,
        BASE64_NOPAD,
        BASE64URL,
        BASE64URL_NOPAD,
    ]
    .iter()
    .find_map(|encoding| encoding.decode(text.as_bytes()).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "test_platform_secret";
    const PARTNER: &str = "aAbBcCPA";
    const SECOND: &str = "1775653748";
    const SIGNATURE: &str = "1029070db2318eea6c04e3065e992e1d356514a08f33b223c42c809df700345a\
                             3d5bf4425d3b579dbadf3aedde4c6974a3e9c5fe49b5635688a35d8b32a61492";

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn check(signature: &str, timestamp: &str, now: i64) -> Result<i64, Refusal> {
        check_link(SECRET, PARTNER, Some(signature), Some(timestamp), at(now))
    }

    #[test]
    fn the_known_signature_is_accepted_in_every_encoding() {
        let raw = HEXLOWER.decode(SIGNATURE.as_bytes()).unwrap();
        let encodings = [
            SIGNATURE.to_owned(),
            SIGNATURE.to_uppercase(),
            BASE64.encode(&raw),
            BASE64.encode(&raw).replace('+', " "),
            BASE64URL_NOPAD.encode(&raw),
        ];
        for signature in encodings {
            assert_eq!(
                check(&signature, SECOND, 1_775_653_748),
                Ok(1_775_653_748),
                "{signature}"
            );
        }
    }

    #[test]
    fn a_signature_is_valid_for_24_hours_and_not_before_its_second() {
        assert_eq!(
            check(SIGNATURE, SECOND, 1_775_653_747),
            Err(Refusal::Future)
        );
        assert!(check(SIGNATURE, SECOND, 1_775_653_748 + LIFETIME_SECONDS).is_ok());
        assert_eq!(
            check(SIGNATURE, SECOND, 1_775_653_749 + LIFETIME_SECONDS),
            Err(Refusal::Expired)
        );
    }

    #[test]
    fn every_other_signature_is_refused_with_its_reason() {
        let now = 1_775_653_748;
        assert_eq!(check("", SECOND, now), Err(Refusal::NoSignature));
        assert_eq!(check(SIGNATURE, "", now), Err(Refusal::NoTimestamp));
        assert_eq!(
            check(SIGNATURE, "soon", now),
            Err(Refusal::MalformedTimestamp)
        );
        assert_eq!(
            check(SIGNATURE, "+1775653748", now),
            Err(Refusal::MalformedTimestamp)
        );
        assert_eq!(
            check(SIGNATURE, "-9223372036854775808", now),
            Err(Refusal::MalformedTimestamp)
        );
        assert_eq!(check("§", SECOND, now), Err(Refusal::MalformedSignature));
        assert_eq!(check(&SIGNATURE[2..], SECOND, now), Err(Refusal::Wrong));
        assert_eq!(check(SIGNATURE, "1775653747", now), Err(Refusal::Wrong));
        assert_eq!(
            check_link(SECRET, "other", Some(SIGNATURE), Some(SECOND), at(now)),
            Err(Refusal::Wrong)
        );
        assert_eq!(
            check_link("other", PARTNER, Some(SIGNATURE), Some(SECOND), at(now)),
            Err(Refusal::Wrong)
        );
    }

    #[test]
    fn a_webhook_signature_is_the_published_one() {
        // RFC 4231, test case 2.
        assert_eq!(
            sign_webhook("Jefe", b"what do ya want for nothing?"),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }
}
