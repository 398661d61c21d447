//! The queue: 360dialog's limit is kept, nobody waits for a tenant that floods, and what nobody claims costs no call.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use onboarding::claim::{Claim, ClaimStatus};
use serde_json::{Value, json};
use store::StoredClaim;
use tests::aws::stack::STACK;
use tests::partner_api::{HOUR, SimulatedPartnerApi, asks_to_wait, channel, new_channel};
use tests::{Bundle, PARTNER, PAYING_PARTNER, Secrets, is_on_aws, pk, until, until_seen};
use tokio::task::JoinSet;
use tokio::time::sleep;

const LONG_AGO: Option<&str> = Some("2020-02-02T02:02:02Z");

/// A number of its own client.
async fn add_number(api: &SimulatedPartnerApi, client: &str, number: &str) {
    let mut channel = new_channel(number);
    channel["client"] = json!(client);
    api.adds(channel).await;
}

async fn claim_as(bundle: &Bundle, tenant: &str, client: &str, number: &str) {
    let query = format!("client={client}&channels=[{number}]");
    bundle.hand_in(PARTNER, tenant, &query).await;
}

/// How many numbers of `tenant` have a stored key.
async fn stored(bundle: &Bundle, tenant: &str) -> usize {
    let rows = bundle.channels(PARTNER, tenant).await;
    let is_stored = |row: &&Value| row["key"]["status"] == "stored";
    rows.iter().filter(is_stored).count()
}

/// A tenant that floods, and others beside it.
#[derive(Clone, Copy)]
pub(super) struct Flood {
    /// The limit of both sides, and its calls.
    pub(super) rate: (&'static str, usize),
    /// The claims of the flooding tenant on clients that do not exist.
    pub(super) on_nothing: usize,
    /// Its claims on a client of its own.
    pub(super) on_its_own: usize,
    /// How many other tenants there are, and how many numbers each has.
    pub(super) others: (usize, usize),
    /// The time between two numbers of the others. The flood takes as long as all of them.
    pub(super) pause: Duration,
}

/// I11, I12
#[tokio::test]
async fn the_limit_is_kept_and_a_flood_of_one_tenant_does_not_keep_the_others_waiting() {
    let flood = Flood {
        rate: ("12/3s", 12),
        on_nothing: 40,
        on_its_own: 10,
        others: (3, 1),
        pause: Duration::ZERO,
    };
    flood.keeps_nobody_waiting().await;
}

impl Flood {
    pub(super) async fn keeps_nobody_waiting(self) {
        let (rate, calls_in_span) = self.rate;
        let api = SimulatedPartnerApi::with_rate(rate).await;
        let bundle = Arc::new(api.bundle(&[("PARTNER_API_RATE", rate)]).await);
        add_number(&api, "floodCL", "floodCH").await;
        claim_as(&bundle, "flooder", "floodCL", "floodCH").await;
        until_seen(|| stored(&bundle, "flooder"), |stored| *stored == 1).await;
        let mut floods = JoinSet::new();
        for part in 0..8 {
            let bundle = bundle.clone();
            floods.spawn(async move { self.sends(&bundle, part).await });
        }
        let (tenants, each) = self.others;
        let mut begun = BTreeMap::new();
        for index in 0..tenants * each {
            let (client, number) = (format!("c{index}CL"), format!("n{index}CH"));
            add_number(&api, &client, &number).await;
            begun.insert(number.clone(), api.calls("").await.len());
            let tenant = format!("t{}", index % tenants);
            claim_as(&bundle, &tenant, &client, &number).await;
            sleep(self.pause).await;
        }
        for tenant in 0..tenants {
            let tenant = format!("t{tenant}");
            for some in 1..=each {
                until_seen(|| stored(&bundle, &tenant), |stored| *stored >= some).await;
            }
        }
        // A part that failed would be no flood.
        while let Some(part) = floods.try_join_next() {
            part.expect("a part of the flood");
        }
        let calls = api.calls("").await;
        let is_refused = |call: &Value| call["status"] == 429;
        assert!(!calls.iter().any(is_refused), "no 429");
        let highest = usize::try_from(api.highest_rate().await).expect("a count");
        assert!(highest <= calls_in_span, "{highest} calls in a span");
        // Its place among the calls of all: three for each tenant with work, and those under way.
        let most = 3 * (tenants + 1) + calls_in_span;
        for (number, before) in &begun {
            let is_post = |call: &Value| call["call"] == "new_key" && call["channel"] == **number;
            let post = calls.iter().position(is_post).expect("a POST");
            let waited = post - before;
            assert!(
                waited <= most,
                "{number} waited for {waited} calls of {most}"
            );
            assert_eq!(api.posts(number).await, 1);
        }
        let about = |call: &&Value| {
            let text = call.to_string();
            let is_about = |index: usize| {
                text.contains(&format!("c{index}CL")) || text.contains(&format!("\"n{index}CH\""))
            };
            (0..begun.len()).any(is_about)
        };
        let about = calls.iter().filter(about).count();
        assert!(
            (3 * begun.len()..=16 * begun.len() / 5).contains(&about),
            "{about} calls for {} numbers",
            begun.len()
        );
        eprintln!(
            "{} calls, {about} about {} numbers",
            calls.len(),
            begun.len()
        );
        floods.abort_all();
    }

