//! Clients: each belongs to at most one tenant, for good.

use dialog360::id::ClientId;
use store::table::Table;
use store::{Clients, Write};

use super::{Succeeds, items_of, other_partner, partner, tenant};

contract! {
    the_first_tenant_gets_the_client_and_keeps_it,
    binding_again_changes_nothing,
    a_client_of_another_partner_is_another_client,
    of_two_tenants_who_race_exactly_one_gets_the_client,
}

fn client(id: &str) -> ClientId {
    id.parse().expect("a client id")
}

async fn bind(clients: &Clients, id: &str, who: &str) -> Write {
    let (client, tenant) = (client(id), tenant(who));
    clients.bind(&partner(), &client, &tenant).ok().await
}

async fn owner(clients: &Clients, id: &str) -> Option<String> {
    let owner = clients.owner(&partner(), &client(id)).ok().await;
    owner.map(|owner| owner.as_str().to_owned())
}

async fn the_first_tenant_gets_the_client_and_keeps_it(table: Table) {
    let clients = Clients::new(table.clone());
    assert_eq!(owner(&clients, "aCL").await, None);
    // Asking leaves nothing behind.
    assert!(items_of(&table, "CLIENT#").await.is_empty());
    assert_eq!(bind(&clients, "aCL", "acme").await, Write::Done);
    for other in ["other", "Acme", "acme ", "acme#"] {
        let bound = bind(&clients, "aCL", other).await;
        assert_eq!(bound, Write::Conflict, "{other:?}");
    }
    assert_eq!(owner(&clients, "aCL").await.as_deref(), Some("acme"));
}

async fn binding_again_changes_nothing(table: Table) {
    let clients = Clients::new(table.clone());
    let who = "a tenant # of üö";
    assert_eq!(bind(&clients, "aCL", who).await, Write::Done);
    let before = items_of(&table, "CLIENT#").await;
    assert_eq!(bind(&clients, "aCL", who).await, Write::Done);
    assert_eq!(items_of(&table, "CLIENT#").await, before);
    assert_eq!(owner(&clients, "aCL").await.as_deref(), Some(who));
}

async fn a_client_of_another_partner_is_another_client(table: Table) {
    let clients = Clients::new(table);
    assert_eq!(bind(&clients, "aCL", "acme").await, Write::Done);
    let (client, other) = (client("aCL"), tenant("other"));
    let bound = clients.bind(&other_partner(), &client, &other).ok().await;
    assert_eq!(bound, Write::Done);
    assert_eq!(bind(&clients, "bCL", "other").await, Write::Done);
    assert_eq!(owner(&clients, "aCL").await.as_deref(), Some("acme"));
}

async fn of_two_tenants_who_race_exactly_one_gets_the_client(table: Table) {
    let clients = Clients::new(table);
    for round in 0..20 {
        let id = format!("c{round}CL");
        let winner = match tokio::join!(bind(&clients, &id, "acme"), bind(&clients, &id, "other")) {
            (Write::Done, Write::Conflict) => "acme",
            (Write::Conflict, Write::Done) => "other",
            both => panic!("{both:?}"),
        };
        assert_eq!(owner(&clients, &id).await.as_deref(), Some(winner));
    }
}
