//! What a client's browser brings back: which client, and which channels it granted or revoked.
//!
//! Anyone can call the address with any ids, so this is only what somebody *says*.
//! Source: <https://docs.360dialog.com/partner/onboarding/integrated-onboarding/using-custom-io>.

use std::collections::BTreeSet;

use data_encoding::HEXLOWER;
use serde::Serialize;
use sha2::{Digest, Sha256};
use url::form_urlencoded;

use crate::id::{ChannelId, ClientId};

/// Most channels that one redirect may name, granted and revoked together.
const IDS_MAX: usize = 90;

/// The result of one visit: a client with its granted and revoked channels, or nothing if cancelled.
///
/// Every id occurs once, in the order it came in, and in one of the two lists only. As JSON:
/// `{"client":…,"channels":[…],"revoked":[…]}`, with `null` for the client when cancelled.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RedirectQuery {
    /// The client; none if the visit was cancelled.
    pub client: Option<ClientId>,
    /// Channels that the partner may make keys for.
    pub channels: Vec<ChannelId>,
    /// Channels whose permission was taken back.
    pub revoked: Vec<ChannelId>,
}

/// Why a query is no result of a visit. Nothing of the query is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RedirectError {
    /// Channels are named, but no client.
    #[error("channels without a client: add the parameter client")]
    ClientMissing,
    /// The client is no id.
    #[error("client is no id: use 1 to 64 letters, digits, '_' and '-'")]
    ClientMalformed,
    /// Two different clients are named.
    #[error("several clients: name one")]
    SeveralClients,
    /// A channel is no id.
    #[error("a channel is no id: use 1 to 64 letters, digits, '_' and '-'")]
    ChannelMalformed,
    /// A channel is in both lists.
    #[error("a channel is both granted and revoked: name it in one list")]
    GrantedAndRevoked,
    /// More than 90 channels are named.
    #[error("too many channels: name at most 90 in one redirect")]
    TooManyIds,
}

impl RedirectQuery {
    /// Reads `client`, `channels` and `revoked` from a query, with or without a leading `?`.
    ///
    /// Lists are comma separated; brackets (balanced or not), quotes around an id, spaces and empty
    /// items are ignored, repeated parameters are joined. Other parameters are not looked at.
    ///
    /// # Errors
    /// One reason each, see [`RedirectError`].
    pub fn parse(query: &str) -> Result<Self, RedirectError> {
        let mut result = Self::default();
        for (name, value) in parameters(query) {
            match &*name {
                "client" => result.take_client(&value)?,
                "channels" => result.take_channels(&value, List::Granted)?,
                "revoked" => result.take_channels(&value, List::Revoked)?,
                _ => {}
            }
        }
        result.checked()
    }

    /// Whether the visit ended without any result.
    pub fn is_cancelled(&self) -> bool {
        self.client.is_none()
    }

    /// The result in 360dialog's own form: `client=X&channels=[a,b]&revoked=[c]`.
    ///
    /// Brackets are literal, empty lists are left out; empty when cancelled.
    pub fn to_query(&self) -> String {
        let Some(client) = &self.client else {
            return String::new();
        };
        let mut query = format!("client={client}");
        for (name, ids) in [("channels", &self.channels), ("revoked", &self.revoked)] {
            if !ids.is_empty() {
                query.push_str(&format!("&{name}=[{}]", joined(ids)));
            }
        }
        query
    }

    /// SHA-256 (lower-case hexadecimal) of the content: the client and both lists *as sets*.
    pub fn digest(&self) -> String {
        let client = self.client.as_ref().map_or("", ClientId::as_str);
        let channels = joined(self.channels.iter().collect::<BTreeSet<_>>());
        let revoked = joined(self.revoked.iter().collect::<BTreeSet<_>>());
        // No id holds ',' or '|', so no two contents look alike.
        HEXLOWER.encode(&Sha256::digest(format!("{client}|{channels}|{revoked}")))
    }

    /// The address to send the browser back to, with the result in its query, before any `#`.
    ///
    /// The address's own query stays byte for byte, except for parameters that are named like ours
    /// (names compared percent-decoded): those go.
    pub fn append_to(&self, address: &str) -> String {
        let (address, fragment) = cut(address, '#');
        let (page, query) = cut(address, '?');
        let own = query.strip_prefix('?').unwrap_or_default();
        let own: Vec<&str> = own.split('&').filter(|pair| !is_ours(pair)).collect();
        let parts = [own.join("&"), self.to_query()];
        let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        if parts.is_empty() {
            return format!("{page}{fragment}");
        }
        format!("{page}?{}{fragment}", parts.join("&"))
    }

