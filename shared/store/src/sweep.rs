//! SWEEP items: how far the list of all channels of a partner was read. When the next page is due stands in the same item:
//! see [`super::Queue`].

use dialog360::id::PartnerId;

use super::{Update, number, number_of};
use crate::table::{self, ALONE, StoreError, Table};

const OFFSET: &str = "offset_in_list";

/// May read and move the place of a sweep.
#[derive(Clone)]
pub struct Sweeps(Table);

impl Sweeps {
    /// The sweeps of `table`.
    pub fn new(table: Table) -> Self {
        Self(table)
    }

    /// How many rows of the list were read; 0 before a sweep.
    pub async fn offset(&self, partner: &PartnerId) -> Result<usize, StoreError> {
        let item = self.0.read(table::sweep(partner), ALONE).await?;
        let offset = item.as_ref().and_then(|item| number_of(item, OFFSET));
        Ok(offset
            .and_then(|rows| usize::try_from(rows).ok())
            .unwrap_or(0))
    }

    /// Goes on behind so many rows next time.
    pub async fn go_on_at(&self, partner: &PartnerId, offset: usize) -> Result<(), StoreError> {
        let update = Update {
            pk: table::sweep(partner),
            expression: "SET offset_in_list = :offset".into(),
            condition: "attribute_exists(pk) OR attribute_not_exists(pk)",
            values: vec![(":offset", number(offset))],
        };
        update.send(&self.0).await.map(drop)
    }
}
