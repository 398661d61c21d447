//! Speaks the language of the flows: a bundle is started on free ports, a tenant asks for a link, a person goes through
//! the simulated hub, the browser comes back, and the channel is waited for.
//!
//! `BACKEND` says where bundles run: on one machine, as the program `local`, or on AWS's own pieces (see [`Backend`]).
//!
//! Everything is waited for by its condition; a condition that never holds fails the test with what was seen last.

mod answer;
pub mod aws;
mod backend;
pub mod browser;
mod items;
pub mod moved_time;
mod one_machine;
pub mod partner_api;
mod partners;
pub mod programs;
pub mod search;
mod time;
mod visit;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use embedded::data::Data;
use embedded::key_file::KeyFile;
use reqwest::Client;
use runtime::seal::KeySeal;
use serde_json::{Value, json};
use store::table::{Item, Table};
use store::{Channels, Clients, Mints, StoredClient, Write};
use tempfile::TempDir;
use tokio::process::Command;

pub use crate::answer::{Answer, Ask, text};
use crate::aws::calls::HARNESS;
use crate::aws::runtime_api::REGION;
use crate::aws::stack::Stack;
pub use crate::backend::{Backend, is_on_aws};
pub use crate::items::{assert_same, bodies, pk};
use crate::items::{in_words, is_in_hand};
use crate::one_machine::OneMachine;
pub use crate::partners::Secrets;
use crate::time::{LEASE, Where, dynamodb};
pub use crate::visit::{channel_ref, hmac_sha256, id};

/// The hub of most tests, Direct-Paid.
pub const PARTNER: &str = "aAbBcCPA";
/// A second hub, Partner-Paid.
pub const PAYING_PARTNER: &str = "pPaIdPA";

/// How long a condition may take to hold before the test fails: generous, since machines are shared and noisy.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often a condition is looked at.
const GLANCE: Duration = Duration::from_millis(50);

/// How the ids of channels start that only show that all before them is done.
const MARKER: &str = "marker";

/// The settings of a bundle on one machine that its operator is given, too.
const FOR_OPERATORS: [&str; 6] = [
    "DATA",
    "HUB",
    "SECRETS_FILE",
    "PARTNER_IDS",
    "PARTNER_API_URL",
    "PARTNER_API_RATE",
];

/// What a bundle consists of.
enum Place {
    OneMachine(Box<OneMachine>),
    Aws(Box<Stack>),
}

/// The status of what no route takes, which is `ours` where we say so ourselves; the gateway on AWS says 404 to all of it.
pub fn without_a_route(ours: u16) -> u16 {
    if is_on_aws() { 404 } else { ours }
}

/// Pairs as a process takes them.
pub fn owned(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let pairs = pairs.iter();
    let pairs = pairs.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    pairs.collect()
}

/// A running bundle and its data directory.
pub struct Bundle {
    /// Where everything of this run lies: `log` and, on one machine, `data/`, `secrets.json`, `output`.
    pub directory: TempDir,
    /// Its address, `http://127.0.0.1:…`.
    pub url: String,
    /// The simulated hub's address.
    pub hub: String,
    /// What it was started with.
    pub secrets: Secrets,
    /// Follows no redirect.
    pub http: Client,
    settings: BTreeMap<String, String>,
    place: Place,
    markers: AtomicUsize,
}

impl Bundle {
    /// Starts a bundle with the two hubs of [`Secrets::two_hubs`] on free ports.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// The same with further settings, which win over the harness's own.
    pub async fn start_with(settings: &[(&str, &str)]) -> Self {
        Self::start_as(Secrets::two_hubs(), settings).await
    }

