//! The page of the list that the query asks for.

use data_encoding::BASE64URL_NOPAD;
use dialog360::id::ChannelId;
use runtime::http::Problem;

const DEFAULT_LIMIT: usize = 50;
const LARGEST_LIMIT: usize = 100;

/// The row after which the page begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum After {
    /// The page begins with the first row.
    Nothing,
    /// After this channel.
    Channel(ChannelId),
    /// After this id, which is only claimed.
    Claimed(ChannelId),
}

impl After {
    pub(crate) fn channel(&self) -> Option<&ChannelId> {
        match self {
            Self::Channel(id) => Some(id),
            _ => None,
        }
    }

    /// An opaque text for the next request. It is no secret, and gives no access to rows of other tenants.
    pub(crate) fn to_cursor(&self) -> String {
        let text = match self {
            Self::Nothing => return String::new(),
            Self::Channel(id) => format!("h{id}"),
            Self::Claimed(id) => format!("c{id}"),
        };
        BASE64URL_NOPAD.encode(text.as_bytes())
    }

    fn from_cursor(cursor: &str) -> Option<Self> {
        let text = String::from_utf8(BASE64URL_NOPAD.decode(cursor.as_bytes()).ok()?).ok()?;
        match text.split_at_checked(1)? {
            ("h", id) => Some(Self::Channel(id.parse().ok()?)),
            ("c", id) => Some(Self::Claimed(id.parse().ok()?)),
            _ => None,
        }
    }
}

/// A page of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) after: After,
    pub(crate) limit: usize,
}

impl Page {
    /// Parses `cursor` and `limit`. An empty cursor means the first page.
    pub(crate) fn parse(query: &[(String, String)]) -> Result<Self, Problem> {
        let mut page = Self {
            after: After::Nothing,
            limit: DEFAULT_LIMIT,
        };
        for (name, value) in query {
            match name.as_str() {
                "cursor" if value.is_empty() => page.after = After::Nothing,
                "cursor" => {
                    let unknown =
                        || Problem::bad_request("Give cursor exactly as next of the page before.");
                    page.after = After::from_cursor(value).ok_or_else(unknown)?;
                }
                "limit" => {
                    let limit = value
                        .parse()
                        .ok()
                        .filter(|limit| (1..=LARGEST_LIMIT).contains(limit));
                    page.limit =
                        limit.ok_or_else(|| Problem::bad_request("limit must be 1 to 100."))?;
                }
                _ => {}
            }
        }
        Ok(page)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(query: &[(&str, &str)]) -> Result<Page, u16> {
        let query: Vec<_> = query
            .iter()
            .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
            .collect();
        Page::parse(&query).map_err(|problem| problem.status)
    }

    #[test]
    fn a_cursor_is_parsed_back_into_its_row() {
        for after in [
            After::Channel("aCH".parse().unwrap()),
            After::Claimed("bCH".parse().unwrap()),
        ] {
            assert_eq!(
                page(&[("cursor", &after.to_cursor())]).unwrap().after,
                after
            );
        }
        assert_eq!(
            page(&[]).unwrap(),
            Page {
                after: After::Nothing,
                limit: 50
            }
        );
    }

    #[test]
    fn a_malformed_cursor_or_limit_is_refused() {
        for cursor in ["x", "!", "aCH", "aA"] {
            assert_eq!(page(&[("cursor", cursor)]), Err(400), "{cursor}");
        }
        for limit in ["0", "101", "-1", "ten", ""] {
            assert_eq!(page(&[("limit", limit)]), Err(400), "{limit}");
        }
        assert_eq!(page(&[("limit", "100")]).unwrap().limit, 100);
    }
}
