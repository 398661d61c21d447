//! What depends on what, as cargo itself sees it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

/// What the domain is to know nothing of, by name or by the beginning of a name.
const OUTSIDE: [&str; 7] = [
    "tokio", "axum", "hyper", "reqwest", "aws-", "lambda_", "lambda-",
];

/// What a function may use of ours.
const SHARED: [&str; 2] = ["onboarding", "platform"];

#[test]
fn the_crates_of_this_workspace_depend_on_each_other_as_they_should() {
    let graph = Graph::of(&metadata());
    assert!(
        graph.ours.len() > 10,
        "the whole workspace was read: {:?}",
        graph.ours.keys()
    );
    assert_eq!(graph.faults(&folders()), Vec::<String>::new());
}

#[test]
fn a_domain_that_reaches_for_the_outside_is_found() {
    for outside in [
        "tokio",
        "axum",
        "hyper",
        "reqwest",
        "aws-config",
        "aws-sdk-dynamodb",
        "lambda_http",
    ] {
        let faults = faults_with(|metadata| {
            add_package(metadata, outside);
            depend(metadata, "serde", outside, None);
        });
        assert!(
            faults.contains(&format!("onboarding reaches {outside}")),
            "{faults:?}"
        );
    }
}

#[test]
fn what_only_the_tests_of_the_domain_use_is_no_fault() {
    let faults = faults_with(|metadata| depend(metadata, "onboarding", "tokio", Some("dev")));
    assert_eq!(faults, Vec::<String>::new());
}

#[test]
fn a_function_that_knows_another_is_found() {
    for kind in [None, Some("dev"), Some("build")] {
        let faults = faults_with(|metadata| depend(metadata, "sign", "redirect", kind));
        assert!(
            faults.contains(&"the function sign reaches redirect".to_owned()),
            "{kind:?}: {faults:?}"
        );
    }
    let faults = faults_with(|metadata| depend(metadata, "platform", "webhook", None));
    assert!(
        faults.contains(&"the function sign reaches webhook".to_owned()),
        "through a shared crate: {faults:?}"
    );
}

#[test]
fn a_function_that_knows_more_of_ours_than_the_shared_crates_is_found() {
    for ours in ["hub", "local", "operator", "tests"] {
        let faults = faults_with(|metadata| depend(metadata, "channels", ours, None));
        assert!(
            faults.contains(&format!("the function channels reaches {ours}")),
            "{faults:?}"
        );
    }
}

#[test]
fn a_simulated_hub_that_uses_our_code_is_found() {
    for (ours, kind) in [
        ("onboarding", None),
        ("platform", Some("dev")),
        ("sign", Some("build")),
    ] {
        let faults = faults_with(|metadata| depend(metadata, "hub", ours, kind));
        assert!(
            faults.contains(&format!("hub reaches {ours}")),
            "{faults:?}"
        );
    }
}

#[test]
fn a_folder_that_is_no_function_and_a_function_with_another_name_are_found() {
    let graph = Graph::of(&metadata());
    let mut folders = folders();
    folders.insert("forgotten".to_owned());
    assert!(
        !graph.faults(&folders).is_empty(),
        "a folder without a package"
    );
    folders.remove("forgotten");
    folders.remove("sign");
    assert!(
        !graph.faults(&folders).is_empty(),
        "a package without a folder"
    );
    let renamed = faults_with(|metadata| package(metadata, "sign")["name"] = json!("signer"));
    assert!(
        !renamed.is_empty(),
        "a package with another name than its folder"
    );
}

/// The faults of this workspace's graph after `change`.
fn faults_with(change: impl FnOnce(&mut Value)) -> Vec<String> {
    let mut metadata = metadata();
    change(&mut metadata);
    Graph::of(&metadata).faults(&folders())
}

/// Package ids and names, and who depends on whom.
struct Graph {
    names: BTreeMap<String, String>,
    /// The workspace's packages by name.
    ours: BTreeMap<String, String>,
    /// Those whose manifest lies in `functions/{folder}`, by folder.
    functions: BTreeMap<String, String>,
    /// Dependencies of programs and libraries.
    normal: BTreeMap<String, BTreeSet<String>>,
    /// Those of tests and build scripts, too.
    every: BTreeMap<String, BTreeSet<String>>,
}

impl Graph {
    fn of(metadata: &Value) -> Self {
        let members = texts(&metadata["workspace_members"]);
        let mut graph = Self {
            names: BTreeMap::new(),
            ours: BTreeMap::new(),
            functions: BTreeMap::new(),
            normal: BTreeMap::new(),
            every: BTreeMap::new(),
        };
        for package in list(&metadata["packages"]) {
            let (id, name) = (text(&package["id"]), text(&package["name"]));
            if members.contains(&id) {
                graph.ours.insert(name.clone(), id.clone());
                graph.functions.extend(
                    function_folder(&text(&package["manifest_path"])).map(|it| (it, name.clone())),
                );
            }
            graph.names.insert(id, name);
        }
        for node in list(&metadata["resolve"]["nodes"]) {
            for dependency in list(&node["deps"]) {
                let (from, to) = (text(&node["id"]), text(&dependency["pkg"]));
                if list(&dependency["dep_kinds"])
                    .iter()
                    .any(|kind| kind["kind"].is_null())
                {
                    graph
                        .normal
                        .entry(from.clone())
                        .or_default()
                        .insert(to.clone());
                }
                graph.every.entry(from).or_default().insert(to);
            }
        }
        graph
    }

