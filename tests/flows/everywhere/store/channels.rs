//! Channels: saved with a version, listed by tenant.

use std::collections::BTreeSet;

use onboarding::channel::Channel;
use onboarding::fact::{Binding, Said};
use onboarding::id::ChannelId;
use platform::store::{Channels, Claims, Made, Saved, StoredChannel, TenantRow};
use platform::table::Table;

use super::{channel, claim_of, fact_of, items_of, other_partner, partner, tenant};

contract! {
    a_channel_nobody_spoke_of_is_unknown_and_not_missing,
    a_channel_reads_back_as_it_was_saved,
    of_two_who_read_the_same_channel_only_the_first_saves,
    of_two_who_save_a_new_channel_at_once_one_does,
    a_tenant_sees_its_channels_by_id_and_then_its_open_claims,
    a_list_goes_on_behind_a_channel_and_ends_at_its_limit,
    a_list_shows_nothing_of_another_tenant_or_partner,
    a_channel_that_changes_its_tenant_leaves_the_other_list,
    a_list_longer_than_one_answer_is_whole,
    of_many_ids_those_of_the_tenant_are_told,
}

/// The channel `id` of `who`, as it would be saved for the first time.
async fn bound(channels: &Channels, id: &str, who: &str) -> StoredChannel {
    let mut stored = channels
        .read(&partner(), &channel(id))
        .await
        .expect("the table");
    let client = "aCL".parse().expect("a client id");
    let binding = Binding {
        tenant: tenant(who),
        client,
        fresh: false,
    };
    stored.channel.join(&fact_of(
        id,
        Said {
            binding: Some(binding),
            ..Said::default()
        },
        0,
        "bound",
    ));
    stored
}

async fn save(channels: &Channels, stored: &StoredChannel) -> Saved {
    channels.save(stored).await.expect("the table")
}

async fn save_bound(channels: &Channels, id: &str, who: &str) {
    let stored = bound(channels, id, who).await;
    assert_eq!(save(channels, &stored).await, Saved::Done);
}

async fn rows(channels: &Channels, who: &str, after: Option<&str>, limit: i32) -> Vec<String> {
    let after = after.map(channel);
    let rows = channels
        .of_tenant(&partner(), &tenant(who), after.as_ref(), limit)
        .await
        .expect("the table");
    let id = |row: &TenantRow| match row {
        TenantRow::Channel(channel) => channel.id.to_string(),
        TenantRow::Claim(claim) => format!("claim {}", claim.id),
    };
    rows.iter().map(id).collect()
}

async fn a_channel_nobody_spoke_of_is_unknown_and_not_missing(table: Table) {
    let channels = Channels::new(table.clone());
    let stored = channels
        .read(&partner(), &channel("oneCH"))
        .await
        .expect("the table");
    assert!(!stored.exists());
    assert_eq!(
        stored.channel,
        Channel::unknown(partner(), channel("oneCH"))
    );
    assert!(
        items_of(&table, "CHANNEL#").await.is_empty(),
        "asking leaves nothing behind"
    );
}

async fn a_channel_reads_back_as_it_was_saved(table: Table) {
    let channels = Channels::new(table);
    let mut stored = bound(&channels, "oneCH", "acme").await;
    let name = "\u{0}\"\\ ü 😀 ".repeat(10_000);
    let said = Said {
        display_name: Some(name),
        phone_number: Some(String::new()),
        ..Said::default()
    };
    stored.channel.join(&fact_of("oneCH", said, 1, ""));
    assert_eq!(save(&channels, &stored).await, Saved::Done);
    let read = channels
        .read(&partner(), &channel("oneCH"))
        .await
        .expect("the table");
    assert!(read.exists());
    assert_eq!(read.channel, stored.channel);
}

async fn of_two_who_read_the_same_channel_only_the_first_saves(table: Table) {
    let channels = Channels::new(table);
    save_bound(&channels, "oneCH", "acme").await;
    let first = bound(&channels, "oneCH", "acme").await;
    let mut second = first.clone();
    second.channel.join(&fact_of(
        "oneCH",
        Said {
            quality: Some("RED".into()),
            ..Said::default()
        },
        1,
        "",
    ));
    assert_eq!(save(&channels, &first).await, Saved::Done);
    assert_eq!(save(&channels, &second).await, Saved::Outdated);
    assert_eq!(
        save(&channels, &first).await,
        Saved::Outdated,
        "what was saved must be read again, too"
    );
    let read = channels
        .read(&partner(), &channel("oneCH"))
        .await
        .expect("the table");
    assert_eq!(read.channel.quality, None);
    assert_eq!(save(&channels, &read).await, Saved::Done);
}

async fn of_two_who_save_a_new_channel_at_once_one_does(table: Table) {
    let channels = Channels::new(table);
    for round in 0..20 {
        let stored = bound(&channels, &format!("c{round}CH"), "acme").await;
        let saved = tokio::join!(save(&channels, &stored), save(&channels, &stored));
        assert!(
            matches!(
                saved,
                (Saved::Done, Saved::Outdated) | (Saved::Outdated, Saved::Done)
            ),
            "{saved:?}"
        );
    }
}

