//! The way back from the hub: to the page that asked, as a page of ours, as JSON, or handed in by the caller's page.

use serde_json::{Value, json};
use tests::{Answer, Ask, Bundle, PARTNER, assert_same, text, without_a_route};

#[tokio::test]
async fn the_browser_goes_back_to_return_to_with_its_own_query_and_fragment() {
    let bundle = one_page().await;
    let page = "https://app.example/x";
    let own = "?client=old&y=%5B1%5D&channels=[oldCH]&revoked=[z]&b#top";
    let said = "client=aCL&channels=%5B%27oneCH%27%5D&revoked=[twoCH";
    let all = "client=aCL&channels=[oneCH]&revoked=[twoCH]";
    for (own, query, wanted) in [
        ("", said, format!("{page}?{all}")),
        (own, said, format!("{page}?y=%5B1%5D&b&{all}#top")),
        ("", "client=aCL&channels=[]", format!("{page}?client=aCL")),
    ] {
        let signed = sign(&bundle, &format!("{page}{own}")).await;
        for _ in 0..2 {
            let answer = browse(&bundle, &signed, query).await.is(303);
            let (location, cache) = (answer.header("location"), answer.header("cache-control"));
            assert_eq!((location, cache), (wanted.as_str(), "no-store"));
        }
    }
}

#[tokio::test]
async fn without_return_to_a_static_page_tells_the_one_origin_that_asked_and_a_program_gets_json() {
    let bundle = one_page().await;
    let signed = bundle.sign(PARTNER, "acme").await;
    let query = "client=aCL&channels=[oneCH, 'twoCH', oneCH]";
    let page = browse(&bundle, &signed, query).await;
    tells(&page, "?client=aCL&amp;channels=[oneCH,twoCH]");
    let answer = bundle.come_back_with(&signed, query).await.is(200);
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.json(), said("aCL", &["oneCH", "twoCH"]));
}

#[tokio::test]
async fn a_cancelled_visit_claims_nothing_and_its_link_is_not_used_up() {
    let bundle = one_page().await;
    let there = sign(&bundle, "https://app.example/x?y=1&client=old#z").await;
    let here = bundle.sign(PARTNER, "acme").await;
    let before = bundle.scan().await;
    for query in ["", "other=1", "channels=[]"] {
        let answer = browse(&bundle, &there, query).await.is(303);
        assert_eq!(answer.header("location"), "https://app.example/x?y=1#z");
        tells(&browse(&bundle, &here, query).await, "");
        let json = bundle.come_back_with(&here, query).await.json();
        assert_eq!(json, cancelled(), "{query}");
    }
    // An empty id is no id, but nothing is used up by it either.
    browse(&bundle, &there, "client=").await.is(400);
    assert_same(&before, &bundle.scan().await);

    let signed = bundle.sign(PARTNER, "acme").await;
    let granted = json!({"client": "aCL", "channels": ["oneCH"]});
    for choice in [json!({"cancel": true}), granted] {
        let way_back = bundle.complete(&signed, choice).await;
        bundle.come_back(&way_back).await.is(200);
    }
    bundle.stored(PARTNER, "acme", "oneCH").await;
}

#[tokio::test]
async fn the_state_is_taken_from_path_or_query_but_there_is_only_one() {
    let bundle = one_page().await;
    let redirect = format!("{}/{PARTNER}/redirect", bundle.url);
    let mut states = Vec::new();
    for _ in 0..5 {
        let signed = bundle.sign(PARTNER, "acme").await;
        states.push(text(&signed["state"]).to_owned());
    }
    let said = "client=aCL&channels=[oneCH]";
    let good = [
        format!("{redirect}/{}?{said}", states[0]),
        format!("{redirect}?{said}&state={}", states[1]),
        format!("{redirect}/{0}?{said}&state={0}&state=", states[2]),
        format!("{redirect}/{}?{said}&state=", states[3]),
    ];
    for (index, way_back) in good.iter().enumerate() {
        bundle.come_back(way_back).await.is(200);
        assert_eq!(claims(&bundle).await, index + 1, "{index}");
    }
    for two in [
        format!("{redirect}/{}?{said}&state={}", states[4], states[3]),
        format!("{redirect}?{said}&state={}&state={}", states[4], states[3]),
        format!("{redirect}/{}?{said}&state=forged", states[4]),
    ] {
        bundle.come_back(&two).await.problem(400);
    }
    // An empty state is none, and without one nothing is recorded.
    let without = format!("{redirect}?{said}&state=");
    bundle.come_back(&without).await.is(200);
    assert_eq!(claims(&bundle).await, good.len());
}

