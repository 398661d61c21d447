//! What a start takes from its settings, and the starts that must not succeed for what a file or another setting says.

use std::collections::BTreeMap;

use operator::Place;
use platform::clock;
use platform::settings::Environment;
use serde_json::{Value, json};
use tests::{Bundle, PARTNER, PAYING_PARTNER, Secrets};
use tokio::process::Command;

#[tokio::test]
async fn another_table_name_leads_to_a_key_too() {
    let bundle = super::start_with(&[("TABLE_NAME", "mytable")]).await;
    bundle
        .onboard(
            PARTNER,
            "acme",
            json!({"client": "aCL", "channels": ["oneCH"]}),
        )
        .await;
    bundle.stored(PARTNER, "acme", "oneCH").await;
    assert!(bundle.can_send(PARTNER, "oneCH").await);
    let environment = Environment::from_iter([("TABLE_NAME".to_owned(), "mytable".to_owned())]);
    let place = Place::open(&bundle.data(), &environment)
        .await
        .expect("the data");
    let story = place
        .why(
            &PARTNER.parse().expect("an id"),
            &"oneCH".parse().expect("an id"),
        )
        .await
        .expect("a story");
    assert!(story.contains("stored"), "{story}");
}

#[tokio::test]
async fn empty_items_of_partner_ids_are_passed_over() {
    let ids = format!("{PARTNER},,{PAYING_PARTNER}, ");
    let bundle = super::start_with(&[("PARTNER_IDS", &ids)]).await;
    bundle.sign(PAYING_PARTNER, "acme").await;
}

#[tokio::test]
async fn a_malformed_setting_is_named_at_the_start() {
    let bundle = super::start().await;
    for (name, value) in [
        ("PARTNER_IDS", ","),
        ("PARTNER_API_URL", "http://127.0.0.1:99999"),
        ("PARTNER_API_URL", "http://user:needle@127.0.0.1"),
        ("PUBLIC_URL", "https://app.example/?x"),
        (
            "ONBOARDING_URL",
            "https://hub.example/{channel_id}/permissions",
        ),
        ("HUB_API_KEYS_PATH", "/{channel_id}/{key_id}"),
    ] {
        let why = refuses_to_start(&bundle, &[("DATA", &elsewhere(&bundle)), (name, value)]).await;
        assert!(
            why.starts_with(&format!("{name} is malformed")),
            "{name}={value}: {why}"
        );
        assert!(!why.contains("needle"), "{why}");
    }
}

#[tokio::test]
async fn the_secret_of_every_served_partner_must_be_usable_at_the_start() {
    let bundle = super::start().await;
    let file = bundle.directory.path().join("other.json");
    let good = json!({"platform_secret": "needle", "partner_token": "needle"});
    let unusable: [(Value, &str); 3] = [
        (json!({PARTNER: good}), "missing"),
        (
            json!({PARTNER: good, PAYING_PARTNER: {"platform_secret": "needle"}}),
            "partner_api_key is missing",
        ),
        (
            json!({PARTNER: good, PAYING_PARTNER: {"platform_secret": 7, "partner_token": "needle"}}),
            "platform_secret",
        ),
    ];
    for (content, wrong) in unusable {
        std::fs::write(&file, content.to_string()).expect("the secrets file");
        let path = file.display().to_string();
        let ids = format!("{PARTNER},{PAYING_PARTNER}");
        let settings = [
            ("DATA", elsewhere(&bundle)),
            ("SECRETS_FILE", path),
            ("PARTNER_IDS", ids),
        ];
        let settings: Vec<(&str, &str)> = settings
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let why = refuses_to_start(&bundle, &settings).await;
        for part in ["SECRETS_FILE", PAYING_PARTNER, wrong] {
            assert!(why.contains(part), "{part}: {why}");
        }
        assert!(!why.contains("needle"), "{why}");
    }
}

#[tokio::test]
async fn a_previous_secret_that_is_to_live_for_too_long_is_warned_of() {
    let mut secrets = Secrets::two_hubs();
    let until = clock::now() + jiff::SignedDuration::from_hours(48);
    secrets.file[PARTNER]["previous_platform_secret"] =
        json!({"value": "needle-previous", "until": until.to_string()});
    let bundle = super::start_as(secrets, &[]).await;
    let log = bundle.log();
    let warned: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("previous_platform_secret"))
        .collect();
    let [warning] = warned.as_slice() else {
        panic!("{warned:?}")
    };
    assert!(
        warning.contains("WARN") && warning.contains(PARTNER) && !warning.contains("needle"),
        "{warning}"
    );
}

#[tokio::test]
async fn data_is_one_bundle_s_until_that_is_gone() {
    let mut bundle = super::start().await;
    let why = refuses_to_start(&bundle, &[]).await;
    assert!(
        why.starts_with("DATA ") && why.contains("another bundle"),
        "{why}"
    );
    bundle
        .onboard(
            PARTNER,
            "acme",
            json!({"client": "aCL", "channels": ["oneCH"]}),
        )
        .await;
    bundle.stored(PARTNER, "acme", "oneCH").await;
    // Killed, it keeps nothing locked; and who only looks on, needs no lock.
    bundle.kill_and_restart().await;
    let place = Place::open(&bundle.data(), &Environment::default())
        .await
        .expect("the data");
    assert!(
        place
            .key(
                &PARTNER.parse().expect("an id"),
                &"oneCH".parse().expect("an id")
            )
            .await
            .is_ok()
    );
}

/// A data directory beside the running bundle's.
fn elsewhere(bundle: &Bundle) -> String {
    bundle
        .directory
        .path()
        .join("elsewhere")
        .display()
        .to_string()
}

/// Starts another bundle with the settings of `bundle` and `other` ones, which must end by itself and fail; what it says
/// about it.
async fn refuses_to_start(bundle: &Bundle, other: &[(&str, &str)]) -> String {
    let mut settings: BTreeMap<&str, &str> = bundle
        .settings()
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    settings.extend(other.iter().copied());
    let mut program = Command::new(tests::program());
    let ended = program
        .env_clear()
        .envs(&settings)
        .env("RUST_LOG", "off")
        .kill_on_drop(true)
        .output();
    let ended = ended.await.expect("it ends");
    assert!(
        !ended.status.success() && ended.stdout.is_empty(),
        "{settings:?}"
    );
    String::from_utf8(ended.stderr).expect("text")
}
