//! Time that need not pass: a lease whose holder is killed runs out at once and not after 25 s, and a wait when a test
//! says so.

use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use runtime::aws::local::dynamodb_config;
use runtime::clock;
use store::table::{DUE_AT, Item, PK, SK};

/// The attribute that holds the token of a lease.
pub(crate) const LEASE: &str = "lease";

/// The key of an item.
pub(crate) type Key = HashMap<String, AttributeValue>;

/// A table: the address where it answers, and its name.
#[derive(Clone)]
pub(crate) struct Where {
    pub(crate) endpoint: String,
    pub(crate) table: String,
}

impl Where {
    /// Ends every lease: nobody is alive who holds one.
    pub(crate) async fn end_leases(&self) {
        for item in self.items().await {
            if let Some(token) = item.get(LEASE) {
                self.end_lease(key(&item), token).await;
            }
        }
    }

    /// Ends the lease `token` on an item, if it is still held.
    pub(crate) async fn end_lease(&self, key: Key, token: &AttributeValue) {
        let past = "SET lease_until = :past, due_at = :past";
        let values = [(":token".to_owned(), token.clone())];
        self.update(key, past, "lease = :token", values).await;
    }

    /// Ends every wait of what nobody is at.
    pub(crate) async fn end_waits(&self) {
        for item in self.items().await {
            if item.contains_key(DUE_AT) {
                let past = "SET due_at = :past, not_before = :past";
                let is_free = "attribute_exists(due_at) AND attribute_not_exists(lease)";
                self.update(key(&item), past, is_free, []).await;
            }
        }
    }

    /// Makes the time (ms) in an attribute of an item `milliseconds` earlier.
    pub(crate) async fn put_back(&self, item: &Item, attribute: &str, milliseconds: i64) {
        let earlier = format!("SET {attribute} = {attribute} - :by, put_back = :past");
        let by = AttributeValue::N(milliseconds.to_string());
        let values = [(":by".to_owned(), by)];
        self.update(key(item), &earlier, "attribute_exists(pk)", values)
            .await;
    }

    async fn items(&self) -> Vec<Item> {
        let table = runtime::aws::local::table(&self.endpoint, &self.table);
        table.scan().await.expect("a scan")
    }

    /// Writes to an item of which `condition` holds; where it does not, things went on meanwhile.
    async fn update(
        &self,
        key: Key,
        sets: &str,
        condition: &str,
        values: impl IntoIterator<Item = (String, AttributeValue)>,
    ) {
        let past = clock::now().as_millisecond() - 1;
        let past = (":past".to_owned(), AttributeValue::N(past.to_string()));
        let update = Client::from_conf(dynamodb_config(&self.endpoint))
            .update_item()
            .table_name(&self.table)
            .set_key(Some(key))
            .update_expression(sets)
            .condition_expression(condition)
            .set_expression_attribute_values(Some(values.into_iter().chain([past]).collect()));
        if let Err(error) = update.send().await {
            let error = error.into_service_error();
            assert!(error.is_conditional_check_failed_exception(), "{error:?}");
        }
    }
}

fn key(item: &Item) -> Key {
    let part = |name: &str| (name.to_owned(), item[name].clone());
    [part(PK), part(SK)].into()
}
