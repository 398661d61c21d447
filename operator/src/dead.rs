//! Lists what was given up, and tries it again. It never prints the body of an event.

use dialog360::id::PartnerId;
use runtime::clock;
use store::{DeadEvent, DeadEvents};

use crate::instance::{Instance, OperatorError};
use crate::reporter::{add_line, word};

/// Which of the events that were given up are tried again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Retry {
    /// All of them.
    All,
    /// Those with this id.
    One(String),
}

impl Instance {
    /// The events of a partner that were given up, a line for each, and how many there are.
    pub async fn dead(&self, partner: &PartnerId) -> Result<String, OperatorError> {
        self.must_serve(partner)?;
        let dead = DeadEvents::new(self.table().clone()).list(partner).await;
        let dead = dead.map_err(|error| self.store_error(error))?;
        let mut text = String::new();
        for event in &dead.events {
            add_line(&mut text, &in_words(event));
        }
        let unreadable = match dead.unreadable {
            0 => String::new(),
            some => format!(", and {some} that cannot be read"),
        };
        add_line(
            &mut text,
            &format!("{} given up{unreadable}", dead.events.len()),
        );
        Ok(text)
    }

    /// Puts events that were given up back into the outbox, from which they are sent for another day. Returns what was done,
    /// in words.
    pub async fn retry(&self, partner: &PartnerId, which: &Retry) -> Result<String, OperatorError> {
        self.must_serve(partner)?;
        let failed = |error| self.store_error(error);
        let given_up = DeadEvents::new(self.table().clone());
        let mut dead = given_up.list(partner).await.map_err(failed)?.events;
        if let Retry::One(id) = which {
            dead.retain(|event| event.id == *id);
            if dead.is_empty() {
                return Err(OperatorError::NotDead(partner.clone(), word(id)));
            }
        }
        for event in &dead {
            let put_back = given_up.put_back(partner, event, clock::now()).await;
            put_back.map_err(failed)?;
        }
        let number = dead.len();
        Ok(format!(
            "{number} events of {partner} are in the outbox again: `fold` sends them in its next run, and for a day"
        ))
    }
}

fn in_words(event: &DeadEvent) -> String {
    let DeadEvent {
        id,
        detail_type,
        size,
        put_at,
        given_up_at,
        why,
    } = event;
    let (id, detail_type, why) = (word(id), word(detail_type), word(why));
    format!(
        "event id={id} type={detail_type} size={size} since={put_at} given_up={given_up_at} why={why}"
    )
}
