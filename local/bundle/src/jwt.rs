//! What the gateway's JWT authorizer does on AWS, done here with a shared secret (HS256).

use std::time::Duration;

use axum::extract::Request;
use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use onboarding::secret::Secret;
use platform::clock;
use platform::http::Caller;
use serde_json::{Map, Value, json};

/// How long a token made by `local token` or the demo is good for.
const LIFE: Duration = Duration::from_secs(12 * 3600);

/// How far the clocks of issuer and gateway may differ, s.
const LEEWAY: u64 = 60;

/// Which requests need a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guarded {
    /// All of them.
    All,
    /// Only POST: a browser that comes back with GET has no token.
    PostOnly,
}

/// Checks and makes tokens with one secret.
#[derive(Clone)]
pub struct Jwt {
    secret: Secret,
}

impl Jwt {
    /// Tokens signed with `secret`.
    pub fn new(secret: Secret) -> Self {
        Self { secret }
    }

    /// A token for `tenant`, good for 12 hours.
    pub fn token(&self, claim: &str, tenant: &str) -> Option<String> {
        let expires_at = clock::now().checked_add(LIFE).ok()?.as_second();
        let claims = json!({claim: tenant, "exp": expires_at});
        encode(&Header::new(Algorithm::HS256), &claims, &EncodingKey::from_secret(self.key())).ok()
    }

    /// Lets a request pass with its caller, or refuses it as the gateway does.
    pub async fn guard(self, guarded: Guarded, mut request: Request, next: Next) -> Response {
        if guarded == Guarded::PostOnly && request.method() != Method::POST {
            return next.run(request).await;
        }
        let Some(claims) = self.claims(request.headers()) else {
            let body = axum::Json(json!({"message": "Unauthorized"}));
            return (StatusCode::UNAUTHORIZED, [(WWW_AUTHENTICATE, "Bearer")], body).into_response();
        };
        request.extensions_mut().insert(Caller::Jwt(claims));
        next.run(request).await
    }

    fn claims(&self, headers: &HeaderMap) -> Option<Map<String, Value>> {
        let header = headers.get(AUTHORIZATION)?.to_str().ok()?;
        let (scheme, token) = header.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let mut validation = Validation::new(Algorithm::HS256);
        validation.leeway = LEEWAY;
        validation.validate_nbf = true;
        validation.validate_aud = false;
        validation.set_required_spec_claims(&["exp"]);
        let key = DecodingKey::from_secret(self.key());
        decode::<Map<String, Value>>(token.trim(), &key, &validation).ok().map(|token| token.claims)
    }

    fn key(&self) -> &[u8] {
        self.secret.expose().as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jwt() -> Jwt {
        Jwt::new(Secret::new("a secret of the tests"))
    }

    fn claims(jwt: &Jwt, token: &str) -> Option<Map<String, Value>> {
        let value = format!("Bearer {token}").parse().unwrap();
        jwt.claims(&HeaderMap::from_iter([(AUTHORIZATION, value)]))
    }

    fn signed(claims: &Value, algorithm: Algorithm) -> String {
        encode(&Header::new(algorithm), claims, &EncodingKey::from_secret(jwt().key())).unwrap()
    }

    #[test]
    fn a_token_of_ours_names_its_tenant() {
        let token = jwt().token("sub", "acme").unwrap();
        assert_eq!(claims(&jwt(), &token).unwrap()["sub"], "acme");
        assert_eq!(claims(&Jwt::new(Secret::new("another secret")), &token), None);
    }

    #[test]
    fn a_token_must_end_and_may_be_a_minute_late() {
        let now = clock::now().as_second();
        assert_eq!(claims(&jwt(), &signed(&json!({"sub": "acme"}), Algorithm::HS256)), None);
        assert_eq!(claims(&jwt(), &signed(&json!({"sub": "a", "exp": now - 120}), Algorithm::HS256)), None);
        assert!(claims(&jwt(), &signed(&json!({"sub": "a", "exp": now - 30}), Algorithm::HS256)).is_some());
        let other_algorithm = signed(&json!({"sub": "a", "exp": now + 60}), Algorithm::HS512);
        assert_eq!(claims(&jwt(), &other_algorithm), None);
    }
}
