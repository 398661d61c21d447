//! The whole stack for one test: functions, gateway, mappings, clock, simulated hub.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use dialog360::secret::Secret;
use embedded::settings::BODIES_TABLE;
use local::jwt::Jwt;
use serde_json::Value;
use simulator::RunningSimulator;
use store::table::Table;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::calls::Calls;
use super::forward::Place;
use super::gateway;
use super::metrics::Metrics;
use super::moto::Moto;
use super::rights::Names;
use super::runtime_api::{Function, Processes, Spec};
use super::servers::Servers;
use super::stream;
use crate::{Secrets, owned, programs};

/// The functions, as their folders, programs and processes are called.
pub const FUNCTIONS: [&str; 6] = [
    "sign",
    "redirect",
    "webhook",
    "channels",
    "fold",
    "provision",
];

/// The event bus that the functions are told of.
pub const BUS: &str = "onboarding";

/// What a deployment is called at CloudFormation.
pub const STACK: &str = "whatsapp-onboarding";

/// What the bundle on one machine reads, and no function.
const NOT_FOR_FUNCTIONS: &str = "LISTEN HUB HUB_LISTEN HUB_STAGE_DELAY_MS HUB_CHECK_SIGNATURE DATA \
                                SECRETS_FILE JWT_HS256_SECRET";

/// A running stack.
pub struct Stack {
    /// The gateway's address.
    pub url: String,
    /// The simulated hub's address; empty if there is none.
    pub hub: String,
    /// What the functions ask of AWS.
    pub calls: Calls,
    /// Secrets Manager, KMS and EventBridge.
    pub moto: Moto,
    functions: BTreeMap<&'static str, Arc<Function>>,
    environment: BTreeMap<String, String>,
    watch: stream::Watch,
    /// The mappings of `fold` and of `provision`, then the schedules.
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
        let hub_url = hub.as_ref().map_or("", |hub| hub.url()).to_owned();
        let mut environment = environment(secrets, settings, &url, &hub_url, &calls.url);
        environment.insert("KEY_ENCRYPTION_KEY".to_owned(), moto.create_key());
        moto.create_bus(BUS);
        calls.permit(Names::of(&environment));
        let watch = stream::Watch::default();
        let function = |name: &'static str| {
            let function = function(name, &environment, directory, &processes, &watch.metrics);
            (name, Arc::new(function))
        };
        let mut stack = Self {
            url,
            hub: hub_url,
            calls,
            moto,
            functions: FUNCTIONS.map(function).into(),
            environment,
            watch,
            tasks: Vec::new(),
            directory: directory.to_owned(),
            _hub: hub,
        };
        stack.keep_partner_secrets(&secrets.file);
        stack.table().create().await.expect("the table");
        let bodies = stack.table().beside(stack.setting("BODIES_TABLE_NAME"));
        bodies.create_for_bodies().await.expect("the other table");
        let jwt = settings.get("JWT_HS256_SECRET").unwrap_or(&secrets.jwt);
        let allowed = stack.setting("ALLOWED_ORIGINS").parse().expect("origins");
        let jwt = Jwt::new(Secret::new(jwt));
        let metrics = &stack.watch.metrics;
        gateway::serve(listener, &stack.functions, &jwt, allowed, metrics);
        let (fold, provision) = (stack.function("fold"), stack.function("provision"));
        let endpoint = &stack.calls.url;
        let table = stack.setting("TABLE_NAME");
        let mut tasks = stream::map((fold, provision), &stack.watch, endpoint, table).await;
        tasks.extend(stack.calls.clock.start([fold, provision]));
        stack.tasks = tasks;
        stack
    }

    /// The clock ticks now.
    pub fn ring(&self) {
        self.calls.clock.ring();
    }

    /// The clock ticks by itself so often from now on, as on AWS: also while the run of the tick before is under way.
    pub fn ticks_every(&self, time: Duration) {
        self.calls.clock.ticks_every(time);
    }

    /// How often the clock has ticked for `provision`.
    pub fn ticks(&self) -> usize {
        self.calls.clock.ticks()
    }

    /// Waits until the clock has ticked once more for `provision`, and no run by the clock is under way.
    pub async fn next_tick_is_over(&self) {
        self.calls.clock.next_tick_is_over().await;
    }

    /// From now on it is watched what is due, and the index `by_due` lags by so much; a test asks for it before anything
    /// is due.
    pub fn index_lags(&self, by: Duration) {
        self.calls.lag.set(by);
    }

    /// How often something was taken out of the line, and what of it was taken before its turn, in words.
    pub fn taken(&self) -> (usize, Vec<String>) {
        self.calls.lag.taken()
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
        let metrics = &self.watch.metrics;
        function(
            name,
            &environment,
            &self.directory,
            &Processes::default(),
            metrics,
        )
    }

    /// Keeps the partner secrets of `file` where the functions read them.
    pub fn keep_partner_secrets(&self, file: &Value) {
        let prefix = &Names::of(&self.environment).partner_prefix;
        for (partner, secret) in partners(file) {
            let name = format!("{prefix}{partner}");
            self.moto.put_secret(&name, &secret.to_string());
        }
    }

    /// Tells CloudFormation of the stack `name`, whose outputs are those of this deployment, but for `others`.
    pub fn deploy(&self, name: &str, others: &[(&str, &str)]) {
        let names = Names::of(&self.environment);
        let mut outputs = owned(&[
            ("ApiUrl", &self.url),
            ("PartnerIds", self.setting("PARTNER_IDS")),
            ("PartnerSecretPrefix", &names.partner_prefix),
            ("PartnerApiUrl", self.setting("PARTNER_API_URL")),
            ("PartnerApiRate", self.setting("PARTNER_API_RATE")),
            ("KeyEncryptionKey", &names.sealing_key),
            ("TableName", self.setting("TABLE_NAME")),
            ("BodiesTableName", self.setting("BODIES_TABLE_NAME")),
        ]);
        outputs.extend(owned(others));
        self.moto.create_stack(name, &outputs);
    }

    /// The table.
    pub fn table(&self) -> Table {
        runtime::aws::local::table(&self.calls.url, self.setting("TABLE_NAME"))
    }

    /// Every batch of the stream that was handed over so far, as an event.
    pub fn batches(&self) -> Vec<Value> {
        let batches = self.watch.batches.lock();
        batches.expect("nobody panics with it").clone()
    }

    /// The values of a metric (see [`super::metrics`]).
    pub fn metric(&self, name: &str) -> Vec<f64> {
        let log = std::fs::read_to_string(self.directory.join("log")).unwrap_or_default();
        self.watch.metrics.values(name, &log)
    }

    /// Gives a record of the stream up when it has failed this often. Unless a test says so, none is given up.
    pub fn gives_up_after(&self, tries: usize) {
        self.watch.most_tries.store(tries, Ordering::SeqCst);
    }

    /// The stream loses what `function` should get and holds this text.
    pub fn loses_records_with(&self, function: &'static str, text: &str) {
        let lost = (function, text.to_owned());
        let all = self.watch.lost.lock();
        all.expect("nobody panics with it").push(lost);
    }

    /// The stream loses no record any more.
    pub fn loses_no_record(&self) {
        let lost = self.watch.lost.lock();
        lost.expect("nobody panics with it").clear();
    }

    /// Disables the mapping of `fold` or `provision`.
    pub fn disable_mapping(&self, function: &str) {
        let place = ["fold", "provision"].iter().position(|it| *it == function);
        self.tasks[place.expect("a mapping")].abort();
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
    metrics: &Metrics,
) -> Function {
    // How long an invocation may take, s, and how many there may be at once.
    let (time_out, most) = match name {
        "fold" => (60, 3),
        "provision" => (80, 3),
        _ => (10, 4),
    };
    let spec = Spec {
        name: name.to_owned(),
        program: programs::program(name),
        environment: environment.clone(),
        time_out: Duration::from_secs(time_out),
        most,
        log: directory.join("log"),
        metrics: metrics.clone(),
    };
    Function::new(spec, processes.clone())
}

