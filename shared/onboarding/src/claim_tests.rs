//! Which claim binds a client, and how each of its ids is settled and shown.

use super::*;
use crate::channel::ClaimView;
use crate::fact::{KeyReason, Kind};

const HOUR: i64 = 3600;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn from_caller(tenant: &str, query: &str, now: Timestamp) -> Option<Claim> {
    let query = RedirectQuery::parse(query).unwrap();
    Claim::from_caller(
        &"xPA".parse().unwrap(),
        &tenant.parse().unwrap(),
        &query,
        now,
    )
}

/// A claim without a session, received at hour 100.
fn claim(query: &str) -> Claim {
    from_caller("acme", query, at(100 * HOUR)).unwrap()
}

fn texts<'a>(ids: impl Iterator<Item = &'a ChannelId>) -> Vec<&'a str> {
    ids.map(ChannelId::as_str).collect()
}

fn object(id: &str, created_at: Option<i64>) -> ChannelObject {
    let object = serde_json::json!({"id": id, "client_id": "aCL"});
    let object = ChannelObject::parse(&object).unwrap();
    ChannelObject {
        created_at: created_at.map(at),
        ..object
    }
}

#[test]
fn an_id_is_read_as_it_is_written_and_nothing_else_is_one() {
    let sessionless = claim("client=aCL").id;
    for good in ["0", "1775653748", sessionless.as_str()] {
        let id: ClaimId = good.parse().unwrap();
        assert_eq!(id.to_string(), good);
    }
    let upper = sessionless.as_str().to_uppercase();
    for bad in [
        "",
        "c",
        "-1",
        "1 ",
        "1#2",
        &upper,
        &format!("{sessionless}0"),
        &"1".repeat(20),
    ] {
        assert_eq!(bad.parse::<ClaimId>(), Err(ClaimIdError), "{bad}");
    }
}

#[test]
fn each_id_counts_by_itself() {
    let mut claim = claim("client=aCL&channels=[aCH,bCH]&revoked=[cCH]");
    let listed = [object("aCH", None), object("zCH", None)];
    let facts = claim.permission_facts(&listed);
    assert_eq!(
        texts(facts.iter().map(|fact| &fact.channel.channel)),
        ["aCH"]
    );

    claim.settle(&listed, at(101 * HOUR));
    assert_eq!(texts(claim.unsettled()), ["bCH", "cCH"]);
    assert!(
        claim.permission_facts(&listed).is_empty(),
        "a settled id makes no second fact"
    );

    claim.close_if_settled();
    assert!(claim.is_open(), "two ids are not settled");
    claim.settle(&[object("cCH", None)], at(124 * HOUR));
    assert!(claim.is_open(), "until its channels show their tenant");
    claim.close_if_settled();
    assert_eq!(claim.status, ClaimStatus::Confirmed);
    assert_eq!(claim.due_at, None);
    assert_eq!(texts(claim.confirmed()), ["aCH", "cCH"]);
}

#[test]
fn a_permission_fact_says_what_the_browser_said_when_it_said_it() {
    let claim = claim("client=aCL&channels=[aCH]&revoked=[bCH]");
    let facts = claim.permission_facts(&[object("aCH", None), object("bCH", None)]);
    let permissions = facts.iter().map(|fact| fact.assertion.permission);
    let expected = [Permission::Granted, Permission::Revoked].map(Some);
    assert_eq!(permissions.collect::<Vec<_>>(), expected);
    for fact in facts {
        assert!(fact.assertion.claimed);
        assert_eq!(
            (fact.kind, fact.source),
            (Kind::Permission, Source::Provision)
        );
        assert_eq!(fact.received_at, claim.received_at);
        assert_eq!(fact.cause, claim.id.as_str());
    }
}

#[test]
fn a_claim_of_which_nothing_was_found_for_a_day_is_refused() {
    let mut claim = claim("client=aCL&channels=[aCH]");
    claim.settle(&[], at(124 * HOUR - 1));
    claim.close_if_settled();
    assert_eq!(claim.status, ClaimStatus::Pending);
    claim.settle(&[], at(124 * HOUR));
    claim.close_if_settled();
    assert_eq!(claim.status, ClaimStatus::Refused);
}

#[test]
fn a_claim_on_a_client_alone_is_confirmed_with_the_client() {
    let mut claim = claim("client=aCL");
    claim.settle(&[], at(100 * HOUR));
    claim.close_if_settled();
    assert_eq!(claim.status, ClaimStatus::Confirmed);
}

#[test]
fn a_cancelled_visit_claims_nothing() {
    assert_eq!(from_caller("acme", "", at(0)), None);
}

