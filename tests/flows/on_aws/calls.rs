//! What a warm request costs: its calls to AWS, and none to the hub.

use std::io::ErrorKind;
use std::net::TcpListener;

use axum::http::Method;
use dialog360::redirect::RedirectQuery;
use onboarding::claim::Claim;
use runtime::clock;
use serde_json::{Value, json};
use store::{ClaimedIds, Claims, IoTimestamps, Recorded, Taken};
use tests::aws::calls::{Fault, Harm};
use tests::aws::event::{Incoming, iam};
use tests::aws::runtime_api::Function;
use tests::partner_api::{NUMBER, SimulatedPartnerApi, channel, claim};
use tests::{Bundle, PARTNER, hmac_sha256, id, text, until_so};
use tokio::task::JoinSet;

/// The default of `IO_TIMESTAMP_WINDOW`, s.
const WINDOW: i64 = 300;

const UPDATE: &str = "DynamoDb UpdateItem";
const PUT: &str = "DynamoDb PutItem";
const QUERY: &str = "DynamoDb Query";
const BATCH_GET: &str = "DynamoDb BatchGetItem";

/// A warm door beside the gateway, whose hub is one that nobody else asks.
struct Door {
    function: Function,
    name: &'static str,
    hub: TcpListener,
}

impl Door {
    async fn warm(bundle: &Bundle, name: &'static str) -> Self {
        let hub = TcpListener::bind("127.0.0.1:0").expect("an address");
        hub.set_nonblocking(true).expect("it does not wait");
        let url = format!("http://{}", hub.local_addr().expect("its address"));
        let settings = ["PARTNER_API_URL", "ONBOARDING_URL"].map(|name| (name, &*url));
        let function = bundle.aws().variant(name, &settings);
        function.warm_up().await.expect("it starts");
        Self {
            function,
            name,
            hub,
        }
    }

    /// The calls that one request makes; it must be answered with `status`.
    async fn costs(&self, bundle: &Bundle, incoming: &Incoming, status: u64) -> Vec<String> {
        let answer = self.ask(bundle, incoming).await;
        assert_eq!(answer["statusCode"], status, "{answer}");
        let calls = bundle.aws().calls.of(self.name);
        let asked = self.hub.accept().map_err(|error| error.kind());
        assert_eq!(asked.err(), Some(ErrorKind::WouldBlock), "it asks no hub");
        // It is the warm process that answers.
        assert_eq!(self.function.starts(), 1);
        calls
    }

    async fn ask(&self, bundle: &Bundle, incoming: &Incoming) -> Value {
        bundle.aws().calls.forget();
        let answer = self.function.invoke(&incoming.event()).await;
        answer.expect("an answer").json()
    }
}

fn get(route: &str, path: &str) -> Incoming {
    Incoming {
        authorizer: Some(iam()),
        ..Incoming::get(route, path)
    }
}

fn sign() -> Incoming {
    let path = format!("/{PARTNER}/sign?tenant=acme");
    get("/{partner_id}/sign", &path)
}

fn list(tenant: &str) -> Incoming {
    let path = format!("/{PARTNER}/channels?tenant={tenant}");
    get("/{partner_id}/channels", &path)
}

fn one(tenant: &str, id: &str) -> Incoming {
    let path = format!("/{PARTNER}/channels/{id}?tenant={tenant}");
    get("/{partner_id}/channels/{channel_id}", &path)
}

fn webhook(bundle: &Bundle, body: &str) -> Incoming {
    let mut incoming = get("/{partner_id}/webhook", &format!("/{PARTNER}/webhook"));
    let signature = hmac_sha256(bundle.secrets.platform_secret(PARTNER), body.as_bytes());
    let signature = signature.parse().expect("a header");
    incoming.headers.insert("x-360dialog-signature", signature);
    incoming.method = Method::POST;
    incoming.body = body.as_bytes().to_vec();
    incoming
}

/// Nothing here depends on the clock's second: each pause and each burst is one of this test's own clock, and what is
/// left of the window is far more than the test takes.
#[tokio::test]
async fn a_lonely_link_costs_one_write_and_the_first_of_a_new_process_in_a_burst_two() {
    let bundle = Bundle::start().await;
    let seconds = IoTimestamps::new(bundle.table().await);
    let signed_at = async |second: i64| {
        let taken = seconds
            .take(&id(PARTNER), &id("before"), second, WINDOW)
            .await;
        assert_eq!(taken.expect("the table"), Taken::Second(second - WINDOW));
    };

    signed_at(clock::now().as_second() - 10_000).await;
    let door = Door::warm(&bundle, "sign").await;
    for link in ["after a pause", "second", "third", "fourth"] {
        let calls = door.costs(&bundle, &sign(), 200).await;
        assert_eq!(calls, [UPDATE], "{link}");
    }

    signed_at(clock::now().as_second() + WINDOW - 200).await;
    let newcomer = Door::warm(&bundle, "sign").await;
    for calls in [&[UPDATE, UPDATE] as &[_], &[UPDATE]] {
        assert_eq!(newcomer.costs(&bundle, &sign(), 200).await, calls);
    }

    // Less than half of the window is free: one more, for the tenant's turn.
    signed_at(clock::now().as_second() + WINDOW - 10).await;
    let newcomer = Door::warm(&bundle, "sign").await;
    let calls = newcomer.costs(&bundle, &sign(), 200).await;
    assert_eq!(calls, [UPDATE, UPDATE, UPDATE]);
}

