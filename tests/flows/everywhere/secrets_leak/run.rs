//! A bundle whose every answer is written down, and the secrets that come up meanwhile.

use std::collections::{BTreeMap, BTreeSet};

use reqwest::{Method, RequestBuilder, Response};
use serde_json::Value;
use tests::{Bundle, Secrets, until};

use super::search::{Found, Search};

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
}

/// An answer that was written down.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) text: String,
    pub(crate) location: Option<String>,
    file: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).expect("JSON")
    }
}

impl Run {
    /// Everything of `bundle` is watched from now on; only the files of `open` may hold secrets.
    pub(crate) fn of(bundle: Bundle, open: &[&'static str]) -> Self {
        std::fs::create_dir(bundle.directory.path().join(ANSWERS)).expect("a directory");
        let (tokens, needles) = (BTreeMap::new(), BTreeMap::new());
        let mut run = Self {
            bundle,
            tokens,
            needles,
            open: open.iter().copied().collect(),
            own: BTreeSet::new(),
        };
        let Secrets { file, jwt } = run.bundle.secrets.clone();
        run.add("the JWT secret", &jwt);
        for (partner, entry) in file
            .as_object()
            .expect("partners")
            .iter()
            .filter(|(_, entry)| entry.is_object())
        {
            for field in ["platform_secret", "partner_token", "partner_api_key"] {
                if let Some(secret) = entry[field].as_str() {
                    run.add(&format!("{field} of {partner}"), secret);
                }
            }
        }
        run
    }

    /// From now on `value` is searched for.
    pub(crate) fn add(&mut self, name: &str, value: &str) {
        self.needles.insert(name.to_owned(), value.to_owned());
    }

    /// The needle `name` may be in the answer `answer`: it was its own caller's.
    pub(crate) fn allow(&mut self, answer: &Answer, name: &str) {
        self.own.insert((answer.file.clone(), name.to_owned()));
    }

    /// The one token of `tenant`, which is searched for.
    pub(crate) fn token(&mut self, tenant: &str) -> String {
        if let Some(token) = self.tokens.get(tenant) {
            return token.clone();
        }
        let token = self.bundle.token(tenant);
        self.use_token(tenant, &token);
        token
    }

    /// `token` is the token of `tenant`.
    pub(crate) fn use_token(&mut self, tenant: &str, token: &str) {
        self.tokens.insert(tenant.to_owned(), token.to_owned());
        let signature = token.rsplit('.').next().expect("a signature");
        self.add(&format!("the token of {tenant}"), token);
        self.add(
            &format!("the signature of the token of {tenant}"),
            signature,
        );
    }

    /// A request to the bundle, without a caller.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.bundle
            .http
            .request(method, format!("{}{path}", self.bundle.url))
    }

    /// A request to the bundle on behalf of `tenant`.
    pub(crate) fn request_of(
        &mut self,
        tenant: &str,
        method: Method,
        path: &str,
    ) -> RequestBuilder {
        let token = self.token(tenant);
        self.request(method, path).bearer_auth(token)
    }

    /// Sends a request and writes its answer down, head and body.
    pub(crate) async fn ask(&mut self, request: RequestBuilder) -> Answer {
        self.note(request.send().await.expect("an answer")).await
    }

    /// Writes an answer down, head and body.
    pub(crate) async fn note(&mut self, answer: Response) -> Answer {
        let directory = self.bundle.directory.path().join(ANSWERS);
        let number = std::fs::read_dir(&directory).expect("a directory").count();
        let file = format!("{ANSWERS}/{number:03}");
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let body = answer.bytes().await.expect("a body");
        let mut whole = format!("{status}\n").into_bytes();
        for (name, value) in &headers {
            whole.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\n"].concat());
        }
        whole.extend([b"\n".as_slice(), &body].concat());
        std::fs::write(self.bundle.directory.path().join(&file), whole).expect("a file");
        let location = headers
            .get("location")
            .map(|location| location.to_str().expect("a text").to_owned());
        Answer {
            status,
            text: String::from_utf8_lossy(&body).into_owned(),
            location,
            file,
        }
    }

    /// A signed link for `tenant`; its state is searched for, and may be in no other answer.
    pub(crate) async fn sign(&mut self, partner: &str, tenant: &str, query: &str) -> Value {
        let request = self.request_of(tenant, Method::GET, &format!("/{partner}/sign{query}"));
        let answer = self.ask(request).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let signed = answer.json();
        let state = signed["state"].as_str().expect("a state").to_owned();
        let seal = state.split_once('.').expect("two parts").1;
        let signature = signed["signature"].as_str().expect("a signature");
        let second = &signed["timestamp"];
        for (name, value) in [
            ("state", state.as_str()),
            ("seal", seal),
            ("signature", signature),
        ] {
            let name = format!("the {name} of {partner} {second}");
            self.add(&name, value);
            self.allow(&answer, &name);
        }
        signed
    }

    /// What the simulated hub answers to `request` with the link `signed`: it may show that link.
    pub(crate) async fn ask_hub(&mut self, request: RequestBuilder, signed: &Value) -> Answer {
        let answer = self.ask(request).await;
        for name in ["state", "seal", "signature"] {
            let (partner, second) = (
                signed["partner_id"].as_str().expect("a partner"),
                &signed["timestamp"],
            );
            self.allow(&answer, &format!("the {name} of {partner} {second}"));
        }
        answer
    }

    /// Waits until the key of the channel is stored, and searches for it from then on.
    pub(crate) async fn stored(&mut self, partner: &str, tenant: &str, channel: &str) {
        let (path, token) = (format!("/{partner}/channels/{channel}"), self.token(tenant));
        let request = self.request(Method::GET, &path).bearer_auth(token);
        until(|| async {
            let answer = request
                .try_clone()
                .expect("no body")
                .send()
                .await
                .expect("an answer");
            let seen = answer.text().await.expect("a body");
            if seen.contains(r#""status":"stored""#) {
                Ok(())
            } else {
                Err(seen)
            }
        })
        .await;
        self.ask(request).await;
        let key = self.bundle.vault_key(partner, channel).expect("a key");
        self.add(
            &format!("the key of {channel}"),
            key["api_key"].as_str().expect("a key"),
        );
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
        let needles = self
            .needles
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        Search::new(needles).in_directory(self.bundle.directory.path())
    }

    /// The needles, by name.
    pub(crate) fn needles(&self) -> &BTreeMap<String, String> {
        &self.needles
    }
}
