//! What becomes of a number: granted, revoked, claimed by others, told about in every order, cancelled.

use onboarding::channel::Channel;
use platform::store::{Channels, Facts};
use serde_json::{Value, json};
use tests::{Bundle, PARTNER, PAYING_PARTNER, assert_same, until};

const CLIENT: &str = "aCL";
const NUMBER: &str = "oneCH";

#[tokio::test]
async fn several_numbers_of_one_visit_each_get_a_key_of_their_own() {
    let bundle = Bundle::start().await;
    let numbers = ["oneCH", "twoCH", "threeCH"];
    bundle
        .onboard(
            PARTNER,
            "acme",
            json!({"client": CLIENT, "channels": numbers}),
        )
        .await;
    let mut keys = Vec::new();
    for number in numbers {
        bundle.stored(PARTNER, "acme", number).await;
        assert!(bundle.can_send(PARTNER, number).await, "{number}");
        keys.push(key(&bundle, PARTNER, number));
    }
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), numbers.len());
}

/// I5
#[tokio::test]
async fn the_same_ids_at_two_hubs_are_two_numbers() {
    let bundle = Bundle::start().await;
    let choice = json!({"client": CLIENT, "channels": [NUMBER]});
    tokio::join!(
        bundle.onboard(PARTNER, "acme", choice.clone()),
        bundle.onboard(PAYING_PARTNER, "globex", choice)
    );
    bundle.stored(PARTNER, "acme", NUMBER).await;
    bundle.stored(PAYING_PARTNER, "globex", NUMBER).await;
    assert!(
        bundle.can_send(PARTNER, NUMBER).await && bundle.can_send(PAYING_PARTNER, NUMBER).await
    );
    assert_ne!(
        key(&bundle, PARTNER, NUMBER),
        key(&bundle, PAYING_PARTNER, NUMBER)
    );
    assert_eq!(bundle.channel(PARTNER, "globex", NUMBER).await, None);
    assert_eq!(bundle.channel(PAYING_PARTNER, "acme", NUMBER).await, None);

    revoke(&bundle).await;
    bundle
        .channel_until((PARTNER, "acme", NUMBER), |seen| {
            seen["permission"] == "revoked"
        })
        .await;
    let other = bundle
        .channel(PAYING_PARTNER, "globex", NUMBER)
        .await
        .expect("a channel");
    assert_eq!(other["permission"], "granted");
}

/// I7, I10
#[tokio::test]
async fn a_revocation_leaves_the_key_and_a_new_grant_makes_no_second_one() {
    let bundle = Bundle::start().await;
    grant(&bundle).await;
    bundle.stored(PARTNER, "acme", NUMBER).await;
    let first = key(&bundle, PARTNER, NUMBER);

    revoke(&bundle).await;
    let seen = bundle
        .channel_until((PARTNER, "acme", NUMBER), |seen| {
            seen["permission"] == "revoked"
        })
        .await;
    assert_eq!(seen["key"]["status"], "stored");
    assert!(
        bundle.can_send(PARTNER, NUMBER).await,
        "a revocation alone revokes no key"
    );

    grant(&bundle).await;
    bundle
        .channel_until((PARTNER, "acme", NUMBER), |seen| {
            seen["permission"] == "granted"
        })
        .await;
    bundle.scan_when_quiet("markerCH").await;
    let seen = bundle
        .channel(PARTNER, "acme", NUMBER)
        .await
        .expect("a channel");
    assert_eq!(seen["key"]["status"], "stored");
    assert_eq!(key(&bundle, PARTNER, NUMBER), first);
    assert!(bundle.can_send(PARTNER, NUMBER).await);
}

