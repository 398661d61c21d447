//! The HTTP contract at the doors: who may ask what, and in which form the answers come.

use data_encoding::{BASE64, BASE64URL_NOPAD, HEXLOWER};
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use onboarding::secret::Secret;
use onboarding::session::Session;
use platform::clock;
use reqwest::{Method, Response, Url};
use serde_json::{Value, json};
use sha2::{Sha256, Sha512};
use tests::{Bundle, PARTNER, PAYING_PARTNER, hmac_sha256, is_on_aws, until, without_a_route};

const PAGE: &str = "https://app.example";
const OTHER_PAGE: &str = "https://other.example";
const TWO_PAGES: (&str, &str) = (
    "ALLOWED_ORIGINS",
    "https://app.example, https://other.example",
);

#[tokio::test]
async fn sign_answers_what_the_stock_button_and_everybody_else_need() {
    let bundle = Bundle::start_with(&[("ALLOWED_ORIGINS", PAGE)]).await;
    let signed = bundle.sign(PARTNER, "acme").await;
    let fields: Vec<&String> = signed.as_object().expect("an object").keys().collect();
    let wanted = [
        "expires_at",
        "partner_id",
        "query_parameters",
        "signature",
        "state",
        "timestamp",
        "url",
    ];
    assert_eq!(fields, wanted);

    let (second, state) = (
        signed["timestamp"].as_i64().expect("a number"),
        text(&signed["state"]),
    );
    let signature = io_signature(&bundle, second);
    assert_eq!(signed["partner_id"], PARTNER);
    assert_eq!(signed["signature"], HEXLOWER.encode(&signature));
    let parameters = json!({
        "io_signature": HEXLOWER.encode(&signature), "io_timestamp": second.to_string(), "state": state,
        "redirect_url": format!("{}/{PARTNER}/redirect/{state}", bundle.url),
    });
    assert_eq!(signed["query_parameters"], parameters);

    let url = Url::parse(text(&signed["url"])).expect("an address");
    assert!(
        url.as_str().starts_with(&format!(
            "{}/dashboard/app/{PARTNER}/permissions?",
            bundle.hub
        )),
        "{url}"
    );
    let in_url: serde_json::Map<_, _> = url
        .query_pairs()
        .map(|(n, v)| (n.into_owned(), json!(v)))
        .collect();
    assert_eq!(Value::Object(in_url), parameters);

    let expires_at = text(&signed["expires_at"]);
    assert_eq!(
        (expires_at.len(), expires_at.ends_with('Z')),
        (20, true),
        "{expires_at}"
    );
    assert_eq!(
        expires_at.parse::<Timestamp>().expect("a time").as_second(),
        second + 24 * 3600
    );
}

#[tokio::test]
async fn the_signature_is_base64_where_that_is_set() {
    let bundle = Bundle::start_with(&[("IO_SIGNATURE_ENCODING", "base64")]).await;
    let signed = bundle.sign(PARTNER, "acme").await;
    let signature = io_signature(&bundle, signed["timestamp"].as_i64().expect("a number"));
    assert_eq!(signed["signature"], BASE64.encode(&signature));
    let url = Url::parse(text(&signed["url"])).expect("an address");
    let in_url = url
        .query_pairs()
        .find(|(name, _)| name == "io_signature")
        .map(|(_, value)| value.into_owned());
    assert_eq!(in_url.as_deref(), signed["signature"].as_str());
    bundle
        .complete(
            text(&signed["url"]),
            json!({"client": "aCL", "channels": ["oneCH"]}),
        )
        .await;
}

#[tokio::test]
async fn where_no_second_is_free_the_caller_is_told_when_to_ask_again() {
    let bundle = Bundle::start_with(&[("IO_TIMESTAMP_WINDOW", "0")]).await;
    let refused = until(|| async {
        let (one, two) = tokio::join!(sign(&bundle, &[], None), sign(&bundle, &[], None));
        [one, two]
            .into_iter()
            .find(|answer| answer.status() != 200)
            .ok_or_else(|| "every second is free".to_owned())
    });
    let refused = refused.await;
    assert!(
        header(&refused, "retry-after")
            .parse::<u64>()
            .is_ok_and(|wait| wait >= 1)
    );
    is_problem(refused, 429).await;
}

