//! Where a page lives: its origin, the list of those we serve, and the address to return to.
//!
//! Origins are compared as parsed by the URL standard, never as pieces of text.
//! Source: <https://url.spec.whatwg.org/#origin>, <https://html.spec.whatwg.org/#origin>.

use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use url::Url;

/// Longest return address that is accepted, in characters as given.
const RETURN_TO_MAX: usize = 1_024;

/// Longest return address once percent-encoded, in bytes. It travels inside the state, twice in one
/// address (path and query), and a gateway reads no more than 10 KiB of those.
const RETURN_TO_ENCODED_MAX: usize = 2_048;

/// An exact `http` or `https` origin, as a browser serialises it: `https://app.example.com:8443`.
///
/// Lower-case host (punycode), no default port, nothing after it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Origin(String);

/// Why a text is no origin, or no list of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OriginError {
    /// It cannot be read as an address.
    #[error("it is no origin: write it like https://app.example.com")]
    Malformed,
    /// Its scheme is neither `http` nor `https`.
    #[error("its scheme is neither http nor https: use one of them")]
    Scheme,
    /// It holds a user name or password.
    #[error("it holds a user name: leave out everything up to the '@'")]
    UserInfo,
    /// It holds a path, were it only a slash.
    #[error("it holds a path: leave it out, the last slash too")]
    Path,
    /// It holds a query or fragment.
    #[error("it holds a query or fragment: leave it out")]
    Query,
    /// It holds a wildcard.
    #[error("it holds a wildcard: list every origin by itself")]
    Wildcard,
    /// The list names no origin.
    #[error("it names no origin: list at least one")]
    NoneListed,
}

impl Origin {
    /// The origin in an `Origin` header; `None` for `null` and for whatever is no such origin.
    ///
    /// Source: <https://fetch.spec.whatwg.org/#origin-header>.
    pub fn from_header(header: &str) -> Option<Self> {
        header.parse().ok()
    }

    /// The origin as a browser serialises it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn from_url(url: &Url) -> Self {
        Self(url.origin().ascii_serialization())
    }
}

impl FromStr for Origin {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, OriginError> {
        // The URL parser drops spaces, tabs and line ends without a word.
        if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(OriginError::Malformed);
        }
        let Some((_, authority)) = text.split_once("://") else {
            return Err(OriginError::Malformed);
        };
        refuse_more_than_an_authority(authority)?;
        let url = Url::parse(text).map_err(|_| OriginError::Malformed)?;
        if !is_web(&url) {
            return Err(OriginError::Scheme);
        }
        Ok(Self::from_url(&url))
    }
}

fn refuse_more_than_an_authority(authority: &str) -> Result<(), OriginError> {
    for c in authority.chars() {
        match c {
            '/' | '\\' => return Err(OriginError::Path),
            '?' | '#' => return Err(OriginError::Query),
            '@' => return Err(OriginError::UserInfo),
            '*' => return Err(OriginError::Wildcard),
            _ => {}
        }
    }
    Ok(())
}

fn is_web(url: &Url) -> bool {
    matches!(url.scheme(), "http" | "https")
}

impl TryFrom<String> for Origin {
    type Error = OriginError;

    fn try_from(text: String) -> Result<Self, OriginError> {
        text.parse()
    }
}

impl From<Origin> for String {
    fn from(origin: Origin) -> Self {
        origin.0
    }
}

/// The origins of the partner's own pages; at least one, each once.
///
/// Read from a setting: comma separated, spaces around each are ignored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedOrigins(Vec<Origin>);

impl AllowedOrigins {
    /// Whether the list names this very origin.
    pub fn contains(&self, origin: &Origin) -> bool {
        self.0.contains(origin)
    }

    /// The only origin of the list, if it has just one.
    pub fn only(&self) -> Option<&Origin> {
        match self.0.as_slice() {
            [only] => Some(only),
            _ => None,
        }
    }

    /// The origins, in the order of the setting.
    pub fn iter(&self) -> impl Iterator<Item = &Origin> {
        self.0.iter()
    }
}

impl FromStr for AllowedOrigins {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, OriginError> {
        let mut origins = Vec::new();
        for item in text
            .split(',')
            .map(str::trim)
            .filter(|item| !item.is_empty())
        {
            let origin: Origin = item.parse()?;
            if !origins.contains(&origin) {
                origins.push(origin);
            }
        }
        if origins.is_empty() {
            return Err(OriginError::NoneListed);
        }
        Ok(Self(origins))
    }
}

