//! The command line of the program `operator`.

use std::io::Write;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use dialog360::event::EventId;
use dialog360::id::{ChannelId, ChannelRef, ClientId, PartnerId};
use onboarding::claim::ClaimId;
use onboarding::tenant::Tenant;
use runtime::settings::{BaseUrl, Environment};

use crate::connect::{Action, Keys, OnConflict, Outcome, Target, connect};
use crate::dead::Retry;
use crate::instance::{Instance, OperatorError};
use crate::list::List;

/// Commands for operators of a bundle: that of a CloudFormation stack (--stack NAME, with region and credentials of
/// the AWS command line), or that of a data directory (the environment variable DATA; .local).
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Shows a channel and its facts in order, with what each changed
    Why(OneChannel),
    /// Prints a channel's API key
    Key(OneChannel),
    /// Seals every stored API key anew: on AWS with the stack's present KMS key, else with a new key of the data directory
    Reseal(OnePartner),
    /// Prints the bytes of one of 360dialog's events, by the id that its `hub.event` has
    Event(OneEvent),
    /// Shows what waits in a partner's queue and since when, whether calls are made, and how many keys are stored
    Queue(OnePartner),
    /// Lists what waits for an operator, a line for each; without an option all of it
    List(ListArguments),
    /// Gives a client that belongs to nobody to a tenant with an open claim on it; its other claims are refused
    Confirm(OneClient),
    /// Moves a client and its channels from the tenant that has it to another one
    Move(OneClient),
    /// Refuses an open claim; the other claims on its client are judged again
    Refuse(OneClaim),
    /// Opens a cancelled channel again
    Reopen(OneChannel),
    /// Has all facts of a channel, or of every channel, joined anew: after a restore, or when a number shows less than its
    /// facts
    Refold(RefoldArguments),
    /// Lists the events that the bus did not take for a day; with --retry sends them again
    Dead(DeadArguments),
    /// Points 360dialog at the bundle
    ///
    /// For every partner id of the bundle: tests that the bundle takes the partner's events, keeps the webhook URL and
    /// the redirect URL that 360dialog has now, sets the bundle's, reads them back, and lists the channels that hold
    /// keys already. Twice is harmless. Ends with 0 if all is well, with 1 if not.
    Connect(ConnectArguments),
}

#[derive(Args)]
struct InstanceArguments {
    /// The CloudFormation stack of the bundle; without it, the data directory DATA
    #[arg(long, value_name = "NAME")]
    stack: Option<String>,
}

impl InstanceArguments {
    async fn open(&self, environment: &Environment) -> Result<Instance, OperatorError> {
        match &self.stack {
            Some(name) => Instance::from_stack(name).await,
            None => Instance::from_data(environment).await,
        }
    }
}

#[derive(Args)]
struct OneChannel {
    #[command(flatten)]
    instance: InstanceArguments,
    /// The 360dialog partner id, such as aAbBcCPA
    partner: PartnerId,
    /// The channel id, such as y9MiLoCH
    channel: ChannelId,
}

impl OneChannel {
    fn id(&self) -> ChannelRef {
        ChannelRef::new(self.partner.clone(), self.channel.clone())
    }
}

#[derive(Args)]
struct OnePartner {
    #[command(flatten)]
    instance: InstanceArguments,
    /// The 360dialog partner id, such as aAbBcCPA
    partner: PartnerId,
}

#[derive(Args)]
struct OneClient {
    #[command(flatten)]
    instance: InstanceArguments,
    /// The 360dialog partner id, such as aAbBcCPA
    partner: PartnerId,
    /// The client id, such as oaY9LLfUCL
    client: ClientId,
    /// The tenant that gets it, as your application names it
    tenant: Tenant,
}

#[derive(Args)]
struct OneClaim {
    #[command(flatten)]
    instance: InstanceArguments,
    /// The 360dialog partner id, such as aAbBcCPA
    partner: PartnerId,
    /// The claim's id, as `list --held` prints it
    claim: ClaimId,
}

#[derive(Args)]
#[group(skip)]
struct ListArguments {
    #[command(flatten)]
    which: OnePartner,
    #[command(flatten)]
    only: ListOption,
}

#[derive(Args)]
#[group(multiple = false)]
struct ListOption {
    /// Only claims that an operator must decide
    #[arg(long)]
    held: bool,
    /// Only clients that several tenants claim
    #[arg(long)]
    contested: bool,
    /// Only channels whose key only an operator can bring on
    #[arg(long)]
    blocked: bool,
    /// Only channels that belong to no tenant
    #[arg(long)]
    unclaimed: bool,
}

impl ListOption {
    fn lists(&self) -> Vec<List> {
        let asked = [self.held, self.contested, self.blocked, self.unclaimed];
        let all = List::ALL.into_iter().zip(asked);
        let asked: Vec<List> = all.filter(|(_, is)| *is).map(|(list, _)| list).collect();
        match asked.is_empty() {
            true => List::ALL.to_vec(),
            false => asked,
        }
    }
}

#[derive(Args)]
struct RefoldArguments {
    #[command(flatten)]
    which: OnePartner,
    /// The channel id, such as y9MiLoCH
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    channel: Option<ChannelId>,
    /// Every channel that the table knows
    #[arg(long)]
    all: bool,
}

#[derive(Args)]
struct DeadArguments {
    #[command(flatten)]
    which: OnePartner,
    /// Send them again: the one with this id, or all of them
    #[arg(long, value_name = "ID", num_args = 0..=1)]
    retry: Option<Option<String>>,
}

