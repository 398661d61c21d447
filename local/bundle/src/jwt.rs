//! Checks tokens as the gateway's JWT authorizer does on AWS, but with a shared secret (HS256).

use std::time::Duration;

use axum::extract::Request;
use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use dialog360::secret::Secret;
use jsonwebtoken::dangerous::insecure_decode_claims;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, crypto, decode_header, encode};
use runtime::clock;
use runtime::http::Caller;
use serde_json::{Map, Value, json};

/// How long a token made by `local token` or the demo is valid.
const LIFE: Duration = Duration::from_secs(12 * 3600);

/// How many seconds the clocks of issuer and gateway may differ.
const LEEWAY: f64 = 60.0;

/// Which requests need a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guarded {
    /// All of them.
    All,
    /// Only POST: a browser that 360dialog redirects here with GET has no token.
    PostOnly,
}

/// Checks and makes tokens with one secret.
#[derive(Clone)]
pub struct Jwt {
    secret: Secret,
}

impl Jwt {
    /// Checks and makes tokens that are signed with `secret`.
    pub fn new(secret: Secret) -> Self {
        Self { secret }
    }

    /// A token that names `tenant` in `jwt_claim`, valid for 12 hours.
    pub fn token(&self, jwt_claim: &str, tenant: &str) -> Option<String> {
        let expires_at = clock::now().checked_add(LIFE).ok()?.as_second();
        let claims = json!({jwt_claim: tenant, "exp": expires_at});
        encode(
            &Header::new(Algorithm::HS256),
            &claims,
            &EncodingKey::from_secret(self.key()),
        )
        .ok()
    }

    /// Passes a request on with its caller, or refuses it as the gateway does.
    pub async fn guard(self, guarded: Guarded, mut request: Request, next: Next) -> Response {
        if guarded == Guarded::PostOnly && request.method() != Method::POST {
            return next.run(request).await;
        }
        let Some(claims) = self.jwt_claims(request.headers()) else {
            let body = axum::Json(json!({"message": "Unauthorized"}));
            return (
                StatusCode::UNAUTHORIZED,
                [(WWW_AUTHENTICATE, "Bearer")],
                body,
            )
                .into_response();
        };
        request.extensions_mut().insert(Caller::Jwt(claims));
        next.run(request).await
    }

    fn jwt_claims(&self, headers: &HeaderMap) -> Option<Map<String, Value>> {
        let header = headers.get(AUTHORIZATION)?.to_str().ok()?;
        let (scheme, token) = header.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let claims = self.verified_claims(token.trim())?;
        is_in_time(&claims).then_some(claims)
    }

    /// The JWT claims of a token that we signed, of any type: the function later checks the one that names the tenant.
    fn verified_claims(&self, token: &str) -> Option<Map<String, Value>> {
        if decode_header(token).ok()?.alg != Algorithm::HS256 {
            return None;
        }
        let (message, signature) = token.rsplit_once('.')?;
        let key = DecodingKey::from_secret(self.key());
        let is_ours = crypto::verify(signature, message.as_bytes(), &key, Algorithm::HS256).ok()?;
        if is_ours {
            insecure_decode_claims(token).ok()
        } else {
            None
        }
    }

    fn key(&self) -> &[u8] {
        self.secret.expose().as_bytes()
    }
}

