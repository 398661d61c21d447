//! The functions behind the table's stream, and their schedules.

use std::sync::Arc;
use std::time::Duration;

use embedded::database::Embedded;
use fold::Fold;
use provision::Provision;
use runtime::clock;
use store::stream::{Record, StoppedBefore};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::bundle::StartError;
use crate::follower::Follower;

/// How often the schedules of `fold` and `provision` run; every minute on AWS.
const PASS: Duration = Duration::from_secs(1);

/// How often the records of the stream are removed that both followers have handled.
const REMOVAL: Duration = Duration::from_secs(10);

/// How long one run of `fold` may take, as on AWS.
const FOLD_RUN_TIME: Duration = Duration::from_secs(60);

/// How long one run of `provision` may take, as on AWS.
const PROVISION_RUN_TIME: Duration = Duration::from_secs(80);

/// The functions that no HTTP request calls.
pub(crate) struct Workers {
    /// `fold`, which also runs by a schedule.
    pub(crate) fold: Fold,
    /// `provision`, which also runs by a schedule.
    pub(crate) provision: Provision,
}

impl Workers {
    /// Starts the stream followers and the schedules of `fold` and `provision`.
    pub(crate) async fn start(
        self,
        embedded: Arc<Embedded>,
    ) -> Result<Vec<JoinHandle<()>>, StartError> {
        let (endpoint, table) = (embedded.endpoint(), self.fold.settings.table_name.clone());
        let facts = Arc::new(Follower::new("fold", endpoint, &table, Fold::takes));
        let due = Follower::new("provision", endpoint, &table, Provision::takes);
        let due = Arc::new(due);
        facts.prepare().await?;
        let followers = [facts.clone(), due.clone()];
        let (fold, sender) = (self.fold.clone(), self.fold);
        let (provision, worker) = (self.provision.clone(), self.provision);
        Ok(vec![
            tokio::spawn(async move { facts.follow(|records| join(fold.clone(), records)).await }),
            tokio::spawn(
                async move { due.follow(|records| act(provision.clone(), records)).await },
            ),
            tokio::spawn(async move {
                loop {
                    tokio::time::sleep(PASS).await;
                    if let Err(error) = sender
                        .catch_up(clock::now(), Instant::now() + FOLD_RUN_TIME)
                        .await
                    {
                        tracing::error!(%error, "events of the outbox could not be sent again, or facts not be joined anew");
                    }
                }
            }),
            tokio::spawn(async move {
                loop {
                    tokio::time::sleep(REMOVAL).await;
                    if let Err(error) = remove_handled(&embedded, &table, &followers).await {
                        tracing::warn!(%error, "handled records of the stream stay for now");
                    }
                }
            }),
            tokio::spawn(async move {
                loop {
                    tokio::time::sleep(PASS).await;
                    if let Err(error) = worker.tick(Instant::now() + PROVISION_RUN_TIME).await {
                        tracing::error!(%error, "what is due could not be worked off");
                    }
                }
            }),
        ])
    }
}

/// Removes the records of the stream that every follower has handled, but for the last of them, after which the followers
/// go on.
async fn remove_handled(
    embedded: &Embedded,
    table: &str,
    followers: &[Arc<Follower>],
) -> Result<(), StartError> {
    let mut handled = Vec::new();
    for follower in followers {
        handled.push(follower.handled_until().await?);
    }
    // A follower that has handled nothing yet needs all of them.
    if let Some(Some(before)) = handled.into_iter().min() {
        embedded.remove_stream_records(table, before).await?;
    }
    Ok(())
}

async fn join(fold: Fold, records: Vec<Record>) -> Result<(), StoppedBefore> {
    fold.handle(&records, Instant::now() + FOLD_RUN_TIME).await
}

async fn act(provision: Provision, records: Vec<Record>) -> Result<(), StoppedBefore> {
    provision
        .handle(&records, Instant::now() + PROVISION_RUN_TIME)
        .await
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use dialog360::id::ChannelRef;
    use onboarding::fact::{Assertion, Fact, Source};
    use store::Facts;

    use runtime::aws;

    use super::*;

    /// Follows the stream until `wanted` records have come, and counts them.
    async fn follow(follower: &Follower, wanted: usize) -> usize {
        let seen = AtomicUsize::new(0);
        let handle = |records: Vec<Record>| {
            seen.fetch_add(records.len(), Ordering::SeqCst);
            async { Ok(()) }
        };
        let enough = async {
            while seen.load(Ordering::SeqCst) < wanted {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            // The checkpoint is written after the batch.
            while follower.handled_until().await.unwrap().is_none() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            () = follower.follow(handle) => {}
            () = enough => {}
        }
        seen.into_inner()
    }

    async fn append(facts: &Facts, cause: &str) {
        let channel = ChannelRef::new("aPA".parse().unwrap(), "bCH".parse().unwrap());
        let (source, at) = (Source::Provision, clock::now());
        let fact = Fact::new(channel, source, Assertion::default(), at, cause);
        let _new = facts.append(&fact).await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_both_followers_have_handled_is_removed_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let embedded = Embedded::open(&directory.path().join("db")).await.unwrap();
        let table = aws::local::table(embedded.endpoint(), "table");
        table.create().await.unwrap();
        let follower = |name| {
            let follower = Follower::new(name, embedded.endpoint(), "table", |_| true);
            Arc::new(follower)
        };
        let both = [follower("a"), follower("b")];
        both[0].prepare().await.unwrap();
        let facts = Facts::new(table);
        for cause in ["1", "2", "3"] {
            append(&facts, cause).await;
        }
        assert_eq!(follow(&both[0], 3).await, 3);
        remove_handled(&embedded, "table", &both).await.unwrap();
        // The second has handled nothing: all are there for it, and then none but the last.
        assert_eq!(follow(&both[1], 3).await, 3);
        remove_handled(&embedded, "table", &both).await.unwrap();
        let late = [follower("late")];
        append(&facts, "4").await;
        assert!(
            follow(&late[0], 2).await <= 3,
            "the last that was handled, and the new one"
        );
        assert_eq!(follow(&both[0], 1).await, 1);
    }
}
