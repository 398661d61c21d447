//! Holds one webhook of a partner back until the next one was delivered.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

/// The webhooks that are held back, one of each partner at most.
#[derive(Default)]
pub(crate) struct Reordering {
    held: Mutex<BTreeMap<String, oneshot::Sender<()>>>,
}

impl Reordering {
    /// Holds a webhook back until the receiver ends: another webhook of the partner was delivered, or all are
    /// released. `None` if one is held back already: this is then the one that it waits for.
    pub(crate) fn hold(&self, partner: &str) -> Option<oneshot::Receiver<()>> {
        let mut held = self.lock();
        if held.contains_key(partner) {
            return None;
        }
        let (release, released) = oneshot::channel();
        held.insert(partner.to_owned(), release);
        Some(released)
    }

    /// Releases the webhook that waits for another one of this partner.
    pub(crate) fn delivered(&self, partner: &str) {
        if let Some(release) = self.lock().remove(partner) {
            // Fails only if the task that waits was stopped.
            let _ = release.send(());
        }
    }

    pub(crate) fn release_all(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, oneshot::Sender<()>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_webhook_of_a_partner_waits_for_the_next() {
        let reordering = Reordering::default();
        let mut first = reordering.hold("aPA").unwrap();
        assert!(reordering.hold("aPA").is_none(), "the second is not held");
        let mut other = reordering.hold("bPA").unwrap();
        reordering.delivered("aPA");
        assert!(first.try_recv().is_ok());
        assert!(other.try_recv().is_err());
        reordering.release_all();
        assert!(reordering.hold("bPA").is_some());
    }
}
