//! Records of the table's stream, as AWS's event source mapping or the follower on one machine hands them over.

use crate::table::{self, Item, PK};

/// What happened to an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is new.
    Inserted,
    /// It was there before.
    Modified,
    /// It is gone.
    Removed,
}

/// One record, with both images of the item.
#[derive(Clone, Debug)]
pub struct Record {
    /// Its sequence number.
    pub sequence: String,
    /// What happened.
    pub change: Change,
    /// The item's keys.
    pub keys: Item,
    /// The item now.
    pub new: Option<Item>,
    /// The item before.
    pub old: Option<Item>,
}

impl Record {
    /// The kind of item it is about, such as `FACT`; empty if it is none of ours.
    pub fn kind(&self) -> &str {
        let pk = self.keys.get(PK).and_then(|pk| pk.as_s().ok());
        pk.and_then(|pk| pk.split_once('#'))
            .map_or("", |(kind, _)| kind)
    }

    /// Its keys in words, for a log line: ids only.
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

/// A batch was handled up to, but not including, the record with this sequence number, which is to come again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("stopped before record {0}")]
pub struct StoppedBefore(pub String);