#[tokio::test]
async fn a_number_that_is_revoked_before_it_runs_waits_for_the_permission() {
    let bundle = Bundle::start().await;
    revoke(&bundle).await;
    let seen = bundle
        .channel_until((PARTNER, "acme", NUMBER), |seen| {
            seen["key"]["reason"] == "awaiting_permission"
        })
        .await;
    assert_eq!(
        seen["key"],
        json!({"status": "waiting", "reason": "awaiting_permission", "secret_name": null})
    );
    assert_eq!(seen["permission"], "revoked");
    assert_eq!(bundle.vault_key(PARTNER, NUMBER), None);

    grant(&bundle).await;
    bundle.stored(PARTNER, "acme", NUMBER).await;
    assert!(bundle.can_send(PARTNER, NUMBER).await);
}

/// I5
#[tokio::test]
async fn a_second_tenant_cannot_get_the_first_ones_client_by_a_link_of_its_own() {
    let bundle = Bundle::start().await;
    grant(&bundle).await;
    bundle
        .channel_until((PARTNER, "acme", NUMBER), is_complete)
        .await;
    let before = bundle.channel(PARTNER, "acme", NUMBER).await;
    let first = key(&bundle, PARTNER, NUMBER);

    for said in [
        "channels=[oneCH]",
        "revoked=[oneCH]",
        "channels=[oneCH,otherCH]",
        "",
    ] {
        let signed = bundle.sign(PARTNER, "globex").await;
        let answer = bundle
            .come_back_with(&signed, &format!("client={CLIENT}&{said}"))
            .await;
        assert_eq!(answer.status(), 200, "{said}");
    }
    for number in [NUMBER, "otherCH"] {
        is_gone(&bundle, "globex", number).await;
    }
    bundle.scan_when_quiet("markerCH").await;
    assert_eq!(
        bundle.channels(PARTNER, "globex").await,
        Vec::<Value>::new()
    );
    assert_eq!(bundle.channel(PARTNER, "acme", NUMBER).await, before);
    assert_eq!(key(&bundle, PARTNER, NUMBER), first);
}

/// I5
#[tokio::test]
async fn of_two_tenants_who_claim_a_client_at_once_one_gets_it() {
    let bundle = Bundle::start().await;
    let (acme, globex) = (
        bundle.sign(PARTNER, "acme").await,
        bundle.sign(PARTNER, "globex").await,
    );
    let link = acme["url"].as_str().expect("a link");
    bundle
        .complete(link, json!({"client": CLIENT, "channels": [NUMBER]}))
        .await;
    let said = format!("client={CLIENT}&channels=[{NUMBER}]");
    let (one, two) = tokio::join!(
        bundle.come_back_with(&acme, &said),
        bundle.come_back_with(&globex, &said)
    );
    assert_eq!((one.status().as_u16(), two.status().as_u16()), (200, 200));
    let owners = until(|| async {
        let acme = bundle.channel(PARTNER, "acme", NUMBER).await;
        let globex = bundle.channel(PARTNER, "globex", NUMBER).await;
        match (&acme, &globex) {
            (Some(seen), None) | (None, Some(seen)) if seen["key"]["status"] == "stored" => {
                Ok(seen["tenant"].clone())
            }
            _ => Err(format!("{acme:?} {globex:?}")),
        }
    });
    assert_eq!(
        owners.await,
        bundle.vault_key(PARTNER, NUMBER).expect("a key")["tenant"]
    );
    assert!(bundle.can_send(PARTNER, NUMBER).await);
}

/// I5
#[tokio::test]
async fn a_claim_says_nothing_about_the_numbers_of_other_clients() {
    let bundle = Bundle::start().await;
    grant(&bundle).await;
    bundle
        .onboard(
            PARTNER,
            "globex",
            json!({"client": "bCL", "channels": ["theirCH"]}),
        )
        .await;
    bundle
        .channel_until((PARTNER, "globex", "theirCH"), is_complete)
        .await;
    let before = bundle.channel(PARTNER, "globex", "theirCH").await;
    // The revocation last: a grant behind it would hide what it did.
    for said in ["channels=[theirCH]", "revoked=[theirCH]"] {
        let signed = bundle.sign(PARTNER, "acme").await;
        assert_eq!(
            bundle
                .come_back_with(&signed, &format!("client={CLIENT}&{said}"))
                .await
                .status(),
            200
        );
    }
    bundle.scan_when_quiet("markerCH").await;
    assert_eq!(bundle.channel(PARTNER, "globex", "theirCH").await, before);
    assert!(bundle.can_send(PARTNER, "theirCH").await);
    let listed: Vec<Value> = bundle
        .channels(PARTNER, "acme")
        .await
        .into_iter()
        .map(|row| row["claim"].clone())
        .collect();
    assert_eq!(listed, ["confirmed", "pending"], "nor is it theirs to have");
}

