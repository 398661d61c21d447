//! What `operator connect` does to 360dialog, to the table and to the terminal.

mod partner_api;

use operator::Instance;
use operator::connect::{Action, Keys, OnConflict, Outcome, Target, connect};
use reqwest::Method;
use runtime::settings::Environment;
use serde_json::{Value, json};
use tests::{
    Ask as _, Bundle, PARTNER, PAYING_PARTNER, assert_same, id, owned, pk, text, until_seen,
};

const CONNECT: Action = Action::Connect(OnConflict::Refuse, Keys::List);
const REPLACE: Action = Action::Connect(OnConflict::Replace, Keys::Skip);

/// Somebody else's address, with things in it that no terminal is to show.
pub(crate) const FOREIGN: &str =
    "https://needle-user:needle-password@old.example/hook?key=needle-query";
const FOREIGN_REDIRECT: &str = "https://old.example/back";

/// Neither webhook URL nor redirect URL.
pub(crate) const NONE: (Value, Value) = (Value::Null, Value::Null);

/// What a run of `operator connect` said and came to.
struct Told {
    outcome: Outcome,
    text: String,
}

impl Told {
    /// All is well, and every one of `words` was said.
    #[track_caller]
    fn is_fine(&self, words: &[&str]) {
        assert_eq!(self.outcome, Outcome::Fine, "{}", self.text);
        says(&self.text, words);
    }

    /// There was trouble, and every one of `words` was said.
    #[track_caller]
    fn is_trouble(&self, words: &[&str]) {
        assert_eq!(self.outcome, Outcome::Trouble, "{}", self.text);
        says(&self.text, &["  TROUBLE "]);
        says(&self.text, words);
    }
}

#[track_caller]
pub(crate) fn says(text: &str, words: &[&str]) {
    for words in words {
        assert!(text.contains(words), "{words} is missing in:\n{text}");
    }
}

/// Runs `operator connect` on `bundle` with its own settings and `other` ones; nothing it says may be secret.
async fn run_with(bundle: &Bundle, action: Action, other: &[(&str, &str)]) -> Told {
    let api = format!("{}/api/v2", bundle.hub);
    let mut settings = owned(&[("PARTNER_API_URL", &api)]);
    settings.extend(bundle.settings().clone());
    settings.extend(owned(other));
    let address = bundle.url.parse().expect("an address");
    let environment: Environment = settings.into_iter().collect();
    let instance = Instance::from_data(&environment).await.expect("the data");
    let target = Target::new(&instance, Some(address), &[]);
    let mut text = String::new();
    let mut say = |line: &str| text.extend([line, "\n"]);
    let outcome = connect(&target.expect("a target"), action, &mut say).await;
    assert_nothing_secret(bundle, &text).await;
    Told { outcome, text }
}

async fn run(bundle: &Bundle, action: Action) -> Told {
    run_with(bundle, action, &[]).await
}

async fn assert_nothing_secret(bundle: &Bundle, said: &str) {
    assert!(!said.contains("needle"), "{said}");
    for partner in [PARTNER, PAYING_PARTNER] {
        let items = bundle
            .table()
            .await
            .scan_kinds(&id(partner), &["KEY"])
            .await;
        for item in items.expect("a scan") {
            let channel = pk(&item).rsplit('#').next().expect("an id").to_owned();
            let Some(key) = bundle.stored_key(partner, &channel).await else {
                continue;
            };
            assert!(!said.contains(text(&key["api_key"])), "{said}");
        }
    }
}

/// Asks the simulated hub's Partner API as the partner's own credentials may.
async fn hub(bundle: &Bundle, method: Method, path: &str, body: Option<Value>) -> Value {
    let url = format!("{}/api/v2/partners/{path}", bundle.hub);
    let partner = path.split('/').next().unwrap_or_default();
    let secret = &bundle.secrets.file[partner];
    let mut request = bundle.http.request(method, url);
    request = match secret["partner_token"].as_str() {
        Some(token) => request.bearer_auth(token),
        None => request.header("x-api-key", text(&secret["partner_api_key"])),
    };
    if let Some(body) = body {
        request = request.json(&body);
    }
    let answer = request.ask().await;
    assert!((200..300).contains(&answer.status), "{}", answer.status);
    answer.json()
}

/// Webhook URL and redirect URL that the hub has.
pub(crate) async fn addresses(bundle: &Bundle, partner: &str) -> (Value, Value) {
    let mut seen = hub(bundle, Method::GET, partner, None).await;
    let webhook = seen["webhook_url"].take();
    (webhook, seen["partner_redirect_url"].take())
}

pub(crate) async fn set_addresses(bundle: &Bundle, partner: &str, webhook: &str, redirect: &str) {
    let body = json!({"webhook_url": webhook, "partner_redirect_url": redirect});
    hub(bundle, Method::PATCH, partner, Some(body)).await;
}

