//! `provision`, which may be cut at any moment: whatever happens to it while a key is being made, the hub's live key
//! is the stored one.

use std::sync::Arc;

use serde_json::json;
use tests::aws::calls::{Fault, FaultId, Harm, Service};
use tests::partner_api::{NUMBER, SimulatedPartnerApi, claim};
use tests::search::Search;
use tests::{Bundle, PARTNER, assert_same, bodies, text, until_so};
use tokio::task::JoinSet;

impl Way {
    /// The same with the calls of `fold`.
    pub(super) fn of_fold(self) -> Self {
        Self {
            function: "fold",
            fewest: 8,
            ..self
        }
    }

    /// The same with the calls about the partner's worker: its lease, and the times of its calls to 360dialog. They do
    /// not name the number, so there is one at a time.
    pub(super) fn of_the_worker(self) -> Self {
        Self {
            about: |_| format!("WORK#{PARTNER}"),
            fewest: 6,
            at_once: 1,
            ..self
        }
    }

    /// The same with the queries for what is due, which the clock makes, too.
    pub(super) fn of_the_queue(self) -> Self {
        Self {
            about: |_| format!("DUE#{PARTNER}"),
            ..self.of_the_worker()
        }
    }
}

/// The stages of a number come at once.
pub(super) const QUICK: (&str, &str) = ("HUB_STAGE_DELAY_MS", "1");

/// One way to go wrong; its numbers belong to one tenant.
#[derive(Clone, Copy)]
pub(super) struct Way {
    /// The function whose calls go wrong.
    function: &'static str,
    /// What is in the calls that go wrong, by the number.
    about: fn(&str) -> String,
    /// How many numbers are on their way to their fault at once.
    at_once: usize,
    /// So many calls it makes for a number at least: what goes wrong later may find no call.
    fewest: usize,
    name: &'static str,
    /// How the nth call goes wrong.
    harm: fn(usize) -> Harm,
    /// How many calls in a row: three are all that the SDK makes of one.
    times: usize,
}

pub(super) const KILLED_BEFORE: Way = Way {
    function: "provision",
    about: tag,
    at_once: 3,
    fewest: 20,
    name: "before",
    harm: |_| Harm::KillBefore,
    times: 1,
};

pub(super) const KILLED_AFTER: Way = Way {
    function: "provision",
    about: tag,
    at_once: 3,
    fewest: 20,
    name: "after",
    harm: |_| Harm::KillAfter,
    times: 1,
};

pub(super) const REFUSED: Way = Way {
    function: "provision",
    about: tag,
    at_once: 3,
    fewest: 20,
    name: "refused",
    // By turns, among every sixth too.
    harm: |n| [Harm::Fail, Harm::Throttle][(n + n / 6) % 2],
    times: 3,
};

/// I6, I7, I8, I9
#[tokio::test]
async fn killed_after_the_first_call_and_every_eighth_it_ends_with_the_live_key_stored() {
    calls_go_wrong(KILLED_AFTER, (1..).step_by(8)).await;
}

/// I6, I7, I8, I9
#[tokio::test]
async fn killed_after_the_third_call_and_every_eighth_it_ends_with_the_live_key_stored() {
    calls_go_wrong(KILLED_AFTER, (3..).step_by(8)).await;
}

/// I6, I7, I8, I9
#[tokio::test]
async fn killed_after_the_fifth_call_and_every_eighth_it_ends_with_the_live_key_stored() {
    calls_go_wrong(KILLED_AFTER, (5..).step_by(8)).await;
}

/// I6, I7, I8, I9
#[tokio::test]
async fn killed_after_the_seventh_call_and_every_eighth_it_ends_with_the_live_key_stored() {
    calls_go_wrong(KILLED_AFTER, (7..).step_by(8)).await;
}

/// I6, I7, I8, I9
#[tokio::test]
async fn refused_at_the_second_call_and_every_twelfth_it_ends_with_the_live_key_stored() {
    calls_go_wrong(REFUSED, (2..).step_by(12)).await;
}

