//! Claimed ids: one item for each channel and tenant, of the claim that came in last.

use dialog360::id::{ChannelId, ClientId};
use onboarding::channel::{ChannelView, ClaimView};
use onboarding::claim::{Claim, Settled};
use onboarding::fact::KeyReason;
use store::ClaimedIds;
use store::table::Table;
use tests::id;

use super::{Succeeds, after, channel, claim_of, items_of, other_partner, tenant};

contract! {
    each_id_of_a_claim_is_noted_once_and_shown_as_the_claim_stands,
    a_settled_id_is_not_noted,
    of_two_claims_of_a_tenant_the_later_one_counts_in_any_order,
    the_claims_of_two_tenants_stand_beside_each_other,
    a_claim_forgets_what_is_still_its_own,
    a_later_generation_keeps_what_the_first_forgets,
    a_tenant_of_any_name_can_claim,
}

/// A claim of `who`, received `seconds` after the others.
fn claim_at(who: &str, seconds: i64, query: &str) -> Claim {
    Claim {
        received_at: after(seconds),
        ..claim_of(who, seconds, query)
    }
}

fn ids(texts: &[&str]) -> Vec<ChannelId> {
    texts.iter().map(|text| id(text)).collect()
}

async fn seen(claimed: &ClaimedIds, number: &str, who: &str) -> Option<ChannelView> {
    let (channel, tenant) = (channel(number), tenant(who));
    claimed.read_with_channel(&channel, &tenant).ok().await.1
}

/// The client with which `acme` claims a number, as it sees it.
async fn client(claimed: &ClaimedIds, number: &str) -> Option<String> {
    let seen = seen(claimed, number, "acme").await;
    seen.map(|view| view.client_id.to_string())
}

async fn clients(claimed: &ClaimedIds, number: &str) -> Vec<String> {
    let clients = claimed.clients(&channel(number)).ok().await;
    clients.iter().map(ClientId::to_string).collect()
}

async fn each_id_of_a_claim_is_noted_once_and_shown_as_the_claim_stands(table: Table) {
    let claimed = ClaimedIds::new(table.clone());
    let mut claim = claim_at("acme", 1, "client=aCL&channels=[aCH,bCH]&revoked=[cCH]");
    for _ in 0..2 {
        claimed.note(&claim).ok().await;
        let views: Vec<ChannelView> = claim.views().collect();
        for view in &views {
            let seen = seen(&claimed, view.id.as_str(), "acme").await;
            assert_eq!(seen.as_ref(), Some(view));
        }
        assert_eq!(items_of(&table, "CLAIMED#").await.len(), 3);
        claim.hold();
    }
    claimed.note(&claim).ok().await;
    let view = seen(&claimed, "aCH", "acme").await.expect("it is claimed");
    let state = (view.claim, view.key.reason);
    assert_eq!(state, (ClaimView::Held, Some(KeyReason::HeldForReview)));
    assert_eq!(seen(&claimed, "dCH", "acme").await, None);
    assert_eq!(seen(&claimed, "aCH", "other").await, None);
    let mut elsewhere = channel("aCH");
    elsewhere.partner = other_partner();
    let acme = tenant("acme");
    assert_eq!(
        claimed.read_with_channel(&elsewhere, &acme).ok().await.1,
        None
    );
}

async fn a_settled_id_is_not_noted(table: Table) {
    let claimed = ClaimedIds::new(table);
    let mut claim = claim_at("acme", 1, "client=aCL&channels=[aCH,bCH,cCH]");
    claim.settled = [
        (id("aCH"), Settled::Confirmed),
        (id("bCH"), Settled::Refused),
    ]
    .into();
    claimed.note(&claim).ok().await;
    for (number, wanted) in [("aCH", None), ("bCH", None), ("cCH", Some("aCL"))] {
        assert_eq!(client(&claimed, number).await.as_deref(), wanted);
    }
}

