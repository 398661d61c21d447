//! Who may ask: a token names the tenant; and what is no address of ours.

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use reqwest::Method;
use runtime::clock;
use serde_json::{Value, json};
use tests::{Answer, Ask, Bundle, PARTNER, hmac_sha256, is_on_aws, without_a_route};

/// I2
#[tokio::test]
async fn only_a_caller_whose_token_names_a_tenant_is_let_in() {
    let bundle = Bundle::start().await;
    let now = clock::now().as_second();
    let (soon, past) = (now + 600, now - 600);
    let secret = bundle.secrets.jwt.as_str();
    let other = "another-secret-that-is-long-enough";
    let strangers = [
        None,
        Some(token(other, &json!({"sub": "acme", "exp": soon}))),
        Some(token(secret, &json!({"sub": "acme", "exp": past}))),
        Some(token(secret, &json!({"sub": "acme"}))),
        Some("not.a.token".to_owned()),
    ];
    let nameless = [
        json!({"exp": soon}),
        json!({"exp": soon, "sub": ""}),
        json!({"exp": soon, "sub": 7}),
        json!({"exp": soon, "sub": ["acme"]}),
        json!({"exp": soon, "sub": "x".repeat(129)}),
    ];
    let good = token(secret, &json!({"sub": "acme", "exp": soon}));
    let before = bundle.scan().await;
    for (method, path) in guarded() {
        for stranger in &strangers {
            ask(&bundle, &method, &path, stranger.as_deref())
                .await
                .is(401);
        }
        for claims in &nameless {
            let nameless = token(secret, claims);
            ask(&bundle, &method, &path, Some(&nameless))
                .await
                .problem(403);
        }
        let named_twice = format!("{path}?tenant=globex");
        ask(&bundle, &method, &named_twice, Some(&good))
            .await
            .problem(400);
    }
    assert_eq!(bundle.scan().await, before);
    let longest = token(secret, &json!({"sub": "x".repeat(128), "exp": soon}));
    let path = format!("/{PARTNER}/channels");
    let answer = ask(&bundle, &Method::GET, &path, Some(&longest)).await;
    assert_eq!(answer.text, r#"{"channels":[],"next":null}"#);
}

/// I2
#[tokio::test]
async fn another_claim_names_the_tenant_where_that_is_set() {
    let bundle = Bundle::start_with(&[("TENANT_CLAIM", "org")]).await;
    let soon = clock::now().as_second() + 600;
    let path = format!("/{PARTNER}/channels");
    for (claims, status) in [
        (json!({"exp": soon, "sub": 7, "org": "acme"}), 200),
        (json!({"exp": soon, "sub": "acme", "org": 7}), 403),
        (json!({"exp": soon, "sub": "acme"}), 403),
    ] {
        let token = token(&bundle.secrets.jwt, &claims);
        ask(&bundle, &Method::GET, &path, Some(&token))
            .await
            .is(status);
    }
}

#[tokio::test]
async fn an_unknown_partner_or_channel_is_told_and_nothing_is_kept_by_caches() {
    let bundle = Bundle::start().await;
    let good = bundle.token("acme");
    for (method, path) in [
        (Method::GET, "/nobodyPA/sign"),
        (Method::GET, "/nobodyPA/channels"),
        (Method::GET, "/nobodyPA/channels/oneCH"),
        (Method::GET, "/nobodyPA/redirect?client=aCL"),
        (Method::GET, "/nobodyPA/redirect/state"),
        (Method::POST, "/nobodyPA/redirect"),
        (Method::POST, "/nobodyPA/webhook"),
        (Method::GET, "/aAbBcCPA/channels/oneCH"),
        (Method::GET, "/aAbBcCPA/channels/not%20an%20id"),
    ] {
        ask(&bundle, &method, path, Some(&good)).await.problem(404);
    }
    for path in ["sign", "channels", "redirect", "redirect?client=aCL"] {
        let answer = bundle
            .get("acme", &format!("/{PARTNER}/{path}"))
            .ask()
            .await;
        assert_eq!(answer.is(200).header("cache-control"), "no-store", "{path}");
    }
    for query in [
        "limit=0",
        "limit=101",
        "limit=ten",
        "cursor=x",
        "cursor=%00",
    ] {
        let request = bundle.get("acme", &format!("/{PARTNER}/channels?{query}"));
        request.ask().await.problem(400);
    }
}

/// On one machine we say so, on AWS the gateway does, which knows no other refusal of what is on none of its routes.
#[tokio::test]
async fn an_address_or_method_without_a_route_is_told() {
    let bundle = Bundle::start().await;
    let good = bundle.token("acme");
    for (method, path, status) in [
        (Method::GET, "nothing", 404),
        (Method::GET, "sign/", 404),
        (Method::GET, "redirect/state/more", 404),
        (Method::POST, "sign", 405),
        (Method::POST, "channels", 405),
        (Method::DELETE, "channels/oneCH", 405),
        (Method::PUT, "redirect", 405),
        (Method::POST, "redirect/state", 405),
        (Method::GET, "webhook", 405),
    ] {
        let path = format!("/{PARTNER}/{path}");
        let answer = ask(&bundle, &method, &path, Some(&good)).await;
        if is_on_aws() {
            let answer = answer.is(without_a_route(status));
            assert_eq!(answer.text, r#"{"message":"Not Found"}"#);
        } else {
            answer.problem(status);
        }
    }
}

#[tokio::test]
async fn pages_of_allowed_origins_alone_may_read_answers_and_refusals() {
    let two_pages = "https://app.example, https://other.example";
    let bundle = Bundle::start_with(&[("ALLOWED_ORIGINS", two_pages)]).await;
    let nowhere = "/nobodyPA/nothing/at/all";
    let paths = guarded().map(|(_, path)| path);
    for (origin, is_listed) in [
        ("https://app.example", true),
        ("https://other.example", true),
        ("https://APP.example", false),
        ("https://evil.example", false),
        ("null", false),
    ] {
        let wanted = |value| if is_listed { value } else { "" };
        for path in paths.iter().map(String::as_str).chain([nowhere]) {
            let request = bundle.request(Method::OPTIONS, path);
            let request = request.header("origin", origin);
            let answer = request
                .header("access-control-request-method", "GET")
                .ask()
                .await;
            for (name, value) in [
                ("access-control-allow-origin", origin),
                ("access-control-allow-methods", "GET,POST"),
                ("access-control-allow-headers", "authorization,content-type"),
                ("access-control-max-age", "600"),
            ] {
                assert_eq!(answer.header(name), wanted(value), "{path} {origin}");
            }
            assert_eq!(answer.is(204).text, "");
            // With and without a token, so that a page can read why it was refused.
            for request in [bundle.request(Method::GET, path), bundle.get("acme", path)] {
                let answer = request.header("origin", origin).ask().await;
                for (name, value) in [
                    ("access-control-allow-origin", origin),
                    ("access-control-expose-headers", "retry-after"),
                ] {
                    assert_eq!(answer.header(name), wanted(value), "{path} {origin}");
                }
                let vary = answer.header("vary").to_lowercase();
                assert!(vary.contains("origin"), "{path}: {vary}");
            }
        }
    }
}

/// The routes that need a token.
fn guarded() -> [(Method, String); 4] {
    [
        (Method::GET, "sign"),
        (Method::GET, "channels"),
        (Method::GET, "channels/oneCH"),
        (Method::POST, "redirect"),
    ]
    .map(|(method, path)| (method, format!("/{PARTNER}/{path}")))
}

async fn ask(bundle: &Bundle, method: &Method, path: &str, token: Option<&str>) -> Answer {
    let request = bundle.request(method.clone(), path);
    let mut request = request.header("accept", "application/json");
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    if *method == Method::POST {
        request = request.json(&json!({"query": "?client=aCL&channels=[oneCH]"}));
    }
    request.ask().await
}

/// A token (HS256), made without any of our own code.
fn token(secret: &str, claims: &Value) -> String {
    let encode = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
    let head = encode(&json!({"alg": "HS256", "typ": "JWT"}));
    let signed = format!("{head}.{}", encode(claims));
    let tag = hmac_sha256(secret, signed.as_bytes());
    let tag = HEXLOWER.decode(tag.as_bytes()).expect("hex");
    format!("{signed}.{}", BASE64URL_NOPAD.encode(&tag))
}