async fn a_tenant_sees_its_channels_by_id_and_then_its_open_claims(table: Table) {
    let (channels, claims) = (Channels::new(table.clone()), Claims::new(table));
    for (who, second) in [("acme", 8), ("acme", 7), ("other", 6)] {
        let claim = claim_of(who, second, "client=aCL&channels=[cCH]");
        assert_eq!(claims.make(&claim).await.expect("the table"), Made::New);
    }
    for id in ["zCH", "aCH", "_CH", "-CH", "0CH"] {
        save_bound(&channels, id, "acme").await;
    }
    let unbound = channels
        .read(&partner(), &channel("nobodysCH"))
        .await
        .expect("the table");
    assert_eq!(save(&channels, &unbound).await, Saved::Done);
    let all = ["-CH", "0CH", "_CH", "aCH", "zCH", "claim 7", "claim 8"];
    assert_eq!(rows(&channels, "acme", None, 100).await, all);
    assert_eq!(
        rows(&channels, "acme", Some("zCH"), 100).await,
        ["claim 7", "claim 8"]
    );
}

async fn a_list_goes_on_behind_a_channel_and_ends_at_its_limit(table: Table) {
    let channels = Channels::new(table);
    for id in ["aCH", "bCH", "cCH", "dCH"] {
        save_bound(&channels, id, "acme").await;
    }
    assert_eq!(rows(&channels, "acme", None, 2).await, ["aCH", "bCH"]);
    assert_eq!(rows(&channels, "acme", Some("bCH"), 1).await, ["cCH"]);
    assert_eq!(
        rows(&channels, "acme", Some("bCH"), 3).await,
        ["cCH", "dCH"]
    );
    assert_eq!(
        rows(&channels, "acme", Some("bbCH"), 1).await,
        ["cCH"],
        "behind an id that is not there"
    );
    assert!(rows(&channels, "acme", Some("dCH"), 3).await.is_empty());
}

async fn a_list_shows_nothing_of_another_tenant_or_partner(table: Table) {
    let channels = Channels::new(table);
    save_bound(&channels, "aCH", "acme").await;
    save_bound(&channels, "bCH", "acme#").await;
    save_bound(&channels, "cCH", "acm").await;
    assert_eq!(rows(&channels, "acme", None, 100).await, ["aCH"]);
    assert_eq!(rows(&channels, "acme#", None, 100).await, ["bCH"]);
    let elsewhere = channels
        .of_tenant(&other_partner(), &tenant("acme"), None, 100)
        .await;
    assert!(elsewhere.expect("the table").is_empty());
}

async fn a_channel_that_changes_its_tenant_leaves_the_other_list(table: Table) {
    let channels = Channels::new(table);
    save_bound(&channels, "aCH", "acme").await;
    let mut stored = channels
        .read(&partner(), &channel("aCH"))
        .await
        .expect("the table");
    let client = "bCL".parse().expect("a client id");
    let binding = Some(Binding {
        tenant: tenant("other"),
        client,
        fresh: false,
    });
    stored.channel.join(&fact_of(
        "aCH",
        Said {
            binding,
            ..Said::default()
        },
        1,
        "an operator",
    ));
    assert_eq!(save(&channels, &stored).await, Saved::Done);
    assert!(rows(&channels, "acme", None, 100).await.is_empty());
    assert_eq!(rows(&channels, "other", None, 100).await, ["aCH"]);
}

async fn a_list_longer_than_one_answer_is_whole(table: Table) {
    let channels = Channels::new(table);
    // DynamoDB cuts an answer at 1 MB.
    for number in 0..15 {
        let mut stored = bound(&channels, &format!("c{number:02}CH"), "acme").await;
        let said = Said {
            display_name: Some("x".repeat(100_000)),
            ..Said::default()
        };
        stored
            .channel
            .join(&fact_of(&format!("c{number:02}CH"), said, 1, ""));
        assert_eq!(save(&channels, &stored).await, Saved::Done);
    }
    let all: Vec<String> = (0..15).map(|number| format!("c{number:02}CH")).collect();
    assert_eq!(rows(&channels, "acme", None, 15).await, all);
    assert_eq!(rows(&channels, "acme", None, 100).await, all);
}

async fn of_many_ids_those_of_the_tenant_are_told(table: Table) {
    let channels = Channels::new(table);
    for (id, who) in [
        ("c003CH", "acme"),
        ("c120CH", "acme"),
        ("c121CH", "other"),
        ("elsewhereCH", "acme"),
    ] {
        save_bound(&channels, id, who).await;
    }
    // DynamoDB takes 100 keys at a time.
    let asked: BTreeSet<ChannelId> = (0..150)
        .map(|number| channel(&format!("c{number:03}CH")))
        .collect();
    let owned = channels
        .owned(&partner(), &tenant("acme"), &asked)
        .await
        .expect("the table");
    assert_eq!(
        owned,
        BTreeSet::from([channel("c003CH"), channel("c120CH")])
    );
    let none = channels
        .owned(&partner(), &tenant("acme"), &BTreeSet::new())
        .await
        .expect("the table");
    assert!(none.is_empty());
}