    /// The same with other secrets.
    pub async fn start_as(secrets: Secrets, settings: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let path = |name: &str| directory.path().join(name).display().to_string();
        let (data, file) = (path("data"), path("secrets.json"));
        std::fs::write(&file, secrets.file.to_string()).expect("the secrets file");
        let mut all = owned(&[
            ("LISTEN", "127.0.0.1:0"),
            ("HUB_LISTEN", "127.0.0.1:0"),
            ("DATA", &data),
            ("SECRETS_FILE", &file),
            ("JWT_HS256_SECRET", &secrets.jwt),
            ("HUB_STAGE_DELAY_MS", "50"),
            ("RUST_LOG", "debug,hyper=info,h2=info,dynoxide=info"),
        ]);
        all.extend(owned(settings));
        let place = match Backend::of_this_run() {
            Backend::OneMachine => {
                Place::OneMachine(Box::new(OneMachine::start(&all, directory.path()).await))
            }
            Backend::Aws => Place::Aws(Box::new(
                Stack::start(&secrets, &all, directory.path()).await,
            )),
        };
        let (url, hub) = match &place {
            Place::OneMachine(machine) => (&machine.url, &machine.hub),
            Place::Aws(stack) => (&stack.url, &stack.hub),
        };
        let follows_none = reqwest::redirect::Policy::none();
        let http = Client::builder().redirect(follows_none).no_proxy();
        Self {
            url: url.clone(),
            hub: hub.clone(),
            directory,
            secrets,
            http: http.build().expect("a client"),
            settings: all,
            place,
            markers: AtomicUsize::new(0),
        }
    }

    /// Kills it without a warning (SIGKILL), if it runs, and starts it again on the same data and the same addresses,
    /// once the leases that it held have run out.
    ///
    /// On AWS every process of every function is killed; each is started again by what it is next needed for.
    pub async fn kill_and_restart(&mut self) {
        let (data, table) = (Data::at(self.data()), self.table_name());
        let machine = match &mut self.place {
            Place::OneMachine(machine) => machine,
            Place::Aws(stack) => return stack.kill().await,
        };
        machine.kill().await;
        let opened = embedded::database::open_table(&data, &table).await;
        let embedded = opened.ok().and_then(|opened| opened.embedded);
        let embedded = embedded.expect("nothing runs");
        let client = dynamodb(embedded.endpoint());
        Where { client, table }.end_leases().await;
        drop(embedded);
        let directory = self.directory.path();
        machine.restart(&mut self.settings, directory).await;
    }

    /// Asks it to stop (SIGTERM) and waits until it has. On AWS nobody asks: no more events are handed over.
    pub async fn stop(&mut self) {
        match &mut self.place {
            Place::OneMachine(machine) => machine.stop().await,
            Place::Aws(stack) => stack.stop().await,
        }
    }

    /// The stack on AWS's own pieces; a test that asks for it fails on one machine.
    pub fn aws(&self) -> &Stack {
        match &self.place {
            Place::Aws(stack) => stack,
            Place::OneMachine(_) => panic!("this test is for BACKEND=aws"),
        }
    }

    /// Keeps other partner secrets from now on, where the functions look for them.
    pub fn keep_partner_secrets(&self, file: &Value) {
        match &self.place {
            Place::OneMachine(_) => {
                let path = self.directory.path().join("secrets.json");
                std::fs::write(path, file.to_string()).expect("the secrets file");
            }
            Place::Aws(stack) => stack.keep_partner_secrets(file),
        }
    }

    /// The settings it was started with.
    pub fn settings(&self) -> &BTreeMap<String, String> {
        &self.settings
    }

    /// On one machine: has another setting from its next start on.
    pub fn sets(&mut self, name: &str, value: &str) {
        self.settings.insert(name.to_owned(), value.to_owned());
    }

    /// Its data directory.
    pub fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// What it has logged so far, over all its lives.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    /// The stored key of a channel, opened: `{"api_key","key_id","address"}`.
    pub async fn stored_key(&self, partner: &str, channel: &str) -> Option<Value> {
        let id = channel_ref(partner, channel);
        let mint = Mints::new(self.table().await).read(&id).await;
        let sealed = mint.expect("the table").stored?.sealed;
        let text = match &self.place {
            Place::OneMachine(_) => {
                let opened = KeyFile::at(self.data().join("encryption.key"));
                let opened = opened.open(&id, &sealed).await;
                opened.expect("its key").expose().as_bytes().to_vec()
            }
            Place::Aws(stack) => {
                let context = json!({"partner_id": partner, "channel_id": channel});
                let opened = stack.moto.open(&sealed, &context);
                opened.expect("its key")
            }
        };
        Some(serde_json::from_slice(&text).expect("JSON"))
    }

