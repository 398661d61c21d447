//! Speaks the language of the flows: a bundle is started on free ports, a tenant asks for a link, a person goes through
//! the simulated hub, the browser comes back, and the channel is waited for.
//!
//! `BACKEND` says where bundles run: on one machine, as the program `local`, or on AWS's own pieces (see [`Backend`]).
//!
//! Everything is waited for by its condition; a condition that never holds fails the test with what was seen last.

pub mod aws;
mod backend;
mod items;
mod one_machine;
mod partners;
pub mod programs;

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit, Mac};
use local::data::Data;
use platform::table::{Item, Table};
use reqwest::{Client, RequestBuilder, Response};
use serde_json::{Value, json};
use sha2::Sha256;
use tempfile::TempDir;

use crate::aws::stack::Stack;
pub use crate::backend::{Backend, is_on_aws};
pub use crate::items::assert_same;
use crate::items::{in_words, is_about_to_close};
use crate::one_machine::OneMachine;
pub use crate::partners::Secrets;

/// The hub of most tests, Direct-Paid.
pub const PARTNER: &str = "aAbBcCPA";
/// A second hub, Partner-Paid.
pub const PAYING_PARTNER: &str = "pPaIdPA";

/// How long a condition may take to hold before the test fails: generous, since machines are shared and noisy.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often a condition is looked at.
const GLANCE: Duration = Duration::from_millis(50);

/// Where a bundle runs.
enum Place {
    OneMachine(Box<OneMachine>),
    Aws(Box<Stack>),
}

