//! The page of the list that the query asks for.

use data_encoding::BASE64URL_NOPAD;
use dialog360::id::ChannelId;
use onboarding::claim::ClaimId;
use runtime::http::Problem;
use store::{PageStart, table};

const DEFAULT_LIMIT: usize = 50;
const LARGEST_LIMIT: usize = 100;
/// The letter `c` and a SHA-256 in hex; the second of a session is shorter.
const LONGEST_CLAIM_ID: usize = 65;

/// The place behind which the page begins: a row of the tenant's list, or an id within one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum After {
    /// The page begins with the first row.
    Nothing,
    /// Behind this channel.
    Channel(ChannelId),
    /// Behind all ids of this claim.
    Claim(ClaimId),
    /// Behind this id of this claim.
    WithinClaim(ClaimId, ChannelId),
    /// Behind this claimed id.
    Claimed(ChannelId),
}

impl After {
    /// The place at which the rows have to be read.
    pub(crate) fn start(&self) -> PageStart {
        match self {
            Self::Nothing => PageStart::First,
            Self::Channel(id) => PageStart::After(table::channel_row(id)),
            Self::Claim(claim) => PageStart::After(table::claim_row(claim)),
            Self::WithinClaim(claim, _) => PageStart::At(table::claim_row(claim)),
            Self::Claimed(id) => PageStart::After(table::claimed_row(id)),
        }
    }

    /// An opaque text for the next request. It is no secret, and gives no access to rows of other tenants.
    pub(crate) fn to_cursor(&self) -> String {
        let text = match self {
            Self::Nothing => return String::new(),
            Self::Channel(id) => format!("h{id}"),
            Self::Claim(claim) => format!("s{claim}"),
            Self::WithinClaim(claim, id) => format!("s{claim}#{id}"),
            Self::Claimed(id) => format!("d{id}"),
        };
        BASE64URL_NOPAD.encode(text.as_bytes())
    }

    fn from_cursor(cursor: &str) -> Option<Self> {
        let text = String::from_utf8(BASE64URL_NOPAD.decode(cursor.as_bytes()).ok()?).ok()?;
        match text.split_at_checked(1)? {
            ("h", id) => Some(Self::Channel(id.parse().ok()?)),
            ("d", id) => Some(Self::Claimed(id.parse().ok()?)),
            ("s", claim) => match claim.split_once('#') {
                Some((claim, id)) => Some(Self::WithinClaim(claim_id(claim)?, id.parse().ok()?)),
                None => Some(Self::Claim(claim_id(claim)?)),
            },
            _ => None,
        }
    }
}

/// A claim's id out of a cursor: letters and digits, as all of them.
fn claim_id(text: &str) -> Option<ClaimId> {
    let is_allowed = (1..=LONGEST_CLAIM_ID).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_allowed.then(|| ClaimId::from_table(text))
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
        let claim = || ClaimId::from_table("1775653748");
        let longest = ClaimId::from_table(format!("c{}", "0".repeat(64)));
        for after in [
            After::Channel("aCH".parse().unwrap()),
            After::Claim(claim()),
            After::Claim(longest),
            After::WithinClaim(claim(), "bCH".parse().unwrap()),
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
        let too_long = format!("s{}", "0".repeat(66));
        for text in [
            "h", "d", "s", "caCH", "h#", "s#aCH", "s1#", "s1#aCH#", "s ", &too_long,
        ] {
            let cursor = BASE64URL_NOPAD.encode(text.as_bytes());
            assert_eq!(page(&[("cursor", &cursor)]), Err(400), "{text}");
        }
        for limit in ["0", "101", "-1", "ten", ""] {
            assert_eq!(page(&[("limit", limit)]), Err(400), "{limit}");
        }
        assert_eq!(page(&[("limit", "100")]).unwrap().limit, 100);
    }
}