/// I6, I7, I8, I9
#[tokio::test]
async fn refused_at_the_seventh_call_and_every_twelfth_it_ends_with_the_live_key_stored() {
    calls_go_wrong(REFUSED, (7..).step_by(12)).await;
}

/// I6, I7, I8, I9
#[tokio::test]
async fn refused_at_the_twelfth_call_and_every_twelfth_it_ends_with_the_live_key_stored() {
    calls_go_wrong(REFUSED, (12..).step_by(12)).await;
}

/// I7
#[tokio::test]
async fn killed_at_any_call_of_its_start_it_starts_again() {
    let bundle = Bundle::start_with(&[QUICK]).await;
    let stack = bundle.aws();
    for n in 1..=3 {
        for (name, harm) in [("before", Harm::KillBefore), ("after", Harm::KillAfter)] {
            stack.function("provision").kill().await;
            let fault = Fault::of("provision", harm).only_the(n);
            let fault = stack.calls.hurt(fault);
            let id = format!("{name}{n}");
            onboard(&bundle, "acme", &id).await;
            has_the_live_key(&bundle, "acme", &id).await;
            assert_eq!(stack.calls.hits(fault), 1, "{id}");
        }
    }
}

/// I7
#[tokio::test]
async fn a_table_that_fails_or_throttles_for_a_while_only_makes_it_later() {
    is_away(Service::DynamoDb, &[Harm::Fail, Harm::Throttle]).await;
}

/// I7
#[tokio::test]
async fn a_sealing_that_fails_or_is_throttled_for_a_while_only_makes_it_later() {
    is_away(Service::Kms, &[Harm::Fail, Harm::Throttle]).await;
}

/// I7
#[tokio::test]
async fn a_table_that_is_silent_for_a_while_only_makes_it_later() {
    is_away(Service::DynamoDb, &[Harm::Silence]).await;
}

/// I7
#[tokio::test]
async fn a_sealing_that_is_silent_for_a_while_only_makes_it_later() {
    is_away(Service::Kms, &[Harm::Silence]).await;
}

async fn is_away(service: Service, harms: &[Harm]) {
    let bundle = Bundle::start_with(&[QUICK]).await;
    let calls = &bundle.aws().calls;
    for harm in harms {
        let id = format!("{service:?}{harm:?}");
        let fault = Fault::of("provision", *harm).at(service).about(&tag(&id));
        let fault = calls.hurt(fault);
        onboard(&bundle, "acme", &id).await;
        // Several calls, not only the tries of one.
        until_so(&id, || calls.hits(fault) >= 4).await;
        calls.heal();
        bundle.waits_are_over().await;
        has_the_live_key(&bundle, "acme", &id).await;
    }
}

/// I6, I7
#[tokio::test]
async fn while_no_key_can_be_sealed_none_is_made() {
    let (api, bundle) = SimulatedPartnerApi::with_new(NUMBER).await;
    let calls = &bundle.aws().calls;
    calls.hurt(Fault::of("provision", Harm::Fail).at(Service::Kms));
    claim(&bundle, PARTNER, NUMBER).await;
    bundle.key_is(NUMBER, "waiting", "vault_unavailable").await;
    assert_eq!(api.posts(NUMBER).await, 0);
    calls.heal();
    bundle.waits_are_over().await;
    bundle.stored(PARTNER, "acme", NUMBER).await;
    api.has_live_key(&bundle, NUMBER).await;
    assert_eq!(api.posts(NUMBER).await, 1);
}

/// I6, I7
#[tokio::test]
async fn a_new_key_that_cannot_be_sealed_for_a_while_is_sealed_then() {
    let (api, bundle) = SimulatedPartnerApi::with_new(NUMBER).await;
    // The first is the probe before the POST; three tries are one call of the SDK.
    let seal = Fault::of("provision", Harm::Fail).asking("Encrypt");
    let seal = bundle.aws().calls.hurt(seal.from_the(2, 2 * REFUSED.times));
    claim(&bundle, PARTNER, NUMBER).await;
    bundle.stored(PARTNER, "acme", NUMBER).await;
    assert_eq!(bundle.aws().calls.hits(seal), 2 * REFUSED.times);
    api.has_live_key(&bundle, NUMBER).await;
    assert_eq!(api.posts(NUMBER).await, 1);
}