#[tokio::test]
async fn return_to_lies_on_an_allowed_origin_or_is_refused() {
    let bundle = Bundle::start_with(&[TWO_PAGES]).await;
    let longest = format!("{PAGE}/{}", "x".repeat(1024 - PAGE.len() - 1));
    for good in [
        PAGE,
        "https://app.example/x?y=1#z",
        "https://APP.example:443/",
        OTHER_PAGE,
        &longest,
    ] {
        let answer = sign(&bundle, &[("return_to", good)], None).await;
        assert_eq!(answer.status(), 200, "{good:.60}");
    }
    let too_long = format!("{longest}x");
    let bad = [
        "",
        "/numbers",
        "app.example/x",
        "//app.example/x",
        "https://evil.example/",
        "http://app.example/",
        "https://app.example:8443/",
        "https://app.example.evil.example/",
        "https://app.example@evil.example/",
        "https://evil.example/?https://app.example/",
        "https://evil.example\\@app.example.evil.example/",
        "blob:https://app.example/5f0c",
        "javascript:alert(1)//https://app.example/",
        "data:text/html,x",
        &too_long,
    ];
    for bad in bad {
        let answer = sign(&bundle, &[("return_to", bad)], Some(PAGE)).await;
        assert_eq!(answer.status(), 400, "{bad:.60}");
        is_problem(answer, 400).await;
    }
    let twice = sign(
        &bundle,
        &[("return_to", PAGE), ("return_to", OTHER_PAGE)],
        None,
    )
    .await;
    is_problem(twice, 400).await;
}

#[tokio::test]
async fn the_pages_origin_is_the_header_s_else_that_of_return_to_else_the_only_one() {
    let bundle = Bundle::start_with(&[TWO_PAGES]).await;
    let there = format!("{PAGE}/x");
    for (return_to, header, wanted) in [
        (None, Some(OTHER_PAGE), OTHER_PAGE),
        (Some(&there), Some(OTHER_PAGE), OTHER_PAGE),
        (Some(&there), Some("https://evil.example"), PAGE),
        (Some(&there), Some("null"), PAGE),
        (Some(&there), None, PAGE),
    ] {
        let query: Vec<(&str, &str)> = return_to
            .map(|there| ("return_to", there.as_str()))
            .into_iter()
            .collect();
        let answer = sign(&bundle, &query, header).await;
        assert_eq!(answer.status(), 200, "{header:?}");
        let signed: Value = answer.json().await.expect("JSON");
        assert_eq!(
            session(&bundle, &signed).origin.as_str(),
            wanted,
            "{header:?}"
        );
    }
    for header in [None, Some("https://evil.example"), Some("null"), Some("")] {
        let detail = is_problem(sign(&bundle, &[], header).await, 400).await;
        assert!(detail.contains("add return_to"), "{detail}");
    }
    let bundle = Bundle::start_with(&[("ALLOWED_ORIGINS", PAGE)]).await;
    let signed = sign(&bundle, &[], Some("https://evil.example"))
        .await
        .json()
        .await
        .expect("JSON");
    assert_eq!(session(&bundle, &signed).origin.as_str(), PAGE);
}

/// I2
#[tokio::test]
async fn only_a_caller_whose_token_names_a_tenant_is_let_in() {
    let bundle = Bundle::start().await;
    let (soon, past) = (
        clock::now().as_second() + 600,
        clock::now().as_second() - 600,
    );
    let secret = bundle.secrets.jwt.as_str();
    let strangers = [
        None,
        Some(token(
            "another-secret-that-is-long-enough",
            &json!({"sub": "acme", "exp": soon}),
        )),
        Some(token(secret, &json!({"sub": "acme", "exp": past}))),
        Some(token(secret, &json!({"sub": "acme"}))),
        Some("not.a.token".to_owned()),
    ];
    let nameless = [
        json!({"exp": soon}),
        json!({"exp": soon, "sub": ""}),
        json!({"exp": soon, "sub": 7}),
        json!({"exp": soon, "sub": "x".repeat(129)}),
    ];
    let before = bundle.scan().await;
    for (method, path) in guarded() {
        for stranger in &strangers {
            let answer = ask(&bundle, &method, &path, stranger.as_deref()).await;
            assert_eq!(answer.status(), 401, "{method} {path}");
        }
        for claims in &nameless {
            is_problem(
                ask(&bundle, &method, &path, Some(&token(secret, claims))).await,
                403,
            )
            .await;
        }
        let good = token(secret, &json!({"sub": "acme", "exp": soon}));
        is_problem(
            ask(
                &bundle,
                &method,
                &format!("{path}?tenant=globex"),
                Some(&good),
            )
            .await,
            400,
        )
        .await;
    }
    assert_eq!(bundle.scan().await, before);
    let longest = token(secret, &json!({"sub": "x".repeat(128), "exp": soon}));
    let answer = ask(
        &bundle,
        &Method::GET,
        &format!("/{PARTNER}/channels"),
        Some(&longest),
    )
    .await;
    assert_eq!(
        answer.text().await.expect("a body"),
        r#"{"channels":[],"next":null}"#
    );
}

