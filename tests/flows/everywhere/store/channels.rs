//! Channels: saved with a version, listed by tenant.

use std::collections::BTreeSet;

use dialog360::Field;
use dialog360::id::ChannelId;
use onboarding::channel::Channel;
use onboarding::claim::ClaimId;
use onboarding::fact::{Assertion, Binding};
use store::table::{Table, channel_row, claim_row, claimed_row};
use store::{Channels, ClaimedIds, Claims, PageStart, Recorded, StoredChannel, TenantRow, Write};
use tests::id;

use super::{
    Succeeds, channel, claim_of, fact_of, items_of, named, other_partner, partner, tenant,
};

contract! {
    a_channel_nobody_spoke_of_is_unknown_and_not_missing,
    a_channel_reads_back_as_it_was_saved,
    of_two_who_read_the_same_channel_only_the_first_saves,
    of_two_who_save_a_new_channel_at_once_one_does,
    a_tenant_sees_its_channels_then_claims_at_the_door_then_claimed_ids,
    a_list_goes_on_behind_a_channel_and_ends_at_its_limit,
    a_list_shows_nothing_of_another_tenant_or_partner,
    a_channel_that_changes_its_tenant_leaves_the_other_list,
    a_page_ends_where_dynamodb_ends_it_and_says_that_more_follow,
    of_many_ids_those_of_the_tenant_are_found,
}

/// The channel `id` of `who`, as it would be saved for the first time.
async fn bound(channels: &Channels, id: &str, who: &str) -> StoredChannel {
    let mut stored = channels.read(&channel(id)).ok().await;
    stored.channel.join(&fact_of(id, bound_to(who), 0, "bound"));
    stored
}

/// What says that a channel is the tenant's.
fn bound_to(who: &str) -> Assertion {
    let binding = Binding {
        tenant: tenant(who),
        client: id("aCL"),
        fresh: false,
    };
    Assertion {
        binding: Some(binding),
        ..Assertion::default()
    }
}

async fn save(channels: &Channels, stored: &StoredChannel) -> Write {
    channels.save(stored).ok().await
}

async fn saves(channels: &Channels, stored: &StoredChannel) {
    assert_eq!(save(channels, stored).await, Write::Done);
}

async fn save_bound(channels: &Channels, id: &str, who: &str) {
    saves(channels, &bound(channels, id, who).await).await;
}

/// Up to `limit` rows of the list of `who`, and whether they are the last.
async fn page(
    channels: &Channels,
    who: &str,
    start: &PageStart,
    limit: i32,
) -> (Vec<String>, bool) {
    let (partner, tenant) = (partner(), tenant(who));
    let page = channels.list_for_tenant(&partner, &tenant, start, limit);
    let page = page.ok().await;
    let name = |row: &TenantRow| match row {
        TenantRow::Channel(channel) => channel.id.channel.to_string(),
        TenantRow::Claim(claim) => format!("claim {}", claim.id),
        TenantRow::Claimed(claimed) => format!("claimed {}", claimed.channel.channel),
    };
    (page.rows.iter().map(name).collect(), page.is_last)
}

/// The same from behind the channel `after`, if one is given.
async fn rows(channels: &Channels, who: &str, after: Option<&str>, limit: i32) -> Vec<String> {
    let behind = |after| PageStart::After(channel_row(&id::<ChannelId>(after)));
    let start = after.map_or(PageStart::First, behind);
    page(channels, who, &start, limit).await.0
}

async fn a_channel_nobody_spoke_of_is_unknown_and_not_missing(table: Table) {
    let channels = Channels::new(table.clone());
    let stored = channels.read(&channel("oneCH")).ok().await;
    assert!(!stored.exists());
    let unknown = Channel::unknown(channel("oneCH"));
    assert_eq!(stored.channel, unknown);
    // Asking leaves nothing behind.
    assert!(items_of(&table, "CHANNEL#").await.is_empty());
}

async fn a_channel_reads_back_as_it_was_saved(table: Table) {
    let channels = Channels::new(table);
    let mut stored = bound(&channels, "oneCH", "acme").await;
    let mut described = named(&"\u{0}\"\\ ü 😀 ".repeat(10_000));
    let empty = (Field::PhoneNumber, String::new());
    described.description.extend([empty]);
    stored.channel.join(&fact_of("oneCH", described, 1, ""));
    saves(&channels, &stored).await;
    let read = channels.read(&channel("oneCH")).ok().await;
    assert!(read.exists());
    assert_eq!(read.channel, stored.channel);
}

async fn of_two_who_read_the_same_channel_only_the_first_saves(table: Table) {
    let channels = Channels::new(table);
    save_bound(&channels, "oneCH", "acme").await;
    let first = bound(&channels, "oneCH", "acme").await;
    let mut second = first.clone();
    second.channel.join(&fact_of("oneCH", named("b"), 1, ""));
    saves(&channels, &first).await;
    // What was saved must be read again, too.
    for outdated in [&second, &first] {
        assert_eq!(save(&channels, outdated).await, Write::Conflict);
    }
    let read = channels.read(&channel("oneCH")).ok().await;
    assert!(read.channel.description.is_empty());
    saves(&channels, &read).await;
}

async fn of_two_who_save_a_new_channel_at_once_one_does(table: Table) {
    let channels = Channels::new(table);
    for round in 0..20 {
        let stored = bound(&channels, &format!("c{round}CH"), "acme").await;
        let saved = tokio::join!(save(&channels, &stored), save(&channels, &stored));
        let (one, other) = (Write::Done, Write::Conflict);
        assert!(saved == (one, other) || saved == (other, one), "{saved:?}");
    }
}

