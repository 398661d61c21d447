//! `servers COMMAND …` runs a command with a DynamoDB Local and a moto at its side, and ends as the command ends.
//!
//! They answer at the addresses in `DYNAMODB_LOCAL_URL` and `MOTO_URL`, and are gone once this program is, however it
//! ends.

use std::process::ExitCode;

use tests::aws::servers::{DYNAMODB, MOTO, Servers};
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    let Some(program) = arguments.next() else {
        eprintln!("servers COMMAND …");
        return Ok(ExitCode::from(2));
    };
    let servers = Servers::start().await;
    let mut command = Command::new(program);
    let places = [(DYNAMODB, &servers.dynamodb), (MOTO, &servers.moto)];
    run(command.args(arguments).envs(places)).await
}

/// Runs the command to its end; asked to stop, asks the command and waits for it.
async fn run(command: &mut Command) -> std::io::Result<ExitCode> {
    let mut interrupted = signal(SignalKind::interrupt())?;
    let mut terminated = signal(SignalKind::terminate())?;
    let mut child = command.spawn()?;
    let pid = child.id().unwrap_or_default().to_string();
    loop {
        tokio::select! {
            ended = child.wait() => {
                let code = ended?.code().and_then(|code| u8::try_from(code).ok());
                return Ok(code.map_or(ExitCode::FAILURE, ExitCode::from));
            }
            // A terminal has told the command as well.
            _ = interrupted.recv() => {}
            _ = terminated.recv() => {
                Command::new("kill").args(["-TERM", &pid]).status().await?;
            }
        }
    }
}
