//! Puts the functions together and runs them.

use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware::from_fn;
use dialog360::client::MESSAGING_ORIGIN;
use dialog360::id::PartnerId;
use dialog360::secret::Secret;
use fold::Fold;
use provision::Provision;
use runtime::aws;
use runtime::event_bus::EventBus;
use runtime::http::Problem;
use runtime::http::Refusal;
use runtime::secrets::PartnerSecrets;
use runtime::settings::{Environment, SettingError};
use runtime::tls::{NoTls, Tls};
use simulator::RunningSimulator;
use store::table::Table;
use store::{Channels, ClaimedIds, Claims, Events, IoTimestamps, KeyFingerprint};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use url::Url;

use crate::cors;
use crate::demo::Demo;
use crate::event_file::FileBus;
use crate::follower::StreamError;
use crate::jwt::{Guarded, Jwt};
use crate::settings::Settings;
use crate::workers::Workers;
use embedded::data::Data;
use embedded::database::{Embedded, EmbeddedError, write_endpoint};
use embedded::key_file::{KeyFile, KeyFileError};
use embedded::secrets_file::{SecretsFile, SecretsFileError};
use embedded::settings::{BODIES_TABLE, Hub, TABLE};

/// The tenant of the demo.
const DEMO_TENANT: &str = "demo";

/// How long open requests may take to end when the bundle is stopped.
const STOPPING: Duration = Duration::from_secs(3);