#[tokio::test]
async fn an_id_the_hub_does_not_know_stays_pending_and_is_the_claimants_to_see() {
    let bundle = Bundle::start().await;
    grant(&bundle).await;
    bundle.stored(PARTNER, "acme", NUMBER).await;
    let signed = bundle.sign(PARTNER, "acme").await;
    bundle
        .come_back_with(&signed, &format!("client={CLIENT}&channels=[ghostCH]"))
        .await;
    bundle.scan_when_quiet("markerCH").await;
    let mut seen = bundle
        .channel(PARTNER, "acme", "ghostCH")
        .await
        .expect("a claimed id");
    assert!(
        seen["updated_at"]
            .as_str()
            .is_some_and(|at| at.ends_with('Z')),
        "{seen}"
    );
    seen["updated_at"].take();
    let wanted = json!({
        "id": "ghostCH", "partner_id": PARTNER, "client_id": CLIENT, "tenant": "acme", "stage": null,
        "permission": "unknown", "claim": "pending",
        "key": {"status": "waiting", "reason": "unclaimed", "secret_name": null},
        "phone_number": null, "display_name": null, "quality": null, "messaging_limit": null, "updated_at": null,
    });
    assert_eq!(seen, wanted);
    assert_eq!(bundle.channel(PARTNER, "globex", "ghostCH").await, None);
    assert_eq!(
        bundle.channel(PAYING_PARTNER, "acme", "ghostCH").await,
        None
    );
}

/// I9
#[tokio::test]
async fn what_is_not_understood_is_kept_as_it_came_and_blocks_nothing() {
    let bundle = Bundle::start().await;
    let three = [
        r#"{"event":"new_thing","data":{"channel":"xCH"}}"#,
        r#"{ "event": 7 }"#,
        "\"text\"",
    ];
    let alone = [
        r#"{"event":"channel_invented","data":{"id":"xCH","colour":"blue"}}"#.to_owned(),
        r#"{"event":"client_created","data":{"id":"aCL"}}"#.to_owned(),
        "this is no JSON {".to_owned(),
        format!("[{}]", vec!["{}"; 26].join(",")),
        "[".repeat(50_000),
        String::new(),
    ];
    for body in &alone {
        assert_eq!(
            bundle.webhook(PARTNER, body).await.status(),
            200,
            "{body:.40}"
        );
    }
    assert_eq!(
        bundle
            .webhook(PARTNER, &format!("[{}]", three.join(" ,\n")))
            .await
            .status(),
        200
    );

    let mut kept = Vec::new();
    for item in bundle.items().await {
        if let Some(body) = item.get("body").and_then(|body| body.as_b().ok()) {
            kept.push(String::from_utf8(body.as_ref().to_vec()).expect("text"));
        }
    }
    let mut wanted: Vec<String> = alone.into_iter().chain(three.map(str::to_owned)).collect();
    kept.sort();
    wanted.sort();
    assert_eq!(kept, wanted);

    grant(&bundle).await;
    bundle.stored(PARTNER, "acme", NUMBER).await;
}

