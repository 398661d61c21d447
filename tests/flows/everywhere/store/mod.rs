//! The contract of the store: a list of facts, each held against a table of its own.
//!
//! The tables are of the embedded DynamoDB, those of the flows on AWS's own pieces are of DynamoDB Local; where
//! `DYNAMODB_ENDPOINT` names another DynamoDB, they are of that one instead. One run speaks of one place only, and every test prints which.

use std::future::Future;

use jiff::Timestamp;
use local::embedded::Embedded;
use onboarding::claim::Claim;
use onboarding::fact::{Fact, Said, Source};
use onboarding::hub_event::HubEvent;
use onboarding::id::{ChannelId, PartnerId, Tenant};
use onboarding::secret::Secret;
use onboarding::session::Session;
use onboarding::signature::{UnverifiedEvent, sign_webhook};
use platform::table::{Item, Table};
use tempfile::TempDir;
use tests::aws::servers::Servers;
use tests::is_on_aws;

/// Makes a test of each of the functions named, which take a table that holds nothing.
macro_rules! contract {
    ($($fact:ident),+ $(,)?) => {
        mod contract {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $fact() {
                    $crate::everywhere::store::on_an_empty_table(stringify!($fact), super::$fact).await;
                }
            )+
        }
    };
}

mod seconds;
mod facts;
mod claims;
mod clients;
mod channels;
mod mints;
mod wakes;
mod connections;

/// Where another DynamoDB answers.
const ENDPOINT: &str = "DYNAMODB_ENDPOINT";

/// The moment most facts happen at, s.
const NOW: i64 = 1_775_653_748;

/// The longest name a table may have.
const LONGEST_NAME: usize = 255;

/// Holds `fact` against a new table of the place this run speaks of.
async fn on_an_empty_table<F: Future<Output = ()>>(name: &str, fact: impl FnOnce(Table) -> F) {
    let place = Place::open(name).await;
    place.table.create().await.expect("the table");
    fact(place.table.clone()).await;
}

/// A table, and what keeps it answering.
struct Place {
    table: Table,
    _embedded: Option<(Embedded, TempDir)>,
}

impl Place {
    async fn open(fact: &str) -> Self {
        match std::env::var(ENDPOINT)
            .ok()
            .filter(|endpoint| !endpoint.is_empty())
        {
            Some(endpoint) => Self::at(&endpoint, fact),
            None if is_on_aws() => Self::at(&Servers::of_this_run().await.dynamodb, fact),
            None => Self::embedded().await,
        }
    }

    async fn embedded() -> Self {
        eprintln!("on the embedded DynamoDB");
        let directory = tempfile::tempdir().expect("a directory");
        let embedded = Embedded::open(&directory.path().join("onboarding.db"))
            .await
            .expect("the database");
        let table = Table::at_endpoint(embedded.endpoint(), "onboarding");
        Self {
            table,
            _embedded: Some((embedded, directory)),
        }
    }

    /// No other test and no other run uses a table of this name.
    fn at(endpoint: &str, fact: &str) -> Self {
        eprintln!("on the DynamoDB at {endpoint}");
        let run = Timestamp::now().as_nanosecond();
        let mut name = format!("{run}-{}-{fact}", std::process::id());
        name.truncate(LONGEST_NAME);
        Self {
            table: Table::at_endpoint(endpoint, &name),
            _embedded: None,
        }
    }
}

fn partner() -> PartnerId {
    "aAbBcCPA".parse().expect("a partner id")
}

fn other_partner() -> PartnerId {
    "otherPA".parse().expect("a partner id")
}

fn channel(id: &str) -> ChannelId {
    id.parse().expect("a channel id")
}

fn tenant(name: &str) -> Tenant {
    name.parse().expect("a tenant")
}

/// `seconds` after [`NOW`].
fn after(seconds: i64) -> Timestamp {
    Timestamp::from_second(NOW + seconds).expect("a time")
}

/// What `said` says of `channel`, `seconds` after [`NOW`], because of `cause`.
fn fact_of(id: &str, said: Said, seconds: i64, cause: &str) -> Fact {
    Fact::new(
        (&partner(), &channel(id)),
        Source::Provision,
        said,
        after(seconds),
        cause,
    )
}

/// The one event that a signed webhook with this body brings.
fn event(body: &[u8]) -> HubEvent {
    let secret = Secret::new("the secret of the contract");
    let signature = sign_webhook(&secret, body);
    let verified =
        UnverifiedEvent::new(body.to_vec()).verify(Some(signature.as_bytes()), &[&secret]);
    let (verified, _) = verified.expect("a good signature");
    HubEvent::parse(verified).remove(0)
}

/// The claim of the session named by `second` that came back with `query`, [`NOW`].
fn claim_of(who: &str, second: i64, query: &str) -> Claim {
    let session = Session {
        partner: partner(),
        tenant: tenant(who),
        second,
        issued_at: after(-60),
        origin: "https://app.example.com".parse().expect("an origin"),
        return_to: None,
    };
    let query = onboarding::redirect::RedirectQuery::parse(query).expect("a query");
    Claim::of_session(&session, &query, after(0)).expect("a claim")
}

/// The items whose partition key starts with `prefix`.
async fn items_of(table: &Table, prefix: &str) -> Vec<Item> {
    let mut items = table.scan().await.expect("a scan");
    items.retain(|item| text_of(item, platform::table::PK).starts_with(prefix));
    items
}

fn text_of<'a>(item: &'a Item, name: &str) -> &'a str {
    item.get(name)
        .and_then(|value| value.as_s().ok())
        .expect("a text")
}

fn number_of(item: &Item, name: &str) -> Option<i64> {
    item.get(name).map(|value| {
        value
            .as_n()
            .expect("a number")
            .parse()
            .expect("a whole number")
    })
}
