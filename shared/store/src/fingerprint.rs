//! The fingerprint of the key file that seals the API keys in this table, on one machine.

use super::{as_text, keyed, text};
use crate::table::{self, ALONE, StoreError, Table};

const FINGERPRINT: &str = "fingerprint";

/// May read and write the fingerprint.
#[derive(Clone)]
pub struct KeyFingerprint(Table);

impl KeyFingerprint {
    /// The fingerprint in `table`.
    pub fn new(table: Table) -> Self {
        Self(table)
    }

    /// The fingerprint of the newest key of the file; `None` if nothing was sealed yet.
    pub async fn read(&self) -> Result<Option<String>, StoreError> {
        let item = self.0.read(table::fingerprint(), ALONE).await?;
        Ok(item.and_then(|item| as_text(&item, FINGERPRINT).map(str::to_owned)))
    }

    /// Notes that the newest key has the fingerprint `name`.
    pub async fn write(&self, name: &str) -> Result<(), StoreError> {
        let mut item = keyed(table::fingerprint(), ALONE);
        item.insert(FINGERPRINT.to_owned(), text(name));
        self.0.put(item).await
    }
}
