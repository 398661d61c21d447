//! `operator connect`: points 360dialog at the bundle, keeps what it pointed to before, and puts it back.
//!
//! The same steps on AWS and on one machine; [`Target`] says where. Nothing here makes or reads a key.

mod decide;
mod patient_client;
mod probe;
mod target;
mod partner_connection;
mod check;
mod keys;

pub use decide::OnConflict;
pub use target::{Target, TargetError};

use dialog360::id::PartnerId;

use check::check;
use keys::list_keys;
use partner_connection::PartnerConnection;

use crate::reporter::{Reporter, shown};

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Point 360dialog at the bundle.
    Connect(OnConflict, Keys),
    /// Change nothing; say what would change and which assumptions hold.
    Check,
    /// Put back what was there before.
    Remove,
}

/// Whether the channels that hold keys already are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    /// One request per channel.
    List,
    /// They are left alone.
    Skip,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All is as it was asked for.
    Fine,
    /// Something was reported as trouble.
    Trouble,
}

/// Does what is asked for, partner by partner; says it line by line. Trouble with one does not stop the others.
pub async fn connect(target: &Target<'_>, action: Action, say: &mut dyn FnMut(&str)) -> Outcome {
    let mut reporter = Reporter::new(say);
    reporter.say(&format!(
        "{} at {}",
        target.instance().name(),
        shown(target.address())
    ));
    let mut connected = Vec::new();
    for partner in target.partners() {
        reporter.say(&format!("partner {partner}"));
        if let Some(connection) = connect_partner(target, partner, action, &mut reporter).await {
            connected.push(connection);
        }
    }
    if let Action::Connect(_, Keys::List) = action {
        for connection in &mut connected {
            reporter.say(&format!("keys of partner {}", connection.partner()));
            if let Err(why) = list_keys(connection, &mut reporter).await {
                reporter.trouble(&why.to_string());
            }
        }
    }
    if reporter.is_trouble() {
        Outcome::Trouble
    } else {
        Outcome::Fine
    }
}

/// Does it for one partner; whom it gives back is connected.
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
