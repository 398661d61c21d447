//! I3: no two answers of `sign` carry the same second, and none lies in the future.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use reqwest::header::RETRY_AFTER;
use reqwest::{Client, Response};
use serde_json::Value;
use tests::{Bundle, PARTNER, PAYING_PARTNER, is_on_aws};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

/// How many calls are answered.
const CALLS: usize = 10_000;

/// How many connections they come on.
const CONNECTIONS: usize = 64;

/// The default of `IO_TIMESTAMP_WINDOW`, s.
const WINDOW: u64 = 300;

/// The most calls that are made again: one per connection for the kill, one for a connection that died with it.
const MOST_AGAIN: usize = 2 * CONNECTIONS;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_calls_across_a_kill_never_get_the_same_second() {
    let mut bundle = Bundle::start_with(&[("RUST_LOG", "warn,dynoxide=error")]).await;
    let (restarted, life) = watch::channel(false);
    let flood = Arc::new(Flood::of(&bundle, life));
    let started = Instant::now();
    let mut workers = JoinSet::new();
    for _ in 0..CONNECTIONS {
        workers.spawn(worker(flood.clone()));
    }
    flood.half.notified().await;
    bundle.kill_and_restart().await;
    restarted.send_replace(true);
    let answers: Vec<Answer> = workers.join_all().await.into_iter().flatten().collect();
    let elapsed = started.elapsed().as_secs_f64();

    let seconds: Vec<i64> = answers
        .iter()
        .filter_map(|answer| answer.second())
        .collect();
    let again = flood.again.load(Ordering::SeqCst);
    eprintln!(
        "{} answers, {} signed, {again} calls made again, {elapsed:.1} s",
        answers.len(),
        seconds.len()
    );
    assert_eq!(answers.len(), CALLS);
    assert!(
        seconds.len() as u64 >= WINDOW,
        "{} of {elapsed} s",
        seconds.len()
    );
    assert!(
        seconds.len() as f64 <= WINDOW as f64 + elapsed + 2.0,
        "{} of {elapsed} s",
        seconds.len()
    );
    assert_eq!(
        seconds.iter().collect::<BTreeSet<_>>().len(),
        seconds.len(),
        "a second was signed twice"
    );
    assert!(again <= MOST_AGAIN, "{again} calls were made again");
    let lives: BTreeSet<bool> = answers.iter().map(|answer| answer.second_life).collect();
    assert_eq!(lives, BTreeSet::from([false, true]), "both lives answered");
}

#[tokio::test]
async fn two_partners_have_seconds_of_their_own() {
    let bundle = Bundle::start_with(&[("IO_TIMESTAMP_WINDOW", "2")]).await;
    let token = bundle.token("acme");
    let mut signed = BTreeSet::new();
    // One second frees one more: a loop that asks faster than that ends.
    while let Answered::Signed(second) = ask(&bundle.http, &bundle.url, PARTNER, &token).await {
        assert!(signed.insert(second), "{second} was signed twice");
    }
    assert!(signed.len() >= 3, "the window and now: {signed:?}");
    let other = ask(&bundle.http, &bundle.url, PAYING_PARTNER, &token).await;
    assert!(
        matches!(other, Answered::Signed(_)),
        "one partner's flood is not the other's"
    );
}

#[tokio::test]
async fn without_a_window_only_the_second_that_is_now_is_signed() {
    let bundle = Bundle::start_with(&[("IO_TIMESTAMP_WINDOW", "0")]).await;
    let token = bundle.token("acme");
    let started = Instant::now();
    let mut signed = BTreeSet::new();
    let mut refused = 0;
    while signed.len() < 3 {
        let before = clock();
        match ask(&bundle.http, &bundle.url, PARTNER, &token).await {
            Answered::Signed(second) => {
                assert!((before..=clock()).contains(&second), "{second} is not now");
                assert!(signed.insert(second), "{second} was signed twice");
            }
            Answered::Refused => refused += 1,
        }
    }
    let elapsed = started.elapsed().as_secs_f64();
    assert!(
        signed.len() as f64 <= elapsed + 2.0,
        "{} in {elapsed} s",
        signed.len()
    );
    assert!(refused > 0, "at most one per second");
}

