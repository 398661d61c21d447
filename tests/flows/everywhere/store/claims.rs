//! Claims: one put by `redirect`, then saved with a version; in the indexes only while they are open or pending.

use dialog360::id::PartnerId;
use onboarding::claim::{Claim, ClaimId, ClaimStatus, Settled};
use onboarding::queue::Lane;
use store::table::Table;
use store::{
    Channels, Claims, DueRow, PageStart, Queue, Recorded, StoredClaim, Subject, TenantRow, Write,
};
use tests::id;

use super::{
    NOW, Succeeds, after, claim_of, items_of, other_partner, partner, sessionless, tenant,
};

contract! {
    a_claim_is_made_once_and_reads_back_as_it_was_made,
    the_same_content_again_is_the_same_claim,
    another_content_or_tenant_of_the_same_session_is_refused,
    a_claim_that_was_settled_meanwhile_is_still_the_same_again,
    the_same_claim_at_once_from_two_sides_is_new_once,
    without_a_session_the_same_content_is_one_claim_while_that_is_open,
    without_a_session_the_same_content_is_another_claim_once_that_is_closed,
    of_two_who_make_the_next_generation_at_once_one_does,
    a_claim_nobody_made_is_not_there_and_cannot_be_saved,
    of_two_who_read_the_same_claim_only_the_first_saves,
    only_a_claim_that_is_open_and_not_registered_is_in_the_list_of_its_tenant,
    only_a_pending_claim_that_is_not_registered_is_due,
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

async fn without_a_session_the_same_content_is_one_claim_while_that_is_open(table: Table) {
    let claims = Claims::new(table.clone());
    let first = sessionless(0, QUERY);
    assert_eq!(make(&claims, &first).await, Recorded::New);
    let register = |claim: &mut Claim| claim.register(after(1));
    save_as(&claims, &first, register).await;
    save_as(&claims, &first, Claim::hold).await;
    let open = read(&claims, &first).await.claim;
    let again = make(&claims, &sessionless(1, QUERY)).await;
    assert_eq!(again, Recorded::Same(Box::new(open)));
    let other = sessionless(2, "client=aCL&channels=[oneCH]");
    assert_eq!(make(&claims, &other).await, Recorded::New);
    assert_eq!(items_of(&table, "CLAIM#").await.len(), 2);
}

async fn without_a_session_the_same_content_is_another_claim_once_that_is_closed(table: Table) {
    let claims = Claims::new(table.clone());
    let confirm = |claim: &mut Claim| {
        claim.register(after(1));
        claim.settled = [(id("oneCH"), Settled::Confirmed)].into();
        claim.status = ClaimStatus::Confirmed;
    };
    let first = sessionless(0, QUERY);
    assert_eq!(make(&claims, &first).await, Recorded::New);
    for (generation, seconds) in [(1, 10), (2, 20)] {
        if generation == 1 {
            save_as(&claims, &first, confirm).await;
        } else {
            save_as(&claims, &first, Claim::refuse).await;
        }
        let next = sessionless(seconds, QUERY);
        assert_eq!(make(&claims, &next).await, Recorded::New);
        // Nothing of the one before is left but the id.
        let wanted = Claim { generation, ..next };
        assert_eq!(read(&claims, &first).await.claim, wanted);
        let again = make(&claims, &sessionless(30, QUERY)).await;
        assert_eq!(again, Recorded::Same(Box::new(wanted)));
    }
    assert_eq!(items_of(&table, "CLAIM#").await.len(), 1);
}

async fn of_two_who_make_the_next_generation_at_once_one_does(table: Table) {
    let claims = Claims::new(table);
    let first = sessionless(0, QUERY);
    assert_eq!(make(&claims, &first).await, Recorded::New);
    for generation in 1..20 {
        save_as(&claims, &first, Claim::refuse).await;
        let claim = sessionless(i64::from(generation), QUERY);
        let (one, other) = tokio::join!(make(&claims, &claim), make(&claims, &claim));
        let wanted = Claim {
            generation,
            ..claim.clone()
        };
        let same = Recorded::Same(Box::new(wanted));
        let made = [one, other];
        assert!(
            made.contains(&Recorded::New) && made.contains(&same),
            "{made:?}"
        );
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

async fn only_a_claim_that_is_open_and_not_registered_is_in_the_list_of_its_tenant(table: Table) {
    let claims = Claims::new(table.clone());
    let confirm = |claim: &mut Claim| claim.status = ClaimStatus::Confirmed;
    let register = |claim: &mut Claim| claim.register(after(1));
    made(&claims, 1).await;
    save_as(&claims, &made(&claims, 2).await, Claim::hold).await;
    save_as(&claims, &made(&claims, 3).await, Claim::refuse).await;
    save_as(&claims, &made(&claims, 4).await, confirm).await;
    save_as(&claims, &made(&claims, 6).await, register).await;
    let others = claim_of("acme#2", 5, QUERY);
    assert_eq!(make(&claims, &others).await, Recorded::New);
    let listed = async |partner: PartnerId, who: &str| -> Vec<(String, ClaimStatus)> {
        let (channels, who) = (Channels::new(table.clone()), tenant(who));
        let page = channels.list_for_tenant(&partner, &who, &PageStart::First, 100);
        let rows = page.ok().await.rows.into_iter();
        let claim = |row| match row {
            TenantRow::Claim(claim) => (claim.id.to_string(), claim.status),
            other => panic!("{other:?}"),
        };
        rows.map(claim).collect()
    };
    let wanted = [("1", ClaimStatus::Pending), ("2", ClaimStatus::Held)];
    let wanted = wanted.map(|(id, status)| (id.to_owned(), status));
    assert_eq!(listed(partner(), "acme").await, wanted);
    assert_eq!(listed(partner(), "acme#2").await.len(), 1);
    assert!(listed(other_partner(), "acme").await.is_empty());
}

async fn only_a_pending_claim_that_is_not_registered_is_due(table: Table) {
    let (claims, queue) = (Claims::new(table.clone()), Queue::new(table));
    let due = async |lane, now| {
        let at = after(now);
        queue.rows(&partner(), lane, at, 100).ok().await
    };
    let later = |claim: &mut Claim| claim.due_at = Some(after(7200));
    let confirm = |claim: &mut Claim| claim.status = ClaimStatus::Confirmed;
    // A minute after the redirect, should the stream lose it.
    let row = |id: &str, time| DueRow {
        subject: Subject::Claim(partner(), ClaimId::from_table(id)),
        order: after(time).as_millisecond().into(),
    };
    let first = made(&claims, 1).await;
    assert_eq!(due(Lane::Alarm, 59).await, []);
    assert_eq!(due(Lane::Alarm, 60).await, [row("1", 60)]);
    save_as(&claims, &made(&claims, 2).await, Claim::hold).await;
    save_as(&claims, &made(&claims, 3).await, Claim::refuse).await;
    save_as(&claims, &made(&claims, 4).await, later).await;
    save_as(&claims, &made(&claims, 5).await, confirm).await;
    let register = |claim: &mut Claim| claim.register(after(1));
    save_as(&claims, &made(&claims, 6).await, register).await;
    assert_eq!(due(Lane::Alarm, 3600).await, [row("1", 60)]);
    assert_eq!(due(Lane::Alarm, 7200).await, [row("1", 60), row("4", 7200)]);
    save_as(&claims, &first, register).await;
    assert_eq!(due(Lane::Alarm, 7200).await, [row("4", 7200)]);
    for lane in [Lane::Line, Lane::Background] {
        assert_eq!(due(lane, 9999).await, []);
    }
    let registered = read(&claims, &first).await.claim;
    assert_eq!(registered.status, ClaimStatus::Pending);
}
