//! Clients: each belongs to at most one tenant, for good, and to none while another's registered claim was not seen.

use std::slice;

use dialog360::id::ClientId;
use onboarding::claim::{Claim, ClaimStatus};
use store::table::Table;
use store::{ClaimedIds, Claims, Clients, Recorded, StoredClient, Write};
use tests::id;

use super::steps::{Actor, orders};
use super::{
    NOW, Site, Succeeds, after, claim_of, items_of, other_partner, partner, sessionless, tenant,
};

contract! {
    the_first_tenant_gets_the_client_and_keeps_it,
    binding_again_changes_nothing,
    a_client_of_another_partner_is_another_client,
    of_two_tenants_who_race_exactly_one_gets_the_client,
    who_registers_learns_whose_the_client_is,
    a_claim_that_was_registered_since_the_client_was_read_forbids_to_bind_it,
    a_registered_claim_is_found_until_it_is_unregistered,
    a_refused_claim_leaves_nothing_but_itself_and_not_in_the_way_of_its_next_generation,
    the_open_claims_are_those_on_this_client_by_time,
    of_very_many_open_claims_a_hundred_are_read_and_no_tenant_is_left_out,
    what_an_operator_must_settle_hides_no_claim_that_a_look_can,
    a_decision_moves_the_client_once_and_forbids_to_bind_by_what_was_read_before,
}

in_every_order! {
    a_client_is_never_bound_once_a_foreign_claim_is_registered,
}

async fn read(clients: &Clients, client: &str) -> StoredClient {
    clients.read(&partner(), &id(client)).ok().await
}

async fn bind_as_seen(clients: &Clients, client: &str, seen: &StoredClient, who: &str) -> Write {
    let (partner, client, tenant) = (partner(), id(client), tenant(who));
    clients.bind(&partner, &client, seen, &tenant).ok().await
}

/// Binds it as it is now.
async fn bind(clients: &Clients, client: &str, who: &str) -> Write {
    let seen = read(clients, client).await;
    bind_as_seen(clients, client, &seen, who).await
}

async fn owner(clients: &Clients, client: &str) -> Option<String> {
    let owner = clients.owner(&partner(), &id(client)).ok().await;
    owner.map(|owner| owner.as_str().to_owned())
}

/// A claim of `who` on a client, in the session of `second`; recorded, not registered.
async fn recorded(table: &Table, who: &str, second: i64, client: &str) -> Claim {
    let query = format!("client={client}&channels=[oneCH]");
    let claim = Claim {
        received_at: after(second - NOW),
        ..claim_of(who, second, &query)
    };
    let claims = Claims::new(table.clone());
    assert_eq!(claims.record(&claim).ok().await, Recorded::New);
    claim
}

async fn registered(table: &Table, who: &str, second: i64, client: &str) -> Claim {
    let claim = recorded(table, who, second, client).await;
    let clients = Clients::new(table.clone());
    clients.register(&claim).ok().await;
    claim
}

async fn open_claims(clients: &Clients, client: &ClientId) -> Vec<Claim> {
    let open = clients.open_claims(&partner(), client).ok().await.claims;
    open.into_iter().map(|stored| stored.claim).collect()
}

async fn claimant(clients: &Clients, client: &str) -> Option<String> {
    let tenant = clients.claimant(&partner(), &id(client)).ok().await;
    tenant.map(|tenant| tenant.as_str().to_owned())
}

async fn the_first_tenant_gets_the_client_and_keeps_it(table: Table) {
    let clients = Clients::new(table.clone());
    let nobodys = read(&clients, "aCL").await;
    assert_eq!(nobodys, StoredClient::default());
    // Asking leaves nothing behind.
    assert!(items_of(&table, "").await.is_empty());
    assert_eq!(bind(&clients, "aCL", "acme").await, Write::Done);
    let bound = read(&clients, "aCL").await;
    for other in ["other", "Acme", "acme ", "acme#"] {
        for seen in [&nobodys, &bound] {
            let bound = bind_as_seen(&clients, "aCL", seen, other).await;
            assert_eq!(bound, Write::Conflict, "{other:?}");
        }
    }
    assert_eq!(owner(&clients, "aCL").await.as_deref(), Some("acme"));
}

async fn binding_again_changes_nothing(table: Table) {
    let clients = Clients::new(table.clone());
    let who = "a tenant # of üö";
    let unbound = read(&clients, "aCL").await;
    assert_eq!(bind(&clients, "aCL", who).await, Write::Done);
    let before = items_of(&table, "CLIENT#").await;
    assert_eq!(bind(&clients, "aCL", who).await, Write::Done);
    let again = bind_as_seen(&clients, "aCL", &unbound, who).await;
    assert_eq!(again, Write::Done);
    assert_eq!(items_of(&table, "CLIENT#").await, before);
    assert_eq!(owner(&clients, "aCL").await.as_deref(), Some(who));
}

