//! An operator's decisions: whose a client is, and that a claim is refused.

use runtime::clock;
use serde_json::{Value, json};
use tests::aws::stack::STACK;
use tests::partner_api::{CLIENT, NUMBER, SimulatedPartnerApi};
use tests::partner_api::{channel, claim, new_channel};
use tests::{Bundle, PARTNER, is_on_aws};

use super::{fails, says};

const LONG_AGO: Option<&str> = Some("2020-02-02T02:02:02Z");

/// Two tenants claim a client with an old number, so that both claims are held.
async fn contested() -> (SimulatedPartnerApi, Bundle) {
    let api = SimulatedPartnerApi::start().await;
    api.adds(channel(NUMBER, LONG_AGO)).await;
    let bundle = api.bundle(&[]).await;
    if is_on_aws() {
        bundle.aws().deploy(STACK, &[]);
    }
    claim(&bundle, PARTNER, NUMBER).await;
    claim_as(&bundle, "globex").await;
    for tenant in ["acme", "globex"] {
        is_held(&bundle, tenant).await;
    }
    bundle.scan_when_quiet().await;
    (api, bundle)
}

async fn claim_as(bundle: &Bundle, tenant: &str) {
    let query = format!("client={CLIENT}&channels=[{NUMBER}]");
    bundle.claim(PARTNER, tenant, &query).await;
}

async fn is_held(bundle: &Bundle, tenant: &str) {
    let about = (PARTNER, tenant, NUMBER);
    bundle
        .channel_until(about, |seen| seen["claim"] == "held")
        .await;
}

async fn is_gone(bundle: &Bundle, tenant: &str) {
    let about = (PARTNER, tenant, NUMBER);
    bundle.channel_until(about, Value::is_null).await;
}

/// The id of the held claim of `tenant`, as it is listed.
async fn held_claim(bundle: &Bundle, tenant: &str) -> String {
    let held = says(bundle, &["list", PARTNER, "--held"]).await;
    let of_tenant = format!(" tenant={tenant} ");
    let line = held.lines().find(|line| line.contains(&of_tenant));
    let words = line.unwrap_or_default().split_whitespace();
    let mut ids = words.filter_map(|word| word.strip_prefix("claim="));
    ids.next().unwrap_or_else(|| panic!("{held}")).to_owned()
}

/// I5
#[tokio::test]
async fn a_contested_client_is_listed_and_confirm_gives_it_to_one_and_refuses_the_other() {
    let (api, bundle) = contested().await;
    let listed = says(&bundle, &["list", PARTNER]).await;
    for words in [
        "contested  client=aCL owner=- tenants=acme,globex\n",
        " client=aCL tenant=globex since=",
        " channels=oneCH revoked=-\n",
        "\n2 held, 1 contested, 0 blocked, 1 unclaimed\n",
    ] {
        assert!(listed.contains(words), "{words}: {listed}");
    }
    let foreign = ["confirm", PARTNER, CLIENT, "initech"];
    fails(&bundle, &foreign, "initech has no open claim on client aCL").await;
    let unbound = ["move", PARTNER, CLIENT, "globex"];
    fails(
        &bundle,
        &unbound,
        "client aCL of aAbBcCPA belongs to no tenant",
    )
    .await;

    let done = says(&bundle, &["confirm", PARTNER, CLIENT, "globex"]).await;
    assert!(
        done.contains("is given to globex, with 1 known channels"),
        "{done}"
    );
    bundle.stored(PARTNER, "globex", NUMBER).await;
    is_gone(&bundle, "acme").await;
    api.has_live_key(&bundle, NUMBER).await;
    let story = says(&bundle, &["why", PARTNER, NUMBER]).await;
    let decided = "  operator bound  confirm aCL globex ";
    assert!(story.contains(decided), "{story}");
    bundle.scan_when_quiet().await;
    let listed = says(&bundle, &["list", PARTNER, "--contested"]).await;
    assert_eq!(listed, "0 contested\n");

    for (tenant, words) in [
        ("globex", "belongs to globex already: nothing is to be done"),
        (
            "acme",
            "belongs to globex already: `operator move aAbBcCPA aCL TENANT`",
        ),
    ] {
        fails(&bundle, &["confirm", PARTNER, CLIENT, tenant], words).await;
    }
}

/// I5
#[tokio::test]
async fn once_one_of_two_contested_claims_is_refused_the_other_is_settled_by_its_next_look() {
    let (api, bundle) = contested().await;
    // Only the other claim is in the way now.
    let now = clock::now().to_string();
    api.adds(channel(NUMBER, Some(&now))).await;
    let refused = held_claim(&bundle, "acme").await;
    let done = says(&bundle, &["refuse", PARTNER, &refused]).await;
    assert!(
        done.contains("judges the 1 other open claims again"),
        "{done}"
    );
    bundle.stored(PARTNER, "globex", NUMBER).await;
    is_gone(&bundle, "acme").await;
    api.has_live_key(&bundle, NUMBER).await;
    let story = says(&bundle, &["why", PARTNER, NUMBER]).await;
    let told = format!("  operator raw  refuse {refused} of acme\n    changed nothing\n");
    assert!(story.contains(&told), "{story}");

    // Again does no harm, should the first time have been interrupted.
    let done = says(&bundle, &["refuse", PARTNER, &refused]).await;
    assert!(done.contains("nobody else claims it"), "{done}");
    for (claim, words) in [
        ("1", "there is no claim 1 of aAbBcCPA"),
        ("x y", "a claim's id is the second of its session"),
    ] {
        fails(&bundle, &["refuse", PARTNER, claim], words).await;
    }
}

