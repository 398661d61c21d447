//! The functions behind the gateway: whoever was answered 2xx finds it kept, no second is given twice, and trouble is
//! said to be trouble.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tests::aws::calls::{Fault, Harm, Service};
use tests::partner_api::SimulatedPartnerApi;
use tests::{Answer, Ask, Bundle, PARTNER, bodies, pk};

use crate::everywhere::large_events::{kept, noise, post};

/// Those that write, and the one that reads.
const FUNCTIONS: [&str; 4] = ["sign", "webhook", "redirect", "channels"];

/// More calls than any of them makes, its start included.
const MANY: usize = 12;

/// A bundle whose hub sends nothing, a visit to come back from, and what was signed so far.
struct Scene {
    bundle: Bundle,
    visit: Value,
    seconds: BTreeSet<i64>,
    _api: SimulatedPartnerApi,
}

impl Scene {
    async fn new() -> Self {
        let api = SimulatedPartnerApi::start().await;
        let bundle = api.bundle(&[]).await;
        let visit = bundle.sign(PARTNER, "acme").await;
        let seconds = BTreeSet::from([second(&visit)]);
        Self {
            bundle,
            visit,
            seconds,
            _api: api,
        }
    }

    /// Asks a function; whoever says the same again says it with the same `number`.
    async fn ask(&self, function: &'static str, number: usize) -> Answer {
        let get = |path| self.bundle.get("acme", &format!("/{PARTNER}/{path}"));
        match function {
            "webhook" => self.bundle.webhook(PARTNER, &event(number)).await,
            "redirect" => {
                let claim = "client=aCL&channels=[oneCH]";
                self.bundle.come_back_with(&self.visit, claim).await
            }
            path => get(path).ask().await,
        }
    }

    /// What was answered 200 is in the table, once, and no second was given before.
    async fn is_kept(&mut self, function: &'static str, number: usize, answer: Answer) {
        let answer = answer.is(200).json();
        let items = self.bundle.items().await;
        let of_kind = |kind: &str| -> Vec<_> {
            let items = items.iter();
            items.filter(|item| pk(item).starts_with(kind)).collect()
        };
        let is_kept = match function {
            "sign" => {
                let issued = of_kind("SECOND#")[0]["issued"].as_n();
                let issued: i64 = issued.expect("a number").parse().expect("a second");
                issued >= second(&answer) && self.seconds.insert(second(&answer))
            }
            "webhook" => {
                let (kept, body) = (bodies(&items).into_iter(), event(number));
                kept.filter(|kept| *kept == body.as_bytes()).count() == 1
            }
            "redirect" => of_kind("CLAIM#").len() == 1,
            _ => true,
        };
        assert!(is_kept, "{function:?} {number}: {answer}");
    }

    /// Each of them is asked once more, and what it answers is kept.
    async fn all_is_well(&mut self, number: usize) {
        for function in FUNCTIONS {
            let answer = self.ask(function, number).await;
            self.is_kept(function, number, answer).await;
        }
    }

