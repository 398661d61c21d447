//! Records of the table's stream, which AWS's event source mapping, or the follower on one machine, hands over.

use crate::table::{self, Item, PK};

/// The kind of a change to an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The item is new.
    Inserted,
    /// The item existed before.
    Modified,
    /// The item was removed.
    Removed,
}

/// One record, with both images of the item.
#[derive(Clone, Debug)]
pub struct Record {
    /// Its sequence number.
    pub sequence: String,
    /// The kind of the change.
    pub change: Change,
    /// The item's keys.
    pub keys: Item,
    /// The item now.
    pub new: Option<Item>,
    /// The item before.
    pub old: Option<Item>,
}

impl Record {
    /// The kind of the item, such as `FACT`; empty if the key has no prefix.
    pub fn kind(&self) -> &str {
        let pk = self.keys.get(PK).and_then(|pk| pk.as_s().ok());
        pk.and_then(|pk| pk.split_once('#'))
            .map_or("", |(kind, _)| kind)
    }

    /// Its keys as a text for the log; they hold only ids.
    pub fn name(&self) -> String {
        let text = |name: &str| {
            self.keys
                .get(name)
                .and_then(|value| value.as_s().ok())
                .cloned()
                .unwrap_or_default()
        };
        format!("{} {}", text(PK), text(table::SK))
    }
}

/// A batch was handled up to, but not including, the record with this sequence number. It is repeated from there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("stopped before record {0}")]
pub struct StoppedBefore(pub String);
