//! The program `simulator`: reads its settings from the environment and runs until Ctrl-C or SIGTERM.

mod environment;

use std::{
    env,
    io::{self, Write as _},
    process::ExitCode,
};

use simulator::{RunningSimulator, StartError};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::environment::HELP;

#[tokio::main]
async fn main() -> ExitCode {
    match env::args_os()
        .nth(1)
        .as_deref()
        .map(|argument| argument.to_str().unwrap_or_default())
    {
        None => {}
        Some("--help" | "-h" | "help") => return print(HELP),
        Some("--version" | "-V") => {
            return print(concat!("simulator ", env!("CARGO_PKG_VERSION"), "\n"));
        }
        Some(_) => return fail("simulator takes no arguments; see simulator --help"),
    }
    let filter =
        EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("simulator=info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .init();
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => fail(&message),
    }
}

async fn run() -> Result<(), String> {
    let settings =
        environment::settings(|name| env::var_os(name)).map_err(|error| error.to_string())?;
    // Registered before the start, so that no signal is missed.
    let mut terminate = signal(SignalKind::terminate())
        .map_err(|error| format!("cannot wait for SIGTERM: {error}"))?;
    let mut interrupt = signal(SignalKind::interrupt())
        .map_err(|error| format!("cannot wait for Ctrl-C: {error}"))?;
    let simulator = RunningSimulator::start(settings).await.map_err(|error| {
        let setting = match &error {
            StartError::Listen { .. } => "HUB_LISTEN: ",
            StartError::State { .. } => "HUB_STATE_FILE: ",
            StartError::PublicUrl => "HUB_PUBLIC_URL: ",
            StartError::Client(_) => "",
        };
        format!("{setting}{error}")
    })?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    simulator.stop().await;
    Ok(())
}

fn print(text: &str) -> ExitCode {
    // The reader may have closed the pipe, as in `simulator --help | head`.
    let _ = io::stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}

fn fail(message: &str) -> ExitCode {
    let _ = writeln!(io::stderr(), "simulator: {message}");
    ExitCode::FAILURE
}
