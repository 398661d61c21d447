//! Claims: whose a client and its numbers are, and what the Partner API must say before they are anybody's.

use onboarding::queue::{Due, Lane, Stop};
use runtime::clock;
use serde_json::{Value, json};
use store::{Clients, Queue, StoredEntry, Subject, Works, Write};
use tests::partner_api::{CLIENT, NUMBER, SimulatedPartnerApi};
use tests::partner_api::{answer, asks_to_wait, channel, claim, new_channel};
use tests::{Bundle, PARTNER, PAYING_PARTNER, id, until_seen};

const LONG_AGO: Option<&str> = Some("2020-02-02T02:02:02Z");

/// I5
#[tokio::test]
async fn a_second_tenant_cannot_get_the_first_ones_client_by_a_link_of_its_own() {
    let bundle = Bundle::start().await;
    bundle.grant("acme", NUMBER).await;
    let before = bundle.complete_story(PARTNER, "acme", NUMBER).await;
    let first = bundle.key_id(PARTNER, NUMBER).await;

    for said in [
        "channels=[oneCH]",
        "revoked=[oneCH]",
        "channels=[oneCH,otherCH]",
        "",
    ] {
        let query = format!("client={CLIENT}&{said}");
        bundle.claim(PARTNER, "globex", &query).await;
    }
    for number in [NUMBER, "otherCH"] {
        let about = (PARTNER, "globex", number);
        bundle.channel_until(about, Value::is_null).await;
    }
    bundle.scan_when_quiet().await;
    assert!(bundle.channels(PARTNER, "globex").await.is_empty());
    assert_eq!(bundle.channel(PARTNER, "acme", NUMBER).await, Some(before));
    assert_eq!(bundle.key_id(PARTNER, NUMBER).await, first);
}

/// I5
#[tokio::test]
async fn of_two_tenants_who_claim_a_client_at_once_one_gets_it_or_both_are_held() {
    let bundle = Bundle::start().await;
    let acme = bundle.sign(PARTNER, "acme").await;
    let globex = bundle.sign(PARTNER, "globex").await;
    let choice = json!({"client": CLIENT, "channels": [NUMBER]});
    bundle.complete(&acme, choice).await;
    let said = format!("client={CLIENT}&channels=[{NUMBER}]");
    let both = tokio::join!(
        bundle.come_back_with(&acme, &said),
        bundle.come_back_with(&globex, &said)
    );
    assert_eq!((both.0.status, both.1.status), (200, 200));
    let owned = || async {
        let acme = bundle.channel(PARTNER, "acme", NUMBER).await;
        let globex = bundle.channel(PARTNER, "globex", NUMBER).await;
        acme.into_iter().chain(globex).collect::<Vec<_>>()
    };
    // Who is registered first may be bound before the other is; else both need an operator.
    let is_over = |owned: &Vec<Value>| match owned.as_slice() {
        [one] => one["key"]["status"] == "stored",
        both => both.len() == 2 && both.iter().all(|one| one["claim"] == "held"),
    };
    let owned = until_seen(owned, is_over).await;
    let key = bundle.stored_key(PARTNER, NUMBER).await;
    assert_eq!(key.is_some(), owned.len() == 1, "{owned:?}");
}

/// I5
#[tokio::test]
async fn a_client_that_another_tenant_gets_while_its_channels_are_read_is_refused() {
    let (api, bundle) = SimulatedPartnerApi::with_new(NUMBER).await;
    api.replies("channels", json!({"hold": true})).await;
    claim(&bundle, PARTNER, NUMBER).await;
    api.is_asked("channels", 1).await;
    let clients = Clients::new(bundle.table().await);
    let (partner, client) = (id(PARTNER), id(CLIENT));
    let seen = clients.read(&partner, &client).await.expect("a read");
    let bound = clients.bind(&partner, &client, &seen, &id("globex")).await;
    assert_eq!(bound.expect("an answer"), Write::Done);
    api.recovers().await;
    let about = (PARTNER, "acme", NUMBER);
    bundle.channel_until(about, Value::is_null).await;
    bundle.scan_when_quiet().await;
    assert!(bundle.channels(PARTNER, "acme").await.is_empty());
    assert_eq!(api.posts(NUMBER).await, 0);
}