/// Why the bundle does not start. Each message names the setting to change.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A setting is missing or malformed.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// An address is in use, or is not of this machine.
    #[error(
        "{setting}: {address} cannot be used ({why}). Stop what uses it, or set {setting} to another address."
    )]
    Address {
        /// `LISTEN` or `HUB_LISTEN`
        setting: &'static str,
        /// The address.
        address: SocketAddr,
        /// The system's error.
        why: io::Error,
    },
    /// The data directory cannot be used.
    #[error("DATA {path}: {why}")]
    Data {
        /// The directory.
        path: String,
        /// The system's error.
        why: io::Error,
    },
    /// The secrets file cannot be used.
    #[error(transparent)]
    Secrets(#[from] SecretsFileError),
    /// The key file cannot be used.
    #[error(transparent)]
    KeyFile(#[from] KeyFileError),
    /// The simulator does not start.
    #[error("the simulator: {0}")]
    Simulator(String),
    /// The embedded database does not start.
    #[error(transparent)]
    Database(#[from] EmbeddedError),
    /// The stream cannot be followed.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// No HTTP client can be made.
    #[error(transparent)]
    Client(#[from] NoTls),
}

/// A running bundle.
pub struct Running {
    /// The address it listens on.
    pub address: SocketAddr,
    /// The URL of the simulator, if there is one.
    pub simulator: Option<String>,
    data: Data,
    stop: watch::Sender<bool>,
    server: JoinHandle<io::Result<()>>,
    workers: Vec<JoinHandle<()>>,
    running_simulator: Option<RunningSimulator>,
    _embedded: Arc<Embedded>,
    _lock: File,
}

/// Starts the bundle and, unless `HUB=none`, the simulator and the demo.
pub async fn start(settings: Settings) -> Result<Running, StartError> {
    let unusable = |why| StartError::Data {
        path: settings.data.display().to_string(),
        why,
    };
    let data = Data::open(&settings.data).map_err(unusable)?;
    let listener = TcpListener::bind(settings.listen).await;
    let listener = listener.map_err(|why| StartError::Address {
        setting: "LISTEN",
        address: settings.listen,
        why,
    })?;
    let lock = data.lock().map_err(unusable)?;
    data.check_layout().map_err(unusable)?;
    let address = listener.local_addr().unwrap_or(settings.listen);
    let secrets = match (&settings.secrets_file, settings.hub) {
        (Some(path), _) => SecretsFile::at(path),
        (None, _) => SecretsFile::for_demo(&data.demo_secrets())?,
    };
    let base = match settings.hub {
        Hub::Simulated => settings
            .environment
            .clone()
            .with_default("PARTNER_IDS", secrets.partner_ids()?),
        Hub::None => settings.environment.clone(),
    };
    secrets.check(&base.partner_ids()?)?;
    let (mut running_simulator, mut unsigned_partner) = (None, None);
    if settings.hub == Hub::Simulated {
        let partners = simulated_partners(&settings, &secrets, address)?;
        unsigned_partner = takes_unsigned_links(&partners);
        running_simulator = Some(start_simulator(&settings, &data, partners).await?);
    }
    let environment = environment(base, address, running_simulator.as_ref());
    let jwt = Jwt::new(jwt_secret(&settings.environment, &secrets)?);

    let embedded = Arc::new(Embedded::open(&data.database()).await?);
    let table = aws::local::table(
        embedded.endpoint(),
        environment.text("TABLE_NAME").unwrap_or(TABLE),
    );
    table.create().await.map_err(EmbeddedError::from)?;
    let bodies = environment.text("BODIES_TABLE_NAME");
    let bodies = table.beside(bodies.unwrap_or(BODIES_TABLE));
    let created = bodies.create_for_bodies().await;
    created.map_err(EmbeddedError::from)?;
    let source = Arc::new(secrets);
    let fingerprint = KeyFingerprint::new(table.clone());
    let seal = KeyFile::open_or_make(data.encryption_key(), &fingerprint).await?;
    let bus = bus(&environment, &data);
    let parts = Parts {
        environment,
        table,
        bodies,
        source,
        jwt,
        seal,
        bus,
    };
    let (router, workers) = (parts.router()?, parts.workers()?);
    let router = match running_simulator {
        Some(_) => router
            .layer(from_fn(crate::demo::name_origin))
            .merge(parts.demo(unsigned_partner)?),
        None => router,
    };
    let workers = workers.start(embedded.clone()).await?;
    write_endpoint(&data, &embedded).map_err(unusable)?;

    let (stop, stopped) = watch::channel(false);
    let server = tokio::spawn(serve(listener, router, stopped));
    let simulator = running_simulator
        .as_ref()
        .map(|simulator| simulator.url().to_owned());
    Ok(Running {
        address,
        simulator,
        data,
        stop,
        server,
        workers,
        running_simulator,
        _embedded: embedded,
        _lock: lock,
    })
}

impl Running {
    /// Stops it: accepts no new requests, lets the open ones end, then stops the stream's followers.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        if tokio::time::timeout(STOPPING, self.server).await.is_err() {
            tracing::warn!("some requests were still open");
        }
        self.workers.iter().for_each(JoinHandle::abort);
        if let Some(simulator) = self.running_simulator {
            simulator.stop().await;
        }
        let _gone = std::fs::remove_file(self.data.endpoint());
    }
}

async fn serve(
    listener: TcpListener,
    router: Router,
    mut stopped: watch::Receiver<bool>,
) -> io::Result<()> {
    let stopped = async move {
        let _closed = stopped.wait_for(|stopped| *stopped).await;
    };
    axum::serve(listener, router)
        .with_graceful_shutdown(stopped)
        .await
}

/// The partners of the secrets file as the simulator knows them, with this bundle's addresses.
fn simulated_partners(
    settings: &Settings,
    secrets: &SecretsFile,
    address: SocketAddr,
) -> Result<Vec<simulator::Partner>, StartError> {
    let partners = simulator::Partner::from_secrets_json(secrets.text()?.expose());
    let mut partners = partners.map_err(|why| StartError::Simulator(why.to_string()))?;
    for partner in &mut partners {
        partner.webhook_url = Some(format!(
            "http://{}/{}/webhook",
            reachable(address),
            partner.id
        ));
        partner.check_signature &= settings.check_signature;
        partner.redirect_url = Some(format!(
            "http://{}/{}/redirect",
            reachable(address),
            partner.id
        ));
    }
    Ok(partners)
}

/// The first partner for which a link needs no signature.
fn takes_unsigned_links(partners: &[simulator::Partner]) -> Option<PartnerId> {
    let open = partners.iter().find(|partner| !partner.check_signature)?;
    open.id.parse().ok()
}

async fn start_simulator(
    settings: &Settings,
    data: &Data,
    partners: Vec<simulator::Partner>,
) -> Result<RunningSimulator, StartError> {
    let simulator_settings = simulator::Settings {
        listen: settings.hub_listen,
        state_file: Some(data.simulator_state()),
        partners,
        stage_delay: settings.stage_delay,
        token_lifetime: settings.token_lifetime,
        rate: settings.rate,
        ..simulator::Settings::default()
    };
    RunningSimulator::start(simulator_settings)
        .await
        .map_err(|error| match error {
            simulator::StartError::Listen { addr, source } => StartError::Address {
                setting: "HUB_LISTEN",
                address: addr,
                why: source,
            },
            other => StartError::Simulator(other.to_string()),
        })
}

/// The address to call: loopback for a listener on all addresses.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = if address.ip().is_unspecified() {
        IpAddr::V4(Ipv4Addr::LOCALHOST)
    } else {
        address.ip()
    };
    SocketAddr::new(ip, address.port())
}

/// The functions' settings, with defaults for one machine.
fn environment(
    base: Environment,
    address: SocketAddr,
    simulator: Option<&RunningSimulator>,
) -> Environment {
    let mut environment = base
        .with_default("TABLE_NAME", TABLE)
        .with_default("BODIES_TABLE_NAME", BODIES_TABLE)
        .with_default("TENANT_CLAIM", "sub")
        .with_default("PUBLIC_URL", format!("http://{address}"));
    if let Some(simulator) = simulator {
        environment = environment
            .with_default("PARTNER_API_URL", format!("{}/api/v2", simulator.url()))
            .with_default(
                "ONBOARDING_URL",
                format!(
                    "{}/dashboard/app/{{partner_id}}/permissions",
                    simulator.url()
                ),
            )
            .with_default("ALLOWED_ORIGINS", format!("http://{address}"))
            .with_default("PARTNER_API_RATE", "off")
            .with_item("MESSAGING_ORIGINS", MESSAGING_ORIGIN, simulator.url());
    }
    environment
}

