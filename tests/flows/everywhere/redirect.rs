//! The way back from the hub: to the page that asked, as a page of ours, as JSON, or handed in by the caller's page.

use reqwest::{Response, StatusCode};
use serde_json::{Value, json};
use tests::{Bundle, PARTNER, assert_same, without_a_route};

use crate::everywhere::http::{header, is_problem, text};

const PAGE: &str = "https://app.example";

#[tokio::test]
async fn the_browser_goes_back_to_return_to_with_its_own_query_and_fragment() {
    let bundle = one_page().await;
    let cases = [
        (
            "https://app.example/x",
            "https://app.example/x?client=aCL&channels=[oneCH]&revoked=[twoCH]",
        ),
        (
            "https://app.example/x?client=old&y=%5B1%5D&channels=[oldCH]&revoked=[z]&b#top",
            "https://app.example/x?y=%5B1%5D&b&client=aCL&channels=[oneCH]&revoked=[twoCH]#top",
        ),
    ];
    for (return_to, wanted) in cases {
        let signed = sign(&bundle, return_to).await;
        let back = format!(
            "{}?client=aCL&channels=%5B%27oneCH%27%5D&revoked=[twoCH",
            back(&signed)
        );
        for _ in 0..2 {
            let answer = browse(&bundle, &back).await;
            assert_eq!(answer.status(), StatusCode::SEE_OTHER);
            assert_eq!(
                (
                    header(&answer, "location"),
                    header(&answer, "cache-control")
                ),
                (wanted, "no-store")
            );
        }
    }
    let signed = sign(&bundle, "https://app.example/x").await;
    let only_client = browse(
        &bundle,
        &format!("{}?client=aCL&channels=[]", back(&signed)),
    )
    .await;
    assert_eq!(
        header(&only_client, "location"),
        "https://app.example/x?client=aCL"
    );
}

