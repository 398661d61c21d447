//! The clock of the functions that run on a schedule: it ticks by itself, and when a test has made something due.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::{Notify, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until};

use super::runtime_api::Function;

/// How often it ticks by itself: once a minute on AWS, more often for tests.
const TICK: Duration = Duration::from_secs(3);

/// The clock of a stack: a schedule for each of two functions.
#[derive(Clone, Default)]
pub(super) struct Clock([Arc<Schedule>; 2]);

/// The schedule of a function.
struct Schedule {
    bell: Notify,
    pace: watch::Sender<Pace>,
    ticks: watch::Sender<Ticks>,
}

/// When a schedule ticks by itself.
#[derive(Clone, Copy)]
enum Pace {
    /// So long after the run of the tick before is over.
    After(Duration),
    /// So long after the tick before, as on AWS, whether or not its run is over.
    Every(Duration),
}

/// How many ticks there were, and how many of their runs are over.
#[derive(Clone, Copy, Default)]
struct Ticks {
    begun: usize,
    over: usize,
}

impl Default for Schedule {
    fn default() -> Self {
        Self {
            bell: Notify::new(),
            pace: watch::Sender::new(Pace::After(TICK)),
            ticks: watch::Sender::default(),
        }
    }
}

impl Clock {
    /// Ticks now.
    pub(super) fn ring(&self) {
        self.0.iter().for_each(|it| it.bell.notify_one());
    }

    /// Ticks by itself so often from now on, as on AWS.
    pub(super) fn ticks_every(&self, time: Duration) {
        for schedule in &self.0 {
            schedule.pace.send_replace(Pace::Every(time));
        }
    }

    /// How often it has ticked for the second function.
    pub(super) fn ticks(&self) -> usize {
        self.0[1].ticks.borrow().begun
    }

    /// Waits until it has ticked once more for the second function, and no run of that is under way.
    pub(super) async fn next_tick_is_over(&self) {
        let mut ticks = self.0[1].ticks.subscribe();
        let before = ticks.borrow().begun;
        let is_over = |ticks: &Ticks| ticks.begun > before && ticks.over == ticks.begun;
        ticks.wait_for(is_over).await.expect("it goes on");
    }

    /// Starts the schedules of two functions.
    pub(super) fn start(&self, functions: [&Arc<Function>; 2]) -> [JoinHandle<()>; 2] {
        let [first, second] = functions;
        let start = |schedule: &Arc<Schedule>, function: &Arc<Function>| {
            tokio::spawn(schedule.clone().follow(function.clone()))
        };
        [start(&self.0[0], first), start(&self.0[1], second)]
    }
}

impl Schedule {
    async fn follow(self: Arc<Self>, function: Arc<Function>) {
        let (mut paces, mut runs) = (self.pace.subscribe(), JoinSet::new());
        let mut last = Instant::now();
        loop {
            let pace = *paces.borrow_and_update();
            let (Pace::After(time) | Pace::Every(time)) = pace;
            tokio::select! {
                () = self.bell.notified() => {}
                () = sleep_until(last + time) => {}
                Ok(()) = paces.changed() => continue,
            }
            last = Instant::now();
            self.ticks.send_modify(|ticks| ticks.begun += 1);
            runs.spawn(self.clone().tick(function.clone()));
            if let Pace::After(_) = pace {
                while runs.join_next().await.is_some() {}
                last = Instant::now();
            }
            while runs.try_join_next().is_some() {}
        }
    }

    async fn tick(self: Arc<Self>, function: Arc<Function>) {
        let tick = json!({"version": "0", "source": "aws.events", "detail-type": "Scheduled Event", "detail": {}});
        if let Err(failure) = function.invoke(&tick).await {
            eprintln!("a tick failed: {failure}");
        }
        self.ticks.send_modify(|ticks| ticks.over += 1);
    }
}
