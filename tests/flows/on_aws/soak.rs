//! The limit at its real size, in moved time: 5 calls in 30 s, a clock that ticks once a minute, and an index that lags
//! or does not.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tests::moved_time::{Speed, in_moved_time};
use tests::partner_api::{SimulatedPartnerApi, new_channel};
use tests::{Answer, Ask, Backend, Bundle, PARTNER, text};
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep, sleep_until};

/// The limit that 360dialog documents, of both sides.
const RATE: &str = "5/30s";

/// Its calls.
const CALLS: u64 = 5;

/// The time between two ticks of the clock.
const MINUTE: Duration = Duration::from_secs(60);

/// The lag of the index `by_due`: none, and one of DynamoDB's bad days.
const NONE: Duration = Duration::ZERO;
const LAG: Duration = Duration::from_secs(2);

/// How many tenants wait from the beginning, and how many numbers each has.
const TENANTS: usize = 20;
const EACH: usize = 5;

/// How many tenants come later, with one number each, and the time between two of them.
const NEWCOMERS: usize = 40;
const PAUSE: Duration = Duration::from_secs(15);

/// The least pace, in keys per hour.
const PACE: f64 = 165.0;

/// I11, I12
#[test]
fn a_hundred_numbers_and_a_newcomer_every_fifteen_seconds() {
    let name = "on_aws::soak::a_hundred_numbers_and_a_newcomer_every_fifteen_seconds";
    in_moved_time(name, Speed::Fast, || are_served(NONE));
}

/// I11, I12
#[test]
fn a_hundred_numbers_and_a_newcomer_every_fifteen_seconds_while_the_index_lags() {
    let name =
        "on_aws::soak::a_hundred_numbers_and_a_newcomer_every_fifteen_seconds_while_the_index_lags";
    in_moved_time(name, Speed::Fast, || are_served(LAG));
}

/// I13
#[test]
fn a_lonely_number_at_night() {
    let name = "on_aws::soak::a_lonely_number_at_night";
    in_moved_time(name, Speed::Fast, || is_served_at_once(NONE));
}

/// I13
#[test]
fn a_lonely_number_at_night_while_the_index_lags() {
    let name = "on_aws::soak::a_lonely_number_at_night_while_the_index_lags";
    in_moved_time(name, Speed::Fast, || is_served_at_once(LAG));
}

/// A bundle and its simulator, both with the real limit.
struct RealSize {
    api: SimulatedPartnerApi,
    bundle: Bundle,
}

/// Asks until the answer is not 503, as that says: in moved time the table has 0.2 s for an answer.
async fn again<F: Future<Output = Answer>>(ask: impl Fn() -> F) -> Answer {
    loop {
        let answer = ask().await;
        if answer.status != 503 {
            return answer.is(200);
        }
    }
}

/// A number of its own client, named as `tenant` and `index` say.
fn number(tenant: &str, index: usize) -> String {
    format!("{tenant}n{index}CH")
}

impl RealSize {
    async fn with(lag: Duration) -> Self {
        Backend::Aws.is_needed();
        let api = SimulatedPartnerApi::with_rate(RATE).await;
        api.heeds_filters().await;
        let settings = [("PARTNER_API_RATE", RATE), ("RUST_LOG", "info")];
        let bundle = api.bundle(&settings).await;
        bundle.aws().ticks_every(MINUTE);
        bundle.aws().index_lags(lag);
        Self { api, bundle }
    }

    /// The tenant claims a number that it has just made.
    async fn claims(&self, tenant: &str, index: usize) {
        let (client, number) = (format!("{tenant}n{index}CL"), number(tenant, index));
        let mut channel = new_channel(&number);
        channel["client"] = json!(client);
        self.api.adds_at(PARTNER, channel).await;
        let query = format!("client={client}&channels=[{number}]");
        let link = format!("/{PARTNER}/sign");
        let signed = again(|| self.bundle.get(tenant, &link).ask()).await.json();
        again(|| self.bundle.come_back_with(&signed, &query)).await;
    }

    /// The numbers for which a key was asked for, in this order.
    async fn asked(&self) -> Vec<String> {
        let posts = self.api.calls("call=new_key").await;
        let numbers = posts.iter().map(|post| text(&post["channel"]).to_owned());
        numbers.collect()
    }

    /// Waits until `many` keys of a tenant are stored.
    async fn stores(&self, tenant: &str, many: usize) {
        let begun = Instant::now();
        let is_stored = |row: &&Value| row["key"]["status"] == "stored";
        loop {
            let list = format!("/{PARTNER}/channels");
            let list = again(|| self.bundle.get(tenant, &list).ask()).await.json();
            let rows = list["channels"].as_array().expect("a list");
            if rows.iter().filter(is_stored).count() == many {
                return;
            }
            assert!(begun.elapsed() < 2 * MINUTE, "{tenant}: {rows:?}");
            sleep(Duration::from_secs(1)).await;
        }
    }

