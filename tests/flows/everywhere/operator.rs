//! What a person on duty sees of a number and of the queue, and decides, by the program `operator`.

mod connect;
mod decisions;
mod healing;

use serde_json::json;
use store::Mints;
use tests::aws::stack::STACK;
use tests::partner_api::{NUMBER, SimulatedPartnerApi, asks_to_wait, claim, new_channel};
use tests::{Bundle, PARTNER, channel_ref, is_on_aws, text, until};

/// What the operator is told; it must end well.
async fn says(bundle: &Bundle, arguments: &[&str]) -> String {
    let (code, said) = bundle.operator(STACK, arguments).await;
    assert_eq!(code, Some(0), "{arguments:?}: {said}");
    said
}

/// Fails unless the operator is told `words`, and that it did not end well.
async fn fails(bundle: &Bundle, arguments: &[&str], words: &str) {
    let (code, said) = bundle.operator(STACK, arguments).await;
    assert_eq!(code, Some(1), "{arguments:?}: {said}");
    assert!(said.contains(words), "{words}: {said}");
}

#[tokio::test]
async fn the_operator_tells_why_and_prints_the_key_beside_the_bundle_and_without_it() {
    let mut bundle = Bundle::start().await;
    if is_on_aws() {
        bundle.aws().deploy(STACK, &[]);
    }
    bundle.grant("acme", "oneCH").await;
    bundle.complete_story(PARTNER, "acme", "oneCH").await;
    // The lease is given back after the key is shown as stored: until then the channel is still looked at.
    bundle.scan_when_quiet().await;
    let key = bundle.stored_key(PARTNER, "oneCH").await.expect("a key");
    let key = text(&key["api_key"]);

    let mut stories = Vec::new();
    for is_running in [true, false] {
        if !is_running {
            bundle.stop().await;
        }
        let (code, story) = bundle.operator(STACK, &["why", PARTNER, "oneCH"]).await;
        assert_eq!(code, Some(0), "{story}");
        stories.push(story);
        let (code, printed) = bundle.operator(STACK, &["key", PARTNER, "oneCH"]).await;
        assert_eq!((code, printed.trim_end()), (Some(0), key));
    }
    assert_eq!(stories[0], stories[1]);
    for words in [
        "tenant: - → acme",
        "permission: - → granted",
        "→ live",
        "→ stored",
    ] {
        assert!(stories[0].contains(words), "{words}: {}", stories[0]);
    }
    assert!(!stories[0].contains(key), "a story holds no key");

    let place = if is_on_aws() { "--stack" } else { "DATA" };
    let unknown =
        format!("nothing is known of channel otherCH of {PARTNER}: check both ids, and {place}");
    for (verb, words) in [
        ("why", unknown.as_str()),
        ("key", "has no stored key: `operator why"),
    ] {
        let (code, said) = bundle.operator(STACK, &[verb, PARTNER, "otherCH"]).await;
        assert_eq!(code, Some(1), "{verb}");
        assert!(said.contains(words), "{words}: {said}");
    }
}

/// I8
#[tokio::test]
async fn keys_that_are_sealed_anew_stay_what_they_were() {
    let mut bundle = Bundle::start().await;
    for number in ["oneCH", "twoCH"] {
        bundle.grant("acme", number).await;
        bundle.complete_story(PARTNER, "acme", number).await;
    }
    bundle.scan_when_quiet().await;
    if is_on_aws() {
        let key = bundle.aws().moto.create_key();
        bundle.aws().deploy(STACK, &[("KeyEncryptionKey", &key)]);
    }
    let of_number = async |bundle: &Bundle, number: &str| {
        let key = bundle.stored_key(PARTNER, number).await;
        let (mints, id) = (
            Mints::new(bundle.table().await),
            channel_ref(PARTNER, number),
        );
        let mint = mints.read(&id).await.expect("the table");
        let sealed = mint.stored.expect("a key").sealed;
        (key.expect("a key"), sealed)
    };
    let (first, before) = of_number(&bundle, "oneCH").await;
    let said = says(&bundle, &["reseal", PARTNER]).await;
    assert_eq!(
        said.trim_end(),
        format!("2 keys of {PARTNER} are sealed anew")
    );
    let (second, after) = of_number(&bundle, "oneCH").await;
    assert_eq!(first, second);
    assert_ne!(before, after);
    if is_on_aws() {
        let of_another = json!({"partner_id": PARTNER, "channel_id": "twoCH"});
        let refused = bundle.aws().moto.open(&after, &of_another).unwrap_err();
        assert!(
            refused.to_string().contains("InvalidCiphertext"),
            "{refused}"
        );
    }
    // A bundle that runs on, and one that starts later, read and make keys as before.
    bundle.grant("acme", "threeCH").await;
    bundle.stored(PARTNER, "acme", "threeCH").await;
    bundle.kill_and_restart().await;
    for number in ["oneCH", "threeCH"] {
        let key = says(&bundle, &["key", PARTNER, number]).await;
        let (stored, _) = of_number(&bundle, number).await;
        assert_eq!(key.trim_end(), text(&stored["api_key"]));
        bundle.can_send(PARTNER, number).await;
    }
}

