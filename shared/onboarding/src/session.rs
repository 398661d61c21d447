//! The state token: what `sign` says about an onboarding session, carried by the browser and believed on return.
//!
//! `base64url(payload) "." base64url(HMAC-SHA256(key, payload))`, without padding. Nothing of it is
//! stored until it comes back; the signed second, unique per partner, is the session's name.

use std::fmt;

use data_encoding::BASE64URL_NOPAD;
use dialog360::id::PartnerId;
use dialog360::secret::Secret;
use hmac::{Hmac, KeyInit, Mac};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::origin::{Origin, ReturnTo};
use crate::tenant::Tenant;

/// How long a state is good for, from the moment it was issued.
///
/// The link's signature (24 h) is spent when onboarding starts; the redirect comes at its end.
pub const STATE_LIFETIME: SignedDuration = SignedDuration::from_hours(48);

/// Longest token that is looked at, in bytes; ours stay far below.
const TOKEN_MAX: usize = 16 * 1024;

/// The text that the platform secret signs, before the name of the deployment's table, to become the key of states, and of nothing
/// else: a signature that it makes elsewhere is then worth nothing here, nor is a state of another deployment.
const KEY_LABEL: &[u8] = b"integrated-onboarding/state-token/v2/";

/// One onboarding session, from the signed link to the redirect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// The partner it belongs to.
    pub partner: PartnerId,
    /// On whose behalf the link was signed.
    pub tenant: Tenant,
    /// The signed second (UNIX time); unique per partner, so it names the session.
    pub second: i64,
    /// When the link was signed by the clock; may lie some minutes after `second`.
    pub issued_at: Timestamp,
    /// The page that asked for the link, and that alone may be told the result.
    pub origin: Origin,
    /// Where the browser goes afterwards, if that was said.
    pub return_to: Option<ReturnTo>,
}

/// A sealed session. Whoever has it can speak for its tenant, so it is not printed.
#[derive(Clone, PartialEq, Eq)]
pub struct State(String);

impl State {
    /// The token: for the answer of `sign` and the links in it, never for a log.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("State([redacted])")
    }
}

/// Why a state is not believed. An outsider gets the same answer for all of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateRefused {
    /// It does not have the form of a state.
    #[error("the state is malformed")]
    Malformed,
    /// It was sealed with none of the secrets.
    #[error("the state was not issued here")]
    Forged,
    /// Its 48 hours are over.
    #[error("the state has expired")]
    Expired,
    /// It belongs to another partner id.
    #[error("the state belongs to another partner")]
    Foreign,
}

impl Session {
    /// Makes the token, with the secret that signs now, for the deployment whose table is `table`.
    pub fn seal(&self, secret: &Secret, table: &str) -> State {
        let payload = Payload::from(self);
        let payload = serde_json::to_vec(&payload).expect("texts and numbers always serialise");
        let tag = mac(secret, table, &payload).finalize().into_bytes();
        let (payload, tag) = (
            BASE64URL_NOPAD.encode(&payload),
            BASE64URL_NOPAD.encode(&tag),
        );
        State(format!("{payload}.{tag}"))
    }

    /// Reads a token that a browser brought back; the seal is checked before anything is parsed.
    ///
    /// # Errors
    /// When it is malformed, sealed with none of the secrets or by another deployment, of another partner, or expired.
    pub fn open(
        state: &str,
        partner: &PartnerId,
        secrets: &[&Secret],
        table: &str,
        now: Timestamp,
    ) -> Result<Self, StateRefused> {
        let (payload, tag) = split(state).ok_or(StateRefused::Malformed)?;
        if !secrets
            .iter()
            .any(|secret| mac(secret, table, &payload).verify_slice(&tag).is_ok())
        {
            return Err(StateRefused::Forged);
        }
        let payload: Payload =
            serde_json::from_slice(&payload).map_err(|_| StateRefused::Malformed)?;
        let session = Self::from(payload);
        if session.partner != *partner {
            return Err(StateRefused::Foreign);
        }
        if now.duration_since(session.issued_at) >= STATE_LIFETIME {
            return Err(StateRefused::Expired);
        }
        Ok(session)
    }
}

fn mac(secret: &Secret, table: &str, payload: &[u8]) -> impl Mac {
    let label = [KEY_LABEL, table.as_bytes()].concat();
    let key = hmac_sha256(secret.expose().as_bytes(), &label)
        .finalize()
        .into_bytes();
    hmac_sha256(&key, payload)
}

