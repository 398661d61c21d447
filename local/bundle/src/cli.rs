//! The command line of the program `local`.

use std::io::Write;
use std::process::ExitCode;

use runtime::settings::Environment;

use crate::bundle::{self, StartError};
use crate::jwt::Jwt;
use crate::settings::Settings;
use embedded::data::Data;
use embedded::secrets_file::SecretsFile;
use embedded::settings::Hub;

const USAGE: &str = "\
Runs the onboarding bundle on one machine, beside a simulated 360dialog. For development only.

  local                 start it (Ctrl-C stops it)
  local token TENANT    print a token for TENANT, good for 12 hours

Settings (environment): LISTEN, HUB (simulated|none), HUB_LISTEN, DATA, SECRETS_FILE, JWT_HS256_SECRET, and those of
the functions. docs/settings.md explains them. RUST_LOG=info logs every request.
";

/// Runs the command that the arguments of this process name.
pub async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match arguments
        .iter()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .as_slice()
    {
        [] => run().await,
        ["token", tenant] => token(tenant),
        ["-h" | "--help" | "help"] => print(USAGE),
        _ => Err(USAGE.to_owned()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            let _closed = writeln!(std::io::stderr(), "{why}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), String> {
    crate::log::start();
    let settings =
        Settings::from_env(Environment::from_process()).map_err(|error| error.to_string())?;
    let (data, hub) = (settings.data.clone(), settings.hub);
    let running = bundle::start(settings)
        .await
        .map_err(|error| error.to_string())?;
    let mut lines = format!("bundle  http://{}\n", running.address);
    if let Some(url) = &running.simulator {
        lines += &format!("hub     {url} (simulated)\n");
    }
    if hub == Hub::Simulated {
        lines += &format!("demo    http://{}/\n", running.address);
    }
    lines += &format!("data    {}\nCtrl-C stops it.\n", data.display());
    print(&lines)?;
    until_stopped().await;
    running.stop().await;
    Ok(())
}

fn token(tenant: &str) -> Result<(), String> {
    let environment = Environment::from_process();
    let settings = Settings::from_env(environment).map_err(|error| error.to_string())?;
    let tenant: onboarding::tenant::Tenant =
        tenant.parse().map_err(|why| format!("TENANT: {why}"))?;
    let secret = secret(&settings).map_err(|error| error.to_string())?;
    let jwt_claim = settings
        .environment
        .text("TENANT_CLAIM")
        .unwrap_or("sub")
        .to_owned();
    let token = Jwt::new(secret)
        .token(&jwt_claim, tenant.as_str())
        .ok_or("no token could be made")?;
    print(&format!("{token}\n"))
}

fn secret(settings: &Settings) -> Result<dialog360::secret::Secret, StartError> {
    let secrets = match &settings.secrets_file {
        Some(path) => SecretsFile::at(path),
        None => {
            let data = Data::open(&settings.data).map_err(|why| StartError::Data {
                path: settings.data.display().to_string(),
                why,
            })?;
            SecretsFile::for_demo(&data.demo_secrets())?
        }
    };
    bundle::jwt_secret(&settings.environment, &secrets)
}

fn print(text: &str) -> Result<(), String> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| error.to_string())
}

async fn until_stopped() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let Ok(mut terminate) = signal(SignalKind::terminate()) else {
            let _interrupted = tokio::signal::ctrl_c().await;
            return;
        };
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        }
    }
    #[cfg(not(unix))]
    {
        let _interrupted = tokio::signal::ctrl_c().await;
    }
}
