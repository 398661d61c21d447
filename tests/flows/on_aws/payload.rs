//! Events as the gateway hands them to a function, to the letter: payload 2.0 straight into the Runtime API.

use axum::http::{HeaderMap, HeaderName, Method};
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};
use tests::aws::event::{DOMAIN, Incoming, iam, jwt};
use tests::aws::runtime_api::Function;
use tests::{Bundle, PARTNER, bodies, hmac_sha256};

const PAGE: (&str, &str) = ("ALLOWED_ORIGINS", "https://app.example");
const SIGN: &str = "/{partner_id}/sign";
const REDIRECT: &str = "/{partner_id}/redirect/{state}";
const WEBHOOK: &str = "/{partner_id}/webhook";
const CHANNELS: &str = "/{partner_id}/channels/{channel_id}";

#[tokio::test]
async fn a_body_is_the_same_as_text_and_in_base64_and_need_not_be_text() {
    let bundle = Bundle::start().await;
    let event =
        json!({"event": "channel_running", "data": {"id": "oneCH", "name": "Zürich \u{1F600}"}})
            .to_string();
    let unreadable = [
        b"{\"event\":\"x\",\"data\":\"".as_slice(),
        &[0xff, 0x00, 0xfe],
        b"\"}",
    ]
    .concat();
    for (body, kind, in_base64) in [
        (
            event.as_bytes(),
            Some("application/json; charset=utf-8"),
            false,
        ),
        (
            event.as_bytes(),
            Some("application/x-www-form-urlencoded"),
            true,
        ),
        (event.as_bytes(), None, true),
        (&unreadable, Some("application/octet-stream"), true),
    ] {
        let signature = hmac_sha256(bundle.secrets.platform_secret(PARTNER), body);
        let mut incoming = webhook(body, &[("x-360dialog-signature", &signature)]);
        if let Some(kind) = kind {
            incoming
                .headers
                .insert("content-type", kind.parse().expect("a type"));
        }
        assert_eq!(incoming.event()["isBase64Encoded"], in_base64, "{kind:?}");
        assert_eq!(
            ask(bundle.aws().function("webhook"), &incoming.event())
                .await
                .0,
            200,
            "{kind:?}"
        );
    }
    let mut kept = bodies(&bundle.items().await);
    kept.sort();
    let mut wanted = vec![event.into_bytes(), unreadable];
    wanted.sort();
    assert_eq!(
        kept, wanted,
        "the same bytes are one fact, and each is kept as it came"
    );
}

#[tokio::test]
async fn header_names_come_in_any_case_and_two_signatures_are_none() {
    let bundle = Bundle::start().await;
    let function = bundle.aws().function("webhook");
    let body = br#"{"event":"channel_running","data":{"id":"oneCH"}}"#;
    let signature = hmac_sha256(bundle.secrets.platform_secret(PARTNER), body);
    let mut event = webhook(body, &[]).event();
    event["headers"] = json!({"X-360Dialog-Signature": signature, "Content-Type": "text/plain"});
    assert_eq!(ask(function, &event).await.0, 200);
    let twice = webhook(
        body,
        &[
            ("x-360dialog-signature", &signature),
            ("x-360dialog-signature", &signature),
        ],
    )
    .event();
    assert_eq!(
        twice["headers"]["x-360dialog-signature"],
        format!("{signature},{signature}")
    );
    assert_eq!(ask(function, &twice).await.0, 401);
}

#[tokio::test]
async fn plus_and_percent_in_the_query_come_through_both_ways() {
    let bundle = Bundle::start_with(&[PAGE]).await;
    let query = "return_to=https%3A%2F%2Fapp.example%2Fx%3Fq%3D1%252B2%26r%3Da%2Bb";
    let mut incoming = Incoming::get(SIGN, &format!("/{PARTNER}/sign?{query}"));
    incoming.authorizer = Some(of_tenant("acme"));
    let (status, signed, _) = ask(bundle.aws().function("sign"), &incoming.event()).await;
    assert_eq!(status, 200, "{signed}");

    let way_back = format!(
        "/{PARTNER}/redirect/{}",
        signed["state"].as_str().expect("a state")
    );
    let query = "client=aCL&channels=%5B%27oneCH%27%2C+twoCH%5D&revoked=";
    let back = Incoming::get(REDIRECT, &format!("{way_back}?{query}"));
    let (status, _, answer) = ask(bundle.aws().function("redirect"), &back.event()).await;
    assert_eq!(status, 303);
    let there = "https://app.example/x?q=1%2B2&r=a+b&client=aCL&channels=[oneCH,twoCH]";
    assert_eq!(answer["headers"]["location"], there);
}