/// I2
#[tokio::test]
async fn without_a_state_nothing_is_recorded_and_the_only_page_there_is_gets_the_query() {
    let bundle = one_page().await;
    let query = "client=aCL&channels=[oneCH]";
    let page = browse_without_state(&bundle, query).await;
    tells(&page, "?client=aCL&amp;channels=[oneCH]");
    let address = format!("{}/{PARTNER}/redirect?{query}", bundle.url);
    let json = bundle.come_back(&address).await.json();
    assert_eq!(json, said("aCL", &["oneCH"]));
    assert!(bundle.scan().await.is_empty());

    let two_pages = "https://app.example,https://other.example";
    let bundle = Bundle::start_with(&[("ALLOWED_ORIGINS", two_pages)]).await;
    let page = browse_without_state(&bundle, query).await.is(200);
    assert!(!page.text.contains("data-origin"), "{}", page.text);
    assert!(bundle.scan().await.is_empty());
}

#[tokio::test]
async fn a_query_that_cannot_be_read_is_refused_and_recorded_nowhere() {
    let bundle = one_page().await;
    let signed = bundle.sign(PARTNER, "acme").await;
    let before = bundle.scan().await;
    let ids = |count: usize| -> String {
        let ids: Vec<String> = (0..count).map(|index| format!("n{index}CH")).collect();
        ids.join(",")
    };
    for query in [
        format!("client=aCL&channels=[{}]", ids(91)),
        "channels=[oneCH]".to_owned(),
        "client=aCL&channels=[<script>]".to_owned(),
    ] {
        bundle.come_back_with(&signed, &query).await.problem(400);
        let page = browse(&bundle, &signed, &query).await.is(400);
        assert!(!page.text.contains("<script>&"), "{query}");
        hand_in(&bundle, &query).await.problem(400);
    }
    assert_same(&before, &bundle.scan().await);
    let most = format!("client=aCL&channels=[{}]", ids(90));
    bundle.come_back_with(&signed, &most).await.is(200);
}

/// I2
#[tokio::test]
async fn a_page_that_is_the_redirect_url_hands_in_what_it_got() {
    let bundle = one_page().await;
    let before = bundle.scan().await;
    for body in [
        "",
        "{}",
        r#"["?client=aCL&channels=[oneCH]"]"#,
        "not JSON",
        r#"{"query":7}"#,
        r#"{"query":"?client=aCL","state":"x"}"#,
        r#""?client=a""#,
    ] {
        post(&bundle, body).await.problem(400);
    }
    let large = format!("?client=aCL&x={}", "x".repeat(70_000));
    hand_in(&bundle, &large).await.problem(413);
    for query in ["", "?", "?state=", "?channels=[]"] {
        let answer = hand_in(&bundle, query).await.is(200);
        assert_eq!(answer.json(), cancelled(), "{query}");
    }
    let own = bundle.sign(PARTNER, "acme").await;
    let foreign = bundle.sign(PARTNER, "globex").await;
    let query = |signed: &Value| {
        let state = text(&signed["state"]);
        format!("?client=aCL&channels=[oneCH]&state={state}")
    };
    hand_in(&bundle, &query(&foreign)).await.problem(400);
    let seconds = |items: Vec<String>| {
        let others = items.into_iter().filter(|item| !item.contains("SECOND#"));
        others.collect::<Vec<_>>()
    };
    assert_eq!(seconds(bundle.scan().await), seconds(before));
    let answer = hand_in(&bundle, &query(&own)).await.is(200);
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(answer.json(), said("aCL", &["oneCH"]));
    assert_eq!(claims(&bundle).await, 1);
}

