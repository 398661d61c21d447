//! The list of a tenant's channels.

use dialog360::redirect::RedirectQuery;
use jiff::Timestamp;
use onboarding::claim::Claim;
use serde_json::{Value, json};
use store::{ClaimedIds, Claims, Recorded};
use tests::partner_api::{NUMBER, SimulatedPartnerApi, claim};
use tests::{Ask, Bundle, PARTNER, PAYING_PARTNER, id, text, until_seen};

#[tokio::test]
async fn pages_of_any_length_list_every_number_once() {
    let bundle = Bundle::start().await;
    let numbers = ["aCH", "bCH", "cCH"];
    let choice = json!({"client": "aCL", "channels": numbers});
    bundle.onboard(PARTNER, "acme", choice).await;
    let choice = json!({"client": "bCL", "channels": ["foreignCH"]});
    bundle.onboard(PARTNER, "globex", choice).await;
    for number in numbers {
        bundle.stored(PARTNER, "acme", number).await;
    }
    bundle.stored(PARTNER, "globex", "foreignCH").await;
    let table = bundle.table().await;
    let (claims, claimed) = (Claims::new(table.clone()), ClaimedIds::new(table));
    // Nobody registers a claim that is held, so that these stay as they are between two pages.
    let mut in_claims = Vec::new();
    for ids in [vec!["Aghost1CH", "bCH", "zghostCH"], vec!["Aghost2CH"]] {
        let channels = ids.join(",");
        let mut unregistered = claim_at(1, "acme", &format!("client=aCL&channels=[{channels}]"));
        unregistered.hold();
        let recorded = claims.record(&unregistered).await;
        assert_eq!(recorded.expect("the table"), Recorded::New);
        in_claims.push((unregistered.id.as_str().to_owned(), ids));
    }
    in_claims.sort();
    for (at, who, channels) in [
        (1, "acme", "[dghostCH,eghostCH]"),
        (2, "acme", "[eghostCH]"),
        (3, "globex", "[fghostCH]"),
    ] {
        let registered = claim_at(at, who, &format!("client=aCL&channels={channels}"));
        claimed.note(&registered).await.expect("the table");
    }
    let in_claims = in_claims.into_iter().flat_map(|(_, ids)| ids);
    let in_claims = in_claims.filter(|id| *id != "bCH");
    let mut wanted = numbers.to_vec();
    wanted.extend(in_claims.chain(["dghostCH", "eghostCH"]));
    for limit in 1..=9 {
        let listed = every_page(&bundle, limit).await;
        assert_eq!(listed, wanted, "limit {limit}");
    }
}

/// A claim without a session, as if it had come in at the second `at`.
fn claim_at(at: i64, who: &str, query: &str) -> Claim {
    let query = RedirectQuery::parse(query).expect("a query");
    let at = Timestamp::from_second(at).expect("a time");
    let claim = Claim::from_caller(&id(PARTNER), &id(who), &query, at);
    claim.expect("a claim")
}

#[tokio::test]
async fn an_id_that_two_claims_name_is_listed_once_in_an_answer_and_as_the_later_one() {
    let api = SimulatedPartnerApi::start().await;
    let bundle = api.bundle(&[]).await;
    for client in ["aCL", "bCL"] {
        let query = format!("client={client}&channels=[ghostCH]");
        bundle.claim(PARTNER, "acme", &query).await;
    }
    let is_listed = |listed: &Vec<Value>| !listed.is_empty();
    let listed = || bundle.channels(PARTNER, "acme");
    let listed = until_seen(listed, is_listed).await;
    let listed: Vec<_> = listed
        .iter()
        .map(|row| (&row["id"], &row["client_id"]))
        .collect();
    assert_eq!(listed, [(&json!("ghostCH"), &json!("bCL"))]);
}

