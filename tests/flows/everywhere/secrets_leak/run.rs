//! A bundle whose every answer is written down, and the secrets that come up meanwhile.

use std::collections::{BTreeMap, BTreeSet};

use reqwest::RequestBuilder;
use serde_json::{Value, json};
use tests::search::{Found, Search, files};
use tests::{Answer, Ask, Bundle, Secrets, text};

/// Where answers are written down, in the run's directory.
pub(crate) const ANSWERS: &str = "answers";

/// A run: its bundle, its needles, and where each may be.
pub(crate) struct Run {
    pub(crate) bundle: Bundle,
    tokens: BTreeMap<String, String>,
    needles: BTreeMap<String, String>,
    /// The files that may hold any needle.
    open: BTreeSet<&'static str>,
    /// The files that may hold one needle: a file's path and the needle's name.
    own: BTreeSet<(String, String)>,
    /// The file that the last answer was written to.
    last: String,
}

impl Run {
    /// Everything of `bundle` is watched from now on; only the files of `open` may hold secrets.
    pub(crate) fn new(bundle: Bundle, open: &[&'static str]) -> Self {
        std::fs::create_dir(bundle.directory.path().join(ANSWERS)).expect("a directory");
        let Secrets { file, jwt } = bundle.secrets.clone();
        let mut run = Self {
            bundle,
            tokens: BTreeMap::new(),
            needles: BTreeMap::new(),
            open: open.iter().copied().collect(),
            own: BTreeSet::new(),
            last: String::new(),
        };
        run.add("the JWT secret", &jwt);
        for (partner, entry) in file.as_object().expect("partners") {
            for field in ["platform_secret", "partner_token", "partner_api_key"] {
                if let Some(secret) = entry.get(field) {
                    run.add(&format!("{field} of {partner}"), text(secret));
                }
            }
        }
        run
    }

    /// From now on `value` is searched for.
    pub(crate) fn add(&mut self, name: &str, value: &str) {
        self.needles.insert(name.to_owned(), value.to_owned());
    }

    /// The needle `name` may be in the last answer: it was its own caller's.
    pub(crate) fn allow(&mut self, name: &str) {
        self.own.insert((self.last.clone(), name.to_owned()));
    }

    /// The one token of `tenant`, which is searched for.
    pub(crate) fn token(&mut self, tenant: &str) -> String {
        if !self.tokens.contains_key(tenant) {
            let token = self.bundle.token(tenant);
            self.use_token(tenant, &token);
        }
        self.tokens[tenant].clone()
    }

    /// `token` is the token of `tenant`.
    pub(crate) fn use_token(&mut self, tenant: &str, token: &str) {
        self.tokens.insert(tenant.to_owned(), token.to_owned());
        let (_, signature) = token.rsplit_once('.').expect("a signature");
        self.add(&format!("the token of {tenant}"), token);
        self.add(&format!("the token's signature of {tenant}"), signature);
    }

    /// A request to the bundle on behalf of `tenant`.
    pub(crate) fn request(&mut self, tenant: &str, method: &str, path: &str) -> RequestBuilder {
        let token = self.token(tenant);
        self.bundle.request(method, path).bearer_auth(token)
    }

    /// Sends a request and writes its answer down, head and body.
    pub(crate) async fn ask(&mut self, request: RequestBuilder) -> Answer {
        let answer = request.ask().await;
        let directory = self.bundle.directory.path();
        let number = files(&directory.join(ANSWERS)).len();
        self.last = format!("{ANSWERS}/{number:03}");
        let mut whole = Vec::new();
        for (name, value) in &answer.headers {
            let header = [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\n"];
            whole.extend(header.concat());
        }
        whole.extend(answer.text.as_bytes());
        std::fs::write(directory.join(&self.last), whole).expect("a file");
        answer
    }

    /// A signed link for `tenant`; its state is searched for, and may be in no other answer.
    pub(crate) async fn sign(&mut self, partner: &str, tenant: &str, query: &str) -> Value {
        let request = self.request(tenant, "GET", &format!("/{partner}/sign{query}"));
        let signed = self.ask(request).await.is(200).json();
        for (name, value) in of_link(&signed) {
            self.add(&name, &value);
            self.allow(&name);
        }
        signed
    }

    /// Goes through the hub with the link `signed` and comes back once as a person and once as a program.
    pub(crate) async fn complete(&mut self, signed: &Value, mut choice: Value) -> String {
        let page = self.bundle.http.get(text(&signed["url"]));
        choice["link"] = signed["url"].clone();
        let url = format!("{}/_hub/complete", self.bundle.hub);
        let completion = self.bundle.http.post(url).json(&choice);
        let mut back = String::new();
        for request in [page, completion] {
            back = self.ask(request).await.is(200).text;
            // It may show the link.
            for (name, _) in of_link(signed) {
                self.allow(&name);
            }
        }
        let back: Value = serde_json::from_str(&back).expect("JSON");
        let redirect_url = text(&back["redirect_url"]).to_owned();
        for accept in ["text/html", "application/json"] {
            let request = self.bundle.http.get(&redirect_url);
            let answer = self.ask(request.header("accept", accept)).await;
            assert!(matches!(answer.status, 200 | 303), "{}", answer.text);
        }
        redirect_url
    }

    /// The client `aCL` grants a number with a link of `tenant`, up to the stored key.
    pub(crate) async fn grant(&mut self, partner: &str, tenant: &str, number: &str) {
        let signed = self.sign(partner, tenant, "").await;
        let choice = json!({"client": "aCL", "channels": [number]});
        self.complete(&signed, choice).await;
        self.stored(partner, tenant, number).await;
    }

    /// Waits until the key of the channel is stored, and searches for it from then on.
    pub(crate) async fn stored(&mut self, partner: &str, tenant: &str, channel: &str) {
        self.bundle.stored(partner, tenant, channel).await;
        let path = format!("/{partner}/channels/{channel}");
        let request = self.request(tenant, "GET", &path);
        self.ask(request).await.is(200);
        let key = self
            .bundle
            .stored_key(partner, channel)
            .await
            .expect("a key");
        self.add(&format!("the key of {channel}"), text(&key["api_key"]));
    }

    /// Fails if a needle is where it may not be.
    pub(crate) fn assert_nothing_is_misplaced(&self) {
        let misplaced = self.misplaced();
        assert!(misplaced.is_empty(), "{misplaced:#?}");
    }

    /// The needles that are where they may not be, by file.
    pub(crate) fn misplaced(&self) -> BTreeMap<String, Found> {
        let mut found = self.found();
        for (file, needles) in &mut found {
            let is_own = |needle: &String| self.own.contains(&(file.clone(), needle.clone()));
            needles.retain(|needle| !self.open.contains(file.as_str()) && !is_own(needle));
        }
        found.retain(|_, needles| !needles.is_empty());
        found
    }

    /// All needles that are anywhere in the run's directory.
    pub(crate) fn found(&self) -> BTreeMap<String, Found> {
        let needles = self.needles.iter();
        let needles = needles.map(|(name, value)| (name.as_str(), value.as_str()));
        Search::new(needles).in_directory(self.bundle.directory.path())
    }

    /// The needles, by name.
    pub(crate) fn needles(&self) -> &BTreeMap<String, String> {
        &self.needles
    }
}

/// What is secret of a link, by name.
fn of_link(signed: &Value) -> [(String, String); 3] {
    let (state, signature) = (text(&signed["state"]), text(&signed["signature"]));
    let (_, seal) = state.split_once('.').expect("two parts");
    let (partner, second) = (text(&signed["partner_id"]), &signed["timestamp"]);
    [("state", state), ("seal", seal), ("signature", signature)].map(|(name, value)| {
        (
            format!("the {name} of {partner} {second}"),
            value.to_owned(),
        )
    })
}
