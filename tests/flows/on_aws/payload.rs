//! Events as the gateway hands them to a function, to the letter: payload 2.0 straight into the Runtime API.

use axum::http::{HeaderMap, HeaderName, Method};
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};
use tests::aws::event::{DOMAIN, Incoming, iam, jwt};
use tests::aws::runtime_api::Function;
use tests::{Bundle, PARTNER, bodies, hmac_sha256, text};

const PAGE: (&str, &str) = ("ALLOWED_ORIGINS", "https://app.example");
const SIGN: &str = "/{partner_id}/sign";
const REDIRECT: &str = "/{partner_id}/redirect/{state}";
const WEBHOOK: &str = "/{partner_id}/webhook";
const CHANNELS: &str = "/{partner_id}/channels/{channel_id}";

#[tokio::test]
async fn a_body_is_the_same_as_text_and_in_base64_and_need_not_be_text() {
    let bundle = Bundle::start().await;
    let data = json!({"id": "oneCH", "name": "Zürich \u{1F600}"});
    let event = json!({"event": "channel_running", "data": data}).to_string();
    let event = event.as_bytes();
    let unreadable = b"{\"event\":\"x\",\"data\":\"\xff\x00\xfe\"}";
    for (body, kind, in_base64) in [
        (event, "application/json; charset=utf-8", false),
        (event, "application/x-www-form-urlencoded", true),
        (event, "", true),
        (unreadable, "application/octet-stream", true),
    ] {
        let signature = signature(&bundle, body);
        let mut incoming = webhook(body, &[("x-360dialog-signature", &signature)]);
        if !kind.is_empty() {
            let kind = kind.parse().expect("a type");
            incoming.headers.insert("content-type", kind);
        }
        let incoming = incoming.event();
        assert_eq!(incoming["isBase64Encoded"], in_base64, "{kind}");
        ask(bundle.aws().function("webhook"), &incoming, 200).await;
    }
    // The same bytes are one fact, and each is kept as it came.
    let mut kept = bodies(&bundle.items().await);
    kept.sort();
    let mut wanted = [event, unreadable];
    wanted.sort();
    assert_eq!(kept, wanted);
}

#[tokio::test]
async fn header_names_come_in_any_case_and_two_signatures_are_none() {
    let bundle = Bundle::start().await;
    let function = bundle.aws().function("webhook");
    let body = br#"{"event":"channel_running","data":{"id":"oneCH"}}"#;
    let signature = signature(&bundle, body);
    let mut event = webhook(body, &[]).event();
    event["headers"] = json!({"X-360Dialog-Signature": signature, "Content-Type": "text/plain"});
    ask(function, &event, 200).await;
    let one = ("x-360dialog-signature", signature.as_str());
    let twice = webhook(body, &[one, one]).event();
    let joined = format!("{signature},{signature}");
    assert_eq!(twice["headers"]["x-360dialog-signature"], joined);
    ask(function, &twice, 401).await;
}

#[tokio::test]
async fn plus_and_percent_in_the_query_come_through_both_ways() {
    let bundle = Bundle::start_with(&[PAGE]).await;
    let query = "return_to=https%3A%2F%2Fapp.example%2Fx%3Fq%3D1%252B2%26r%3Da%2Bb";
    let sign = of_acme(SIGN, &format!("/{PARTNER}/sign?{query}"));
    let (signed, _) = ask(bundle.aws().function("sign"), &sign.event(), 200).await;

    let way_back = format!("/{PARTNER}/redirect/{}", text(&signed["state"]));
    let query = "client=aCL&channels=%5B%27oneCH%27%2C+twoCH%5D&revoked=";
    let back = Incoming::get(REDIRECT, &format!("{way_back}?{query}"));
    let redirect = bundle.aws().function("redirect");
    let (_, answer) = ask(redirect, &back.event(), 303).await;
    let there = "https://app.example/x?q=1%2B2&r=a+b&client=aCL&channels=[oneCH,twoCH]";
    assert_eq!(answer["headers"]["location"], there);
}

