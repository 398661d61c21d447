//! What becomes of a claim and of a key when the Partner API answers this or that, or nothing.

use onboarding::claim::Claim;
use platform::store::Claims;
use serde_json::{Value, json};
use tests::{Bundle, PARTNER, PAYING_PARTNER, until};

use crate::partner_api::{
    Asked, CLIENT, NUMBER, Odd, StandIn, channel, claim, outlook, seconds_from_now,
};

const ABOUT: (&str, &str, &str) = (PARTNER, "acme", NUMBER);
const LONG_AGO: &str = "2020-02-02T02:02:02Z";

/// I5
#[tokio::test]
async fn a_client_with_a_number_from_before_the_visit_is_held_for_review() {
    let hub = StandIn::start().await;
    let bundle = hub.bundle(&[]).await;
    let now = platform::clock::now().to_string();
    let just_before = (platform::clock::now() - std::time::Duration::from_secs(360)).to_string();
    for (number, older) in [
        ("aCH", Some(LONG_AGO)),
        ("bCH", None),
        ("cCH", Some(just_before.as_str())),
    ] {
        hub.script().channels = vec![channel(number, Some(&now)), channel("elderCH", older)];
        claim(&bundle, PARTNER, number).await;
        let about = (PARTNER, "acme", number);
        let mut seen = bundle
            .channel_until(about, |seen| seen["claim"] == "held")
            .await;
        seen["updated_at"].take();
        let wanted = json!({
            "id": number, "partner_id": PARTNER, "client_id": CLIENT, "tenant": "acme", "stage": null,
            "permission": "unknown", "claim": "held",
            "key": {"status": "waiting", "reason": "held_for_review", "secret_name": null},
            "phone_number": null, "display_name": null, "quality": null, "messaging_limit": null, "updated_at": null,
        });
        assert_eq!(seen, wanted);
        assert_eq!(bundle.channel(PARTNER, "globex", number).await, None);
    }
    bundle.scan_when_quiet("markerCH").await;
    assert!(
        !bundle
            .scan()
            .await
            .iter()
            .any(|item| item.contains("S(\"CLIENT#")),
        "nobody owns the client"
    );
    assert_eq!(
        hub.posts("aCH") + hub.posts("bCH") + hub.posts("cCH") + hub.posts("elderCH"),
        0
    );
}

/// I6
#[tokio::test]
async fn a_key_that_is_not_ours_is_never_replaced() {
    let (hub, bundle) = StandIn::with_new(NUMBER).await;
    hub.script()
        .keys
        .insert(NUMBER.to_owned(), vec!["somebodys".to_owned()]);
    claim(&bundle, PARTNER, NUMBER).await;
    waits_for(&bundle, "blocked", "existing_key").await;
    for event in [
        "channel_running",
        "channel_live",
        "channel_permission_granted",
    ] {
        let body = json!({"event": event, "data": {"id": NUMBER}}).to_string();
        assert_eq!(bundle.webhook(PARTNER, &body).await.status(), 200);
    }
    hub.script().channels.push(channel(
        "laterCH",
        Some(&platform::clock::now().to_string()),
    ));
    claim(&bundle, PARTNER, "laterCH").await;
    bundle.stored(PARTNER, "acme", "laterCH").await;
    bundle.scan_when_quiet("markerCH").await;
    assert_eq!((hub.posts(NUMBER), hub.posts("laterCH")), (0, 1));
    waits_for(&bundle, "blocked", "existing_key").await;
    assert_eq!(hub.script().keys[NUMBER], ["somebodys"]);
}

/// I6
#[tokio::test]
async fn without_a_list_of_keys_only_a_number_of_this_visit_gets_one() {
    for status in [404, 405] {
        let (hub, bundle) = StandIn::with_new(NUMBER).await;
        hub.now_says(Asked::Keys, Odd::Says(status, json!({})));
        claim(&bundle, PARTNER, NUMBER).await;
        bundle.stored(PARTNER, "acme", NUMBER).await;
        hub.script()
            .channels
            .push(channel("elderCH", Some(LONG_AGO)));
        claim(&bundle, PARTNER, "elderCH").await;
        let wanted = json!({"status": "blocked", "reason": "keys_unlisted", "secret_name": null});
        bundle
            .channel_until((PARTNER, "acme", "elderCH"), |seen| seen["key"] == wanted)
            .await;
        assert_eq!((hub.posts(NUMBER), hub.posts("elderCH")), (1, 0));
    }
}