    /// Everything that should not be.
    fn faults(&self, folders: &BTreeSet<String>) -> Vec<String> {
        let mut faults = Vec::new();
        for reached in self.reached("onboarding", Kinds::Normal) {
            if OUTSIDE.iter().any(|name| is_named(&reached, name)) {
                faults.push(format!("onboarding reaches {reached}"));
            }
        }
        for function in self.functions.values() {
            let others = self
                .of_ours_reached(function)
                .into_iter()
                .filter(|name| !SHARED.contains(&name.as_str()));
            faults.extend(others.map(|other| format!("the function {function} reaches {other}")));
        }
        faults.extend(
            self.of_ours_reached("hub")
                .into_iter()
                .map(|ours| format!("hub reaches {ours}")),
        );
        let named: BTreeSet<String> = self.functions.values().cloned().collect();
        if self.functions.iter().any(|(folder, name)| folder != name) || named != *folders {
            faults.push(format!(
                "functions/ holds {folders:?}, the workspace {:?}",
                self.functions
            ));
        }
        faults
    }

    /// The crates of this workspace that `name`, its tests and its build script reach.
    fn of_ours_reached(&self, name: &str) -> BTreeSet<String> {
        let reached = self.reached(name, Kinds::EveryOfItsOwn);
        reached
            .into_iter()
            .filter(|reached| self.ours.contains_key(reached))
            .collect()
    }

    /// The names of all packages that `name` reaches, itself not among them.
    fn reached(&self, name: &str, kinds: Kinds) -> BTreeSet<String> {
        let start = self
            .ours
            .get(name)
            .unwrap_or_else(|| panic!("{name} is no crate of this workspace"));
        let first = if kinds == Kinds::Normal {
            &self.normal
        } else {
            &self.every
        };
        let mut open: Vec<&String> = first.get(start).into_iter().flatten().collect();
        let mut seen = BTreeSet::new();
        while let Some(id) = open.pop() {
            if seen.insert(id) {
                open.extend(self.normal.get(id).into_iter().flatten());
            }
        }
        seen.into_iter().map(|id| self.names[id].clone()).collect()
    }
}

/// Which dependencies of a package itself count; of what it reaches only the normal ones do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kinds {
    Normal,
    EveryOfItsOwn,
}

/// Whether `crate_name` is `name`, or of the family `name` where that ends in a separator.
fn is_named(crate_name: &str, name: &str) -> bool {
    if name.ends_with(['-', '_']) {
        crate_name.starts_with(name)
    } else {
        crate_name == name
    }
}

fn function_folder(manifest: &str) -> Option<String> {
    let folder = Path::new(manifest).parent()?;
    let is_function = folder.parent()?.file_name()? == "functions";
    is_function.then(|| {
        folder
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
    })?
}

/// The folders under `functions/`.
pub(crate) fn folders() -> BTreeSet<String> {
    let functions = Path::new(env!("CARGO_MANIFEST_DIR")).join("../functions");
    let entries = std::fs::read_dir(functions)
        .expect("functions/")
        .map(|entry| entry.expect("an entry"));
    let folders = entries.filter(|entry| entry.file_type().expect("a type").is_dir());
    folders
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

fn metadata() -> Value {
    let cargo = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo");
    assert!(
        cargo.status.success(),
        "{}",
        String::from_utf8_lossy(&cargo.stderr)
    );
    serde_json::from_slice(&cargo.stdout).expect("JSON")
}

fn package<'a>(metadata: &'a mut Value, name: &str) -> &'a mut Value {
    let packages = metadata["packages"].as_array_mut().expect("packages");
    packages
        .iter_mut()
        .find(|package| package["name"] == name)
        .expect("a package")
}

fn add_package(metadata: &mut Value, name: &str) {
    let package = json!({"id": format!("doctored {name}"), "name": name, "manifest_path": "elsewhere/Cargo.toml"});
    metadata["packages"]
        .as_array_mut()
        .expect("packages")
        .insert(0, package);
}

/// Makes `from` depend on `to`.
fn depend(metadata: &mut Value, from: &str, to: &str, kind: Option<&str>) {
    let (from, to) = (
        text(&package(metadata, from)["id"]),
        text(&package(metadata, to)["id"]),
    );
    let nodes = metadata["resolve"]["nodes"].as_array_mut().expect("nodes");
    let node = nodes
        .iter_mut()
        .find(|node| node["id"] == from)
        .expect("a node");
    let edge =
        json!({"name": "doctored", "pkg": to, "dep_kinds": [{"kind": kind, "target": null}]});
    node["deps"]
        .as_array_mut()
        .expect("dependencies")
        .push(edge);
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn texts(value: &Value) -> BTreeSet<String> {
    list(value).iter().map(text).collect()
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}