/// I4
#[tokio::test]
async fn the_same_event_twice_is_one_fact() {
    let bundle = Bundle::start().await;
    grant(&bundle).await;
    bundle
        .channel_until((PARTNER, "acme", NUMBER), is_complete)
        .await;
    let events = [
        event("channel_created", NUMBER, json!({})),
        event("channel_permission_revoked", NUMBER, json!({})),
        r#"{"event":"something_else"}"#.to_owned(),
    ];
    for event in &events {
        assert_eq!(bundle.webhook(PARTNER, event).await.status(), 200);
    }
    let before = bundle.scan_when_quiet("markerCH").await;
    let seen = bundle.channel(PARTNER, "acme", NUMBER).await;
    for event in &events {
        let answer = bundle.webhook(PARTNER, event).await;
        assert_eq!(
            (
                answer.status().as_u16(),
                answer.text().await.expect("a body").as_str()
            ),
            (200, "{}")
        );
    }
    let after = bundle.scan_when_quiet("laterCH").await;
    let after: Vec<String> = after
        .into_iter()
        .filter(|item| !item.contains("markerCH"))
        .collect();
    assert_same(&before, &after);
    assert_eq!(bundle.channel(PARTNER, "acme", NUMBER).await, seen);
}

/// I4
#[tokio::test]
async fn events_in_reverse_order_give_the_same_channel() {
    let bundle = Bundle::start().await;
    grant(&bundle).await;
    bundle.stored(PARTNER, "acme", NUMBER).await;
    let story = |number: &str| {
        [
            event(
                "channel_created",
                number,
                json!({"setup_info": {"phone_number": "15550100", "phone_name": "Shop"}}),
            ),
            event("channel_ready", number, json!({})),
            event("channel_running", number, json!({})),
            event("channel_live", number, json!({})),
            event("channel_permission_granted", number, json!({})),
            event(
                "phone_number_quality_changed",
                number,
                json!({"current_quality_rating": "High"}),
            ),
        ]
    };
    for told in story("forthCH").iter().chain(story("backCH").iter().rev()) {
        assert_eq!(bundle.webhook(PARTNER, told).await.status(), 200);
    }
    let mut seen = Vec::new();
    for number in ["forthCH", "backCH"] {
        // The simulated hub does not know these two, which is no reason to make them a key.
        let wanted =
            |seen: &Value| seen["stage"] == "live" && seen["key"]["reason"] == "hub_unavailable";
        let mut view = bundle
            .channel_until((PARTNER, "acme", number), wanted)
            .await;
        is_the_join_of_its_facts(&bundle, number).await;
        view["id"].take();
        view["updated_at"].take();
        seen.push(view);
    }
    assert_eq!(seen[0], seen[1]);
    assert_eq!(seen[0]["quality"], "High");
    assert_eq!(seen[0]["phone_number"], "15550100");
}

#[tokio::test]
async fn a_cancelled_number_wants_no_key() {
    let bundle = Bundle::start().await;
    grant(&bundle).await;
    bundle
        .channel_until((PARTNER, "acme", NUMBER), is_complete)
        .await;
    bundle
        .webhook(PARTNER, &event("cancellation_request", NUMBER, json!({})))
        .await;
    bundle.scan_when_quiet("markerCH").await;
    assert_eq!(
        bundle.stored(PARTNER, "acme", NUMBER).await["stage"],
        "live",
        "a request is no cancellation"
    );
    bundle
        .webhook(PARTNER, &event("cancellation_processed", NUMBER, json!({})))
        .await;
    let none = json!({"status": "none", "reason": "cancelled", "secret_name": null});
    let seen = bundle
        .channel_until((PARTNER, "acme", NUMBER), |seen| seen["key"] == none)
        .await;
    assert_eq!(seen["stage"], "cancelled");
}

#[tokio::test]
async fn with_provisioning_off_the_key_waits() {
    let bundle = Bundle::start_with(&[("AUTO_PROVISION", "off")]).await;
    grant(&bundle).await;
    let off = json!({"status": "waiting", "reason": "switched_off", "secret_name": null});
    bundle
        .channel_until((PARTNER, "acme", NUMBER), |seen| seen["key"] == off)
        .await;
    assert_eq!(bundle.vault_key(PARTNER, NUMBER), None);
}

