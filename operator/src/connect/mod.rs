//! `operator connect`: points 360dialog at the bundle, keeps what it pointed to before, and puts it back.
//!
//! The same steps on AWS and on one machine; [`Target`] says where. Nothing here makes or reads a key.

mod voice;
mod decide;
mod partner_api;
mod probe;
mod target;
mod stack;
mod machine;
mod visit;
mod check;
mod keys;

pub use decide::Foreign;
pub use machine::MachineError;
pub use stack::StackError;
pub use target::{Target, TargetError};

use onboarding::id::PartnerId;

use check::check;
use keys::list_keys;
use visit::Visit;
use voice::{Voice, shown};

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Point 360dialog at the bundle.
    Connect(Foreign, Keys),
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
    /// Something was said to be trouble.
    Trouble,
}

/// Does what is asked for, partner by partner; says it line by line. Trouble with one does not stop the others.
pub async fn connect(target: &Target, ask: Ask, say: &mut dyn FnMut(&str)) -> Outcome {
    let mut voice = Voice::new(say);
    voice.say(&format!("{} at {}", target.name(), shown(target.address())));
    let mut connected = Vec::new();
    for partner in target.partners() {
        voice.say(&format!("partner {partner}"));
        if let Some(visit) = of_partner(target, partner, ask, &mut voice).await {
            connected.push(visit);
        }
    }
    if let Ask::Connect(_, Keys::List) = ask {
        for visit in &mut connected {
            voice.say(&format!("keys of partner {}", visit.partner()));
            if let Err(why) = list_keys(visit, &mut voice).await {
                voice.trouble(&why.to_string());
            }
        }
    }
    if voice.is_trouble() {
        Outcome::Trouble
    } else {
        Outcome::Fine
    }
}

/// Does it for one partner; whom it gives back is connected.
async fn of_partner<'t>(
    target: &'t Target,
    partner: &PartnerId,
    ask: Ask,
    voice: &mut Voice<'_>,
) -> Option<Visit<'t>> {
    let mut visit = match Visit::open(target, partner).await {
        Ok(visit) => visit,
        Err(why) => {
            voice.trouble(&why.to_string());
            return None;
        }
    };
    let done = match ask {
        Ask::Connect(foreign, _) => visit.connect(foreign, voice).await,
        Ask::Check => check(&mut visit, voice).await,
        Ask::Remove => visit.remove(voice).await,
    };
    match done {
        Ok(()) => Some(visit),
        Err(why) => {
            voice.trouble(&why.to_string());
            None
        }
    }
}
