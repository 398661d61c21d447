//! What `operator connect` does to 360dialog, to the table and to the terminal.

mod partner_api;
mod proxy;
mod stack;

use std::collections::BTreeMap;

use operator::connect::{Ask, Foreign, Keys, Outcome, Target, connect};
use platform::settings::Environment;
use reqwest::Method;
use serde_json::{Value, json};
use tests::{Bundle, PARTNER, PAYING_PARTNER, assert_same};

const CONNECT: Ask = Ask::Connect(Foreign::Refuse, Keys::List);
const REPLACE: Ask = Ask::Connect(Foreign::Replace, Keys::Skip);

/// Somebody else's address, with things in it that no terminal is to show.
const FOREIGN: &str = "https://needle-user:needle-password@old.example/hook?key=needle-query";
const FOREIGN_REDIRECT: &str = "https://old.example/back";

/// What a run of `operator connect` said and came to.
struct Told {
    outcome: Outcome,
    text: String,
}

impl Told {
    /// All is well, and every one of `words` was said.
    fn is_fine(&self, words: &[&str]) {
        assert_eq!(self.outcome, Outcome::Fine, "{}", self.text);
        self.says(words);
    }

    /// There was trouble, and every one of `words` was said.
    fn is_trouble(&self, words: &[&str]) {
        assert_eq!(self.outcome, Outcome::Trouble, "{}", self.text);
        assert!(self.text.contains("  TROUBLE "), "{}", self.text);
        self.says(words);
    }

    fn says(&self, words: &[&str]) {
        for words in words {
            assert!(
                self.text.contains(words),
                "{words} is missing in:\n{}",
                self.text
            );
        }
    }
}

/// Runs `operator connect` on `bundle` with its own settings and `other` ones; nothing it says may be secret.
async fn run_with(bundle: &Bundle, ask: Ask, other: &[(&str, &str)]) -> Told {
    let mut settings: BTreeMap<String, String> = bundle.settings().clone();
    settings
        .entry("PARTNER_API_URL".to_owned())
        .or_insert_with(|| format!("{}/api/v2", bundle.hub));
    settings.extend(
        other
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
    );
    let address = bundle.url.parse().expect("an address");
    let target =
        Target::of_machine(address, &[], &settings.into_iter().collect::<Environment>()).await;
    let mut text = String::new();
    let mut say = |line: &str| text.extend([line, "\n"]);
    let outcome = connect(&target.expect("a target"), ask, &mut say).await;
    assert_nothing_secret(bundle, &text);
    Told { outcome, text }
}

async fn run(bundle: &Bundle, ask: Ask) -> Told {
    run_with(bundle, ask, &[]).await
}

fn assert_nothing_secret(bundle: &Bundle, text: &str) {
    assert!(!text.contains("needle"), "{text}");
    let vault = std::fs::read_to_string(bundle.data().join("vault.json")).unwrap_or_default();
    let vault: Value = serde_json::from_str(&vault).unwrap_or_default();
    for entry in vault
        .as_object()
        .into_iter()
        .flat_map(|vault| vault.values())
    {
        for version in entry["versions"]
            .as_object()
            .into_iter()
            .flat_map(|versions| versions.values())
        {
            let key: Value =
                serde_json::from_str(version.as_str().expect("a version")).expect("JSON");
            let key = key["api_key"].as_str();
            assert!(key.is_none_or(|key| !text.contains(key)), "{text}");
        }
    }
}

/// Asks the simulated hub's Partner API as the partner's own credentials may.
async fn hub(
    bundle: &Bundle,
    method: Method,
    partner: &str,
    path: &str,
    body: Option<Value>,
) -> Value {
    let request = bundle.http.request(
        method,
        format!("{}/api/v2/partners/{partner}{path}", bundle.hub),
    );
    let secret = &bundle.secrets.file[partner];
    let request = match secret["partner_token"].as_str() {
        Some(token) => request.bearer_auth(token),
        None => request.header(
            "x-api-key",
            secret["partner_api_key"].as_str().expect("a key"),
        ),
    };
    let request = if let Some(body) = body {
        request.json(&body)
    } else {
        request
    };
    let answer = request.send().await.expect("an answer");
    assert!(answer.status().is_success(), "{}", answer.status());
    answer.json().await.expect("JSON")
}

/// Webhook URL and redirect URL that the hub has.
async fn addresses(bundle: &Bundle, partner: &str) -> (Value, Value) {
    let mut seen = hub(bundle, Method::GET, partner, "", None).await;
    (
        seen["webhook_url"].take(),
        seen["partner_redirect_url"].take(),
    )
}