#[tokio::test]
async fn an_unknown_partner_or_channel_is_told_and_nothing_is_kept_by_caches() {
    let bundle = Bundle::start().await;
    let good = bundle.token("acme");
    let unknown = [
        (Method::GET, "/nobodyPA/sign"),
        (Method::GET, "/nobodyPA/channels"),
        (Method::GET, "/nobodyPA/channels/oneCH"),
        (Method::GET, "/nobodyPA/redirect?client=aCL"),
        (Method::GET, "/nobodyPA/redirect/state"),
        (Method::POST, "/nobodyPA/redirect"),
        (Method::POST, "/nobodyPA/webhook"),
        (Method::GET, "/aAbBcCPA/channels/oneCH"),
        (Method::GET, "/aAbBcCPA/channels/not%20an%20id"),
    ];
    for (method, path) in unknown {
        is_problem(ask(&bundle, &method, path, Some(&good)).await, 404).await;
    }
    for path in ["sign", "channels", "redirect", "redirect?client=aCL"] {
        let answer = ask(
            &bundle,
            &Method::GET,
            &format!("/{PARTNER}/{path}"),
            Some(&good),
        )
        .await;
        assert_eq!(
            (answer.status().as_u16(), header(&answer, "cache-control")),
            (200, "no-store"),
            "{path}"
        );
    }
    for query in [
        "limit=0",
        "limit=101",
        "limit=ten",
        "limit=",
        "limit=-1",
        "cursor=x",
        "cursor=%00",
    ] {
        is_problem(
            ask(
                &bundle,
                &Method::GET,
                &format!("/{PARTNER}/channels?{query}"),
                Some(&good),
            )
            .await,
            400,
        )
        .await;
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
        let answer = ask(&bundle, &method, &format!("/{PARTNER}/{path}"), Some(&good)).await;
        if is_on_aws() {
            assert_eq!(answer.status(), without_a_route(status), "{method} {path}");
            assert_eq!(
                answer.text().await.expect("a body"),
                r#"{"message":"Not Found"}"#
            );
        } else {
            is_problem(answer, status).await;
        }
    }
}

#[tokio::test]
async fn pages_of_allowed_origins_alone_may_read_the_answers() {
    let bundle = Bundle::start_with(&[TWO_PAGES]).await;
    let allow = "access-control-allow-origin";
    for (origin, allowed) in [
        (PAGE, true),
        (OTHER_PAGE, true),
        ("https://evil.example", false),
        ("null", false),
    ] {
        for (method, path) in guarded() {
            let url = format!("{}{path}", bundle.url);
            let preflight = bundle
                .http
                .request(Method::OPTIONS, &url)
                .header("origin", origin)
                .header("access-control-request-method", method.as_str())
                .header(
                    "access-control-request-headers",
                    "authorization,content-type",
                );
            let answer = preflight.send().await.expect("an answer");
            assert!(
                answer.status().is_success(),
                "{method} {path}: {}",
                answer.status()
            );
            assert_eq!(
                header(&answer, allow),
                if allowed { origin } else { "" },
                "{method} {path}"
            );
            if allowed {
                let (methods, headers) = (
                    "access-control-allow-methods",
                    "access-control-allow-headers",
                );
                assert_eq!(header(&answer, methods).replace(' ', ""), "GET,POST");
                assert_eq!(
                    header(&answer, headers).replace(' ', ""),
                    "authorization,content-type"
                );
            }
            // With and without a token, so that a page can read why it was refused.
            for request in [
                bundle.http.request(method.clone(), &url),
                bundle.get("acme", &path),
            ] {
                let answer = request
                    .header("origin", origin)
                    .send()
                    .await
                    .expect("an answer");
                assert_eq!(
                    header(&answer, allow),
                    if allowed { origin } else { "" },
                    "{method} {path}"
                );
                assert!(
                    header(&answer, "vary").to_lowercase().contains("origin"),
                    "{method} {path}"
                );
            }
        }
    }
}