#[tokio::test]
async fn a_link_costs_two_writes_when_another_comes_first_after_a_pause() {
    let bundle = Bundle::start().await;
    let slow = Door::warm(&bundle, "sign").await;
    let fast = Door::warm(&bundle, "sign").await;
    let calls = &bundle.aws().calls;
    calls.forget();
    let held = calls.hurt(Fault::of("sign", Harm::Hold).only_the(1));
    let sign = sign().event();
    let overtake = async {
        until_so("one is held", || calls.hits(held) == 1).await;
        let second = fast.function.invoke(&sign).await;
        calls.heal();
        second
    };
    let (first, second) = tokio::join!(slow.function.invoke(&sign), overtake);
    let answers = [first, second].map(|answer| answer.expect("an answer").json());
    let second_of = |answer: &Value| {
        let body: Value = serde_json::from_str(text(&answer["body"])).expect("JSON");
        body["timestamp"].as_i64().expect("a second")
    };
    assert_eq!(second_of(&answers[0]), second_of(&answers[1]) + 1);
    // Two of the one that was overtaken, one of the other.
    assert_eq!(calls.of("sign"), [UPDATE; 3]);
}

#[tokio::test]
async fn a_webhook_costs_one_write_per_event_whether_it_is_new_or_not() {
    let api = SimulatedPartnerApi::start().await;
    let bundle = api.bundle(&[]).await;
    let door = Door::warm(&bundle, "webhook").await;
    let event =
        |number: usize| json!({"event": "channel_running", "data": {"id": format!("n{number}CH")}});
    let one = webhook(&bundle, &event(0).to_string());
    let odd = webhook(&bundle, "not understood");
    // New, the same again, and not understood.
    for webhook in [&one, &one, &odd] {
        assert_eq!(door.costs(&bundle, webhook, 200).await, [PUT]);
    }
    let three = json!([event(1), event(2), event(3)]).to_string();
    let three = webhook(&bundle, &three);
    assert_eq!(door.costs(&bundle, &three, 200).await, [PUT; 3]);
    let mut forged = one;
    let signature = "00".parse().expect("a header");
    forged.headers.insert("x-360dialog-signature", signature);
    assert_eq!(door.costs(&bundle, &forged, 401).await, [] as [&str; 0]);
}

#[tokio::test]
async fn the_way_back_costs_one_write() {
    let api = SimulatedPartnerApi::start().await;
    let bundle = api.bundle(&[]).await;
    let signed = bundle.sign(PARTNER, "acme").await;
    let door = Door::warm(&bundle, "redirect").await;
    let state = text(&signed["state"]);
    let path = format!("/{PARTNER}/redirect/{state}?client=aCL&channels=[{NUMBER}]");
    let mut back = Incoming::get("/{partner_id}/redirect/{state}", &path);
    let json = "application/json".parse().expect("a header");
    back.headers.insert("accept", json);
    for _ in 0..2 {
        assert_eq!(door.costs(&bundle, &back, 200).await, [PUT]);
    }
    back.path = format!("/{PARTNER}/redirect/x.y");
    assert_eq!(door.costs(&bundle, &back, 400).await, [] as [&str; 0]);
}

#[tokio::test]
async fn a_list_costs_one_query_and_one_more_call_while_claims_are_open() {
    let (api, bundle) = SimulatedPartnerApi::with_new(NUMBER).await;
    claim(&bundle, PARTNER, NUMBER).await;
    bundle.stored(PARTNER, "acme", NUMBER).await;
    bundle.scan_when_quiet().await;
    let door = Door::warm(&bundle, "channels").await;
    for (request, status, calls) in [
        (list("acme"), 200, &[QUERY] as &[_]),
        (list("nobody"), 200, &[QUERY]),
        (one("acme", NUMBER), 200, &[BATCH_GET]),
        (one("nobody", NUMBER), 404, &[BATCH_GET, QUERY]),
    ] {
        assert_eq!(door.costs(&bundle, &request, status).await, calls);
    }
    api.adds(channel(NUMBER, None)).await;
    claim(&bundle, PARTNER, "openCH").await;
    let query = RedirectQuery::parse("client=aCL&channels=[openCH]").expect("a query");
    let open = Claim::from_caller(&id(PARTNER), &id("acme"), &query, clock::now());
    let claimed = ClaimedIds::new(bundle.table().await);
    let noted = claimed.note(&open.expect("a claim")).await;
    noted.expect("the table");
    for (request, calls) in [
        (list("acme"), &[QUERY, BATCH_GET] as &[_]),
        (one("acme", "openCH"), &[BATCH_GET]),
        (one("acme", NUMBER), &[BATCH_GET]),
    ] {
        assert_eq!(door.costs(&bundle, &request, 200).await, calls);
    }
}