/// I6, I7
#[tokio::test]
async fn a_new_key_that_cannot_be_sealed_at_all_is_replaced_once_one_can() {
    let (api, bundle) = SimulatedPartnerApi::with_new(NUMBER).await;
    let calls = &bundle.aws().calls;
    calls.hurt(
        Fault::of("provision", Harm::Fail)
            .asking("Encrypt")
            .from_the(2, 1000),
    );
    claim(&bundle, PARTNER, NUMBER).await;
    bundle.key_is(NUMBER, "waiting", "vault_unavailable").await;
    for _ in 0..3 {
        bundle.waits_are_over().await;
        bundle.scan_when_quiet().await;
    }
    assert_eq!(
        api.posts(NUMBER).await,
        1,
        "without a seal no other is made"
    );
    calls.heal();
    bundle.waits_are_over().await;
    bundle.stored(PARTNER, "acme", NUMBER).await;
    api.has_live_key(&bundle, NUMBER).await;
    assert_eq!(api.posts(NUMBER).await, 2);
}

/// I7
#[tokio::test]
async fn a_key_whose_run_ends_before_it_is_told_is_told_by_the_next() {
    let (api, bundle) = SimulatedPartnerApi::with_new(NUMBER).await;
    let stack = bundle.aws();
    let written = Fault::of("provision", Harm::KillAfter).about(":sealed");
    let written = stack.calls.hurt(written.the_first(1));
    claim(&bundle, PARTNER, NUMBER).await;
    until_so("the end", || stack.calls.hits(written) == 1).await;
    bundle.waits_are_over().await;
    bundle.stored(PARTNER, "acme", NUMBER).await;
    api.has_live_key(&bundle, NUMBER).await;
    assert_eq!(api.posts(NUMBER).await, 1);
}

/// I4, I6
#[tokio::test]
async fn every_batch_once_more_changes_nothing() {
    let (api, bundle) = SimulatedPartnerApi::with_new(NUMBER).await;
    claim(&bundle, PARTNER, NUMBER).await;
    bundle.stored(PARTNER, "acme", NUMBER).await;
    let before = bundle.scan_when_quiet().await;
    let batches = bundle.aws().batches();
    let all = json!(batches).to_string();
    for kind in ["CLAIM#", "FACT#", "CHANNEL#"] {
        assert!(all.contains(kind), "{kind}: {all}");
    }
    for batch in batches.iter().chain(batches.iter().rev()) {
        // Both functions: each passes the records that it does not take.
        for function in ["fold", "provision"] {
            let answer = bundle.aws().function(function).invoke(batch).await;
            let nothing_failed = json!({"batchItemFailures": []});
            assert_eq!(answer.expect("an answer").json(), nothing_failed);
        }
    }
    assert_same(&before, &bundle.scan_when_quiet().await);
    assert_eq!(api.posts(NUMBER).await, 1);
}

/// Onboards one number for each of the calls that a function makes about a number, of which `which` names some; that
/// call goes wrong in this way.
pub(super) async fn calls_go_wrong(way: Way, which: impl Iterator<Item = usize>) {
    let bundle = Arc::new(Bundle::start_with(&[QUICK]).await);
    let calls = &bundle.aws().calls;
    let mut which = which;
    let mut runs = JoinSet::new();
    let (mut hurt, mut ids, mut last, mut beyond) = (0, Vec::new(), 0, 0);
    loop {
        while (beyond == 0 || last < way.fewest) && runs.len() < way.at_once {
            last = which.next().expect("they do not end");
            runs.spawn(run(bundle.clone(), way, last));
        }
        let Some(done) = runs.join_next().await else {
            break;
        };
        let (id, fault) = done.expect("it does not panic");
        ids.push(id);
        match calls.hits(fault) {
            0 => beyond += 1,
            _ => hurt += 1,
        }
    }
    eprintln!(
        "{hurt} of {} numbers were hurt, the last at call {last}",
        ids.len()
    );
    for id in &ids {
        has_the_live_key(&bundle, way.name, id).await;
    }
    // What was not understood is in the table, as it came.
    let kept = bodies(&bundle.items().await);
    for id in &ids {
        assert!(kept.contains(&odd(id).into_bytes()), "{id}");
    }
    nothing_leaked(&bundle, &ids).await;
}