    /// One of eight parts of the flood.
    async fn sends(self, bundle: &Bundle, part: usize) {
        let count = |some: usize| u32::try_from(some).expect("not so many");
        let (tenants, each) = self.others;
        let pause = self.pause * count(tenants * each) / count(self.on_nothing / 8);
        for index in (part..self.on_nothing).step_by(8) {
            claim_as(bundle, "flooder", &format!("x{index}CL"), "ghostCH").await;
            sleep(pause).await;
        }
        for index in (part..self.on_its_own).step_by(8) {
            claim_as(bundle, "flooder", "floodCL", &format!("y{index}CH")).await;
        }
    }
}

/// I6, I11
#[tokio::test]
async fn a_fleet_that_nobody_claims_costs_no_call() {
    is_left_alone(100).await;
}

/// A fleet of numbers in use, which their clients have brought, and an event about each; half of them name the client.
pub(super) async fn is_left_alone(many: usize) {
    let api = SimulatedPartnerApi::start().await;
    let bundle = api.bundle(&[]).await;
    for index in 0..many {
        let number = format!("n{index}CH");
        let mut data = json!({"id": number});
        if index % 2 == 0 {
            data["client_id"] = json!(format!("c{index}CL"));
        }
        let mut channel = channel(&number, LONG_AGO);
        channel["client"] = json!(format!("c{index}CL"));
        api.adds_at(PAYING_PARTNER, channel).await;
        let event = json!({"event": "channel_live", "data": data});
        let event = event.to_string();
        bundle.webhook(PAYING_PARTNER, &event).await.is(200);
    }
    bundle.scan_when_quiet().await;
    assert_eq!(api.calls("").await, Vec::<Value>::new());
}

/// A third hub, beside the two of most tests.
const THIRD: &str = "tHiRdPA";

/// Three numbers of each of three partners, the calls of one of which `go_wrong`.
struct ThreeHubs {
    api: SimulatedPartnerApi,
    bundle: Bundle,
}

impl ThreeHubs {
    async fn where_one(goes_wrong: Value) -> Self {
        let mut secrets = Secrets::two_hubs();
        secrets.file[THIRD] = json!({
            "platform_secret": "needle-platform-third-0008",
            "partner_api_key": "needle-apikey-third-0009",
        });
        let api = SimulatedPartnerApi::start_as(secrets, HOUR).await;
        let ids = [PARTNER, PAYING_PARTNER, THIRD].join(",");
        let bundle = api.bundle(&[("PARTNER_IDS", &ids)]).await;
        if is_on_aws() {
            bundle.aws().deploy(STACK, &[]);
        }
        for call in ["channels", "keys", "new_key"] {
            let mut fault = goes_wrong.clone();
            fault["partner"] = json!(THIRD);
            api.replies(call, fault).await;
        }
        let hubs = Self { api, bundle };
        for partner in [THIRD, PARTNER, PAYING_PARTNER] {
            for index in 0..3 {
                hubs.claims(partner, index).await;
            }
        }
        hubs
    }

    async fn claims(&self, partner: &str, index: usize) {
        let (client, number) = (format!("c{index}CL"), format!("n{index}CH"));
        let mut channel = new_channel(&number);
        channel["client"] = json!(client);
        self.api.adds_at(partner, channel).await;
        let query = format!("client={client}&channels=[{number}]");
        self.bundle.claim(partner, "acme", &query).await;
    }

    async fn are_stored(&self, partner: &str) {
        let rows = || self.bundle.channels(partner, "acme");
        let is_stored = |row: &Value| row["key"]["status"] == "stored";
        let all = |rows: &Vec<Value>| rows.len() == 3 && rows.iter().all(is_stored);
        until_seen(rows, all).await;
    }