/// Fails unless both addresses that the hub has are the bundle's.
pub(crate) async fn is_connected(bundle: &Bundle, partner: &str) {
    assert_eq!(addresses(bundle, partner).await, ours(bundle, partner));
}

fn ours(bundle: &Bundle, partner: &str) -> (Value, Value) {
    let address = |end: &str| json!(format!("{}/{partner}/{end}", bundle.url));
    (address("webhook"), address("redirect"))
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

/// Runs it; neither the hub nor the table changes.
async fn changes_nothing(bundle: &Bundle, action: Action, other: &[(&str, &str)]) -> Told {
    let (hub_before, table_before) = (hub_state(bundle), bundle.scan().await);
    let told = run_with(bundle, action, other).await;
    assert_eq!(hub_state(bundle), hub_before);
    assert_same(&table_before, &bundle.scan().await);
    told
}

#[tokio::test]
async fn every_partner_of_the_bundle_is_connected() {
    let bundle = unconnected().await;
    let partners = [PARTNER, PAYING_PARTNER].map(|partner| format!("partner {partner}"));
    let told = run(&bundle, CONNECT).await;
    told.is_fine(&[&partners[0], &partners[1]]);
    for partner in [PARTNER, PAYING_PARTNER] {
        is_connected(&bundle, partner).await;
        let event = json!({"partner": partner, "event": "channel_live", "data": {"id": "aCH"}});
        let url = format!("{}/_hub/event", bundle.hub);
        let sent = bundle.http.post(url).json(&event).ask().await;
        assert_eq!(sent.json(), json!({"status": 200}));
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
        let other = [("PARTNER_IDS", PAYING_PARTNER)];
        run_with(&bundle, CONNECT, &other).await.is_fine(&[]);
        let told = changes_nothing(&bundle, CONNECT, &[("PARTNER_IDS", PARTNER)]).await;
        told.is_trouble(&["somebody else's", "--replace"]);
        let told = run(&bundle, CONNECT).await;
        told.is_trouble(&["is the bundle's already"]);
        is_connected(&bundle, PAYING_PARTNER).await;
    }
}

#[tokio::test]
async fn what_is_replaced_is_kept_and_put_back_whole_and_twice_is_harmless() {
    let bundle = unconnected().await;
    set_addresses(&bundle, PARTNER, FOREIGN, FOREIGN_REDIRECT).await;
    run(&bundle, REPLACE).await.is_fine(&[
        "https://old.example/hook?…",
        FOREIGN_REDIRECT,
        "--remove puts it back",
    ]);
    is_connected(&bundle, PARTNER).await;
    for again in [REPLACE, CONNECT] {
        let told = changes_nothing(&bundle, again, &[]).await;
        told.is_fine(&["is the bundle's already"]);
    }
    let told = run(&bundle, Action::Remove).await;
    told.is_fine(&["is https://old.example/hook?… again", "is none again"]);
    let told = changes_nothing(&bundle, Action::Remove, &[]).await;
    told.is_fine(&["is not the bundle's: left as it is"]);
    let foreign = (json!(FOREIGN), json!(FOREIGN_REDIRECT));
    assert_eq!(addresses(&bundle, PARTNER).await, foreign);
    assert_eq!(addresses(&bundle, PAYING_PARTNER).await, NONE);
}

#[tokio::test]
async fn only_the_bundle_s_own_address_is_taken_away() {
    let bundle = unconnected().await;
    run(&bundle, CONNECT).await.is_fine(&[]);
    set_addresses(&bundle, PARTNER, FOREIGN, FOREIGN_REDIRECT).await;
    let told = run(&bundle, Action::Remove).await;
    told.is_fine(&["is not the bundle's: left as it is"]);
    let foreign = (json!(FOREIGN), json!(FOREIGN_REDIRECT));
    assert_eq!(addresses(&bundle, PARTNER).await, foreign);

    let never = super::start().await;
    let told = run(&never, Action::Remove).await;
    told.is_trouble(&["no old one was kept", "by hand"]);
    is_connected(&never, PARTNER).await;
}

#[tokio::test]
async fn the_test_event_is_kept_once_and_is_about_no_channel() {
    let bundle = unconnected().await;
    for _ in 0..2 {
        let told = run(&bundle, CONNECT).await;
        told.is_fine(&["takes a signed test event and refuses an unsigned one"]);
    }
    let items = bundle.scan().await;
    for partner in [PARTNER, PAYING_PARTNER] {
        let of_partner = format!("#{partner}");
        let tests = items.iter().filter(|item| item.contains("connect_test"));
        let raw: Vec<_> = tests.filter(|item| item.contains(&of_partner)).collect();
        assert_eq!(raw.len(), 1, "{raw:?}");
        says(raw[0], &[&format!("S(\"RAW#{partner}#")]);
    }
    let is_about_a_channel = |item: &String| item.contains("CHANNEL#") || item.contains("FACT#");
    assert!(!items.iter().any(is_about_a_channel), "{items:#?}");
}

#[tokio::test]
async fn a_partner_whose_secret_is_missing_unusable_or_another_is_not_connected() {
    let bundle = unconnected().await;
    let file = bundle.directory.path().join("other.json");
    let path = file.display().to_string();
    let good = bundle.secrets.file[PAYING_PARTNER].clone();
    let at = |words: &str| format!("the entry {PARTNER} in {path} {words}");
    let another =
        json!({"platform_secret": "needle-another", "partner_token": "needle-token-direct-0002"});
    let wrong_token = json!({"platform_secret": bundle.secrets.platform_secret(PARTNER), "partner_token": "needle-wrong"});
    let refused = "refuses an event signed with this partner's platform secret";
    for (secret, words) in [
        (None, at("is missing: create it")),
        (
            Some(json!({"platform_secret": "needle"})),
            at("cannot be used: partner_api_key is missing"),
        ),
        (
            Some(json!({"platform_secret": 7, "partner_token": "needle"})),
            at("cannot be used: platform_secret must be"),
        ),
        (Some(another), refused.to_owned()),
        (Some(wrong_token), "refuses the credentials".to_owned()),
    ] {
        let mut secrets = json!({PAYING_PARTNER: good});
        if let Some(secret) = secret {
            secrets[PARTNER] = secret;
        }
        std::fs::write(&file, secrets.to_string()).expect("a file");
        let ids = format!("{PARTNER},{PAYING_PARTNER}");
        let settings = [("SECRETS_FILE", path.as_str()), ("PARTNER_IDS", &ids)];
        let told = run_with(&bundle, CONNECT, &settings).await;
        told.is_trouble(&[&words]);
        assert_eq!(addresses(&bundle, PARTNER).await, NONE);
        is_connected(&bundle, PAYING_PARTNER).await;
    }
}

#[tokio::test]
async fn a_partner_that_the_bundle_does_not_serve_is_not_connected() {
    let bundle = super::start_with(&[("PARTNER_IDS", PARTNER)]).await;
    set_addresses(&bundle, PAYING_PARTNER, "", "").await;
    let ids = format!("{PARTNER},{PAYING_PARTNER}");
    let told = run_with(&bundle, CONNECT, &[("PARTNER_IDS", &ids)]).await;
    told.is_trouble(&["does not serve this partner id"]);
    assert_eq!(addresses(&bundle, PAYING_PARTNER).await, NONE);
    let told = run_with(&bundle, Action::Check, &[("PARTNER_IDS", &ids)]).await;
    told.is_trouble(&[
        "does not serve this partner id",
        "confirmed      the bundle serves this partner",
    ]);
}

#[tokio::test]
async fn channels_with_keys_of_others_are_named_and_the_bundle_s_own_are_not() {
    let bundle = super::start().await;
    bundle.grant_and_store("acme", "oursCH").await;
    let signed = bundle.sign(PARTNER, "acme").await;
    let choice = json!({"client": "bCL", "channels": ["elderCH", "freshCH"]});
    bundle.complete(&signed, choice).await;
    let elder = format!("{PARTNER}/channels?filters=%7B%22id%22%3A%22elderCH%22%7D");
    let is_running =
        |seen: &Value| seen["partner_channels"][0]["integration"]["state"] == "running";
    until_seen(|| hub(&bundle, Method::GET, &elder, None), is_running).await;
    let keys = format!("{PARTNER}/channels/elderCH/api_keys");
    let key = hub(&bundle, Method::POST, &keys, None).await;
    let told = run(&bundle, CONNECT).await;
    told.is_fine(&[
        "elderCH        holds a key",
        "1 with keys of others, 1 with the bundle's own",
        "existing_key",
    ]);
    for silent in ["oursCH", "freshCH", text(&key["api_key"])] {
        assert!(!told.text.contains(silent), "{silent}: {}", told.text);
    }
    let told = run(&bundle, Action::Connect(OnConflict::Refuse, Keys::Skip)).await;
    told.is_fine(&[]);
    assert!(!told.text.contains("elderCH"), "{}", told.text);
    let alive = hub(&bundle, Method::GET, &keys, None).await;
    assert_eq!(alive["api_keys"][0]["id"], key["id"]);
}

#[tokio::test]
async fn a_check_changes_nothing_and_says_what_it_could_confirm() {
    let bundle = super::start().await;
    for (client, number) in [("aCL", "oneCH"), ("bCL", "twoCH")] {
        let choice = json!({"client": client, "channels": [number]});
        bundle.onboard(PARTNER, "acme", choice).await;
        bundle.complete_story(PARTNER, "acme", number).await;
    }
    set_addresses(&bundle, PARTNER, FOREIGN, "").await;
    bundle.scan_when_quiet().await;
    changes_nothing(&bundle, Action::Check, &[])
        .await
        .is_fine(&[
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
}