#[tokio::test]
async fn a_stage_in_front_of_the_path_is_no_partner() {
    let bundle = Bundle::start().await;
    let staged = [("AWS_LAMBDA_HTTP_IGNORE_STAGE_IN_PATH", "true")];
    let function = bundle.aws().variant("sign", &staged);
    for (start, stage, status) in [
        ("/dev/aAbBcCPA", "dev", 200),
        ("/aAbBcCPA", "dev", 200),
        ("/aAbBcCPA", "$default", 200),
        ("/dev/nobodyPA", "dev", 404),
        ("/other/aAbBcCPA", "dev", 404),
        ("/devaAbBcCPA", "dev", 404),
    ] {
        let mut incoming = of_acme(SIGN, &format!("{start}/sign"));
        incoming.stage = stage.to_owned();
        ask(&function, &incoming.event(), status).await;
    }
}

/// I2
#[tokio::test]
async fn a_backend_with_aws_credentials_names_the_tenant_and_a_bearer_cannot() {
    let bundle = Bundle::start().await;
    let function = bundle.aws().function("sign");
    let without_claims = json!({"jwt": {"claims": {}, "scopes": null}});
    for (authorizer, query, status) in [
        (Some(iam()), "?tenant=acme", 200),
        (Some(iam()), "", 400),
        (Some(iam()), "?tenant=acme&tenant=acme", 400),
        (Some(of_tenant("acme")), "", 200),
        (Some(of_tenant("acme")), "?tenant=acme", 400),
        (Some(without_claims), "", 401),
        (Some(json!({})), "", 401),
        (None, "", 401),
        (None, "?tenant=acme", 401),
    ] {
        let mut incoming = Incoming::get(SIGN, &format!("/{PARTNER}/sign{query}"));
        incoming.authorizer = authorizer;
        let (_, answer) = ask(function, &incoming.event(), status).await;
        let kind = &answer["headers"]["content-type"];
        assert_eq!(*kind == "application/problem+json", status != 200);
    }
}

/// I2
#[tokio::test]
async fn a_claim_that_the_gateway_turned_into_a_text_is_none() {
    let bundle = Bundle::start().await;
    let function = bundle.aws().function("sign");
    for (claim, status) in [
        (json!("acme"), 200),
        (json!("[acme]"), 200),
        (json!(7), 403),
        (json!(["acme"]), 403),
        (json!({"of": "acme"}), 403),
        (json!(true), 403),
        (json!(null), 403),
    ] {
        let claims = json!({"sub": claim, "exp": 9_999_999_999_i64});
        let mut incoming = of_acme(SIGN, &format!("/{PARTNER}/sign"));
        incoming.authorizer = claims.as_object().map(jwt);
        let claims = BASE64URL_NOPAD.encode(claims.to_string().as_bytes());
        let token = format!("Bearer e30.{claims}.c2ln");
        incoming.headers = headers(&[("authorization", &token)]);
        let event = incoming.event();
        let claims = &event["requestContext"]["authorizer"]["jwt"]["claims"];
        assert!(claims["sub"].is_string(), "{event}");
        ask(function, &event, status).await;
    }
}

#[tokio::test]
async fn without_public_url_links_lead_to_the_gateway_s_own_domain_whatever_the_host() {
    let bundle = Bundle::start().await;
    let function = bundle.aws().variant("sign", &[("PUBLIC_URL", "")]);
    for host in ["", DOMAIN, "evil.example", "evil.example:8443"] {
        let mut incoming = of_acme(SIGN, &format!("/{PARTNER}/sign"));
        if !host.is_empty() {
            incoming.headers = headers(&[
                ("host", host),
                ("x-forwarded-host", host),
                ("x-forwarded-proto", "http"),
            ]);
        }
        let (signed, _) = ask(&function, &incoming.event(), 200).await;
        let url = text(&signed["query_parameters"]["redirect_url"]);
        let ours = format!("https://{DOMAIN}/{PARTNER}/redirect/");
        assert!(url.starts_with(&ours), "{host}: {url}");
    }
}