#[tokio::test]
async fn without_return_to_a_static_page_tells_the_one_origin_that_asked() {
    let bundle = one_page().await;
    let signed = bundle.sign(PARTNER, "acme").await;
    let answer = browse(
        &bundle,
        &format!("{}?client=aCL&channels=[oneCH]", back(&signed)),
    )
    .await;
    assert_eq!(answer.status(), 200);
    is_safe(&answer);
    let page = answer.text().await.expect("a page");
    assert!(
        page.contains(r#"data-message="?client=aCL&amp;channels=[oneCH]""#),
        "{page}"
    );
    assert!(
        page.contains(r#"data-origin="https://app.example""#) && !page.contains("'*'"),
        "{page}"
    );
}

#[tokio::test]
async fn a_program_gets_json() {
    let bundle = one_page().await;
    let signed = sign(&bundle, "https://app.example/x").await;
    let answer = bundle
        .come_back_with(&signed, "client=aCL&channels=[oneCH, 'twoCH', oneCH]")
        .await;
    assert_eq!(
        (answer.status().as_u16(), header(&answer, "cache-control")),
        (200, "no-store")
    );
    assert_eq!(header(&answer, "content-type"), "application/json");
    let said: Value = answer.json().await.expect("JSON");
    assert_eq!(
        said,
        json!({"client": "aCL", "channels": ["oneCH", "twoCH"], "revoked": []})
    );
}

#[tokio::test]
async fn a_cancelled_visit_claims_nothing_and_its_link_is_not_used_up() {
    let bundle = one_page().await;
    let there = sign(&bundle, "https://app.example/x?y=1&client=old#z").await;
    let here = bundle.sign(PARTNER, "acme").await;
    let before = bundle.scan().await;
    for query in ["", "?", "?other=1", "?channels=[]", "?client="] {
        let answer = browse(&bundle, &format!("{}{query}", back(&there))).await;
        if query == "?client=" {
            // An empty id is no id, but nothing is used up by it either.
            assert_eq!(answer.status(), 400);
            continue;
        }
        assert_eq!(answer.status(), StatusCode::SEE_OTHER, "{query}");
        assert_eq!(
            header(&answer, "location"),
            "https://app.example/x?y=1#z",
            "{query}"
        );
        let page = browse(&bundle, &format!("{}{query}", back(&here))).await;
        is_safe(&page);
        assert!(
            page.text()
                .await
                .expect("a page")
                .contains(r#"data-message="""#)
        );
        let json: Value = bundle
            .come_back(&format!("{}{query}", back(&here)))
            .await
            .json()
            .await
            .expect("JSON");
        assert_eq!(json, json!({"client": null, "channels": [], "revoked": []}));
    }
    assert_same(&before, &bundle.scan().await);

    let cancelled = bundle.sign(PARTNER, "acme").await;
    let way_back = bundle
        .complete(text(&cancelled["url"]), json!({"cancel": true}))
        .await;
    assert_eq!(bundle.come_back(&way_back).await.status(), 200);
    let choice = json!({"client": "aCL", "channels": ["oneCH"]});
    let way_back = bundle.complete(text(&cancelled["url"]), choice).await;
    assert_eq!(bundle.come_back(&way_back).await.status(), 200);
    bundle.stored(PARTNER, "acme", "oneCH").await;
}

#[tokio::test]
async fn the_state_is_taken_from_path_or_query_but_there_is_only_one() {
    let bundle = one_page().await;
    let redirect = format!("{}/{PARTNER}/redirect", bundle.url);
    let mut states = Vec::new();
    for _ in 0..5 {
        states.push(text(&bundle.sign(PARTNER, "acme").await["state"]).to_owned());
    }
    let said = "client=aCL&channels=[oneCH]";
    let good = [
        format!("{redirect}/{}?{said}", states[0]),
        format!("{redirect}?{said}&state={}", states[1]),
        format!("{redirect}/{0}?{said}&state={0}&state=", states[2]),
        format!("{redirect}/{}?{said}&state=", states[3]),
    ];
    for (index, way_back) in good.iter().enumerate() {
        assert_eq!(bundle.come_back(way_back).await.status(), 200, "{index}");
        assert_eq!(claims(&bundle).await, index + 1, "{index}");
    }
    let two = [
        format!("{redirect}/{}?{said}&state={}", states[4], states[3]),
        format!("{redirect}?{said}&state={}&state={}", states[4], states[3]),
        format!("{redirect}/{}?{said}&state=forged", states[4]),
    ];
    for way_back in two {
        is_problem(bundle.come_back(&way_back).await, 400).await;
    }
    assert_eq!(claims(&bundle).await, good.len());
    assert_eq!(
        bundle
            .come_back(&format!("{redirect}?{said}&state="))
            .await
            .status(),
        200
    );
    assert_eq!(
        claims(&bundle).await,
        good.len(),
        "an empty state is none, and without one nothing is recorded"
    );
}

/// I2
#[tokio::test]
async fn without_a_state_nothing_is_recorded_and_the_only_page_there_is_gets_the_query() {
    let bundle = one_page().await;
    let path = format!("/{PARTNER}/redirect?client=aCL&channels=[oneCH]");
    let answer = browse(&bundle, &format!("{}{path}", bundle.url)).await;
    assert_eq!(answer.status(), 200);
    is_safe(&answer);
    let page = answer.text().await.expect("a page");
    assert!(
        page.contains(r#"data-origin="https://app.example""#),
        "{page}"
    );
    assert!(
        page.contains(r#"data-message="?client=aCL&amp;channels=[oneCH]""#),
        "{page}"
    );
    let json: Value = bundle
        .come_back(&format!("{}{path}", bundle.url))
        .await
        .json()
        .await
        .expect("JSON");
    assert_eq!(
        json,
        json!({"client": "aCL", "channels": ["oneCH"], "revoked": []})
    );
    assert_eq!(bundle.scan().await, Vec::<String>::new());

    let bundle = Bundle::start_with(&[(
        "ALLOWED_ORIGINS",
        "https://app.example,https://other.example",
    )])
    .await;
    let page = browse(&bundle, &format!("{}{path}", bundle.url))
        .await
        .text()
        .await
        .expect("a page");
    assert!(!page.contains("data-origin"), "{page}");
    assert_eq!(bundle.scan().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_query_that_cannot_be_read_is_refused_and_recorded_nowhere() {
    let bundle = one_page().await;
    let signed = bundle.sign(PARTNER, "acme").await;
    let before = bundle.scan().await;
    let ids = |count: usize| {
        (0..count)
            .map(|index| format!("n{index}CH"))
            .collect::<Vec<_>>()
            .join(",")
    };
    let bad = [
        format!("client=aCL&channels=[{}]", ids(91)),
        format!("client=aCL&channels=[{}]&revoked=[xCH,yCH]", ids(89)),
        "channels=[oneCH]".to_owned(),
        "client=aCL&client=bCL".to_owned(),
        "client=..%2Fx&channels=[oneCH]".to_owned(),
        "client=aCL&channels=[<script>]".to_owned(),
        "client=aCL&channels=[oneCH]&revoked=[oneCH]".to_owned(),
    ];
    for query in &bad {
        is_problem(bundle.come_back_with(&signed, query).await, 400).await;
        let page = browse(&bundle, &format!("{}?{query}", back(&signed))).await;
        assert_eq!(page.status(), 400);
        assert!(
            !page.text().await.expect("a page").contains("<script>&"),
            "{query}"
        );
        is_problem(
            hand_in(&bundle, &json!({"query": query}).to_string()).await,
            400,
        )
        .await;
    }
    assert_same(&before, &bundle.scan().await);
    let most = format!("client=aCL&channels=[{}]", ids(90));
    assert_eq!(bundle.come_back_with(&signed, &most).await.status(), 200);
}

/// I2
#[tokio::test]
async fn a_page_that_is_the_redirect_url_hands_in_what_it_got() {
    let bundle = one_page().await;
    let before = bundle.scan().await;
    for body in [
        "",
        "{}",
        "[]",
        "not JSON",
        r#"{"query":7}"#,
        r#"{"query":"?client=aCL","state":"x"}"#,
        r#""?client=a""#,
    ] {
        is_problem(hand_in(&bundle, body).await, 400).await;
    }
    let large = json!({"query": format!("?client=aCL&x={}", "x".repeat(70_000))}).to_string();
    is_problem(hand_in(&bundle, &large).await, 413).await;
    for query in ["", "?", "?state=", "?channels=[]"] {
        let answer = hand_in(&bundle, &json!({"query": query}).to_string()).await;
        assert_eq!(answer.status(), 200, "{query}");
        let said: Value = answer.json().await.expect("JSON");
        assert_eq!(said, json!({"client": null, "channels": [], "revoked": []}));
    }
    assert_same(&before, &bundle.scan().await);

    let (own, foreign) = (
        bundle.sign(PARTNER, "acme").await,
        bundle.sign(PARTNER, "globex").await,
    );
    let query = |signed: &Value| {
        format!(
            "?client=aCL&channels=[oneCH]&state={}",
            text(&signed["state"])
        )
    };
    let before = bundle.scan().await;
    is_problem(
        hand_in(&bundle, &json!({"query": query(&foreign)}).to_string()).await,
        400,
    )
    .await;
    assert_same(&before, &bundle.scan().await);
    let answer = hand_in(&bundle, &json!({"query": query(&own)}).to_string()).await;
    assert_eq!(
        (answer.status().as_u16(), header(&answer, "cache-control")),
        (200, "no-store")
    );
    let said: Value = answer.json().await.expect("JSON");
    assert_eq!(
        said,
        json!({"client": "aCL", "channels": ["oneCH"], "revoked": []})
    );
    assert_eq!(claims(&bundle).await, 1);
}

#[tokio::test]
async fn a_visit_without_a_link_of_ours_is_claimed_by_the_page_with_its_own_token() {
    let bundle = one_page().await;
    let signed = bundle.sign(PARTNER, "somebody").await;
    let choice = json!({"client": "aCL", "channels": ["oneCH"]});
    let way_back = bundle.complete(text(&signed["url"]), choice).await;
    let callback = way_back.split_once("channels=").expect("channels").1;
    let query = format!(
        "?client=aCL&channels={}",
        callback.split_once('&').expect("a state").0
    );

    let page = browse(
        &bundle,
        &format!("{}/{PARTNER}/redirect{query}", bundle.url),
    )
    .await;
    assert!(
        page.text()
            .await
            .expect("a page")
            .contains(r#"data-message="?client=aCL&amp;channels=[oneCH]""#)
    );
    assert_eq!(claims(&bundle).await, 0);
    assert_eq!(bundle.channel(PARTNER, "acme", "oneCH").await, None);

    let answer = hand_in(&bundle, &json!({"query": query}).to_string()).await;
    assert_eq!(answer.status(), 200);
    let seen = bundle.stored(PARTNER, "acme", "oneCH").await;
    assert_eq!(
        (&seen["claim"], &seen["permission"]),
        (&json!("confirmed"), &json!("granted"))
    );
    assert!(bundle.can_send(PARTNER, "oneCH").await);
}

async fn one_page() -> Bundle {
    Bundle::start_with(&[("ALLOWED_ORIGINS", PAGE)]).await
}

async fn sign(bundle: &Bundle, return_to: &str) -> Value {
    let request = bundle
        .get("acme", &format!("/{PARTNER}/sign"))
        .query(&[("return_to", return_to)]);
    request
        .send()
        .await
        .expect("an answer")
        .json()
        .await
        .expect("JSON")
}

fn back(signed: &Value) -> &str {
    text(&signed["query_parameters"]["redirect_url"])
}

/// Comes back as a browser does.
async fn browse(bundle: &Bundle, address: &str) -> Response {
    let accept = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
    bundle
        .http
        .get(address)
        .header("accept", accept)
        .send()
        .await
        .expect("an answer")
}

async fn hand_in(bundle: &Bundle, body: &str) -> Response {
    let request = bundle
        .http
        .post(format!("{}/{PARTNER}/redirect", bundle.url))
        .bearer_auth(bundle.token("acme"));
    request
        .header("content-type", "application/json")
        .body(body.to_owned())
        .send()
        .await
        .expect("an answer")
}

/// How many claims there are.
async fn claims(bundle: &Bundle) -> usize {
    bundle
        .scan()
        .await
        .iter()
        .filter(|item| item.contains("CLAIM#") && item.contains("digest"))
        .count()
}

fn is_safe(page: &Response) {
    assert!(header(page, "content-type").starts_with("text/html"));
    assert_eq!(header(page, "cache-control"), "no-store");
    assert_eq!(header(page, "referrer-policy"), "no-referrer");
    assert_eq!(header(page, "x-content-type-options"), "nosniff");
    let policy = header(page, "content-security-policy");
    assert!(
        policy.contains("default-src 'none'") && policy.contains("script-src 'sha256-"),
        "{policy}"
    );
    assert!(
        policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"),
        "{policy}"
    );
}

#[tokio::test]
async fn head_records_nothing_and_takes_no_second() {
    let bundle = Bundle::start().await;
    let signed = bundle.sign(PARTNER, "acme").await;
    let before = bundle.scan().await;
    let redirect_url = signed["query_parameters"]["redirect_url"]
        .as_str()
        .expect("a redirect");
    for url in [
        format!("{redirect_url}?client=aCL&channels=[oneCH]"),
        format!("{}/{PARTNER}/sign", bundle.url),
    ] {
        let answer = bundle
            .http
            .head(url)
            .bearer_auth(bundle.token("acme"))
            .send()
            .await
            .expect("an answer");
        assert_eq!(answer.status(), without_a_route(405));
    }
    assert_same(&before, &bundle.scan().await);
}

#[tokio::test]
async fn a_list_is_no_body_of_the_documented_form() {
    let bundle = Bundle::start().await;
    let post = bundle
        .http
        .post(format!("{}/{PARTNER}/redirect", bundle.url))
        .bearer_auth(bundle.token("acme"));
    let answer = post
        .json(&json!(["?client=aCL&channels=[oneCH]"]))
        .send()
        .await
        .expect("an answer");
    assert_eq!(answer.status(), 400);
}

#[tokio::test]
async fn the_same_content_in_another_order_gets_the_first_answer() {
    let bundle = Bundle::start().await;
    let signed = bundle.sign(PARTNER, "acme").await;
    let mut answers = Vec::new();
    for query in [
        "client=aCL&channels=[oneCH,twoCH]",
        "channels=[twoCH,oneCH]&client=aCL",
    ] {
        answers.push(
            bundle
                .come_back_with(&signed, query)
                .await
                .text()
                .await
                .expect("a text"),
        );
    }
    assert_eq!(answers[0], answers[1]);
}
