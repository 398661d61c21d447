//! The program `operator`, for the tests.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    operator::cli::main().await
}
