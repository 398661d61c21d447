//! The clock of the functions that run on a schedule: it ticks by itself, and when a test has made something due.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::runtime_api::Function;

/// How often it ticks by itself: once a minute on AWS, more often for tests.
const TICK: Duration = Duration::from_secs(3);

/// The clock of a stack.
#[derive(Clone, Default)]
pub(super) struct Clock([Arc<Notify>; 2]);

impl Clock {
    /// Ticks now.
    pub(super) fn ring(&self) {
        self.0.iter().for_each(|bell| bell.notify_one());
    }

    /// Starts the schedules of two functions.
    pub(super) fn start(&self, functions: [&Arc<Function>; 2]) -> [JoinHandle<()>; 2] {
        let [first, second] = functions;
        let start = |bell: &Arc<Notify>, function: &Arc<Function>| {
            tokio::spawn(tick(bell.clone(), function.clone()))
        };
        [start(&self.0[0], first), start(&self.0[1], second)]
    }
}

/// The schedule of a function.
async fn tick(bell: Arc<Notify>, function: Arc<Function>) {
    let tick = json!({"version": "0", "source": "aws.events", "detail-type": "Scheduled Event", "detail": {}});
    loop {
        let _rang = tokio::time::timeout(TICK, bell.notified()).await;
        if let Err(failure) = function.invoke(&tick).await {
            eprintln!("a tick failed: {failure}");
        }
    }
}
