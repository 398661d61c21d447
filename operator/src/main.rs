//! `operator why PARTNER CHANNEL`, `operator queue PARTNER`, `operator connect` and so on: see [`operator::cli`].

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    operator::cli::main().await
}
