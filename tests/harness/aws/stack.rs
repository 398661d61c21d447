//! The whole stack for one test: functions, gateway, mappings, clock, simulated hub.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use dialog360::secret::Secret;
use local::jwt::Jwt;
use serde_json::{Value, json};
use simulator::RunningSimulator;
use store::table::Table;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::calls::Calls;
use super::forward::Place;
use super::gateway;
use super::moto::Moto;
use super::rights::Names;
use super::runtime_api::{Function, Processes, Spec};
use super::servers::Servers;
use super::stream;
use crate::{Secrets, owned, programs};

/// The functions, as their folders, programs and processes are called.
pub const FUNCTIONS: [&str; 7] = [
    "sign",
    "redirect",
    "webhook",
    "channels",
    "fold",
    "provision",
    "reconcile",
];

/// The event bus that the functions are told of.
pub const BUS: &str = "onboarding";

/// What the bundle on one machine reads, and no function.
const NOT_FOR_FUNCTIONS: [&str; 8] = [
    "LISTEN",
    "HUB",
    "HUB_LISTEN",
    "HUB_STAGE_DELAY_MS",
    "HUB_CHECK_SIGNATURE",
    "DATA",
    "SECRETS_FILE",
    "JWT_HS256_SECRET",
];

/// How often the clock ticks: once a minute on AWS, more often for tests.
const TICK: Duration = Duration::from_secs(1);

/// How long an HTTP function and the clock's may take.
const TIME_OUT: Duration = Duration::from_secs(10);

/// How long `fold` may take.
const FOLD_TIME_OUT: Duration = Duration::from_secs(30);

/// How long `provision` may take.
const PROVISION_TIME_OUT: Duration = Duration::from_secs(20);

/// A running stack.
pub struct Stack {
    /// The gateway's address.
    pub url: String,
    /// The simulated hub's address; empty if there is none.
    pub hub: String,
    /// What the functions ask of AWS.
    pub calls: Calls,
    /// Secrets Manager and EventBridge.
    pub moto: Moto,
    functions: BTreeMap<&'static str, Arc<Function>>,
    environment: BTreeMap<String, String>,
    batches: stream::Batches,
    tasks: Vec<JoinHandle<()>>,
    directory: PathBuf,
    _hub: Option<RunningSimulator>,
}

impl Stack {
    /// Starts a stack with `settings`, whose logs go to `directory`.
    pub async fn start(
        secrets: &Secrets,
        settings: &BTreeMap<String, String>,
        directory: &Path,
    ) -> Self {
        programs::are_built(&FUNCTIONS);
        let servers = Servers::of_this_run().await;
        let id = Uuid::new_v4().as_u128();
        let account = format!("{:012}", id % 1_000_000_000_000);
        let moto = Moto::new(&servers.moto, &account);
        let processes = Processes::default();
        let place = Place {
            dynamodb: servers.dynamodb.clone(),
            database: format!("test{id}"),
            moto: servers.moto.clone(),
            account,
        };
        let calls = Calls::start(place, processes.clone()).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("an address");
        let url = format!("http://{}", listener.local_addr().expect("its address"));
        let hub = start_hub(secrets, settings, &url).await;
        let environment = environment(secrets, settings, &url, hub.as_ref(), &calls.url);
        moto.create_bus(BUS);
        calls.permit(Names::of(&environment));
        let function = |name: &'static str| {
            (
                name,
                Arc::new(function(name, &environment, directory, &processes)),
            )
        };
        let functions = BTreeMap::from(FUNCTIONS.map(function));
        let hub_url = hub
            .as_ref()
            .map(|hub| hub.url().to_owned())
            .unwrap_or_default();
        let mut stack = Self {
            url,
            hub: hub_url,
            calls,
            moto,
            functions,
            environment,
            batches: stream::Batches::default(),
            tasks: Vec::new(),
            directory: directory.to_owned(),
            _hub: hub,
        };
        stack.keep_partner_secrets(&secrets.file);
        stack.table().create().await.expect("the table");
        stack.open_gateway(listener, secrets, settings);
        let (fold, provision) = (&stack.functions["fold"], &stack.functions["provision"]);
        stack.tasks = stream::map(
            (fold, provision),
            &stack.batches,
            &stack.calls.url,
            stack.setting("TABLE_NAME"),
        )
        .await;
        let clocks = ["fold", "reconcile"].map(|name| stack.functions[name].clone());
        stack
            .tasks
            .extend(clocks.map(|function| tokio::spawn(tick(function))));
        stack
    }

    fn open_gateway(
        &self,
        listener: TcpListener,
        secrets: &Secrets,
        settings: &BTreeMap<String, String>,
    ) {
        let functions = gateway::Functions {
            sign: self.functions["sign"].clone(),
            redirect: self.functions["redirect"].clone(),
            webhook: self.functions["webhook"].clone(),
            channels: self.functions["channels"].clone(),
        };
        let jwt = settings.get("JWT_HS256_SECRET").unwrap_or(&secrets.jwt);
        let allowed = self.setting("ALLOWED_ORIGINS").parse().expect("origins");
        gateway::serve(listener, &functions, &Jwt::new(Secret::new(jwt)), allowed);
    }

    /// A function by its name.
    pub fn function(&self, name: &str) -> &Arc<Function> {
        &self.functions[name]
    }

    /// A setting that every function was started with.
    pub fn setting(&self, name: &str) -> &str {
        &self.environment[name]
    }

    /// The function `name` once more, beside the gateway, with further settings.
    pub fn variant(&self, name: &str, settings: &[(&str, &str)]) -> Function {
        let mut environment = self.environment.clone();
        environment.extend(owned(settings));
        function(name, &environment, &self.directory, &Processes::default())
    }

    /// Keeps the partner secrets of `file` where the functions read them.
    pub fn keep_partner_secrets(&self, file: &Value) {
        let prefix = self
            .environment
            .get("PARTNER_SECRET_PREFIX")
            .map_or("360dialog/partners/", String::as_str);
        for (partner, secret) in file
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(_, secret)| secret.is_object())
        {
            self.moto
                .put_secret(&format!("{prefix}{partner}"), &secret.to_string());
        }
    }

    /// The table.
    pub fn table(&self) -> Table {
        runtime::aws::local::table(&self.calls.url, self.setting("TABLE_NAME"))
    }

    /// Every batch of the stream that was handed over so far, as an event.
    pub fn batches(&self) -> Vec<Value> {
        self.batches.all()
    }

    /// Kills every process of every function (SIGKILL); they are started again when they are needed.
    pub async fn kill(&self) {
        for function in self.functions.values() {
            function.kill().await;
        }
    }

    /// Ends the mappings, the clock and all processes.
    pub async fn stop(&mut self) {
        for task in self.tasks.drain(..) {
            task.abort();
        }
        self.kill().await;
    }

    /// All that the functions told the partner's application, and all that is in the vault.
    pub fn told_and_kept(&self) -> (Value, Value) {
        (json!(self.calls.events()), self.moto.everything())
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
        let denied = self.calls.denied();
        assert!(
            denied.is_empty() || std::thread::panicking(),
            "functions asked for more than they may: {denied:?}"
        );
    }
}

