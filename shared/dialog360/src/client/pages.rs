//! Lists of channels, which 360dialog hands over page by page.

use std::collections::HashSet;

use serde_json::Value;

use super::{ApiError, ErrorKind, PartnerClient};
use crate::channel::ChannelObject;
use crate::id::ChannelId;

/// Channels asked for at once, as many as 360dialog gives when it is not told.
const PAGE: usize = 1000;

/// Pages after which a list is given up rather than cut, unless the caller says otherwise: 50,000 channels.
const MOST_PAGES: usize = 50;

/// Which channels are asked for.
#[derive(Clone, Debug)]
pub struct Query {
    /// How many at most; 360dialog may give fewer.
    pub limit: usize,
    /// How many of the list to pass over; 360dialog may take no notice of it.
    pub offset: usize,
    /// A JSON object, such as `{"id": "y9MiLoCH"}` or `{"client_id": "oaY9LLfUCL"}`; 360dialog may take no notice of it.
    pub filters: Option<Value>,
}

/// The first page of all channels, 1000 at most.
impl Default for Query {
    fn default() -> Self {
        Self {
            limit: PAGE,
            offset: 0,
            filters: None,
        }
    }
}

impl Query {
    pub(super) fn pairs(&self) -> Vec<(&'static str, String)> {
        let mut pairs = vec![
            ("limit", self.limit.to_string()),
            ("offset", self.offset.to_string()),
        ];
        let filters = self.filters.as_ref().map(Value::to_string);
        pairs.extend(filters.map(|filters| ("filters", filters)));
        pairs
    }
}

/// One page of a partner's channels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The channels.
    pub channels: Vec<ChannelObject>,
    /// How many rows the page has, those without a usable id among them.
    pub rows: usize,
    /// How many rows there are on all pages, if the answer says so.
    pub total: Option<usize>,
}

impl Page {
    pub(super) fn parse(body: &Value) -> Result<Self, ApiError> {
        let rows = body.get("partner_channels").and_then(Value::as_array);
        let rows = rows.ok_or(ErrorKind::Unreadable("no partner_channels"))?;
        let total = body.get("total").and_then(Value::as_u64);
        Ok(Self {
            channels: rows.iter().filter_map(ChannelObject::parse).collect(),
            rows: rows.len(),
            total: total.and_then(|total| usize::try_from(total).ok()),
        })
    }
}

/// A list of channels, each once, however 360dialog pages: it may take no notice of an offset, give fewer channels than
/// were asked for, or show one channel on two pages.
pub struct Pages<'a> {
    client: PartnerClient<'a>,
    filters: Option<Value>,
    seen: HashSet<ChannelId>,
    /// Rows without a usable id.
    unusable: usize,
    offset: usize,
    calls: usize,
    most_calls: usize,
    is_at_end: bool,
}

impl<'a> Pages<'a> {
    pub(super) fn new(client: PartnerClient<'a>, filters: Option<Value>) -> Self {
        Self {
            client,
            filters,
            seen: HashSet::new(),
            unusable: 0,
            offset: 0,
            calls: 0,
            most_calls: MOST_PAGES,
            is_at_end: false,
        }
    }

    /// The same list, given up after `pages` pages instead of 50.
    #[must_use]
    pub fn up_to(self, pages: usize) -> Self {
        Self {
            most_calls: pages,
            ..self
        }
    }

    /// Whether another page is to be asked for.
    pub fn has_more(&self) -> bool {
        !self.is_at_end
    }

    /// The channels of the next page that no page before it had, or `None` at the end. One call.
    ///
    /// # Errors
    /// After an error the same page may be asked for again. A list that ends before its own total, or does not end, is
    /// an error: a list that was cut must decide nothing.
    pub async fn next(&mut self) -> Result<Option<Vec<ChannelObject>>, ApiError> {
        if self.is_at_end {
            return Ok(None);
        }
        if self.calls >= self.most_calls {
            return Err(ErrorKind::Unreadable("the list of channels does not end").into());
        }
        let query = Query {
            offset: self.offset,
            filters: self.filters.clone(),
            ..Query::default()
        };
        let page = self.client.page(&query).await?;
        self.calls += 1;
        self.take(page)
    }

    fn take(&mut self, page: Page) -> Result<Option<Vec<ChannelObject>>, ApiError> {
        let unusable = page.rows.saturating_sub(page.channels.len());
        let mut new = page.channels;
        new.retain(|channel| self.seen.insert(channel.id.clone()));
        self.offset = self.offset.saturating_add(page.rows);
        self.unusable = self.unusable.saturating_add(unusable);
        // A channel that is shown twice may stand where another was: only the total says that all have been seen.
        let listed = self.seen.len().saturating_add(self.unusable);
        let is_complete = page.total.is_some_and(|total| listed >= total);
        // A page with nothing new on it is the end, unless 360dialog itself says that there is more.
        if new.is_empty() && unusable == 0 {
            self.is_at_end = true;
            if page.total.is_some() && !is_complete {
                return Err(ErrorKind::Unreadable("the list of channels is cut").into());
            }
            return Ok(None);
        }
        self.is_at_end = is_complete;
        Ok(Some(new))
    }
}
