//! One answer of the list, as the rows of the tenant add up to it.

use std::collections::BTreeSet;

use dialog360::id::ChannelId;
use onboarding::channel::{ChannelView, ClaimView};
use serde::Serialize;
use store::{PageStart, TenantPage, TenantRow};

use crate::page::{After, Page};

/// A list as it is answered.
#[derive(Serialize)]
pub(crate) struct List {
    channels: Vec<ChannelView>,
    next: Option<String>,
}

/// The rows that were read for one answer.
pub(crate) struct Listing {
    limit: usize,
    views: Vec<ChannelView>,
    /// The place behind the last id that was taken or left out.
    after: After,
    /// Whether there was no room for an id that was read.
    is_cut: bool,
    /// Whether every row was read.
    is_all: bool,
}

impl Listing {
    /// The beginning of the answer to a request for `page`.
    pub(crate) fn new(page: &Page) -> Self {
        Self {
            limit: page.limit,
            views: Vec::new(),
            after: page.after.clone(),
            is_cut: false,
            is_all: false,
        }
    }

    /// Whether no further row is needed.
    pub(crate) fn is_complete(&self) -> bool {
        self.is_all || self.is_cut || self.views.len() >= self.limit
    }

    /// The place of the next rows, and how many are needed: one more than there is room for, to see whether there is
    /// another page.
    pub(crate) fn wants(&self) -> (PageStart, i32) {
        let room = self.limit.saturating_sub(self.views.len());
        let rows = i32::try_from(room.saturating_add(1)).unwrap_or(i32::MAX);
        (self.after.start(), rows)
    }

    /// Adds the rows that follow.
    pub(crate) fn add(&mut self, page: TenantPage) {
        self.is_all = page.is_last;
        for row in page.rows {
            self.add_row(row);
            if self.is_cut {
                return;
            }
        }
    }

    fn add_row(&mut self, row: TenantRow) {
        match row {
            TenantRow::Channel(channel) => {
                let end = After::Channel(channel.id.channel.clone());
                self.take(channel.view(), end);
            }
            TenantRow::Claimed(claimed) => {
                let end = After::Claimed(claimed.channel.channel.clone());
                self.take(Some(claimed.view()), end);
            }
            TenantRow::Claim(claim) => {
                let mut views: Vec<ChannelView> = claim.views().collect();
                views.sort_by(|one, other| one.id.cmp(&other.id));
                if let After::WithinClaim(read, last) = &self.after
                    && *read == claim.id
                {
                    views.retain(|view| view.id > *last);
                }
                for view in views {
                    let end = After::WithinClaim(claim.id.clone(), view.id.clone());
                    self.take(Some(view), end);
                    if self.is_cut {
                        return;
                    }
                }
                self.after = After::Claim(claim.id);
            }
        }
    }

    /// Takes an id, if there is room. An id that is there stays one; of two claims that name it the later one counts.
    fn take(&mut self, view: Option<ChannelView>, end: After) {
        if let Some(view) = view {
            let has_room = self.views.len() < self.limit;
            let mut taken = self.views.iter_mut();
            match taken.find(|taken| taken.id == view.id) {
                Some(same) if is_claimed(same) && same.updated_at <= view.updated_at => {
                    *same = view;
                }
                Some(_) => {}
                None if has_room => self.views.push(view),
                None => {
                    self.is_cut = true;
                    return;
                }
            }
        }
        self.after = end;
    }

    /// The ids that are only claimed, as far as the rows say: at most as many as the limit.
    pub(crate) fn claimed(&self) -> BTreeSet<ChannelId> {
        let claimed = self.views.iter().filter(|view| is_claimed(view));
        claimed.map(|view| view.id.clone()).collect()
    }