/// The status of what no route takes, which is `ours` where we say so ourselves; the gateway on AWS says 404 to all of it.
pub fn without_a_route(ours: u16) -> u16 {
    if is_on_aws() { 404 } else { ours }
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
        let file = directory.path().join("secrets.json");
        std::fs::write(&file, secrets.file.to_string()).expect("the secrets file");
        let mut all = BTreeMap::from([
            ("LISTEN".to_owned(), "127.0.0.1:0".to_owned()),
            ("HUB_LISTEN".to_owned(), "127.0.0.1:0".to_owned()),
            (
                "DATA".to_owned(),
                directory.path().join("data").display().to_string(),
            ),
            ("SECRETS_FILE".to_owned(), file.display().to_string()),
            ("JWT_HS256_SECRET".to_owned(), secrets.jwt.clone()),
            ("HUB_STAGE_DELAY_MS".to_owned(), "50".to_owned()),
            (
                "RUST_LOG".to_owned(),
                "debug,hyper=info,h2=info,dynoxide=info".to_owned(),
            ),
        ]);
        all.extend(
            settings
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
        );
        let place = if is_on_aws() {
            Place::Aws(Box::new(
                Stack::start(&secrets, &all, directory.path()).await,
            ))
        } else {
            Place::OneMachine(Box::new(OneMachine::start(&all, directory.path()).await))
        };
        let (url, hub) = match &place {
            Place::OneMachine(machine) => (machine.url.clone(), machine.hub.clone()),
            Place::Aws(stack) => (stack.url.clone(), stack.hub.clone()),
        };
        let http = Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .expect("a client");
        Self {
            directory,
            url,
            hub,
            secrets,
            http,
            settings: all,
            place,
        }
    }

    /// Kills it without a warning (SIGKILL), if it runs, and starts it again on the same data and the same addresses.
    ///
    /// On AWS every process of every function is killed; each is started again by what it is next needed for.
    pub async fn kill_and_restart(&mut self) {
        match &mut self.place {
            Place::OneMachine(machine) => {
                machine
                    .kill_and_restart(&mut self.settings, self.directory.path())
                    .await
            }
            Place::Aws(stack) => stack.kill().await,
        }
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

    /// Its data directory.
    pub fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// A token that names `tenant`.
    pub fn token(&self, tenant: &str) -> String {
        let jwt = local::jwt::Jwt::new(onboarding::secret::Secret::new(self.secrets.jwt.clone()));
        jwt.token("sub", tenant).expect("a token")
    }

    /// A GET of `path` with the tenant's token.
    pub fn get(&self, tenant: &str, path: &str) -> RequestBuilder {
        self.http
            .get(format!("{}{path}", self.url))
            .bearer_auth(self.token(tenant))
    }

    /// A signed link for `tenant`.
    pub async fn sign(&self, partner: &str, tenant: &str) -> Value {
        let answer = self
            .get(tenant, &format!("/{partner}/sign"))
            .send()
            .await
            .expect("an answer");
        assert_eq!(answer.status(), 200);
        answer.json().await.expect("JSON")
    }

    /// Goes through the simulated hub as a person would; answers where the browser is sent.
    ///
    /// `choice` is the body of `POST /_hub/complete` without the link.
    pub async fn complete(&self, link: &str, choice: Value) -> String {
        let (status, answer) = self.try_complete(link, choice).await;
        assert_eq!(status, 200, "{answer}");
        answer["redirect_url"]
            .as_str()
            .expect("a redirect")
            .to_owned()
    }

    /// The same, where a refusal is a result.
    pub async fn try_complete(&self, link: &str, mut choice: Value) -> (u16, Value) {
        choice["link"] = json!(link);
        let answer = self
            .http
            .post(format!("{}/_hub/complete", self.hub))
            .json(&choice)
            .send()
            .await;
        let answer = answer.expect("an answer");
        (answer.status().as_u16(), answer.json().await.expect("JSON"))
    }

    /// Comes back to the bundle as a program, which gets JSON.
    pub async fn come_back(&self, redirect_url: &str) -> Response {
        self.http
            .get(redirect_url)
            .header("accept", "application/json")
            .send()
            .await
            .expect("an answer")
    }

    /// Comes back with `query` and the state of `signed`, without having been at the hub: a browser can say anything.
    pub async fn come_back_with(&self, signed: &Value, query: &str) -> Response {
        let redirect_url = signed["query_parameters"]["redirect_url"]
            .as_str()
            .expect("a redirect");
        self.come_back(&format!("{redirect_url}?{query}")).await
    }

    /// From the first click to the browser's return: signs, completes, comes back; answers the JSON.
    pub async fn onboard(&self, partner: &str, tenant: &str, choice: Value) -> Value {
        let signed = self.sign(partner, tenant).await;
        let redirect_url = self
            .complete(signed["url"].as_str().expect("a link"), choice)
            .await;
        let answer = self.come_back(&redirect_url).await;
        assert_eq!(answer.status(), 200);
        answer.json().await.expect("JSON")
    }

    /// The tenant's channels.
    pub async fn channels(&self, partner: &str, tenant: &str) -> Vec<Value> {
        let answer = self
            .get(tenant, &format!("/{partner}/channels?limit=100"))
            .send()
            .await
            .expect("an answer");
        let list: Value = answer.json().await.expect("JSON");
        list["channels"].as_array().cloned().unwrap_or_default()
    }

    /// One channel as the tenant sees it, or `None` for 404.
    pub async fn channel(&self, partner: &str, tenant: &str, channel: &str) -> Option<Value> {
        let answer = self
            .get(tenant, &format!("/{partner}/channels/{channel}"))
            .send()
            .await
            .expect("an answer");
        match answer.status().as_u16() {
            200 => Some(answer.json().await.expect("JSON")),
            404 => None,
            other => panic!("{other}"),
        }
    }

    /// Waits until a channel of the tenant is as `wanted` says.
    pub async fn channel_until(
        &self,
        (partner, tenant, channel): (&str, &str, &str),
        wanted: impl Fn(&Value) -> bool,
    ) -> Value {
        until(|| async {
            let seen = self
                .channel(partner, tenant, channel)
                .await
                .unwrap_or(Value::Null);
            if wanted(&seen) {
                Ok(seen)
            } else {
                Err(seen.to_string())
            }
        })
        .await
    }

    /// Waits until the channel's key is stored.
    pub async fn stored(&self, partner: &str, tenant: &str, channel: &str) -> Value {
        self.channel_until((partner, tenant, channel), |seen| {
            seen["key"]["status"] == "stored"
        })
        .await
    }

    /// The key that the vault keeps for a channel, as its secret's JSON.
    pub fn vault_key(&self, partner: &str, channel: &str) -> Option<Value> {
        let name = format!("360dialog/channels/{partner}/{channel}");
        let text = match &self.place {
            Place::OneMachine(_) => {
                let vault = std::fs::read(self.data().join("vault.json")).ok()?;
                let vault: Value = serde_json::from_slice(&vault).expect("JSON");
                let entry = vault.get(name)?;
                entry["versions"][entry["current"].as_str()?]
                    .as_str()?
                    .to_owned()
            }
            Place::Aws(stack) => stack.moto.current(&name)?,
        };
        serde_json::from_str(&text).ok()
    }

    /// What the partner's application was told so far: `source`, `detail-type`, `detail`.
    pub async fn events(&self) -> Vec<Value> {
        match &self.place {
            Place::OneMachine(_) => {
                let lines =
                    std::fs::read_to_string(self.data().join("events.ndjson")).unwrap_or_default();
                let whole = lines.lines().filter(|_| lines.ends_with('\n'));
                whole
                    .map(|line| serde_json::from_str(line).expect("JSON"))
                    .collect()
            }
            Place::Aws(stack) => stack.calls.events().iter().flat_map(entries).collect(),
        }
    }

    /// Whether a message can be sent with the key that the vault keeps: the hub's own word.
    pub async fn can_send(&self, partner: &str, channel: &str) -> bool {
        let key = self.vault_key(partner, channel).expect("a key");
        let address = key["address"].as_str().expect("an address");
        let message = json!({"messaging_product": "whatsapp", "to": "15550100", "type": "text"});
        let request = self.http.post(format!("{address}/messages")).json(&message);
        let answer = request
            .header("D360-API-KEY", key["api_key"].as_str().expect("a key"))
            .send()
            .await;
        answer.expect("an answer").status() == 200
    }

    /// Posts `body` to the webhook, signed with the partner's platform secret.
    pub async fn webhook(&self, partner: &str, body: &str) -> Response {
        let signature = hmac_sha256(self.secrets.platform_secret(partner), body.as_bytes());
        self.webhook_signed(partner, body, &signature).await
    }

    /// Posts `body` to the webhook with any signature.
    pub async fn webhook_signed(&self, partner: &str, body: &str, signature: &str) -> Response {
        let request = self
            .http
            .post(format!("{}/{partner}/webhook", self.url))
            .body(body.to_owned());
        request
            .header("x-360dialog-signature", signature)
            .send()
            .await
            .expect("an answer")
    }

    /// Every item of the table, sorted.
    pub async fn scan(&self) -> Vec<String> {
        let mut items: Vec<String> = self.items().await.iter().map(in_words).collect();
        items.sort();
        items
    }

    /// Every item of the table but those about `marker`, a channel nobody knows, once all that was under way when this
    /// was called is over: an event about the marker has gone the same way behind it.
    pub async fn scan_when_quiet(&self, marker: &str) -> Vec<String> {
        let event = json!({"event": "channel_running", "data": {"id": marker}});
        assert_eq!(
            self.webhook(PARTNER, &event.to_string()).await.status(),
            200
        );
        let channels = platform::store::Channels::new(self.table().await);
        let (partner, channel) = (
            PARTNER.parse().expect("an id"),
            marker.parse().expect("an id"),
        );
        until(|| async {
            let judged = channels
                .read(&partner, &channel)
                .await
                .map_err(|error| error.to_string())?
                .channel
                .key;
            let items = self.items().await;
            let busy = items
                .iter()
                .find(|item| item.contains_key("lease") || is_about_to_close(item))
                .map(in_words);
            match (judged, busy) {
                (Some(_), None) => Ok(()),
                (judged, busy) => Err(format!("{judged:?} {busy:?}")),
            }
        })
        .await;
        self.scan()
            .await
            .into_iter()
            .filter(|item| !item.contains(marker))
            .collect()
    }

    /// Every item of the table.
    pub async fn items(&self) -> Vec<Item> {
        self.table().await.scan().await.expect("a scan")
    }

    /// The table, through the running bundle.
    pub async fn table(&self) -> Table {
        if let Place::Aws(stack) = &self.place {
            return stack.table();
        }
        let data = Data::open(self.data()).expect("the data directory");
        let opened = local::embedded::open_table(&data, local::bundle::TABLE)
            .await
            .expect("the table");
        assert!(
            opened.embedded.is_none(),
            "the bundle runs, so its own database answers"
        );
        opened.table
    }

    /// Writes to its data directory what table, vault and event bus hold, where no file does: on AWS.
    pub async fn write_down(&self) {
        let Place::Aws(stack) = &self.place else {
            return;
        };
        let (told, kept) = stack.told_and_kept();
        std::fs::create_dir_all(self.data()).expect("a directory");
        let write = |name: &str, text: String| {
            std::fs::write(self.data().join(name), text).expect("a file")
        };
        write("table", self.scan().await.join("\n"));
        write("events", told.to_string());
        write("vault.json", kept.to_string());
    }

    /// What it has logged so far, over all its lives.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }
}

/// The lower-case hex HMAC-SHA256 of `body`, made without any of our own code.
pub fn hmac_sha256(secret: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any key will do");
    mac.update(body);
    HEXLOWER.encode(&mac.finalize().into_bytes())
}

/// The events of one call that put them.
fn entries(call: &Value) -> Vec<Value> {
    let entry = |entry: &Value| {
        let detail: Value =
            serde_json::from_str(entry["Detail"].as_str().expect("a detail")).expect("JSON");
        json!({"source": entry["Source"], "detail-type": entry["DetailType"], "detail": detail})
    };
    call["Entries"]
        .as_array()
        .into_iter()
        .flatten()
        .map(entry)
        .collect()
}

/// Waits until `attempt` is `Ok`; fails with what it said last.
pub async fn until<T, F: Future<Output = Result<T, String>>>(attempt: impl Fn() -> F) -> T {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let seen = match attempt().await {
            Ok(done) => return done,
            Err(seen) => seen,
        };
        assert!(
            tokio::time::Instant::now() < deadline,
            "it never came; last seen: {seen}"
        );
        tokio::time::sleep(GLANCE).await;
    }
}

/// The program `local` of this package: cargo builds it with the tests.
pub fn program() -> PathBuf {
    programs::program("local-for-tests")
}