async fn set_addresses(bundle: &Bundle, partner: &str, webhook: &str, redirect: &str) {
    let body = json!({"webhook_url": webhook, "partner_redirect_url": redirect});
    hub(bundle, Method::PATCH, partner, "", Some(body)).await;
}

fn ours(bundle: &Bundle, partner: &str) -> (Value, Value) {
    (
        json!(format!("{}/{partner}/webhook", bundle.url)),
        json!(format!("{}/{partner}/redirect", bundle.url)),
    )
}

/// A bundle whose hub knows no address of it.
async fn unconnected() -> Bundle {
    let bundle = crate::one_machine::start().await;
    for partner in [PARTNER, PAYING_PARTNER] {
        set_addresses(&bundle, partner, "", "").await;
    }
    bundle
}

fn hub_state(bundle: &Bundle) -> String {
    std::fs::read_to_string(bundle.data().join("hub.json")).expect("the hub's state")
}

#[tokio::test]
async fn every_partner_of_the_bundle_is_connected() {
    let bundle = unconnected().await;
    run(&bundle, CONNECT).await.is_fine(&[
        &format!("partner {PARTNER}"),
        &format!("partner {PAYING_PARTNER}"),
    ]);
    for partner in [PARTNER, PAYING_PARTNER] {
        assert_eq!(addresses(&bundle, partner).await, ours(&bundle, partner));
        let event = json!({"partner": partner, "event": "channel_live", "data": {"id": "aCH"}});
        let sent = bundle
            .http
            .post(format!("{}/_hub/event", bundle.hub))
            .json(&event)
            .send()
            .await;
        assert_eq!(
            sent.expect("an answer")
                .json::<Value>()
                .await
                .expect("JSON"),
            json!({"status": 200})
        );
    }
}

#[tokio::test]
async fn somebody_else_s_address_stays_and_with_it_everything_of_that_partner() {
    let bundle = unconnected().await;
    for (webhook, redirect) in [
        (FOREIGN, ""),
        ("", FOREIGN_REDIRECT),
        (FOREIGN, FOREIGN_REDIRECT),
    ] {
        set_addresses(&bundle, PARTNER, webhook, redirect).await;
        run_with(&bundle, CONNECT, &[("PARTNER_IDS", PAYING_PARTNER)])
            .await
            .is_fine(&[]);
        let (hub_before, table_before) = (hub_state(&bundle), bundle.scan().await);
        run_with(&bundle, CONNECT, &[("PARTNER_IDS", PARTNER)])
            .await
            .is_trouble(&["somebody else's", "--replace"]);
        assert_eq!(hub_state(&bundle), hub_before);
        assert_same(&table_before, &bundle.scan().await);
        run(&bundle, CONNECT)
            .await
            .is_trouble(&["is the bundle's already"]);
        assert_eq!(
            addresses(&bundle, PAYING_PARTNER).await,
            ours(&bundle, PAYING_PARTNER)
        );
    }
}

#[tokio::test]
async fn what_is_replaced_is_kept_and_put_back_whole() {
    let bundle = unconnected().await;
    set_addresses(&bundle, PARTNER, FOREIGN, FOREIGN_REDIRECT).await;
    run(&bundle, REPLACE).await.is_fine(&[
        "https://old.example/hook?…",
        FOREIGN_REDIRECT,
        "--remove puts it back",
    ]);
    assert_eq!(addresses(&bundle, PARTNER).await, ours(&bundle, PARTNER));
    run(&bundle, Ask::Remove)
        .await
        .is_fine(&["is https://old.example/hook?… again", "is none again"]);
    assert_eq!(
        addresses(&bundle, PARTNER).await,
        (json!(FOREIGN), json!(FOREIGN_REDIRECT))
    );
    assert_eq!(
        addresses(&bundle, PAYING_PARTNER).await,
        (Value::Null, Value::Null)
    );
}

#[tokio::test]
async fn the_same_command_twice_is_harmless() {
    let bundle = unconnected().await;
    set_addresses(&bundle, PARTNER, FOREIGN, FOREIGN_REDIRECT).await;
    run(&bundle, REPLACE).await.is_fine(&[]);
    for again in [REPLACE, CONNECT] {
        let (hub_before, table_before) = (hub_state(&bundle), bundle.scan().await);
        run(&bundle, again)
            .await
            .is_fine(&["is the bundle's already"]);
        assert_eq!(hub_state(&bundle), hub_before);
        assert_same(&table_before, &bundle.scan().await);
    }
    run(&bundle, Ask::Remove).await.is_fine(&[]);
    let (hub_before, table_before) = (hub_state(&bundle), bundle.scan().await);
    run(&bundle, Ask::Remove)
        .await
        .is_fine(&["is not the bundle's: left as it is"]);
    assert_eq!(hub_state(&bundle), hub_before);
    assert_same(&table_before, &bundle.scan().await);
    assert_eq!(
        addresses(&bundle, PARTNER).await,
        (json!(FOREIGN), json!(FOREIGN_REDIRECT))
    );
}

