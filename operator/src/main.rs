//! `operator why PARTNER CHANNEL`, `operator key PARTNER CHANNEL`, `operator connect`.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    operator::cli::main().await
}
