//! What strangers try with states. Whatever is refused leaves no trace in the table, and is refused alike.

use dialog360::secret::Secret;
use embedded::settings::TABLE;
use jiff::SignedDuration;
use onboarding::origin::ReturnTo;
use onboarding::session::Session;
use runtime::clock;
use serde_json::json;
use tests::{Answer, Ask, Bundle, PARTNER, PAYING_PARTNER, assert_same, id, text};

const SAID: &str = "client=aCL&channels=[oneCH]";

/// States: one that is used up, one of `acme` that is not, one of another tenant, and one of another partner.
struct States {
    used: String,
    fresh: String,
    other_tenants: String,
    foreign: String,
}

impl States {
    async fn new(bundle: &Bundle) -> Self {
        Self {
            used: used_state(bundle).await,
            fresh: state(bundle, PARTNER, "acme").await,
            other_tenants: state(bundle, PARTNER, "globex").await,
            foreign: state(bundle, PAYING_PARTNER, "acme").await,
        }
    }

    /// States that were never issued here for this hub, or too long ago.
    fn bad(&self, bundle: &Bundle) -> Vec<String> {
        let (payload, tag) = self.fresh.split_once('.').expect("a seal");
        let (another_payload, _) = self.foreign.split_once('.').expect("a seal");
        let swapped: String = tag.chars().rev().collect();
        let platform_secret = bundle.secrets.platform_secret(PARTNER);
        vec![
            "x".to_owned(),
            "x.y".to_owned(),
            "%FF%FE".to_owned(),
            payload.to_owned(),
            format!("{payload}."),
            format!("{payload}.{swapped}"),
            format!("{another_payload}.{tag}"),
            self.foreign.clone(),
            sealed(bundle, PARTNER, "needle-token-direct-0002", 0),
            sealed(bundle, PARTNER, platform_secret, 48 * 3600),
            sealed(bundle, PARTNER, platform_secret, 400 * 24 * 3600),
            sealed(bundle, PAYING_PARTNER, platform_secret, 0),
            // Of a test stack, or of a developer's machine, with the same platform secret.
            sealed_for(
                "another-table",
                session(PARTNER, &bundle.url, 0),
                platform_secret,
            ),
            "A".repeat(5_000),
        ]
    }
}

/// I2
#[tokio::test]
async fn what_is_refused_leaves_no_trace_and_gets_the_same_answer_whatever_is_wrong() {
    let bundle = Bundle::start().await;
    let states = States::new(&bundle).await;
    let before = bundle.scan_when_quiet().await;
    let (mut problems, mut pages) = (Vec::new(), Vec::new());
    let bad = states.bad(&bundle);
    let bad = bad.iter().map(|state| (state, SAID));
    // Used up by something else.
    let others = [
        "client=aCL&channels=[twoCH]",
        "client=bCL&channels=[oneCH]",
        "client=aCL&revoked=[oneCH]",
        "client=aCL",
    ];
    let two = format!("{SAID}&state={}", states.fresh);
    let others = others.into_iter().chain([two.as_str()]);
    for (state, query) in bad.chain(others.map(|other| (&states.used, other))) {
        problems.push(whole(come_back(&bundle, state, query).await));
        problems.push(whole(hand_in(&bundle, Some("acme"), state, query).await));
        pages.push(whole(browse(&bundle, state, query).await));
    }
    let other_tenants = &states.other_tenants;
    let foreign = hand_in(&bundle, Some("acme"), other_tenants, SAID).await;
    problems.push(whole(foreign));
    hand_in(&bundle, None, &states.fresh, SAID).await.is(401);
    assert!(problems[0].contains("application/problem+json") && pages[0].contains("text/html"));
    for answers in [&mut problems, &mut pages] {
        answers.dedup();
        assert_eq!(answers.len(), 1, "{answers:#?}");
    }
    assert_same(&before, &bundle.scan().await);
    assert_same(&before, &bundle.scan_when_quiet().await);
}