async fn of_two_claims_of_a_tenant_the_later_one_counts_in_any_order(table: Table) {
    let claimed = ClaimedIds::new(table);
    let earlier = claim_at("acme", 1, "client=aCL&channels=[aCH,bCH]");
    let later = claim_at("acme", 2, "client=bCL&channels=[aCH,cCH]");
    for claims in [[&earlier, &later], [&later, &earlier]] {
        for claim in claims {
            claimed.note(claim).ok().await;
        }
        assert_eq!(client(&claimed, "aCH").await.as_deref(), Some("bCL"));
        assert_eq!(clients(&claimed, "aCH").await, ["bCL"]);
        assert_eq!(client(&claimed, "bCH").await.as_deref(), Some("aCL"));
        // The earlier one forgets only what is its own.
        claimed.forget(&earlier, &ids(&["aCH", "bCH"])).ok().await;
        assert_eq!(client(&claimed, "aCH").await.as_deref(), Some("bCL"));
        assert_eq!(client(&claimed, "bCH").await, None);
        claimed.forget(&later, &ids(&["aCH", "cCH"])).ok().await;
        assert_eq!(client(&claimed, "aCH").await, None);
    }
}

async fn the_claims_of_two_tenants_stand_beside_each_other(table: Table) {
    let claimed = ClaimedIds::new(table);
    let first = claim_at("acme", 1, "client=aCL&channels=[aCH]");
    let second = claim_at("other", 2, "client=bCL&channels=[aCH]");
    let third = claim_at("acm", 3, "client=bCL&channels=[aCH,aaCH]");
    for claim in [&first, &second, &third] {
        claimed.note(claim).ok().await;
    }
    assert_eq!(clients(&claimed, "aCH").await, ["aCL", "bCL"]);
    assert_eq!(client(&claimed, "aCH").await.as_deref(), Some("aCL"));
    claimed.forget(&first, &first.channels).ok().await;
    assert_eq!(clients(&claimed, "aCH").await, ["bCL"]);
    assert_eq!(client(&claimed, "aCH").await, None);
    assert!(seen(&claimed, "aCH", "other").await.is_some());
    assert!(clients(&claimed, "nobodysCH").await.is_empty());
}

async fn a_claim_forgets_what_is_still_its_own(table: Table) {
    let claimed = ClaimedIds::new(table.clone());
    let claim = claim_at("acme", 1, "client=aCL&channels=[aCH,bCH]&revoked=[cCH]");
    claimed.note(&claim).ok().await;
    for _ in 0..2 {
        claimed.forget(&claim, &ids(&["aCH", "noneCH"])).ok().await;
        assert_eq!(items_of(&table, "CLAIMED#").await.len(), 2);
    }
    claimed.forget(&claim, &claim.channels).ok().await;
    claimed.forget(&claim, &claim.revoked).ok().await;
    assert!(items_of(&table, "CLAIMED#").await.is_empty());
}

async fn a_later_generation_keeps_what_the_first_forgets(table: Table) {
    let claimed = ClaimedIds::new(table);
    let first = claim_at("acme", 1, "client=aCL&channels=[aCH]");
    let next = Claim {
        generation: 1,
        received_at: after(2),
        ..first.clone()
    };
    claimed.note(&first).ok().await;
    claimed.note(&next).ok().await;
    claimed.forget(&first, &first.channels).ok().await;
    assert!(seen(&claimed, "aCH", "acme").await.is_some());
    claimed.forget(&next, &next.channels).ok().await;
    assert_eq!(seen(&claimed, "aCH", "acme").await, None);
}

async fn a_tenant_of_any_name_can_claim(table: Table) {
    let claimed = ClaimedIds::new(table);
    for who in ["-", "#", "a#b/c d\u{0}", &"😀".repeat(128)] {
        let claim = claim_at(who, 1, "client=aCL&channels=[aCH]");
        claimed.note(&claim).ok().await;
        let view = seen(&claimed, "aCH", who).await.expect("it is claimed");
        assert_eq!(view.tenant.as_str(), who);
        claimed.forget(&claim, &claim.channels).ok().await;
        assert_eq!(seen(&claimed, "aCH", who).await, None);
    }
}