async fn a_client_of_another_partner_is_another_client(table: Table) {
    let clients = Clients::new(table);
    assert_eq!(bind(&clients, "aCL", "acme").await, Write::Done);
    let (seen, other) = (StoredClient::default(), tenant("other"));
    let bound = clients
        .bind(&other_partner(), &id("aCL"), &seen, &other)
        .ok()
        .await;
    assert_eq!(bound, Write::Done);
    assert_eq!(bind(&clients, "bCL", "other").await, Write::Done);
    assert_eq!(owner(&clients, "aCL").await.as_deref(), Some("acme"));
}

async fn of_two_tenants_who_race_exactly_one_gets_the_client(table: Table) {
    let clients = Clients::new(table);
    let seen = StoredClient::default();
    for round in 0..20 {
        let client = format!("c{round}CL");
        let bind = |who| bind_as_seen(&clients, &client, &seen, who);
        let winner = match tokio::join!(bind("acme"), bind("other")) {
            (Write::Done, Write::Conflict) => "acme",
            (Write::Conflict, Write::Done) => "other",
            both => panic!("{both:?}"),
        };
        assert_eq!(owner(&clients, &client).await.as_deref(), Some(winner));
    }
}

async fn who_registers_learns_whose_the_client_is(table: Table) {
    let clients = Clients::new(table.clone());
    let first = recorded(&table, "acme", NOW, "aCL").await;
    assert_eq!(clients.register(&first).ok().await.owner, None);
    assert_eq!(bind(&clients, "aCL", "acme").await, Write::Done);
    let second = recorded(&table, "other", NOW + 1, "aCL").await;
    let client = clients.register(&second).ok().await;
    assert_eq!(client.owner, Some(tenant("acme")));
    assert_eq!(client, read(&clients, "aCL").await);
}

async fn a_claim_that_was_registered_since_the_client_was_read_forbids_to_bind_it(table: Table) {
    let clients = Clients::new(table.clone());
    let unclaimed = read(&clients, "aCL").await;
    registered(&table, "acme", NOW, "aCL").await;
    let conflict = Write::Conflict;
    assert_eq!(
        bind_as_seen(&clients, "aCL", &unclaimed, "acme").await,
        conflict
    );
    let seen = read(&clients, "aCL").await;
    let claim = registered(&table, "other", NOW + 1, "aCL").await;
    assert_eq!(bind_as_seen(&clients, "aCL", &seen, "acme").await, conflict);
    // Of a claim that is registered again it is not known which time counts.
    let seen = read(&clients, "aCL").await;
    clients.register(&claim).ok().await;
    assert_eq!(bind_as_seen(&clients, "aCL", &seen, "acme").await, conflict);
    assert_eq!(owner(&clients, "aCL").await, None);
    // A claim on another client is no change of this one.
    let seen = read(&clients, "aCL").await;
    registered(&table, "other", NOW + 2, "bCL").await;
    assert_eq!(
        bind_as_seen(&clients, "aCL", &seen, "acme").await,
        Write::Done
    );
}

async fn a_registered_claim_is_found_until_it_is_unregistered(table: Table) {
    let clients = Clients::new(table.clone());
    let client = id("aCL");
    let claim = recorded(&table, "acme", NOW, "aCL").await;
    assert_eq!(claimant(&clients, "aCL").await, None);
    assert_eq!(open_claims(&clients, &client).await, []);
    for _ in 0..2 {
        clients.register(&claim).ok().await;
        assert_eq!(claimant(&clients, "aCL").await.as_deref(), Some("acme"));
        assert_eq!(
            open_claims(&clients, &client).await,
            slice::from_ref(&claim)
        );
    }
    for _ in 0..2 {
        clients.unregister(&claim).ok().await;
        assert_eq!(claimant(&clients, "aCL").await, None);
        assert_eq!(open_claims(&clients, &client).await, []);
    }
}

