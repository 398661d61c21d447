//! Looks for secrets in bytes: as they are, and in every form in which something may have written them down.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use aho_corasick::AhoCorasick;
use data_encoding::{BASE64_NOPAD, BASE64URL_NOPAD, Encoding, HEXLOWER, HEXUPPER};

/// Patterns that are shorter than this would be found by accident.
const SHORTEST: usize = 16;

/// What was found in a file: names of needles.
pub type Found = BTreeSet<String>;

/// Needles, each in all its forms.
pub struct Search {
    /// Whose form each pattern is.
    names: Vec<String>,
    patterns: AhoCorasick,
}

impl Search {
    /// A search for `needles`: their names and what they are.
    pub fn new<'a>(needles: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let (mut names, mut patterns) = (Vec::new(), Vec::new());
        for (name, value) in needles {
            for pattern in forms(value) {
                assert!(pattern.len() >= SHORTEST, "{name} is too short");
                names.push(name.to_owned());
                patterns.push(pattern);
            }
        }
        let patterns = AhoCorasick::new(patterns).expect("patterns of this size");
        Self { names, patterns }
    }

    /// The needles that `bytes` hold.
    pub fn in_bytes(&self, bytes: &[u8]) -> Found {
        let found = self.patterns.find_overlapping_iter(bytes);
        let found: BTreeSet<usize> = found.map(|found| found.pattern().as_usize()).collect();
        let names = found.into_iter().map(|pattern| &self.names[pattern]);
        names.cloned().collect()
    }

    /// The needles that the files below `directory` hold, by the file's path from there.
    pub fn in_directory(&self, directory: &Path) -> BTreeMap<String, Found> {
        let mut found = BTreeMap::new();
        for path in files(directory) {
            let name = path.strip_prefix(directory).expect("below it");
            let name = name.display().to_string();
            if let Some(content) = unless_gone(std::fs::read(&path)) {
                let mut here = self.in_bytes(&content);
                here.extend(self.in_bytes(name.as_bytes()));
                found.insert(name, here);
            }
        }
        found.retain(|_, needles| !needles.is_empty());
        found
    }
}

/// All files below `directory`.
pub fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).expect("a directory");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let below = paths.flat_map(|path| {
        if path.is_dir() {
            files(&path)
        } else {
            vec![path]
        }
    });
    below.collect()
}

/// What was read of a file; a running bundle replaces files whole, so that one may be gone before it is read.
pub fn unless_gone<T>(read: std::io::Result<T>) -> Option<T> {
    match read {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        read => Some(read.expect("a file")),
    }
}

/// The forms of `value`, and of what JSON makes of it.
fn forms(value: &str) -> BTreeSet<Vec<u8>> {
    let escaped = json_escaped(value);
    let mut forms = encodings(value);
    forms.extend(encodings(&escaped));
    forms.insert(json_escaped(&escaped).into_bytes());
    forms
}

/// The encodings of `value`; those in base64 lack the ends, which depend on what stands beside it.
fn encodings(value: &str) -> BTreeSet<Vec<u8>> {
    let bytes = value.as_bytes();
    let numbers: Vec<String> = bytes.iter().map(u8::to_string).collect();
    let percent = percent_encoded(value, &HEXUPPER);
    let mut encodings = vec![
        value.to_owned(),
        HEXLOWER.encode(bytes),
        HEXUPPER.encode(bytes),
        bytes.escape_ascii().to_string(),
        numbers.join(", "),
        numbers.join(","),
        percent.replace("%20", "+"),
        percent_encoded(value, &HEXLOWER),
        percent,
    ];
    for encoding in [BASE64_NOPAD, BASE64URL_NOPAD] {
        encodings.extend((0..3).map(|before| inner_base64(&encoding, bytes, before)));
    }
    encodings.into_iter().map(String::into_bytes).collect()
}

/// The characters that base64 has for `bytes` behind `before` others, whatever these are and whatever follows.
fn inner_base64(encoding: &Encoding, bytes: &[u8], before: usize) -> String {
    let mut padded = vec![0; before];
    padded.extend(bytes);
    let all = encoding.encode(&padded);
    let (first, last) = ((before * 8).div_ceil(6), padded.len() * 8 / 6);
    all[first..last].to_owned()
}

fn json_escaped(value: &str) -> String {
    let quoted = serde_json::to_string(value).expect("a text");
    quoted[1..quoted.len() - 1].to_owned()
}

fn percent_encoded(value: &str, hex: &Encoding) -> String {
    let encoded = |byte: u8| match char::from(byte) {
        plain if plain.is_ascii_alphanumeric() || "-._~".contains(plain) => plain.to_string(),
        _ => format!("%{}", hex.encode(&[byte])),
    };
    value.bytes().map(encoded).collect()
}

#[cfg(test)]
mod tests {
    use data_encoding::{BASE64, BASE64URL};
    use serde_json::json;

    use super::*;

    #[test]
    fn a_needle_is_found_in_every_form() {
        for value in [
            "planted \"needle\" of +/=% and more",
            "needle-platform-direct-0001",
            "ünd \\ anders: 0123456789",
        ] {
            let search = Search::new([("needle", value)]);
            for (form, written) in written_down(value) {
                let text = format!("{{\"before\":\"{written}\"}}\n");
                let is_found = search.in_bytes(text.as_bytes()).contains("needle");
                assert!(is_found, "{value} as {form} is not found");
            }
            let (start, end) = value.split_at(value.len() - 1);
            let changed = format!("{start}.{end}");
            assert!(search.in_bytes(changed.as_bytes()).is_empty());
        }
    }

    /// `value` as somebody may have written it down, made by other means than the patterns that are searched for.
    fn written_down(value: &str) -> Vec<(String, String)> {
        let bytes = value.as_bytes();
        let json = json!({"a": value}).to_string();
        let address = reqwest::Url::parse_with_params("http://localhost/", [("a", value)]);
        let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut all: Vec<(String, String)> = [
            ("raw", value.to_owned()),
            ("lower hex", hex.concat()),
            ("upper hex", hex.concat().to_uppercase()),
            ("JSON in JSON", json!({"b": &json}).to_string()),
            ("JSON", json),
            ("Debug of bytes", format!("{bytes:?}")),
            ("a byte string", format!("b\"{}\"", bytes.escape_ascii())),
            ("query", address.unwrap().to_string()),
        ]
        .map(|(form, written)| (form.to_owned(), written))
        .into();
        for encoding in [BASE64, BASE64_NOPAD, BASE64URL, BASE64URL_NOPAD] {
            for before in ["", "a", "ab", "abc", "user:pass "] {
                for behind in ["", ".", "..", "..."] {
                    let text = format!("{before}{value}{behind}");
                    for text in [json!([&text]).to_string(), text] {
                        let written = encoding.encode(text.as_bytes());
                        all.push((format!("base64 of {text}"), written));
                    }
                }
            }
        }
        all
    }
}
