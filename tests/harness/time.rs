//! Time that need not pass: a lease whose holder is killed runs out at once and not after 20 s or 50 s, what it had taken
//! is due at once and not after a minute, and a wait is over when a test says so.

use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use dialog360::id::PartnerId;
use runtime::aws::local::dynamodb_config;
use runtime::clock;
use store::table::{self, ALONE, DUE_PK, Item, PK, SK, Table, prefix};

/// The attribute that holds the token of a lease.
pub(crate) const LEASE: &str = "lease";

/// The attribute that holds the token of who took due work.
const TAKEN: &str = "taken";

/// The key of an item.
pub(crate) type Key = HashMap<String, AttributeValue>;

/// A table: where it answers, and its name.
#[derive(Clone)]
pub(crate) struct Where {
    pub(crate) client: Client,
    pub(crate) table: String,
}

/// A client of the DynamoDB at `endpoint`.
pub(crate) fn dynamodb(endpoint: &str) -> Client {
    Client::from_conf(dynamodb_config(endpoint))
}

impl Where {
    /// Ends every lease, and the put-off of what was taken: nobody is alive who is at it.
    pub(crate) async fn end_leases(&self) {
        for item in self.items().await {
            if let Some(token) = item.get(LEASE) {
                let _was_held = self.end_lease(key(&item), token).await;
            }
            if let Some(token) = item.get(TAKEN) {
                let _was_taken = self.end_put_off(key(&item), token).await;
            }
        }
    }

    /// Ends the lease `token` on an item. Returns whether it was still held.
    pub(crate) async fn end_lease(&self, key: Key, token: &AttributeValue) -> bool {
        let values = [(":token".to_owned(), token.clone())];
        let past = "SET lease_until = :past";
        self.update(key, past, "lease = :token", values).await
    }

    /// Ends the put-off of due work that was taken under `token`. Returns whether it was still taken.
    pub(crate) async fn end_put_off(&self, key: Key, token: &AttributeValue) -> bool {
        let values = [(":token".to_owned(), token.clone())];
        let past = "SET due_order = :past";
        self.update(key, past, "taken = :token", values).await
    }

    /// Ends every wait of what nobody is at, but for sweeps and comparisons, which no customer waits for.
    pub(crate) async fn end_waits(&self) {
        for item in self.items().await {
            let lane = item.get(DUE_PK).and_then(|lane| lane.as_s().ok());
            let is_daily = |pk: &String| {
                [prefix::SWEEP, prefix::REFOLD]
                    .iter()
                    .any(|it| pk.starts_with(it))
            };
            let is_daily = item[PK].as_s().is_ok_and(is_daily);
            if let Some(lane) =
                lane.filter(|lane| !lane.ends_with("#0") && !lane.ends_with("#3") && !is_daily)
            {
                let past = "SET due_order = :past, not_before = :past";
                // In the line it would be a place.
                let is_free = "due_pk = :lane AND attribute_not_exists(lease) AND attribute_not_exists(taken)";
                let lane = (":lane".to_owned(), AttributeValue::S(lane.clone()));
                self.update(key(&item), past, is_free, [lane]).await;
            }
            let is_worker = |pk: &String| pk.starts_with(prefix::WORK);
            if item[PK].as_s().is_ok_and(is_worker) {
                self.end_stop(&item).await;
            }
        }
    }

    /// Makes the comparison of every stored key due, as if a day had passed since the last one.
    pub(crate) async fn comparisons_are_due(&self) {
        for item in self.items().await {
            let lane = item.get(DUE_PK).and_then(|lane| lane.as_s().ok());
            let Some(lane) = lane.filter(|lane| lane.ends_with("#3")) else {
                continue;
            };
            if item.contains_key("missing_since") {
                self.put_back(&item, "missing_since", 24 * 3600 * 1000)
                    .await;
            }
            let is_free =
                "due_pk = :lane AND attribute_not_exists(lease) AND attribute_not_exists(taken)";
            let lane = (":lane".to_owned(), AttributeValue::S(lane.clone()));
            self.update(key(&item), "SET due_order = :past", is_free, [lane])
                .await;
        }
    }

    /// Makes a partner's sweep due.
    pub(crate) async fn sweep_is_due(&self, partner: &PartnerId) {
        let key = [(PK, table::sweep(partner)), (SK, ALONE.to_owned())];
        let key = key.map(|(name, text)| (name.to_owned(), AttributeValue::S(text)));
        let past = "SET due_order = :past";
        let is_free = "attribute_exists(due_order) AND attribute_not_exists(taken)";
        assert!(
            self.update(key.into(), past, is_free, []).await,
            "no sweep waits"
        );
    }

    /// Makes the facts of every channel that are joined anew every day due.
    pub(crate) async fn refold_is_due(&self) {
        let mut all = 0;
        for item in self.items().await {
            if item[PK]
                .as_s()
                .is_ok_and(|pk| pk.starts_with(prefix::REFOLD))
            {
                let past = "SET due_order = :past";
                let is_there = "attribute_exists(due_order)";
                all += usize::from(self.update(key(&item), past, is_there, []).await);
            }
        }
        assert!(all > 0, "no channel waits for it");
    }

    /// Lets a partner be called again, between two who hold its lease.
    async fn end_stop(&self, item: &Item) {
        let sets = "SET put_back = :past REMOVE worker_state.circuit.stopped";
        let is_free = "attribute_exists(worker_state) AND attribute_not_exists(lease)";
        for _ in 0..100 {
            if self.update(key(item), sets, is_free, []).await {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
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
        let table = Table::new(self.client.clone(), self.table.as_str());
        table.scan().await.expect("a scan")
    }

    /// Writes to an item of which `condition` holds, and says whether it does; where it does not, things went on meanwhile.
    async fn update(
        &self,
        key: Key,
        sets: &str,
        condition: &str,
        values: impl IntoIterator<Item = (String, AttributeValue)>,
    ) -> bool {
        let past = clock::now().as_millisecond() - 1;
        let past = (":past".to_owned(), AttributeValue::N(past.to_string()));
        let update = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(key))
            .update_expression(sets)
            .condition_expression(condition)
            .set_expression_attribute_values(Some(values.into_iter().chain([past]).collect()));
        let Err(error) = update.send().await else {
            return true;
        };
        let error = error.into_service_error();
        assert!(error.is_conditional_check_failed_exception(), "{error:?}");
        false
    }
}

fn key(item: &Item) -> Key {
    let part = |name: &str| (name.to_owned(), item[name].clone());
    [part(PK), part(SK)].into()
}