/// What all workers share.
struct Flood {
    url: String,
    token: String,
    begun: AtomicUsize,
    answered: AtomicUsize,
    again: AtomicUsize,
    half: Notify,
    restarted: watch::Receiver<bool>,
}

impl Flood {
    fn of(bundle: &Bundle, restarted: watch::Receiver<bool>) -> Self {
        Self {
            url: bundle.url.clone(),
            token: bundle.token("acme"),
            begun: AtomicUsize::new(0),
            answered: AtomicUsize::new(0),
            again: AtomicUsize::new(0),
            half: Notify::new(),
            restarted,
        }
    }
}

/// One call that was answered.
struct Answer {
    what: Answered,
    second_life: bool,
}

impl Answer {
    fn second(&self) -> Option<i64> {
        match self.what {
            Answered::Signed(second) => Some(second),
            Answered::Refused => None,
        }
    }
}

/// What `sign` answered.
#[derive(Clone, Copy, Debug)]
enum Answered {
    Signed(i64),
    Refused,
}

/// Calls on one connection until all calls are begun; a call that the kill cut is made again.
async fn worker(flood: Arc<Flood>) -> Vec<Answer> {
    let http = Client::builder()
        .pool_max_idle_per_host(1)
        .no_proxy()
        .build()
        .expect("a client");
    let mut restarted = flood.restarted.clone();
    let mut answers = Vec::new();
    while flood.begun.fetch_add(1, Ordering::SeqCst) < CALLS {
        let what = loop {
            match try_ask(&http, &flood.url, PARTNER, &flood.token).await {
                Ok(what) => break what,
                Err(Cut) => {
                    assert!(
                        flood.answered.load(Ordering::SeqCst) >= CALLS / 2,
                        "cut before the kill"
                    );
                    flood.again.fetch_add(1, Ordering::SeqCst);
                    restarted
                        .wait_for(|restarted| *restarted)
                        .await
                        .expect("the test runs");
                }
            }
        };
        answers.push(Answer {
            what,
            second_life: *restarted.borrow(),
        });
        if flood.answered.fetch_add(1, Ordering::SeqCst) + 1 == CALLS / 2 {
            flood.half.notify_one();
        }
    }
    answers
}

async fn ask(http: &Client, url: &str, partner: &str, token: &str) -> Answered {
    try_ask(http, url, partner, token)
        .await
        .unwrap_or_else(|Cut| panic!("no answer"))
}

/// A call that was cut.
struct Cut;

/// Asks for a link, which may be cut: on one machine the connection ends, on AWS the gateway says that no function
/// answered. Every answer that is not as documented fails the test.
async fn try_ask(http: &Client, url: &str, partner: &str, token: &str) -> Result<Answered, Cut> {
    let answer = http
        .get(format!("{url}/{partner}/sign"))
        .bearer_auth(token)
        .send()
        .await
        .map_err(|_| Cut)?;
    if is_on_aws() && answer.status() == 500 {
        assert_eq!(
            answer.text().await.map_err(|_| Cut)?,
            r#"{"message":"Internal Server Error"}"#
        );
        return Err(Cut);
    }
    if answer.status() == 429 {
        assert!(retry_after(&answer) >= 1);
        return Ok(Answered::Refused);
    }
    assert_eq!(answer.status(), 200);
    let body = answer.bytes().await.map_err(|_| Cut)?;
    let now = clock();
    let signed: Value = serde_json::from_slice(&body).expect("JSON");
    let second = signed["timestamp"].as_i64().expect("a timestamp");
    assert!(second <= now, "{second} lies above the clock, {now}");
    assert_eq!(
        signed["query_parameters"]["io_timestamp"],
        second.to_string()
    );
    Ok(Answered::Signed(second))
}

fn retry_after(answer: &Response) -> u64 {
    let header = answer.headers().get(RETRY_AFTER).expect("Retry-After");
    header
        .to_str()
        .expect("a text")
        .parse()
        .expect("whole seconds")
}

/// The clock now, UNIX seconds.
fn clock() -> i64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970");
    i64::try_from(now.as_secs()).expect("a second")
}
