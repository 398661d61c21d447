//! Which crate may depend on which, as cargo itself sees it.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// What the domain is to know nothing of, by the beginning of a name.
const OUTSIDE: [&str; 6] = ["tokio", "axum", "hyper", "reqwest", "aws-", "lambda"];

/// What a function may use of ours, itself aside.
const SHARED: [&str; 2] = ["onboarding", "platform"];

#[test]
fn the_domain_reaches_nothing_of_the_outside() {
    let outside = |name: &str| {
        let mut reached = reached(name, "normal");
        reached.retain(|name| OUTSIDE.iter().any(|start| name.starts_with(start)));
        reached
    };
    assert_eq!(outside("onboarding"), BTreeSet::new());
    // A crate that does is found.
    assert!(outside("platform").contains("tokio"));
}

#[test]
fn functions_reach_the_shared_crates_only_and_the_simulated_hub_none_of_ours() {
    let members = cargo_tree(&["--workspace", "--depth", "0"]);
    let of_ours = |name: &str, but: &[&str]| {
        let mut reached = reached(name, "normal,build,dev");
        let is_allowed = |it: &String| it == name || but.contains(&it.as_str());
        reached.retain(|it| members.contains(it) && !is_allowed(it));
        reached
    };
    for function in folders() {
        assert!(members.contains(&function), "{function} is no crate");
        assert_eq!(of_ours(&function, &SHARED), BTreeSet::new(), "{function}");
    }
    assert_eq!(of_ours("hub", &[]), BTreeSet::new());
    // A crate that does is found.
    assert!(of_ours("local", &SHARED).contains("sign"));
}

/// The crates that `name` reaches through dependencies of these kinds of its own, and normal ones of theirs.
fn reached(name: &str, kinds: &str) -> BTreeSet<String> {
    cargo_tree(&["-e", kinds, "-p", name])
}

/// The names of the crates in what `cargo tree` prints.
fn cargo_tree(arguments: &[&str]) -> BTreeSet<String> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["tree", "--locked", "--offline", "--prefix", "none"]);
    cargo
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    let cargo = cargo.output().expect("cargo");
    let error = String::from_utf8_lossy(&cargo.stderr);
    assert!(cargo.status.success(), "{error}");
    let lines = String::from_utf8(cargo.stdout).expect("text");
    let names = lines
        .lines()
        .filter_map(|line| line.split_whitespace().next());
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