/// HMAC takes keys of any length (RFC 2104, section 3), so this cannot fail.
fn hmac_sha256(key: &[u8], message: &[u8]) -> Hmac<Sha256> {
    let keyed = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    keyed.chain_update(message)
}

fn split(state: &str) -> Option<(Vec<u8>, Vec<u8>)> {
    if state.len() > TOKEN_MAX {
        return None;
    }
    let (payload, tag) = state.split_once('.')?;
    let payload = BASE64URL_NOPAD.decode(payload.as_bytes()).ok()?;
    let tag = BASE64URL_NOPAD.decode(tag.as_bytes()).ok()?;
    Some((payload, tag))
}

/// The session as JSON. A type of its own, so that no session is read from JSON without its seal.
#[derive(Serialize, Deserialize)]
struct Payload {
    partner: PartnerId,
    tenant: Tenant,
    second: i64,
    issued_at: Timestamp,
    origin: Origin,
    return_to: Option<ReturnTo>,
}

impl From<&Session> for Payload {
    fn from(session: &Session) -> Self {
        let Session {
            partner,
            tenant,
            second,
            issued_at,
            origin,
            return_to,
        } = session.clone();
        Self {
            partner,
            tenant,
            second,
            issued_at,
            origin,
            return_to,
        }
    }
}