#[tokio::test]
async fn only_the_bundle_s_own_address_is_taken_away() {
    let bundle = unconnected().await;
    run(&bundle, CONNECT).await.is_fine(&[]);
    set_addresses(&bundle, PARTNER, FOREIGN, FOREIGN_REDIRECT).await;
    run(&bundle, Ask::Remove)
        .await
        .is_fine(&["is not the bundle's: left as it is"]);
    assert_eq!(
        addresses(&bundle, PARTNER).await,
        (json!(FOREIGN), json!(FOREIGN_REDIRECT))
    );

    let never = crate::one_machine::start().await;
    run(&never, Ask::Remove)
        .await
        .is_trouble(&["no old one was kept", "by hand"]);
    assert_eq!(addresses(&never, PARTNER).await, ours(&never, PARTNER));
}

#[tokio::test]
async fn the_test_event_is_kept_once_and_is_about_no_channel() {
    let bundle = unconnected().await;
    for _ in 0..2 {
        run(&bundle, CONNECT)
            .await
            .is_fine(&["takes a signed test event and refuses an unsigned one"]);
    }
    let items = bundle.scan().await;
    for partner in [PARTNER, PAYING_PARTNER] {
        let about =
            |item: &&String| item.contains(&format!("#{partner}")) && item.contains("connect_test");
        let raw: Vec<&String> = items.iter().filter(about).collect();
        let [raw] = raw.as_slice() else {
            panic!("{raw:?}")
        };
        assert!(raw.contains(&format!("S(\"RAW#{partner}#")), "{raw}");
    }
    assert!(
        !items
            .iter()
            .any(|item| item.contains("CHANNEL#") || item.contains("FACT#")),
        "{items:#?}"
    );
}

#[tokio::test]
async fn a_bundle_with_another_platform_secret_is_not_connected() {
    let bundle = unconnected().await;
    let mut other = bundle.secrets.file.clone();
    other[PARTNER]["platform_secret"] = json!("needle-another-secret");
    let file = bundle.directory.path().join("other.json");
    std::fs::write(&file, other.to_string()).expect("a file");
    let told = run_with(
        &bundle,
        CONNECT,
        &[("SECRETS_FILE", &file.display().to_string())],
    )
    .await;
    told.is_trouble(&[
        "refuses an event signed with this partner's platform secret",
        "Nothing was changed",
    ]);
    assert_eq!(
        addresses(&bundle, PARTNER).await,
        (Value::Null, Value::Null)
    );
    assert_eq!(
        addresses(&bundle, PAYING_PARTNER).await,
        ours(&bundle, PAYING_PARTNER)
    );
}

#[tokio::test]
async fn a_partner_whose_secret_is_missing_or_unusable_is_told_where_it_is() {
    let bundle = unconnected().await;
    let file = bundle.directory.path().join("other.json");
    let path = file.display().to_string();
    let good = bundle.secrets.file[PAYING_PARTNER].clone();
    for (secret, words) in [
        (None, "is missing: create it"),
        (
            Some(json!({"platform_secret": "needle"})),
            "cannot be used: partner_api_key is missing",
        ),
        (
            Some(json!({"platform_secret": 7, "partner_token": "needle"})),
            "cannot be used: platform_secret must be",
        ),
    ] {
        let mut secrets = json!({PAYING_PARTNER: good});
        if let Some(secret) = secret {
            secrets[PARTNER] = secret;
        }
        std::fs::write(&file, secrets.to_string()).expect("a file");
        let ids = format!("{PARTNER},{PAYING_PARTNER}");
        let told = run_with(
            &bundle,
            CONNECT,
            &[("SECRETS_FILE", &path), ("PARTNER_IDS", &ids)],
        )
        .await;
        told.is_trouble(&[&format!("the entry {PARTNER} in {path} {words}")]);
        assert_eq!(
            addresses(&bundle, PARTNER).await,
            (Value::Null, Value::Null)
        );
    }
}

