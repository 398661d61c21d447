//! Starting and stopping a hub.

use std::{fmt, io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use axum::{Router, middleware};
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle, time::timeout};
use url::Url;

use crate::{
    controls, messaging, pages, partner_api, partner_settings, same_machine, settings::Settings,
    simulator::Simulator, store::Store,
};

/// How long open requests may take to end when the hub stops.
const STOP_WITHIN: Duration = Duration::from_secs(5);

/// Why a hub did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address is taken, or not this machine's.
    #[error("cannot listen on {addr}: {source}")]
    Listen {
        /// The address asked for.
        addr: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The state file is there and cannot be read.
    #[error("cannot read the state file {}: {source}", path.display())]
    State {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: io::Error,
    },
    /// `public_url` is not an absolute http or https address.
    #[error("the public URL is not an absolute http or https address")]
    PublicUrl,
    /// Webhooks cannot be sent.
    #[error("cannot make an HTTP client: {0}")]
    Client(#[source] reqwest::Error),
}

/// A hub that is running. Dropping it stops it at once, as a crash would.
pub struct RunningSimulator {
    addr: SocketAddr,
    hub: Arc<Simulator>,
    stop: Option<oneshot::Sender<()>>,
    server: JoinHandle<()>,
}

impl RunningSimulator {
    /// Listens, takes up what its state file holds, and answers once requests are served.
    pub async fn start(settings: Settings) -> Result<Self, StartError> {
        let public_host = settings
            .public_url
            .as_deref()
            .map(public_host)
            .transpose()?;
        let http = reqwest::Client::builder()
            // The other side is on this machine; a proxy is not.
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(StartError::Client)?;
        // Before the state is touched: a second hub on the same address must not send its webhooks.
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
                path: settings.state_file.unwrap_or_default(),
                source,
            })?;
        let public_url = match settings.public_url {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => format!("http://{addr}"),
        };
        let hub = Simulator::new(
            settings.partners,
            public_url,
            public_host,
            settings.stage_delay,
            store,
            http,
        );
        hub.resume();

        let (stop, stopped) = oneshot::channel::<()>();
        let serve = axum::serve(listener, routes(&hub)).with_graceful_shutdown(async {
            let _ = stopped.await;
        });
        let server = tokio::spawn(async {
            if let Err(error) = serve.await {
                tracing::error!(%error, "hub stopped serving");
            }
        });
        tracing::info!(%addr, url = %hub.public_url, "simulated hub running");
        Ok(Self {
            addr,
            hub,
            stop: Some(stop),
            server,
        })
    }

    /// The address listened on.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// How others reach it, without a slash at the end.
    pub fn url(&self) -> &str {
        &self.hub.public_url
    }

    /// Lets open requests end, for a few seconds at most. Webhooks on their way stay in the state file.
    pub async fn stop(mut self) {
        if let Some(stop) = self.stop.take() {
            // It may have stopped by itself.
            let _ = stop.send(());
        }
        if timeout(STOP_WITHIN, &mut self.server).await.is_err() {
            tracing::warn!("open requests cut");
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
        self.hub.cut_tasks();
    }
}

fn routes(hub: &Arc<Simulator>) -> Router {
    Router::new()
        .merge(pages::routes())
        .merge(controls::routes())
        .route_layer(middleware::from_fn_with_state(
            Arc::clone(hub),
            same_machine::only,
        ))
        .merge(partner_api::routes())
        .merge(partner_settings::routes())
        .merge(messaging::routes())
        .with_state(Arc::clone(hub))
}

fn public_host(text: &str) -> Result<String, StartError> {
    let url = Url::parse(text).map_err(|_| StartError::PublicUrl)?;
    match url.host_str() {
        Some(host) if matches!(url.scheme(), "http" | "https") => Ok(host.to_owned()),
        _ => Err(StartError::PublicUrl),
    }
}
