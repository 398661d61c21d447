//! Claims. `redirect` puts each once; then `provision` saves it, with a version.

use std::collections::BTreeMap;

use dialog360::id::PartnerId;
use onboarding::claim::{Claim, ClaimId, ClaimStatus};
use onboarding::tenant::Tenant;

use super::{
    VALUE, VERSION, Write, Written, keyed, millis, number, number_of, text, to_value, value_of,
};
use crate::table::{self, ALONE, DUE_AT, DUE_PK, Item, StoreError, TENANT_PK, TENANT_SK, Table};

/// Outcome of recording a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// It is recorded now.
    New,
    /// The same claim was recorded before: this one.
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

    /// Records a claim unless its session has recorded one before. One put.
    pub async fn record(&self, claim: &Claim) -> Result<Recorded, StoreError> {
        let mut first = item(claim)?;
        first.insert(VERSION.to_owned(), number(1));
        match self.0.put_once(first).await? {
            Written::Done(()) => Ok(Recorded::New),
            Written::Conflict(None) => Err(StoreError::Malformed(
                "a claim that exists was not returned",
            )),
            Written::Conflict(Some(old)) => {
                let old: Claim = value_of(&old, "claim")?;
                let same = old.digest == claim.digest && old.tenant == claim.tenant;
                Ok(if same {
                    Recorded::Same(Box::new(old))
                } else {
                    Recorded::Different
                })
            }
        }
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

    /// The open claims of a tenant, by id.
    pub async fn open_of_tenant(
        &self,
        partner: &PartnerId,
        tenant: &Tenant,
    ) -> Result<Vec<Claim>, StoreError> {
        let values = BTreeMap::from([
            (":tenant", table::tenant_partition(partner, tenant)),
            (":kind", format!("{}#", table::prefix::CLAIM)),
        ]);
        let mut query = self
            .0
            .client
            .query()
            .table_name(&*self.0.name)
            .index_name(table::BY_TENANT);
        query =
            query.key_condition_expression("tenant_pk = :tenant AND begins_with(tenant_sk, :kind)");
        for (name, value) in values {
            query = query.expression_attribute_values(name, text(value));
        }
        let items = query
            .into_paginator()
            .items()
            .send()
            .collect::<Result<Vec<_>, _>>()
            .await?;
        items.iter().map(|item| value_of(item, "claim")).collect()
    }
}

/// The item of a claim. It is in the index `by_tenant` while it is open, and in `by_due` while it is pending.
fn item(claim: &Claim) -> Result<Item, StoreError> {
    let mut item = keyed(table::claim(&claim.partner, &claim.id), ALONE);
    item.insert(VALUE.to_owned(), to_value(claim)?);
    if claim.is_open() {
        item.insert(
            TENANT_PK.to_owned(),
            text(table::tenant_partition(&claim.partner, &claim.tenant)),
        );
        item.insert(TENANT_SK.to_owned(), text(table::claim_row(&claim.id)));
    }
    if let (ClaimStatus::Pending, Some(due_at)) = (claim.status, claim.due_at) {
        item.insert(DUE_PK.to_owned(), text(table::due(&claim.partner)));
        item.insert(DUE_AT.to_owned(), millis(due_at));
    }
    Ok(item)
}