    fn take_client(&mut self, value: &str) -> Result<(), RedirectError> {
        let client: ClientId = value.parse().map_err(|_| RedirectError::ClientMalformed)?;
        if self.client.as_ref().is_some_and(|other| *other != client) {
            return Err(RedirectError::SeveralClients);
        }
        self.client = Some(client);
        Ok(())
    }

    fn take_channels(&mut self, value: &str, list: List) -> Result<(), RedirectError> {
        for item in value.split(',').map(bare).filter(|item| !item.is_empty()) {
            let id: ChannelId = item.parse().map_err(|_| RedirectError::ChannelMalformed)?;
            let ids = match list {
                List::Granted => &mut self.channels,
                List::Revoked => &mut self.revoked,
            };
            if !ids.contains(&id) {
                ids.push(id);
            }
            // Checked at each step: so the search above stays short, however long the query.
            if self.channels.len() + self.revoked.len() > IDS_MAX {
                return Err(RedirectError::TooManyIds);
            }
        }
        Ok(())
    }

    fn checked(self) -> Result<Self, RedirectError> {
        if self.client.is_none() && !(self.channels.is_empty() && self.revoked.is_empty()) {
            return Err(RedirectError::ClientMissing);
        }
        if self.channels.iter().any(|id| self.revoked.contains(id)) {
            return Err(RedirectError::GrantedAndRevoked);
        }
        Ok(self)
    }
}

/// The distinct, non-empty values of the parameter `state`, in the order they came in.
pub fn states(query: &str) -> Vec<String> {
    let mut seen = BTreeSet::new();
    parameters(query)
        .filter(|(name, value)| name == "state" && !value.is_empty())
        .map(|(_, value)| value.into_owned())
        .filter(|value| seen.insert(value.clone()))
        .collect()
}

#[derive(Clone, Copy)]
enum List {
    Granted,
    Revoked,
}

fn parameters(query: &str) -> form_urlencoded::Parse<'_> {
    form_urlencoded::parse(query.strip_prefix('?').unwrap_or(query).as_bytes())
}

/// An item of a list without what may surround it.
fn bare(item: &str) -> &str {
    let item = item
        .trim()
        .trim_start_matches('[')
        .trim_end_matches(']')
        .trim();
    let quoted = |quote| item.strip_prefix(quote)?.strip_suffix(quote);
    quoted('\'').or_else(|| quoted('"')).unwrap_or(item)
}

fn joined<'a>(ids: impl IntoIterator<Item = &'a ChannelId>) -> String {
    ids.into_iter()
        .map(ChannelId::as_str)
        .collect::<Vec<_>>()
        .join(",")
}

/// The text before the first `mark`, and the rest with it.
fn cut(text: &str, mark: char) -> (&str, &str) {
    text.split_at(text.find(mark).unwrap_or(text.len()))
}

