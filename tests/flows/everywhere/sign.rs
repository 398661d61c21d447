//! The signed link: what it holds, which page it is for, and that its second is nobody else's.

use std::collections::BTreeSet;

use data_encoding::{BASE64, HEXLOWER};
use dialog360::secret::Secret;
use embedded::settings::TABLE;
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use onboarding::session::Session;
use reqwest::{Client, Url};
use runtime::clock;
use serde_json::{Value, json};
use sha2::Sha512;
use tests::{Answer, Ask, Bundle, PARTNER, id, is_on_aws, text};
use tokio::sync::watch;
use tokio::task::JoinSet;

const PAGE: &str = "https://app.example";
const OTHER_PAGE: &str = "https://other.example";
const TWO_PAGES: &[(&str, &str)] = &[(
    "ALLOWED_ORIGINS",
    "https://app.example, https://other.example",
)];

/// How many connections the calls of the flood come on.
const CONNECTIONS: usize = 64;

/// The default of `IO_TIMESTAMP_WINDOW`, s.
const WINDOW: i64 = 300;

/// The most calls that are made again: one per connection for the kill, one for a connection that died with it.
const MOST_AGAIN: usize = 2 * CONNECTIONS;

#[tokio::test]
async fn sign_answers_what_the_stock_button_and_everybody_else_need() {
    let bundle = Bundle::start_with(&[("ALLOWED_ORIGINS", PAGE)]).await;
    let signed = bundle.sign(PARTNER, "acme").await;
    let (second, state) = (timestamp(&signed), text(&signed["state"]));
    let signature = HEXLOWER.encode(&io_signature(&bundle, second));
    let parameters = json!({
        "io_signature": signature,
        "io_timestamp": second.to_string(),
        "state": state,
        "redirect_url": format!("{}/{PARTNER}/redirect/{state}", bundle.url),
    });
    let expires_at = text(&signed["expires_at"]);
    let wanted = json!({
        "partner_id": PARTNER, "signature": signature, "timestamp": second, "state": state,
        "query_parameters": parameters, "url": signed["url"], "expires_at": expires_at,
    });
    assert_eq!(signed, wanted);

    let url = Url::parse(text(&signed["url"])).expect("an address");
    let page = format!("{}/dashboard/app/{PARTNER}/permissions?", bundle.hub);
    assert!(url.as_str().starts_with(&page), "{url}");
    let in_url = url.query_pairs();
    let in_url: serde_json::Map<_, _> = in_url.map(|(n, v)| (n.into_owned(), json!(v))).collect();
    assert_eq!(Value::Object(in_url), parameters);

    let has_no_fraction = expires_at.len() == 20 && expires_at.ends_with('Z');
    assert!(has_no_fraction, "{expires_at}");
    let expires_at: Timestamp = id(expires_at);
    assert_eq!(expires_at.as_second(), second + 24 * 3600);
}

#[tokio::test]
async fn three_sixty_dialogs_own_parameters_go_into_the_link_and_no_others() {
    let bundle = Bundle::start_with(&[("ALLOWED_ORIGINS", PAGE)]).await;
    let longest = "ü".repeat(256);
    let asked = [
        ("email", "ada@example.com"),
        ("name", &longest),
        ("number", "+1 555 0100"),
        ("lang", "de"),
        ("plan_selection", "basic"),
        ("next", "login"),
        ("partner", "a&b=c"),
    ];
    let signed = sign(&bundle, &asked, None).await.is(200).json();
    let url = Url::parse(text(&signed["url"])).expect("an address");
    let in_url: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    for (name, value) in asked {
        assert_eq!(signed["query_parameters"][name], value);
        assert!(
            in_url.contains(&(name.to_owned(), value.to_owned())),
            "{name}"
        );
    }
    assert_eq!(in_url.len(), 4 + asked.len());

    let too_long = "ü".repeat(257);
    for bad in [
        &[("email", &*too_long)] as &[_],
        &[("lang", "de"), ("lang", "en")],
        &[("flow", "x")],
        &[("io_signature", "x")],
        &[("state", "x")],
        &[("redirect_url", "https://evil.example")],
    ] {
        sign(&bundle, bad, None).await.problem(400);
    }
}

#[tokio::test]
async fn the_signature_is_base64_where_that_is_set() {
    let bundle = Bundle::start_with(&[("IO_SIGNATURE_ENCODING", "base64")]).await;
    let signed = bundle.sign(PARTNER, "acme").await;
    let signature = BASE64.encode(&io_signature(&bundle, timestamp(&signed)));
    assert_eq!(signed["signature"], signature);
    // The simulated hub finds the same in the link.
    let choice = json!({"client": "aCL", "channels": ["oneCH"]});
    bundle.complete(&signed, choice).await;
}

