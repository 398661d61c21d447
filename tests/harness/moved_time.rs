//! Moved time: a test and all that it starts see one common clock that runs several times as fast, so that what takes an
//! hour of the queue takes minutes, or slower, so that a debug build has the time that a release build needs. Debian's libfaketime does it, sleeps and time-outs included; the servers of a run
//! (see [`crate::aws::servers`]) keep the machine's own time.

use std::process::{Command, Stdio};

use tokio::runtime::Builder;

/// How fast the clock runs.
#[derive(Clone, Copy, Debug)]
pub enum Speed {
    /// Eight times as fast. A time-out in the programs is so much shorter, too: a call must be on its way within 0.3 s after
    /// its time was written, which leaves a debug build 0.04 s.
    Fast,
    /// A fifth as fast.
    Slow,
}

impl Speed {
    fn factor(self) -> &'static str {
        match self {
            Self::Fast => "8",
            Self::Slow => "0.2",
        }
    }
}

/// The environment variable that says that time is moved already.
const MARKER: &str = "TIME_IS_MOVED";

/// What `faketime` sets for the program that it runs. Whoever starts a process with an environment of its own passes them
/// on.
const VARIABLES: [&str; 3] = ["LD_PRELOAD", "FAKETIME", "FAKETIME_SHARED"];

/// Runs `body` in moved time; `test` is the path of the test that calls this, as `--exact` takes it.
///
/// The test's own program is run once more for it, under `faketime`.
pub fn in_moved_time<F: Future<Output = ()>>(test: &str, speed: Speed, body: impl FnOnce() -> F) {
    if std::env::var_os(MARKER).is_some() {
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build();
        return runtime.expect("a runtime").block_on(body());
    }
    let program = std::env::current_exe().expect("this test");
    let again = Command::new("faketime")
        .args(["-f", &format!("+0 x{}", speed.factor())])
        .arg(program)
        .args(["--exact", test, "--nocapture"])
        .env(MARKER, "1")
        .stderr(Stdio::inherit())
        .output();
    let again = again.expect("`scripts/debian faketime` installs it");
    let said = String::from_utf8_lossy(&again.stdout);
    eprintln!("{said}");
    assert!(again.status.success(), "{}", again.status);
    assert!(said.contains("test result: ok. 1 passed"), "no {test}");
}

/// The variables that move the time of a program, if that of this process is moved.
pub(crate) fn variables() -> impl Iterator<Item = (&'static str, String)> {
    let names = VARIABLES.into_iter();
    let names = names.filter(|_| std::env::var_os(MARKER).is_some());
    names.filter_map(|name| Some((name, std::env::var(name).ok()?)))
}

/// Lets a command see the machine's own time.
pub(crate) fn not_for(command: &mut Command) -> &mut Command {
    for name in VARIABLES {
        command.env_remove(name);
    }
    command
}