async fn a_refused_claim_leaves_nothing_but_itself_and_not_in_the_way_of_its_next_generation(
    table: Table,
) {
    let (clients, claims) = (Clients::new(table.clone()), Claims::new(table.clone()));
    let claim = sessionless(0, "client=aCL&channels=[oneCH]&revoked=[twoCH]");
    let recorded = async |claim: &Claim| {
        assert_eq!(claims.record(claim).ok().await, Recorded::New);
        let stored = claims.read(&partner(), &claim.id).ok().await;
        let stored = stored.expect("it is recorded");
        clients.register(&stored.claim).ok().await;
        ClaimedIds::new(table.clone())
            .note(&stored.claim)
            .ok()
            .await;
        stored
    };
    let mut first = recorded(&claim).await;
    let mut late = first.clone();
    assert_eq!(clients.refuse(&mut first).ok().await, Write::Done);
    assert_eq!(open_claims(&clients, &claim.client).await, []);
    assert_eq!(items_of(&table, "CLAIMED#").await, []);
    let kept = claims.read(&partner(), &claim.id).ok().await;
    assert_eq!(kept.map(|kept| kept.claim), Some(first.claim.clone()));
    assert_eq!(first.claim.status, ClaimStatus::Refused);

    let next = recorded(&sessionless(
        10,
        "client=aCL&channels=[oneCH]&revoked=[twoCH]",
    ))
    .await;
    assert_eq!(clients.refuse(&mut late).ok().await, Write::Conflict);
    clients.unregister(&first.claim).ok().await;
    assert_eq!(open_claims(&clients, &claim.client).await, [next.claim]);
    assert_eq!(items_of(&table, "CLAIMED#").await.len(), 2);
}

async fn the_open_claims_are_those_on_this_client_by_time(table: Table) {
    let clients = Clients::new(table.clone());
    registered(&table, "acme", NOW + 1, "bCL").await;
    let mut wanted = Vec::new();
    // Another order than that of the ids as texts.
    for (who, second) in [("a#b", 10), ("other", 1000), ("acme", 9), ("acme", 200)] {
        wanted.push(registered(&table, who, second, "aCL").await);
    }
    wanted.sort_by_key(|claim| claim.received_at);
    assert_eq!(open_claims(&clients, &id("aCL")).await, wanted);
    let elsewhere = clients
        .open_claims(&other_partner(), &id("aCL"))
        .ok()
        .await
        .claims;
    assert!(elsewhere.is_empty());
    // A pointer to a claim that is not there is passed over.
    let lost = claim_of("acme", 5, "client=aCL");
    clients.register(&lost).ok().await;
    assert_eq!(open_claims(&clients, &id("aCL")).await, wanted);
}

async fn of_very_many_open_claims_a_hundred_are_read_and_no_tenant_is_left_out(table: Table) {
    let clients = Clients::new(table.clone());
    for second in 0..120 {
        registered(&table, "acme", NOW + second, "aCL").await;
    }
    // Claims of one tenant are no wall in front of another's.
    let last = registered(&table, "other", NOW + 500, "aCL").await;
    let open = open_claims(&clients, &id("aCL")).await;
    assert_eq!(open.len(), 100);
    assert!(open.is_sorted_by_key(|claim| claim.received_at));
    assert_eq!(open.last(), Some(&last));
    let read = clients.open_claims(&partner(), &id("aCL")).ok().await;
    assert!(read.are_more, "the rest needs another look");
}

async fn what_an_operator_must_settle_hides_no_claim_that_a_look_can(table: Table) {
    let (clients, claims) = (Clients::new(table.clone()), Claims::new(table.clone()));
    for second in 0..110 {
        let held = registered(&table, "acme", NOW + second, "aCL").await;
        let mut stored = claims
            .read(&partner(), &held.id)
            .ok()
            .await
            .expect("a claim");
        stored.claim.hold();
        assert_eq!(claims.save(&stored).ok().await, Write::Done);
    }
    let last = registered(&table, "acme", NOW + 500, "aCL").await;
    let read = clients.open_claims(&partner(), &id("aCL")).ok().await;
    assert_eq!((read.claims.len(), read.are_more), (100, false));
    let found = read.claims.iter().any(|stored| stored.claim.id == last.id);
    assert!(found, "the pending one is among them");
}