#[tokio::test]
async fn return_to_lies_on_an_allowed_origin_or_is_refused() {
    let bundle = Bundle::start_with(TWO_PAGES).await;
    for good in [PAGE, "https://APP.example:443/x?y=1#z", OTHER_PAGE] {
        sign(&bundle, &[("return_to", good)], None).await.is(200);
    }
    for bad in ["", "https://app.example@evil.example/"] {
        let answer = sign(&bundle, &[("return_to", bad)], Some(PAGE)).await;
        answer.problem(400);
    }
    let twice = [("return_to", PAGE), ("return_to", OTHER_PAGE)];
    sign(&bundle, &twice, None).await.problem(400);
}

#[tokio::test]
async fn the_pages_origin_is_the_header_s_else_that_of_return_to_else_the_only_one() {
    let bundle = Bundle::start_with(TWO_PAGES).await;
    let there = [("return_to", "https://app.example/x")];
    for (query, header, wanted) in [
        (&[] as &[_], Some(OTHER_PAGE), OTHER_PAGE),
        (&there, Some(OTHER_PAGE), OTHER_PAGE),
        (&there, Some("https://evil.example"), PAGE),
        (&there, Some("null"), PAGE),
        (&there, None, PAGE),
    ] {
        let signed = sign(&bundle, query, header).await.is(200).json();
        assert_eq!(origin(&bundle, &signed), wanted, "{header:?}");
    }
    for header in [None, Some("https://evil.example"), Some("null"), Some("")] {
        let detail = sign(&bundle, &[], header).await.problem(400);
        assert!(detail.contains("add return_to"), "{detail}");
    }
    let bundle = Bundle::start_with(&[("ALLOWED_ORIGINS", PAGE)]).await;
    let signed = sign(&bundle, &[], Some("https://evil.example")).await;
    assert_eq!(origin(&bundle, &signed.json()), PAGE);
}

/// I3: no two answers of `sign` carry the same second, and none lies in the future.
#[tokio::test]
async fn without_a_window_only_the_second_that_is_now_is_signed() {
    let bundle = Bundle::start_with(&[("IO_TIMESTAMP_WINDOW", "0")]).await;
    let token = bundle.token("acme");
    let (mut signed, mut refused) = (BTreeSet::new(), 0);
    while signed.len() < 2 || refused == 0 {
        let before = now();
        let ask = || ask(&bundle.http, &bundle.url, &token);
        let both = tokio::join!(ask(), ask());
        for second in [both.0, both.1] {
            match second.unwrap_or_else(|Cut| panic!("no answer")) {
                Some(second) => {
                    assert!((before..=now()).contains(&second), "{second} is not now");
                    assert!(signed.insert(second), "{second} was signed twice");
                }
                None => refused += 1,
            }
        }
    }
}

/// I3
#[tokio::test]
async fn a_tenant_that_floods_leaves_links_for_the_others() {
    let bundle = Bundle::start().await;
    let flood = bundle.token("flood");
    let (mut given, mut refused) = (0, 0);
    // More than half of the window, and then as often as a tenant cannot have had its turn.
    while refused < 20 {
        match ask(&bundle.http, &bundle.url, &flood).await {
            Ok(Some(_)) => given += 1,
            Ok(None) => refused += 1,
            Err(Cut) => panic!("no answer"),
        }
        assert!(given < WINDOW, "the flood gets every second");
    }
    assert!(given >= WINDOW / 2, "{given}");
    for other in ["acme", "globex", "initech"] {
        let token = bundle.token(other);
        let second = ask(&bundle.http, &bundle.url, &token).await;
        assert!(matches!(second, Ok(Some(_))), "{other} gets its link");
    }
}

/// I3
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_calls_across_a_kill_never_get_the_same_second() {
    flood(1_000).await;
}