    /// The limit was kept, and one key of each number was asked for; nothing was taken before its turn.
    async fn kept_the_limit(&self, numbers: usize) {
        let calls = self.api.calls("").await;
        let is_refused = |call: &Value| call["status"] == 429;
        assert!(!calls.iter().any(is_refused), "no 429");
        let highest = self.api.highest_rate().await;
        assert!(highest <= CALLS, "{highest} calls in 30 s");
        let posts = calls.iter().filter(|call| call["call"] == "new_key");
        assert_eq!(posts.count(), numbers);
        eprintln!(
            "at most {highest} calls in 30 s; {} for {numbers} numbers",
            calls.len()
        );
        let (taken, too_early) = self.bundle.aws().taken();
        assert!(too_early.is_empty(), "{too_early:#?}");
        eprintln!("{taken} were taken out of the line, each in its turn");
    }
}

/// A hundred numbers of twenty tenants wait, and newcomers come.
async fn are_served(lag: Duration) {
    let size = Arc::new(RealSize::with(lag).await);
    let begun = Instant::now();
    let mut claims = JoinSet::new();
    for some in 0..4 {
        let size = size.clone();
        claims.spawn(async move {
            for turn in (some..TENANTS * EACH).step_by(4) {
                let (index, tenant) = (turn / TENANTS, turn % TENANTS);
                size.claims(&format!("t{tenant}"), index).await;
            }
        });
    }
    claims.join_all().await;
    eprintln!("all have claimed after {:?}", begun.elapsed());
    let first = Instant::now();
    let mut newcomers = JoinSet::new();
    for newcomer in 0..NEWCOMERS {
        let size = size.clone();
        let then = first + PAUSE * u32::try_from(newcomer).expect("few");
        newcomers.spawn(async move {
            sleep_until(then).await;
            size.claims(&format!("new{newcomer}"), 0).await;
            (number(&format!("new{newcomer}"), 0), then)
        });
    }
    let all = TENANTS * EACH + NEWCOMERS;
    let mut asked_at: HashMap<String, Instant> = HashMap::new();
    let mut second = interval(Duration::from_secs(1));
    while asked_at.len() < all {
        second.tick().await;
        for number in size.asked().await {
            asked_at.entry(number).or_insert_with(Instant::now);
        }
        let asked = asked_at.len();
        assert!(begun.elapsed() < 80 * MINUTE, "{asked} of {all} keys");
    }
    for tenant in 0..TENANTS {
        size.stores(&format!("t{tenant}"), EACH).await;
    }
    for newcomer in 0..NEWCOMERS {
        size.stores(&format!("new{newcomer}"), 1).await;
    }
    let hours = begun.elapsed().as_secs_f64() / 3600.0;
    let pace = f64::from(u32::try_from(all).expect("few")) / hours;
    let waits = newcomers.join_all().await.into_iter();
    let waits = waits.map(|(number, since)| asked_at[&number] - since);
    let longest = waits.max().expect("newcomers");
    eprintln!(
        "{pace:.0} keys an hour; a newcomer waited for {} s at most",
        longest.as_secs()
    );
    size.kept_the_limit(all).await;
    in_turn(&size.asked().await);
    assert!(pace >= PACE, "{pace} keys an hour");
}

/// No tenant that waits from the beginning is two keys ahead of another, and every newcomer comes before the last of them.
fn in_turn(asked: &[String]) {
    let tenant = |number: &str| number.split_once('n').expect("a number").0.to_owned();
    let is_first = |number: &&String| number.starts_with('t');
    let mut keys: BTreeMap<String, usize> = BTreeMap::new();
    for tenant in 0..TENANTS {
        keys.insert(format!("t{tenant}"), 0);
    }
    for number in asked.iter().filter(is_first) {
        let had = *keys.get_mut(&tenant(number)).expect("a tenant");
        let least = keys.values().min().expect("tenants");
        assert!(least + 1 >= had, "{number} comes too early: {keys:?}");
        keys.insert(tenant(number), had + 1);
    }
    let last = asked.iter().rposition(|number| number.starts_with('t'));
    let newcomer = asked.iter().rposition(|number| number.starts_with("new"));
    assert!(newcomer < last, "{asked:?}");
}

/// After two minutes of silence a number comes right after a tick. Its key is stored before the next.
async fn is_served_at_once(lag: Duration) {
    let size = RealSize::with(lag).await;
    let stack = size.bundle.aws();
    for night in 0..3 {
        let calls = size.api.calls("").await.len();
        for _ in 0..3 {
            stack.next_tick_is_over().await;
        }
        assert_eq!(size.api.calls("").await.len(), calls, "a silent night");
        let (ticks, begun) = (stack.ticks(), Instant::now());
        let tenant = format!("night{night}");
        size.claims(&tenant, 0).await;
        size.stores(&tenant, 1).await;
        assert_eq!(stack.ticks(), ticks, "it waited for the clock");
        eprintln!("stored after {:?}", begun.elapsed());
    }
    size.kept_the_limit(3).await;
}