/// I2
#[tokio::test]
async fn the_same_link_again_says_nothing_new() {
    let bundle = Bundle::start().await;
    let state = used_state(&bundle).await;
    let before = bundle.scan_when_quiet().await;
    let first = come_back(&bundle, &state, SAID).await.text;
    for again in [
        "channels=[oneCH]&client=aCL",
        "client=aCL&channels=%5B'oneCH',%20oneCH%5D&revoked=[]&other=1",
        "revoked=&client=aCL&channels=oneCH",
    ] {
        let answer = come_back(&bundle, &state, again).await.is(200);
        assert_eq!(answer.text, first, "{again}");
        hand_in(&bundle, Some("acme"), &state, again).await.is(200);
    }
    assert_same(&before, &bundle.scan_when_quiet().await);

    let two = bundle.sign(PARTNER, "acme").await;
    let mut answers = Vec::new();
    for (query, status) in [
        (
            "client=aCL&channels=[twoCH,threeCH]&revoked=[fourCH,fiveCH]",
            200,
        ),
        (
            "revoked=[fiveCH,fourCH]&channels=[threeCH,twoCH]&client=aCL",
            200,
        ),
        // The other way round is not the same content.
        (
            "client=aCL&channels=[fourCH,fiveCH]&revoked=[twoCH,threeCH]",
            400,
        ),
    ] {
        let answer = bundle.come_back_with(&two, query).await.is(status);
        answers.push(answer.text);
    }
    assert_eq!(answers[0], answers[1], "in the order of the first");
}

async fn state(bundle: &Bundle, partner: &str, tenant: &str) -> String {
    let signed = bundle.sign(partner, tenant).await;
    text(&signed["state"]).to_owned()
}

/// A state of `partner` for `acme`, sealed with `secret` so many seconds ago.
fn sealed(bundle: &Bundle, partner: &str, secret: &str, seconds: i64) -> String {
    sealed_for(TABLE, session(partner, &bundle.url, seconds), secret)
}

fn sealed_for(table: &str, session: Session, secret: &str) -> String {
    let state = session.seal(&Secret::new(secret), table);
    state.as_str().to_owned()
}

/// A session of `acme` that began so many seconds ago, on a page of `origin`.
fn session(partner: &str, origin: &str, seconds: i64) -> Session {
    let issued_at = clock::now() - SignedDuration::from_secs(seconds);
    Session {
        partner: id(partner),
        tenant: id("acme"),
        second: issued_at.as_second(),
        issued_at,
        origin: id(origin),
        return_to: None,
    }
}

/// The claim is recorded all the same: it is true, and the tenant's.
#[tokio::test]
async fn an_origin_that_is_no_longer_allowed_gets_neither_redirect_nor_message() {
    let bundle = Bundle::start().await;
    let secret = bundle.secrets.platform_secret(PARTNER);
    const GONE: &str = "https://gone.example";
    let posts = session(PARTNER, GONE, 10);
    let returns = Session {
        return_to: Some(ReturnTo::parse("https://gone.example/x", &id(GONE)).expect("a page")),
        ..session(PARTNER, GONE, 20)
    };
    for (session, number) in [(posts, "oneCH"), (returns, "twoCH")] {
        let state = sealed_for(TABLE, session, secret);
        let path = format!("{}/{PARTNER}/redirect/{state}", bundle.url);
        let back = format!("{path}?client=aCL&channels=[{number}]");
        let page = bundle.http.get(back).ask().await.is(200).text;
        assert!(!page.contains("gone.example"), "{page}");
        let listed = bundle.channels(PARTNER, "acme").await;
        let is_listed = listed.iter().any(|row| row["id"] == number);
        assert!(is_listed, "{number} is claimed");
    }
}

/// The state of a visit that is over: `aCL` granted `oneCH`, and the hub has nothing more to tell.
async fn used_state(bundle: &Bundle) -> String {
    let signed = bundle.sign(PARTNER, "acme").await;
    let choice = json!({"client": "aCL", "channels": ["oneCH"]});
    let way_back = bundle.complete(&signed, choice).await;
    bundle.come_back(&way_back).await.is(200);
    bundle.complete_story(PARTNER, "acme", "oneCH").await;
    text(&signed["state"]).to_owned()
}

async fn come_back(bundle: &Bundle, state: &str, query: &str) -> Answer {
    let address = format!("{}/{PARTNER}/redirect/{state}?{query}", bundle.url);
    bundle.come_back(&address).await
}

async fn browse(bundle: &Bundle, state: &str, query: &str) -> Answer {
    let path = format!("/{PARTNER}/redirect?{query}&state={state}");
    bundle.request("GET", &path).ask().await
}

async fn hand_in(bundle: &Bundle, tenant: Option<&str>, state: &str, query: &str) -> Answer {
    let mut request = bundle.request("POST", &format!("/{PARTNER}/redirect"));
    if let Some(tenant) = tenant {
        request = request.bearer_auth(bundle.token(tenant));
    }
    let query = format!("?{query}&state={state}");
    request.json(&json!({"query": query})).ask().await
}

/// A refusal to the last byte, but for its date.
fn whole(answer: Answer) -> String {
    let answer = answer.is(400);
    let headers = answer.headers.iter().filter(|(name, _)| *name != "date");
    let mut headers: Vec<String> = headers.map(|it| format!("{it:?}")).collect();
    headers.sort();
    format!("{headers:?}\n{}", answer.text)
}
