//! What a person on duty sees of a number, by the program `operator`.

use tests::aws::stack::STACK;
use tests::{Bundle, PARTNER, is_on_aws, text};

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
    let key = bundle.vault_key(PARTNER, "oneCH").expect("a key");
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