/// 300 claims at the door and 250 claimed ids behind them.
#[tokio::test]
async fn a_list_costs_at_most_two_queries_and_one_batch_however_many_claims_are_open() {
    let api = SimulatedPartnerApi::start().await;
    let bundle = api.bundle(&[]).await;
    let expected = many_claims(&bundle).await;
    let door = Door::warm(&bundle, "channels").await;
    let (mut listed, mut cursor) = (Vec::new(), String::new());
    loop {
        let path = format!("/{PARTNER}/channels?tenant=acme&limit=100&cursor={cursor}");
        let list = get("/{partner_id}/channels", &path);
        let answer = door.ask(&bundle, &list).await;
        assert_eq!(answer["statusCode"], 200, "{answer}");
        let calls = bundle.aws().calls.of("channels");
        assert_eq!(calls, [QUERY, BATCH_GET]);
        let page: Value = serde_json::from_str(text(&answer["body"])).expect("JSON");
        let rows = page["channels"].as_array().expect("a list");
        listed.extend(rows.iter().map(|row| text(&row["id"]).to_owned()));
        match page["next"].as_str() {
            Some(next) => cursor = next.to_owned(),
            None => break,
        }
        assert_eq!(rows.len(), 100, "a page is full");
    }
    listed.sort();
    assert_eq!(listed, expected, "every id once");
}

/// Makes claims of the tenant `acme` in the table itself. Answers the ids that they name, sorted.
async fn many_claims(bundle: &Bundle) -> Vec<String> {
    let table = bundle.table().await;
    let (claims, claimed) = (Claims::new(table.clone()), ClaimedIds::new(table));
    let mut ids = Vec::new();
    let mut claim_of = |names: Vec<String>| {
        let query = format!("client=aCL&channels=[{}]", names.join(","));
        let query = RedirectQuery::parse(&query).expect("a query");
        ids.extend(names);
        let claim = Claim::from_caller(&id(PARTNER), &id("acme"), &query, clock::now());
        let mut claim = claim.expect("a claim");
        claim.hold();
        claim
    };
    let mut writers = JoinSet::new();
    for number in 0..300 {
        let claim = claim_of((0..6).map(|it| format!("n{number}x{it}CH")).collect());
        let claims = claims.clone();
        writers.spawn(async move { claims.record(&claim).await.expect("the table") });
    }
    for number in 0..5 {
        let claim = claim_of((0..50).map(|it| format!("m{number}x{it}CH")).collect());
        claimed.note(&claim).await.expect("the table");
    }
    let recorded = writers.join_all().await;
    assert_eq!(recorded, vec![Recorded::New; 300]);
    ids.sort();
    ids
}

#[tokio::test]
async fn connections_and_secrets_are_there_before_the_first_event() {
    let bundle = Bundle::start().await;
    let calls = &bundle.aws().calls;
    for (name, secrets) in [
        ("sign", 2),
        ("redirect", 2),
        ("webhook", 2),
        ("provision", 2),
        ("channels", 0),
    ] {
        calls.forget();
        let function = bundle.aws().variant(name, &[]);
        function.warm_up().await.expect("it starts");
        let made = calls.of(name);
        let (of_table, others): (Vec<_>, Vec<_>) =
            made.iter().partition(|call| call.starts_with("DynamoDb"));
        assert_eq!(of_table.len(), 1, "{name} calls the table once: {made:?}");
        let each_partner_once = vec!["SecretsManager GetSecretValue"; secrets];
        assert_eq!(others, each_partner_once, "{name}");
    }
}

#[tokio::test]
async fn a_tick_of_fold_with_nothing_due_costs_the_heartbeat_and_two_queries_for_each_partner() {
    let (_api, mut bundle) = SimulatedPartnerApi::with_new(NUMBER).await;
    claim(&bundle, PARTNER, NUMBER).await;
    bundle.stored(PARTNER, "acme", NUMBER).await;
    bundle.scan_when_quiet().await;
    // Only this test's ticks come from now on.
    bundle.stop().await;
    let fold = bundle.aws().variant("fold", &[]);
    fold.warm_up().await.expect("it starts");
    bundle.aws().calls.forget();
    let tick = json!({"source": "aws.events", "detail-type": "Scheduled Event", "detail": {}});
    fold.invoke(&tick).await.expect("an answer");
    let mut calls = bundle.aws().calls.of("fold");
    calls.sort();
    assert_eq!(calls, [PUT, QUERY, QUERY, QUERY, QUERY]);
}
