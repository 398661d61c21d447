//! Claims: one put by the door, then saved with a version; in the indexes only while they are open or pending.

use onboarding::claim::{Claim, ClaimId, ClaimStatus};
use platform::store::{Claims, Made, StoredClaim, Subject, Wakes};
use platform::table::Table;

use super::{NOW, after, claim_of, items_of, other_partner, partner, tenant};

contract! {
    a_claim_is_made_once_and_reads_back_as_it_was_made,
    the_same_content_again_is_the_same_claim,
    another_content_of_the_same_session_is_refused,
    the_same_content_of_another_tenant_is_refused,
    a_claim_that_was_settled_meanwhile_is_still_the_same_again,
    the_same_claim_at_once_from_two_sides_is_new_once,
    a_claim_nobody_made_is_not_there,
    of_two_who_read_the_same_claim_only_the_first_saves,
    a_claim_nobody_made_cannot_be_saved,
    the_open_claims_of_a_tenant_are_its_own_and_open,
    only_a_pending_claim_is_due,
}

const QUERY: &str = "client=aCL&channels=[oneCH,twoCH]&revoked=[goneCH]";

async fn make(claims: &Claims, claim: &Claim) -> Made {
    claims.make(claim).await.expect("the table")
}

async fn read(claims: &Claims, claim: &Claim) -> StoredClaim {
    claims
        .read(&claim.partner, &claim.id)
        .await
        .expect("the table")
        .expect("a claim")
}

async fn save_as(claims: &Claims, claim: &Claim, change: impl FnOnce(&mut Claim)) {
    let mut stored = read(claims, claim).await;
    change(&mut stored.claim);
    assert!(claims.save(&stored).await.expect("the table"));
}

async fn a_claim_is_made_once_and_reads_back_as_it_was_made(table: Table) {
    let claims = Claims::new(table.clone());
    let claim = claim_of("acme", NOW, QUERY);
    assert_eq!(make(&claims, &claim).await, Made::New);
    assert_eq!(read(&claims, &claim).await.claim, claim);
    assert_eq!(items_of(&table, "CLAIM#").await.len(), 1);
}

async fn the_same_content_again_is_the_same_claim(table: Table) {
    let claims = Claims::new(table);
    let claim = claim_of("acme", NOW, QUERY);
    assert_eq!(make(&claims, &claim).await, Made::New);
    let again = claim_of(
        "acme",
        NOW,
        "revoked=[goneCH]&channels=[twoCH,oneCH,twoCH]&client=aCL",
    );
    let again = Claim {
        received_at: after(60),
        ..again
    };
    assert!(matches!(make(&claims, &again).await, Made::SameAgain(_)));
    assert_eq!(
        read(&claims, &claim).await.claim,
        claim,
        "the first stays as it was"
    );
}

async fn another_content_of_the_same_session_is_refused(table: Table) {
    let claims = Claims::new(table);
    let claim = claim_of("acme", NOW, QUERY);
    assert_eq!(make(&claims, &claim).await, Made::New);
    for query in [
        "client=aCL&channels=[oneCH]",
        "client=bCL&channels=[oneCH,twoCH]&revoked=[goneCH]",
        "client=aCL",
    ] {
        assert_eq!(
            make(&claims, &claim_of("acme", NOW, query)).await,
            Made::SomethingElse,
            "{query}"
        );
    }
    assert_eq!(read(&claims, &claim).await.claim, claim);
    assert_eq!(
        make(&claims, &claim_of("acme", NOW + 1, "client=bCL")).await,
        Made::New,
        "another session"
    );
}

async fn the_same_content_of_another_tenant_is_refused(table: Table) {
    let claims = Claims::new(table);
    assert_eq!(
        make(&claims, &claim_of("acme", NOW, QUERY)).await,
        Made::New
    );
    assert_eq!(
        make(&claims, &claim_of("other", NOW, QUERY)).await,
        Made::SomethingElse
    );
}

async fn a_claim_that_was_settled_meanwhile_is_still_the_same_again(table: Table) {
    let claims = Claims::new(table);
    let claim = claim_of("acme", NOW, QUERY);
    assert_eq!(make(&claims, &claim).await, Made::New);
    save_as(&claims, &claim, Claim::refuse).await;
    assert!(matches!(make(&claims, &claim).await, Made::SameAgain(_)));
    assert_eq!(
        read(&claims, &claim).await.claim.status,
        ClaimStatus::Refused,
        "and it is not opened again"
    );
}