/// I6
#[tokio::test]
async fn where_keys_are_not_listed_a_stored_key_stays_stored() {
    let hub = StandIn::start().await;
    let numbers: Vec<String> = (0..24).map(|index| format!("n{index}CH")).collect();
    let now = platform::clock::now().to_string();
    hub.script().channels = numbers
        .iter()
        .map(|number| channel(number, Some(&now)))
        .collect();
    hub.now_says(Asked::Keys, Odd::Says(404, json!({})));
    let bundle = hub.bundle(&[]).await;
    claim(&bundle, PARTNER, &numbers.join(",")).await;
    for number in &numbers {
        until(|| async {
            bundle
                .vault_key(PARTNER, number)
                .filter(|key| *key != json!({}))
                .ok_or(number.clone())
        })
        .await;
    }
    bundle.scan_when_quiet("markerCH").await;
    let seen: Vec<Value> = bundle
        .channels(PARTNER, "acme")
        .await
        .into_iter()
        .map(|row| row["key"].clone())
        .collect();
    assert!(
        seen.iter().all(|key| key["status"] == "stored"),
        "{seen:#?}"
    );
    for number in &numbers {
        assert_eq!(hub.posts(number), 1, "{number}");
    }
}

/// I5
#[tokio::test]
async fn a_number_that_moved_to_another_client_gets_no_key() {
    let hub = StandIn::start().await;
    let mut moved = channel(NUMBER, Some(&platform::clock::now().to_string()));
    moved["integration"]["state"] = json!("pending");
    hub.script().channels = vec![moved.clone()];
    let bundle = hub.bundle(&[]).await;
    claim(&bundle, PARTNER, NUMBER).await;
    waits_for(&bundle, "waiting", "not_running").await;
    moved["client_id"] = json!("zCL");
    hub.script().channels = vec![moved];
    let body = json!({"event": "channel_running", "data": {"id": NUMBER}}).to_string();
    assert_eq!(bundle.webhook(PARTNER, &body).await.status(), 200);
    waits_for(&bundle, "blocked", "wrong_client").await;
    assert_eq!(hub.posts(NUMBER), 0);
}

#[tokio::test]
async fn refused_credentials_are_told_and_asked_with_again() {
    let (hub, bundle) = StandIn::with_new(NUMBER).await;
    hub.now_says(Asked::Keys, Odd::Says(401, json!({})));
    claim(&bundle, PARTNER, NUMBER).await;
    waits_for(&bundle, "waiting", "bad_credentials").await;
    hub.recovers();
    hub.now_says(Asked::NewKey, Odd::Says(401, json!({})));
    until(|| async {
        if hub.posts(NUMBER) > 0 {
            Ok(())
        } else {
            Err("no POST".to_owned())
        }
    })
    .await;
    waits_for(&bundle, "waiting", "bad_credentials").await;
    hub.recovers();
    has_the_live_key(&hub, &bundle).await;
}

#[tokio::test]
async fn a_missing_permission_is_asked_for_again_tomorrow_or_when_it_is_granted() {
    let (hub, bundle) = StandIn::with_new(NUMBER).await;
    hub.now_says(
        Asked::NewKey,
        Odd::Says(403, json!({"meta": {"success": false, "http_code": 403}})),
    );
    claim(&bundle, PARTNER, NUMBER).await;
    waits_for(&bundle, "waiting", "awaiting_permission").await;
    bundle.scan_when_quiet("markerCH").await;
    let (due_in, intent) = outlook(&bundle, NUMBER).await;
    assert!(
        due_in.is_some_and(|due_in| (23 * 3600..=24 * 3600).contains(&due_in)),
        "{due_in:?}"
    );
    assert_eq!(intent, None, "a clear refusal closes the intent");
    hub.recovers();
    for event in ["channel_permission_revoked", "channel_permission_granted"] {
        let body = json!({"event": event, "data": {"id": NUMBER}}).to_string();
        assert_eq!(bundle.webhook(PARTNER, &body).await.status(), 200);
        let permission = if event.ends_with("granted") {
            "granted"
        } else {
            "revoked"
        };
        bundle
            .channel_until(ABOUT, |seen| seen["permission"] == permission)
            .await;
    }
    has_the_live_key(&hub, &bundle).await;
}

#[tokio::test]
async fn a_refusal_without_a_cure_blocks() {
    for status in [400, 404, 422] {
        let (hub, bundle) = StandIn::with_new(NUMBER).await;
        hub.now_says(Asked::NewKey, Odd::Says(status, json!({})));
        claim(&bundle, PARTNER, NUMBER).await;
        waits_for(&bundle, "blocked", "hub_refused").await;
        bundle.scan_when_quiet("markerCH").await;
        let (due_in, intent) = outlook(&bundle, NUMBER).await;
        assert!(
            due_in.is_some_and(|due_in| due_in > 23 * 3600) && intent.is_none(),
            "{due_in:?} {intent:?}"
        );
    }
}