/// At least so many calls; the bundle is killed when half of them are answered.
pub(super) async fn flood(calls: usize) {
    let mut bundle = Bundle::start_with(&[("RUST_LOG", "warn,dynoxide=error")]).await;
    let (answered, restarted) = (watch::Sender::new(0), watch::Sender::new(false));
    let half = move |answered: &usize| *answered >= calls / 2;
    let started = now();
    let mut workers = JoinSet::new();
    for worker in 0..CONNECTIONS {
        let url = bundle.url.clone();
        // Every call is of a tenant of its own, whose turn it is: all seconds can be used up.
        let tenants = (0..calls.div_ceil(CONNECTIONS)).map(|call| format!("t{worker}-{call}"));
        let tokens: Vec<String> = tenants.map(|tenant| bundle.token(&tenant)).collect();
        let (answered, mut restarted) = (answered.clone(), restarted.subscribe());
        workers.spawn(async move {
            let http = Client::builder().pool_max_idle_per_host(1).no_proxy();
            let http = http.build().expect("a client");
            let (mut seconds, mut again) = (Vec::new(), 0);
            for token in &tokens {
                let signed = loop {
                    if let Ok(signed) = ask(&http, &url, token).await {
                        break signed;
                    }
                    assert!(half(&answered.borrow()), "cut before the kill");
                    again += 1;
                    restarted.wait_for(|it| *it).await.expect("the test runs");
                };
                seconds.extend(signed);
                answered.send_modify(|answered| *answered += 1);
            }
            (seconds, again)
        });
    }
    let is_half = answered.subscribe().wait_for(half).await.is_ok();
    assert!(is_half);
    bundle.kill_and_restart().await;
    restarted.send_replace(true);
    let (signed, again): (Vec<_>, Vec<usize>) = workers.join_all().await.into_iter().unzip();

    let (signed, again) = (signed.concat(), again.iter().sum::<usize>());
    let seconds: BTreeSet<i64> = signed.iter().copied().collect();
    eprintln!("{} signed, {again} calls made again", signed.len());
    assert!(*answered.borrow() >= calls);
    assert_eq!(seconds.len(), signed.len(), "a second was signed twice");
    assert!(seconds.first() >= Some(&(started - WINDOW)), "{seconds:?}");
    assert!(signed.len() as i64 >= WINDOW, "all that were free");
    assert!(again <= MOST_AGAIN, "{again} calls were made again");
}

/// A call that was cut: on one machine the connection ends, on AWS the gateway says that no function answered.
struct Cut;

/// Asks for a link; its second, or `None` for 429. Every answer that is not as documented fails the test.
async fn ask(http: &Client, url: &str, token: &str) -> Result<Option<i64>, Cut> {
    let request = http.get(format!("{url}/{PARTNER}/sign")).bearer_auth(token);
    let answer = request.try_ask().await.map_err(|_| Cut)?;
    if is_on_aws() && answer.status == 500 {
        assert_eq!(answer.text, r#"{"message":"Internal Server Error"}"#);
        return Err(Cut);
    }
    if answer.status == 429 {
        answer.problem(429);
        let wait: u64 = id(answer.header("retry-after"));
        assert!(wait >= 1);
        return Ok(None);
    }
    let signed = answer.is(200).json();
    let (second, now) = (timestamp(&signed), now());
    assert!(second <= now, "{second} lies above the clock, {now}");
    let parameter = &signed["query_parameters"]["io_timestamp"];
    assert_eq!(*parameter, second.to_string());
    Ok(Some(second))
}

async fn sign(bundle: &Bundle, query: &[(&str, &str)], origin: Option<&str>) -> Answer {
    let mut request = bundle.get("acme", &format!("/{PARTNER}/sign")).query(query);
    if let Some(origin) = origin {
        request = request.header("origin", origin);
    }
    request.ask().await
}

fn timestamp(signed: &Value) -> i64 {
    signed["timestamp"].as_i64().expect("a second")
}

/// The clock now, UNIX seconds.
fn now() -> i64 {
    clock::now().as_second()
}

/// HMAC-SHA512 of `{partner}|{second}`, made without any of our own code.
fn io_signature(bundle: &Bundle, second: i64) -> Vec<u8> {
    let secret = bundle.secrets.platform_secret(PARTNER);
    let mut mac = Hmac::<Sha512>::new_from_slice(secret.as_bytes()).expect("any key will do");
    mac.update(format!("{PARTNER}|{second}").as_bytes());
    mac.finalize().into_bytes().to_vec()
}

/// The origin that a link was signed for.
fn origin(bundle: &Bundle, signed: &Value) -> String {
    let secret = Secret::new(bundle.secrets.platform_secret(PARTNER));
    let state = text(&signed["state"]);
    let session = Session::open(state, &id(PARTNER), &[&secret], TABLE, clock::now());
    session.expect("a session").origin.as_str().to_owned()
}
