//! Instructions, which no neighbour on the machine changes: counted by callgrind.

use std::error::Error;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tests::aws::runtime_api::{Function, Processes};
use tokio::process::Command;

use crate::measure::{ask, log};
use crate::subject::Subject;

/// Requests between the two counts.
const REQUESTS: u64 = 500;

/// What a program executes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Instructions {
    /// From its start until it is asked to stop after its first answer.
    pub(crate) start: u64,
    /// For one request more.
    pub(crate) request: u64,
}

/// Counts those of each.
pub(crate) async fn instructions(subjects: &[Subject], directory: &Path) -> Result<Vec<Instructions>, Box<dyn Error>> {
    let mut all = Vec::new();
    for subject in subjects {
        let start = count(subject, 1, directory).await?;
        let more = count(subject, 1 + REQUESTS, directory).await?;
        all.push(Instructions { start, request: more.saturating_sub(start) / REQUESTS });
    }
    Ok(all)
}

/// The instructions of a process that answers so many requests and is then asked to stop.
async fn count(subject: &Subject, requests: u64, directory: &Path) -> Result<u64, Box<dyn Error>> {
    let counts = directory.join("callgrind.out");
    let _of_before = fs::remove_file(&counts);
    let wrapper = directory.join("under-callgrind");
    let program = &subject.spec.program;
    let valgrind = "exec /usr/bin/valgrind --quiet --tool=callgrind";
    let script = format!("#!/bin/sh\n{valgrind} --callgrind-out-file={} {}\n", counts.display(), program.display());
    fs::write(&wrapper, script)?;
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o700))?;

    let mut spec = subject.spec.clone();
    spec.program = wrapper;
    // A second of patience for a connection is too little for a process that is fifty times as slow.
    let function = Function::new(spec, Processes::default());
    let mut answer = ask(&function, subject).await?;
    for _ in 1..requests {
        answer = ask(&function, subject).await?;
    }
    Command::new("kill").args(["-TERM", &answer.process.pid.to_string()]).status().await?;
    while !answer.process.has_ended() {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let counts = fs::read_to_string(&counts).map_err(|why| format!("{}: {why}\n{}", subject.label, log(subject)))?;
    let total = counts.lines().rev().find_map(|line| line.strip_prefix("totals:").or(line.strip_prefix("summary:")));
    Ok(total.ok_or("callgrind counted nothing")?.trim().parse()?)
}
