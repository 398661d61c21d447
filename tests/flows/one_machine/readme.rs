//! The README's code.

const README: &str = include_str!("../../../README.md");

/// The indented block that begins with `first`.
pub(crate) fn block(first: &str) -> String {
    let first = format!("    {first}");
    let lines = README.lines().skip_while(|line| !line.starts_with(&first));
    let lines = lines.map_while(|line| line.strip_prefix("    "));
    lines.collect::<Vec<_>>().join("\n")
}
