//! Runs the functions as they are built for Lambda, `PROGRAMS/{function}/bootstrap` and `bootstrap.zip`, under a Lambda
//! Runtime API and against an AWS on this machine that answers at once.
//!
//! `bench measure PROGRAMS [FUNCTION …]` measures them beside two hello-worlds, in the same turns. A benchmark, not a
//! test: nothing fails for being slow. `bench largest PROGRAMS` measures only the largest webhooks. `bench answer PROGRAMS RUNNER …` asks each for one answer, run by `RUNNER`.
#![expect(clippy::print_stdout, reason = "the table is what it is for")]

mod aws;
mod callgrind;
mod items;
mod machine;
mod measure;
mod subject;

use std::error::Error;
use std::path::Path;

use tests::aws::runtime_api::{Function, Processes};

use crate::aws::Aws;
use crate::items::Items;
use crate::measure::{Start, Warm};
use crate::subject::{Chosen, Subject};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let directory = tempfile::tempdir()?;
    let items = Items::make(directory.path()).await?;
    let stream_event = items.stream_event();
    let aws = Aws::start(items, directory.path()).await?;
    let subjects = |programs: &str, chosen| {
        subject::subjects(
            Path::new(programs),
            chosen,
            &aws,
            &stream_event,
            directory.path(),
        )
    };
    match arguments
        .iter()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .as_slice()
    {
        ["measure", programs, chosen @ ..] => {
            measure(
                &subjects(programs, Chosen::Beside(chosen))?,
                directory.path(),
            )
            .await?;
            if chosen.is_empty() || chosen.contains(&"webhook") {
                let largest = subject::largest(Path::new(programs), &aws, directory.path())?;
                measure_largest(&largest, directory.path()).await?;
            }
            Ok(())
        }
        ["largest", programs] => {
            let largest = subject::largest(Path::new(programs), &aws, directory.path())?;
            measure_largest(&largest, directory.path()).await
        }
        ["answer", programs, runner @ ..] => {
            answer(
                &subjects(programs, Chosen::Functions)?,
                &runner.join(" "),
                directory.path(),
            )
            .await
        }
        _ => Err("bench measure PROGRAMS [FUNCTION …], bench largest PROGRAMS, or bench answer PROGRAMS RUNNER …".into()),
    }
}

async fn measure(subjects: &[Subject], directory: &Path) -> Result<(), Box<dyn Error>> {
    let starts = measure::starts(subjects).await?;
    let warm = measure::warm(subjects).await?;
    let instructions = callgrind::per_request(subjects, directory).await?;
    print(subjects, &starts, &warm, &instructions);
    Ok(())
}

/// The largest bodies: they decide how much memory `webhook` needs.
async fn measure_largest(subjects: &[Subject], directory: &Path) -> Result<(), Box<dyn Error>> {
    println!("\n| | instructions per request | peak memory, MB |\n|---|--:|--:|");
    for subject in subjects {
        let instructions = callgrind::second_request(subject, directory).await?;
        let peak = as_millions(measure::peak_memory_of_three(subject).await?);
        println!("| {} | {instructions} | {peak:.1} |", subject.label);
    }
    Ok(())
}

/// One event each; a wrong answer, or none, ends the program with an error.
async fn answer(
    subjects: &[Subject],
    runner: &str,
    directory: &Path,
) -> Result<(), Box<dyn Error>> {
    for subject in subjects {
        let function = Function::new(subject.under(runner, directory)?, Processes::default());
        measure::ask(&function, subject).await?;
        function.kill().await;
        println!("{:<12} answered, with {}", subject.label, subject.good);
    }
    Ok(())
}

fn print(subjects: &[Subject], starts: &[Start], warm: &[Warm], instructions: &[u64]) {
    println!("{}\n", machine::describe());
    println!(
        "| | start, ms | of it processor, ms | peak memory, MB | warm median, µs | 99 of 100, µs | instructions per request | zip, MB |"
    );
    println!("|---|--:|--:|--:|--:|--:|--:|--:|");
    let rows = subjects.iter().zip(starts).zip(warm).zip(instructions);
    let mut hello: Option<Row> = None;
    for (((subject, start), warm), instructions) in rows {
        let row = Row::of(start, warm, *instructions);
        let hello = hello.get_or_insert(row);
        let cell = |number: usize| {
            let (value, digits) = (row.0[number], DIGITS[number]);
            format!("{value:.digits$} ({:.2})", value / hello.0[number])
        };
        let cells: Vec<String> = (0..row.0.len()).map(cell).collect();
        let zip = as_millions(subject.zip_bytes);
        println!("| {} | {} | {zip:.2} |", subject.label, cells.join(" | "));
    }
    println!("\nIn brackets: how many times the hello-world.");
}

/// How many digits of each figure mean something.
const DIGITS: [usize; 6] = [1, 1, 1, 0, 0, 0];

#[derive(Clone, Copy)]
struct Row([f64; 6]);

impl Row {
    fn of(start: &Start, warm: &Warm, instructions: u64) -> Self {
        let milliseconds = |time: std::time::Duration| time.as_secs_f64() * 1e3;
        let microseconds = |time: std::time::Duration| time.as_secs_f64() * 1e6;
        Self([
            milliseconds(start.wall),
            milliseconds(start.cpu),
            as_millions(warm.peak_memory),
            microseconds(warm.median),
            microseconds(warm.p99),
            as_f64(instructions),
        ])
    }
}

fn as_millions(bytes: u64) -> f64 {
    as_f64(bytes) / 1e6
}

#[expect(
    clippy::cast_precision_loss,
    reason = "figures to be read, of at most ten digits"
)]
fn as_f64(number: u64) -> f64 {
    number as f64
}