/// The page a client's browser goes back to: an absolute address on an allowed origin.
///
/// Inside a state token it is a string, and is only checked to be `http` or `https` on the way out:
/// nobody changes it after it was signed.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct ReturnTo(Url);

/// Why a text is no return address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReturnToError {
    /// It is empty.
    #[error("return_to is empty: give an address or leave the parameter out")]
    Empty,
    /// It is longer than 1,024 characters, or than 2,048 once percent-encoded.
    #[error("return_to is too long: give at most 1024 characters, few of them outside ASCII")]
    TooLong,
    /// It cannot be read as an absolute address.
    #[error("return_to is no absolute address: write it like https://app.example.com/numbers")]
    Malformed,
    /// Its scheme is neither `http` nor `https`.
    #[error("return_to is neither http nor https: use one of them")]
    Scheme,
    /// Its origin is not on the list.
    #[error("return_to lies on an origin that is not allowed: use one of ALLOWED_ORIGINS")]
    OriginNotAllowed,
}

impl ReturnTo {
    /// Reads an address that an outsider gave.
    ///
    /// # Errors
    /// When it is empty, too long, not absolute, not `http(s)`, or on an origin not listed.
    pub fn parse(raw: &str, allowed: &AllowedOrigins) -> Result<Self, ReturnToError> {
        if raw.is_empty() {
            return Err(ReturnToError::Empty);
        }
        if raw.chars().count() > RETURN_TO_MAX {
            return Err(ReturnToError::TooLong);
        }
        let address = Self::of_any_origin(raw)?;
        if address.as_str().len() > RETURN_TO_ENCODED_MAX {
            return Err(ReturnToError::TooLong);
        }
        if !allowed.contains(&address.origin()) {
            return Err(ReturnToError::OriginNotAllowed);
        }
        Ok(address)
    }

    /// The origin it lies on.
    pub fn origin(&self) -> Origin {
        Origin::from_url(&self.0)
    }

    /// The address as the URL standard serialises it: ASCII, everything else percent-encoded.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    // The scheme is checked before the origin: `blob:https://…` has the origin of what it wraps.
    fn of_any_origin(raw: &str) -> Result<Self, ReturnToError> {
        let url = Url::parse(raw).map_err(|_| ReturnToError::Malformed)?;
        if !is_web(&url) {
            return Err(ReturnToError::Scheme);
        }
        Ok(Self(url))
    }
}

