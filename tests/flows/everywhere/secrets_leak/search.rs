//! Looks for secrets in bytes: as they are, and in every form in which something may have written them down.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write;
use std::path::Path;

use data_encoding::{BASE64_NOPAD, BASE64URL_NOPAD, Encoding, HEXLOWER, HEXUPPER};

/// Patterns that are shorter than this would be found by accident.
const SHORTEST: usize = 16;

/// How many bytes of a pattern decide whether it is compared at all.
const START: usize = 4;

/// How many patterns may start alike by accident: the size of the table that tells most bytes apart, in bits.
const TABLE_BITS: u32 = 20;

/// What was found in a file: names of needles.
pub(crate) type Found = BTreeSet<String>;

/// Needles, each in all its forms.
pub(crate) struct Search {
    patterns: Vec<(String, Vec<u8>)>,
    by_start: HashMap<[u8; START], Vec<usize>>,
    table: Vec<bool>,
}

impl Search {
    /// A search for `needles`: their names and what they are.
    pub(crate) fn new<'a>(needles: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut search = Self {
            patterns: Vec::new(),
            by_start: HashMap::new(),
            table: vec![false; 1 << TABLE_BITS],
        };
        for (name, value) in needles {
            for pattern in forms(value) {
                search.add(name, pattern);
            }
        }
        search
    }

    fn add(&mut self, name: &str, pattern: Vec<u8>) {
        assert!(
            pattern.len() >= SHORTEST,
            "{name} is too short to be searched for"
        );
        let start = *pattern.first_chunk().expect("it is long enough");
        self.table[place(start)] = true;
        self.by_start
            .entry(start)
            .or_default()
            .push(self.patterns.len());
        self.patterns.push((name.to_owned(), pattern));
    }

    /// The needles that `bytes` hold.
    pub(crate) fn in_bytes(&self, bytes: &[u8]) -> Found {
        let mut found = Found::new();
        for (position, start) in bytes.array_windows::<START>().enumerate() {
            if !self.table[place(*start)] {
                continue;
            }
            for pattern in self.by_start.get(start).into_iter().flatten() {
                let (name, pattern) = &self.patterns[*pattern];
                if bytes[position..].starts_with(pattern) {
                    found.insert(name.clone());
                }
            }
        }
        found
    }

    /// The needles that the files below `directory` hold, by the file's path from there.
    pub(crate) fn in_directory(&self, directory: &Path) -> BTreeMap<String, Found> {
        let mut found = BTreeMap::new();
        for path in files(directory) {
            let name = path
                .strip_prefix(directory)
                .expect("below it")
                .display()
                .to_string();
            let Some(content) = unless_gone(std::fs::read(&path)) else {
                continue;
            };
            let mut here = self.in_bytes(&content);
            here.extend(self.in_bytes(name.as_bytes()));
            if !here.is_empty() {
                found.insert(name, here);
            }
        }
        found
    }
}

/// All files below `directory`.
pub(crate) fn files(directory: &Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files.extend(self::files(&path))
        } else {
            files.push(path)
        }
    }
    files
}

/// What was read of a file; a running bundle replaces files whole, so that one may be gone before it is read.
pub(crate) fn unless_gone<T>(read: std::io::Result<T>) -> Option<T> {
    match read {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        read => Some(read.expect("a file")),
    }
}

fn place(start: [u8; START]) -> usize {
    // Multiplication by a large odd number mixes the bits (Fibonacci hashing).
    let mixed = u32::from_le_bytes(start).wrapping_mul(0x9E37_79B1);
    (mixed >> (u32::BITS - TABLE_BITS)) as usize
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
    let mut encodings = BTreeSet::from([
        bytes.to_vec(),
        HEXLOWER.encode(bytes).into_bytes(),
        HEXUPPER.encode(bytes).into_bytes(),
        bytes.escape_ascii().to_string().into_bytes(),
        numbered(bytes, ", ").into_bytes(),
        numbered(bytes, ",").into_bytes(),
        percent_encoded(value, "%20", Case::Upper).into_bytes(),
        percent_encoded(value, "+", Case::Upper).into_bytes(),
        percent_encoded(value, "%20", Case::Lower).into_bytes(),
    ]);
    for encoding in [BASE64_NOPAD, BASE64URL_NOPAD] {
        encodings.extend((0..3).map(|before| inner_base64(&encoding, bytes, before).into_bytes()));
    }
    encodings
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

fn numbered(bytes: &[u8], between: &str) -> String {
    bytes
        .iter()
        .map(u8::to_string)
        .collect::<Vec<_>>()
        .join(between)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Case {
    Upper,
    Lower,
}

fn percent_encoded(value: &str, space: &str, case: Case) -> String {
    value.bytes().fold(String::new(), |mut text, byte| {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                text.push(char::from(byte))
            }
            b' ' => text.push_str(space),
            _ if case == Case::Upper => write!(text, "%{byte:02X}").expect("a text"),
            _ => write!(text, "%{byte:02x}").expect("a text"),
        }
        text
    })
}

/// `value` as somebody may have written it down, made by other means than the patterns that are searched for.
pub(crate) fn written_down(value: &str) -> Vec<(String, Vec<u8>)> {
    use data_encoding::{BASE64, BASE64URL};
    let json = serde_json::json!({"a": value}).to_string();
    let mut all = vec![
        ("raw".to_owned(), value.as_bytes().to_vec()),
        (
            "lower hex".to_owned(),
            value
                .bytes()
                .fold(String::new(), |text, b| text + &format!("{b:02x}"))
                .into_bytes(),
        ),
        (
            "upper hex".to_owned(),
            value
                .bytes()
                .fold(String::new(), |text, b| text + &format!("{b:02X}"))
                .into_bytes(),
        ),
        (
            "JSON in JSON".to_owned(),
            serde_json::json!({"b": &json}).to_string().into_bytes(),
        ),
        ("JSON".to_owned(), json.into_bytes()),
        (
            "Debug of bytes".to_owned(),
            format!("{:?}", value.as_bytes()).into_bytes(),
        ),
        (
            "Debug of a byte string".to_owned(),
            format!("b\"{}\"", value.as_bytes().escape_ascii()).into_bytes(),
        ),
    ];
    let address =
        reqwest::Url::parse_with_params("http://localhost/", [("a", value)]).expect("an address");
    all.push(("query".to_owned(), address.as_str().as_bytes().to_vec()));
    for (name, encoding) in [
        ("base64", BASE64),
        ("unpadded", BASE64_NOPAD),
        ("url", BASE64URL),
        ("url unpadded", BASE64URL_NOPAD),
    ] {
        for before in ["", "a", "ab", "abc", "user:pass "] {
            for behind in ["", ".", "..", "..."] {
                let text = format!("{before}{value}{behind}");
                let json = serde_json::json!([&text]).to_string();
                all.push((
                    format!("{name} of JSON {json}"),
                    encoding.encode(json.as_bytes()).into_bytes(),
                ));
                all.push((
                    format!("{name} of {before:?} and {behind:?}"),
                    encoding.encode(text.as_bytes()).into_bytes(),
                ));
            }
        }
    }
    all
}
