//! The event bus on one machine: a file with one event per line.

use std::path::PathBuf;

use async_trait::async_trait;
use runtime::event_bus::{BusEvent, EventBus, NotTaken, SOURCE};
use serde::Serialize;
use tokio::sync::Mutex;

use embedded::data::append_private;

/// A line: the fields of an EventBridge event that exist on one machine.
#[derive(Serialize)]
struct Line<'a> {
    source: &'static str,
    #[serde(flatten)]
    event: &'a BusEvent,
}

/// A file of events.
pub struct FileBus {
    path: PathBuf,
    lock: Mutex<()>,
}

impl FileBus {
    /// A bus that appends events to the file `path`.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            lock: Mutex::new(()),
        }
    }
}

#[async_trait]
impl EventBus for FileBus {
    async fn put(&self, events: &[BusEvent]) -> Result<(), NotTaken> {
        let not_taken = |why| NotTaken::all(events, why);
        let mut lines = Vec::new();
        for event in events {
            let line = Line {
                source: SOURCE,
                event,
            };
            let written = serde_json::to_writer(&mut lines, &line);
            written.map_err(|_| not_taken("an event cannot be written".to_owned()))?;
            lines.push(b'\n');
        }
        let _guard = self.lock.lock().await;
        let appended = append_private(&self.path, &lines);
        appended.map_err(|error| not_taken(error.kind().to_string()))
    }
}
