//! The command line of the program `operator`.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use onboarding::id::{ChannelId, PartnerId};
use platform::settings::{BaseUrl, Environment};

use crate::connect::{Ask, Foreign, Keys, Outcome, Target, TargetError, connect};
use crate::place::{OperatorError, Place};

/// The stack's name in this project's own `sam deploy`.
const STACK: &str = "whatsapp-onboarding";

/// What a person on duty does with a bundle, on one machine or on AWS.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Shows a channel and its facts in order, with what each changed (one machine)
    ///
    /// Works beside the running bundle, and without one by opening its file. DATA names the data directory (.local).
    Why {
        /// The 360dialog partner id, such as aAbBcCPA
        partner: PartnerId,
        /// The channel id, such as y9MiLoCH
        channel: ChannelId,
    },
    /// Prints a channel's API key (one machine)
    ///
    /// DATA names the data directory (.local).
    Key {
        /// The 360dialog partner id, such as aAbBcCPA
        partner: PartnerId,
        /// The channel id, such as y9MiLoCH
        channel: ChannelId,
    },
    /// Points 360dialog at the deployed bundle
    ///
    /// For every partner id of the bundle: tests that the bundle takes the partner's events, keeps the webhook URL and
    /// the redirect URL that 360dialog has now, sets the bundle's, reads them back, and lists the channels that hold
    /// keys already. Twice is harmless. Region and credentials are those of the AWS command line (AWS_REGION,
    /// AWS_PROFILE). Ends with 0 if all is well, with 1 if not.
    Connect(ConnectArguments),
}

#[derive(Args)]
struct ConnectArguments {
    /// The CloudFormation stack of the bundle
    #[arg(long, value_name = "NAME", default_value = STACK)]
    stack: String,
    /// Instead of a stack: the address of the bundle of this machine, which was started with the same settings (DATA,
    /// SECRETS_FILE, PARTNER_IDS, PARTNER_API_URL …)
    #[arg(long, value_name = "URL", conflicts_with = "stack")]
    url: Option<BaseUrl>,
    /// Only this partner id; may be given several times
    #[arg(long = "partner", value_name = "ID")]
    partners: Vec<PartnerId>,
    /// Replace addresses that somebody else has set; they are kept for --remove
    #[arg(long)]
    replace: bool,
    /// Put back the addresses that were there before
    #[arg(long, conflicts_with_all = ["replace", "check"])]
    remove: bool,
    /// Change nothing; say what would change and which assumptions about 360dialog hold with this account
    #[arg(long, conflicts_with = "replace")]
    check: bool,
    /// Do not list the channels that hold keys already: it takes one request per channel, about 8 a minute
    #[arg(long)]
    no_list: bool,
}

impl ConnectArguments {
    fn ask(&self) -> Ask {
        if self.check {
            return Ask::Check;
        }
        if self.remove {
            return Ask::Remove;
        }
        let foreign = if self.replace {
            Foreign::Replace
        } else {
            Foreign::Refuse
        };
        Ask::Connect(foreign, if self.no_list { Keys::Skip } else { Keys::List })
    }

    async fn target(&self, environment: &Environment) -> Result<Target, TargetError> {
        match &self.url {
            Some(url) => Target::of_machine(url.clone(), &self.partners, environment).await,
            None => Target::of_stack(&self.stack, &self.partners).await,
        }
    }
}

/// Does what the arguments of this process say; a wrong argument is trouble like any other.
pub async fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(why) => {
            let _closed = why.print();
            return if why.use_stderr() {
                ExitCode::FAILURE
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    match run(arguments.command, &Environment::of_process()).await {
        Ok(code) => code,
        Err(why) => {
            let _closed = writeln!(std::io::stderr(), "{why}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command, environment: &Environment) -> Result<ExitCode, String> {
    let in_words = |error: OperatorError| error.to_string();
    match command {
        Command::Why { partner, channel } => {
            let place = place(environment).await.map_err(in_words)?;
            Ok(say(&place
                .why(&partner, &channel)
                .await
                .map_err(in_words)?))
        }
        Command::Key { partner, channel } => {
            let place = place(environment).await.map_err(in_words)?;
            Ok(say(place
                .key(&partner, &channel)
                .await
                .map_err(in_words)?
                .expose()))
        }
        Command::Connect(arguments) => {
            let target = arguments
                .target(environment)
                .await
                .map_err(|error| error.to_string())?;
            let mut is_heard = true;
            let mut line = |line: &str| is_heard &= say(line) == ExitCode::SUCCESS;
            let outcome = connect(&target, arguments.ask(), &mut line).await;
            let is_fine = outcome == Outcome::Fine && is_heard;
            Ok(if is_fine {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            })
        }
    }
}

async fn place(environment: &Environment) -> Result<Place, OperatorError> {
    Place::open(
        &PathBuf::from(environment.text("DATA").unwrap_or(".local")),
        environment,
    )
    .await
}

fn say(text: &str) -> ExitCode {
    let done = writeln!(std::io::stdout(), "{}", text.trim_end());
    if done.is_ok() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn ask(arguments: &[&str]) -> Result<Ask, String> {
        let all = ["operator", "connect"].iter().chain(arguments);
        let parsed = Arguments::try_parse_from(all).map_err(|error| error.to_string())?;
        let Command::Connect(arguments) = parsed.command else {
            return Err("another command".to_owned());
        };
        Ok(arguments.ask())
    }

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn without_a_flag_nothing_of_others_is_replaced_and_keys_are_listed() {
        assert_eq!(ask(&[]), Ok(Ask::Connect(Foreign::Refuse, Keys::List)));
        assert_eq!(
            ask(&["--stack", "mine"]),
            Ok(Ask::Connect(Foreign::Refuse, Keys::List))
        );
        assert_eq!(
            ask(&["--replace", "--no-list"]),
            Ok(Ask::Connect(Foreign::Replace, Keys::Skip))
        );
        assert_eq!(
            ask(&["--check", "--partner", "aPA", "--partner", "bPA"]),
            Ok(Ask::Check)
        );
        assert_eq!(
            ask(&["--remove", "--url", "http://127.0.0.1:8360"]),
            Ok(Ask::Remove)
        );
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        for arguments in [
            &["--check", "--replace"] as &[&str],
            &["--check", "--remove"],
            &["--remove", "--replace"],
            &["--stack", "s", "--url", "http://127.0.0.1"],
            &["--url", "here"],
            &["--partner", "a b"],
        ] {
            assert!(ask(arguments).is_err(), "{arguments:?}");
        }
    }
}
