//! Old addresses: kept once, and never by two at the same time.

use platform::store::{Before, Connections, Kept, KeptAddress, Saved};
use platform::table::Table;

use super::{items_of, other_partner, partner};

contract! {
    for_a_partner_never_connected_nothing_is_kept,
    what_is_kept_is_read_back_whole,
    of_two_who_keep_at_the_same_time_the_second_is_told,
    another_partner_s_addresses_are_others,
}

fn kept(before: Before) -> Kept {
    let ours = ["https://a.example/x/webhook", "https://b.example/x/webhook"]
        .map(str::to_owned)
        .into();
    Kept {
        webhook: Some(KeptAddress { before, ours }),
        redirect: None,
    }
}

async fn for_a_partner_never_connected_nothing_is_kept(table: Table) {
    let stored = Connections::new(table.clone())
        .read(&partner())
        .await
        .expect("the table");
    assert_eq!(stored.kept, Kept::default());
    assert!(
        items_of(&table, "").await.is_empty(),
        "asking leaves nothing behind"
    );
}

async fn what_is_kept_is_read_back_whole(table: Table) {
    let connections = Connections::new(table);
    for before in [
        Before::Untold,
        Before::Nothing,
        Before::Url("https://old.example/hook?a=b#c".to_owned()),
    ] {
        let mut stored = connections.read(&partner()).await.expect("the table");
        stored.kept = kept(before);
        assert_eq!(
            connections
                .save(&partner(), &mut stored)
                .await
                .expect("the table"),
            Saved::Done
        );
        assert_eq!(
            connections.read(&partner()).await.expect("the table").kept,
            stored.kept
        );
        stored.kept = Kept::default();
        let again = connections
            .save(&partner(), &mut stored)
            .await
            .expect("the table");
        assert_eq!(again, Saved::Done, "who has saved may save again");
        assert_eq!(
            connections.read(&partner()).await.expect("the table").kept,
            Kept::default()
        );
    }
}

async fn of_two_who_keep_at_the_same_time_the_second_is_told(table: Table) {
    let connections = Connections::new(table);
    for round in 0..2 {
        let mut first = connections.read(&partner()).await.expect("the table");
        let mut second = first.clone();
        first.kept = kept(Before::Url(format!("https://old.example/{round}")));
        second.kept = kept(Before::Nothing);
        assert_eq!(
            connections
                .save(&partner(), &mut first)
                .await
                .expect("the table"),
            Saved::Done
        );
        assert_eq!(
            connections
                .save(&partner(), &mut second)
                .await
                .expect("the table"),
            Saved::Outdated
        );
        assert_eq!(
            connections.read(&partner()).await.expect("the table").kept,
            first.kept
        );
    }
}

async fn another_partner_s_addresses_are_others(table: Table) {
    let connections = Connections::new(table);
    let mut stored = connections.read(&partner()).await.expect("the table");
    stored.kept = kept(Before::Nothing);
    assert_eq!(
        connections
            .save(&partner(), &mut stored)
            .await
            .expect("the table"),
        Saved::Done
    );
    assert_eq!(
        connections
            .read(&other_partner())
            .await
            .expect("the table")
            .kept,
        Kept::default()
    );
}
