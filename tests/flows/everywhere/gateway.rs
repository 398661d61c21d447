//! What the gateway does before any function is asked: CORS and tokens, to the letter.

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use platform::clock;
use reqwest::{Method, Response};
use serde_json::{Value, json};
use tests::{Bundle, PARTNER, hmac_sha256};

use crate::everywhere::http::{header, is_problem};

const PAGE: &str = "https://app.example";
const ALLOW: &str = "access-control-allow-origin";

#[tokio::test]
async fn a_preflight_is_204_whatever_the_address_and_says_nothing_to_strangers() {
    let bundle = Bundle::start_with(&[("ALLOWED_ORIGINS", PAGE)]).await;
    for path in [
        format!("/{PARTNER}/sign"),
        format!("/{PARTNER}/webhook"),
        "/nobodyPA/nothing/at/all".to_owned(),
    ] {
        for origin in [
            Some(PAGE),
            Some("https://APP.example"),
            Some("https://app.example:443"),
            Some("null"),
            None,
        ] {
            let answer = ask(&bundle, Method::OPTIONS, &path, origin).await;
            assert_eq!(answer.status(), 204, "{path}");
            let is_listed = origin == Some(PAGE);
            for (name, value) in [
                (ALLOW, PAGE),
                ("access-control-allow-methods", "GET,POST"),
                ("access-control-allow-headers", "authorization,content-type"),
                ("access-control-max-age", "600"),
            ] {
                assert_eq!(
                    header(&answer, name),
                    if is_listed { value } else { "" },
                    "{path} {origin:?}"
                );
            }
            assert_eq!(answer.text().await.expect("a body"), "");
        }
    }
}

#[tokio::test]
async fn a_listed_page_may_read_refusals_and_no_other_may() {
    let bundle = Bundle::start_with(&[("ALLOWED_ORIGINS", PAGE)]).await;
    for (path, status) in [
        (format!("/{PARTNER}/sign"), 401),
        ("/nobodyPA/nothing/at/all".to_owned(), 404),
    ] {
        for origin in [Some(PAGE), Some("https://evil.example"), None] {
            let answer = ask(&bundle, Method::GET, &path, origin).await;
            assert_eq!(answer.status(), status, "{path}");
            let wanted = if origin == Some(PAGE) {
                (PAGE, "retry-after")
            } else {
                ("", "")
            };
            assert_eq!(
                (
                    header(&answer, ALLOW),
                    header(&answer, "access-control-expose-headers")
                ),
                wanted,
                "{path}"
            );
        }
    }
}

/// I2
#[tokio::test]
async fn a_tenant_of_another_type_is_403_and_a_strange_sub_does_not_matter_beside_another_claim() {
    let bundle = Bundle::start().await;
    let by_org = Bundle::start_with(&[("TENANT_CLAIM", "org")]).await;
    let now = clock::now().as_second();
    for strange in [
        json!(7),
        json!(["acme"]),
        json!({"of": "acme"}),
        json!(null),
        json!(true),
    ] {
        let claims = json!({"exp": now + 600, "sub": strange, "org": "acme"});
        is_problem(sign(&bundle, "HS256", &claims).await, 403).await;
        assert_eq!(
            sign(&by_org, "HS256", &claims).await.status(),
            200,
            "{strange}"
        );
        let claims = json!({"exp": now + 600, "sub": "acme", "org": strange});
        is_problem(sign(&by_org, "HS256", &claims).await, 403).await;
    }
    for algorithm in ["none", "HS512", "RS256", "hs256", ""] {
        let claims = json!({"exp": now + 600, "sub": "acme"});
        assert_eq!(
            sign(&bundle, algorithm, &claims).await.status(),
            401,
            "{algorithm}"
        );
    }
    for (exp, nbf, status) in [
        (json!(now - 30), json!(now + 30), 200),
        (json!(now - 90), json!(now), 401),
        (json!(now + 600), json!(now + 90), 401),
        (json!("soon"), json!(now), 401),
        (json!(now + 600), json!("now"), 401),
    ] {
        let claims = json!({"exp": exp, "nbf": nbf, "sub": "acme"});
        assert_eq!(
            sign(&bundle, "HS256", &claims).await.status(),
            status,
            "{claims}"
        );
    }
}

async fn ask(bundle: &Bundle, method: Method, path: &str, origin: Option<&str>) -> Response {
    let mut request = bundle.http.request(method, format!("{}{path}", bundle.url));
    if let Some(origin) = origin {
        request = request.header("origin", origin);
    }
    request.send().await.expect("an answer")
}

/// Asks for a link with a token that names `algorithm` and is signed with HS256 in any case, without any of our code.
async fn sign(bundle: &Bundle, algorithm: &str, claims: &Value) -> Response {
    let encode = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
    let signed = format!(
        "{}.{}",
        encode(&json!({"alg": algorithm, "typ": "JWT"})),
        encode(claims)
    );
    let tag = HEXLOWER
        .decode(hmac_sha256(&bundle.secrets.jwt, signed.as_bytes()).as_bytes())
        .expect("hex");
    let token = format!("{signed}.{}", BASE64URL_NOPAD.encode(&tag));
    let request = bundle
        .http
        .get(format!("{}/{PARTNER}/sign", bundle.url))
        .bearer_auth(token);
    request.send().await.expect("an answer")
}
