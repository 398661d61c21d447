//! `local`: runs the bundle on one machine; `local token TENANT`: prints a token for its API.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    local::cli::main().await
}