/// One number, up to its fault, or until its key is the one that counts: what comes behind that can go wrong later.
async fn run(bundle: Arc<Bundle>, way: Way, n: usize) -> (String, FaultId) {
    let id = format!("{}{n}", way.name);
    let calls = &bundle.aws().calls;
    let fault = Fault::of(way.function, (way.harm)(n)).about(&(way.about)(&id));
    let fault = calls.hurt(fault.from_the(n, way.times));
    // A probe, then the key.
    let sealed = Fault::of("provision", Harm::Fail).asking("Encrypt");
    let sealed = calls.hurt(sealed.about(&tag(&id)).the_first(0));
    onboard(&bundle, way.name, &id).await;
    // Not understood, and sent while others are cut.
    bundle.webhook(PARTNER, &odd(&id)).await.is(200);
    until_so(&id, || calls.hits(fault) > 0 || calls.fitting(sealed) > 1).await;
    (id, fault)
}

pub(super) async fn onboard(bundle: &Bundle, tenant: &str, id: &str) {
    let choice = json!({"client": format!("{}CL", tag(id)), "channels": [channel(id)]});
    bundle.onboard(PARTNER, tenant, choice).await;
}

/// What only bodies about this number hold: `x1` is in `x12`, `x1z` is not.
pub(super) fn tag(id: &str) -> String {
    format!("{id}z")
}

pub(super) fn channel(id: &str) -> String {
    format!("{}CH", tag(id))
}

fn odd(id: &str) -> String {
    json!({"event": "something_new", "of": id}).to_string()
}

pub(super) async fn has_the_live_key(bundle: &Bundle, tenant: &str, id: &str) {
    bundle.stored(PARTNER, tenant, &channel(id)).await;
    bundle.can_send(PARTNER, &channel(id)).await;
}

async fn nothing_leaked(bundle: &Bundle, ids: &[String]) {
    let mut needles = Vec::new();
    for id in ids {
        let key = bundle
            .stored_key(PARTNER, &channel(id))
            .await
            .expect("a key");
        needles.push((id.clone(), text(&key["api_key"]).to_owned()));
    }
    for partner in bundle.secrets.file.as_object().expect("partners").values() {
        for name in ["platform_secret", "partner_token", "partner_api_key"] {
            let secret = partner.get(name).map(|secret| text(secret).to_owned());
            needles.extend(secret.map(|secret| (name.to_owned(), secret)));
        }
    }
    let needles = needles.iter();
    let search = Search::new(needles.map(|(name, value)| (name.as_str(), value.as_str())));
    let told = json!(bundle.aws().calls.events()).to_string();
    for (place, text) in [("the log", bundle.log()), ("the events", told)] {
        let found = search.in_bytes(text.as_bytes());
        assert!(found.is_empty(), "{place}: {found:?}");
        assert!(
            !text.split(is_beside_a_key).any(is_key),
            "{place}: a lost key"
        );
    }
}

fn is_beside_a_key(character: char) -> bool {
    !character.is_ascii_alphanumeric() && !"_-".contains(character)
}

/// Whether the simulator makes keys of this form. Random ids in base64url, which may hold the same end by chance, have
/// other lengths.
fn is_key(word: &str) -> bool {
    word.len() == 35 && word.ends_with("_AK")
}

/// The other calls. A kill before a call differs from one after the call before it only by what 360dialog was asked in
/// between.
mod soak {
    use super::{KILLED_AFTER, KILLED_BEFORE, REFUSED, calls_go_wrong};

    /// I6, I7, I8, I9
    #[tokio::test]
    async fn killed_after_the_second_call_and_every_eighth_it_ends_with_the_live_key_stored() {
        calls_go_wrong(KILLED_AFTER, (2..).step_by(8)).await;
    }