/// I5
#[tokio::test]
async fn a_claim_says_nothing_about_the_numbers_of_other_clients() {
    let bundle = Bundle::start().await;
    bundle.grant("acme", NUMBER).await;
    let choice = json!({"client": "bCL", "channels": ["theirCH"]});
    bundle.onboard(PARTNER, "globex", choice).await;
    let before = bundle.complete_story(PARTNER, "globex", "theirCH").await;
    // The revocation last: a grant behind it would hide what it did.
    for said in ["channels=[theirCH]", "revoked=[theirCH]"] {
        let query = format!("client={CLIENT}&{said}");
        bundle.claim(PARTNER, "acme", &query).await;
    }
    bundle.scan_when_quiet().await;
    let after = bundle.channel(PARTNER, "globex", "theirCH").await;
    assert_eq!(after, Some(before));
    bundle.can_send(PARTNER, "theirCH").await;
    let listed = bundle.channels(PARTNER, "acme").await;
    let listed: Vec<&Value> = listed.iter().map(|row| &row["claim"]).collect();
    assert_eq!(listed, ["confirmed", "pending"], "nor is it theirs to have");
}

#[tokio::test]
async fn an_id_the_hub_does_not_know_stays_pending_and_is_the_claimants_to_see() {
    let bundle = Bundle::start().await;
    bundle.grant_and_store("acme", NUMBER).await;
    claim(&bundle, PARTNER, "ghostCH").await;
    bundle.scan_when_quiet().await;
    let seen = bundle.channel(PARTNER, "acme", "ghostCH").await;
    let seen = seen.expect("a claimed id");
    is_only_claimed(seen, "ghostCH", "pending", "unclaimed");
    assert_eq!(bundle.channel(PARTNER, "globex", "ghostCH").await, None);
    let elsewhere = bundle.channel(PAYING_PARTNER, "acme", "ghostCH").await;
    assert_eq!(elsewhere, None);
}

/// 360dialog sends no webhook when a number dies: the read of the claim is what tells.
#[tokio::test]
async fn a_number_that_died_silently_is_cancelled_and_no_key_is_asked_for() {
    let signs = [
        ("gone0CH", "cancelled_at"),
        ("gone1CH", "pending_deletion"),
        ("gone2CH", "deleted"),
        ("gone3CH", "terminated"),
        ("gone4CH", "cancelled"),
        ("gone5CH", "bsp_removed"),
        ("gone6CH", "disabled"),
        ("gone7CH", "banned"),
    ];
    let (api, bundle) = SimulatedPartnerApi::with_new(NUMBER).await;
    for (number, sign) in &signs {
        let mut channel = new_channel(number);
        channel["dies"] = json!(sign);
        api.adds(channel).await;
        bundle.event("channel_live", number).await;
    }
    let numbers = signs.each_ref().map(|(number, _)| *number).join(",");
    claim(&bundle, PARTNER, &format!("{NUMBER},{numbers}")).await;
    bundle.stored(PARTNER, "acme", NUMBER).await;
    for (number, _) in &signs {
        let seen = bundle.key_is(number, "none", "cancelled").await;
        assert_eq!(seen["stage"], "cancelled", "{number}");
    }
    bundle.scan_when_quiet().await;
    assert_eq!(
        (api.asked("keys").await, api.asked("new_key").await),
        (1, 1)
    );
}

/// I5
#[tokio::test]
async fn a_client_with_a_number_from_before_the_visit_is_held_for_review() {
    let api = SimulatedPartnerApi::start().await;
    let bundle = api.bundle(&[]).await;
    let just_before = clock::now() - std::time::Duration::from_secs(360);
    let just_before = just_before.to_string();
    let numbers = ["aCH", "bCH", "cCH"];
    for (number, older) in numbers
        .into_iter()
        .zip([LONG_AGO, None, Some(&just_before)])
    {
        api.forgets().await;
        for listed in [new_channel(number), channel("elderCH", older)] {
            api.adds(listed).await;
        }
        claim(&bundle, PARTNER, number).await;
        let seen = bundle.channel_has(number, "claim", "held").await;
        is_only_claimed(seen, number, "held", "held_for_review");
        assert_eq!(bundle.channel(PARTNER, "globex", number).await, None);
    }
    bundle.scan_when_quiet().await;
    let clients = Clients::new(bundle.table().await);
    let owner = clients.owner(&id(PARTNER), &id(CLIENT)).await;
    assert_eq!(owner.expect("a read"), None, "nobody owns the client");
    for number in numbers.into_iter().chain(["elderCH"]) {
        assert_eq!(api.posts(number).await, 0, "{number}");
    }
}

