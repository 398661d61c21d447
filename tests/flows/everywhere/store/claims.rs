//! Claims: one put by `redirect`, then saved with a version; in the indexes only while they are open or pending.

use onboarding::claim::{Claim, ClaimId, ClaimStatus};
use store::table::Table;
use store::{Claims, Recorded, Requeues, StoredClaim, Subject, Write};

use super::{NOW, Succeeds, after, claim_of, items_of, other_partner, partner, tenant};

contract! {
    a_claim_is_made_once_and_reads_back_as_it_was_made,
    the_same_content_again_is_the_same_claim,
    another_content_or_tenant_of_the_same_session_is_refused,
    a_claim_that_was_settled_meanwhile_is_still_the_same_again,
    the_same_claim_at_once_from_two_sides_is_new_once,
    a_claim_nobody_made_is_not_there_and_cannot_be_saved,
    of_two_who_read_the_same_claim_only_the_first_saves,
    the_open_claims_of_a_tenant_are_its_own_and_open,
    only_a_pending_claim_is_due,
}

const QUERY: &str = "client=aCL&channels=[oneCH,twoCH]&revoked=[goneCH]";

async fn make(claims: &Claims, claim: &Claim) -> Recorded {
    claims.record(claim).ok().await
}

/// A new claim of `acme`, in the session of `second`.
async fn made(claims: &Claims, second: i64) -> Claim {
    let claim = claim_of("acme", second, QUERY);
    assert_eq!(make(claims, &claim).await, Recorded::New);
    claim
}

async fn read(claims: &Claims, claim: &Claim) -> StoredClaim {
    let read = claims.read(&claim.partner, &claim.id).ok().await;
    read.expect("a claim")
}

async fn status(claims: &Claims, claim: &Claim) -> ClaimStatus {
    read(claims, claim).await.claim.status
}

async fn save_as(claims: &Claims, claim: &Claim, change: impl FnOnce(&mut Claim)) {
    let mut stored = read(claims, claim).await;
    change(&mut stored.claim);
    assert_eq!(claims.save(&stored).ok().await, Write::Done);
}

async fn a_claim_is_made_once_and_reads_back_as_it_was_made(table: Table) {
    let claims = Claims::new(table.clone());
    let claim = made(&claims, NOW).await;
    assert_eq!(read(&claims, &claim).await.claim, claim);
    assert_eq!(items_of(&table, "CLAIM#").await.len(), 1);
}

async fn the_same_content_again_is_the_same_claim(table: Table) {
    let claims = Claims::new(table);
    let claim = made(&claims, NOW).await;
    let in_another_order = "revoked=[goneCH]&channels=[twoCH,oneCH,twoCH]&client=aCL";
    let again = Claim {
        received_at: after(60),
        ..claim_of("acme", NOW, in_another_order)
    };
    assert!(matches!(make(&claims, &again).await, Recorded::Same(_)));
    // The first stays as it was.
    assert_eq!(read(&claims, &claim).await.claim, claim);
}

async fn another_content_or_tenant_of_the_same_session_is_refused(table: Table) {
    let claims = Claims::new(table);
    let claim = made(&claims, NOW).await;
    for query in [
        "client=aCL&channels=[oneCH]",
        "client=bCL&channels=[oneCH,twoCH]&revoked=[goneCH]",
        "client=aCL",
    ] {
        let other = claim_of("acme", NOW, query);
        assert_eq!(make(&claims, &other).await, Recorded::Different, "{query}");
    }
    let others = claim_of("other", NOW, QUERY);
    assert_eq!(make(&claims, &others).await, Recorded::Different);
    assert_eq!(read(&claims, &claim).await.claim, claim);
    let another_session = claim_of("acme", NOW + 1, "client=bCL");
    assert_eq!(make(&claims, &another_session).await, Recorded::New);
}

async fn a_claim_that_was_settled_meanwhile_is_still_the_same_again(table: Table) {
    let claims = Claims::new(table);
    let claim = made(&claims, NOW).await;
    save_as(&claims, &claim, Claim::refuse).await;
    assert!(matches!(make(&claims, &claim).await, Recorded::Same(_)));
    // And it is not opened again.
    assert_eq!(status(&claims, &claim).await, ClaimStatus::Refused);
}

