//! The state that all handlers and background tasks share.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{sync::Semaphore, task::JoinSet};

use crate::{
    call_log::CallLog,
    faults::Faults,
    settings::{Partner, Settings},
    store::{self, Store},
};

pub(crate) struct Simulator {
    pub(crate) partners: BTreeMap<String, Partner>,
    pub(crate) public_url: String,
    /// A host name, beside those of this machine, that pages and controls answer to.
    pub(crate) public_host: Option<String>,
    pub(crate) stage_delay: Duration,
    pub(crate) token_lifetime: Duration,
    pub(crate) store: Store,
    pub(crate) http: reqwest::Client,
    pub(crate) call_log: CallLog,
    pub(crate) faults: Faults,
    /// Limits how many webhooks are sent at the same time.
    pub(crate) sending: Semaphore,
    tasks: Mutex<JoinSet<()>>,
}

/// How many webhooks are sent at the same time.
const SENDING_AT_ONCE: usize = 32;

impl Simulator {
    pub(crate) fn new(
        settings: Settings,
        public_url: String,
        public_host: Option<String>,
        store: Store,
        http: reqwest::Client,
    ) -> Arc<Self> {
        Arc::new(Self {
            partners: settings
                .partners
                .into_iter()
                .map(|partner| (partner.id.clone(), partner))
                .collect(),
            public_url,
            public_host,
            stage_delay: settings.stage_delay,
            token_lifetime: settings.token_lifetime,
            store,
            http,
            call_log: CallLog::new(settings.rate),
            faults: Faults::default(),
            sending: Semaphore::new(SENDING_AT_ONCE),
            tasks: Mutex::default(),
        })
    }

    /// Runs a task until it ends or the simulator stops. A stop can cut it at every `await`, so a task
    /// stores what must survive before it awaits.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        if store::is_rehearsal() {
            return;
        }
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }

    pub(crate) fn abort_tasks(&self) {
        self.tasks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .abort_all();
    }
}