impl DeadArguments {
    fn retry(&self) -> Option<Retry> {
        let retry = self.retry.clone()?;
        Some(retry.map_or(Retry::All, Retry::One))
    }
}

#[derive(Args)]
struct OneEvent {
    #[command(flatten)]
    instance: InstanceArguments,
    /// The 360dialog partner id, such as aAbBcCPA
    partner: PartnerId,
    /// The event's id: 64 digits
    id: EventId,
}

#[derive(Args)]
struct ConnectArguments {
    #[command(flatten)]
    instance: InstanceArguments,
    /// The address of the bundle of a data directory, if 360dialog reaches it at another one than PUBLIC_URL or LISTEN;
    /// SECRETS_FILE, PARTNER_IDS, PARTNER_API_URL and so on are those with which the bundle was started
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
    #[arg(long, conflicts_with_all = ["check", "remove"])]
    no_list: bool,
}

impl ConnectArguments {
    fn action(&self) -> Action {
        if self.check {
            return Action::Check;
        }
        if self.remove {
            return Action::Remove;
        }
        let on_conflict = if self.replace {
            OnConflict::Replace
        } else {
            OnConflict::Refuse
        };
        let keys = if self.no_list { Keys::Skip } else { Keys::List };
        Action::Connect(on_conflict, keys)
    }
}

/// Runs the command that the arguments of this process name. A wrong argument ends with code 1, like any other error.
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
    match run(arguments.command, &Environment::from_process()).await {
        Ok(code) => code,
        Err(why) => {
            let _closed = writeln!(std::io::stderr(), "{why}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command, environment: &Environment) -> Result<ExitCode, String> {
    let message = |error: OperatorError| error.to_string();
    match command {
        Command::Why(one) => {
            let instance = one.instance.open(environment).await.map_err(message)?;
            Ok(print(&instance.why(&one.id()).await.map_err(message)?))
        }
        Command::Key(one) => {
            let instance = one.instance.open(environment).await.map_err(message)?;
            let key = instance.key(&one.id()).await.map_err(message)?;
            Ok(print(key.expose()))
        }
        Command::Reseal(one) => {
            let instance = one.instance.open(environment).await.map_err(message)?;
            let done = instance.reseal(&one.partner).await;
            Ok(print(&done.map_err(message)?))
        }
        Command::Event(one) => {
            let instance = one.instance.open(environment).await.map_err(message)?;
            let body = instance.event(&one.partner, &one.id).await;
            Ok(print_bytes(&body.map_err(message)?))
        }
        Command::Queue(one) => {
            let instance = one.instance.open(environment).await.map_err(message)?;
            let queue = instance.queue(&one.partner).await;
            Ok(print(&queue.map_err(message)?))
        }
        Command::List(ListArguments { which, only }) => {
            let instance = which.instance.open(environment).await.map_err(message)?;
            let list = instance.list(&which.partner, &only.lists()).await;
            Ok(print(&list.map_err(message)?))
        }
        Command::Confirm(one) => {
            let instance = one.instance.open(environment).await.map_err(message)?;
            let done = instance.confirm(&one.partner, &one.client, &one.tenant);
            Ok(print(&done.await.map_err(message)?))
        }
        Command::Move(one) => {
            let instance = one.instance.open(environment).await.map_err(message)?;
            let done = instance.move_client(&one.partner, &one.client, &one.tenant);
            Ok(print(&done.await.map_err(message)?))
        }
        Command::Refuse(one) => {
            let instance = one.instance.open(environment).await.map_err(message)?;
            let done = instance.refuse(&one.partner, &one.claim).await;
            Ok(print(&done.map_err(message)?))
        }
        Command::Reopen(one) => {
            let instance = one.instance.open(environment).await.map_err(message)?;
            let done = instance.reopen_channel(&one.id()).await;
            Ok(print(&done.map_err(message)?))
        }
        Command::Refold(RefoldArguments { which, channel, .. }) => {
            let instance = which.instance.open(environment).await.map_err(message)?;
            let partner = which.partner;
            let done = match channel {
                Some(channel) => instance.refold(&ChannelRef::new(partner, channel)).await,
                None => {
                    let mut say = |line: &str| {
                        let _closed = print(line);
                    };
                    instance.refold_all(&partner, &mut say).await
                }
            };
            Ok(print(&done.map_err(message)?))
        }
        Command::Dead(arguments) => {
            let retry = arguments.retry();
            let which = arguments.which;
            let instance = which.instance.open(environment).await.map_err(message)?;
            let done = match retry {
                Some(retry) => instance.retry(&which.partner, &retry).await,
                None => instance.dead(&which.partner).await,
            };
            Ok(print(&done.map_err(message)?))
        }
        Command::Connect(arguments) => {
            let instance = arguments
                .instance
                .open(environment)
                .await
                .map_err(message)?;
            let target = Target::new(&instance, arguments.url.clone(), &arguments.partners);
            let target = target.map_err(|error| error.to_string())?;
            let mut is_printed = true;
            let mut line = |line: &str| is_printed &= print(line) == ExitCode::SUCCESS;
            let outcome = connect(&target, arguments.action(), &mut line).await;
            let is_fine = outcome == Outcome::Fine && is_printed;
            Ok(if is_fine {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            })
        }
    }
}

fn print(text: &str) -> ExitCode {
    print_bytes(format!("{}\n", text.trim_end()).as_bytes())
}

fn print_bytes(bytes: &[u8]) -> ExitCode {
    let mut output = std::io::stdout();
    let done = output.write_all(bytes).and_then(|()| output.flush());
    if done.is_ok() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

#[cfg(test)]
#[path = "cli_tests.rs"]
mod tests;
