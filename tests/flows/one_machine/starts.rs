//! Starts of the bundle on one machine that must not succeed, and a stop that is asked for.

use std::collections::BTreeMap;
use std::net::TcpListener;

use serde_json::json;
use tests::{Backend, PARTNER};
use tokio::process::Command;

#[tokio::test]
async fn a_clean_stop_succeeds_and_takes_its_address_back() {
    let mut bundle = super::start().await;
    bundle
        .onboard(
            PARTNER,
            "acme",
            json!({"client": "aCL", "channels": ["oneCH"]}),
        )
        .await;
    bundle.stored(PARTNER, "acme", "oneCH").await;
    let endpoint = bundle.data().join("endpoint");
    assert!(endpoint.exists());
    bundle.stop().await;
    assert!(!endpoint.exists());
    bundle.kill_and_restart().await;
    assert_eq!(
        bundle.stored(PARTNER, "acme", "oneCH").await["claim"],
        "confirmed"
    );
    assert!(bundle.can_send(PARTNER, "oneCH").await);
}

#[tokio::test]
async fn a_start_that_cannot_succeed_names_the_setting() {
    let directory = tempfile::tempdir().expect("a directory");
    let taken = TcpListener::bind("127.0.0.1:0").expect("an address");
    let taken = taken.local_addr().expect("its address").to_string();
    let data = directory.path().join("data").display().to_string();
    let free = BTreeMap::from([
        ("LISTEN", "127.0.0.1:0"),
        ("HUB_LISTEN", "127.0.0.1:0"),
        ("DATA", &data),
    ]);
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
        ("DATA", "/proc/nothing/here"),
    ] {
        let mut settings = free.clone();
        settings.insert(name, value);
        let why = refuses_to_start(&settings).await;
        assert!(why.contains(name), "{name}={value}: {why}");
    }
}

#[tokio::test]
async fn without_the_simulated_hub_every_missing_setting_is_named() {
    let directory = tempfile::tempdir().expect("a directory");
    let secrets = directory.path().join("secrets.json");
    let content = json!({PARTNER: {"platform_secret": "s", "partner_token": "t"}});
    std::fs::write(&secrets, content.to_string()).expect("the secrets file");
    let (data, secrets) = (
        directory.path().join("data").display().to_string(),
        secrets.display().to_string(),
    );
    let mut settings = BTreeMap::from([
        ("HUB", "none"),
        ("LISTEN", "127.0.0.1:0"),
        ("DATA", data.as_str()),
    ]);
    for (name, value) in [
        ("SECRETS_FILE", secrets.as_str()),
        ("PARTNER_IDS", PARTNER),
        ("PARTNER_API_URL", "http://127.0.0.1:9"),
        ("ALLOWED_ORIGINS", "https://app.example"),
        ("JWT_HS256_SECRET", "a secret"),
    ] {
        let why = refuses_to_start(&settings).await;
        assert!(why.contains(name), "{name}: {why}");
        settings.insert(name, value);
    }
}

/// Starts the program, which must end by itself and fail; what it says about it.
async fn refuses_to_start(settings: &BTreeMap<&str, &str>) -> String {
    Backend::OneMachine.is_needed();
    let mut program = Command::new(tests::program());
    let ended = program
        .env_clear()
        .envs(settings)
        .env("RUST_LOG", "off")
        .kill_on_drop(true)
        .output();
    let ended = ended.await.expect("it ends");
    assert!(!ended.status.success(), "{settings:?}");
    assert!(ended.stdout.is_empty(), "{settings:?}");
    String::from_utf8(ended.stderr).expect("text")
}
