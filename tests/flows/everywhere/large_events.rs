//! Large events and chats: taken whole, read back to the byte, and written down nowhere else.

use dialog360::event::EventId;
use embedded::settings::BODIES_TABLE;
use runtime::clock;
use serde_json::{Value, json};
use store::{Bodies, Facts, StoredBody};
use tests::aws::calls::HARNESS;
use tests::aws::runtime_api::REGION;
use tests::{Answer, Ask, Bundle, PARTNER, hmac_sha256, id, is_on_aws, until_seen};
use tokio::process::Command;

const EVENTS: &str = include_str!("../../../docs/events.md");

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// The words of the chats, which belong into nothing but the table of bodies.
pub(crate) const CHAT: &str = "planted chat of the customer";

/// The largest event of the bus, bytes.
const BUS: usize = 1_000_000;

/// Bytes that are neither text nor to be compressed.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    let step = |it: &u64| {
        Some(
            it.wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(length as u64),
        )
    };
    let numbers = std::iter::successors(Some(7_u64), step);
    numbers.map(|it| (it >> 33) as u8).take(length).collect()
}

/// A `history` of `length` bytes: months of chats, as 360dialog sends them for a number that stays in the app.
pub(crate) fn history(length: usize) -> Vec<u8> {
    let message = |number: usize| {
        let body = format!("{CHAT}, number {number}: see you tomorrow at the shop, I bring two");
        let text =
            json!({"from": "15550100", "id": format!("wamid.{number}"), "text": {"body": body}});
        text.to_string()
    };
    let start = r#"{"id":"evt_1","event":"history","data":{"id":"aWABA","history":["#;
    let mut all = start.to_owned();
    let end = r#"],"pad":""}}"#;
    for number in 0.. {
        let next = message(number);
        if all.len() + next.len() + end.len() >= length {
            break;
        }
        if number > 0 {
            all.push(',');
        }
        all.push_str(&next);
    }
    let pad = "x".repeat(length - all.len() - end.len());
    all.push_str(&end.replace("\"\"", &format!("\"{pad}\"")));
    all.into_bytes()
}

/// Any JSON of `length` bytes.
fn text(length: usize) -> Vec<u8> {
    match length {
        1 => b"7".to_vec(),
        _ => format!("\"{}\"", "x".repeat(length - 2)).into_bytes(),
    }
}

pub(crate) async fn post(bundle: &Bundle, body: &[u8]) -> Answer {
    let signature = hmac_sha256(bundle.secrets.platform_secret(PARTNER), body);
    let request = bundle.request("POST", &format!("/{PARTNER}/webhook"));
    let request = request.header("x-360dialog-signature", signature);
    let request = request.header("content-type", "application/json");
    request.body(body.to_vec()).ask().await
}

/// The bytes of a raw event that are kept: how often, and which.
pub(crate) async fn kept(bundle: &Bundle, body: &[u8]) -> Option<Vec<u8>> {
    let (table, event) = (bundle.table().await, EventId::hash(body));
    let facts = Facts::new(table.clone());
    let raw = facts.read_raw(&id(PARTNER), event.as_str()).await;
    match raw.expect("an answer")?.body {
        StoredBody::Here(body) => Some(body),
        StoredBody::Apart { size } => {
            let bodies = Bodies::new(table.beside(BODIES_TABLE));
            let partner = id(PARTNER);
            let read = bodies.read(&partner, event.as_str(), clock::now()).await;
            let read = read.expect("an answer").expect("a whole body");
            assert_eq!(read.len(), size);
            Some(read)
        }
    }
}

/// I1, I9
#[tokio::test]
async fn a_body_of_any_size_up_to_the_limit_is_kept_to_the_byte_and_a_larger_one_refused() {
    let bundle = Bundle::start().await;
    for body in [
        text(1),
        vec![0xff],
        text(256 * KIB),
        noise(256 * KIB),
        text(MIB),
        noise(MIB),
        text(4 * MIB),
        noise(4 * MIB),
        history(5 * MIB),
    ] {
        assert_eq!(post(&bundle, &body).await.is(200).text, "{}");
        assert!(
            kept(&bundle, &body).await.as_deref() == Some(&*body),
            "{}",
            body.len()
        );
    }
    post(&bundle, &history(5 * MIB + 1)).await.problem(413);
}