/// I5
#[tokio::test]
async fn a_claim_on_an_old_number_is_held_even_alone_until_it_is_confirmed() {
    let (api, bundle) = contested().await;
    bundle.scan_when_quiet().await;
    let reads = api.asked("channels").await;
    let refused = held_claim(&bundle, "globex").await;
    says(&bundle, &["refuse", PARTNER, &refused]).await;
    api.is_asked("channels", reads + 1).await;
    is_held(&bundle, "acme").await;
    assert_eq!(api.posts(NUMBER).await, 0);

    says(&bundle, &["confirm", PARTNER, CLIENT, "acme"]).await;
    bundle.stored(PARTNER, "acme", NUMBER).await;
    let confirmed = bundle.channel(PARTNER, "acme", NUMBER).await;
    assert_eq!(confirmed.expect("it is theirs")["claim"], "confirmed");
}

/// I5
#[tokio::test]
async fn a_client_moves_with_its_channels_to_a_tenant_that_claims_nothing() {
    let (api, bundle) = SimulatedPartnerApi::with_new(NUMBER).await;
    api.adds(new_channel("twoCH")).await;
    if is_on_aws() {
        bundle.aws().deploy(STACK, &[]);
    }
    claim(&bundle, PARTNER, &format!("{NUMBER},twoCH")).await;
    for number in [NUMBER, "twoCH"] {
        bundle.stored(PARTNER, "acme", number).await;
    }
    bundle.scan_when_quiet().await;
    // Of a number that 360dialog lists no more, and of one that it lists only now.
    let elsewhere = json!({"channel": "twoCH", "client": "zCL", "stage": "running"});
    api.adds(elsewhere).await;
    api.adds(new_channel("threeCH")).await;

    let done = says(&bundle, &["move", PARTNER, CLIENT, "globex"]).await;
    assert!(
        done.contains("is given to globex, with 2 known channels"),
        "{done}"
    );
    for number in [NUMBER, "twoCH"] {
        bundle.stored(PARTNER, "globex", number).await;
    }
    let about = (PARTNER, "globex", "threeCH");
    bundle.channel_until(about, |seen| !seen.is_null()).await;
    bundle.scan_when_quiet().await;
    assert!(bundle.channels(PARTNER, "acme").await.is_empty());
    for number in [NUMBER, "twoCH"] {
        assert_eq!(api.posts(number).await, 1, "the key of {number} stays");
    }
    let story = says(&bundle, &["why", PARTNER, "twoCH"]).await;
    for words in [
        "  operator bound  move aCL globex ",
        "tenant: acme → globex",
    ] {
        assert!(story.contains(words), "{words}: {story}");
    }

    // Whose it was cannot get it back by a link of its own.
    claim(&bundle, PARTNER, NUMBER).await;
    is_gone(&bundle, "acme").await;
    let again = ["move", PARTNER, CLIENT, "globex"];
    fails(
        &bundle,
        &again,
        "belongs to globex already: nothing is to be done",
    )
    .await;
    says(&bundle, &["move", PARTNER, CLIENT, "acme"]).await;
    bundle.stored(PARTNER, "acme", NUMBER).await;
    is_gone(&bundle, "globex").await;
}

/// I5: the look has read whose the client was before.
#[tokio::test]
async fn a_client_that_moves_during_a_look_stays_moved() {
    let (api, bundle) = SimulatedPartnerApi::with_new(NUMBER).await;
    if is_on_aws() {
        bundle.aws().deploy(STACK, &[]);
    }
    claim(&bundle, PARTNER, NUMBER).await;
    bundle.stored(PARTNER, "acme", NUMBER).await;
    bundle.scan_when_quiet().await;
    let before = api.asked("channels").await;
    api.replies("channels", json!({"hold": true})).await;
    claim(&bundle, PARTNER, "otherCH").await;
    api.is_asked("channels", before + 1).await;
    says(&bundle, &["move", PARTNER, CLIENT, "globex"]).await;
    api.recovers().await;
    bundle.stored(PARTNER, "globex", NUMBER).await;
    bundle.scan_when_quiet().await;
    bundle.stored(PARTNER, "globex", NUMBER).await;
    is_gone(&bundle, "acme").await;
    assert_eq!(api.posts(NUMBER).await, 1, "the key stays");
}

/// I5: the look has read the claim before.
#[tokio::test]
async fn a_claim_that_is_refused_during_a_look_binds_nothing() {
    let (api, bundle) = SimulatedPartnerApi::with_new(NUMBER).await;
    if is_on_aws() {
        bundle.aws().deploy(STACK, &[]);
    }
    api.replies("channels", json!({"hold": true})).await;
    let signed = bundle.sign(PARTNER, "acme").await;
    let query = format!("client={CLIENT}&channels=[{NUMBER}]");
    bundle.come_back_with(&signed, &query).await.is(200);
    api.is_asked("channels", 1).await;
    let claim = signed["timestamp"].to_string();
    let done = says(&bundle, &["refuse", PARTNER, &claim]).await;
    assert!(done.contains("is refused; nobody else claims it"), "{done}");
    api.recovers().await;
    bundle.scan_when_quiet().await;
    is_gone(&bundle, "acme").await;
    assert_eq!(api.posts(NUMBER).await, 0);
}
