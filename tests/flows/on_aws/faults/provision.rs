//! `provision`, which may be cut at any moment: whatever happens to it while a key is being made, the hub's live key
//! ends in the vault.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::json;
use tests::aws::calls::{Fault, FaultId, Harm, Service};
use tests::{Bundle, PARTNER, assert_same, until};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::everywhere::secrets_leak::search::Search;
use crate::partner_api::{NUMBER, StandIn, claim};

/// How many numbers are on their way to their fault at once.
const AT_ONCE: usize = 8;

/// How many calls more than a number alone makes: those behind it hurt nobody, which shows that all were.
const BEYOND: usize = 3;

/// The stages of a number come at once.
const QUICK: (&str, &str) = ("HUB_STAGE_DELAY_MS", "1");

/// One way to go wrong; its numbers belong to one tenant.
#[derive(Clone, Copy)]
struct Way {
    name: &'static str,
    /// How the nth call goes wrong.
    harm: fn(usize) -> Harm,
    /// How many calls in a row: three are all that the SDK makes of one.
    times: usize,
}

/// One number, whose nth call goes wrong.
struct Number {
    way: Way,
    id: String,
    fault: FaultId,
}

/// I6, I7, I8, I9
#[tokio::test]
async fn killed_before_or_after_any_call_it_ends_with_the_live_key_stored() {
    let ways = [
        Way {
            name: "before",
            harm: |_| Harm::KillBefore,
            times: 1,
        },
        Way {
            name: "after",
            harm: |_| Harm::KillAfter,
            times: 1,
        },
    ];
    every_call_goes_wrong(&ways).await;
}

/// I6, I7, I8, I9
#[tokio::test]
async fn refused_at_any_call_it_ends_with_the_live_key_stored() {
    let harm = |n: usize| {
        if n.is_multiple_of(2) {
            Harm::Fail
        } else {
            Harm::Throttle
        }
    };
    every_call_goes_wrong(&[Way {
        name: "refused",
        harm,
        times: 3,
    }])
    .await;
}

/// I7
#[tokio::test]
async fn killed_at_any_call_of_its_start_it_starts_again() {
    let bundle = Bundle::start_with(&[QUICK]).await;
    let stack = bundle.aws();
    for n in 1..=3 {
        for (name, harm) in [("before", Harm::KillBefore), ("after", Harm::KillAfter)] {
            stack.function("provision").kill().await;
            let fault = stack.calls.hurt(Fault::of("provision", harm).only_the(n));
            let id = format!("{name}{n}");
            onboard(&bundle, "acme", &id).await;
            has_the_live_key(&bundle, "acme", &id).await;
            assert_eq!(stack.calls.hits(fault), 1, "{id}");
        }
    }
}

/// I7
#[tokio::test]
async fn a_service_that_is_away_for_a_while_only_makes_it_later() {
    let bundle = Bundle::start_with(&[QUICK]).await;
    let calls = &bundle.aws().calls;
    for (service, name) in [
        (Service::DynamoDb, "table"),
        (Service::SecretsManager, "vault"),
        (Service::EventBridge, "bus"),
    ] {
        for (harm, how) in [
            (Harm::Fail, "Fails"),
            (Harm::Throttle, "Throttles"),
            (Harm::Silence, "Silent"),
        ] {
            let id = format!("{name}{how}");
            let fault = calls.hurt(Fault::of("provision", harm).at(service).about(&tag(&id)));
            onboard(&bundle, "acme", &id).await;
            // Several calls, not only the tries of one.
            until(|| async {
                let hits = calls.hits(fault);
                if hits >= 4 {
                    Ok(())
                } else {
                    Err(format!("{id}: {hits}"))
                }
            })
            .await;
            calls.heal();
            has_the_live_key(&bundle, "acme", &id).await;
        }
    }
}

/// I4, I6
#[tokio::test]
async fn every_batch_once_more_changes_nothing() {
    let (hub, bundle) = StandIn::with_new(NUMBER).await;
    claim(&bundle, PARTNER, NUMBER).await;
    bundle.stored(PARTNER, "acme", NUMBER).await;
    let before = bundle.scan_when_quiet("markerCH").await;
    let batches = bundle.aws().batches();
    assert!(batches.len() >= 5, "{batches:?}");
    for batch in batches.iter().chain(batches.iter().rev()) {
        let answer = bundle
            .aws()
            .function("provision")
            .invoke(batch)
            .await
            .expect("an answer");
        assert_eq!(answer.json(), json!({"batchItemFailures": []}));
    }
    let after = bundle.scan_when_quiet("laterCH").await;
    let after: Vec<String> = after
        .into_iter()
        .filter(|item| !item.contains("markerCH"))
        .collect();
    assert_same(&before, &after);
    assert_eq!(hub.posts(NUMBER), 1);
}

