//! The programs that the tests start, and whether they are those of the sources as they are now.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The program `name`: cargo puts it above the tests that run.
pub fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("this test");
    // A test lies in `deps`, a program of this package beside the others.
    let mut above = test.ancestors().skip(1);
    let target = above.find(|above| !above.ends_with("deps"));
    target.expect("a target directory").join(name)
}

/// Fails unless every one of the programs is there and younger than its sources: cargo builds the programs of other
/// packages for no test.
pub fn are_built(names: &[&str]) {
    for program in names.iter().map(|name| program(name)) {
        let path = program.display();
        let built = changed(&program).unwrap_or_else(|| panic!("{path} is not built. {BUILD}"));
        for source in sources(&program) {
            let is_older = changed(&source).is_some_and(|changed| changed <= built);
            let source = source.display();
            assert!(is_older, "{path} is older than {source}. {BUILD}");
        }
    }
}

const BUILD: &str = "Run `cargo build --workspace --bins` first; `make check` does.";

/// The sources of a program, as cargo writes them down beside it: `program: source source …`.
fn sources(program: &Path) -> Vec<PathBuf> {
    let list = program.with_extension("d");
    let path = list.display();
    let list = std::fs::read_to_string(&list);
    let list = list.unwrap_or_else(|_| panic!("{path} is missing. {BUILD}"));
    let (_, sources) = list.split_once(": ").unwrap_or_default();
    let sources = sources.trim().replace("\\ ", "\u{0}");
    let sources = sources.split(' ').map(|it| it.replace('\u{0}', " "));
    sources.map(PathBuf::from).collect()
}

fn changed(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).ok()?.modified().ok()
}
