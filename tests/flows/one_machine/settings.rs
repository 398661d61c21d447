//! What a start takes from its settings, the starts that must not succeed, and a stop that is asked for.

use std::net::TcpListener;

use operator::Instance;
use runtime::clock;
use runtime::settings::Environment;
use serde_json::json;
use tests::{Bundle, PARTNER, Secrets, channel_ref, owned};
use tokio::process::Command;

#[tokio::test]
async fn a_clean_stop_succeeds_and_takes_its_address_back() {
    let mut bundle = super::start().await;
    bundle.grant_and_store("acme", "oneCH").await;
    let endpoint = bundle.data().join("endpoint");
    assert!(endpoint.exists());
    bundle.stop().await;
    assert!(!endpoint.exists());
    bundle.kill_and_restart().await;
    let seen = bundle.stored(PARTNER, "acme", "oneCH").await;
    assert_eq!(seen["claim"], "confirmed");
    bundle.can_send(PARTNER, "oneCH").await;
}

#[tokio::test]
async fn another_table_name_leads_to_a_key_too() {
    let table = [("TABLE_NAME", "mytable")];
    let bundle = super::start_with(&table).await;
    bundle.grant_and_store("acme", "oneCH").await;
    bundle.can_send(PARTNER, "oneCH").await;
    let instance = instance(&bundle, &table).await;
    let story = instance.why(&channel_ref(PARTNER, "oneCH")).await;
    assert!(story.expect("a story").contains("stored"));
}

#[tokio::test]
async fn a_start_that_cannot_succeed_names_the_setting() {
    let bundle = super::start().await;
    let taken = TcpListener::bind("127.0.0.1:0").expect("an address");
    let taken = taken.local_addr().expect("its address").to_string();
    let unusable = bundle.directory.path().join("other.json");
    let content = json!({PARTNER: {"platform_secret": "needle"}}).to_string();
    std::fs::write(&unusable, content).expect("the secrets file");
    for (name, value) in [
        ("LISTEN", taken.as_str()),
        ("HUB_LISTEN", &taken),
        ("LISTEN", "nowhere"),
        ("HUB", "real"),
        ("AUTO_PROVISION", "maybe"),
        ("IO_SIGNATURE_ENCODING", "base58"),
        ("IO_TIMESTAMP_WINDOW", "-1"),
        ("ALLOWED_ORIGINS", "https://app.example/path"),
        ("PARTNER_IDS", "not an id"),
        ("HUB_API_KEYS_PATH", "/keys"),
        ("PUBLIC_URL", "app.example"),
        ("SECRETS_FILE", "/nowhere/secrets.json"),
        ("SECRETS_FILE", unusable.to_str().expect("a path")),
        ("DATA", "/proc/nothing/here"),
    ] {
        let data = elsewhere(&bundle);
        let why = refuses_to_start(&bundle, &[("DATA", &data), (name, value)]).await;
        assert!(why.contains(name), "{name}={value}: {why}");
    }
    for (name, value) in [
        ("PARTNER_IDS", ","),
        ("PARTNER_API_URL", "http://127.0.0.1:99999"),
        ("PARTNER_API_URL", "http://user:needle@127.0.0.1"),
        ("PUBLIC_URL", "https://app.example/?x"),
        ("ONBOARDING_URL", "https://hub.example/{channel_id}"),
        ("HUB_API_KEYS_PATH", "/{channel_id}/{key_id}"),
    ] {
        let data = elsewhere(&bundle);
        let why = refuses_to_start(&bundle, &[("DATA", &data), (name, value)]).await;
        let malformed = format!("{name} is malformed");
        assert!(why.starts_with(&malformed), "{name}={value}: {why}");
    }
}

#[tokio::test]
async fn a_previous_secret_that_is_to_live_for_too_long_is_warned_of() {
    let mut secrets = Secrets::two_hubs();
    let until = clock::now() + jiff::SignedDuration::from_hours(73);
    let previous = json!({"value": "needle-previous", "until": until.to_string()});
    secrets.file[PARTNER]["previous_platform_secret"] = previous;
    let bundle = super::start_as(secrets, &[]).await;
    let log = bundle.log();
    let warned = log
        .lines()
        .filter(|line| line.contains("previous_platform_secret"));
    let warned: Vec<&str> = warned.collect();
    assert_eq!(warned.len(), 1, "{warned:?}");
    assert!(warned[0].contains("WARN") && warned[0].contains(PARTNER));
    assert!(!warned[0].contains("needle"));
}

#[tokio::test]
async fn data_is_one_bundle_s_until_that_is_gone() {
    let mut bundle = super::start().await;
    let why = refuses_to_start(&bundle, &[]).await;
    let is_told = why.starts_with("DATA ") && why.contains("another bundle");
    assert!(is_told, "{why}");
    // Killed, it keeps nothing locked; and who only looks on, needs no lock.
    bundle.kill_and_restart().await;
    bundle.grant_and_store("acme", "oneCH").await;
    let instance = instance(&bundle, &[]).await;
    let key = instance.key(&channel_ref(PARTNER, "oneCH")).await;
    key.expect("a key");
}

/// The data directory of `bundle` as the operator opens it, with `other` settings.
async fn instance(bundle: &Bundle, other: &[(&str, &str)]) -> Instance {
    let data = bundle.data().display().to_string();
    let environment = Environment::from_iter(owned(other)).with_default("DATA", data);
    Instance::from_data(&environment).await.expect("the data")
}

/// A data directory beside the running bundle's.
fn elsewhere(bundle: &Bundle) -> String {
    let elsewhere = bundle.directory.path().join("elsewhere");
    elsewhere.display().to_string()
}

/// Starts another bundle with the settings of `bundle` and `other` ones, which must end by itself and fail; what it says
/// about it, without a secret.
async fn refuses_to_start(bundle: &Bundle, other: &[(&str, &str)]) -> String {
    let mut program = Command::new(tests::program());
    program
        .env_clear()
        .envs(bundle.settings())
        .envs(owned(other));
    program.env("RUST_LOG", "off").kill_on_drop(true);
    let ended = program.output().await.expect("it ends");
    assert!(!ended.status.success() && ended.stdout.is_empty());
    let why = String::from_utf8(ended.stderr).expect("text");
    assert!(!why.contains("needle"), "{why}");
    why
}
