//! Seals every stored key anew: with the stack's present KMS key, or with a new key of the data directory.

use dialog360::id::{ChannelRef, PartnerId};
use store::table::{Item, PK, parse, prefix};
use store::{Error, Mints, StoredKey, Write};

use crate::instance::{Instance, OperatorError};

impl Instance {
    /// Seals the keys of `partner` anew and says how many. Twice is harmless. It ends at the first key that fails; those
    /// before it stay as they are, and every key can be read all the time.
    pub async fn reseal(&self, partner: &PartnerId) -> Result<String, OperatorError> {
        self.must_serve(partner)?;
        self.renew_key().await?;
        let items = self.table().scan_kinds(partner, &[prefix::KEY]).await;
        let items = items.map_err(|error| self.store_error(error))?;
        let (seal, mints) = (self.seal()?, Mints::new(self.table().clone()));
        let mut resealed = 0_usize;
        for item in &items {
            let stored = stored(partner, item).map_err(|error| self.store_error(error))?;
            let Some((id, key)) = stored else { continue };
            let failed = |error| self.seal_error(error);
            let text = seal.open(&id, &key.sealed).await.map_err(failed)?;
            let sealed = seal.seal(&id, &text).await.map_err(failed)?;
            let written = mints.reseal(&id, &key, &sealed).await;
            // A key that was stored since was sealed with the present key.
            if written.map_err(|error| self.store_error(error))? == Write::Done {
                resealed = resealed.saturating_add(1);
            }
        }
        Ok(format!("{resealed} keys of {partner} are sealed anew"))
    }
}

fn stored(partner: &PartnerId, item: &Item) -> Result<Option<(ChannelRef, StoredKey)>, Error> {
    let pk = item.get(PK).and_then(|value| value.as_s().ok());
    let Some((_, _, channel)) = pk.and_then(|pk| parse(pk)) else {
        return Ok(None);
    };
    let channel = channel.parse();
    let channel = channel.map_err(|_| Error::Malformed("the id of a channel"))?;
    let id = ChannelRef::new(partner.clone(), channel);
    Ok(Mints::stored_in(item)?.map(|key| (id, key)))
}
