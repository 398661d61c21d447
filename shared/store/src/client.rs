//! Clients. Each belongs to at most one tenant, and never changes its tenant.

use dialog360::id::{ClientId, PartnerId};
use onboarding::tenant::Tenant;

use super::{Update, Write, text};
use crate::table::{self, ALONE, Item, StoreError, Table};

const TENANT: &str = "tenant";

/// May read and set the owner of a client.
#[derive(Clone)]
pub struct Clients(Table);

impl Clients {
    /// The clients of `table`.
    pub fn new(table: Table) -> Self {
        Self(table)
    }

    /// The tenant a client belongs to.
    pub async fn owner(
        &self,
        partner: &PartnerId,
        client: &ClientId,
    ) -> Result<Option<Tenant>, StoreError> {
        let item = self.0.read(table::client(partner, client), ALONE).await?;
        item.map(|item| tenant_of(&item)).transpose()
    }

    /// Binds a client to a tenant; a conflict if it is bound to another.
    pub async fn bind(
        &self,
        partner: &PartnerId,
        client: &ClientId,
        tenant: &Tenant,
    ) -> Result<Write, StoreError> {
        let update = Update {
            pk: table::client(partner, client),
            expression: "SET tenant = :tenant".into(),
            condition: "attribute_not_exists(tenant) OR tenant = :tenant",
            values: vec![(":tenant", text(tenant.as_str()))],
        };
        Ok(update.send(&self.0).await?.into())
    }
}

fn tenant_of(item: &Item) -> Result<Tenant, StoreError> {
    let tenant = item.get(TENANT).and_then(|tenant| tenant.as_s().ok());
    tenant
        .and_then(|tenant| tenant.parse().ok())
        .ok_or(StoreError::Malformed("the owner of a client"))
}
