//! Clients: the tenant that each belongs to, and pointers to the open claims on it.

use std::collections::HashMap;

use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use dialog360::id::{ClientId, PartnerId};
use onboarding::claim::{Claim, ClaimId, ClaimStatus};
use onboarding::tenant::Tenant;

use super::{
    ClaimedIds, Claims, StoredClaim, Update, Write, Written, as_text, keyed, number, number_of,
    text,
};
use crate::table::{self, ALONE, Item, PK, SK, StoreError, Table};

/// How many claims are looked at together.
const MOST_CLAIMS: usize = 100;

/// How many claims are read to find as many: those that an operator must settle come behind the others.
const MOST_READ: usize = 1000;

const TENANT: &str = "tenant";
/// The attribute of a pointer that names the claim, its generation included.
const CAUSE: &str = "cause";
const CLAIMS_VERSION: &str = "claims_version";
const DECISION: &str = "decision";

/// A client, as it was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredClient {
    /// The tenant it belongs to.
    pub owner: Option<Tenant>,
    /// The tenant to which an operator gives it.
    pub decision: Option<Tenant>,
    /// How often a claim on it was registered.
    version: i64,
}

impl StoredClient {
    /// The client that a CLIENT item holds; an empty item is that of a client nobody has claimed.
    pub fn from_item(item: &Item) -> Result<Self, StoreError> {
        let tenant = |name| {
            let text = as_text(item, name);
            let tenant = text.map(str::parse).transpose();
            tenant.map_err(|_| StoreError::Malformed("the owner of a client"))
        };
        Ok(Self {
            owner: tenant(TENANT)?,
            decision: tenant(DECISION)?,
            version: number_of(item, CLAIMS_VERSION).unwrap_or(0),
        })
    }
}

impl StoredClient {
    /// Whether a claim on it was ever registered.
    pub fn was_claimed(&self) -> bool {
        self.version > 0
    }
}

/// The open claims on a client.
#[derive(Clone, Debug, Default)]
pub struct OpenClaims {
    /// Up to 100 of them, by time.
    pub claims: Vec<StoredClaim>,
    /// Whether pending ones are left that were not read.
    pub are_more: bool,
}

/// May read and set the owner of a client, and the pointers to its claims.
#[derive(Clone)]
pub struct Clients(Table);

impl Clients {
    /// The clients of `table`.
    pub fn new(table: Table) -> Self {
        Self(table)
    }

    /// Reads a client.
    pub async fn read(
        &self,
        partner: &PartnerId,
        client: &ClientId,
    ) -> Result<StoredClient, StoreError> {
        let item = self.0.read(table::client(partner, client), ALONE).await?;
        StoredClient::from_item(&item.unwrap_or_default())
    }

    /// The tenant a client belongs to.
    pub async fn owner(
        &self,
        partner: &PartnerId,
        client: &ClientId,
    ) -> Result<Option<Tenant>, StoreError> {
        Ok(self.read(partner, client).await?.owner)
    }

    /// Registers a claim at its client: first the pointer, then a count, so that who binds the client by what it read
    /// before finds that it has changed. Returns the client.
    pub async fn register(&self, claim: &Claim) -> Result<StoredClient, StoreError> {
        let client = table::client(&claim.partner, &claim.client);
        let mut pointer = keyed(client, table::pointer(&claim.id));
        pointer.insert(TENANT.to_owned(), text(claim.tenant.as_str()));
        pointer.insert(CAUSE.to_owned(), text(claim.cause()));
        self.0.put(pointer).await?;
        self.claims_changed(&claim.partner, &claim.client).await
    }

    /// Notes that the claims on a client have changed, so that who binds it by what it read before finds that out. Returns
    /// the client.
    pub async fn claims_changed(
        &self,
        partner: &PartnerId,
        client: &ClientId,
    ) -> Result<StoredClient, StoreError> {
        let update = Update {
            pk: table::client(partner, client),
            expression: "ADD claims_version :one".into(),
            condition: "attribute_not_exists(pk) OR attribute_exists(pk)",
            values: vec![(":one", number(1))],
        };
        match update.send(&self.0).await? {
            Written::Done(item) => StoredClient::from_item(&item),
            Written::Conflict(_) => Err(StoreError::Malformed("a client")),
        }
    }

    /// Removes the pointer to a claim that is closed, unless its next generation is registered already.
    pub async fn unregister(&self, claim: &Claim) -> Result<(), StoreError> {
        let client = table::client(&claim.partner, &claim.client);
        let pointer = table::pointer(&claim.id);
        let key = (client, pointer.as_str());
        self.0.remove_if(key, CAUSE, text(claim.cause())).await
    }

