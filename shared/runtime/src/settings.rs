//! Settings from the environment. A function parses its own at its start, and fails naming the one that is wrong.
//! Messages never repeat a value, since some are secrets.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;
use std::sync::{Arc, Mutex};

use dialog360::id::PartnerId;
use url::Url;

/// The longest prefix of a secret's name: with two ids and a slash, a name then fits into the 512 characters of
/// [CreateSecret](https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_CreateSecret.html).
const LONGEST_PREFIX: usize = 256;

/// A setting is missing or malformed. The message names it and says what it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingError {
    /// It is required and not set.
    #[error("{name} is missing. {expected}")]
    Missing {
        /// The environment variable.
        name: String,
        /// What it should hold.
        expected: String,
    },
    /// It is set and cannot be parsed.
    #[error("{name} is malformed: {why}")]
    Malformed {
        /// The environment variable.
        name: String,
        /// The reason.
        why: String,
    },
}

impl SettingError {
    /// `name` cannot be parsed, for the reason `why`.
    pub fn malformed(name: &str, why: impl ToString) -> Self {
        Self::Malformed {
            name: name.to_owned(),
            why: why.to_string(),
        }
    }

    /// `name` is required: `expected` says what it should hold.
    pub fn missing(name: &str, expected: impl ToString) -> Self {
        Self::Missing {
            name: name.to_owned(),
            expected: expected.to_string(),
        }
    }
}

/// The environment variables of a process. An empty variable counts as not set.
#[derive(Clone, Default)]
pub struct Environment {
    variables: BTreeMap<String, String>,
    /// Shared with all clones.
    asked: Arc<Mutex<BTreeSet<String>>>,
}

impl Environment {
    /// The variables of this process. Those that are not UTF-8 are skipped: no setting of ours is among them.
    pub fn from_process() -> Self {
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect()
    }

    /// The same variables, with `name` set to `value` unless it is set already.
    #[must_use]
    pub fn with_default(mut self, name: &str, value: impl Into<String>) -> Self {
        if self.text(name).is_none() {
            self.variables.insert(name.to_owned(), value.into());
        }
        self
    }

    /// The same variables, with `item` at the end of the comma-separated list `name`, which is `default` unless it is set.
    #[must_use]
    pub fn with_item(mut self, name: &str, default: &str, item: &str) -> Self {
        let list = self.text(name).unwrap_or(default);
        let list = format!("{list},{item}");
        self.variables.insert(name.to_owned(), list);
        self
    }

    /// The text of a variable.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.look_up(name)
            .map(|value| value.trim())
            .filter(|value| !value.is_empty())
    }

    /// Whether a variable is set and empty. For a setting with a default that means: none.
    pub fn is_empty(&self, name: &str) -> bool {
        self.look_up(name)
            .is_some_and(|value| value.trim().is_empty())
    }

    fn look_up(&self, name: &str) -> Option<&String> {
        if let Ok(mut asked) = self.asked.lock() {
            asked.insert(name.to_owned());
        }
        self.variables.get(name)
    }

    /// The names that were looked up until now, here or in a clone, whether or not they are set. The template must set
    /// exactly these.
    pub fn asked(&self) -> BTreeSet<String> {
        self.asked
            .lock()
            .map(|asked| asked.clone())
            .unwrap_or_default()
    }

    /// A variable that must be set.
    pub fn required<T: FromStr<Err: ToString>>(
        &self,
        name: &str,
        expected: &str,
    ) -> Result<T, SettingError> {
        self.optional(name)?
            .ok_or_else(|| SettingError::missing(name, expected))
    }

    /// A variable that may be set.
    pub fn optional<T: FromStr<Err: ToString>>(
        &self,
        name: &str,
    ) -> Result<Option<T>, SettingError> {
        self.text(name)
            .map(|text| {
                text.parse()
                    .map_err(|why: T::Err| SettingError::malformed(name, why.to_string()))
            })
            .transpose()
    }

    /// The prefix of secrets' names in the variable `name`, else `default`. Secrets Manager allows `A-Za-z0-9/_+=.@-`.
    pub fn secret_prefix(&self, name: &str, default: &str) -> Result<String, SettingError> {
        let prefix = self.text(name).unwrap_or(default);
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || "/_+=.@-".contains(c);
        if prefix.len() > LONGEST_PREFIX || !prefix.chars().all(is_allowed) {
            let why = format!(
                "it must be at most {LONGEST_PREFIX} characters of A-Z a-z 0-9 / _ + = . @ -"
            );
            return Err(SettingError::malformed(name, why));
        }
        Ok(prefix.to_owned())
    }

    /// `PARTNER_IDS`, the partner ids that this deployment serves.
    pub fn partner_ids(&self) -> Result<PartnerIds, SettingError> {
        self.required(
            "PARTNER_IDS",
            "Name your 360dialog partner ids, comma separated, such as aAbBcCPA.",
        )
    }
}

impl FromIterator<(String, String)> for Environment {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(variables: I) -> Self {
        Self {
            variables: variables.into_iter().collect(),
            ..Self::default()
        }
    }
}

/// The partner ids that this deployment serves. Every other id is unknown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartnerIds(BTreeSet<PartnerId>);

impl PartnerIds {
    /// The served id that equals `text`.
    pub fn find(&self, text: &str) -> Option<&PartnerId> {
        self.0.iter().find(|id| id.as_str() == text)
    }

