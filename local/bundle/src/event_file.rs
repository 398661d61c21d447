//! The event bus on one machine: a file with one event per line.

use std::path::PathBuf;

use async_trait::async_trait;
use platform::event_bus::{BusError, BusEvent, EventBus, SOURCE};
use serde::Serialize;
use tokio::sync::Mutex;

use crate::data::append_private;

/// A line as EventBridge hands it to a target, as far as one machine can say.
#[derive(Serialize)]
struct Line<'a> {
    source: &'static str,
    #[serde(flatten)]
    event: &'a BusEvent,
}

/// A file of events.
pub struct FileBus {
    path: PathBuf,
    turn: Mutex<()>,
}

impl FileBus {
    /// Events appended to the file `path`.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            turn: Mutex::new(()),
        }
    }
}

#[async_trait]
impl EventBus for FileBus {
    async fn put(&self, events: &[BusEvent]) -> Result<(), BusError> {
        let mut lines = Vec::new();
        for event in events {
            let line = Line {
                source: SOURCE,
                event,
            };
            serde_json::to_writer(&mut lines, &line)
                .map_err(|_| BusError("an event cannot be written".to_owned()))?;
            lines.push(b'\n');
        }
        let _turn = self.turn.lock().await;
        append_private(&self.path, &lines).map_err(|error| BusError(error.kind().to_string()))
    }
}
