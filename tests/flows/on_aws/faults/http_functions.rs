//! The doors: whoever was answered 2xx finds it kept, no second is given twice, and trouble is said to be trouble.

use std::collections::BTreeSet;

use platform::table::Item;
use reqwest::Response;
use serde_json::{Value, json};
use tests::aws::calls::{Fault, Harm, Service};
use tests::{Bundle, PARTNER};

use crate::everywhere::http::{header, is_problem};
use crate::partner_api::StandIn;

/// The doors that write, and the one that reads.
const DOORS: [Door; 4] = [Door::Sign, Door::Webhook, Door::Redirect, Door::Channels];

/// More calls than any door makes, its start included.
const MANY: usize = 12;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Door {
    Sign,
    Webhook,
    Redirect,
    Channels,
}

impl Door {
    fn function(self) -> &'static str {
        match self {
            Self::Sign => "sign",
            Self::Webhook => "webhook",
            Self::Redirect => "redirect",
            Self::Channels => "channels",
        }
    }
}

/// A bundle without a hub, what was signed so far, and a visit to come back from.
struct Scene {
    bundle: Bundle,
    visit: Value,
}

impl Scene {
    async fn new() -> Self {
        let bundle = StandIn::start().await.bundle(&[]).await;
        let visit = bundle.sign(PARTNER, "acme").await;
        Self { bundle, visit }
    }

    /// Knocks at a door; whoever says the same again says it with the same `number`.
    async fn knock(&self, door: Door, number: usize) -> Response {
        match door {
            Door::Sign => self
                .bundle
                .get("acme", &format!("/{PARTNER}/sign"))
                .send()
                .await
                .expect("an answer"),
            Door::Webhook => self.bundle.webhook(PARTNER, &event(number)).await,
            Door::Redirect => {
                self.bundle
                    .come_back_with(&self.visit, "client=aCL&channels=[oneCH]")
                    .await
            }
            Door::Channels => self
                .bundle
                .get("acme", &format!("/{PARTNER}/channels"))
                .send()
                .await
                .expect("an answer"),
        }
    }

    /// Whether what was said at a door is in the table, once.
    async fn is_kept(&self, door: Door, number: usize, answer: &Value) -> bool {
        let items = self.bundle.items().await;
        let start_of =
            |item: &Item, start: &str| item["pk"].as_s().is_ok_and(|pk| pk.starts_with(start));
        match door {
            Door::Sign => {
                let issued = items
                    .iter()
                    .find(|item| start_of(item, "SECOND#"))
                    .and_then(|item| item.get("issued"));
                let issued: i64 = issued
                    .expect("a second")
                    .as_n()
                    .expect("a number")
                    .parse()
                    .expect("a number");
                issued >= answer["timestamp"].as_i64().expect("a second")
            }
            Door::Webhook => {
                let body = event(number);
                let kept = items
                    .iter()
                    .filter_map(|item| item.get("body")?.as_b().ok());
                kept.filter(|kept| kept.as_ref() == body.as_bytes()).count() == 1
            }
            Door::Redirect => items.iter().filter(|item| start_of(item, "CLAIM#")).count() == 1,
            Door::Channels => true,
        }
    }

    /// What the doors have written: the last second, events, and claims, which others go on with.
    async fn written(&self) -> BTreeSet<String> {
        let items = self.bundle.items().await;
        let words =
            items
                .iter()
                .filter_map(|item| match item["pk"].as_s().expect("a key").as_str() {
                    pk if pk.starts_with("SECOND#") => Some(format!("{pk} {:?}", item["issued"])),
                    pk if pk.starts_with("CLAIM#") => Some(pk.to_owned()),
                    pk => item.get("body").map(|body| format!("{pk} {body:?}")),
                });
        words.collect()
    }

    /// The answer of the gateway to a function that is killed, or of the function.
    async fn outcome(&self, door: Door, number: usize) -> Result<Value, u16> {
        let answer = self.knock(door, number).await;
        let status = answer.status().as_u16();
        if status == 200 {
            Ok(answer.json().await.expect("JSON"))
        } else {
            Err(status)
        }
    }
}

fn event(number: usize) -> String {
    json!({"event": "channel_running", "data": {"id": format!("n{number}CH")}}).to_string()
}

/// I1, I3
#[tokio::test]
async fn a_door_that_is_killed_before_or_after_any_call_promises_nothing_it_does_not_keep() {
    let scene = Scene::new().await;
    let mut seconds = BTreeSet::from([scene.visit["timestamp"].as_i64().expect("a second")]);
    let (mut number, mut kills) = (0, 0);
    for door in DOORS {
        for harm in [Harm::KillBefore, Harm::KillAfter] {
            for n in 1.. {
                assert!(n < MANY, "{door:?} never gets through");
                number += 1;
                // From its start on: what it does there is done again by the next process.
                scene.bundle.aws().function(door.function()).kill().await;
                let fault = scene
                    .bundle
                    .aws()
                    .calls
                    .hurt(Fault::of(door.function(), harm).only_the(n));
                let outcome = scene.outcome(door, number).await;
                scene.bundle.aws().calls.heal();
                let hits = scene.bundle.aws().calls.hits(fault);
                assert_eq!(
                    outcome.is_ok(),
                    hits == 0,
                    "{door:?} {harm:?} {n}: {outcome:?}"
                );
                kills += hits;
                let answer = match outcome {
                    Ok(answer) => answer,
                    Err(status) => {
                        assert_eq!(status, 500, "{door:?} {harm:?} {n}");
                        scene
                            .outcome(door, number)
                            .await
                            .unwrap_or_else(|status| panic!("{door:?} again: {status}"))
                    }
                };
                assert!(
                    scene.is_kept(door, number, &answer).await,
                    "{door:?} {harm:?} {n}: {answer}"
                );
                if door == Door::Sign {
                    assert!(
                        seconds.insert(answer["timestamp"].as_i64().expect("a second")),
                        "given twice: {answer}"
                    );
                }
                if hits == 0 {
                    break;
                }
            }
        }
    }
    assert!(
        kills >= 2 * (4 + 4 + 4 + 2),
        "each door was killed at its start and in its work: {kills}"
    );
}

