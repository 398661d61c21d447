//! The bundle `local` as a process of its own, on free ports.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::{moved_time, until};

/// A running bundle.
pub(crate) struct OneMachine {
    /// Its address.
    pub(crate) url: String,
    /// The simulated hub's; empty if there is none.
    pub(crate) hub: String,
    process: Child,
}

impl OneMachine {
    /// Starts it with `settings`; its log is in `directory`.
    pub(crate) async fn start(settings: &BTreeMap<String, String>, directory: &Path) -> Self {
        let started = Self::try_start(settings, directory).await;
        started.unwrap_or_else(|log| panic!("the bundle did not start:\n{log}"))
    }

    async fn try_start(
        settings: &BTreeMap<String, String>,
        directory: &Path,
    ) -> Result<Self, String> {
        let mut process = Command::new(crate::program())
            .env_clear()
            .envs(settings)
            .envs(moved_time::variables())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(appended(&directory.join("log")))
            .kill_on_drop(true)
            .spawn()
            .expect("the bundle starts");
        let mut output = appended(&directory.join("output"));
        let mut lines = BufReader::new(process.stdout.take().expect("its output")).lines();
        let (mut url, mut hub) = (String::new(), String::new());
        while let Some(line) = lines.next_line().await.expect("a line") {
            writeln!(output, "{line}").expect("written down");
            match line.split_whitespace().collect::<Vec<_>>().as_slice() {
                ["bundle", address] => url = (*address).to_owned(),
                ["hub", address, ..] => hub = (*address).to_owned(),
                ["Ctrl-C", ..] => return Ok(Self { url, hub, process }),
                _ => {}
            }
        }
        Err(std::fs::read_to_string(directory.join("log")).unwrap_or_default())
    }

    /// Kills it (SIGKILL), if it runs.
    pub(crate) async fn kill(&mut self) {
        if self.process.id().is_some() {
            self.process.kill().await.expect("killed");
        }
    }

    /// Starts it again with the same addresses, which are set in `settings`; somebody's connection may have one of them
    /// for a moment.
    pub(crate) async fn restart(
        &mut self,
        settings: &mut BTreeMap<String, String>,
        directory: &Path,
    ) {
        for (name, url) in [("LISTEN", &self.url), ("HUB_LISTEN", &self.hub)] {
            let address = url.trim_start_matches("http://").to_owned();
            settings.insert(name.to_owned(), address);
        }
        let again = until(|| Self::try_start(settings, directory)).await;
        assert_eq!((&again.url, &again.hub), (&self.url, &self.hub));
        *self = again;
    }

    /// Asks it to stop (SIGTERM) and waits until it has.
    pub(crate) async fn stop(&mut self) {
        let id = self.process.id().expect("it runs").to_string();
        let mut kill = Command::new("kill");
        let asked = kill.args(["-TERM", &id]).status().await.expect("kill");
        assert!(asked.success());
        let ended = self.process.wait().await.expect("it ends");
        assert!(ended.success(), "{ended}");
    }
}

fn appended(path: &Path) -> File {
    let file = OpenOptions::new().create(true).append(true).open(path);
    file.expect("a file")
}
