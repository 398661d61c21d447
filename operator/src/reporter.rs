//! What the person at the terminal reads. Nothing secret comes this way: no secret, no key, and of an address neither a
//! password nor what its query holds.

use url::Url;

/// The longest text of somebody else's that is shown, characters.
const LONGEST: usize = 300;

/// Whether an assumption about 360dialog holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    /// It holds with this account.
    Confirmed,
    /// It does not, or not fully, for this reason.
    NotConfirmed(String),
    /// This account cannot tell, for this reason.
    Unknown(String),
}

/// Says things, line by line, and remembers whether one of them was trouble.
pub(crate) struct Reporter<'a> {
    say: &'a mut dyn FnMut(&str),
    is_trouble: bool,
}

impl<'a> Reporter<'a> {
    /// Reports through `say`, one line at a time.
    pub(crate) fn new(say: &'a mut dyn FnMut(&str)) -> Self {
        Self {
            say,
            is_trouble: false,
        }
    }

    /// Whether there was trouble.
    pub(crate) fn is_trouble(&self) -> bool {
        self.is_trouble
    }

    /// Says a line; what it holds of others' words cannot steer the terminal.
    pub(crate) fn say(&mut self, line: &str) {
        let line: String = line
            .chars()
            .map(|c| {
                if c.is_control() {
                    char::REPLACEMENT_CHARACTER
                } else {
                    c
                }
            })
            .collect();
        (self.say)(line.trim_end());
    }

    /// Says what was done or found.
    pub(crate) fn item(&mut self, head: &str, text: &str) {
        self.say(&format!("  {head:<14} {text}"));
    }

    /// Says what is wrong; the command will have failed.
    pub(crate) fn trouble(&mut self, why: &str) {
        self.is_trouble = true;
        self.item("TROUBLE", why);
    }

    /// Says whether an assumption holds.
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

/// An address as it may be shown: neither user name, nor password, nor what query and fragment hold.
pub(crate) fn shown(address: &str) -> String {
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
    fn an_address_is_shown_without_what_may_be_secret() {
        for (address, expected) in [
            ("https://old.example/hook", "https://old.example/hook"),
            (
                "https://user:needle@old.example:8443/hook?key=needle#needle",
                "https://old.example:8443/hook?…",
            ),
            ("needle", "a text that is no address"),
            ("mailto:needle", "an address of the kind mailto:"),
        ] {
            assert_eq!(shown(address), expected);
        }
        assert_eq!(
            shown(&format!("https://a.example/{}", "x".repeat(1000)))
                .chars()
                .count(),
            LONGEST + 1
        );
    }

    #[test]
    fn others_words_cannot_steer_the_terminal_and_trouble_is_remembered() {
        let mut lines = Vec::new();
        let mut say = |line: &str| lines.push(line.to_owned());
        let mut reporter = Reporter::new(&mut say);
        reporter.item("is", "a\u{1b}[2Jb\nc");
        assert!(!reporter.is_trouble());
        reporter.trouble("x");
        assert!(reporter.is_trouble());
        assert_eq!(
            lines,
            [
                "  is             a\u{fffd}[2Jb\u{fffd}c",
                "  TROUBLE        x"
            ]
        );
    }
}