async fn a_decision_moves_the_client_once_and_forbids_to_bind_by_what_was_read_before(
    table: Table,
) {
    let clients = Clients::new(table);
    let decide = async |who| {
        clients
            .decide(&partner(), &id("aCL"), &tenant(who))
            .ok()
            .await;
        read(&clients, "aCL").await
    };
    let (done, conflict) = (Write::Done, Write::Conflict);
    // Of a client nobody has.
    let unclaimed = read(&clients, "aCL").await;
    let decided = decide("acme").await;
    assert_eq!(
        (decided.owner.as_ref(), decided.decision.as_ref()),
        (None, Some(&tenant("acme")))
    );
    assert_eq!(
        bind_as_seen(&clients, "aCL", &unclaimed, "other").await,
        conflict
    );
    assert_eq!(bind_as_seen(&clients, "aCL", &decided, "acme").await, done);
    // Of another tenant's.
    let decided = decide("other").await;
    assert_eq!(decided.owner, Some(tenant("acme")));
    assert_eq!(
        bind_as_seen(&clients, "aCL", &decided, "third").await,
        conflict
    );
    assert_eq!(bind_as_seen(&clients, "aCL", &decided, "other").await, done);
    let moved = read(&clients, "aCL").await;
    assert_eq!(
        (moved.owner.as_ref(), moved.decision.as_ref()),
        (Some(&tenant("other")), None)
    );
    // It is carried out once.
    for seen in [&decided, &moved] {
        assert_eq!(bind_as_seen(&clients, "aCL", seen, "acme").await, conflict);
    }
}

/// Registers a claim, reads the client, then the claims, and binds it if no other tenant claims it. Returns the owner
/// after the registration, and whether it has bound the client.
async fn register_and_bind(table: Table, claim: Claim) -> (Option<String>, bool) {
    let clients = Clients::new(table);
    let owner = clients.register(&claim).ok().await.owner;
    let seen = clients.read(&claim.partner, &claim.client).ok().await;
    let open = clients
        .open_claims(&claim.partner, &claim.client)
        .ok()
        .await;
    let mut tenants = open.claims.iter().map(|stored| &stored.claim.tenant);
    let is_alone = tenants.all(|tenant| *tenant == claim.tenant);
    let bound = is_alone && {
        let bound = clients
            .bind(&claim.partner, &claim.client, &seen, &claim.tenant)
            .ok()
            .await;
        bound == Write::Done
    };
    (owner.map(|owner| owner.as_str().to_owned()), bound)
}

async fn a_client_is_never_bound_once_a_foreign_claim_is_registered(site: Site, table: Table) {
    // 0: the pointer, 1: the count, 2: the client, 3: the claims, in two requests, 4: the binding.
    const REQUESTS: [usize; 5] = [1, 1, 1, 2, 1];
    let is_met = |pair| matches!(pair, (0, 3) | (1, 2 | 4) | (2 | 4, 4));
    let meet = |one, other| is_met((one, other)) || is_met((other, one));
    // Of two steps that do not meet, one order is enough; and both do the same, so one of them may always begin.
    let is_enough = |order: &&Vec<bool>| {
        let step = |at: usize| order[..at].iter().filter(|who| **who == order[at]).count();
        let mut pairs = (1..order.len()).filter(|at| !order[at - 1] && order[*at]);
        order[0] && pairs.all(|at| meet(step(at - 1), step(at)))
    };
    let orders = orders(REQUESTS.len(), REQUESTS.len());
    let mut bound_in = 0;
    for (number, order) in (0_i64..).zip(orders.iter().filter(is_enough)) {
        let client = format!("c{number}CL");
        let mut actors = Vec::new();
        for (who, second) in [("acme", 2 * number), ("other", 2 * number + 1)] {
            let claim = recorded(&table, who, second, &client).await;
            let work = |table| register_and_bind(table, claim);
            actors.push(Actor::begin(&site, work).await);
        }
        let mut next = [0; 2];
        for is_acme in order {
            let who = usize::from(!is_acme);
            actors[who].steps(REQUESTS[next[who]]).await;
            next[who] += 1;
        }
        let mut ends = Vec::new();
        for actor in actors {
            ends.push(actor.end().await);
        }
        // The place in the order of the step `of` of somebody.
        let when = |is_acme: bool, of: usize| {
            let steps = order.iter().enumerate();
            let mut steps = steps.filter(|(_, step)| **step == is_acme);
            steps.nth(of).expect("a step").0
        };
        for (is_acme, (bound, foreign)) in [(true, (0, 1)), (false, (1, 0))] {
            if !ends[bound].1 {
                continue;
            }
            bound_in += 1;
            let (binds, is_registered) = (when(is_acme, 4), when(!is_acme, 1));
            assert!(binds < is_registered, "{order:?}: {ends:?}");
            // Who comes later is told.
            let who = ["acme", "other"][bound];
            assert_eq!(ends[foreign].0.as_deref(), Some(who), "{order:?}");
            assert!(!ends[foreign].1, "{order:?}");
            let owner = owner(&Clients::new(table.clone()), &client).await;
            assert_eq!(owner.as_deref(), Some(who), "{order:?}");
        }
    }
    assert!(bound_in > 0, "nobody has ever bound a client");
}
