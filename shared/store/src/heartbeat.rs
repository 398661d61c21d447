//! The heartbeat: one item that a schedule writes again and again, so that a stream mapping that stands still is noticed
//! although nothing else is written.

use jiff::Timestamp;

use super::{keyed, millis};
use crate::table::{self, ALONE, StoreError, Table};

/// The time of the heartbeat, ms.
const AT: &str = "at";

/// May write the heartbeat.
#[derive(Clone)]
pub struct Heartbeat(Table);

impl Heartbeat {
    /// The heartbeat of `table`.
    pub fn new(table: Table) -> Self {
        Self(table)
    }

    /// Writes it: the table's stream gets a record, since `now` is another time than before.
    pub async fn beat(&self, now: Timestamp) -> Result<(), StoreError> {
        let mut item = keyed(table::heartbeat(), ALONE);
        item.insert(AT.to_owned(), millis(now));
        let put = self.0.client.put_item().table_name(&*self.0.name);
        put.set_item(Some(item)).send().await?;
        Ok(())
    }
}