/// I7
#[tokio::test]
async fn a_key_whose_answer_was_lost_is_made_again_and_the_live_one_is_stored() {
    let (hub, bundle) = StandIn::with_new(NUMBER).await;
    hub.now_says(Asked::NewKey, Odd::LosesTheAnswer);
    claim(&bundle, PARTNER, NUMBER).await;
    waits_for(&bundle, "waiting", "hub_unavailable").await;
    // Cut twice: the second lost key is no foreign one either.
    until(|| async {
        if hub.posts(NUMBER) > 1 {
            Ok(())
        } else {
            Err(format!("{:?}", hub.script().keys))
        }
    })
    .await;
    hub.recovers();
    has_the_live_key(&hub, &bundle).await;
    bundle.scan_when_quiet("markerCH").await;
    assert_eq!(
        outlook(&bundle, NUMBER).await.1,
        None,
        "the intent is closed with it"
    );
}

/// I6, I7
#[tokio::test]
async fn after_a_lost_answer_a_key_that_was_there_before_is_still_not_ours() {
    let (hub, bundle) = StandIn::with_new(NUMBER).await;
    hub.now_says(Asked::NewKey, Odd::Says(502, json!("bad gateway")));
    claim(&bundle, PARTNER, NUMBER).await;
    waits_for(&bundle, "waiting", "hub_unavailable").await;
    hub.now_says(
        Asked::Keys,
        Odd::Says(200, json!({"api_keys": [{"id": "two"}, {"id": "three"}]})),
    );
    waits_for(&bundle, "blocked", "existing_key").await;
}

/// I7
#[tokio::test]
async fn a_hub_that_never_answers_clearly_is_asked_five_times() {
    let (hub, bundle) = StandIn::with_new(NUMBER).await;
    hub.now_says(Asked::NewKey, Odd::Says(201, json!({"id": "7"})));
    claim(&bundle, PARTNER, NUMBER).await;
    waits_for(&bundle, "blocked", "hub_unavailable").await;
    assert_eq!(hub.posts(NUMBER), 5);
}

/// I10
#[tokio::test]
async fn silence_and_errors_are_neither_a_refusal_nor_a_revocation() {
    let odd = [
        Odd::Silence,
        Odd::Says(503, json!({})),
        Odd::Says(500, json!({"partner_channels": []})),
        Odd::Says(200, json!("not what was asked for")),
        Odd::Says(404, json!({})),
        Odd::Says(401, json!({})),
        Odd::Says(403, json!({})),
        Odd::Says(200, json!({"partner_channels": [], "total": 0})),
    ];
    let (hub, bundle) = StandIn::with_new(NUMBER).await;
    for odd in &odd {
        hub.now_says(Asked::Channels, odd.clone());
        claim_in_vain(&bundle, NUMBER).await;
        let seen = bundle
            .channel(PARTNER, "acme", NUMBER)
            .await
            .expect("the claim stays");
        assert_eq!(
            (&seen["claim"], &seen["key"]["reason"]),
            (&json!("pending"), &json!("unclaimed")),
            "{odd:?}"
        );
    }
    hub.recovers();
    hub.now_says(Asked::Keys, Odd::Says(500, json!({})));
    waits_for(&bundle, "waiting", "hub_unavailable").await;
    hub.recovers();
    has_the_live_key(&hub, &bundle).await;

    let before = bundle.channel(PARTNER, "acme", NUMBER).await;
    for odd in &odd[1..] {
        hub.now_says(Asked::Channels, odd.clone());
        claim_in_vain(&bundle, "otherCH").await;
        assert_eq!(
            bundle.channel(PARTNER, "acme", NUMBER).await,
            before,
            "{odd:?}"
        );
    }
    assert_eq!(hub.posts(NUMBER), 1);
}

#[tokio::test]
async fn a_hub_that_asks_to_wait_is_left_alone_for_so_long() {
    let (hub, bundle) = StandIn::with_new(NUMBER).await;
    hub.now_says(Asked::NewKey, Odd::Wait("7200"));
    claim(&bundle, PARTNER, NUMBER).await;
    waits_for(&bundle, "waiting", "hub_unavailable").await;
    bundle.scan_when_quiet("markerCH").await;
    let (due_in, intent) = outlook(&bundle, NUMBER).await;
    assert!(
        due_in.is_some_and(|due_in| (7000..=7200).contains(&due_in)),
        "{due_in:?}"
    );
    assert!(intent.is_some(), "the key may have been made all the same");

    hub.now_says(Asked::Channels, Odd::Wait("Fri, 31 Dec 2100 23:59:59 GMT"));
    claim(&bundle, PARTNER, "otherCH").await;
    let due_in = until(|| async {
        match open_claims(&bundle)
            .await
            .iter()
            .find(|claim| claim.channels[0].as_str() == "otherCH")
        {
            Some(claim) if claim.tries > 0 => Ok(claim.due_at.map(seconds_from_now)),
            other => Err(format!("{other:?}")),
        }
    });
    let due_in = due_in.await;
    assert!(
        due_in.is_some_and(|due_in| (23 * 3600..=24 * 3600).contains(&due_in)),
        "{due_in:?}"
    );
}

