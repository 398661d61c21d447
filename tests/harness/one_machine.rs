//! The bundle `local` as a process of its own, on free ports.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::programs;

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
        let (process, url, hub) = spawn(settings, directory).await;
        Self { url, hub, process }
    }

    /// Kills it (SIGKILL), if it runs, and starts it again with the same addresses, which are set in `settings`.
    pub(crate) async fn kill_and_restart(
        &mut self,
        settings: &mut BTreeMap<String, String>,
        directory: &Path,
    ) {
        if self.process.id().is_some() {
            self.process.kill().await.expect("killed");
        }
        let address = |url: &str| url.trim_start_matches("http://").to_owned();
        settings.insert("LISTEN".to_owned(), address(&self.url));
        settings.insert("HUB_LISTEN".to_owned(), address(&self.hub));
        let (process, url, hub) = spawn(settings, directory).await;
        assert_eq!((&url, &hub), (&self.url, &self.hub));
        self.process = process;
    }

    /// Asks it to stop (SIGTERM) and waits until it has.
    pub(crate) async fn stop(&mut self) {
        let id = self.process.id().expect("it runs").to_string();
        let asked = Command::new("kill")
            .args(["-TERM", &id])
            .status()
            .await
            .expect("kill");
        assert!(asked.success());
        let ended = self.process.wait().await.expect("it ends");
        assert!(ended.success(), "{ended}");
    }
}

/// Starts the program and reads the addresses it prints.
async fn spawn(settings: &BTreeMap<String, String>, directory: &Path) -> (Child, String, String) {
    let log = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(directory.join("log"))
        .expect("a log");
    let mut process = Command::new(programs::program("local-for-tests"))
        .env_clear()
        .envs(settings)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .expect("the bundle starts");
    let mut output = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(directory.join("output"))
        .expect("a file");
    let mut lines = BufReader::new(process.stdout.take().expect("its output")).lines();
    let (mut url, mut hub) = (String::new(), String::new());
    while let Some(line) = lines.next_line().await.expect("a line") {
        writeln!(output, "{line}").expect("written down");
        match line.split_whitespace().collect::<Vec<_>>().as_slice() {
            ["bundle", address] => url = (*address).to_owned(),
            ["hub", address, ..] => hub = (*address).to_owned(),
            ["Ctrl-C", ..] => return (process, url, hub),
            _ => {}
        }
    }
    let log = std::fs::read_to_string(directory.join("log")).unwrap_or_default();
    panic!("the bundle did not start:\n{log}");
}