async fn the_same_claim_at_once_from_two_sides_is_new_once(table: Table) {
    let claims = Claims::new(table);
    for second in 0..20 {
        let claim = claim_of("acme", second, QUERY);
        match tokio::join!(make(&claims, &claim), make(&claims, &claim)) {
            (Recorded::New, Recorded::Same(_)) | (Recorded::Same(_), Recorded::New) => {}
            made => panic!("{made:?}"),
        }
    }
}

async fn a_claim_nobody_made_is_not_there_and_cannot_be_saved(table: Table) {
    let claims = Claims::new(table.clone());
    let claim = made(&claims, NOW).await;
    let nobodys = ClaimId::from_table("0");
    for (partner, id) in [(other_partner(), &claim.id), (partner(), &nobodys)] {
        assert!(claims.read(&partner, id).ok().await.is_none());
    }
    let mut stored = read(&claims, &claim).await;
    stored.claim.id = nobodys;
    assert_eq!(claims.save(&stored).ok().await, Write::Conflict);
    assert_eq!(items_of(&table, "CLAIM#").await.len(), 1);
}

async fn of_two_who_read_the_same_claim_only_the_first_saves(table: Table) {
    let claims = Claims::new(table);
    let claim = made(&claims, NOW).await;
    let (mut first, mut second) = (read(&claims, &claim).await, read(&claims, &claim).await);
    first.claim.hold();
    second.claim.refuse();
    assert_eq!(claims.save(&first).ok().await, Write::Done);
    // What was saved must be read again, too.
    for outdated in [&second, &first] {
        assert_eq!(claims.save(outdated).ok().await, Write::Conflict);
    }
    assert_eq!(status(&claims, &claim).await, ClaimStatus::Held);
    save_as(&claims, &claim, Claim::refuse).await;
    assert_eq!(status(&claims, &claim).await, ClaimStatus::Refused);
}

async fn the_open_claims_of_a_tenant_are_its_own_and_open(table: Table) {
    let claims = Claims::new(table);
    let confirm = |claim: &mut Claim| claim.status = ClaimStatus::Confirmed;
    made(&claims, 1).await;
    save_as(&claims, &made(&claims, 2).await, Claim::hold).await;
    save_as(&claims, &made(&claims, 3).await, Claim::refuse).await;
    save_as(&claims, &made(&claims, 4).await, confirm).await;
    let others = claim_of("acme#2", 5, QUERY);
    assert_eq!(make(&claims, &others).await, Recorded::New);
    let acme = tenant("acme");
    let open = claims.open_of_tenant(&partner(), &acme).ok().await;
    let open = open.iter().map(|claim| (claim.id.as_str(), claim.status));
    let wanted = [("1", ClaimStatus::Pending), ("2", ClaimStatus::Held)];
    assert_eq!(open.collect::<Vec<_>>(), wanted);
    let elsewhere = claims.open_of_tenant(&other_partner(), &acme).ok().await;
    assert!(elsewhere.is_empty());
}

async fn only_a_pending_claim_is_due(table: Table) {
    let (claims, requeues) = (Claims::new(table.clone()), Requeues::new(table));
    let later = |claim: &mut Claim| claim.due_at = Some(after(7200));
    made(&claims, 1).await;
    save_as(&claims, &made(&claims, 2).await, Claim::hold).await;
    save_as(&claims, &made(&claims, 3).await, Claim::refuse).await;
    save_as(&claims, &made(&claims, 4).await, later).await;
    assert!(
        requeues
            .due(&partner(), after(59), 100)
            .ok()
            .await
            .is_empty()
    );
    let due = requeues.due(&partner(), after(3600), 100).ok().await;
    let due = due.into_iter().map(|due| (due.subject, due.due_at));
    // A minute after the redirect, should the stream lose it.
    let first = Subject::Claim(partner(), ClaimId::from_table("1"));
    assert_eq!(due.collect::<Vec<_>>(), [(first, after(60))]);
}