#[tokio::test]
async fn pages_of_any_length_list_every_number_once() {
    let bundle = Bundle::start().await;
    let numbers = ["aCH", "bCH", "cCH"];
    bundle
        .onboard(
            PARTNER,
            "acme",
            json!({"client": CLIENT, "channels": numbers}),
        )
        .await;
    for number in numbers {
        bundle.stored(PARTNER, "acme", number).await;
    }
    for said in ["[AghostCH,bCH]", "[zghostCH,AghostCH]"] {
        let signed = bundle.sign(PARTNER, "acme").await;
        bundle
            .come_back_with(&signed, &format!("client={CLIENT}&channels={said}"))
            .await;
    }
    bundle
        .onboard(
            PARTNER,
            "globex",
            json!({"client": "bCL", "channels": ["foreignCH"]}),
        )
        .await;
    bundle.stored(PARTNER, "globex", "foreignCH").await;
    for limit in 1..=6 {
        let listed = every_page(&bundle, limit).await;
        assert_eq!(
            listed,
            ["aCH", "bCH", "cCH", "AghostCH", "zghostCH"],
            "limit {limit}"
        );
    }
}

async fn every_page(bundle: &Bundle, limit: usize) -> Vec<String> {
    let (mut listed, mut next) = (Vec::new(), String::new());
    loop {
        let path = format!("/{PARTNER}/channels?limit={limit}&cursor={next}");
        let page: Value = bundle
            .get("acme", &path)
            .send()
            .await
            .expect("an answer")
            .json()
            .await
            .expect("JSON");
        let rows = page["channels"].as_array().expect("a list");
        assert!(rows.len() <= limit, "{page}");
        listed.extend(
            rows.iter()
                .map(|row| row["id"].as_str().expect("an id").to_owned()),
        );
        match page["next"].as_str() {
            Some(cursor) => next = cursor.to_owned(),
            None => return listed,
        }
        assert!(listed.len() < 20, "it does not end: {listed:?}");
    }
}

async fn grant(bundle: &Bundle) {
    bundle
        .onboard(
            PARTNER,
            "acme",
            json!({"client": CLIENT, "channels": [NUMBER]}),
        )
        .await;
}

async fn revoke(bundle: &Bundle) {
    bundle
        .onboard(
            PARTNER,
            "acme",
            json!({"client": CLIENT, "channels": [], "revoked": [NUMBER]}),
        )
        .await;
}

fn event(name: &str, number: &str, mut data: Value) -> String {
    data["id"] = json!(number);
    data["client_id"] = json!(CLIENT);
    json!({"event": name, "data": data}).to_string()
}

/// The simulated hub has nothing more to tell about it.
fn is_complete(seen: &Value) -> bool {
    seen["key"]["status"] == "stored" && seen["quality"] == "GREEN" && seen["stage"] == "live"
}

fn key(bundle: &Bundle, partner: &str, number: &str) -> String {
    bundle.vault_key(partner, number).expect("a key")["key_id"].to_string()
}

async fn is_gone(bundle: &Bundle, tenant: &str, number: &str) {
    until(|| async {
        bundle
            .channel(PARTNER, tenant, number)
            .await
            .map_or(Ok(()), |seen| Err(seen.to_string()))
    })
    .await;
}

async fn is_the_join_of_its_facts(bundle: &Bundle, number: &str) {
    let (partner, number) = (
        PARTNER.parse().expect("an id"),
        number.parse().expect("an id"),
    );
    let table = bundle.table().await;
    until(|| async {
        let facts = Facts::new(table.clone())
            .of_channel(&partner, &number)
            .await
            .expect("facts");
        let mut joined = Channel::unknown(PARTNER.parse().expect("an id"), number.clone());
        joined.join_all(facts.iter().rev().map(|stored| &stored.fact));
        let stored = Channels::new(table.clone())
            .read(&partner, &number)
            .await
            .expect("a channel")
            .channel;
        if stored == joined {
            Ok(())
        } else {
            Err(format!("{stored:?}\n{joined:?}"))
        }
    })
    .await;
}
