//! Which crate may depend on which, as cargo itself sees it.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// What a pure crate knows nothing of: crates by name, or by the beginning of a name (`-`, `_` at the end).
const OUTSIDE: [&str; 7] = [
    "tokio", "reqwest", "axum", "hyper", "aws-", "lambda_", "lambda-",
];

/// The shared crates, each with those of ours that it may reach.
const SHARED: [(&str, &[&str]); 4] = [
    ("dialog360", &[]),
    ("onboarding", &["dialog360"]),
    ("store", &["dialog360", "onboarding"]),
    ("runtime", &["dialog360", "onboarding", "store"]),
];

#[test]
fn each_crate_reaches_only_what_it_may() {
    let functions = folders();
    let ours = members();
    assert!(functions.is_subset(&ours), "{functions:?} {ours:?}");
    let shared: BTreeSet<&str> = SHARED.iter().map(|(name, _)| *name).collect();
    for (name, may) in SHARED {
        holds(name, &ours, |other| may.contains(&other));
    }
    for function in &functions {
        holds(function, &ours, |other| shared.contains(other));
    }
    holds("simulator", &ours, |_| false);
    let no_function = |other: &str| !functions.contains(other) && other != "simulator";
    holds("operator", &ours, |other| {
        other != "local" && no_function(other)
    });
    // A crate that reaches more is found.
    assert!(!faults("local", &ours, no_function).is_empty());
}

#[test]
fn the_pure_crates_reach_nothing_of_the_outside() {
    for name in ["dialog360", "onboarding"] {
        assert_eq!(faults(name, &reached(name), |other| !is_outside(other)), "");
    }
    // A crate that does is found.
    let faults = faults("runtime", &reached("runtime"), |other| !is_outside(other));
    assert_ne!(faults, "");
}

#[track_caller]
fn holds(name: &str, among: &BTreeSet<String>, may: impl Fn(&str) -> bool) {
    let faults = faults(name, among, may);
    assert_eq!(faults, "", "{name} reaches what it may not");
}

/// The crates of `among` that `name` reaches, and may not.
fn faults(name: &str, among: &BTreeSet<String>, may: impl Fn(&str) -> bool) -> String {
    let reached = reached(name);
    let others = reached.intersection(among).filter(|other| *other != name);
    let faults: Vec<&str> = others.map(String::as_str).filter(|it| !may(it)).collect();
    faults.join(" ")
}

fn is_outside(name: &str) -> bool {
    let mut outside = OUTSIDE.iter();
    outside.any(|it| name == *it || it.ends_with(['-', '_']) && name.starts_with(it))
}

/// The crates that `name` reaches with its default features.
fn reached(name: &str) -> BTreeSet<String> {
    cargo_tree(&["-e", "normal", "-p", name])
}

fn members() -> BTreeSet<String> {
    cargo_tree(&["--workspace", "--depth", "0"])
}

/// The names of the crates in what `cargo tree` prints.
fn cargo_tree(arguments: &[&str]) -> BTreeSet<String> {
    let tree = "tree --locked --offline --prefix none --format {p}";
    let cargo = Command::new(env!("CARGO"))
        .args(tree.split(' '))
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo");
    let error = String::from_utf8_lossy(&cargo.stderr);
    assert!(cargo.status.success(), "{error}");
    let lines = String::from_utf8(cargo.stdout).expect("text");
    let names = lines.lines().filter_map(|line| line.split(' ').next());
    let names = names.filter(|name| !name.is_empty());
    names.map(str::to_owned).collect()
}

/// The folders under `functions/`.
pub(crate) fn folders() -> BTreeSet<String> {
    let functions = Path::new(env!("CARGO_MANIFEST_DIR")).join("../functions");
    let entries = std::fs::read_dir(functions).expect("functions/");
    let entries = entries.map(|entry| entry.expect("an entry"));
    let folders = entries.filter(|entry| entry.file_type().expect("a type").is_dir());
    let names = folders.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.collect()
}