#[tokio::test]
async fn a_partner_that_the_bundle_does_not_serve_is_not_connected() {
    let bundle = crate::one_machine::start_with(&[("PARTNER_IDS", PARTNER)]).await;
    set_addresses(&bundle, PAYING_PARTNER, "", "").await;
    let ids = format!("{PARTNER},{PAYING_PARTNER}");
    run_with(&bundle, CONNECT, &[("PARTNER_IDS", &ids)])
        .await
        .is_trouble(&["does not serve this partner id"]);
    assert_eq!(
        addresses(&bundle, PAYING_PARTNER).await,
        (Value::Null, Value::Null)
    );
    let told = run_with(&bundle, Ask::Check, &[("PARTNER_IDS", &ids)]).await;
    told.is_trouble(&[
        "does not serve this partner id",
        "confirmed      the bundle serves this partner",
    ]);
}

#[tokio::test]
async fn channels_with_keys_of_others_are_named_and_the_bundle_s_own_are_not() {
    let bundle = crate::one_machine::start().await;
    bundle
        .onboard(
            PARTNER,
            "acme",
            json!({"client": "aCL", "channels": ["oursCH"]}),
        )
        .await;
    bundle.stored(PARTNER, "acme", "oursCH").await;
    let signed = bundle.sign(PARTNER, "acme").await;
    let link = signed["url"].as_str().expect("a link");
    bundle
        .complete(
            link,
            json!({"client": "bCL", "channels": ["elderCH", "freshCH"]}),
        )
        .await;
    let path = "/channels/elderCH/api_keys";
    let key = tests::until(|| async {
        let filters = "/channels?filters=%7B%22id%22%3A%22elderCH%22%7D";
        let seen = hub(&bundle, Method::GET, PARTNER, filters, None).await;
        let is_running = seen["partner_channels"][0]["integration"]["state"] == "running";
        if is_running {
            Ok(hub(&bundle, Method::POST, PARTNER, path, None).await)
        } else {
            Err(seen.to_string())
        }
    });
    let key = key.await;
    let told = run(&bundle, CONNECT).await;
    told.is_fine(&[
        "elderCH        holds a key",
        "1 with keys of others, 1 with the bundle's own",
        "existing_key",
    ]);
    for silent in ["oursCH", "freshCH", key["api_key"].as_str().expect("a key")] {
        assert!(!told.text.contains(silent), "{silent}: {}", told.text);
    }
    let told = run(&bundle, Ask::Connect(Foreign::Refuse, Keys::Skip)).await;
    told.is_fine(&[]);
    assert!(!told.text.contains("elderCH"), "{}", told.text);
    assert_eq!(
        hub(&bundle, Method::GET, PARTNER, path, None).await["api_keys"][0]["id"],
        key["id"],
        "it lives"
    );
}

#[tokio::test]
async fn a_check_changes_nothing_and_says_what_it_could_confirm() {
    let bundle = crate::one_machine::start().await;
    for (client, number) in [("aCL", "oneCH"), ("bCL", "twoCH")] {
        bundle
            .onboard(
                PARTNER,
                "acme",
                json!({"client": client, "channels": [number]}),
            )
            .await;
        bundle
            .channel_until((PARTNER, "acme", number), |seen| seen["quality"] == "GREEN")
            .await;
        bundle.stored(PARTNER, "acme", number).await;
    }
    set_addresses(&bundle, PARTNER, FOREIGN, "").await;
    let table_before = bundle.scan_when_quiet("markerCH").await;
    let hub_before = hub_state(&bundle);
    let told = run(&bundle, Ask::Check).await;
    told.is_fine(&[
        "confirmed      the credentials are accepted (partner_token, as Authorization: Bearer)",
        "confirmed      the credentials are accepted (partner_api_key, as X-API-Key)",
        "confirmed      the webhook URL can be read",
        "confirmed      the redirect URL can be read",
        "confirmed      every channel has created_at",
        "confirmed      every channel has integration.state",
        "confirmed      filters by id are honoured",
        "confirmed      filters by client_id are honoured",
        "confirmed      limit and offset are honoured",
        "confirmed      keys can be listed",
        "confirmed      the bundle serves this partner",
        "unknown        filters by id are honoured: this account has no channel yet",
        "the webhook URL is somebody else's: only --replace would change anything",
        "the redirect URL would become the bundle's",
    ]);
    assert_eq!(hub_state(&bundle), hub_before);
    let after: Vec<String> = bundle
        .scan()
        .await
        .into_iter()
        .filter(|item| !item.contains("markerCH"))
        .collect();
    assert_same(&table_before, &after);
}