/// I2
#[tokio::test]
async fn the_webhook_takes_what_is_signed_in_any_encoding_and_refuses_all_else_alike() {
    let bundle = Bundle::start().await;
    let secret = bundle.secrets.platform_secret(PARTNER);
    let body = r#"{"event":"channel_live","data":{"id":"oneCH"}}"#;
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any key will do");
    mac.update(body.as_bytes());
    let raw = mac.finalize().into_bytes();
    let hex = HEXLOWER.encode(&raw);
    let wrong = [
        String::new(),
        hmac_sha256(secret, b"another body"),
        hmac_sha256(
            bundle.secrets.platform_secret(PAYING_PARTNER),
            body.as_bytes(),
        ),
        hex[..63].to_owned(),
        format!("sha512={hex}"),
    ];
    let before = bundle.scan().await;
    let url = format!("{}/{PARTNER}/webhook", bundle.url);
    let missing = bundle
        .http
        .post(&url)
        .body(body)
        .send()
        .await
        .expect("an answer");
    let refusal = is_problem(missing, 401).await;
    for signature in wrong {
        let answer = bundle.webhook_signed(PARTNER, body, &signature).await;
        assert_eq!(is_problem(answer, 401).await, refusal, "{signature}");
    }
    let largest = format!("\"{}\"", "x".repeat(256 * 1024 - 2));
    is_problem(bundle.webhook(PARTNER, &format!("{largest} ")).await, 413).await;
    assert_eq!(bundle.scan().await, before);

    for signature in [
        &hex,
        &hex.to_uppercase(),
        &format!("sha256={hex}"),
        &BASE64.encode(&raw),
    ] {
        let answer = bundle.webhook_signed(PARTNER, body, signature).await;
        assert_eq!(
            (answer.status().as_u16(), header(&answer, "cache-control")),
            (200, "no-store"),
            "{signature}"
        );
        assert!(header(&answer, "content-type").starts_with("application/json"));
        assert_eq!(answer.text().await.expect("a body"), "{}");
    }
    assert_eq!(bundle.webhook(PARTNER, &largest).await.status(), 200);
}

/// The routes that need a token.
fn guarded() -> [(Method, String); 4] {
    [
        (Method::GET, format!("/{PARTNER}/sign")),
        (Method::GET, format!("/{PARTNER}/channels")),
        (Method::GET, format!("/{PARTNER}/channels/oneCH")),
        (Method::POST, format!("/{PARTNER}/redirect")),
    ]
}

async fn ask(bundle: &Bundle, method: &Method, path: &str, token: Option<&str>) -> Response {
    let request = bundle
        .http
        .request(method.clone(), format!("{}{path}", bundle.url));
    let mut request = request.header("accept", "application/json");
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    if *method == Method::POST {
        request = request.json(&json!({"query": "?client=aCL&channels=[oneCH]"}));
    }
    request.send().await.expect("an answer")
}

async fn sign(bundle: &Bundle, query: &[(&str, &str)], origin: Option<&str>) -> Response {
    let mut request = bundle.get("acme", &format!("/{PARTNER}/sign")).query(query);
    if let Some(origin) = origin {
        request = request.header("origin", origin);
    }
    request.send().await.expect("an answer")
}

/// That `answer` is a refusal of ours; its detail.
pub(crate) async fn is_problem(answer: Response, status: u16) -> String {
    let url = answer.url().clone();
    assert_eq!(answer.status(), status, "{url}");
    assert_eq!(
        header(&answer, "content-type"),
        "application/problem+json",
        "{url}"
    );
    assert_eq!(header(&answer, "cache-control"), "no-store", "{url}");
    let problem: Value = answer.json().await.expect("JSON");
    assert_eq!(problem["status"], status, "{url}");
    assert!(problem["title"].is_string(), "{problem}");
    text(&problem["detail"]).to_owned()
}

pub(crate) fn header<'a>(answer: &'a Response, name: &str) -> &'a str {
    answer
        .headers()
        .get(name)
        .map_or("", |value| value.to_str().expect("text"))
}

pub(crate) fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

/// A token (HS256), made without any of our own code.
fn token(secret: &str, claims: &Value) -> String {
    let encode = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
    let signed = format!(
        "{}.{}",
        encode(&json!({"alg": "HS256", "typ": "JWT"})),
        encode(claims)
    );
    let tag = HEXLOWER
        .decode(hmac_sha256(secret, signed.as_bytes()).as_bytes())
        .expect("hex");
    format!("{signed}.{}", BASE64URL_NOPAD.encode(&tag))
}

/// HMAC-SHA512 of `{partner}|{second}`, made without any of our own code.
fn io_signature(bundle: &Bundle, second: i64) -> Vec<u8> {
    let secret = bundle.secrets.platform_secret(PARTNER);
    let mut mac = Hmac::<Sha512>::new_from_slice(secret.as_bytes()).expect("any key will do");
    mac.update(format!("{PARTNER}|{second}").as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn session(bundle: &Bundle, signed: &Value) -> Session {
    let secret = Secret::new(bundle.secrets.platform_secret(PARTNER));
    let partner = PARTNER.parse().expect("an id");
    Session::open(text(&signed["state"]), &partner, &[&secret], clock::now()).expect("a session")
}
