//! Who gets a client, and what becomes of the claims of the others.

use Verdict::{Grant, Hold, Refuse, Wait};
use dialog360::redirect::RedirectQuery;

use super::*;

const HOUR: i64 = 3600;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// A claim without a session, received and registered at `hour`.
fn claim(tenant: &str, named: &str, hour: i64) -> Claim {
    let query = RedirectQuery::parse(&format!("client=aCL&channels=[{named}]")).unwrap();
    let (partner, tenant) = ("xPA".parse().unwrap(), tenant.parse().unwrap());
    let mut claim = Claim::from_caller(&partner, &tenant, &query, at(hour * HOUR)).unwrap();
    claim.register(at(hour * HOUR));
    claim
}

/// A channel that was created at `hour`.
fn channel(id: &str, hour: i64) -> ChannelObject {
    let object = serde_json::json!({"id": id, "client_id": "aCL"});
    let object = ChannelObject::parse(&object).unwrap();
    ChannelObject {
        created_at: Some(at(hour * HOUR)),
        ..object
    }
}

/// The owner and the verdicts at hour `now`, of a client that belongs to nobody.
fn judged(claims: &[Claim], listed: &[ChannelObject], now: i64) -> (Option<String>, Vec<Verdict>) {
    judged_for(None, None, claims, listed, now)
}

fn judged_for(
    owner: Option<&str>,
    decision: Option<&str>,
    claims: &[Claim],
    listed: &[ChannelObject],
    now: i64,
) -> (Option<String>, Vec<Verdict>) {
    let tenant = |name: &str| name.parse::<Tenant>().unwrap();
    let (owner, decision) = (owner.map(tenant), decision.map(tenant));
    let now = at(now * HOUR);
    let Judgement { owner, verdicts } =
        judge(owner.as_ref(), decision.as_ref(), claims, listed, now);
    (owner.map(|owner| owner.to_string()), verdicts)
}

fn bound(tenant: &str, verdicts: &[Verdict]) -> (Option<String>, Vec<Verdict>) {
    (Some(tenant.to_owned()), verdicts.to_vec())
}

fn nobody(verdicts: &[Verdict]) -> (Option<String>, Vec<Verdict>) {
    (None, verdicts.to_vec())
}

#[test]
fn a_client_is_bound_if_the_claim_names_a_channel_and_all_are_new() {
    let acme = [claim("acme", "aCH", 100)];
    let new = [channel("aCH", 90), channel("bCH", 90)];
    assert_eq!(judged(&acme, &new, 100), bound("acme", &[Grant]));
    let one_old = [channel("aCH", 90), channel("bCH", 75)];
    assert_eq!(judged(&acme, &one_old, 100), nobody(&[Hold]));
    let unknown = ChannelObject {
        created_at: None,
        ..channel("aCH", 90)
    };
    assert_eq!(judged(&acme, &[unknown], 100), nobody(&[Hold]));
    assert_eq!(judged(&acme, &[], 100), nobody(&[Wait]));
}

#[test]
fn channels_that_two_tenants_name_are_left_to_an_operator() {
    let both = [claim("acme", "aCH", 100), claim("globex", "bCH", 100)];
    let listed = [channel("aCH", 99), channel("bCH", 99)];
    assert_eq!(judged(&both, &listed, 100), nobody(&[Hold, Hold]));
    // Another client's id, or one that does not exist, is no obstacle.
    let mere = [claim("acme", "aCH", 100), claim("globex", "zCH", 100)];
    assert_eq!(judged(&mere, &listed, 100), bound("acme", &[Grant, Refuse]));
}

#[test]
fn a_held_claim_of_another_tenant_contests_as_a_pending_one_does() {
    let mut held = claim("globex", "aCH", 99);
    held.hold();
    let both = [held, claim("acme", "aCH", 100)];
    assert_eq!(
        judged(&both, &[channel("aCH", 99)], 100),
        nobody(&[Hold, Hold])
    );
}

#[test]
fn a_mere_id_binds_after_an_hour_if_nobody_else_claims_the_client() {
    let listed = [channel("aCH", 99)];
    let mere = [claim("acme", "", 100)];
    assert_eq!(judged(&mere, &listed, 100), nobody(&[Wait]));
    assert_eq!(judged(&mere, &listed, 101), bound("acme", &[Grant]));
    let two = [claim("acme", "", 100), claim("globex", "", 100)];
    assert_eq!(judged(&two, &listed, 100), nobody(&[Wait, Wait]));
    assert_eq!(judged(&two, &listed, 101), nobody(&[Hold, Hold]));
    // Who names a channel is not kept waiting by a mere id.
    let named = [claim("acme", "", 99), claim("globex", "aCH", 100)];
    assert_eq!(
        judged(&named, &listed, 100),
        bound("globex", &[Refuse, Grant])
    );
}

#[test]
fn an_old_channel_settles_a_mere_id_at_once() {
    let mere = [claim("acme", "", 100)];
    assert_eq!(judged(&mere, &[channel("aCH", 10)], 100), nobody(&[Hold]));
}

#[test]
fn a_client_that_360dialog_does_not_list_is_waited_for_a_day() {
    let claims = [claim("acme", "aCH", 100)];
    assert_eq!(judged(&claims, &[], 123), nobody(&[Wait]));
    assert_eq!(judged(&claims, &[], 124), nobody(&[Refuse]));
}

#[test]
fn channels_count_as_new_by_any_one_of_the_tenant_s_claims() {
    let claims = [claim("acme", "", 70), claim("acme", "aCH", 100)];
    assert_eq!(
        judged(&claims, &[channel("aCH", 60)], 100),
        bound("acme", &[Grant, Grant])
    );
}

#[test]
fn the_owner_s_claims_are_granted_and_all_others_refused() {
    let mut held = claim("acme", "aCH", 99);
    held.hold();
    let claims = [held, claim("globex", "aCH", 100), claim("acme", "zCH", 100)];
    let old = [channel("aCH", 1)];
    let expected = bound("acme", &[Grant, Refuse, Grant]);
    assert_eq!(judged_for(Some("acme"), None, &claims, &old, 100), expected);
}

#[test]
fn an_operator_s_decision_stands_above_everything() {
    let claims = [claim("acme", "aCH", 100), claim("globex", "aCH", 100)];
    let old = [channel("aCH", 1)];
    let expected = bound("globex", &[Refuse, Grant]);
    let decided = judged_for(None, Some("globex"), &claims, &old, 100);
    assert_eq!(decided, expected);
    let moved = judged_for(Some("acme"), Some("globex"), &claims, &[], 100);
    assert_eq!(moved, expected);
}