    /// What the partner's application was told so far: `source`, `detail-type`, `detail`.
    pub async fn events(&self) -> Vec<Value> {
        match &self.place {
            Place::OneMachine(_) => {
                let file = self.data().join("events.ndjson");
                let lines = std::fs::read_to_string(file).unwrap_or_default();
                let whole = lines.lines().filter(|_| lines.ends_with('\n'));
                let event = |line| serde_json::from_str(line).expect("JSON");
                whole.map(event).collect()
            }
            Place::Aws(stack) => stack.calls.events().iter().flat_map(entries).collect(),
        }
    }

    /// Runs the program `operator` beside it, on AWS for the stack `stack`, else with its own settings: how that ended and
    /// what it said, nothing of it secret.
    pub async fn operator(&self, stack: &str, arguments: &[&str]) -> (Option<i32>, String) {
        let mut program = Command::new(programs::program("operator-for-tests"));
        program.args(arguments).env_clear();
        program.envs(moved_time::variables());
        match &self.place {
            Place::OneMachine(_) => {
                let settings = self.settings.iter();
                program.envs(settings.filter(|(name, _)| FOR_OPERATORS.contains(&name.as_str())))
            }
            Place::Aws(aws) => program.args(["--stack", stack]).envs([
                ("AWS_ENDPOINT_URL", aws.calls.url.as_str()),
                ("AWS_REGION", REGION),
                ("AWS_ACCESS_KEY_ID", HARNESS),
                ("AWS_SECRET_ACCESS_KEY", "needle-aws"),
            ]),
        };
        let ended = program.kill_on_drop(true).output().await.expect("it ends");
        let said = String::from_utf8([ended.stdout, ended.stderr].concat()).expect("text");
        assert!(!said.contains("needle"), "{said}");
        (ended.status.code(), said)
    }

    /// The table, through the running bundle.
    pub async fn table(&self) -> Table {
        let Where { client, table } = self.place_of_table();
        Table::new(client, table)
    }

    fn place_of_table(&self) -> Where {
        let endpoint = match &self.place {
            Place::Aws(stack) => stack.calls.url.clone(),
            Place::OneMachine(_) => {
                let endpoint = std::fs::read_to_string(self.data().join("endpoint"));
                endpoint.expect("it runs").trim().to_owned()
            }
        };
        let (client, table) = (dynamodb(&endpoint), self.table_name());
        Where { client, table }
    }

    fn table_name(&self) -> String {
        let name = self.settings.get("TABLE_NAME");
        name.map_or(embedded::settings::TABLE, String::as_str)
            .to_owned()
    }

    /// All waits are over, once nobody is at work: what is due later is due now.
    pub async fn waits_are_over(&self) {
        until(|| async {
            let items = self.items().await;
            let busy = items.iter().find(|item| item.contains_key(LEASE));
            busy.map_or(Ok(()), |busy| Err(in_words(busy)))
        })
        .await;
        self.place_of_table().end_waits().await;
        self.ring();
    }

    /// The clock ticks now; on one machine it ticks every second.
    fn ring(&self) {
        if let Place::Aws(stack) = &self.place {
            stack.ring();
        }
    }

    /// A day has passed for every stored key: it is compared with 360dialog's list, now.
    pub async fn comparisons_are_due(&self) {
        self.place_of_table().comparisons_are_due().await;
        self.ring();
    }

    /// The list of all channels of a partner is read once more, now.
    pub async fn sweep_is_due(&self, partner: &str) {
        self.place_of_table().sweep_is_due(&id(partner)).await;
        self.ring();
    }

    /// All facts of every bound channel are joined once more, now.
    pub async fn refold_is_due(&self) {
        self.place_of_table().refold_is_due().await;
        self.ring();
    }

    /// Makes the time in an attribute of an item a day earlier.
    pub async fn put_back_a_day(&self, item: &Item, attribute: &str) {
        let day = 24 * 3600 * 1000;
        self.place_of_table().put_back(item, attribute, day).await;
    }

    /// Every item of the table.
    pub async fn items(&self) -> Vec<Item> {
        self.table().await.scan().await.expect("a scan")
    }

    /// Every item of the table in words, sorted, but for those about markers, those that change by the clock alone, and the fingerprint.
    pub async fn scan(&self) -> Vec<String> {
        let mut items: Vec<String> = self.items().await.iter().map(in_words).collect();
        let left_out = ["HEARTBEAT#", "REFOLD#", "FINGERPRINT#"];
        let is_left_out = |item: &String| left_out.iter().any(|it| item.contains(it));
        items.retain(|item| !item.contains(MARKER) && !is_left_out(item));
        items.sort();
        items
    }