/// The secret that signs the tenants' tokens: `JWT_HS256_SECRET`, else the demo's own.
pub fn jwt_secret(environment: &Environment, secrets: &SecretsFile) -> Result<Secret, StartError> {
    if let Some(secret) = environment.text("JWT_HS256_SECRET") {
        return Ok(Secret::new(secret));
    }
    let expected = "Give the secret your tenants' tokens are signed with; only the demo makes one.";
    secrets
        .demo_jwt_secret()?
        .ok_or_else(|| SettingError::missing("JWT_HS256_SECRET", expected).into())
}

/// The event bus: a file, or none if `EVENT_BUS_NAME` is set and empty.
fn bus(environment: &Environment, data: &Data) -> Option<Arc<dyn EventBus>> {
    if environment.is_empty("EVENT_BUS_NAME") {
        None
    } else {
        Some(Arc::new(FileBus::at(data.events())))
    }
}

/// The parts that the functions are made of.
struct Parts {
    environment: Environment,
    table: Table,
    bodies: Table,
    source: Arc<SecretsFile>,
    seal: KeyFile,
    bus: Option<Arc<dyn EventBus>>,
    jwt: Jwt,
}

impl Parts {
    /// All HTTP functions, with what the gateway does on AWS: CORS, and a token check where the template has an
    /// authorizer.
    fn router(&self) -> Result<Router, StartError> {
        let (env, table) = (&self.environment, &self.table);
        let (timestamps, claims) = (IoTimestamps::new(table.clone()), Claims::new(table.clone()));
        let secrets = PartnerSecrets::new(self.source.clone());
        let sign = sign::Settings::from_env(env)?;
        let allowed = sign.allowed_origins.clone();
        let sign = sign::routes(sign::Sign {
            settings: sign,
            timestamps,
            secrets: secrets.clone(),
        });
        let redirect = redirect::Redirect {
            settings: redirect::Settings::from_env(env)?,
            claims,
            secrets: secrets.clone(),
        };
        let webhook = webhook::Webhook {
            settings: webhook::Settings::from_env(env)?,
            events: Events::new(table.clone(), self.bodies.clone()),
            secrets,
        };
        let channels = channels::Channels {
            settings: channels::Settings::from_env(env)?,
            channels: Channels::new(table.clone()),
            claimed: ClaimedIds::new(table.clone()),
        };
        Ok(Router::new()
            .merge(self.guarded(sign, Guarded::All))
            .merge(self.guarded(redirect::routes(redirect), Guarded::PostOnly))
            .merge(self.guarded(channels::routes(channels), Guarded::All))
            .merge(webhook::routes(webhook))
            .fallback(|| async { Refusal(Problem::not_found("There is nothing at this address.")) })
            .layer(from_fn(move |request, next| {
                cors::answer(allowed.clone(), request, next)
            })))
    }

    fn guarded(&self, routes: Router, guarded: Guarded) -> Router {
        let jwt = self.jwt.clone();
        routes.layer(from_fn(move |request, next| {
            jwt.clone().guard(guarded, request, next)
        }))
    }

    fn provision(&self) -> Result<Provision, StartError> {
        let settings = provision::Settings::from_env(&self.environment)?;
        let (table, seal) = (self.table.clone(), Arc::new(self.seal.clone()));
        let secrets = self.source.clone();
        Ok(Provision::new(
            settings,
            table,
            secrets,
            seal,
            &Tls::new()?,
        )?)
    }

    fn fold(&self) -> Result<Fold, StartError> {
        let settings = fold::Settings::from_env(&self.environment)?;
        let (table, bodies) = (self.table.clone(), self.bodies.clone());
        Ok(Fold::new(settings, table, bodies, self.bus.clone()))
    }

    fn workers(&self) -> Result<Workers, StartError> {
        Ok(Workers {
            fold: self.fold()?,
            provision: self.provision()?,
        })
    }

    fn demo(&self, unsigned_partner: Option<PartnerId>) -> Result<Router, StartError> {
        let channels = channels::Settings::from_env(&self.environment)?;
        let (jwt, claim) = (self.jwt.clone(), channels.tenant_claim);
        let public_url = self
            .environment
            .text("PUBLIC_URL")
            .and_then(|url| Url::parse(url).ok());
        let onboarding_url = self.environment.text("ONBOARDING_URL");
        let is_served = |partner: &PartnerId| channels.partner_ids.iter().any(|it| it == partner);
        let unsigned_partner = unsigned_partner.filter(is_served);
        Ok(crate::demo::routes(Demo {
            partners: channels.partner_ids.iter().cloned().collect(),
            unsigned_partner,
            onboarding_url: onboarding_url.unwrap_or_default().to_owned(),
            tenant: DEMO_TENANT.to_owned(),
            public_url,
            token: Arc::new(move || jwt.token(&claim, DEMO_TENANT).unwrap_or_default()),
        }))
    }
}