/// I1
#[tokio::test]
async fn trouble_with_the_table_is_503_and_over_when_it_is_over() {
    let scene = Scene::new().await;
    let calls = &scene.bundle.aws().calls;
    for door in DOORS {
        scene
            .outcome(door, 0)
            .await
            .unwrap_or_else(|status| panic!("{door:?}: {status}"));
    }
    for (harm, number) in [(Harm::Throttle, 1), (Harm::Fail, 2), (Harm::Silence, 3)] {
        for door in DOORS {
            calls.hurt(Fault::of(door.function(), harm).at(Service::DynamoDb));
        }
        let before = scene.written().await;
        calls.forget();
        let knocks = DOORS.map(|door| refused(&scene, door, number));
        let [one, two, three, four] = knocks;
        tokio::join!(one, two, three, four);
        assert_eq!(scene.written().await, before, "{harm:?}");
        for door in DOORS {
            let tries = calls
                .of(door.function())
                .iter()
                .filter(|call| call.starts_with("DynamoDb"))
                .count();
            assert!(
                (2..=3).contains(&tries),
                "{harm:?}: {door:?} tried {tries} times"
            );
        }
        calls.heal();
        for door in DOORS {
            let answer = scene
                .outcome(door, number)
                .await
                .unwrap_or_else(|status| panic!("{door:?} again: {status}"));
            assert!(scene.is_kept(door, number, &answer).await, "{door:?}");
        }
    }
}

/// I1, I3
#[tokio::test]
async fn trouble_that_passes_is_not_noticed() {
    let scene = Scene::new().await;
    let calls = &scene.bundle.aws().calls;
    for door in [Door::Webhook, Door::Redirect, Door::Channels] {
        scene
            .outcome(door, 0)
            .await
            .unwrap_or_else(|status| panic!("{door:?}: {status}"));
    }
    let mut seconds = BTreeSet::from([scene.visit["timestamp"].as_i64().expect("a second")]);
    for (harm, number) in [
        (Harm::Throttle, 1),
        (Harm::Fail, 2),
        (Harm::Silence, 3),
        (Harm::LoseAnswer, 4),
    ] {
        let fault = |door: Door| {
            calls.hurt(
                Fault::of(door.function(), harm)
                    .at(Service::DynamoDb)
                    .the_first(1),
            )
        };
        let faults = DOORS.map(fault);
        let [one, two, three, four] = DOORS.map(|door| scene.outcome(door, number));
        let (one, two, three, four) = tokio::join!(one, two, three, four);
        for ((door, fault), outcome) in DOORS.into_iter().zip(faults).zip([one, two, three, four]) {
            let answer = outcome.unwrap_or_else(|status| panic!("{door:?} {harm:?}: {status}"));
            assert_eq!(calls.hits(fault), 1, "{door:?} {harm:?}");
            assert!(
                scene.is_kept(door, number, &answer).await,
                "{door:?} {harm:?}: {answer}"
            );
            if door == Door::Sign {
                assert!(
                    seconds.insert(answer["timestamp"].as_i64().expect("a second")),
                    "given twice: {answer}"
                );
            }
        }
    }
}

/// I2
#[tokio::test]
async fn without_the_partner_secret_nobody_is_let_in_until_it_can_be_read_again() {
    let scene = Scene::new().await;
    let calls = &scene.bundle.aws().calls;
    let with_secrets = [Door::Sign, Door::Webhook, Door::Redirect];
    for (harm, number) in [(Harm::Throttle, 1), (Harm::Fail, 2), (Harm::Silence, 3)] {
        scene.bundle.aws().kill().await;
        for door in with_secrets {
            calls.hurt(Fault::of(door.function(), harm).at(Service::SecretsManager));
        }
        let before = scene.written().await;
        let [one, two, three] = with_secrets.map(|door| refused(&scene, door, number));
        tokio::join!(one, two, three);
        assert_eq!(scene.written().await, before, "{harm:?}");
        calls.heal();
        for door in with_secrets {
            let answer = scene
                .outcome(door, number)
                .await
                .unwrap_or_else(|status| panic!("{door:?} again: {status}"));
            assert!(scene.is_kept(door, number, &answer).await, "{door:?}");
        }
    }
}

/// A refusal that says only that it was us, and that it will pass.
async fn refused(scene: &Scene, door: Door, number: usize) {
    let answer = scene.knock(door, number).await;
    assert_eq!(header(&answer, "cache-control"), "no-store", "{door:?}");
    let detail = is_problem(answer, 503).await;
    for word in ["DynamoDB", "Secrets", "throttl", "Throughput", "secret"] {
        assert!(!detail.contains(word), "{door:?}: {detail}");
    }
}
