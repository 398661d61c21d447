//! `operator connect`: points 360dialog at the bundle, keeps the addresses it had before, and can put them back.
//!
//! The steps are the same on AWS and on one machine; [`Target`] holds the difference. Nothing here makes or reads a
//! key.

mod decide;
mod call_error;
mod clock_check;
mod turns;
mod rate_limited_client;
mod probe;
mod target;
mod partner_connection;
mod check;
mod keys;

pub use decide::OnConflict;
pub use target::{Target, TargetError};

use dialog360::id::PartnerId;
use store::table::Table;

use check::check;
use keys::list_keys;
use partner_connection::PartnerConnection;

use crate::reporter::{Reporter, redacted};

/// The action to perform.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Point 360dialog at the bundle.
    Connect(OnConflict, Keys),
    /// Change nothing; print what would change and which assumptions hold.
    Check,
    /// Put back the addresses of before.
    Remove,
}

/// Whether the channels that hold keys already are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    /// One request per channel.
    List,
    /// They are not listed.
    Skip,
}

/// Outcome of the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All partners are as requested.
    Fine,
    /// Something was reported as trouble.
    Trouble,
}

/// Protects the table of a stack against deletion, performs the action for one partner after the other, and prints lines
/// through `say`. An error with one partner does
/// not stop the others.
pub async fn connect(target: &Target<'_>, action: Action, say: &mut dyn FnMut(&str)) -> Outcome {
    let mut reporter = Reporter::new(say);
    reporter.line(&format!(
        "{} at {}",
        target.instance().name(),
        redacted(target.address())
    ));
    if let Some(table) = target.instance().table_of_stack() {
        protect_table(table, action, &mut reporter).await;
    }
    let mut connected = Vec::new();
    for partner in target.partners() {
        reporter.line(&format!("partner {partner}"));
        if let Some(connection) = connect_partner(target, partner, action, &mut reporter).await {
            connected.push(connection);
        }
    }
    if let Action::Connect(_, Keys::List) = action {
        for connection in &mut connected {
            reporter.line(&format!("keys of partner {}", connection.partner()));
            if let Err(why) = list_keys(connection, &mut reporter).await {
                reporter.trouble(&why.to_string());
            }
        }
    }
    if reporter.has_trouble() {
        Outcome::Trouble
    } else {
        Outcome::Fine
    }
}

/// Protects the table against deletion, or says that it would. The template cannot do this: a first deployment that
/// fails must be able to remove its table.
async fn protect_table(table: &Table, action: Action, reporter: &mut Reporter<'_>) {
    let name = table.name();
    let protected = match (action, table.is_protected().await) {
        (Action::Remove, _) => return,
        (_, Ok(true)) => Ok("is protected against deletion already"),
        (Action::Check, Ok(false)) => Ok("would be protected against deletion"),
        (Action::Connect(..), Ok(false)) => {
            let protected = table.protect().await;
            protected.map(|()| "is protected against deletion now")
        }
        (_, Err(error)) => Err(error),
    };
    match protected {
        Ok(state) => reporter.item("table", &format!("{name} {state}")),
        Err(error) => reporter.trouble(&format!(
            "the table {name} is not known to be protected against deletion: {error}: your AWS credentials need \
             dynamodb:DescribeTable and dynamodb:UpdateTable on it"
        )),
    }
}

/// Performs the action for one partner. Returns the connection unless it failed.
async fn connect_partner<'t>(
    target: &'t Target<'t>,
    partner: &PartnerId,
    action: Action,
    reporter: &mut Reporter<'_>,
) -> Option<PartnerConnection<'t>> {
    let mut connection = match PartnerConnection::open(target, partner).await {
        Ok(connection) => connection,
        Err(why) => {
            reporter.trouble(&why.to_string());
            return None;
        }
    };
    let done = match action {
        Action::Connect(on_conflict, _) => connection.connect(on_conflict, reporter).await,
        Action::Check => check(&mut connection, reporter).await,
        Action::Remove => connection.remove(reporter).await,
    };
    match done {
        Ok(()) => Some(connection),
        Err(why) => {
            reporter.trouble(&why.to_string());
            None
        }
    }
}
