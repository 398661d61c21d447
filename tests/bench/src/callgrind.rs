//! Instructions, which no neighbour on the machine changes: counted by callgrind.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::time::Duration;

use tests::aws::runtime_api::{Function, Processes};
use tokio::process::Command;

use crate::measure::{ask, log};
use crate::subject::Subject;

/// The processes have no PATH.
const VALGRIND: &str = "/usr/bin/valgrind";
/// Requests between the two counts.
const REQUESTS: u64 = 500;

/// How often it is looked whether a process has ended.
const GLANCE: Duration = Duration::from_millis(20);

/// What each executes for one request more.
pub(crate) async fn per_request(
    subjects: &[Subject],
    directory: &Path,
) -> Result<Vec<u64>, Box<dyn Error>> {
    let mut all = Vec::new();
    for subject in subjects {
        let one = count(subject, 1, directory).await?;
        let more = count(subject, 1 + REQUESTS, directory).await?;
        all.push(more.saturating_sub(one) / REQUESTS);
    }
    Ok(all)
}

/// The instructions of a subject's second request: enough for requests that take millions.
pub(crate) async fn second_request(
    subject: &Subject,
    directory: &Path,
) -> Result<u64, Box<dyn Error>> {
    let one = count(subject, 1, directory).await?;
    let two = count(subject, 2, directory).await?;
    Ok(two.saturating_sub(one))
}

/// The instructions of a process that answers so many requests and is then asked to stop.
async fn count(subject: &Subject, requests: u64, directory: &Path) -> Result<u64, Box<dyn Error>> {
    let counts = directory.join("callgrind.out");
    let _of_before = fs::remove_file(&counts);
    let runner = format!(
        "{VALGRIND} --quiet --tool=callgrind --callgrind-out-file={}",
        counts.display()
    );
    let function = Function::new(subject.under(&runner, directory)?, Processes::default());
    let mut answer = ask(&function, subject).await?;
    for _ in 1..requests {
        answer = ask(&function, subject).await?;
    }
    // Asked to stop, it writes the counts; killed it would not.
    Command::new("kill")
        .args(["-TERM", &answer.process.pid.to_string()])
        .status()
        .await?;
    while !answer.process.has_ended() {
        tokio::time::sleep(GLANCE).await;
    }
    let counts = fs::read_to_string(&counts)
        .map_err(|why| format!("{}: {why}\n{}", subject.label, log(subject)))?;
    let total = counts.lines().rev().find_map(|line| {
        line.strip_prefix("totals:")
            .or(line.strip_prefix("summary:"))
    });
    Ok(total.ok_or("callgrind counted nothing")?.trim().parse()?)
}