fn function(
    name: &str,
    environment: &BTreeMap<String, String>,
    directory: &Path,
    processes: &Processes,
) -> Function {
    let (time_out, most) = match name {
        "fold" => (FOLD_TIME_OUT, 3),
        "provision" => (PROVISION_TIME_OUT, 2),
        "reconcile" => (TIME_OUT, 1),
        _ => (TIME_OUT, 4),
    };
    let spec = Spec {
        name: name.to_owned(),
        program: programs::program(name),
        environment: environment.clone(),
        time_out,
        most,
        log: directory.join("log"),
    };
    Function::new(spec, processes.clone())
}

/// The simulated hub with the settings that the bundle on one machine gives it, unless the test brings its own.
async fn start_hub(
    secrets: &Secrets,
    settings: &BTreeMap<String, String>,
    url: &str,
) -> Option<RunningSimulator> {
    if settings.get("HUB").is_some_and(|hub| hub == "none") {
        return None;
    }
    let mut partners =
        simulator::Partner::from_secrets_json(&secrets.file.to_string()).expect("secrets");
    for partner in &mut partners {
        partner.webhook_url = Some(format!("{url}/{}/webhook", partner.id));
        partner.redirect_url = Some(format!("{url}/{}/redirect", partner.id));
        partner.check_signature = settings
            .get("HUB_CHECK_SIGNATURE")
            .is_none_or(|check| check != "off");
    }
    let delay = settings
        .get("HUB_STAGE_DELAY_MS")
        .map(|delay| delay.parse().expect("milliseconds"));
    let hub_settings = simulator::Settings {
        listen: ([127, 0, 0, 1], 0).into(),
        partners,
        stage_delay: Duration::from_millis(delay.unwrap_or_default()),
        ..simulator::Settings::default()
    };
    Some(
        RunningSimulator::start(hub_settings)
            .await
            .expect("the simulated hub"),
    )
}

/// What every function is started with; what a test sets wins.
fn environment(
    secrets: &Secrets,
    settings: &BTreeMap<String, String>,
    url: &str,
    hub: Option<&RunningSimulator>,
    aws: &str,
) -> BTreeMap<String, String> {
    let partners = secrets
        .file
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(_, secret)| secret.is_object());
    let partners: Vec<&str> = partners.map(|(partner, _)| partner.as_str()).collect();
    let mut all = BTreeMap::from([
        ("TABLE_NAME", "onboarding".to_owned()),
        ("TENANT_CLAIM", "sub".to_owned()),
        ("PARTNER_IDS", partners.join(",")),
        ("PUBLIC_URL", url.to_owned()),
        ("ALLOWED_ORIGINS", url.to_owned()),
        ("EVENT_BUS_NAME", BUS.to_owned()),
        ("AWS_ENDPOINT_URL_DYNAMODB", aws.to_owned()),
        ("AWS_ENDPOINT_URL_SECRETS_MANAGER", aws.to_owned()),
        ("AWS_ENDPOINT_URL_EVENTBRIDGE", aws.to_owned()),
    ]);
    if let Some(hub) = hub {
        all.insert("PARTNER_API_URL", format!("{}/api/v2", hub.url()));
        all.insert(
            "ONBOARDING_URL",
            format!("{}/dashboard/app/{{partner_id}}/permissions", hub.url()),
        );
    }
    let mut all: BTreeMap<String, String> = all
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    let for_functions = settings
        .iter()
        .filter(|(name, _)| !NOT_FOR_FUNCTIONS.contains(&name.as_str()));
    all.extend(for_functions.map(|(name, value)| (name.clone(), value.clone())));
    all
}

/// The schedule of `fold` or `reconcile`.
async fn tick(function: Arc<Function>) {
    loop {
        tokio::time::sleep(TICK).await;
        let tick = json!({"version": "0", "source": "aws.events", "detail-type": "Scheduled Event", "detail": {}});
        if let Err(failure) = function.invoke(&tick).await {
            eprintln!("a tick failed: {failure}");
        }
    }
}