    /// All are asked at once.
    async fn ask_all(&self, number: usize) -> [(&'static str, Answer); 4] {
        let [a, b, c, d] = FUNCTIONS;
        let ask = |function| self.ask(function, number);
        let answers = tokio::join!(ask(a), ask(b), ask(c), ask(d));
        [
            (a, answers.0),
            (b, answers.1),
            (c, answers.2),
            (d, answers.3),
        ]
    }

    /// What the functions have written: the last second, events, and claims, which others go on with.
    async fn written(&self) -> BTreeSet<String> {
        let items = self.bundle.items().await;
        let words = items.iter().filter_map(|item| match pk(item) {
            pk if pk.starts_with("SECOND#") => Some(format!("{pk} {:?}", item["issued"])),
            pk if pk.starts_with("CLAIM#") => Some(pk.to_owned()),
            pk => item.get("body").map(|body| format!("{pk} {body:?}")),
        });
        words.collect()
    }
}

fn second(signed: &Value) -> i64 {
    signed["timestamp"].as_i64().expect("a second")
}

fn event(number: usize) -> String {
    json!({"event": "channel_running", "data": {"id": format!("n{number}CH")}}).to_string()
}

/// I1, I3
#[tokio::test]
async fn one_that_is_killed_before_or_after_any_call_promises_nothing_it_does_not_keep() {
    let mut scene = Scene::new().await;
    let calls = scene.bundle.aws().calls.clone();
    let (mut number, mut kills) = (0, 0);
    for function in FUNCTIONS {
        for harm in [Harm::KillBefore, Harm::KillAfter] {
            for n in 1.. {
                assert!(n < MANY, "{function:?} never gets through");
                number += 1;
                // From its start on: what it does there is done again by the next process.
                scene.bundle.aws().function(function).kill().await;
                let fault = calls.hurt(Fault::of(function, harm).only_the(n));
                let mut answer = scene.ask(function, number).await;
                calls.heal();
                let hits = calls.hits(fault);
                if hits > 0 {
                    answer.is(500);
                    answer = scene.ask(function, number).await;
                }
                scene.is_kept(function, number, answer).await;
                kills += hits;
                if hits == 0 {
                    break;
                }
            }
        }
    }
    // Each was killed at its start and in its work.
    assert!(kills >= 2 * (4 + 4 + 4 + 2), "{kills}");
}

/// I1, I7
#[tokio::test]
async fn killed_between_any_two_writes_of_a_large_event_the_webhook_keeps_it_once_and_whole() {
    let bundle = Bundle::start().await;
    let calls = bundle.aws().calls.clone();
    let mut round = 0;
    for harm in [Harm::KillBefore, Harm::KillAfter] {
        let mut kills = 0;
        for n in 1.. {
            assert!(n < MANY, "it never gets through");
            round += 1;
            let body = noise(700 * 1024 + round);
            let fault = Fault::of("webhook", harm).asking("PutItem").only_the(n);
            let fault = calls.hurt(fault);
            let answer = post(&bundle, &body).await;
            calls.heal();
            if calls.hits(fault) == 0 {
                answer.is(200);
                break;
            }
            kills += 1;
            answer.is(500);
            let there = kept(&bundle, &body).await;
            assert!(there.is_none_or(|there| there == body), "{n}");
            for _ in 0..2 {
                post(&bundle, &body).await.is(200);
            }
            assert!(kept(&bundle, &body).await.as_deref() == Some(&*body), "{n}");
        }
        // Three parts and the event, and what opens the connection of a process that is new.
        assert!(kills >= 4, "{kills}");
    }
}

/// I1
#[tokio::test]
async fn trouble_with_the_table_is_503_and_over_when_it_is_over() {
    all_are_refused_while_it_is_away(Service::DynamoDb).await;
}

/// I2
#[tokio::test]
async fn without_the_partner_secret_nobody_is_let_in_until_it_can_be_read_again() {
    all_are_refused_while_it_is_away(Service::SecretsManager).await;
}

async fn all_are_refused_while_it_is_away(service: Service) {
    let mut scene = Scene::new().await;
    scene.all_is_well(0).await;
    let calls = scene.bundle.aws().calls.clone();
    for (harm, number) in [(Harm::Throttle, 1), (Harm::Fail, 2), (Harm::Silence, 3)] {
        if service == Service::SecretsManager {
            // What was read is remembered.
            scene.bundle.aws().kill().await;
        }
        for function in FUNCTIONS {
            calls.hurt(Fault::of(function, harm).at(service));
        }
        let before = scene.written().await;
        calls.forget();
        for (function, answer) in scene.ask_all(number).await {
            if function == "channels" && service == Service::SecretsManager {
                answer.is(200); // It reads no secret.
                continue;
            }
            let detail = answer.problem(503);
            for word in ["DynamoDB", "Secrets", "throttl", "Throughput", "secret"] {
                assert!(!detail.contains(word), "{function:?}: {detail}");
            }
            let tries = calls.of(function).into_iter();
            let tries = tries.filter(|call| call.starts_with(&format!("{service:?}")));
            let tries = tries.count();
            let is_tried_again = service != Service::DynamoDb || (2..=3).contains(&tries);
            assert!(is_tried_again, "{harm:?} {function:?}: {tries}");
        }
        assert_eq!(scene.written().await, before, "{harm:?}");
        calls.heal();
        scene.all_is_well(number).await;
    }
}

/// I1, I3
#[tokio::test]
async fn trouble_that_passes_is_not_noticed() {
    let mut scene = Scene::new().await;
    scene.all_is_well(0).await;
    for (harm, number) in [
        (Harm::Throttle, 1),
        (Harm::Fail, 2),
        (Harm::Silence, 3),
        (Harm::LoseAnswer, 4),
    ] {
        let calls = scene.bundle.aws().calls.clone();
        let once = |function| {
            let fault = Fault::of(function, harm).at(Service::DynamoDb);
            calls.hurt(fault.the_first(1))
        };
        let faults = FUNCTIONS.map(once);
        let answers = scene.ask_all(number).await;
        for ((function, answer), fault) in answers.into_iter().zip(faults) {
            assert_eq!(calls.hits(fault), 1, "{function:?} {harm:?}");
            scene.is_kept(function, number, answer).await;
        }
    }
}