    /// One of them; there always is one.
    pub fn first(&self) -> Option<&PartnerId> {
        self.0.first()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &PartnerId> {
        self.0.iter()
    }
}

impl FromStr for PartnerIds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let items = text
            .split(',')
            .map(str::trim)
            .filter(|item| !item.is_empty());
        let ids: BTreeSet<PartnerId> = items
            .map(|id| id.parse().map_err(|why| format!("{why}")))
            .collect::<Result<_, _>>()?;
        if ids.is_empty() {
            Err("it names no partner id: list at least one".to_owned())
        } else {
            Ok(Self(ids))
        }
    }
}

/// A setting that is `on` or `off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switch {
    /// `on`
    On,
    /// `off`
    Off,
}

impl FromStr for Switch {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        match text {
            "on" => Ok(Self::On),
            "off" => Ok(Self::Off),
            _ => Err("say on or off"),
        }
    }
}

/// An absolute `http` or `https` address without a trailing slash, which may hold `{partner_id}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUrl(String);

impl BaseUrl {
    /// The address.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for BaseUrl {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let sample = text.replace("{partner_id}", "aAbBcCPA");
        let rest = sample
            .strip_prefix("https://")
            .or_else(|| sample.strip_prefix("http://"));
        let rest = rest.ok_or("it must start with https:// or http://")?;
        // Checked before parsing: the parser would silently drop or repair these.
        if rest.contains(['{', '}']) {
            return Err("its only placeholder is {partner_id}");
        }
        if rest.contains(['?', '#']) {
            return Err("it must have neither a query nor a fragment");
        }
        if rest
            .split('/')
            .next()
            .is_some_and(|authority| authority.contains('@'))
        {
            return Err("it must not hold a user name");
        }
        let is_odd =
            |c: char| c.is_whitespace() || c.is_control() || matches!(c, '\\' | '"' | '<' | '>');
        if rest.is_empty()
            || rest.starts_with('/')
            || rest.contains(is_odd)
            || Url::parse(&sample).is_err()
        {
            return Err("it must be an absolute address such as https://hub.example/api");
        }
        Ok(Self(text.trim_end_matches('/').to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(variables: &[(&str, &str)]) -> Environment {
        variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn a_missing_setting_is_named_and_explained() {
        let error = env(&[]).partner_ids().unwrap_err().to_string();
        assert!(
            error.starts_with("PARTNER_IDS is missing. Name your"),
            "{error}"
        );
    }

    #[test]
    fn a_malformed_setting_is_named_and_its_value_is_not_repeated() {
        let error = env(&[("PARTNER_IDS", "aAbBcCPA,top secret")])
            .partner_ids()
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("PARTNER_IDS is malformed"), "{error}");
        assert!(!error.contains("top secret"), "{error}");
    }

    #[test]
    fn several_partner_ids_are_served_and_no_other() {
        let ids = env(&[("PARTNER_IDS", "aPA, bPA")]).partner_ids().unwrap();
        assert!(ids.find("aPA").is_some() && ids.find("bPA").is_some());
        assert_eq!(ids.find("cPA"), None);
        assert_eq!(env(&[("PARTNER_IDS", "aPA,, bPA,")]).partner_ids(), Ok(ids));
        let error = env(&[("PARTNER_IDS", " , ")])
            .partner_ids()
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "PARTNER_IDS is malformed: it names no partner id: list at least one"
        );
    }

    #[test]
    fn an_empty_setting_counts_as_absent() {
        assert_eq!(
            env(&[("AUTO_PROVISION", " ")])
                .optional::<Switch>("AUTO_PROVISION")
                .unwrap(),
            None
        );
    }

    #[test]
    fn the_names_that_were_looked_up_are_recorded() {
        let env = env(&[("AUTO_PROVISION", "on"), ("LISTEN", "x")]);
        let clone = env.clone();
        let (_given, _missing) = (
            clone.text("AUTO_PROVISION"),
            clone.required::<Switch>("PARTNER_IDS", ""),
        );
        assert_eq!(
            env.asked(),
            ["AUTO_PROVISION", "PARTNER_IDS"].map(str::to_owned).into()
        );
    }

    #[test]
    fn a_secret_prefix_has_only_characters_that_secrets_manager_allows() {
        let prefix = |value| env(&[("X_PREFIX", value)]).secret_prefix("X_PREFIX", "a/b/");
        assert_eq!(prefix("").unwrap(), "a/b/");
        assert_eq!(
            prefix("team-1/360dialog.channels/").unwrap(),
            "team-1/360dialog.channels/"
        );
        for bad in ["a b/", "a#/", "ä/", "x".repeat(257).as_str()] {
            assert!(
                prefix(bad)
                    .unwrap_err()
                    .to_string()
                    .starts_with("X_PREFIX is malformed"),
                "{bad}"
            );
        }
    }

    #[test]
    fn an_address_is_absolute_and_has_no_query() {
        assert_eq!(
            "https://hub.example/api/"
                .parse::<BaseUrl>()
                .unwrap()
                .as_str(),
            "https://hub.example/api"
        );
        for good in [
            "http://[::1]:8082/x@y",
            "https://hub.example/{partner_id}/x",
            "https://{partner_id}.example",
        ] {
            assert_eq!(good.parse::<BaseUrl>().unwrap().as_str(), good);
        }
        for bad in [
            "hub.example",
            "ftp://hub.example",
            "https://",
            "https:///x",
            "https://a.example/?x",
            "https://a.example?",
            "https://a.example/#",
            "https://a.example:99999",
            "https://a.example:port",
            "https://[::1",
            "https://user@a.example",
            "https://@a.example",
            "https://a.example\\x",
            "https://a.example/x y",
            "https://a.exa\tmple",
            "https://a.example/\u{7f}",
            "https://a.example/{channel_id}",
            "https://a.example/{partner_id",
            "https://a.example/}",
        ] {
            assert!(bad.parse::<BaseUrl>().is_err(), "{bad}");
        }
    }
}