#[tokio::test]
async fn an_operator_and_an_application_read_an_event_by_its_id_until_its_body_expires() {
    let bundle = Bundle::start().await;
    if is_on_aws() {
        bundle.aws().deploy("onboarding", &[]);
    }
    let (small, large) = (br#"{"event":"small"}"#.to_vec(), text(MIB));
    let channels = format!(
        r#"{{"event":"channel_live","data":{{"id":"oneCH","x":"{}"}}}}"#,
        "y".repeat(300 * KIB)
    );
    for body in [&small, &large, channels.as_bytes()] {
        post(&bundle, body).await.is(200);
        let event = EventId::hash(body);
        let arguments = ["event", PARTNER, event.as_str()];
        let (code, printed) = bundle.operator("onboarding", &arguments).await;
        assert!(code == Some(0) && printed.as_bytes() == body, "{code:?}");
    }
    let large = history(MIB);
    post(&bundle, &large).await.is(200);
    assert!(read_as_documented(&bundle, &large).await == large);
    let expired = bundle.table().await.beside(BODIES_TABLE);
    for part in expired.scan().await.expect("a scan") {
        expired.remove(&part).await.expect("removed");
    }
    let event = EventId::hash(&large);
    let (code, said) = bundle
        .operator("onboarding", &["event", PARTNER, event.as_str()])
        .await;
    assert!(code == Some(1) && said.contains("has expired"), "{said}");
    let unknown = "0".repeat(64);
    let (code, said) = bundle
        .operator("onboarding", &["event", PARTNER, &unknown])
        .await;
    assert!(code == Some(1) && said.contains("is stored"), "{said}");
}

/// The body that the lines of `docs/events.md` read.
async fn read_as_documented(bundle: &Bundle, body: &[u8]) -> Vec<u8> {
    let (_, code) = EVENTS.split_once("```python\n").expect("a block");
    let (code, _) = code.split_once("```").expect("its end");
    let event = EventId::hash(body);
    let print = format!("sys.stdout.buffer.write(body('{PARTNER}', '{event}', '{BODIES_TABLE}'))");
    let endpoint = match is_on_aws() {
        true => bundle.aws().calls.url.clone(),
        false => std::fs::read_to_string(bundle.data().join("endpoint")).expect("it runs"),
    };
    let python = concat!(env!("CARGO_MANIFEST_DIR"), "/../tools/python/bin/python");
    let mut python = Command::new(python);
    python
        .args(["-c", &format!("import sys\n{code}\n{print}")])
        .envs([
            ("AWS_ENDPOINT_URL_DYNAMODB", endpoint.trim()),
            ("AWS_DEFAULT_REGION", REGION),
            ("AWS_ACCESS_KEY_ID", HARNESS),
            ("AWS_SECRET_ACCESS_KEY", "tests"),
        ]);
    let ended = python.output().await.expect("python: run make tools");
    assert!(
        ended.status.success(),
        "{}",
        String::from_utf8_lossy(&ended.stderr)
    );
    ended.stdout
}

/// I8
#[tokio::test]
async fn chats_lie_in_the_table_of_bodies_and_nowhere_else() {
    let bundle = Bundle::start().await;
    let (below, above) = (history(300 * KIB), history(3 * MIB / 2));
    let small = history(2 * KIB);
    for body in [&small, &below, &above] {
        post(&bundle, body).await.is(200);
    }
    let of_webhooks = || async {
        let mut events = bundle.events().await;
        events.retain(|event| event["detail-type"] == "hub.event");
        events
    };
    let events = until_seen(of_webhooks, |events: &Vec<Value>| events.len() >= 3).await;
    for (body, is_omitted) in [(&small, false), (&below, false), (&above, true)] {
        assert!(is_omitted == (body.len() > BUS));
        let event = EventId::hash(body);
        let told = events
            .iter()
            .find(|it| it["detail"]["id"] == event.as_str());
        let told = &told.expect("an event")["detail"];
        assert_eq!(
            (&told["name"], &told["channel_id"]),
            (&json!("history"), &Value::Null)
        );
        assert_eq!(told["is_body_omitted"], is_omitted);
        assert_eq!(told.to_string().contains(CHAT), !is_omitted);
        let read = kept(&bundle, body).await.expect("a body");
        assert!(read == *body && has(&read, CHAT));
    }
    // The table of which there are backups, and its stream, on which every image of an item lies.
    for item in bundle.items().await {
        for value in item.values() {
            let bytes = value.as_b().map(|bytes| bytes.as_ref().to_vec());
            let bytes = bytes.or_else(|_| value.as_s().map(|text| text.clone().into_bytes()));
            assert!(!bytes.is_ok_and(|bytes| has(&bytes, CHAT)), "{item:?}");
        }
    }
    assert!(!has(bundle.log().as_bytes(), CHAT), "the log");
    if is_on_aws() {
        let batches = bundle.aws().batches();
        assert!(!batches.is_empty() && !json!(batches).to_string().contains(CHAT));
    }
}

fn has(bytes: &[u8], needle: &str) -> bool {
    bytes
        .windows(needle.len())
        .any(|part| part == needle.as_bytes())
}