#[tokio::test]
async fn a_hub_that_asks_to_wait_is_not_asked_again_because_something_else_changed() {
    let (hub, bundle) = StandIn::with_new(NUMBER).await;
    hub.now_says(Asked::NewKey, Odd::Wait("7200"));
    claim(&bundle, PARTNER, NUMBER).await;
    waits_for(&bundle, "waiting", "hub_unavailable").await;
    let body = json!({"event": "channel_live", "data": {"id": NUMBER}}).to_string();
    assert_eq!(bundle.webhook(PARTNER, &body).await.status(), 200);
    bundle
        .channel_until(ABOUT, |seen| seen["stage"] == "live")
        .await;
    bundle.scan_when_quiet("markerCH").await;
    assert_eq!(hub.posts(NUMBER), 1);
}

#[tokio::test]
async fn both_forms_of_answers_keys_and_paths_are_understood() {
    for (in_list, path) in [
        (false, None),
        (true, Some("/partners/channels/{channel_id}/api-keys")),
    ] {
        let hub = StandIn::start().await;
        hub.script().channels = vec![channel(NUMBER, Some(&platform::clock::now().to_string()))];
        hub.script().in_list = in_list;
        let settings: Vec<(&str, &str)> = path
            .map(|path| ("HUB_API_KEYS_PATH", path))
            .into_iter()
            .collect();
        let bundle = hub.bundle(&settings).await;
        for (partner, opened_by) in [
            (PARTNER, "Bearer needle-token-direct-0002|"),
            (PAYING_PARTNER, "|needle-apikey-paying-0004"),
        ] {
            hub.script().asked.clear();
            hub.script().keys.clear();
            claim(&bundle, partner, NUMBER).await;
            bundle.stored(partner, "acme", NUMBER).await;
            let key = bundle.vault_key(partner, NUMBER).expect("a key");
            assert_eq!(json!(hub.script().keys[NUMBER]), json!([key["key_id"]]));
            assert_eq!(
                key["api_key"],
                json!(format!(
                    "secret of {NUMBER} {}",
                    hub.script().keys[NUMBER][0]
                ))
            );
            let asked = hub.script().asked.clone();
            assert!(
                asked.iter().all(|(_, _, header)| header == opened_by),
                "{asked:?}"
            );
            let keys = match path {
                None => format!("/partners/{partner}/channels/{NUMBER}/api_keys"),
                Some(_) => format!("/partners/channels/{NUMBER}/api-keys"),
            };
            assert!(
                asked
                    .iter()
                    .any(|(method, path, _)| method == "POST" && *path == keys),
                "{asked:?}"
            );
        }
    }
}

/// Claims `number` anew and waits until that claim was looked at, which settled nothing.
async fn claim_in_vain(bundle: &Bundle, number: &str) {
    // Of this number alone: claims of others may be closed meanwhile.
    let open_of_number = || async {
        let open = open_claims(bundle).await;
        open.into_iter()
            .filter(|claim| claim.channels[0].as_str() == number)
            .collect::<Vec<_>>()
    };
    let before = open_of_number().await.len();
    claim(bundle, PARTNER, number).await;
    until(|| async {
        let open = open_of_number().await;
        let all_in_vain = open.len() > before && open.iter().all(|claim| claim.tries > 0);
        if all_in_vain {
            Ok(())
        } else {
            Err(format!("{open:?}"))
        }
    })
    .await;
}

async fn open_claims(bundle: &Bundle) -> Vec<Claim> {
    let (partner, tenant) = (
        PARTNER.parse().expect("an id"),
        "acme".parse().expect("a tenant"),
    );
    Claims::new(bundle.table().await)
        .open_of_tenant(&partner, &tenant)
        .await
        .expect("claims")
}

async fn waits_for(bundle: &Bundle, status: &str, reason: &str) -> Value {
    let wanted = json!({"status": status, "reason": reason, "secret_name": null});
    bundle
        .channel_until(ABOUT, |seen| seen["key"] == wanted)
        .await
}

/// The stored key is the one that is live at the hub.
async fn has_the_live_key(hub: &StandIn, bundle: &Bundle) {
    bundle.stored(PARTNER, "acme", NUMBER).await;
    let key = bundle.vault_key(PARTNER, NUMBER).expect("a key");
    assert_eq!(json!(hub.script().keys[NUMBER]), json!([key["key_id"]]));
}
