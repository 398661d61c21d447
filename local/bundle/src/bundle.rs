//! Puts the functions together and runs them.

use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware::from_fn;
use dialog360::id::PartnerId;
use dialog360::secret::Secret;
use fold::Fold;
use provision::{Provision, RunTime};
use reconcile::Reconcile;
use runtime::aws;
use runtime::clock;
use runtime::event_bus::EventBus;
use runtime::http::Problem;
use runtime::http::Refusal;
use runtime::secrets::PartnerSecrets;
use runtime::settings::{Environment, SettingError};
use runtime::tls::{NoTls, Tls};
use simulator::RunningSimulator;
use store::stream::{Record, StoppedBefore};
use store::table::Table;
use store::{Channels, Claims, Events, IoTimestamps, Requeues};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use url::Url;

use crate::cors;
use crate::demo::Demo;
use crate::event_file::FileBus;
use crate::follower::{Follower, StreamError};
use crate::jwt::{Guarded, Jwt};
use crate::settings::Settings;
use embedded::data::Data;
use embedded::database::{Embedded, EmbeddedError, write_endpoint};
use embedded::secrets_file::{SecretsFile, SecretsFileError};
use embedded::settings::{BODIES_TABLE, Hub, TABLE};
use embedded::vault_file::FileVault;

/// The tenant of the demo.
const DEMO_TENANT: &str = "demo";

/// How often the schedules of `fold` and `reconcile` run; every minute on AWS.
const PASS: Duration = Duration::from_secs(1);

/// How often the records of the stream are removed that both followers have handled.
const REMOVAL: Duration = Duration::from_secs(10);

/// How long one run of `fold` may take, as on AWS.
const FOLD_RUN_TIME: Duration = Duration::from_secs(60);

