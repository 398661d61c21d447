//! The addresses that a partner had at 360dialog before `operator connect`, so that they can be put back.
//!
//! No function reads or writes them. Only the operator does, with credentials of its own.

use std::collections::BTreeSet;

use dialog360::id::PartnerId;
use serde::{Deserialize, Serialize};

use super::{VALUE, VERSION, Write, keyed, number_of, to_value, value_of};
use crate::table::{self, ALONE, StoreError, Table};

/// The value of an address before ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Before {
    /// 360dialog did not return it.
    Untold,
    /// No address was set.
    Nothing,
    /// This address, unabridged. It may hold a secret.
    Url(String),
}

/// One address: its value before ours, and ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptAddress {
    /// The value before ours.
    pub before: Before,
    /// All addresses of ours that were set in its place.
    pub ours: BTreeSet<String>,
}

/// The kept addresses of one partner; `None` for an address that we have not replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// The webhook URL.
    pub webhook: Option<KeptAddress>,
    /// The redirect URL.
    pub redirect: Option<KeptAddress>,
}

/// The kept addresses of one partner, as they were read.
#[derive(Clone, Debug)]
pub struct StoredKept {
    /// The addresses.
    pub kept: Kept,
    version: i64,
}

/// May read and save the kept addresses.
#[derive(Clone)]
pub struct Connections(Table);

impl Connections {
    /// The kept addresses of `table`.
    pub fn new(table: Table) -> Self {
        Self(table)
    }

    /// Reads the kept addresses of a partner; a partner that was never connected has none.
    pub async fn read(&self, partner: &PartnerId) -> Result<StoredKept, StoreError> {
        let Some(item) = self.0.read(table::connect(partner), ALONE).await? else {
            return Ok(StoredKept {
                kept: Kept::default(),
                version: 0,
            });
        };
        Ok(StoredKept {
            kept: value_of(&item, "kept addresses")?,
            version: number_of(&item, VERSION).unwrap_or(0),
        })
    }

    /// Saves the kept addresses unless they were saved since they were read. `stored` can be saved again afterwards.
    pub async fn save(
        &self,
        partner: &PartnerId,
        stored: &mut StoredKept,
    ) -> Result<Write, StoreError> {
        let mut item = keyed(table::connect(partner), ALONE);
        item.insert(VALUE.to_owned(), to_value(&stored.kept)?);
        let saved = self.0.put_version(item, stored.version).await?;
        if saved == Write::Done {
            stored.version = stored.version.saturating_add(1);
        }
        Ok(saved)
    }
}