async fn the_same_claim_at_once_from_two_sides_is_new_once(table: Table) {
    let claims = Claims::new(table);
    for second in 0..20 {
        let claim = claim_of("acme", second, QUERY);
        let made = tokio::join!(make(&claims, &claim), make(&claims, &claim));
        assert!(
            matches!(
                made,
                (Made::New, Made::SameAgain(_)) | (Made::SameAgain(_), Made::New)
            ),
            "{made:?}"
        );
    }
}

async fn a_claim_nobody_made_is_not_there(table: Table) {
    let claims = Claims::new(table);
    let claim = claim_of("acme", NOW, QUERY);
    assert_eq!(make(&claims, &claim).await, Made::New);
    assert!(
        claims
            .read(&other_partner(), &claim.id)
            .await
            .expect("the table")
            .is_none()
    );
    assert!(
        claims
            .read(&partner(), &ClaimId::from_table("0"))
            .await
            .expect("the table")
            .is_none()
    );
}

async fn of_two_who_read_the_same_claim_only_the_first_saves(table: Table) {
    let claims = Claims::new(table);
    let claim = claim_of("acme", NOW, QUERY);
    assert_eq!(make(&claims, &claim).await, Made::New);
    let (mut first, mut second) = (read(&claims, &claim).await, read(&claims, &claim).await);
    first.claim.hold();
    second.claim.refuse();
    assert!(claims.save(&first).await.expect("the table"));
    assert!(!claims.save(&second).await.expect("the table"));
    assert!(
        !claims.save(&first).await.expect("the table"),
        "what was saved must be read again, too"
    );
    assert_eq!(read(&claims, &claim).await.claim.status, ClaimStatus::Held);
    save_as(&claims, &claim, Claim::refuse).await;
    assert_eq!(
        read(&claims, &claim).await.claim.status,
        ClaimStatus::Refused
    );
}

async fn a_claim_nobody_made_cannot_be_saved(table: Table) {
    let claims = Claims::new(table.clone());
    let item = {
        let elsewhere = claim_of("acme", NOW, QUERY);
        assert_eq!(make(&claims, &elsewhere).await, Made::New);
        items_of(&table, "CLAIM#").await.remove(0)
    };
    let mut stored = StoredClaim::of_item(&item).expect("a claim");
    stored.claim.id = ClaimId::from_table("0");
    assert!(!claims.save(&stored).await.expect("the table"));
    assert_eq!(items_of(&table, "CLAIM#").await.len(), 1);
}

async fn the_open_claims_of_a_tenant_are_its_own_and_open(table: Table) {
    let claims = Claims::new(table);
    for second in 1..=4 {
        assert_eq!(
            make(&claims, &claim_of("acme", second, QUERY)).await,
            Made::New
        );
    }
    assert_eq!(
        make(&claims, &claim_of("acme#2", 5, QUERY)).await,
        Made::New
    );
    save_as(&claims, &claim_of("acme", 2, QUERY), Claim::hold).await;
    save_as(&claims, &claim_of("acme", 3, QUERY), Claim::refuse).await;
    save_as(&claims, &claim_of("acme", 4, QUERY), |claim| {
        claim.status = ClaimStatus::Confirmed
    })
    .await;
    let open = claims
        .open_of_tenant(&partner(), &tenant("acme"))
        .await
        .expect("the table");
    let open: Vec<(&str, ClaimStatus)> = open
        .iter()
        .map(|claim| (claim.id.as_str(), claim.status))
        .collect();
    assert_eq!(
        open,
        [("1", ClaimStatus::Pending), ("2", ClaimStatus::Held)]
    );
    assert!(
        claims
            .open_of_tenant(&other_partner(), &tenant("acme"))
            .await
            .expect("the table")
            .is_empty()
    );
}

async fn only_a_pending_claim_is_due(table: Table) {
    let (claims, wakes) = (Claims::new(table.clone()), Wakes::new(table));
    for second in 1..=4 {
        assert_eq!(
            make(&claims, &claim_of("acme", second, QUERY)).await,
            Made::New
        );
    }
    save_as(&claims, &claim_of("acme", 2, QUERY), Claim::hold).await;
    save_as(&claims, &claim_of("acme", 3, QUERY), Claim::refuse).await;
    save_as(&claims, &claim_of("acme", 4, QUERY), |claim| {
        claim.due_at = Some(after(7200))
    })
    .await;
    assert!(
        wakes
            .due(&partner(), after(59), 100)
            .await
            .expect("the table")
            .is_empty()
    );
    let due = wakes
        .due(&partner(), after(3600), 100)
        .await
        .expect("the table");
    assert_eq!(due.len(), 1);
    assert_eq!(due[0].subject, Subject::Claim(ClaimId::from_table("1")));
    assert_eq!(
        due[0].due_at,
        after(60),
        "a minute after the door, should the stream lose it"
    );
}