    /// The answer. A claimed id among `owned` is left out: it is a channel of the tenant, and listed as one.
    pub(crate) fn into_list(mut self, owned: &BTreeSet<ChannelId>) -> List {
        self.views
            .retain(|view| !is_claimed(view) || !owned.contains(&view.id));
        let is_end = self.is_all && !self.is_cut;
        List {
            channels: self.views,
            next: (!is_end).then(|| self.after.to_cursor()),
        }
    }
}

fn is_claimed(view: &ChannelView) -> bool {
    matches!(view.claim, ClaimView::Pending | ClaimView::Held)
}

#[cfg(test)]
mod tests {
    use dialog360::id::{ChannelRef, PartnerId};
    use dialog360::redirect::RedirectQuery;
    use jiff::Timestamp;
    use onboarding::channel::Channel;
    use onboarding::claim::{Claim, ClaimId};
    use onboarding::fact::{Assertion, Binding, Fact, Source};
    use onboarding::tenant::Tenant;
    use store::table::{channel_row, claim_row, claimed_row};

    use super::*;

    fn partner() -> PartnerId {
        "xPA".parse().unwrap()
    }

    fn tenant() -> Tenant {
        "acme".parse().unwrap()
    }

    fn channel(id: &str) -> TenantRow {
        let id = ChannelRef::new(partner(), id.parse().unwrap());
        let binding = Binding {
            tenant: tenant(),
            client: "aCL".parse().unwrap(),
            fresh: true,
        };
        let bound = Assertion {
            binding: Some(binding),
            ..Assertion::default()
        };
        let mut channel = Channel::unknown(id.clone());
        channel.join(&Fact::new(
            id,
            Source::Provision,
            bound,
            Timestamp::UNIX_EPOCH,
            "",
        ));
        TenantRow::Channel(Box::new(channel))
    }

    /// A claim of the session of `second`, received then.
    fn claim(second: i64, query: &str) -> Claim {
        let (query, at) = (RedirectQuery::parse(query), Timestamp::from_second(second));
        let claim = Claim::from_caller(&partner(), &tenant(), &query.unwrap(), at.unwrap());
        Claim {
            id: ClaimId::from_table(second.to_string()),
            ..claim.unwrap()
        }
    }

    fn at_the_door(second: i64, query: &str) -> TenantRow {
        TenantRow::Claim(Box::new(claim(second, query)))
    }

    fn claimed(id: &str) -> TenantRow {
        let claim = claim(1, &format!("client=aCL&channels=[{id}]"));
        TenantRow::Claimed(Box::new(claim.claimed(&id.parse().unwrap())))
    }

    fn sort_key(row: &TenantRow) -> String {
        match row {
            TenantRow::Channel(channel) => channel_row(&channel.id.channel),
            TenantRow::Claim(claim) => claim_row(&claim.id),
            TenantRow::Claimed(claimed) => claimed_row(&claimed.channel.channel),
        }
    }

    /// The rows from `start` on, of which DynamoDB gives at most `most` at once.
    fn read(rows: &[TenantRow], start: &PageStart, most: usize) -> TenantPage {
        let is_before = |row: &&TenantRow| match start {
            PageStart::First => false,
            PageStart::At(from) => sort_key(row) < *from,
            PageStart::After(from) => sort_key(row) <= *from,
        };
        let rows = rows.iter().skip_while(is_before);
        let mut rows: Vec<TenantRow> = rows.cloned().collect();
        let is_last = rows.len() <= most;
        rows.truncate(most);
        TenantPage { rows, is_last }
    }

