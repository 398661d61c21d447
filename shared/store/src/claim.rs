//! Claims. `redirect` puts each once; then `provision` saves it, with a version. Where there is no session, `redirect`
//! puts the next generation in the place of a closed one.

use dialog360::id::PartnerId;
use onboarding::claim::{Claim, ClaimId, ClaimStatus};
use onboarding::queue::Lane;

use super::{VALUE, VERSION, Write, Written, keyed, millis, number_of, text, to_value, value_of};
use crate::table::{self, ALONE, DUE_ORDER, DUE_PK, Item, StoreError, TENANT_PK, TENANT_SK, Table};

/// How often a claim is put when others put the same one at the same time.
const MOST_TRIES: u32 = 4;

/// Outcome of recording a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// It is recorded now, perhaps as a later generation.
    New,
    /// The same claim was recorded before: this one. Without a session it is still open.
    Same(Box<Claim>),
    /// Another claim of the same session was recorded before.
    Different,
}

/// A claim as it was read, and the version a save must find.
#[derive(Clone, Debug)]
pub struct StoredClaim {
    /// The claim.
    pub claim: Claim,
    version: i64,
}

impl StoredClaim {
    /// The claim that a CLAIM item holds.
    pub fn from_item(item: &Item) -> Result<Self, StoreError> {
        Ok(Self {
            claim: value_of(item, "claim")?,
            version: number_of(item, VERSION).unwrap_or(0),
        })
    }
}

/// May record, read and save claims.
#[derive(Clone)]
pub struct Claims(Table);

impl Claims {
    /// The claims of `table`.
    pub fn new(table: Table) -> Self {
        Self(table)
    }

    /// Opens the connection, as [`super::IoTimestamps::preconnect`] does.
    pub async fn preconnect(&self, partner: &PartnerId) {
        self.0
            .preconnect(format!("{}#{partner}#{ALONE}", table::prefix::CLAIM))
            .await;
    }

    /// Records a claim unless its session, or the same tenant with the same content, has recorded one before. One put.
    ///
    /// A claim without a session is the same only while the one before is open. Once that is closed, the claim takes its
    /// place as the next generation: two puts.
    pub async fn record(&self, claim: &Claim) -> Result<Recorded, StoreError> {
        let (mut next, mut seen) = (claim.clone(), 0);
        for _ in 0..MOST_TRIES {
            let old = match self.0.replace(item(&next)?, seen).await? {
                Written::Done(()) => return Ok(Recorded::New),
                Written::Conflict(None) => {
                    return Err(StoreError::Malformed(
                        "a claim that exists was not returned",
                    ));
                }
                Written::Conflict(Some(old)) => StoredClaim::from_item(&old)?,
            };
            if old.claim.digest != claim.digest || old.claim.tenant != claim.tenant {
                return Ok(Recorded::Different);
            }
            if old.claim.is_open() || claim.id.has_session() {
                return Ok(Recorded::Same(Box::new(old.claim)));
            }
            next.generation = old.claim.generation.saturating_add(1);
            seen = old.version;
        }
        Err(StoreError::Unavailable(
            "a claim changes too often".to_owned(),
        ))
    }

    /// Reads a claim.
    pub async fn read(
        &self,
        partner: &PartnerId,
        claim: &ClaimId,
    ) -> Result<Option<StoredClaim>, StoreError> {
        let item = self.0.read(table::claim(partner, claim), ALONE).await?;
        item.as_ref().map(StoredClaim::from_item).transpose()
    }

    /// Saves a claim unless it was saved since it was read.
    pub async fn save(&self, stored: &StoredClaim) -> Result<Write, StoreError> {
        self.0
            .put_version(item(&stored.claim)?, stored.version)
            .await
    }
}

/// The item of a claim. It is in the index `by_tenant` while it is open and not registered: from then on its ids are
/// there themselves, as CLAIMED items. It is in `by_due` while it is pending and has a due time.
fn item(claim: &Claim) -> Result<Item, StoreError> {
    let mut item = keyed(table::claim(&claim.partner, &claim.id), ALONE);
    item.insert(VALUE.to_owned(), to_value(claim)?);
    if claim.is_open() && claim.registered_at.is_none() {
        item.insert(
            TENANT_PK.to_owned(),
            text(table::tenant_partition(&claim.partner, &claim.tenant)),
        );
        item.insert(TENANT_SK.to_owned(), text(table::claim_row(&claim.id)));
    }
    if let (ClaimStatus::Pending, Some(due_at)) = (claim.status, claim.due_at) {
        item.insert(
            DUE_PK.to_owned(),
            text(table::due(&claim.partner, Lane::Alarm)),
        );
        item.insert(DUE_ORDER.to_owned(), millis(due_at));
    }
    Ok(item)
}