#[tokio::test]
async fn one_channel_is_the_tenant_s_own_or_one_that_it_claims_and_else_unknown() {
    let (_api, bundle) = SimulatedPartnerApi::with_new(NUMBER).await;
    claim(&bundle, PARTNER, NUMBER).await;
    let is_own = |listed: &Vec<Value>| {
        let own = listed.iter().find(|row| row["key"]["status"] == "stored");
        own.is_some()
    };
    until_seen(|| bundle.channels(PARTNER, "acme"), is_own).await;
    let claimed = ClaimedIds::new(bundle.table().await);
    let both = format!("client=bCL&channels=[{NUMBER},ghostCH]");
    let mut acmes = claim_at(1, "acme", &both);
    let globexs = claim_at(2, "globex", &both);
    for claim in [&acmes, &globexs] {
        claimed.note(claim).await.expect("the table");
    }
    let seen = async |who: &str, number: &str| {
        let seen = bundle.channel(PARTNER, who, number).await?;
        assert_eq!(seen["tenant"], who);
        Some((seen["claim"].clone(), seen["key"]["reason"].clone()))
    };
    let pending = Some((json!("pending"), json!("unclaimed")));
    let own = Some((json!("confirmed"), Value::Null));
    assert_eq!(seen("acme", NUMBER).await, own);
    for (who, number) in [
        ("acme", "ghostCH"),
        ("globex", "ghostCH"),
        ("globex", NUMBER),
    ] {
        assert_eq!(seen(who, number).await, pending, "{who} {number}");
    }
    assert_eq!(seen("initech", "ghostCH").await, None);
    assert_eq!(
        bundle.channel(PAYING_PARTNER, "acme", "ghostCH").await,
        None
    );

    acmes.hold();
    claimed.note(&acmes).await.expect("the table");
    let held = Some((json!("held"), json!("held_for_review")));
    assert_eq!(seen("acme", "ghostCH").await, held);
    claimed
        .forget(&acmes, &acmes.channels)
        .await
        .expect("the table");
    assert_eq!(seen("acme", "ghostCH").await, None);
    assert_eq!(seen("acme", NUMBER).await, own);
    assert_eq!(seen("globex", "ghostCH").await, pending);
}

#[tokio::test]
async fn a_cursor_that_is_not_ours_is_refused() {
    let bundle = Bundle::start().await;
    for cursor in ["x", "%00", "aCH", "Y2FDSA", "aA"] {
        let path = format!("/{PARTNER}/channels?cursor={cursor}");
        bundle.get("acme", &path).ask().await.problem(400);
    }
}

async fn every_page(bundle: &Bundle, limit: usize) -> Vec<String> {
    let (mut listed, mut next) = (Vec::new(), String::new());
    loop {
        let path = format!("/{PARTNER}/channels?limit={limit}&cursor={next}");
        let page = bundle.get("acme", &path).ask().await.is(200).json();
        let rows = page["channels"].as_array().expect("a list");
        assert!(rows.len() <= limit, "{page}");
        listed.extend(rows.iter().map(|row| text(&row["id"]).to_owned()));
        match page["next"].as_str() {
            Some(cursor) => next = cursor.to_owned(),
            None => return listed,
        }
        assert!(listed.len() < 20, "it does not end: {listed:?}");
    }
}

#[tokio::test]
async fn a_claimed_number_that_was_seen_once_is_seen_at_any_time_until_its_key_is_stored() {
    let (_api, bundle) = SimulatedPartnerApi::with_new(NUMBER).await;
    claim(&bundle, PARTNER, NUMBER).await;
    let about = (PARTNER, "acme", NUMBER);
    bundle.channel_until(about, |seen| !seen.is_null()).await;
    loop {
        let seen = bundle.channel(PARTNER, "acme", NUMBER).await;
        let seen = seen.expect("it is claimed or confirmed");
        assert_ne!(seen["key"]["status"], "none", "{seen}");
        if seen["key"]["status"] == "stored" {
            break;
        }
    }
    assert_eq!(bundle.channels(PARTNER, "acme").await.len(), 1);
}