#[tokio::test]
async fn a_stage_in_front_of_the_path_is_no_partner() {
    let bundle = Bundle::start().await;
    let staged = [("AWS_LAMBDA_HTTP_IGNORE_STAGE_IN_PATH", "true")];
    let function = bundle.aws().variant("sign", &staged);
    for (path, stage, status) in [
        (format!("/dev/{PARTNER}/sign"), "dev", 200),
        (format!("/{PARTNER}/sign"), "dev", 200),
        (format!("/{PARTNER}/sign"), "$default", 200),
        ("/dev/nobodyPA/sign".to_owned(), "dev", 404),
        (format!("/other/{PARTNER}/sign"), "dev", 404),
        (format!("/dev{PARTNER}/sign"), "dev", 404),
    ] {
        let incoming = Incoming {
            stage: stage.to_owned(),
            authorizer: Some(of_tenant("acme")),
            ..Incoming::get(SIGN, &path)
        };
        assert_eq!(
            ask(&function, &incoming.event()).await.0,
            status,
            "{path} at {stage}"
        );
    }
}

/// I2
#[tokio::test]
async fn a_backend_with_aws_credentials_names_the_tenant_and_a_bearer_cannot() {
    let bundle = Bundle::start().await;
    let function = bundle.aws().function("sign");
    for (authorizer, query, status) in [
        (Some(iam()), "?tenant=acme", 200),
        (Some(iam()), "?tenant=a%20b", 200),
        (Some(iam()), "", 400),
        (Some(iam()), "?tenant=", 400),
        (Some(iam()), "?tenant=acme&tenant=acme", 400),
        (Some(of_tenant("acme")), "", 200),
        (Some(of_tenant("acme")), "?tenant=acme", 400),
        (
            Some(json!({"jwt": {"claims": {}, "scopes": null}})),
            "",
            401,
        ),
        (Some(json!({})), "", 401),
        (None, "", 401),
        (None, "?tenant=acme", 401),
    ] {
        let incoming = Incoming {
            authorizer,
            ..Incoming::get(SIGN, &format!("/{PARTNER}/sign{query}"))
        };
        let (seen, body, answer) = ask(function, &incoming.event()).await;
        assert_eq!(seen, status, "{incoming:?}: {body}");
        if status != 200 {
            assert_eq!(
                answer["headers"]["content-type"],
                "application/problem+json"
            );
        }
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
        let mut incoming = Incoming::get(SIGN, &format!("/{PARTNER}/sign"));
        incoming.authorizer = claims.as_object().map(jwt);
        let token = format!(
            "Bearer e30.{}.c2ln",
            BASE64URL_NOPAD.encode(claims.to_string().as_bytes())
        );
        incoming
            .headers
            .insert("authorization", token.parse().expect("a header"));
        let event = incoming.event();
        assert!(
            event["requestContext"]["authorizer"]["jwt"]["claims"]["sub"].is_string(),
            "{event}"
        );
        assert_eq!(ask(function, &event).await.0, status, "{claim}");
    }
}

#[tokio::test]
async fn without_public_url_links_lead_to_the_gateway_s_own_domain_whatever_the_host() {
    let bundle = Bundle::start().await;
    let function = bundle.aws().variant("sign", &[("PUBLIC_URL", "")]);
    for host in [
        None,
        Some(DOMAIN),
        Some("evil.example"),
        Some("evil.example:8443"),
    ] {
        let mut incoming = Incoming::get(SIGN, &format!("/{PARTNER}/sign"));
        incoming.authorizer = Some(of_tenant("acme"));
        if let Some(host) = host {
            incoming.headers = headers(&[
                ("host", host),
                ("x-forwarded-host", host),
                ("x-forwarded-proto", "http"),
            ]);
        }
        let (status, signed, _) = ask(&function, &incoming.event()).await;
        assert_eq!(status, 200, "{host:?}");
        let url = signed["query_parameters"]["redirect_url"]
            .as_str()
            .expect("an address");
        assert!(
            url.starts_with(&format!("https://{DOMAIN}/{PARTNER}/redirect/")),
            "{host:?}: {url}"
        );
    }
}

