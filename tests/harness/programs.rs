//! The programs that the tests start, and whether they are those of the sources as they are now.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The program `name`: cargo puts it above the tests that run.
pub fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("this test");
    let above = test.parent().expect("a directory");
    // A test lies in `deps`, a program of this package beside the others.
    let target = if above.ends_with("deps") {
        above.parent().expect("a target directory")
    } else {
        above
    };
    target.join(name)
}

/// Fails unless every one of the programs is there and younger than its sources: cargo builds the programs of other
/// packages for no test.
pub fn are_built(names: &[&str]) {
    for name in names {
        let program = program(name);
        let built = changed(&program)
            .unwrap_or_else(|| panic!("{} is not built. {BUILD}", program.display()));
        let younger = sources(&program)
            .into_iter()
            .find(|source| changed(source).is_none_or(|changed| changed > built));
        if let Some(source) = younger {
            panic!(
                "{} is older than {}. {BUILD}",
                program.display(),
                source.display()
            );
        }
    }
}

const BUILD: &str = "Run `cargo build --workspace --bins` first; `make check` does.";

/// The sources of a program, as cargo writes them down beside it: `program: source source …`.
fn sources(program: &Path) -> Vec<PathBuf> {
    let list = program.with_extension("d");
    let list = std::fs::read_to_string(&list)
        .unwrap_or_else(|_| panic!("{} is missing. {BUILD}", list.display()));
    let sources = list
        .split_once(": ")
        .map(|(_, sources)| sources.trim())
        .unwrap_or_default();
    sources
        .replace("\\ ", "\u{0}")
        .split(' ')
        .map(|source| PathBuf::from(source.replace('\u{0}', " ")))
        .collect()
}

fn changed(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).ok()?.modified().ok()
}