    /// The same, once all that was under way when this was called is over: an event about a marker, a channel of a client
    /// that is bound and has no other, has gone the same way behind it, and nothing is in the line or taken.
    pub async fn scan_when_quiet(&self) -> Vec<String> {
        let number = self.markers.fetch_add(1, Ordering::SeqCst);
        let marker = format!("{MARKER}{number}CH");
        let table = self.table().await;
        let (clients, tenant) = (Clients::new(table.clone()), id(MARKER));
        let (partner, client) = (id(PARTNER), id(MARKER));
        let seen = StoredClient::default();
        let bound = clients.bind(&partner, &client, &seen, &tenant).await;
        assert_eq!(bound.expect("the table"), Write::Done);
        let event =
            json!({"event": "channel_running", "data": {"id": marker, "client_id": MARKER}});
        self.webhook(PARTNER, &event.to_string()).await.is(200);
        let channels = Channels::new(table);
        let marker = channel_ref(PARTNER, &marker);
        until(|| async {
            let read = channels.read(&marker).await;
            let judged = read.map_err(|error| error.to_string())?.channel.key;
            let items = self.items().await;
            let is_busy = |item: &&Item| item.contains_key(LEASE) || is_in_hand(item);
            match (judged, items.iter().find(is_busy)) {
                (Some(_), None) => Ok(()),
                (judged, busy) => Err(format!("{judged:?} {:?}", busy.map(in_words))),
            }
        })
        .await;
        self.scan().await
    }

    /// Writes to its data directory what tables, stream, Secrets Manager and event bus hold, where no file does: on AWS.
    pub async fn write_down(&self) {
        let Place::Aws(stack) = &self.place else {
            return;
        };
        let (told, kept) = (json!(stack.calls.events()), stack.moto.everything());
        std::fs::create_dir_all(self.data()).expect("a directory");
        let table = self.scan().await.join("\n");
        let bodies = self
            .table()
            .await
            .beside(stack.setting("BODIES_TABLE_NAME"));
        let bodies = bodies.scan().await.expect("a scan");
        let bodies: Vec<String> = bodies.iter().map(in_words).collect();
        for (name, text) in [
            ("table", table),
            ("bodies", bodies.join("\n")),
            ("stream", json!(stack.batches()).to_string()),
            ("events", told.to_string()),
            ("secrets_manager.json", kept.to_string()),
        ] {
            std::fs::write(self.data().join(name), text).expect("a file");
        }
    }
}

/// The events of one call that put them.
fn entries(call: &Value) -> Vec<Value> {
    let entry = |entry: &Value| {
        let detail: Value = serde_json::from_str(text(&entry["Detail"])).expect("JSON");
        json!({"source": entry["Source"], "detail-type": entry["DetailType"], "detail": detail})
    };
    let entries = call["Entries"].as_array().into_iter().flatten();
    entries.map(entry).collect()
}

/// Waits until `attempt` is `Ok`; fails with what it said last.
pub async fn until<T, F: Future<Output = Result<T, String>>>(attempt: impl Fn() -> F) -> T {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let seen = match attempt().await {
            Ok(done) => return done,
            Err(seen) => seen,
        };
        let is_late = tokio::time::Instant::now() > deadline;
        assert!(!is_late, "it never came; last seen: {seen}");
        tokio::time::sleep(GLANCE).await;
    }
}

/// Waits until what `read` brings is as `is_so` says, and answers it.
pub async fn until_seen<T: Debug, F: Future<Output = T>>(
    read: impl Fn() -> F,
    is_so: impl Fn(&T) -> bool,
) -> T {
    until(|| async {
        let seen = read().await;
        if is_so(&seen) {
            Ok(seen)
        } else {
            Err(format!("{seen:?}"))
        }
    })
    .await
}

/// Waits until `is_so` holds; fails saying `what` never came.
pub async fn until_so(what: &str, is_so: impl Fn() -> bool) {
    until(|| std::future::ready(is_so().then_some(()).ok_or_else(|| what.to_owned()))).await
}

/// The program `local` of this package: cargo builds it with the tests.
pub fn program() -> PathBuf {
    programs::program("local-for-tests")
}