    /// Refuses a claim: forgets the ids that it names, saves it, and removes its pointer. After a conflict, when it was saved
    /// since it was read, only the ids are forgotten: whoever saved it judged later.
    pub async fn refuse(&self, stored: &mut StoredClaim) -> Result<Write, StoreError> {
        stored.claim.refuse();
        let claim = &stored.claim;
        let ids = [claim.channels.clone(), claim.revoked.clone()].concat();
        let claimed_ids = ClaimedIds::new(self.0.clone());
        claimed_ids.forget(claim, &ids).await?;
        let saved = Claims::new(self.0.clone()).save(stored).await?;
        if saved == Write::Done {
            self.unregister(claim).await?;
        }
        Ok(saved)
    }

    /// A tenant that has an open claim on a client. One consistent query.
    pub async fn claimant(
        &self,
        partner: &PartnerId,
        client: &ClientId,
    ) -> Result<Option<Tenant>, StoreError> {
        let pointer = self.pointers(partner, client).limit(1).send().await?.items;
        let pointer = pointer.unwrap_or_default().into_iter().next();
        let tenant = pointer.as_ref().and_then(|item| as_text(item, TENANT));
        Ok(tenant.and_then(|tenant| tenant.parse().ok()))
    }

    /// Up to 100 of the open claims on a client, by time, the pending ones first; as many of each tenant, so that the
    /// claims of one hide those of no other.
    pub async fn open_claims(
        &self,
        partner: &PartnerId,
        client: &ClientId,
    ) -> Result<OpenClaims, StoreError> {
        let pointers = self.pointers(partner, client);
        let pointers = pointers.into_paginator().items().send();
        let pointers = pointers.collect::<Result<Vec<_>, _>>().await?;
        let mut of_tenant: HashMap<&str, usize> = HashMap::new();
        let mut ids = Vec::new();
        for pointer in &pointers {
            let id = as_text(pointer, SK).and_then(|sk| sk.strip_prefix("claim#"));
            let before = of_tenant.entry(as_text(pointer, TENANT).unwrap_or_default());
            let before = before.and_modify(|before| *before += 1).or_default();
            ids.extend(id.map(|id| (*before, ClaimId::from_table(id))));
        }
        ids.sort_by_key(|(before, _)| *before);
        let ids: Vec<ClaimId> = ids.into_iter().map(|(_, id)| id).collect();
        let (mut claims, mut others, mut read) = (Vec::new(), Vec::new(), 0);
        for some in ids.chunks(MOST_CLAIMS) {
            if claims.len() >= MOST_CLAIMS || read >= MOST_READ {
                break;
            }
            read = read.saturating_add(some.len());
            let keys = some
                .iter()
                .map(|id| keyed(table::claim(partner, id), ALONE));
            for item in self.0.batch_get(keys.collect()).await? {
                let stored = StoredClaim::from_item(&item)?;
                match stored.claim.status {
                    ClaimStatus::Pending => claims.push(stored),
                    _ => others.push(stored),
                }
            }
        }
        let are_more = claims.len() > MOST_CLAIMS || (read < ids.len() && !claims.is_empty());
        claims.extend(others);
        claims.truncate(MOST_CLAIMS);
        claims.sort_by_key(|stored| stored.claim.received_at);
        Ok(OpenClaims { claims, are_more })
    }

    fn pointers(&self, partner: &PartnerId, client: &ClientId) -> QueryFluentBuilder {
        let query = self.0.client.query().table_name(&*self.0.name);
        let values = HashMap::from([
            (":client".to_owned(), text(table::client(partner, client))),
            (":kind".to_owned(), text("claim#")),
        ]);
        query
            .consistent_read(true)
            .key_condition_expression(format!("{PK} = :client AND begins_with({SK}, :kind)"))
            .set_expression_attribute_values(Some(values))
    }

    /// Binds a client to a tenant; a conflict if it is bound to another and no operator has decided otherwise, or if a
    /// claim was registered since it was `seen`.
    pub async fn bind(
        &self,
        partner: &PartnerId,
        client: &ClientId,
        seen: &StoredClient,
        tenant: &Tenant,
    ) -> Result<Write, StoreError> {
        let update = Update {
            pk: table::client(partner, client),
            expression: "SET tenant = :tenant REMOVE decision".into(),
            condition: "(attribute_not_exists(tenant) OR tenant = :tenant OR decision = :tenant) AND (claims_version = :seen OR (attribute_not_exists(claims_version) AND :seen = :none))",
            values: vec![
                (":tenant", text(tenant.as_str())),
                (":seen", number(seen.version)),
                (":none", number(0)),
            ],
        };
        Ok(update.send(&self.0).await?.into())
    }

    /// Records that an operator gives a client to a tenant. The next look at the client carries it out.
    pub async fn decide(
        &self,
        partner: &PartnerId,
        client: &ClientId,
        tenant: &Tenant,
    ) -> Result<(), StoreError> {
        let update = Update {
            pk: table::client(partner, client),
            expression: "SET decision = :tenant ADD claims_version :one".into(),
            condition: "attribute_not_exists(pk) OR attribute_exists(pk)",
            values: vec![(":tenant", text(tenant.as_str())), (":one", number(1))],
        };
        update.send(&self.0).await.map(drop)
    }
}