async fn a_tenant_sees_its_channels_then_claims_at_the_door_then_claimed_ids(table: Table) {
    let (channels, claims) = (Channels::new(table.clone()), Claims::new(table.clone()));
    for (who, second) in [("acme", 8), ("acme", 7), ("other", 6)] {
        let claim = claim_of(who, second, "client=aCL&channels=[cCH]");
        assert_eq!(claims.record(&claim).ok().await, Recorded::New);
    }
    for id in ["zCH", "aCH", "_CH", "-CH", "0CH"] {
        save_bound(&channels, id, "acme").await;
    }
    for (who, query) in [
        ("acme", "client=aCL&channels=[eCH,dCH]"),
        ("other", "client=aCL&channels=[fCH]"),
    ] {
        let registered = claim_of(who, 1, query);
        ClaimedIds::new(table.clone()).note(&registered).ok().await;
    }
    let unbound = channels.read(&channel("nobodysCH")).ok().await;
    saves(&channels, &unbound).await;
    let all = [
        "-CH",
        "0CH",
        "_CH",
        "aCH",
        "zCH",
        "claim 7",
        "claim 8",
        "claimed dCH",
        "claimed eCH",
    ];
    assert_eq!(rows(&channels, "acme", None, 100).await, all);
    let (claim, claimed) = (
        claim_row(&ClaimId::from_table("8")),
        claimed_row(&id("dCH")),
    );
    for (start, left) in [
        (PageStart::After(channel_row(&id("zCH"))), 4),
        (PageStart::At(claim.clone()), 3),
        (PageStart::After(claim), 2),
        (PageStart::At(claimed.clone()), 2),
        (PageStart::After(claimed), 1),
    ] {
        let wanted = &all[all.len() - left..];
        let (rows, is_last) = page(&channels, "acme", &start, 100).await;
        assert_eq!(rows, wanted);
        assert!(is_last);
    }
}

async fn a_list_goes_on_behind_a_channel_and_ends_at_its_limit(table: Table) {
    let channels = Channels::new(table);
    for id in ["aCH", "bCH", "cCH", "dCH"] {
        save_bound(&channels, id, "acme").await;
    }
    for (after, limit, wanted) in [
        (None, 2, &["aCH", "bCH"] as &[&str]),
        (Some("bCH"), 1, &["cCH"]),
        (Some("bCH"), 3, &["cCH", "dCH"]),
        // Behind an id that is not there.
        (Some("bbCH"), 1, &["cCH"]),
        (Some("dCH"), 3, &[]),
    ] {
        assert_eq!(rows(&channels, "acme", after, limit).await, wanted);
    }
}

async fn a_list_shows_nothing_of_another_tenant_or_partner(table: Table) {
    let channels = Channels::new(table);
    save_bound(&channels, "aCH", "acme").await;
    save_bound(&channels, "bCH", "acme#").await;
    save_bound(&channels, "cCH", "acm").await;
    assert_eq!(rows(&channels, "acme", None, 100).await, ["aCH"]);
    assert_eq!(rows(&channels, "acme#", None, 100).await, ["bCH"]);
    let (elsewhere, acme) = (other_partner(), tenant("acme"));
    let page = channels.list_for_tenant(&elsewhere, &acme, &PageStart::First, 100);
    assert!(page.ok().await.rows.is_empty());
}

async fn a_channel_that_changes_its_tenant_leaves_the_other_list(table: Table) {
    let channels = Channels::new(table);
    save_bound(&channels, "aCH", "acme").await;
    let mut stored = channels.read(&channel("aCH")).ok().await;
    let fact = fact_of("aCH", bound_to("other"), 1, "an operator");
    stored.channel.join(&fact);
    saves(&channels, &stored).await;
    assert!(rows(&channels, "acme", None, 100).await.is_empty());
    assert_eq!(rows(&channels, "other", None, 100).await, ["aCH"]);
}

async fn a_page_ends_where_dynamodb_ends_it_and_says_that_more_follow(table: Table) {
    let channels = Channels::new(table);
    // DynamoDB cuts an answer at 1 MB.
    let all: Vec<String> = (0..15).map(|number| format!("c{number:02}CH")).collect();
    for id in &all {
        let mut stored = bound(&channels, id, "acme").await;
        let name = named(&"x".repeat(100_000));
        stored.channel.join(&fact_of(id, name, 1, ""));
        saves(&channels, &stored).await;
    }
    let (first, is_last) = page(&channels, "acme", &PageStart::First, 100).await;
    assert!((5..15).contains(&first.len()) && !is_last, "{first:?}");
    let last = first.last().expect("a row");
    let behind = PageStart::After(channel_row(&id(last)));
    let (second, is_last) = page(&channels, "acme", &behind, 100).await;
    assert_eq!([first, second].concat(), all);
    assert!(is_last);
}

async fn of_many_ids_those_of_the_tenant_are_found(table: Table) {
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
    let asked = (0..150).map(|number| id::<ChannelId>(&format!("c{number:03}CH")));
    let acmes = BTreeSet::from(["c003CH", "c120CH"].map(id::<ChannelId>));
    for (asked, wanted) in [(asked.collect(), acmes), (BTreeSet::new(), BTreeSet::new())] {
        let (partner, acme) = (partner(), tenant("acme"));
        let owned = channels.owned_by(&partner, &acme, &asked).ok().await;
        assert_eq!(owned, wanted);
    }
}
