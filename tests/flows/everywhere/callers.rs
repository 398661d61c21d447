//! Who may ask: a token names the tenant; and what is no address of ours.

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use runtime::clock;
use serde_json::{Value, json};
use tests::{Answer, Ask, Bundle, PARTNER, hmac_sha256, is_on_aws, without_a_route};

/// The routes that need a token.
const GUARDED: [(&str, &str); 4] = [
    ("GET", "sign"),
    ("GET", "channels"),
    ("GET", "channels/oneCH"),
    ("POST", "redirect"),
];

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
    for (method, path) in GUARDED {
        let path = format!("/{PARTNER}/{path}");
        for stranger in &strangers {
            let answer = ask(&bundle, method, &path, stranger.as_deref()).await;
            answer.is(401);
        }
        for claims in &nameless {
            let nameless = token(secret, claims);
            let answer = ask(&bundle, method, &path, Some(&nameless)).await;
            answer.problem(403);
        }
        let named_twice = format!("{path}?tenant=globex");
        let answer = ask(&bundle, method, &named_twice, Some(&good)).await;
        answer.problem(400);
    }
    assert_eq!(bundle.scan().await, before);
    let longest = token(secret, &json!({"sub": "x".repeat(128), "exp": soon}));
    let path = format!("/{PARTNER}/channels");
    let answer = ask(&bundle, "GET", &path, Some(&longest)).await;
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
        ask(&bundle, "GET", &path, Some(&token)).await.is(status);
    }
}

#[tokio::test]
async fn an_unknown_partner_or_channel_is_told_and_nothing_is_kept_by_caches() {
    let bundle = Bundle::start().await;
    let good = bundle.token("acme");
    for (method, path) in [
        ("GET", "/nobodyPA/sign"),
        ("GET", "/nobodyPA/channels"),
        ("GET", "/nobodyPA/channels/oneCH"),
        ("GET", "/nobodyPA/redirect?client=aCL"),
        ("GET", "/nobodyPA/redirect/state"),
        ("POST", "/nobodyPA/redirect"),
        ("POST", "/nobodyPA/webhook"),
        ("GET", "/aAbBcCPA/channels/oneCH"),
        ("GET", "/aAbBcCPA/channels/not%20an%20id"),
    ] {
        ask(&bundle, method, path, Some(&good)).await.problem(404);
    }
    for path in ["sign", "channels", "redirect", "redirect?client=aCL"] {
        let request = bundle.get("acme", &format!("/{PARTNER}/{path}"));
        let answer = request.ask().await;
        assert_eq!(answer.is(200).header("cache-control"), "no-store", "{path}");
    }
    for query in ["limit=101", "cursor=%00"] {
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
        ("GET", "nothing", 404),
        ("GET", "sign/", 404),
        ("GET", "redirect/state/more", 404),
        ("POST", "sign", 405),
        ("POST", "channels", 405),
        ("DELETE", "channels/oneCH", 405),
        ("PUT", "redirect", 405),
        ("POST", "redirect/state", 405),
        ("GET", "webhook", 405),
    ] {
        let path = format!("/{PARTNER}/{path}");
        let answer = ask(&bundle, method, &path, Some(&good)).await;
        if is_on_aws() {
            let answer = answer.is(without_a_route(status));
            assert_eq!(answer.text, r#"{"message":"Not Found"}"#);
        } else {
            answer.problem(status);
        }
    }
}

async fn ask(bundle: &Bundle, method: &str, path: &str, token: Option<&str>) -> Answer {
    let request = bundle.request(method, path);
    let mut request = request.header("accept", "application/json");
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    if method == "POST" {
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
