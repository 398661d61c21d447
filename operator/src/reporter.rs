//! The output of the commands. It holds no secret and no key, and of an address neither a password nor the query.

use url::Url;

/// The longest foreign text that is printed, characters.
const LONGEST: usize = 300;

/// Whether an assumption about 360dialog holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    /// It holds with this account.
    Confirmed,
    /// It does not hold, or not fully, for this reason.
    NotConfirmed(String),
    /// It cannot be found out with this account, for this reason.
    Unknown(String),
}

/// Prints lines, and remembers whether one of them reported trouble.
pub(crate) struct Reporter<'a> {
    say: &'a mut dyn FnMut(&str),
    has_trouble: bool,
}

impl<'a> Reporter<'a> {
    /// Prints through `say`, one line at a time.
    pub(crate) fn new(say: &'a mut dyn FnMut(&str)) -> Self {
        Self {
            say,
            has_trouble: false,
        }
    }

    /// Whether trouble was reported.
    pub(crate) fn has_trouble(&self) -> bool {
        self.has_trouble
    }

    /// Prints a line. Control characters are replaced, since foreign text could contain them.
    pub(crate) fn line(&mut self, line: &str) {
        (self.say)(printable(line).trim_end());
    }

    /// Prints what was done or found.
    pub(crate) fn item(&mut self, head: &str, text: &str) {
        self.line(&format!("  {head:<14} {text}"));
    }

    /// Prints an error; the command then ends with code 1.
    pub(crate) fn trouble(&mut self, why: &str) {
        self.has_trouble = true;
        self.item("TROUBLE", why);
    }

    /// Prints whether an assumption holds.
    pub(crate) fn finding(&mut self, assumption: &str, finding: &Finding) {
        match finding {
            Finding::Confirmed => self.item("confirmed", assumption),
            Finding::NotConfirmed(why) => {
                self.item("not confirmed", &format!("{assumption}: {why}"))
            }
            Finding::Unknown(why) => self.item("unknown", &format!("{assumption}: {why}")),
        }
    }
}

fn printable(text: &str) -> String {
    let replaced = text.chars().map(|c| match c.is_control() {
        true => char::REPLACEMENT_CHARACTER,
        false => c,
    });
    replaced.collect()
}

/// Adds a line to a text. Control characters are replaced, since foreign text could contain them.
pub(crate) fn add_line(text: &mut String, line: &str) {
    text.push_str(&printable(line));
    text.push('\n');
}

/// A name of any characters as one word of a line: as it is if it holds what names usually hold, else as a JSON string.
pub(crate) fn word(name: &str) -> String {
    let is_usual = |c: char| c.is_alphanumeric() || "._@:/+#-".contains(c);
    match name.chars().all(is_usual) {
        true => name.to_owned(),
        false => printable(&serde_json::Value::from(name).to_string()),
    }
}

/// An address without user name, password, query and fragment, since these may be secret.
pub(crate) fn redacted(address: &str) -> String {
    let Ok(url) = Url::parse(address) else {
        return "a text that is no address".to_owned();
    };
    let Some(host) = url.host_str() else {
        return format!("an address of the kind {}:", url.scheme());
    };
    let port = url
        .port()
        .map(|port| format!(":{port}"))
        .unwrap_or_default();
    let query = if url.query().is_some() { "?…" } else { "" };
    let text = format!("{}://{host}{port}{}{query}", url.scheme(), url.path());
    if text.chars().count() <= LONGEST {
        text
    } else {
        text.chars().take(LONGEST).chain(['…']).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_redacted() {
        for (address, expected) in [
            ("https://old.example/hook", "https://old.example/hook"),
            (
                "https://user:needle@old.example:8443/hook?key=needle#needle",
                "https://old.example:8443/hook?…",
            ),
            ("needle", "a text that is no address"),
            ("mailto:needle", "an address of the kind mailto:"),
        ] {
            assert_eq!(redacted(address), expected);
        }
        assert_eq!(
            redacted(&format!("https://a.example/{}", "x".repeat(1000)))
                .chars()
                .count(),
            LONGEST + 1
        );
    }

    #[test]
    fn a_name_is_one_word_that_does_nothing_to_a_terminal() {
        for (name, expected) in [
            ("acme", "acme"),
            ("Müller+söhne@a.example/b#1", "Müller+söhne@a.example/b#1"),
            ("a b", "\"a b\""),
            ("a,b=c", "\"a,b=c\""),
            ("a\n\u{1b}[2J\u{9b}", "\"a\\n\\u001b[2J\u{fffd}\""),
        ] {
            assert_eq!(word(name), expected);
        }
    }

    #[test]
    fn control_characters_are_replaced_and_trouble_is_remembered() {
        let mut lines = Vec::new();
        let mut say = |line: &str| lines.push(line.to_owned());
        let mut reporter = Reporter::new(&mut say);
        reporter.item("is", "a\u{1b}[2Jb\nc");
        assert!(!reporter.has_trouble());
        reporter.trouble("x");
        assert!(reporter.has_trouble());
        assert_eq!(
            lines,
            [
                "  is             a\u{fffd}[2Jb\u{fffd}c",
                "  TROUBLE        x"
            ]
        );
    }
}
