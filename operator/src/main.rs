//! `operator why PARTNER CHANNEL`, `operator key PARTNER CHANNEL`.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use onboarding::id::{ChannelId, PartnerId};
use operator::{OperatorError, Place};
use platform::settings::Environment;

/// What a person on duty does with a bundle on one machine.
///
/// Works beside the running bundle, and without one by opening its file. DATA names the data directory (.local).
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Shows a channel and its facts in order, with what each changed
    Why {
        /// The 360dialog partner id, such as aAbBcCPA
        partner: PartnerId,
        /// The channel id, such as y9MiLoCH
        channel: ChannelId,
    },
    /// Prints a channel's API key
    Key {
        /// The 360dialog partner id, such as aAbBcCPA
        partner: PartnerId,
        /// The channel id, such as y9MiLoCH
        channel: ChannelId,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    let done = match run(Arguments::parse()).await {
        Ok(text) => writeln!(std::io::stdout(), "{}", text.trim_end()),
        Err(why) => {
            let _closed = writeln!(std::io::stderr(), "{why}");
            return ExitCode::FAILURE;
        }
    };
    if done.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn run(arguments: Arguments) -> Result<String, OperatorError> {
    let environment = Environment::of_process();
    let data = PathBuf::from(environment.text("DATA").unwrap_or(".local"));
    let place = Place::open(&data, &environment).await?;
    match arguments.command {
        Command::Why { partner, channel } => place.why(&partner, &channel).await,
        Command::Key { partner, channel } => Ok(place.key(&partner, &channel).await?.expose().to_owned()),
    }
}