#[test]
fn a_claim_of_a_session_is_named_by_its_second_and_reaches_5_minutes_before_its_link() {
    let session = Session {
        partner: "xPA".parse().unwrap(),
        tenant: "acme".parse().unwrap(),
        second: 99 * HOUR,
        issued_at: at(90 * HOUR),
        origin: "https://app.example.com".parse().unwrap(),
        return_to: None,
    };
    let query = RedirectQuery::parse("client=aCL").unwrap();
    let claim = Claim::from_session(&session, &query, at(100 * HOUR)).unwrap();
    assert_eq!(claim.id.as_str(), "356400");
    assert_eq!(claim.id.to_string(), "356400");
    assert!(claim.id.has_session());
    assert_eq!(claim.due_at, Some(at(100 * HOUR + 60)));
    let is_fresh = |second| claim.is_fresh(&object("aCH", Some(second)));
    assert!(is_fresh(90 * HOUR - 300) && !is_fresh(90 * HOUR - 301));
}

#[test]
fn a_claim_without_a_session_is_named_by_tenant_and_content_at_any_time() {
    let id = |tenant, query, second| from_caller(tenant, query, at(second)).unwrap().id;
    let first = id("acme", "client=aCL&channels=[aCH,bCH]", 7);
    assert!(!first.has_session());
    assert_eq!(first.as_str().len(), 65);
    assert_eq!(id("acme", "channels=[bCH,aCH]&client=aCL", 8), first);
    for other in [
        id("other", "client=aCL&channels=[aCH,bCH]", 7),
        id("acme", "client=bCL&channels=[aCH,bCH]", 7),
        id("acme", "client=aCL&revoked=[aCH,bCH]", 7),
    ] {
        assert_ne!(other, first);
    }
}

#[test]
fn a_held_claim_stays_open_and_a_refused_one_does_not_and_neither_is_due() {
    let (mut held, mut refused) = (claim("client=aCL"), claim("client=aCL"));
    held.hold();
    refused.refuse();
    assert_eq!((held.status, held.due_at), (ClaimStatus::Held, None));
    assert_eq!(
        (refused.status, refused.due_at),
        (ClaimStatus::Refused, None)
    );
    assert!(held.is_open() && !refused.is_open());
}

#[test]
fn a_claim_that_is_registered_is_open_but_not_due() {
    let mut claim = claim("client=aCL");
    assert_eq!(claim.registered_at, None);
    claim.register(at(7));
    let state = (claim.registered_at, claim.due_at, claim.is_open());
    assert_eq!(state, (Some(at(7)), None, true));
}

#[test]
fn the_permission_facts_of_a_later_generation_are_other_facts() {
    let first = claim("client=aCL&channels=[aCH]&revoked=[bCH]");
    let listed = [object("aCH", None), object("bCH", None)];
    let of_generation = |generation| Claim {
        generation,
        ..first.clone()
    };
    let claims = [0, 1, 2, 11].map(of_generation);
    let causes: Vec<String> = claims.iter().map(Claim::cause).collect();
    let id = &first.id;
    let wanted = ["", ".1", ".2", ".11"].map(|generation| format!("{id}{generation}"));
    assert_eq!(causes, wanted);
    let facts = claims
        .iter()
        .flat_map(|claim| claim.permission_facts(&listed));
    let ids: BTreeSet<String> = facts.map(|fact| fact.id.as_str().to_owned()).collect();
    assert_eq!(ids.len(), 8);
}

#[test]
fn a_claim_that_was_kept_before_there_were_generations_can_be_read() {
    let claim = claim("client=aCL&channels=[aCH]");
    let mut kept = serde_json::to_value(&claim).unwrap();
    let fields = kept.as_object_mut().unwrap();
    assert!(!fields.contains_key("generation"));
    fields.remove("registered_at");
    assert_eq!(serde_json::from_value::<Claim>(kept).unwrap(), claim);
}

#[test]
fn an_open_claim_shows_each_id_that_was_not_refused() {
    let mut claim = claim("client=aCL&channels=[aCH,bCH]&revoked=[cCH]");
    let shown = |claim: &Claim| -> Vec<(String, ClaimView, Option<KeyReason>)> {
        let views = claim.views();
        views
            .map(|view| (view.id.to_string(), view.claim, view.key.reason))
            .collect()
    };
    let expected = |ids: &[&str], view, reason| -> Vec<_> {
        let ids = ids.iter();
        ids.map(|id| ((*id).to_owned(), view, Some(reason)))
            .collect()
    };
    let all = ["aCH", "bCH", "cCH"];
    let pending = expected(&all, ClaimView::Pending, KeyReason::Unclaimed);
    assert_eq!(shown(&claim), pending);
    claim.settled = [
        ("aCH".parse().unwrap(), Settled::Confirmed),
        ("bCH".parse().unwrap(), Settled::Refused),
    ]
    .into();
    claim.hold();
    let held = expected(&["aCH", "cCH"], ClaimView::Held, KeyReason::HeldForReview);
    assert_eq!(shown(&claim), held);
}