/// The partners of a secrets file; the demo's own secret is none.
fn partners(file: &Value) -> impl Iterator<Item = (&String, &Value)> {
    let entries = file.as_object().into_iter().flatten();
    entries.filter(|(_, secret)| secret.is_object())
}

/// The simulated hub with the settings that the bundle on one machine gives it, unless the test brings its own.
async fn start_hub(
    secrets: &Secrets,
    settings: &BTreeMap<String, String>,
    url: &str,
) -> Option<RunningSimulator> {
    let setting = |name: &str| settings.get(name).map(String::as_str);
    if setting("HUB") == Some("none") {
        return None;
    }
    let mut partners =
        simulator::Partner::from_secrets_json(&secrets.file.to_string()).expect("secrets");
    for partner in &mut partners {
        partner.webhook_url = Some(format!("{url}/{}/webhook", partner.id));
        partner.redirect_url = Some(format!("{url}/{}/redirect", partner.id));
        partner.check_signature = setting("HUB_CHECK_SIGNATURE") != Some("off");
    }
    let delay = setting("HUB_STAGE_DELAY_MS").unwrap_or("0").parse();
    let hub_settings = simulator::Settings {
        listen: ([127, 0, 0, 1], 0).into(),
        partners,
        stage_delay: Duration::from_millis(delay.expect("milliseconds")),
        ..simulator::Settings::default()
    };
    let hub = RunningSimulator::start(hub_settings).await;
    Some(hub.expect("the simulated hub"))
}

/// What every function is started with; what a test sets wins.
fn environment(
    secrets: &Secrets,
    settings: &BTreeMap<String, String>,
    url: &str,
    hub: &str,
    aws: &str,
) -> BTreeMap<String, String> {
    let ids: Vec<&str> = partners(&secrets.file).map(|(id, _)| id.as_str()).collect();
    let mut all = owned(&[
        ("TABLE_NAME", "onboarding"),
        ("BODIES_TABLE_NAME", BODIES_TABLE),
        ("TENANT_CLAIM", "sub"),
        ("PARTNER_IDS", &ids.join(",")),
        ("PUBLIC_URL", url),
        ("ALLOWED_ORIGINS", url),
        ("EVENT_BUS_NAME", BUS),
        ("AWS_ENDPOINT_URL_DYNAMODB", aws),
        ("AWS_ENDPOINT_URL_SECRETS_MANAGER", aws),
        ("AWS_ENDPOINT_URL_EVENTBRIDGE", aws),
        ("AWS_ENDPOINT_URL_KMS", aws),
    ]);
    if !hub.is_empty() {
        let permissions = format!("{hub}/dashboard/app/{{partner_id}}/permissions");
        all.extend(owned(&[
            ("PARTNER_API_URL", &format!("{hub}/api/v2")),
            ("ONBOARDING_URL", &permissions),
            ("PARTNER_API_RATE", "off"),
            ("MESSAGING_ORIGINS", hub),
        ]));
    }
    let mut settings = settings.clone();
    settings.retain(|name, _| NOT_FOR_FUNCTIONS.split(' ').all(|not| not != name));
    all.extend(settings);
    all
}