/// I5
#[tokio::test]
async fn a_number_that_moved_to_another_client_gets_no_key() {
    let api = SimulatedPartnerApi::start().await;
    let mut moved = new_channel(NUMBER);
    moved["stage"] = json!("ready");
    api.adds(moved.clone()).await;
    let bundle = api.bundle(&[]).await;
    claim(&bundle, PARTNER, NUMBER).await;
    bundle.key_is(NUMBER, "waiting", "not_running").await;
    moved["client"] = json!("zCL");
    api.adds(moved).await;
    let event = json!({"event": "channel_running", "data": {"id": NUMBER, "client_id": "zCL"}});
    bundle.webhook(PARTNER, &event.to_string()).await.is(200);
    bundle.key_is(NUMBER, "blocked", "wrong_client").await;
    assert_eq!(api.posts(NUMBER).await, 0);
}

#[tokio::test]
async fn a_later_number_of_an_own_client_is_bound_by_the_webhook_that_names_the_client() {
    let (api, bundle) = SimulatedPartnerApi::with_new(NUMBER).await;
    claim(&bundle, PARTNER, NUMBER).await;
    bundle.stored(PARTNER, "acme", NUMBER).await;
    let reads = api.asked("channels").await;
    api.adds(channel("laterCH", LONG_AGO)).await;
    let event = json!({"event": "channel_running", "data": {"id": "laterCH", "client_id": CLIENT}});
    bundle.webhook(PARTNER, &event.to_string()).await.is(200);
    bundle.event("channel_permission_granted", "laterCH").await;
    let seen = bundle.stored(PARTNER, "acme", "laterCH").await;
    let owner = (&seen["client_id"], &seen["claim"]);
    assert_eq!(owner, (&json!(CLIENT), &json!("none")));
    assert_eq!(
        api.asked("channels").await,
        reads,
        "no call was needed to bind it"
    );
}

/// I10
#[tokio::test]
async fn silence_and_errors_are_neither_a_refusal_nor_a_revocation() {
    let refuses = |status| answer(status, json!({}));
    let odd = [
        json!({"answer": "silence"}),
        refuses(503),
        answer(500, json!({"partner_channels": []})),
        answer(200, json!("not what was asked for")),
        refuses(404),
        refuses(401),
        refuses(403),
        answer(200, json!({"partner_channels": [], "total": 0})),
    ];
    let (api, bundle) = SimulatedPartnerApi::with_new(NUMBER).await;
    for odd in &odd {
        api.replies("channels", odd.clone()).await;
        claim_in_vain(&api, &bundle, NUMBER).await;
        let seen = bundle.channel(PARTNER, "acme", NUMBER).await;
        let seen = seen.expect("the claim stays");
        let state = (&seen["claim"], &seen["key"]["reason"]);
        assert_eq!(state, (&json!("pending"), &json!("unclaimed")), "{odd:?}");
    }
    api.refuses("keys", 500).await;
    api.answers_as_usual("channels").await;
    bundle.waits_are_over().await;
    bundle.key_is(NUMBER, "waiting", "hub_unavailable").await;
    api.recovers().await;
    bundle.stored(PARTNER, "acme", NUMBER).await;
    api.has_live_key(&bundle, NUMBER).await;

    let before = bundle.channel(PARTNER, "acme", NUMBER).await;
    for odd in &odd[1..] {
        api.replies("channels", odd.clone()).await;
        claim_in_vain(&api, &bundle, "otherCH").await;
        let after = bundle.channel(PARTNER, "acme", NUMBER).await;
        assert_eq!(after, before, "{odd:?}");
    }
    assert_eq!(api.posts(NUMBER).await, 1);
}

