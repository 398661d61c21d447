//! The contract of the store: a list of facts, each held against a table of its own.
//!
//! The tables are of the embedded DynamoDB, those of the flows on AWS's own pieces are of DynamoDB Local; where
//! `DYNAMODB_ENDPOINT` names another DynamoDB, they are of that one instead. One run speaks of one place only, and every test prints which.

use dialog360::Field;
use dialog360::event::HubEvent;
use dialog360::id::{ChannelRef, PartnerId};
use dialog360::redirect::RedirectQuery;
use dialog360::secret::Secret;
use dialog360::webhook::{UnverifiedEvent, sign_webhook};
use embedded::database::Embedded;
use jiff::Timestamp;
use onboarding::claim::Claim;
use onboarding::fact::{Assertion, Fact, Source};
use onboarding::session::Session;
use onboarding::tenant::Tenant;
use store::table::{Item, StoreError, Table};
use tempfile::TempDir;
use tests::aws::servers::Servers;
use tests::{id, is_on_aws, pk};
use uuid::Uuid;

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

/// The same for functions that take the site of the table, too, to reach it in ways of their own.
macro_rules! in_every_order {
    ($($fact:ident),+ $(,)?) => {
        mod orders {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $fact() {
                    let site = $crate::everywhere::store::Site::new(stringify!($fact)).await;
                    let table = site.create().await;
                    super::$fact(site, table).await;
                }
            )+
        }
    };
}

mod steps;
mod seconds;
mod bodies;
mod facts;
mod claims;
mod claimed;
mod clients;
mod channels;
mod mints;
mod hooks;
mod queue;
mod refolds;
mod dead;
mod taken;
mod interleavings;
mod workers;
mod connections;

/// Where another DynamoDB answers.
const ENDPOINT: &str = "DYNAMODB_ENDPOINT";

/// The moment most facts happen at, s: in 2100, so that nothing they write has expired.
const NOW: i64 = 4_102_444_800;

/// The longest name of a table, so that a longer one beside it is possible: a name may have 255 characters.
const LONGEST_NAME: usize = 240;

/// A call that must succeed.
trait Succeeds<T> {
    /// What it came to.
    async fn ok(self) -> T;
}

impl<T, F: Future<Output = Result<T, StoreError>>> Succeeds<T> for F {
    async fn ok(self) -> T {
        self.await.expect("the table answers")
    }
}

/// Holds `fact` against a new table of the place this run speaks of.
async fn on_an_empty_table<F: Future<Output = ()>>(name: &str, fact: impl FnOnce(Table) -> F) {
    let site = Site::new(name).await;
    fact(site.create().await).await;
}

/// The table of large bodies beside `table`.
async fn bodies_beside(table: &Table) -> Table {
    let bodies = table.beside(&format!("{}-bodies", table.name()));
    bodies.create_for_bodies().ok().await;
    bodies
}

/// Where the table of one fact is.
struct Site {
    endpoint: String,
    name: String,
    /// What keeps it answering.
    _embedded: Option<(Embedded, TempDir)>,
}

impl Site {
    /// A table that is not there yet, in the place this run speaks of.
    async fn new(fact: &str) -> Self {
        let endpoint = std::env::var(ENDPOINT).unwrap_or_default();
        let endpoint = match endpoint.as_str() {
            "" if is_on_aws() => Servers::of_this_run().await.dynamodb.clone(),
            "" => {
                eprintln!("on the embedded DynamoDB");
                let directory = tempfile::tempdir().expect("a directory");
                let database = directory.path().join("onboarding.db");
                let embedded = Embedded::open(&database).await.expect("the database");
                return Self {
                    endpoint: embedded.endpoint().to_owned(),
                    name: "onboarding".to_owned(),
                    _embedded: Some((embedded, directory)),
                };
            }
            _ => endpoint,
        };
        eprintln!("on the DynamoDB at {endpoint}");
        // No other test and no other run uses a table of this name.
        let mut name = format!("{}-{fact}", Uuid::new_v4());
        name.truncate(LONGEST_NAME);
        Self {
            endpoint,
            name,
            _embedded: None,
        }
    }

    /// The table, which holds nothing.
    async fn create(&self) -> Table {
        let table = runtime::aws::local::table(&self.endpoint, &self.name);
        table.create().ok().await;
        table
    }
}

fn partner() -> PartnerId {
    id("aAbBcCPA")
}

fn other_partner() -> PartnerId {
    id("otherPA")
}

fn channel(text: &str) -> ChannelRef {
    ChannelRef::new(partner(), id(text))
}

fn tenant(name: &str) -> Tenant {
    id(name)
}

/// `seconds` after [`NOW`].
fn after(seconds: i64) -> Timestamp {
    Timestamp::from_second(NOW + seconds).expect("a time")
}

/// That `assertion` was made of the channel `id`, `seconds` after [`NOW`], because of `cause`.
fn fact_of(id: &str, assertion: Assertion, seconds: i64, cause: &str) -> Fact {
    let (source, at) = (Source::Provision, after(seconds));
    Fact::new(channel(id), source, assertion, at, cause)
}

/// What says only that the number has this name.
fn named(name: &str) -> Assertion {
    Assertion {
        description: [(Field::DisplayName, name.to_owned())].into(),
        ..Assertion::default()
    }
}

/// The one event that a signed webhook with this body brings.
fn event(body: &[u8]) -> HubEvent {
    let secret = Secret::new("the secret of the contract");
    let signature = sign_webhook(&secret, body);
    let event = UnverifiedEvent::new(body.to_vec());
    let verified = event.verify(Some(signature.as_bytes()), &[&secret]);
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
        origin: id("https://app.example.com"),
        return_to: None,
    };
    let query = RedirectQuery::parse(query).expect("a query");
    Claim::from_session(&session, &query, after(0)).expect("a claim")
}

/// The claim of `acme` without a session with `query`, `seconds` after [`NOW`].
fn sessionless(seconds: i64, query: &str) -> Claim {
    let query = RedirectQuery::parse(query).expect("a query");
    let claim = Claim::from_caller(&partner(), &tenant("acme"), &query, after(seconds));
    claim.expect("a claim")
}

/// The items whose partition key starts with `prefix`.
async fn items_of(table: &Table, prefix: &str) -> Vec<Item> {
    let mut items = table.scan().ok().await;
    items.retain(|item| pk(item).starts_with(prefix));
    items
}

fn number_of(item: &Item, name: &str) -> Option<i64> {
    let number = item.get(name)?.as_n().expect("a number");
    Some(number.parse().expect("a whole number"))
}