#[tokio::test]
async fn no_path_and_no_query_ends_a_function() {
    let bundle = Bundle::start().await;
    let paths = [
        "",
        "/",
        "//",
        "///",
        "/aAbBcCPA//sign",
        "//aAbBcCPA/sign",
        "/aAbBcCPA/sign ",
        "/aAbBcCPA/channels/one CH",
        "/aAbBcCPA/channels/ünï/ \u{1F600}",
        "/aAbBcCPA/channels/a?b#c",
        "/aAbBcCPA/channels/%",
        "/aAbBcCPA/channels/%zz%00",
        "/aAbBcCPA/channels/\u{0}\t\n",
        "/aAbBcCPA/channels/..",
        "/../../aAbBcCPA/sign",
        "\\aAbBcCPA\\sign",
        "aAbBcCPA/sign",
        "/aAbBcCPA/channels/<\"`{|}>",
    ];
    let queries = [
        "",
        "%",
        "&&=&",
        "a=%zz&a=%",
        "tenant=%FF",
        "a=ü",
        "a=<\"`>",
        "a= b",
        "?",
        "#",
        "a=\u{0}",
        "\\^|{}[]",
    ];
    for (name, route) in [
        ("sign", SIGN),
        ("redirect", REDIRECT),
        ("channels", CHANNELS),
        ("webhook", WEBHOOK),
    ] {
        let function = bundle.aws().function(name);
        let odd = paths
            .iter()
            .map(|path| (*path, ""))
            .chain(queries.iter().map(|query| ("/aAbBcCPA/sign", *query)));
        for (path, query) in odd {
            let mut event = Incoming {
                authorizer: Some(of_tenant("acme")),
                ..Incoming::get(route, "/")
            }
            .event();
            event["rawPath"] = json!(path);
            event["requestContext"]["http"]["path"] = json!(path);
            event["rawQueryString"] = json!(query);
            let answer = function.invoke(&event).await;
            let status = answer
                .as_ref()
                .map(|answer| answer.json()["statusCode"].as_u64());
            assert!(
                matches!(status, Ok(Some(200..500))),
                "{name} {path:?} {query:?}: {answer:?}"
            );
        }
        assert_eq!(function.starts(), 1, "{name}: one process took all of it");
    }
}

#[tokio::test]
async fn no_header_and_no_cookie_ends_a_function() {
    let bundle = Bundle::start().await;
    for name in ["sign", "redirect", "channels", "webhook"] {
        let function = bundle.aws().function(name);
        // What HTTP allows in a header.
        for odd in ["ü", "\u{1F600}", "a\tb", ""] {
            let mut event = Incoming {
                authorizer: Some(of_tenant("acme")),
                ..Incoming::get(SIGN, "/aAbBcCPA/sign")
            }
            .event();
            event["headers"]["x-odd"] = json!(odd);
            event["headers"]["origin"] = json!(odd);
            event["cookies"] = json!([odd]);
            let answer = function.invoke(&event).await;
            let status = answer
                .as_ref()
                .map(|answer| answer.json()["statusCode"].as_u64());
            assert!(
                matches!(status, Ok(Some(200..500))),
                "{name} {odd:?}: {answer:?}"
            );
        }
        assert_eq!(function.starts(), 1, "{name}: one process took all of it");
    }
}

fn webhook(body: &[u8], pairs: &[(&str, &str)]) -> Incoming {
    let incoming = Incoming::get(WEBHOOK, &format!("/{PARTNER}/webhook"));
    Incoming {
        method: Method::POST,
        body: body.to_vec(),
        headers: headers(pairs),
        ..incoming
    }
}

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        let name: HeaderName = name.parse().expect("a name");
        headers.append(name, value.parse().expect("a value"));
    }
    headers
}

/// What the authorizer says of a token of `tenant`.
fn of_tenant(tenant: &str) -> Value {
    jwt(json!({"sub": tenant, "exp": 9_999_999_999_i64})
        .as_object()
        .expect("claims"))
}

/// Invokes a function; the status, the body (JSON, if it is) and the whole answer.
async fn ask(function: &Function, event: &Value) -> (u64, Value, Value) {
    let answer = function
        .invoke(event)
        .await
        .unwrap_or_else(|failure| panic!("{failure}: {event}"))
        .json();
    let body =
        serde_json::from_str(answer["body"].as_str().unwrap_or_default()).unwrap_or_default();
    (
        answer["statusCode"].as_u64().expect("a status"),
        body,
        answer,
    )
}
