//! What 360dialog pointed to before `operator connect` pointed it to the bundle, so that it can be put back.
//!
//! No function reads or writes it; the operator does, with credentials of its own.

use std::collections::BTreeSet;

use dialog360::id::PartnerId;
use serde::{Deserialize, Serialize};

use super::{VALUE, VERSION, Write, keyed, number_of, to_value, value_of};
use crate::table::{self, ALONE, StoreError, Table};

/// What an address was before ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Before {
    /// 360dialog did not tell.
    Untold,
    /// There was none.
    Nothing,
    /// This one, whole; it may hold a secret of whoever set it.
    Url(String),
}

/// One address: what it was, and what we have put in its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptAddress {
    /// What it was before ours.
    pub before: Before,
    /// All addresses of ours that have taken its place.
    pub ours: BTreeSet<String>,
}

/// What is kept for one partner; nothing for an address that we have not replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// The webhook URL.
    pub webhook: Option<KeptAddress>,
    /// The redirect URL.
    pub redirect: Option<KeptAddress>,
}

/// What is kept for one partner, as it was read.
#[derive(Clone, Debug)]
pub struct StoredKept {
    /// What is kept.
    pub kept: Kept,
    version: i64,
}

/// May read and keep old addresses.
#[derive(Clone)]
pub struct Connections(Table);

impl Connections {
    /// The old addresses of `table`.
    pub fn new(table: Table) -> Self {
        Self(table)
    }

    /// What is kept for a partner; one that was never connected has nothing.
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

    /// Saves what is kept if nobody saved it since it was read; it may then be saved again.
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