    /// The others have their keys; of this one nothing is given up, and `queue` says why it waits.
    async fn only_one_waits(&self, word: &str) {
        self.are_stored(PARTNER).await;
        self.are_stored(PAYING_PARTNER).await;
        let words = format!(": {word}\n");
        until(|| async {
            let (code, queue) = self.bundle.operator(STACK, &["queue", THIRD]).await;
            let is_told = code == Some(0) && queue.contains(&words);
            is_told.then_some(()).ok_or(queue)
        })
        .await;
        self.api.recovers().await;
        self.bundle.waits_are_over().await;
        self.are_stored(THIRD).await;
        let posts = self.api.asked("new_key").await;
        assert_eq!(posts, 9, "one POST for each number");
    }
}

/// Three calls in a row get no answer, each for six seconds.
pub(super) async fn a_silent_hub_is_left_alone_and_the_others_notice_nothing() {
    let hubs = ThreeHubs::where_one(json!({"answer": "silence"})).await;
    hubs.only_one_waits("silent").await;
}

/// Every call is answered after five seconds.
pub(super) async fn a_slow_hub_keeps_no_other_waiting() {
    let hubs = ThreeHubs::where_one(json!({"delay_ms": 5000})).await;
    hubs.are_stored(PARTNER).await;
    hubs.are_stored(PAYING_PARTNER).await;
    hubs.are_stored(THIRD).await;
    let posts = hubs.api.asked("new_key").await;
    assert_eq!(posts, 9, "one POST for each number");
}

/// I10
#[tokio::test]
async fn a_hub_that_asks_to_wait_for_an_hour_is_left_alone_and_the_others_notice_nothing() {
    let hubs = ThreeHubs::where_one(asks_to_wait("3600")).await;
    hubs.only_one_waits("rate_limited").await;
    // One call, then none until it was asked for.
    let refused = hubs.api.calls(&format!("partner={THIRD}")).await;
    let is_refused = |call: &&Value| call["status"] == 429;
    assert_eq!(refused.iter().filter(is_refused).count(), 1);
}

/// I5
#[tokio::test]
async fn of_two_tenants_who_claim_at_once_none_is_bound_once_the_other_is_registered() {
    claimed_at_once(4).await;
}

/// Two tenants claim each of `many` clients at the same moment.
pub(super) async fn claimed_at_once(many: usize) {
    let api = SimulatedPartnerApi::start().await;
    let bundle = api.bundle(&[]).await;
    if is_on_aws() {
        bundle.aws().deploy(STACK, &[]);
    }
    let tenants = ["acme", "globex"];
    for index in 0..many {
        let (client, number) = (format!("c{index}CL"), format!("n{index}CH"));
        add_number(&api, &client, &number).await;
        let [first, second] = tenants.map(|tenant| claim_as(&bundle, tenant, &client, &number));
        tokio::join!(first, second);
    }
    let settled = || async {
        let items = bundle.items().await;
        let claims = items.iter().filter(|item| pk(item).starts_with("CLAIM#"));
        let claims = claims.map(|item| StoredClaim::from_item(item).expect("a claim").claim);
        claims
            .filter(|it| it.status != ClaimStatus::Pending)
            .count()
    };
    for some in (0..=2 * many).step_by(2) {
        until_seen(settled, |settled| *settled >= some).await;
    }
    let mut claims: BTreeMap<String, Vec<Claim>> = BTreeMap::new();
    for item in bundle.items().await {
        if pk(&item).starts_with("CLAIM#") {
            let claim = StoredClaim::from_item(&item).expect("a claim").claim;
            let of_client = claims.entry(claim.client.to_string()).or_default();
            of_client.push(claim);
        }
    }
    assert_eq!(claims.len(), many);
    let mut contested = Vec::new();
    for (client, claims) in claims {
        let statuses = claims.iter().map(|claim| claim.status);
        if statuses.clone().all(|status| status == ClaimStatus::Held) {
            contested.push(client);
            continue;
        }
        let lost = claims.iter().find(|it| it.status == ClaimStatus::Refused);
        let lost = lost.unwrap_or_else(|| panic!("{claims:?}"));
        assert_eq!(lost.registered_at, None, "it came once {client} was bound");
        let won = |claim: &&Claim| claim.status == ClaimStatus::Confirmed;
        assert_eq!(claims.iter().filter(won).count(), 1, "{claims:?}");
    }
    let (code, listed) = bundle
        .operator(STACK, &["list", PARTNER, "--contested"])
        .await;
    assert_eq!(code, Some(0), "{listed}");
    assert!(
        listed.ends_with(&format!("{} contested\n", contested.len())),
        "{listed}"
    );
    for client in &contested {
        let confirm = ["confirm", PARTNER, client, "globex"];
        let (code, said) = bundle.operator(STACK, &confirm).await;
        assert_eq!(code, Some(0), "{said}");
    }
    let all = || async { stored(&bundle, "acme").await + stored(&bundle, "globex").await };
    for some in (0..=many).step_by(10).chain([many]) {
        until_seen(all, |stored| *stored >= some).await;
    }
    for index in 0..many {
        assert_eq!(api.posts(&format!("n{index}CH")).await, 1);
    }
    eprintln!("{} of {many} were contested", contested.len());
}