    /// The ids of every page, with two queries for each, of which one brings at most `most` rows.
    fn pages(rows: &[TenantRow], limit: usize, most: usize, owned: &[&str]) -> Vec<Vec<String>> {
        let owned = owned.iter().map(|id| id.parse().unwrap()).collect();
        let (mut pages, mut cursor) = (Vec::new(), String::new());
        for _ in 0..1000 {
            let query = [("cursor", cursor), ("limit", limit.to_string())];
            let query = query.map(|(name, value)| (name.to_owned(), value));
            let mut listing = Listing::new(&Page::parse(&query).unwrap());
            for _ in 0..2 {
                let (start, wanted) = listing.wants();
                listing.add(read(rows, &start, most.min(wanted.try_into().unwrap())));
                if listing.is_complete() {
                    break;
                }
            }
            let list = listing.into_list(&owned);
            assert!(list.channels.len() <= limit);
            pages.push(
                list.channels
                    .iter()
                    .map(|view| view.id.to_string())
                    .collect(),
            );
            match list.next {
                Some(next) => cursor = next,
                None => return pages,
            }
        }
        panic!("it does not end: {pages:?}");
    }

    fn mixed() -> Vec<TenantRow> {
        vec![
            channel("aCH"),
            channel("bCH"),
            at_the_door(5, "client=aCL"),
            at_the_door(6, "client=aCL&channels=[dCH,cCH,bCH]&revoked=[eCH]"),
            at_the_door(7, "client=aCL"),
            at_the_door(8, "client=aCL&channels=[fCH]"),
            claimed("gCH"),
            claimed("hCH"),
        ]
    }

    #[test]
    fn every_id_is_listed_once_whatever_the_limit_and_however_many_rows_come_at_once() {
        let all = ["aCH", "bCH", "cCH", "dCH", "eCH", "fCH", "gCH", "hCH"];
        for limit in 1..=10 {
            for most in 1..=10 {
                let listed = pages(&mixed(), limit, most, &["bCH"]).concat();
                assert_eq!(listed, all, "limit {limit}, {most} rows");
            }
        }
    }

    #[test]
    fn a_page_is_full_unless_two_queries_did_not_bring_enough() {
        let sizes = |limit, most| -> Vec<usize> {
            let pages = pages(&mixed(), limit, most, &["bCH"]);
            pages.iter().map(Vec::len).collect()
        };
        assert_eq!(sizes(10, 10), [8]);
        assert_eq!(sizes(8, 10), [8]);
        assert_eq!(sizes(3, 10), [3, 3, 2]);
        // A claimed id that is a channel of the page before leaves a gap.
        assert_eq!(sizes(2, 10), [2, 1, 2, 2, 1]);
        assert_eq!(sizes(10, 2), [5, 3]);
    }

    #[test]
    fn a_row_that_is_gone_meanwhile_takes_no_other_with_it() {
        let page = [("cursor".to_owned(), {
            let after = After::WithinClaim(ClaimId::from_table("6"), "cCH".parse().unwrap());
            after.to_cursor()
        })];
        let mut rows = mixed();
        rows.retain(|row| sort_key(row) != "CLAIM#6");
        let mut listing = Listing::new(&Page::parse(&page).unwrap());
        listing.add(read(&rows, &listing.wants().0, 10));
        let list = listing.into_list(&BTreeSet::new());
        let ids: Vec<&str> = list.channels.iter().map(|view| view.id.as_str()).collect();
        assert_eq!(ids, ["fCH", "gCH", "hCH"]);
    }

    #[test]
    fn of_two_claims_in_one_answer_the_later_one_counts_and_a_channel_before_both() {
        let rows = [
            channel("aCH"),
            at_the_door(7, "client=bCL&channels=[aCH,bCH]"),
            at_the_door(6, "client=cCL&channels=[bCH,cCH]"),
            claimed("cCH"),
        ];
        let page = Page::parse(&[]).unwrap();
        let mut listing = Listing::new(&page);
        listing.add(read(&rows, &PageStart::First, 10));
        let list = listing.into_list(&BTreeSet::new());
        let shown = list.channels.iter();
        let shown: Vec<_> = shown
            .map(|view| (view.id.as_str(), view.client_id.as_str()))
            .collect();
        assert_eq!(shown, [("aCH", "aCL"), ("bCH", "bCL"), ("cCH", "cCL")]);
    }
}