fn is_ours(pair: &str) -> bool {
    form_urlencoded::parse(pair.as_bytes())
        .any(|(name, _)| matches!(&*name, "client" | "channels" | "revoked"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct Vector {
        query: String,
        accept: bool,
        client: Option<ClientId>,
        channels: Vec<ChannelId>,
        revoked: Vec<ChannelId>,
        note: String,
    }

    fn parse(query: &str) -> RedirectQuery {
        RedirectQuery::parse(query).unwrap()
    }

    fn appended(address: &str, query: &str) -> String {
        parse(query).append_to(address)
    }

    #[test]
    fn every_vector_is_read_alike() {
        let vectors: Vec<Vector> =
            serde_json::from_str(include_str!("../tests/vectors/redirect_queries.json")).unwrap();
        assert!(!vectors.is_empty());
        for v in vectors {
            let expected = RedirectQuery {
                client: v.client,
                channels: v.channels,
                revoked: v.revoked,
            };
            let expected = v.accept.then_some(expected);
            assert_eq!(RedirectQuery::parse(&v.query).ok(), expected, "{}", v.note);
        }
    }

    #[test]
    fn each_refusal_has_its_reason() {
        let many: Vec<String> = (0..91).map(|n| format!("c{n}CH")).collect();
        let split = format!(
            "client=x&channels=[{}]&revoked=[{}]",
            many[..50].join(","),
            many[50..].join(",")
        );
        let refused = [
            ("revoked=[a]", RedirectError::ClientMissing),
            ("client=", RedirectError::ClientMalformed),
            ("client=x&client=y", RedirectError::SeveralClients),
            ("client=x&revoked=[a b]", RedirectError::ChannelMalformed),
            (
                "client=x&channels=[a]&revoked=[a]",
                RedirectError::GrantedAndRevoked,
            ),
            (&split, RedirectError::TooManyIds),
        ];
        for (query, reason) in refused {
            assert_eq!(RedirectQuery::parse(query), Err(reason), "{query}");
        }
    }

    #[test]
    fn ninety_ids_are_accepted() {
        let ids: Vec<String> = (0..90).map(|n| format!("c{n}CH")).collect();
        assert_eq!(
            parse(&format!("client=x&channels=[{}]", ids.join(",")))
                .channels
                .len(),
            90
        );
    }

    #[test]
    fn an_unbalanced_bracket_is_ignored() {
        for list in ["[a,b", "a,b]", "%5Ba,b", "[a,b],"] {
            assert_eq!(
                parse(&format!("client=x&channels={list}")).to_query(),
                "client=x&channels=[a,b]"
            );
        }
    }

    #[test]
    fn empty_lists_alone_are_a_cancelled_visit() {
        for query in ["", "?", "state=s", "channels=[]&revoked=[]"] {
            assert!(parse(query).is_cancelled(), "{query}");
            assert_eq!(parse(query).to_query(), "");
        }
        assert!(!parse("client=x").is_cancelled());
    }

    #[test]
    fn a_cancelled_visit_in_json_has_no_client() {
        assert_eq!(
            serde_json::to_string(&parse("")).unwrap(),
            r#"{"client":null,"channels":[],"revoked":[]}"#
        );
    }

    #[test]
    fn states_are_told_once_and_empty_ones_never() {
        assert_eq!(states("?state=a&state=&x=1&state=b&st%61te=a"), ["a", "b"]);
        assert!(states("state=&client=x").is_empty());
    }

    #[test]
    fn the_digest_does_not_care_for_order_but_for_lists() {
        let digest = |query| parse(query).digest();
        assert_eq!(
            digest("client=x&channels=[a,b]"),
            digest("channels=b,a&client=x")
        );
        assert_ne!(
            digest("client=x&channels=[a]"),
            digest("client=x&revoked=[a]")
        );
        assert_ne!(
            digest("client=x&channels=[a]"),
            digest("client=y&channels=[a]")
        );
        assert_ne!(digest("client=x"), digest(""));
        assert_eq!(digest("client=x").len(), 64);
    }

    #[test]
    fn the_result_goes_before_the_fragment() {
        let result = "client=x&channels=[a,b]&revoked=[c]";
        for (address, expected) in [
            ("https://a.example/", "https://a.example/?{}"),
            ("https://a.example/p?", "https://a.example/p?{}"),
            ("https://a.example/p#f?g", "https://a.example/p?{}#f?g"),
            (
                "https://a.example/p?y=%20a+b&&z#f",
                "https://a.example/p?y=%20a+b&&z&{}#f",
            ),
            ("https://a.example/p?#", "https://a.example/p?{}#"),
        ] {
            assert_eq!(appended(address, result), expected.replace("{}", result));
        }
    }

    #[test]
    fn parameters_named_like_ours_are_replaced() {
        let address = "https://a.example/?client=old&a=1&ch%61nnels=[z]&revoked&clients=2&Client=3";
        assert_eq!(
            appended(address, "client=x"),
            "https://a.example/?a=1&clients=2&Client=3&client=x"
        );
        assert_eq!(
            appended(address, ""),
            "https://a.example/?a=1&clients=2&Client=3"
        );
        assert_eq!(
            appended("https://a.example/p?client=old#f", ""),
            "https://a.example/p#f"
        );
    }

    proptest! {
        #[test]
        fn a_result_survives_a_round_trip(
            client in "[A-Za-z0-9_-]{1,64}",
            channels in proptest::collection::btree_set("a[A-Za-z0-9_-]{0,20}", 0..45),
            revoked in proptest::collection::btree_set("b[A-Za-z0-9_-]{0,20}", 0..45),
        ) {
            let ids = |ids: BTreeSet<String>| ids.iter().map(|id| id.parse().unwrap()).collect();
            let result = RedirectQuery {
                client: Some(client.parse().unwrap()),
                channels: ids(channels),
                revoked: ids(revoked),
            };
            prop_assert_eq!(RedirectQuery::parse(&result.to_query()), Ok(result.clone()));
            let address = appended("https://a.example/?client=old&a=1#f", &result.to_query());
            let query = address.strip_prefix("https://a.example/").unwrap().strip_suffix("#f").unwrap();
            prop_assert_eq!(RedirectQuery::parse(query), Ok(result));
        }

        #[test]
        fn no_query_makes_the_parser_panic(query in "[?&=a-c,%\\[\\]'\"+é]{0,40}", name in "channels|client|state") {
            let _ = RedirectQuery::parse(&format!("{name}={query}"));
            let _ = states(&query);
        }
    }
}