#[tokio::test]
async fn a_claim_waits_as_long_as_the_hub_says_but_no_longer_than_a_day() {
    let (api, bundle) = SimulatedPartnerApi::with_new(NUMBER).await;
    let new_year = asks_to_wait("Fri, 31 Dec 2100 23:59:59 GMT");
    api.replies("channels", new_year).await;
    let before = clock::now().as_second();
    claim_in_vain(&api, &bundle, NUMBER).await;
    let due = entry(&bundle).await.entry.due;
    let due_at = due.and_then(Due::time).expect("it is due").as_second();
    let day = 24 * 3600;
    assert!((before + day..=clock::now().as_second() + day).contains(&due_at));
    // The calls about all others stop for a quarter of an hour at most.
    let works = Works::new(bundle.table().await);
    let work = works.inspect(&id(PARTNER)).await.expect("a read").work;
    let (until, why) = work.circuit.stopped(clock::now()).expect("it is stopped");
    assert_eq!(why, Stop::RateLimited);
    assert!(until.as_second() <= clock::now().as_second() + 900);
}

/// I13: as many claims as one look judges, and more.
pub(super) async fn all_claims_on_one_client_are_settled(many: usize) {
    let api = SimulatedPartnerApi::start().await;
    let bundle = api.bundle(&[]).await;
    api.replies("channels", json!({"hold": true})).await;
    for index in 0..many {
        let number = format!("n{index}CH");
        api.adds(new_channel(&number)).await;
        let query = format!("client={CLIENT}&channels=[{number}]");
        bundle.hand_in(PARTNER, "acme", &query).await;
    }
    api.recovers().await;
    let stored = || async {
        let rows = bundle.channels(PARTNER, "acme").await;
        let is_stored = |row: &&Value| row["key"]["status"] == "stored";
        rows.iter().filter(is_stored).count()
    };
    for some in (0..=many).step_by(10) {
        until_seen(stored, |stored| *stored >= some).await;
    }
}

/// Claims `number` anew and waits until its client was looked at, which settled nothing.
async fn claim_in_vain(api: &SimulatedPartnerApi, bundle: &Bundle, number: &str) {
    let before = api.asked("channels").await;
    // Its client may be looked at from here on: a 401 stops the calls before the claim is there.
    bundle.waits_are_over().await;
    claim(bundle, PARTNER, number).await;
    api.is_asked("channels", before + 1).await;
    let seen = || async { (entry(bundle).await, stopped(bundle).await) };
    let is_over = |(entry, stopped): &(StoredEntry, Option<Stop>)| {
        let due = entry.entry.due.filter(|_| entry.entry.taken.is_none());
        // In the line once more, because it was made due meanwhile: nothing moves there while no call is made.
        due.is_some_and(|due| due.lane() == Lane::Alarm || stopped.is_some())
    };
    until_seen(seen, is_over).await;
}

/// Why [`PARTNER`] is not called at the moment.
async fn stopped(bundle: &Bundle) -> Option<Stop> {
    let works = Works::new(bundle.table().await);
    let work = works.inspect(&id(PARTNER)).await.expect("a read").work;
    work.circuit.stopped(clock::now()).map(|(_, why)| why)
}

/// When the client is due.
async fn entry(bundle: &Bundle) -> StoredEntry {
    let queue = Queue::new(bundle.table().await);
    let client = Subject::Client(id(PARTNER), id(CLIENT));
    queue.entry(&client).await.expect("a read")
}

/// A number that is only claimed shows who claims it, and nothing that is known of it.
fn is_only_claimed(mut seen: Value, number: &str, claim: &str, reason: &str) {
    let updated_at = seen["updated_at"].take();
    assert!(updated_at.as_str().is_some_and(|at| at.ends_with('Z')));
    let wanted = json!({
        "id": number, "partner_id": PARTNER, "client_id": CLIENT, "tenant": "acme", "stage": null,
        "permission": "unknown", "claim": claim,
        "key": {"status": "waiting", "reason": reason}, "messaging_webhook": null,
        "phone_number": null, "display_name": null, "quality": null, "messaging_limit": null, "updated_at": null,
    });
    assert_eq!(seen, wanted);
}
