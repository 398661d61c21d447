//! What every handler and every background task shares.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{sync::Semaphore, task::JoinSet};

use crate::{settings::Partner, store::Store};

pub(crate) struct Simulator {
    pub(crate) partners: BTreeMap<String, Partner>,
    pub(crate) public_url: String,
    /// Host names, beside those of this machine, that pages and controls answer to.
    pub(crate) public_host: Option<String>,
    pub(crate) stage_delay: Duration,
    pub(crate) store: Store,
    pub(crate) http: reqwest::Client,
    /// Limits how many webhooks are under way at once.
    pub(crate) sending: Semaphore,
    tasks: Mutex<JoinSet<()>>,
}

/// Webhooks that may be under way at the same time.
const SENDING_AT_ONCE: usize = 32;

impl Simulator {
    pub(crate) fn new(
        partners: Vec<Partner>,
        public_url: String,
        public_host: Option<String>,
        stage_delay: Duration,
        store: Store,
        http: reqwest::Client,
    ) -> Arc<Self> {
        Arc::new(Self {
            partners: partners
                .into_iter()
                .map(|partner| (partner.id.clone(), partner))
                .collect(),
            public_url,
            public_host,
            stage_delay,
            store,
            http,
            sending: Semaphore::new(SENDING_AT_ONCE),
            tasks: Mutex::default(),
        })
    }

    /// Runs something until it ends or the hub stops. It is cut at any point where it waits, so
    /// whatever must survive is in the store before that.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }

    pub(crate) fn cut_tasks(&self) {
        self.tasks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .abort_all();
    }
}