#[tokio::test]
async fn a_visit_without_a_link_of_ours_is_claimed_by_the_page_with_its_own_token() {
    let bundle = one_page().await;
    let signed = bundle.sign(PARTNER, "somebody").await;
    let choice = json!({"client": "aCL", "channels": ["oneCH"]});
    let way_back = bundle.complete(&signed, choice).await;
    let (_, callback) = way_back.split_once("channels=").expect("channels");
    let (channels, _) = callback.split_once('&').expect("a state");
    let query = format!("client=aCL&channels={channels}");

    let page = browse_without_state(&bundle, &query).await;
    tells(&page, "?client=aCL&amp;channels=[oneCH]");
    assert_eq!(claims(&bundle).await, 0);
    assert_eq!(bundle.channel(PARTNER, "acme", "oneCH").await, None);

    hand_in(&bundle, &format!("?{query}")).await.is(200);
    let seen = bundle.stored(PARTNER, "acme", "oneCH").await;
    let state = (&seen["claim"], &seen["permission"]);
    assert_eq!(state, (&json!("confirmed"), &json!("granted")));
    bundle.can_send(PARTNER, "oneCH").await;
}

#[tokio::test]
async fn head_records_nothing_and_takes_no_second() {
    let bundle = Bundle::start().await;
    let signed = bundle.sign(PARTNER, "acme").await;
    let before = bundle.scan().await;
    let back = text(&signed["query_parameters"]["redirect_url"]);
    for url in [
        format!("{back}?client=aCL&channels=[oneCH]"),
        format!("{}/{PARTNER}/sign", bundle.url),
    ] {
        let request = bundle.http.head(url).bearer_auth(bundle.token("acme"));
        request.ask().await.is(without_a_route(405));
    }
    assert_same(&before, &bundle.scan().await);
}

async fn one_page() -> Bundle {
    Bundle::start_with(&[("ALLOWED_ORIGINS", "https://app.example")]).await
}

async fn sign(bundle: &Bundle, return_to: &str) -> Value {
    let request = bundle.get("acme", &format!("/{PARTNER}/sign"));
    let request = request.query(&[("return_to", return_to)]);
    request.ask().await.is(200).json()
}

/// Comes back as a browser does, with the state of `signed`.
async fn browse(bundle: &Bundle, signed: &Value, query: &str) -> Answer {
    let back = text(&signed["query_parameters"]["redirect_url"]);
    let request = bundle.http.get(format!("{back}?{query}"));
    let accept = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
    request.header("accept", accept).ask().await
}

async fn browse_without_state(bundle: &Bundle, query: &str) -> Answer {
    let path = format!("/{PARTNER}/redirect?{query}");
    bundle.request("GET", &path).ask().await
}

async fn post(bundle: &Bundle, body: &str) -> Answer {
    let request = bundle.request("POST", &format!("/{PARTNER}/redirect"));
    let request = request.header("content-type", "application/json");
    let request = request.bearer_auth(bundle.token("acme"));
    request.body(body.to_owned()).ask().await
}

async fn hand_in(bundle: &Bundle, query: &str) -> Answer {
    post(bundle, &json!({"query": query}).to_string()).await
}

/// How many claims there are.
async fn claims(bundle: &Bundle) -> usize {
    let items = bundle.scan().await.into_iter();
    let claims = items.filter(|item| item.contains("CLAIM#") && item.contains("digest"));
    claims.count()
}

fn said(client: &str, channels: &[&str]) -> Value {
    json!({"client": client, "channels": channels, "revoked": []})
}

fn cancelled() -> Value {
    json!({"client": null, "channels": [], "revoked": []})
}

/// The page posts `message` to the one origin, and nothing else may run in it.
#[track_caller]
fn tells(page: &Answer, message: &str) {
    let message = format!(r#"data-message="{message}""#);
    let html = &page.clone().is(200).text;
    assert!(html.contains(&message), "{html}");
    assert!(html.contains(r#"data-origin="https://app.example""#));
    assert!(!html.contains("'*'"), "{html}");
    assert!(page.header("content-type").starts_with("text/html"));
    assert_eq!(page.header("cache-control"), "no-store");
    assert_eq!(page.header("referrer-policy"), "no-referrer");
    assert_eq!(page.header("x-content-type-options"), "nosniff");
    let policy = page.header("content-security-policy");
    for part in [
        "default-src 'none'",
        "script-src 'sha256-",
        "frame-ancestors 'none'",
    ] {
        assert!(policy.contains(part), "{policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
}
