//! `servers COMMAND …` runs a command with a DynamoDB Local and a moto at its side, and ends as the command ends.
//!
//! They answer at the addresses in `DYNAMODB_LOCAL_URL` and `MOTO_URL`, and are gone once this program is, however it
//! ends.

use std::process::ExitCode;

use tests::aws::servers::{DYNAMODB, MOTO, Servers};
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let Some(program) = arguments.next() else {
        eprintln!("servers COMMAND …");
        return ExitCode::from(2);
    };
    let servers = match Servers::start().await {
        Ok(servers) => servers,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env(DYNAMODB, &servers.dynamodb)
        .env(MOTO, &servers.moto);
    match run(command).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("the command cannot be run: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the command to its end; asked to stop, asks the command and waits for it.
async fn run(mut command: Command) -> std::io::Result<ExitCode> {
    let (mut interrupted, mut terminated) = (
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
    );
    let mut child = command.spawn()?;
    let pid = child.id().unwrap_or_default().to_string();
    loop {
        tokio::select! {
            ended = child.wait() => return Ok(exit_code(ended?.code())),
            // A terminal has told the command as well.
            _ = interrupted.recv() => {}
            _ = terminated.recv() => {
                Command::new("kill").args(["-TERM", &pid]).status().await?;
            }
        }
    }
}

fn exit_code(code: Option<i32>) -> ExitCode {
    code.and_then(|code| u8::try_from(code).ok())
        .map_or(ExitCode::FAILURE, ExitCode::from)
}