impl From<Payload> for Session {
    fn from(payload: Payload) -> Self {
        let Payload {
            partner,
            tenant,
            second,
            issued_at,
            origin,
            return_to,
        } = payload;
        Self {
            partner,
            tenant,
            second,
            issued_at,
            origin,
            return_to,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ISSUED: i64 = 1_775_653_748;
    const TABLE: &str = "onboarding";

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn partner() -> PartnerId {
        "aAbBcCPA".parse().unwrap()
    }

    fn session() -> Session {
        let allowed = "https://app.example.com".parse().unwrap();
        Session {
            partner: partner(),
            tenant: "acme".parse().unwrap(),
            second: ISSUED - 300,
            issued_at: at(ISSUED),
            origin: "https://app.example.com".parse().unwrap(),
            return_to: Some(ReturnTo::parse("https://app.example.com/x?y=1", &allowed).unwrap()),
        }
    }

    fn open(state: &str, second: i64) -> Result<Session, StateRefused> {
        Session::open(state, &partner(), &[&Secret::new("s")], TABLE, at(second))
    }

    fn sealed_json(json: &[u8]) -> String {
        let tag = mac(&Secret::new("s"), TABLE, json).finalize().into_bytes();
        format!(
            "{}.{}",
            BASE64URL_NOPAD.encode(json),
            BASE64URL_NOPAD.encode(&tag)
        )
    }

    #[test]
    fn a_state_of_another_deployment_is_worth_nothing() {
        let state = session().seal(&Secret::new("s"), "test-stack");
        assert_eq!(open(state.as_str(), ISSUED), Err(StateRefused::Forged));
    }

    #[test]
    fn a_state_brings_its_session_back() {
        let state = session().seal(&Secret::new("s"), TABLE);
        assert_eq!(open(state.as_str(), ISSUED), Ok(session()));
        assert_eq!(open(state.as_str(), ISSUED - 5), Ok(session()));
    }

    #[test]
    fn a_state_is_good_for_48_hours() {
        let state = session().seal(&Secret::new("s"), TABLE);
        assert!(open(state.as_str(), ISSUED + 48 * 3_600 - 1).is_ok());
        assert_eq!(
            open(state.as_str(), ISSUED + 48 * 3_600),
            Err(StateRefused::Expired)
        );
    }

    #[test]
    fn a_state_of_the_previous_secret_is_still_believed() {
        let state = session().seal(&Secret::new("old"), TABLE);
        let (new, old) = (Secret::new("new"), Secret::new("old"));
        let open = |secrets: &[&Secret]| {
            Session::open(state.as_str(), &partner(), secrets, TABLE, at(ISSUED))
        };
        assert!(open(&[&new, &old]).is_ok());
        assert_eq!(open(&[&new]), Err(StateRefused::Forged));
        assert_eq!(open(&[]), Err(StateRefused::Forged));
    }

    #[test]
    fn a_state_of_another_partner_is_foreign() {
        let state = session().seal(&Secret::new("s"), TABLE);
        let other = "otherPA".parse().unwrap();
        let refused = Session::open(
            state.as_str(),
            &other,
            &[&Secret::new("s")],
            TABLE,
            at(ISSUED),
        );
        assert_eq!(refused, Err(StateRefused::Foreign));
    }

    #[test]
    fn a_webhook_signature_is_no_seal() {
        let payload = serde_json::to_vec(&Payload::from(&session())).unwrap();
        let tag = hmac_sha256(b"s", &payload).finalize().into_bytes();
        let state = format!(
            "{}.{}",
            BASE64URL_NOPAD.encode(&payload),
            BASE64URL_NOPAD.encode(&tag)
        );
        assert_eq!(open(&state, ISSUED), Err(StateRefused::Forged));
    }

    #[test]
    fn what_is_no_token_is_malformed() {
        let state = session().seal(&Secret::new("s"), TABLE).as_str().to_owned();
        let long = "A".repeat(TOKEN_MAX + 1);
        for text in [
            "",
            ".",
            "a",
            "a.b.c",
            "é.é",
            &format!("{state}="),
            &format!("{state}.x"),
            &long,
        ] {
            let refused = open(text, ISSUED).unwrap_err();
            assert!(
                matches!(refused, StateRefused::Malformed | StateRefused::Forged),
                "{text}"
            );
        }
        assert_eq!(open(&long, ISSUED), Err(StateRefused::Malformed));
    }

    #[test]
    fn sealed_nonsense_is_malformed() {
        assert_eq!(
            open(&sealed_json(b"{}"), ISSUED),
            Err(StateRefused::Malformed)
        );
        let mut json = serde_json::to_value(Payload::from(&session())).unwrap();
        json["return_to"] = "javascript:alert(1)".into();
        assert_eq!(
            open(&sealed_json(json.to_string().as_bytes()), ISSUED),
            Err(StateRefused::Malformed)
        );
    }

    #[test]
    fn a_state_does_not_print() {
        assert_eq!(
            format!("{:?}", session().seal(&Secret::new("s"), TABLE)),
            "State([redacted])"
        );
    }

    #[test]
    fn the_longest_session_fits_into_a_token() {
        let mut session = session();
        let allowed = "https://app.example.com".parse().unwrap();
        let address = format!("https://app.example.com/?{}", "x".repeat(999));
        session.return_to = Some(ReturnTo::parse(&address, &allowed).unwrap());
        session.tenant = "\u{1}".repeat(128).parse().unwrap();
        assert_eq!(
            open(session.seal(&Secret::new("s"), TABLE).as_str(), ISSUED),
            Ok(session)
        );
    }

    #[test]
    fn a_token_has_at_most_16_kib() {
        let payload = serde_json::to_vec(&Payload::from(&session())).unwrap();
        // JSON may be followed by spaces; the seal takes 44 of the characters.
        let padded = |length| {
            let mut payload = payload.clone();
            payload.resize(length, b' ');
            sealed_json(&payload)
        };
        let longest = padded((16 * 1024 - 44) / 4 * 3);
        assert_eq!(longest.len(), 16 * 1024);
        assert_eq!(open(&longest, ISSUED), Ok(session()));
        let longer = padded((16 * 1024 - 44) / 4 * 3 + 1);
        assert_eq!(open(&longer, ISSUED), Err(StateRefused::Malformed));
    }

    proptest! {
        #[test]
        fn every_session_survives_a_round_trip(
            tenant in ".{1,128}", secret in ".{1,20}", second in 0i64..4_102_444_800, nanos in 0i32..1_000_000_000,
        ) {
            let mut session = session();
            session.tenant = tenant.parse().unwrap();
            session.second = second;
            session.issued_at = Timestamp::new(second, nanos).unwrap();
            let secret = Secret::new(secret);
            let opened = Session::open(session.seal(&secret, TABLE).as_str(), &partner(), &[&secret], TABLE, at(second));
            prop_assert_eq!(opened, Ok(session));
        }

        #[test]
        fn a_state_with_one_byte_changed_is_refused(position in any::<prop::sample::Index>(), byte in any::<char>()) {
            let state = session().seal(&Secret::new("s"), TABLE);
            let mut changed: Vec<char> = state.as_str().chars().collect();
            let position = position.index(changed.len());
            prop_assume!(changed[position] != byte);
            changed[position] = byte;
            prop_assert!(open(&changed.into_iter().collect::<String>(), ISSUED).is_err());
        }
    }
}