/// How long one run of `provision` may take.
const PROVISION_RUN_TIME: Duration = Duration::from_secs(20);

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
    let (vault, bus) = (
        Arc::new(FileVault::at(data.vault())),
        bus(&environment, &data),
    );
    let parts = Parts {
        environment,
        table,
        bodies,
        source,
        jwt,
        vault,
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
            .with_default("ALLOWED_ORIGINS", format!("http://{address}"));
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
    vault: Arc<FileVault>,
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
            claims: claims.clone(),
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
            claims,
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
        let (table, vault) = (self.table.clone(), self.vault.clone());
        let secrets = self.source.clone();
        Ok(Provision::new(
            settings,
            table,
            secrets,
            vault,
            &Tls::new()?,
        )?)
    }

    fn fold(&self) -> Result<Fold, StartError> {
        let settings = fold::Settings::from_env(&self.environment)?;
        let (table, bodies) = (self.table.clone(), self.bodies.clone());
        Ok(Fold::new(settings, table, bodies, self.bus.clone()))
    }

    fn reconcile(&self) -> Result<Reconcile, StartError> {
        let settings = reconcile::Settings::from_env(&self.environment)?;
        Ok(Reconcile {
            settings,
            requeues: Requeues::new(self.table.clone()),
        })
    }

    fn workers(&self) -> Result<Workers, StartError> {
        Ok(Workers {
            fold: self.fold()?,
            provision: self.provision()?,
            reconcile: self.reconcile()?,
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

/// The functions that no HTTP request calls.
struct Workers {
    fold: Fold,
    provision: Provision,
    reconcile: Reconcile,
}

impl Workers {
    /// Starts the stream followers of `fold` and `provision`, and the schedules of `fold` and `reconcile`.
    async fn start(self, embedded: Arc<Embedded>) -> Result<Vec<JoinHandle<()>>, StartError> {
        let (endpoint, table) = (embedded.endpoint(), self.fold.settings.table_name.clone());
        let facts = Arc::new(Follower::new("fold", endpoint, &table, Fold::takes));
        let due = Follower::new("provision", endpoint, &table, Provision::takes);
        let due = Arc::new(due);
        facts.prepare().await?;
        let followers = [facts.clone(), due.clone()];
        let (fold, sender) = (self.fold.clone(), self.fold);
        let (provision, reconcile) = (self.provision, self.reconcile);
        Ok(vec![
            tokio::spawn(async move { facts.follow(|records| join(fold.clone(), records)).await }),
            tokio::spawn(
                async move { due.follow(|records| act(provision.clone(), records)).await },
            ),
            tokio::spawn(async move {
                loop {
                    tokio::time::sleep(PASS).await;
                    if let Err(error) = sender
                        .send_again(clock::now(), Instant::now() + FOLD_RUN_TIME)
                        .await
                    {
                        tracing::error!(%error, "events of the outbox could not be sent again");
                    }
                }
            }),
            tokio::spawn(async move {
                loop {
                    tokio::time::sleep(REMOVAL).await;
                    if let Err(error) = remove_handled(&embedded, &table, &followers).await {
                        tracing::warn!(%error, "handled records of the stream stay for now");
                    }
                }
            }),
            tokio::spawn(async move {
                loop {
                    tokio::time::sleep(PASS).await;
                    if let Err(error) = reconcile.requeue_due(clock::now()).await {
                        tracing::error!(%error, "what is due could not be requeued");
                    }
                }
            }),
        ])
    }
}

/// Removes the records of the stream that every follower has handled, but for the last of them, after which the followers
/// go on.
async fn remove_handled(
    embedded: &Embedded,
    table: &str,
    followers: &[Arc<Follower>],
) -> Result<(), StartError> {
    let mut handled = Vec::new();
    for follower in followers {
        handled.push(follower.handled_until().await?);
    }
    // A follower that has handled nothing yet needs all of them.
    if let Some(Some(before)) = handled.into_iter().min() {
        embedded.remove_stream_records(table, before).await?;
    }
    Ok(())
}

async fn join(fold: Fold, records: Vec<Record>) -> Result<(), StoppedBefore> {
    fold.handle(&records, Instant::now() + FOLD_RUN_TIME).await
}

async fn act(provision: Provision, records: Vec<Record>) -> Result<(), StoppedBefore> {
    let run_time = RunTime::until(Instant::now() + PROVISION_RUN_TIME);
    provision.handle(&records, run_time).await
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use dialog360::id::ChannelRef;
    use onboarding::fact::{Assertion, Fact, Source};
    use store::Facts;

    use super::*;

    /// Follows the stream until `wanted` records have come, and counts them.
    async fn follow(follower: &Follower, wanted: usize) -> usize {
        let seen = AtomicUsize::new(0);
        let handle = |records: Vec<Record>| {
            seen.fetch_add(records.len(), Ordering::SeqCst);
            async { Ok(()) }
        };
        let enough = async {
            while seen.load(Ordering::SeqCst) < wanted {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            // The checkpoint is written after the batch.
            while follower.handled_until().await.unwrap().is_none() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            () = follower.follow(handle) => {}
            () = enough => {}
        }
        seen.into_inner()
    }

    async fn append(facts: &Facts, cause: &str) {
        let channel = ChannelRef::new("aPA".parse().unwrap(), "bCH".parse().unwrap());
        let (source, at) = (Source::Provision, clock::now());
        let fact = Fact::new(channel, source, Assertion::default(), at, cause);
        let _new = facts.append(&fact).await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_both_followers_have_handled_is_removed_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let embedded = Embedded::open(&directory.path().join("db")).await.unwrap();
        let table = aws::local::table(embedded.endpoint(), "table");
        table.create().await.unwrap();
        let follower = |name| {
            let follower = Follower::new(name, embedded.endpoint(), "table", |_| true);
            Arc::new(follower)
        };
        let both = [follower("a"), follower("b")];
        both[0].prepare().await.unwrap();
        let facts = Facts::new(table);
        for cause in ["1", "2", "3"] {
            append(&facts, cause).await;
        }
        assert_eq!(follow(&both[0], 3).await, 3);
        remove_handled(&embedded, "table", &both).await.unwrap();
        // The second has handled nothing: all are there for it, and then none but the last.
        assert_eq!(follow(&both[1], 3).await, 3);
        remove_handled(&embedded, "table", &both).await.unwrap();
        let late = [follower("late")];
        append(&facts, "4").await;
        assert!(
            follow(&late[0], 2).await <= 3,
            "the last that was handled, and the new one"
        );
        assert_eq!(follow(&both[0], 1).await, 1);
    }
}
