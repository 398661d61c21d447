//! Old addresses: kept once, and never by two at the same time.

use store::table::Table;
use store::{Before, Connections, Kept, KeptAddress, Write};

use super::{Succeeds, items_of, other_partner, partner};

contract! {
    for_a_partner_never_connected_nothing_is_kept,
    what_is_kept_is_read_back_whole,
    of_two_who_keep_at_the_same_time_the_second_is_told,
}

fn kept(before: Before) -> Kept {
    let ours = ["https://a.example/x/webhook", "https://b.example/x/webhook"];
    let ours = ours.map(str::to_owned).into();
    Kept {
        webhook: Some(KeptAddress { before, ours }),
        redirect: None,
    }
}

async fn read(connections: &Connections) -> Kept {
    connections.read(&partner()).ok().await.kept
}

async fn for_a_partner_never_connected_nothing_is_kept(table: Table) {
    let connections = Connections::new(table.clone());
    assert_eq!(read(&connections).await, Kept::default());
    // Asking leaves nothing behind.
    assert!(items_of(&table, "").await.is_empty());
}

async fn what_is_kept_is_read_back_whole(table: Table) {
    let connections = Connections::new(table);
    let url = "https://old.example/hook?a=b#c".to_owned();
    for before in [Before::Untold, Before::Nothing, Before::Url(url)] {
        let mut stored = connections.read(&partner()).ok().await;
        // Who has saved may save again.
        for kept in [kept(before), Kept::default()] {
            stored.kept = kept.clone();
            let saved = connections.save(&partner(), &mut stored).ok().await;
            assert_eq!(saved, Write::Done);
            assert_eq!(read(&connections).await, kept);
        }
    }
}

async fn of_two_who_keep_at_the_same_time_the_second_is_told(table: Table) {
    let connections = Connections::new(table);
    for round in 0..2 {
        let mut first = connections.read(&partner()).ok().await;
        let mut second = first.clone();
        first.kept = kept(Before::Url(format!("https://old.example/{round}")));
        second.kept = kept(Before::Nothing);
        for (stored, saved) in [(&mut first, Write::Done), (&mut second, Write::Conflict)] {
            let seen = connections.save(&partner(), stored).ok().await;
            assert_eq!(seen, saved);
        }
        assert_eq!(read(&connections).await, first.kept);
    }
    // Another partner's addresses are others.
    let others = connections.read(&other_partner()).ok().await;
    assert_eq!(others.kept, Kept::default());
}