    /// I6, I7, I8, I9
    #[tokio::test]
    async fn killed_after_the_fourth_call_and_every_eighth_it_ends_with_the_live_key_stored() {
        calls_go_wrong(KILLED_AFTER, (4..).step_by(8)).await;
    }

    /// I6, I7, I8, I9
    #[tokio::test]
    async fn killed_after_the_sixth_call_and_every_eighth_it_ends_with_the_live_key_stored() {
        calls_go_wrong(KILLED_AFTER, (6..).step_by(8)).await;
    }

    /// I6, I7, I8, I9
    #[tokio::test]
    async fn killed_after_the_eighth_call_and_every_eighth_it_ends_with_the_live_key_stored() {
        calls_go_wrong(KILLED_AFTER, (8..).step_by(8)).await;
    }

    /// I6, I7, I8, I9
    #[tokio::test]
    async fn killed_before_the_first_call_and_every_fourth_it_ends_with_the_live_key_stored() {
        calls_go_wrong(KILLED_BEFORE, (1..).step_by(4)).await;
    }

    /// I6, I7, I8, I9
    #[tokio::test]
    async fn killed_before_the_second_call_and_every_fourth_it_ends_with_the_live_key_stored() {
        calls_go_wrong(KILLED_BEFORE, (2..).step_by(4)).await;
    }

    /// I6, I7, I8, I9
    #[tokio::test]
    async fn killed_before_the_third_call_and_every_fourth_it_ends_with_the_live_key_stored() {
        calls_go_wrong(KILLED_BEFORE, (3..).step_by(4)).await;
    }

    /// I6, I7, I8, I9
    #[tokio::test]
    async fn killed_before_the_fourth_call_and_every_fourth_it_ends_with_the_live_key_stored() {
        calls_go_wrong(KILLED_BEFORE, (4..).step_by(4)).await;
    }

    /// I6, I7, I8, I9
    #[tokio::test]
    async fn refused_at_the_first_call_and_every_twelfth_it_ends_with_the_live_key_stored() {
        calls_go_wrong(REFUSED, (1..).step_by(12)).await;
    }

    /// I6, I7, I8, I9
    #[tokio::test]
    async fn refused_at_the_third_call_and_every_twelfth_it_ends_with_the_live_key_stored() {
        calls_go_wrong(REFUSED, (3..).step_by(12)).await;
    }

    /// I6, I7, I8, I9
    #[tokio::test]
    async fn refused_at_the_fourth_call_and_every_twelfth_it_ends_with_the_live_key_stored() {
        calls_go_wrong(REFUSED, (4..).step_by(12)).await;
    }

    /// I6, I7, I8, I9
    #[tokio::test]
    async fn refused_at_the_fifth_call_and_every_twelfth_it_ends_with_the_live_key_stored() {
        calls_go_wrong(REFUSED, (5..).step_by(12)).await;
    }

    /// I6, I7, I8, I9
    #[tokio::test]
    async fn refused_at_the_sixth_call_and_every_twelfth_it_ends_with_the_live_key_stored() {
        calls_go_wrong(REFUSED, (6..).step_by(12)).await;
    }

    /// I6, I7, I8, I9
    #[tokio::test]
    async fn refused_at_the_eighth_call_and_every_twelfth_it_ends_with_the_live_key_stored() {
        calls_go_wrong(REFUSED, (8..).step_by(12)).await;
    }

    /// I6, I7, I8, I9
    #[tokio::test]
    async fn refused_at_the_ninth_call_and_every_twelfth_it_ends_with_the_live_key_stored() {
        calls_go_wrong(REFUSED, (9..).step_by(12)).await;
    }

    /// I6, I7, I8, I9
    #[tokio::test]
    async fn refused_at_the_tenth_call_and_every_twelfth_it_ends_with_the_live_key_stored() {
        calls_go_wrong(REFUSED, (10..).step_by(12)).await;
    }

    /// I6, I7, I8, I9
    #[tokio::test]
    async fn refused_at_the_eleventh_call_and_every_twelfth_it_ends_with_the_live_key_stored() {
        calls_go_wrong(REFUSED, (11..).step_by(12)).await;
    }
}