/// Whether `exp` is in the future, and `nbf`, if there is one, in the past.
fn is_in_time(claims: &Map<String, Value>) -> bool {
    let now = clock::now().as_second() as f64;
    let has_not_ended = claims
        .get("exp")
        .and_then(Value::as_f64)
        .is_some_and(|end| now < end + LEEWAY);
    let has_begun = |begin: &Value| begin.as_f64().is_some_and(|begin| begin <= now + LEEWAY);
    has_not_ended && claims.get("nbf").is_none_or(has_begun)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jwt() -> Jwt {
        Jwt::new(Secret::new("a secret of the tests"))
    }

    fn jwt_claims(jwt: &Jwt, token: &str) -> Option<Map<String, Value>> {
        let value = format!("Bearer {token}").parse().unwrap();
        jwt.jwt_claims(&HeaderMap::from_iter([(AUTHORIZATION, value)]))
    }

    fn signed(claims: &Value, algorithm: Algorithm) -> String {
        encode(
            &Header::new(algorithm),
            claims,
            &EncodingKey::from_secret(jwt().key()),
        )
        .unwrap()
    }

    #[test]
    fn a_token_of_ours_names_its_tenant() {
        let token = jwt().token("sub", "acme").unwrap();
        assert_eq!(jwt_claims(&jwt(), &token).unwrap()["sub"], "acme");
        assert_eq!(
            jwt_claims(&Jwt::new(Secret::new("another secret")), &token),
            None
        );
    }

    #[test]
    fn a_token_must_end_and_may_be_a_minute_late() {
        let now = clock::now().as_second();
        assert_eq!(
            jwt_claims(&jwt(), &signed(&json!({"sub": "acme"}), Algorithm::HS256)),
            None
        );
        assert_eq!(
            jwt_claims(
                &jwt(),
                &signed(&json!({"sub": "a", "exp": now - 120}), Algorithm::HS256)
            ),
            None
        );
        assert!(
            jwt_claims(
                &jwt(),
                &signed(&json!({"sub": "a", "exp": now - 30}), Algorithm::HS256)
            )
            .is_some()
        );
        let other_algorithm = signed(&json!({"sub": "a", "exp": now + 60}), Algorithm::HS512);
        assert_eq!(jwt_claims(&jwt(), &other_algorithm), None);
        for exp in [
            json!(null),
            json!("soon"),
            json!((now + 60).to_string()),
            json!([now + 60]),
        ] {
            assert_eq!(
                jwt_claims(&jwt(), &signed(&json!({"exp": exp}), Algorithm::HS256)),
                None,
                "{exp}"
            );
        }
    }

    #[test]
    fn a_token_may_begin_a_minute_early() {
        let end = clock::now().as_second() + 600;
        let begins = |nbf: Value| {
            jwt_claims(
                &jwt(),
                &signed(&json!({"exp": end, "nbf": nbf}), Algorithm::HS256),
            )
            .is_some()
        };
        assert!(begins(json!(end - 570)) && begins(json!(0)) && begins(json!(0.5)));
        assert!(!begins(json!(end - 480)) && !begins(json!("0")) && !begins(json!(null)));
    }

    #[test]
    fn a_jwt_claim_of_another_type_is_left_to_the_tenant_check() {
        let end = clock::now().as_second() + 600;
        for strange in [
            json!(7),
            json!(["acme"]),
            json!({"of": "acme"}),
            json!(null),
        ] {
            let token = json!({"exp": end, "sub": strange, "aud": 7, "iss": ["x"], "iat": "now", "org": "acme"});
            assert_eq!(
                jwt_claims(&jwt(), &signed(&token, Algorithm::HS256)).as_ref(),
                token.as_object()
            );
        }
        assert_eq!(
            jwt_claims(&jwt(), &signed(&json!(["exp"]), Algorithm::HS256)),
            None
        );
    }

    #[test]
    fn no_other_algorithm_passes_even_with_our_signature() {
        let end = clock::now().as_second() + 600;
        let good = signed(&json!({"sub": "acme", "exp": end}), Algorithm::HS256);
        let (payload, key) = (
            good.split('.').nth(1).unwrap(),
            EncodingKey::from_secret(jwt().key()),
        );
        // {"alg":"none"}, {"alg":"HS512"}, {"alg":"RS256"}
        for header in [
            "eyJhbGciOiJub25lIn0",
            "eyJhbGciOiJIUzUxMiJ9",
            "eyJhbGciOiJSUzI1NiJ9",
        ] {
            let message = format!("{header}.{payload}");
            let signature = crypto::sign(message.as_bytes(), &key, Algorithm::HS256).unwrap();
            assert_eq!(jwt_claims(&jwt(), &format!("{message}.{signature}")), None);
            assert_eq!(jwt_claims(&jwt(), &format!("{message}.")), None);
        }
    }
}
