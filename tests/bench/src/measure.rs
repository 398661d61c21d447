//! Starts, memory and answers, measured from outside of the process.

use std::error::Error;
use std::fs;
use std::time::{Duration, Instant};

use tests::aws::runtime_api::{Answer, Function, Processes};

use crate::subject::Subject;

/// How often every program is started: the median of so many moves by a few per cent from run to run.
const STARTS: usize = 41;
/// Requests before the memory is read and anything is timed.
const WARM_UP: usize = 1_000;
/// Timed requests in turns, so that whatever else the machine does meets all functions alike.
const TURNS: usize = 20;
const REQUESTS_PER_TURN: usize = 250;

/// From the start of the process to its first answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Start {
    /// By the clock.
    pub(crate) wall: Duration,
    /// On a processor, all threads.
    pub(crate) cpu: Duration,
}

/// Of many requests to a process that runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Warm {
    /// The most memory it ever held, bytes.
    pub(crate) peak_memory: u64,
    /// Half of the requests were answered faster.
    pub(crate) median: Duration,
    /// All but one of a hundred were.
    pub(crate) p99: Duration,
}

/// The median start of each, all in the same turns.
pub(crate) async fn starts(subjects: &[Subject]) -> Result<Vec<Start>, Box<dyn Error>> {
    let mut all: Vec<Vec<Start>> = subjects.iter().map(|_| Vec::new()).collect();
    for turn in 0..=STARTS {
        for (subject, starts) in subjects.iter().zip(&mut all) {
            let start = start(subject).await?;
            // In the first turn the program comes from the disk.
            if turn > 0 {
                starts.push(start);
            }
        }
    }
    let median = |starts: Vec<Start>| Start {
        wall: quantile(starts.iter().map(|start| start.wall).collect(), 50),
        cpu: quantile(starts.iter().map(|start| start.cpu).collect(), 50),
    };
    Ok(all.into_iter().map(median).collect())
}

async fn start(subject: &Subject) -> Result<Start, Box<dyn Error>> {
    let begun = Instant::now();
    let function = Function::new(subject.spec.clone(), Processes::default());
    let answer = ask(&function, subject).await?;
    let wall = begun.elapsed();
    let cpu = cpu_time(answer.process.pid)?;
    answer.process.kill().await;
    Ok(Start { wall, cpu })
}

/// Memory and times of each, all at work in the same turns.
pub(crate) async fn warm(subjects: &[Subject]) -> Result<Vec<Warm>, Box<dyn Error>> {
    let mut functions = Vec::new();
    for subject in subjects {
        let function = Function::new(subject.spec.clone(), Processes::default());
        let mut pid = 0;
        for _ in 0..WARM_UP {
            pid = ask(&function, subject).await?.process.pid;
        }
        functions.push((function, peak_memory(pid)?, Vec::new()));
    }
    for _ in 0..TURNS {
        for (subject, (function, _, times)) in subjects.iter().zip(&mut functions) {
            for _ in 0..REQUESTS_PER_TURN {
                times.push(ask(function, subject).await?.duration);
            }
        }
    }
    let mut all = Vec::new();
    for (function, peak_memory, times) in functions {
        function.kill().await;
        all.push(Warm {
            peak_memory,
            median: quantile(times.clone(), 50),
            p99: quantile(times, 99),
        });
    }
    Ok(all)
}

/// The most memory that a process ever held which has answered three requests, bytes.
pub(crate) async fn peak_memory_of_three(subject: &Subject) -> Result<u64, Box<dyn Error>> {
    let function = Function::new(subject.spec.clone(), Processes::default());
    let mut pid = 0;
    for _ in 0..3 {
        pid = ask(&function, subject).await?.process.pid;
    }
    let peak = peak_memory(pid);
    function.kill().await;
    peak
}

/// One request, whose answer must be the good one.
pub(crate) async fn ask(function: &Function, subject: &Subject) -> Result<Answer, Box<dyn Error>> {
    let answer = function.invoke(&subject.event).await?;
    if !subject.is_good(&answer.payload) {
        let said = String::from_utf8_lossy(&answer.payload).into_owned();
        return Err(format!("{} answered {said}\n{}", subject.label, log(subject)).into());
    }
    Ok(answer)
}

/// What it has written.
pub(crate) fn log(subject: &Subject) -> String {
    fs::read_to_string(&subject.spec.log).unwrap_or_default()
}

fn quantile(mut times: Vec<Duration>, per_cent: usize) -> Duration {
    times.sort_unstable();
    times
        .get(times.len() * per_cent / 100)
        .copied()
        .unwrap_or_default()
}

/// The time that the threads of a process were on a processor.
fn cpu_time(pid: u32) -> Result<Duration, Box<dyn Error>> {
    let mut nanoseconds = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let statistics = fs::read_to_string(thread?.path().join("schedstat"))?;
        nanoseconds += statistics
            .split(' ')
            .next()
            .unwrap_or_default()
            .parse::<u64>()?;
    }
    Ok(Duration::from_nanos(nanoseconds))
}

/// The most memory that a process ever held (`VmHWM`), bytes.
fn peak_memory(pid: u32) -> Result<u64, Box<dyn Error>> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .ok_or("no VmHWM")?;
    let kilobytes: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kilobytes * 1024)
}
