//! Which crate may depend on which, as cargo itself sees it.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// What the domain is to know nothing of, by name or by the beginning of a name.
const OUTSIDE: [&str; 7] = [
    "tokio", "axum", "hyper", "reqwest", "aws-", "lambda_", "lambda-",
];

/// What a function may use of ours.
const SHARED: [&str; 2] = ["onboarding", "platform"];

#[test]
fn the_domain_reaches_nothing_of_the_outside() {
    assert_eq!(outside(&reached("onboarding", "normal")), [] as [&str; 0]);
    // Its tests may, and a crate that does is found.
    assert!(outside(&reached("platform", "normal")).contains(&"tokio"));
}

#[test]
fn functions_reach_the_shared_crates_only_and_the_simulated_hub_none_of_ours() {
    let members = members();
    assert!(members.len() > 10, "{members:?}");
    let ours_reached = |name: &str| -> Vec<String> {
        let reached = reached(name, "normal,build,dev");
        reached
            .intersection(&members)
            .filter(|it| *it != name)
            .cloned()
            .collect()
    };
    for function in folders() {
        assert!(members.contains(&function), "{function} is no crate");
        let reached = ours_reached(&function);
        let others: Vec<_> = reached
            .iter()
            .filter(|it| !SHARED.contains(&it.as_str()))
            .collect();
        assert!(others.is_empty(), "{function} reaches {others:?}");
    }
    assert!(ours_reached("hub").is_empty());
    // One that does is found.
    assert!(ours_reached("local").contains(&"sign".to_owned()));
}

/// The crates that `name` reaches through dependencies of these kinds of its own, and normal ones of theirs.
fn reached(name: &str, kinds: &str) -> BTreeSet<String> {
    cargo_tree(&["-e", kinds, "-p", name])
}

fn members() -> BTreeSet<String> {
    cargo_tree(&["--workspace", "--depth", "0"])
}

/// The names of the crates in what `cargo tree` prints.
fn cargo_tree(arguments: &[&str]) -> BTreeSet<String> {
    let tree = [
        "tree",
        "--locked",
        "--offline",
        "--prefix",
        "none",
        "--format",
        "{p}",
    ];
    let cargo = Command::new(env!("CARGO"))
        .args(tree)
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo");
    let error = String::from_utf8_lossy(&cargo.stderr);
    assert!(cargo.status.success(), "{error}");
    let lines = String::from_utf8(cargo.stdout).expect("text");
    let names = lines.lines().filter_map(|line| line.split(' ').next());
    names
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Those of the outside.
fn outside(reached: &BTreeSet<String>) -> Vec<&str> {
    let is_named = |name: &str, outside: &str| match outside.ends_with(['-', '_']) {
        true => name.starts_with(outside),
        false => name == outside,
    };
    let is_outside = |name: &&str| OUTSIDE.iter().any(|outside| is_named(name, outside));
    reached
        .iter()
        .map(String::as_str)
        .filter(is_outside)
        .collect()
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