/// Onboards one number for every call that `provision` makes about a number, in each of `ways`; that call goes wrong.
async fn every_call_goes_wrong(ways: &[Way]) {
    let bundle = Arc::new(Bundle::start_with(&[QUICK]).await);
    let most = calls_of_one(&bundle).await;
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut runs = JoinSet::new();
    for n in 1..=most + BEYOND {
        for way in ways {
            let (bundle, places, way) = (bundle.clone(), places.clone(), *way);
            runs.spawn(async move {
                let _place = places.acquire().await.expect("it is open");
                run(&bundle, way, n).await
            });
        }
    }
    let numbers = runs.join_all().await;
    for Number { way, id, .. } in &numbers {
        has_the_live_key(&bundle, way.name, id).await;
    }
    let calls = &bundle.aws().calls;
    let hurt = numbers
        .iter()
        .filter(|number| calls.hits(number.fault) > 0)
        .count();
    eprintln!(
        "{most} calls about one number; {hurt} of {} numbers were hurt",
        numbers.len()
    );
    assert!(
        hurt >= ways.len() * most * 3 / 4,
        "{hurt} of {} numbers were hurt",
        numbers.len()
    );
    assert!(
        hurt < numbers.len(),
        "there are calls behind the last one that was hurt"
    );
    is_kept(&bundle, &numbers).await;
    nothing_leaked(&bundle, &numbers);
}

/// How many calls `provision` makes about one number.
async fn calls_of_one(bundle: &Bundle) -> usize {
    let count = bundle.aws().calls.hurt(
        Fault::of("provision", Harm::Fail)
            .about(&tag("one"))
            .the_first(0),
    );
    onboard(bundle, "alone", "one").await;
    has_the_live_key(bundle, "alone", "one").await;
    bundle.scan_when_quiet("markerCH").await;
    bundle.aws().calls.fitting(count)
}

/// One number, up to its fault, or until its key is the one that counts: what comes behind that can go wrong later.
async fn run(bundle: &Bundle, way: Way, n: usize) -> Number {
    let id = format!("{}{n}", way.name);
    let calls = &bundle.aws().calls;
    let fault = calls.hurt(
        Fault::of("provision", (way.harm)(n))
            .about(&tag(&id))
            .from_the(n, way.times),
    );
    let moved = Fault::of("provision", Harm::Fail)
        .asking("UpdateSecretVersionStage")
        .about(&tag(&id));
    let moved = calls.hurt(moved.the_first(0));
    onboard(bundle, way.name, &id).await;
    // Not understood, and sent while others are cut.
    assert_eq!(bundle.webhook(PARTNER, &odd(&id)).await.status(), 200);
    until(|| async {
        let is_over = calls.hits(fault) > 0 || calls.fitting(moved) > 0;
        if is_over {
            Ok(())
        } else {
            Err(format!("{id}: {} calls", calls.fitting(fault)))
        }
    })
    .await;
    Number { way, id, fault }
}

async fn onboard(bundle: &Bundle, tenant: &str, id: &str) {
    let choice = json!({"client": format!("{}CL", tag(id)), "channels": [channel(id)]});
    bundle.onboard(PARTNER, tenant, choice).await;
}

/// What only bodies about this number hold: `x1` is in `x12`, `x1z` is not.
fn tag(id: &str) -> String {
    format!("{id}z")
}

fn channel(id: &str) -> String {
    format!("{}CH", tag(id))
}

fn odd(id: &str) -> String {
    json!({"event": "something_new", "of": id}).to_string()
}

async fn has_the_live_key(bundle: &Bundle, tenant: &str, id: &str) {
    bundle.stored(PARTNER, tenant, &channel(id)).await;
    assert!(bundle.can_send(PARTNER, &channel(id)).await, "{id}");
}

/// What was not understood is in the table, as it came.
async fn is_kept(bundle: &Bundle, numbers: &[Number]) {
    let items = bundle.items().await;
    let bodies = items
        .iter()
        .filter_map(|item| item.get("body")?.as_b().ok());
    let kept: BTreeSet<&[u8]> = bodies.map(AsRef::as_ref).collect();
    for Number { id, .. } in numbers {
        assert!(kept.contains(odd(id).as_bytes()), "{id}");
    }
}

fn nothing_leaked(bundle: &Bundle, numbers: &[Number]) {
    let keys = numbers.iter().map(|number| {
        let key = bundle
            .vault_key(PARTNER, &channel(&number.id))
            .expect("a key");
        (
            number.id.clone(),
            key["api_key"].as_str().expect("a key").to_owned(),
        )
    });
    let mut needles: Vec<(String, String)> = keys.collect();
    for partner in bundle.secrets.file.as_object().expect("partners").values() {
        for name in ["platform_secret", "partner_token", "partner_api_key"] {
            needles.extend(
                partner[name]
                    .as_str()
                    .map(|secret| (name.to_owned(), secret.to_owned())),
            );
        }
    }
    let search = Search::new(
        needles
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str())),
    );
    let told = json!(bundle.aws().calls.events()).to_string();
    for (place, text) in [("the log", bundle.log()), ("the events", told)] {
        let found = search.in_bytes(text.as_bytes());
        assert!(found.is_empty(), "{place}: {found:?}");
    }
}