#[tokio::test]
async fn the_queue_shows_what_waits_behind_an_open_circuit_why_and_for_how_long() {
    let api = SimulatedPartnerApi::start().await;
    api.adds(new_channel(NUMBER)).await;
    let bundle = api.bundle(&[("PARTNER_API_RATE", "9/3600s")]).await;
    if is_on_aws() {
        bundle.aws().deploy(STACK, &[]);
    }
    api.replies("keys", asks_to_wait("600")).await;
    claim(&bundle, PARTNER, NUMBER).await;
    let queue = async |wanted: &[&str]| {
        until(|| async {
            let queue = says(&bundle, &["queue", PARTNER]).await;
            let is_there = |words: &&str| queue.contains(*words);
            wanted.iter().all(is_there).then_some(()).ok_or(queue)
        })
        .await;
    };
    queue(&[
        "\nworker           none at work\n",
        "\ncircuit          open until 20",
        "Z: rate_limited\n",
        "\ncalls            2 of 9/3600s are used\n",
        "\nkeys             0 stored in the last hour, 2 possible\n",
        "\nline             0 wait\n",
        "\nalarm            1 waits, the first until 20",
        "Z: key channel=oneCH tenant=acme place=",
        "\nbackground       1 waits, the first until 20",
        "Z: sweep of all channels",
    ])
    .await;
    // The look at another client waits in the line.
    bundle.claim(PARTNER, "globex", "client=bCL").await;
    queue(&[
        "\nline             1 waits, the first since 20",
        "Z: look client=bCL tenant=globex place=",
        "\nalarm            1 waits, the first until 20",
    ])
    .await;

    api.recovers().await;
    bundle.waits_are_over().await;
    bundle.stored(PARTNER, "acme", NUMBER).await;
    queue(&[
        "\ncircuit          closed: calls are made\n",
        "\nkeys             1 stored in the last hour, 2 possible\n",
    ])
    .await;
    fails(
        &bundle,
        &["queue", "otherPA"],
        "the bundle serves no partner otherPA",
    )
    .await;
}

#[tokio::test]
async fn a_number_with_a_foreign_key_and_one_that_is_nobodys_are_listed() {
    let (api, bundle) = SimulatedPartnerApi::with_new(NUMBER).await;
    if is_on_aws() {
        bundle.aws().deploy(STACK, &[]);
    }
    api.has_foreign_key(NUMBER, "theirs").await;
    claim(&bundle, PARTNER, NUMBER).await;
    bundle.event("channel_live", "strayCH").await;
    bundle.key_is(NUMBER, "blocked", "existing_key").await;
    bundle.scan_when_quiet().await;
    let listed = says(&bundle, &["list", PARTNER, "--blocked"]).await;
    let blocked = "blocked    channel=oneCH client=aCL tenant=acme reason=existing_key since=20";
    assert!(listed.starts_with(blocked), "{listed}");
    assert!(listed.ends_with("Z\n1 blocked\n"), "{listed}");
    let listed = says(&bundle, &["list", PARTNER, "--unclaimed"]).await;
    let unclaimed = "unclaimed  channel=strayCH client=- stage=live updated=20";
    assert!(listed.starts_with(unclaimed), "{listed}");
    let listed = says(&bundle, &["list", PARTNER]).await;
    let counts = "\n0 held, 0 contested, 1 blocked, 1 unclaimed\n";
    assert!(listed.ends_with(counts), "{listed}");
    fails(
        &bundle,
        &["list", "otherPA"],
        "the bundle serves no partner otherPA",
    )
    .await;
}