#[tokio::test]
async fn no_path_query_header_or_cookie_ends_a_function() {
    let bundle = Bundle::start().await;
    let channels = "/aAbBcCPA/channels/";
    let odd_ids = ["one CH", "ünï/ \u{1F600}", "a?b#c", "%", "%zz%00"];
    let odd_ids = odd_ids.into_iter().chain(["\u{0}\t\n", "..", "<\"`{|}>"]);
    let paths = "//;/;//;///;/aAbBcCPA//sign;//aAbBcCPA/sign;/aAbBcCPA/sign ;/../../aAbBcCPA/sign;\\aAbBcCPA\\sign;aAbBcCPA/sign;";
    let paths = paths.split(';').map(str::to_owned);
    let paths = paths.chain(odd_ids.map(|id| format!("{channels}{id}")));
    let paths = paths.map(|path| (path, ""));
    let queries = ";%;&&=&;a=%zz&a=%;tenant=%FF;a=ü;a=<\"`>;a= b;?;#;a=\u{0};\\^|{}[]";
    let queries = queries
        .split(';')
        .map(|query| ("/aAbBcCPA/sign".to_owned(), query));
    let odd = paths.chain(queries).map(|(path, query)| {
        json!({"rawPath": path, "rawQueryString": query, "requestContext": {"http": {"path": path}}})
    });
    // What HTTP allows in a header.
    let headers = ["ü", "\u{1F600}", "a\tb", ""]
        .map(|odd| json!({"headers": {"x-odd": odd, "origin": odd}, "cookies": [odd]}));
    let odd: Vec<Value> = odd.chain(headers).collect();
    // Every function answers an event in which these fields are odd, as a refusal at the worst, and lives on.
    for (name, route) in [
        ("sign", SIGN),
        ("redirect", REDIRECT),
        ("channels", CHANNELS),
        ("webhook", WEBHOOK),
    ] {
        let function = bundle.aws().function(name);
        for odd in &odd {
            let mut event = of_acme(route, "/aAbBcCPA/sign").event();
            merge(&mut event, odd);
            let answer = function.invoke(&event).await;
            let status = answer.as_ref().map(|it| it.json()["statusCode"].as_u64());
            let is_fine = matches!(status, Ok(Some(200..500)));
            assert!(is_fine, "{name} {odd}: {answer:?}");
        }
        assert_eq!(function.starts(), 1, "{name}: one process took all of it");
    }
}

/// Puts the fields of `other` into `value`.
fn merge(value: &mut Value, other: &Value) {
    match (value.as_object_mut(), other.as_object()) {
        (Some(fields), Some(others)) => {
            for (name, other) in others {
                merge(fields.entry(name).or_insert(Value::Null), other);
            }
        }
        _ => *value = other.clone(),
    }
}

fn signature(bundle: &Bundle, body: &[u8]) -> String {
    hmac_sha256(bundle.secrets.platform_secret(PARTNER), body)
}

fn webhook(body: &[u8], pairs: &[(&str, &str)]) -> Incoming {
    let mut incoming = Incoming::get(WEBHOOK, &format!("/{PARTNER}/webhook"));
    incoming.method = Method::POST;
    incoming.body = body.to_vec();
    incoming.headers = headers(pairs);
    incoming
}

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        let name: HeaderName = name.parse().expect("a name");
        headers.append(name, value.parse().expect("a value"));
    }
    headers
}

/// A GET with a token of `acme`.
fn of_acme(route: &str, path: &str) -> Incoming {
    let mut incoming = Incoming::get(route, path);
    incoming.authorizer = Some(of_tenant("acme"));
    incoming
}

/// What the authorizer says of a token of `tenant`.
fn of_tenant(tenant: &str) -> Value {
    let claims = json!({"sub": tenant, "exp": 9_999_999_999_i64});
    jwt(claims.as_object().expect("claims"))
}

/// Invokes a function, which must answer with `status`; the body (JSON, if it is) and the whole answer.
async fn ask(function: &Function, event: &Value, status: u64) -> (Value, Value) {
    let answer = function.invoke(event).await;
    let answer = answer.unwrap_or_else(|failure| panic!("{failure}: {event}"));
    let answer = answer.json();
    assert_eq!(answer["statusCode"], status, "{event}: {answer}");
    let body = answer["body"].as_str().unwrap_or_default();
    (serde_json::from_str(body).unwrap_or_default(), answer)
}