impl Serialize for ReturnTo {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for ReturnTo {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::of_any_origin(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn allowed() -> AllowedOrigins {
        "https://app.example.com, http://localhost:8080"
            .parse()
            .unwrap()
    }

    #[test]
    fn case_and_default_port_are_normalised() {
        for text in [
            "https://APP.example.com",
            "https://app.example.com:443",
            "HTTPS://app.example.com",
        ] {
            assert_eq!(
                text.parse::<Origin>().unwrap().as_str(),
                "https://app.example.com"
            );
        }
        assert_eq!(
            "http://a.example:8080".parse::<Origin>().unwrap().as_str(),
            "http://a.example:8080"
        );
    }

    #[test]
    fn whatever_is_more_or_less_than_an_origin_is_refused() {
        let refused = [
            ("", OriginError::Malformed),
            ("app.example.com", OriginError::Malformed),
            ("https:app.example.com", OriginError::Malformed),
            ("https://", OriginError::Malformed),
            ("https://a b.example", OriginError::Malformed),
            ("https://app.example.com\n", OriginError::Malformed),
            ("https://app.example.com ", OriginError::Malformed),
            ("https://app.example.com\u{1}", OriginError::Malformed),
            ("null", OriginError::Malformed),
            ("file://host", OriginError::Scheme),
            ("https://app.example.com/", OriginError::Path),
            ("https://app.example.com/x", OriginError::Path),
            ("https://app.example.com\\x", OriginError::Path),
            ("https://app.example.com?x", OriginError::Query),
            ("https://app.example.com#x", OriginError::Query),
            ("https://me@app.example.com", OriginError::UserInfo),
            ("https://*.example.com", OriginError::Wildcard),
        ];
        for (text, reason) in refused {
            assert_eq!(text.parse::<Origin>(), Err(reason), "{text}");
        }
    }

    #[test]
    fn the_header_null_is_no_origin() {
        assert_eq!(Origin::from_header("null"), None);
        assert_eq!(
            Origin::from_header("https://a.example"),
            "https://a.example".parse().ok()
        );
    }

    #[test]
    fn an_origin_listed_twice_is_still_the_only_one() {
        let list: AllowedOrigins = "https://a.example,https://A.example:443".parse().unwrap();
        assert_eq!(list.only().unwrap().as_str(), "https://a.example");
        assert_eq!(allowed().only(), None);
        assert_eq!(allowed().iter().count(), 2);
    }

    #[test]
    fn a_list_names_at_least_one_origin_and_no_bad_one() {
        assert_eq!(
            " , ".parse::<AllowedOrigins>(),
            Err(OriginError::NoneListed)
        );
        assert_eq!(
            "https://a.example,https://b.example/".parse::<AllowedOrigins>(),
            Err(OriginError::Path)
        );
    }

    #[test]
    fn an_address_on_a_listed_origin_is_accepted() {
        let address = ReturnTo::parse("HTTPS://app.example.com:443/a b?ü#x", &allowed()).unwrap();
        assert_eq!(address.as_str(), "https://app.example.com/a%20b?%C3%BC#x");
        assert_eq!(address.origin().as_str(), "https://app.example.com");
    }

    #[test]
    fn whatever_only_looks_like_a_listed_origin_is_refused() {
        for raw in [
            "https://app.example.com.evil.example/",
            "https://evil.example/?https://app.example.com",
            "https://app.example.com@evil.example/",
            "https://evil.example\\@app.example.com/",
            "http://app.example.com/",
            "https://app.example.com:8443/",
            "https://xapp.example.com/",
        ] {
            assert_eq!(
                ReturnTo::parse(raw, &allowed()),
                Err(ReturnToError::OriginNotAllowed),
                "{raw}"
            );
        }
    }

    #[test]
    fn other_schemes_and_relative_addresses_are_refused() {
        for raw in [
            "blob:https://app.example.com/x",
            "javascript:alert(1)",
            "data:,x",
            "file:///x",
        ] {
            assert_eq!(
                ReturnTo::parse(raw, &allowed()),
                Err(ReturnToError::Scheme),
                "{raw}"
            );
        }
        for raw in [
            "/numbers",
            "//app.example.com/x",
            "app.example.com",
            "https://",
        ] {
            assert_eq!(
                ReturnTo::parse(raw, &allowed()),
                Err(ReturnToError::Malformed),
                "{raw}"
            );
        }
        assert_eq!(ReturnTo::parse("", &allowed()), Err(ReturnToError::Empty));
    }

    #[test]
    fn an_address_has_at_most_1024_characters() {
        let base = "https://app.example.com/?";
        let longest = format!("{base}{}", "x".repeat(1_024 - base.len()));
        assert!(ReturnTo::parse(&longest, &allowed()).is_ok());
        assert_eq!(
            ReturnTo::parse(&format!("{longest}x"), &allowed()),
            Err(ReturnToError::TooLong)
        );
    }

    #[test]
    fn an_address_has_at_most_2048_bytes_once_it_is_encoded() {
        let base = "https://app.example.com/?";
        // "ü" is written as %C3%BC.
        let longest = format!("{base}x{}", "ü".repeat((2_047 - base.len()) / 6));
        let address = ReturnTo::parse(&longest, &allowed()).unwrap();
        assert_eq!(address.as_str().len(), 2_048);
        assert_eq!(
            ReturnTo::parse(&format!("{longest}x"), &allowed()),
            Err(ReturnToError::TooLong)
        );
    }

    #[test]
    fn an_address_in_json_is_a_string_of_http_or_https() {
        let address = ReturnTo::parse("https://app.example.com/x", &allowed()).unwrap();
        let json = serde_json::to_string(&address).unwrap();
        assert_eq!(json, r#""https://app.example.com/x""#);
        assert_eq!(serde_json::from_str::<ReturnTo>(&json).unwrap(), address);
        assert!(serde_json::from_str::<ReturnTo>(r#""javascript:alert(1)""#).is_err());
    }

    proptest! {
        #[test]
        fn what_is_accepted_is_already_serialised(text in "https?://[a-zA-Z0-9.:\\[\\]@/-]{0,20}") {
            if let Ok(origin) = text.parse::<Origin>() {
                prop_assert_eq!(origin.as_str().parse::<Origin>(), Ok(origin.clone()));
            }
        }

        #[test]
        fn no_text_makes_the_parsers_panic(text in ".*") {
            let _ = text.parse::<AllowedOrigins>();
            let _ = ReturnTo::parse(&text, &allowed());
        }
    }
}
