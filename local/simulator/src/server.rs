//! Starts and stops the simulator.

use std::{fmt, io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use axum::{Router, middleware};
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle, time::timeout};
use url::Url;

use crate::{
    calls, controls, messaging, pages, partner_api, same_machine, settings::Settings,
    simulator::Simulator, store::Store,
};

/// How long open requests may take to end when the simulator stops.
const STOP_WITHIN: Duration = Duration::from_secs(5);

/// Why the simulator did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address is in use, or not of this machine.
    #[error("cannot listen on {addr}: {source}")]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// The system's error.
        source: io::Error,
    },
    /// The state file exists and cannot be read.
    #[error("cannot read the state file {}: {source}", path.display())]
    State {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// `public_url` is not an absolute http or https address.
    #[error("the public URL is not an absolute http or https address")]
    PublicUrl,
    /// No HTTP client can be made, so webhooks could not be sent.
    #[error("cannot make an HTTP client: {0}")]
    Client(#[source] reqwest::Error),
}

/// A running simulator. Dropping it stops it at once, as a crash would.
pub struct RunningSimulator {
    addr: SocketAddr,
    simulator: Arc<Simulator>,
    stop: Option<oneshot::Sender<()>>,
    server: JoinHandle<()>,
}

impl RunningSimulator {
    /// Listens, resumes from the state file, and returns once requests are served.
    pub async fn start(settings: Settings) -> Result<Self, StartError> {
        let public_host = settings
            .public_url
            .as_deref()
            .map(public_host)
            .transpose()?;
        let http = reqwest::Client::builder()
            // Webhooks go to this machine, where no proxy is needed.
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(StartError::Client)?;
        // Binds before it reads the state: a second simulator on the same address must not send the first one's
        // webhooks.
        let listen_error = |source| StartError::Listen {
            addr: settings.listen,
            source,
        };
        let listener = TcpListener::bind(settings.listen)
            .await
            .map_err(listen_error)?;
        let addr = listener.local_addr().map_err(listen_error)?;
        let store =
            Store::open(settings.state_file.clone()).map_err(|source| StartError::State {
                path: settings.state_file.clone().unwrap_or_default(),
                source,
            })?;
        let public_url = match &settings.public_url {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => format!("http://{addr}"),
        };
        let simulator = Simulator::new(settings, public_url, public_host, store, http);
        simulator.resume();

        let (stop, stopped) = oneshot::channel::<()>();
        let serve = axum::serve(listener, routes(&simulator)).with_graceful_shutdown(async {
            let _ = stopped.await;
        });
        let server = tokio::spawn(async {
            if let Err(error) = serve.await {
                tracing::error!(%error, "the simulator stopped serving");
            }
        });
        tracing::info!(%addr, url = %simulator.public_url, "simulator running");
        Ok(Self {
            addr,
            simulator,
            stop: Some(stop),
            server,
        })
    }

    /// The address it listens on.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Its public URL, without a slash at the end.
    pub fn url(&self) -> &str {
        &self.simulator.public_url
    }

    /// Stops after open requests have ended, or after five seconds. Undelivered webhooks stay in the state file.
    pub async fn stop(mut self) {
        if let Some(stop) = self.stop.take() {
            // Fails only if the server has stopped by itself.
            let _ = stop.send(());
        }
        if timeout(STOP_WITHIN, &mut self.server).await.is_err() {
            tracing::warn!("open requests were cut off");
        }
    }
}

impl fmt::Debug for RunningSimulator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunningSimulator")
            .field("addr", &self.addr)
            .field("url", &self.url())
            .finish_non_exhaustive()
    }
}

impl Drop for RunningSimulator {
    fn drop(&mut self) {
        self.server.abort();
        self.simulator.abort_tasks();
    }
}

fn routes(simulator: &Arc<Simulator>) -> Router {
    Router::new()
        .merge(pages::routes())
        .merge(controls::routes())
        .route_layer(middleware::from_fn_with_state(
            Arc::clone(simulator),
            same_machine::only,
        ))
        .merge(
            Router::new()
                .merge(partner_api::routes())
                .merge(messaging::routes())
                .route_layer(middleware::from_fn_with_state(
                    Arc::clone(simulator),
                    calls::watch,
                )),
        )
        .with_state(Arc::clone(simulator))
}

fn public_host(text: &str) -> Result<String, StartError> {
    let url = Url::parse(text).map_err(|_| StartError::PublicUrl)?;
    match url.host_str() {
        Some(host) if matches!(url.scheme(), "http" | "https") => Ok(host.to_owned()),
        _ => Err(StartError::PublicUrl),
    }
}
