//! I8: no secret, key, token or state in a log line, event, error, page, or URL we did not have to put it in.
//!
//! A run is made in which everything happens that has to do with secrets, at the most talkative level of logging.
//! Then all that it wrote (logs, data directory, pages, answers) is searched for each of them in every form.

pub(crate) mod run;

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::json;
use tests::search::{Found, files, unless_gone};
use tests::{Ask, Bundle, PARTNER, PAYING_PARTNER, Secrets};
use tests::{hmac_sha256, is_on_aws, text, until_seen, until_so, without_a_route};

use run::{ANSWERS, Run};

/// Everything, from everywhere, but for the database and its client: they say at great length what the database
/// holds, and that is searched itself.
pub(crate) const TALKATIVE: (&str, &str) = (
    "RUST_LOG",
    "trace,aws_smithy_runtime=info,aws_smithy_runtime_api=info,aws_sigv4=info,dynoxide=info",
);

/// The files that may hold secrets when `SECRETS_FILE` is given: that file, what the harness writes down of Secrets Manager,
/// and the simulator's.
const GIVEN: [&str; 3] = ["secrets.json", "data/secrets_manager.json", "data/hub.json"];

/// A text that is no secret and travels the way of secrets: what the searches must find.
const PLANTED: &str = "planted \"needle\" of +/=% and more";

/// A partner that logs in with a user name and a password.
const LOGIN_PARTNER: &str = "lOgInPA";

#[tokio::test]
async fn no_secret_is_written_down_where_it_does_not_belong() {
    let bundle = Bundle::start_as(secrets_of_all_characters(), &[TALKATIVE]).await;
    let mut run = Run::new(bundle, &GIVEN);
    refuse_the_credentials(&mut run).await;
    grant(&mut run).await;
    come_back_with_bad_states(&mut run).await;
    hand_in(&mut run).await;
    send_webhooks(&mut run).await;
    ask_without_a_right(&mut run).await;
    put_secrets_where_they_do_not_belong(&mut run).await;
    for (tenant, path) in [
        ("acme", ""),
        ("acme", "?limit=1"),
        ("thief", ""),
        ("thief", "/oneCH"),
    ] {
        let path = format!("/{PARTNER}/channels{path}");
        let request = run.request(tenant, "GET", &path);
        run.ask(request).await;
    }
    run.bundle.kill_and_restart().await;
    run.grant(PARTNER, "acme", "lateCH").await;

    assert!(run.needles().len() > 40, "{:?}", run.needles().keys());
    let found = nothing_is_misplaced(&mut run, &["encryption.key", "hub.json"]).await;
    assert!(found["secrets.json"].contains("platform_secret of aAbBcCPA"));
    let table = ["data/onboarding.db", "data/onboarding.db-wal", "data/table"];
    let mut table = table.iter().filter_map(|file| found.get(*file));
    let is_told = table.any(|found| found.contains(PLANTED));
    assert!(is_told, "what a webhook said: {found:#?}");
}

#[tokio::test]
async fn what_stands_in_the_place_of_a_partner_id_is_not_logged() {
    let bundle = Bundle::start().await;
    let key = text(&bundle.secrets.file[PAYING_PARTNER]["partner_api_key"]);
    for path in ["sign", "channels", "channels/oneCH", "redirect", "webhook"] {
        let path = format!("/{key}/{path}");
        bundle.get("acme", &path).ask().await;
        bundle.request("POST", &path).ask().await;
    }
    let log = bundle.log();
    let telling = log.lines().find(|line| line.contains(key));
    // It has the form of an id, but is none that is served.
    assert_eq!(telling, None);
}

/// Two hubs whose secrets change in every encoding there is.
fn secrets_of_all_characters() -> Secrets {
    let direct = json!({
        "platform_secret": "needle \"platform\" \\ üß +/=% 0001",
        "partner_token": "needle-\"token\"-+/=%25-0002",
    });
    let paying = json!({
        "platform_secret": "needle 'platform' & <paying> ?~ 0003",
        "partner_api_key": "needle-apikey-+/=&?-paying-0004",
        "billing": "partner_paid",
    });
    let login = json!({
        "platform_secret": "needle-platform-login-0007",
        "username": "needle.user+login@acme.example-0008",
        "password": "needle \"password\" \\ +/=% ü 0009",
    });
    Secrets {
        file: json!({PARTNER: direct, PAYING_PARTNER: paying, LOGIN_PARTNER: login}),
        jwt: "needle \"jwt\" +/=% ü long enough for everybody 0005".to_owned(),
    }
}

/// The hub refuses what `SECRETS_FILE` says meanwhile, until the file is right again and the bundle new.
async fn refuse_the_credentials(run: &mut Run) {
    let mut file = run.bundle.secrets.file.clone();
    let refused = "needle-apikey-+/=&?-refused-0006";
    file[PAYING_PARTNER]["partner_api_key"] = json!(refused);
    run.add("the refused API key", refused);
    run.bundle.keep_partner_secrets(&file);
    let signed = run.sign(PAYING_PARTNER, "payer", "").await;
    let choice = json!({"client": "pCL", "channels": ["paidCH"]});
    run.complete(&signed, choice).await;
    let refusal = "360dialog refuses the partner's credentials";
    until_so(refusal, || run.bundle.log().contains(refusal)).await;
    let is_told = |items: &Vec<String>| items.iter().any(|item| item.contains("GREEN"));
    until_seen(|| run.bundle.scan(), is_told).await;
    run.bundle.keep_partner_secrets(&run.bundle.secrets.file);
    run.bundle.kill_and_restart().await;
    run.bundle.waits_are_over().await;
    run.stored(PAYING_PARTNER, "payer", "paidCH").await;
}

/// One number with the small page, one with a return address; then the permission is taken back.
async fn grant(run: &mut Run) {
    run.grant(PARTNER, "acme", "oneCH").await;
    run.grant(LOGIN_PARTNER, "acme", "loginCH").await;
    let return_to = format!("?return_to={}/%3Fa%3D1%23there", run.bundle.url);
    let signed = run.sign(PARTNER, "acme", &return_to).await;
    let choice = json!({"client": "aCL", "channels": ["twoCH"]});
    let back = run.complete(&signed, choice).await;
    let answer = run.ask(run.bundle.http.get(&back)).await.is(303);
    assert!(answer.header("location").contains("a=1&client=aCL"));
    run.stored(PARTNER, "acme", "twoCH").await;
    let signed = run.sign(PARTNER, "acme", "").await;
    let choice = json!({"client": "aCL", "channels": [], "revoked": ["twoCH"]});
    run.complete(&signed, choice).await;
}

/// States that are cut, changed, doubled, of another partner, or used up.
async fn come_back_with_bad_states(run: &mut Run) {
    let signed = run.sign(PARTNER, "acme", "").await;
    let other = run.sign(PAYING_PARTNER, "acme", "").await;
    let (state, other) = (text(&signed["state"]), text(&other["state"]));
    let (payload, seal) = state.split_once('.').expect("two parts");
    let cut = &state[..state.len() - 1];
    let claim = "client=bCL&channels=[bCH]";
    for (path, status) in [
        (format!("/{cut}?{claim}"), 400),
        (format!("/{state}x?{claim}"), 400),
        (format!("/{seal}.{payload}?{claim}"), 400),
        (format!("/{other}?{claim}"), 400),
        (format!("/{state}?{claim}&state={other}"), 400),
        (format!("?{claim}&state={state}&state={state}1"), 400),
        (format!("/{state}?client=b/CL"), 400),
        (format!("/{state}?%zz&client=%ff"), 400),
        (format!("/{state}?client=nobodyCL"), 200),
        (format!("/{state}?client=elseCL"), 400),
    ] {
        let path = format!("/{PARTNER}/redirect{path}");
        for accept in ["text/html", "application/json"] {
            let request = run.bundle.request("GET", &path);
            run.ask(request.header("accept", accept)).await.is(status);
        }
    }
}

/// POSTs of a page that is the redirect URL itself, good and bad.
async fn hand_in(run: &mut Run) {
    let signed = run.sign(PARTNER, "acme", "").await;
    let state = text(&signed["state"]);
    let query = |query: &str| json!({"query": query}).to_string();
    let claim = "?client=aCL&channels=[oneCH]";
    let good = query(&format!("{claim}&state={state}"));
    for (tenant, body, status) in [
        ("thief", good.clone(), 400),
        ("acme", good, 200),
        ("acme", query(claim), 200),
        ("acme", query(&format!("?client=aCL&state={state}x")), 400),
        ("acme", json!({"state": state}).to_string(), 400),
        ("acme", format!("{{\"query\": {state}"), 400),
    ] {
        let request = run.request(tenant, "POST", &format!("/{PARTNER}/redirect"));
        run.ask(request.body(body)).await.is(status);
    }
}

/// Webhooks: good, not understood, forged, unsigned, signed with the wrong thing, too large.
async fn send_webhooks(run: &mut Run) {
    let secret = run.bundle.secrets.platform_secret(PARTNER).to_owned();
    let data = json!({"id": "oneCH", "note": PLANTED});
    let event = json!({"event": "channel_live", "data": data}).to_string();
    let unknown = json!({"event": "something_new", "data": {"note": PLANTED}}).to_string();
    let large = "x".repeat(5 * 1024 * 1024 + 1);
    let hub_token = run.needles()["partner_token of aAbBcCPA"].clone();
    let signed = |body: &str| Some(hmac_sha256(&secret, body.as_bytes()));
    let forged = hmac_sha256("another secret", event.as_bytes());
    for (body, signature, status) in [
        (event.as_str(), signed(&event), 200),
        (&unknown, signed(&unknown), 200),
        ("no JSON", signed("no JSON"), 200),
        (&event, Some(forged), 401),
        (&event, Some(hub_token), 401),
        (&event, Some(run.token("acme")), 401),
        (&secret, Some("00".repeat(32)), 401),
        (&event, None, 401),
        (&large, signed(&large), 413),
    ] {
        let path = format!("/{PARTNER}/webhook");
        let mut request = run.bundle.request("POST", &path);
        if let Some(signature) = signature {
            request = request.header("x-360dialog-signature", signature);
        }
        run.ask(request.body(body.to_owned())).await.is(status);
    }
}

/// No token, cut ones, ones of another secret, other secrets in their place.
async fn ask_without_a_right(run: &mut Run) {
    let token = run.token("acme");
    let (unsigned, _) = token.rsplit_once('.').expect("three parts");
    let key = run.needles()["the key of oneCH"].clone();
    let hub_token = run.needles()["partner_token of aAbBcCPA"].clone();
    let credentials = [
        format!("Bearer {}", &token[..token.len() - 1]),
        format!("Bearer {unsigned}."),
        format!("Bearer {key}"),
        format!("Bearer {hub_token}"),
        token.clone(),
        format!("Basic {token}"),
    ];
    for (method, path) in [("GET", "sign"), ("GET", "channels"), ("POST", "redirect")] {
        let path = format!("/{PARTNER}/{path}");
        let request = run.bundle.request(method, &path);
        run.ask(request).await.is(401);
        for credentials in &credentials {
            let request = run.bundle.request(method, &path);
            let request = request.header("authorization", credentials);
            run.ask(request).await.is(401);
        }
    }
}

/// What a confused caller may do: addresses, parameters and bodies that hold what does not belong there.
async fn put_secrets_where_they_do_not_belong(run: &mut Run) {
    let signed = run.sign(PARTNER, "acme", "").await;
    let state = text(&signed["state"]);
    let (token, key) = (run.token("acme"), run.needles()["the key of oneCH"].clone());
    let no_route = without_a_route(405);
    for secret in [state, &token, &key] {
        for (method, path, status) in [
            ("GET", format!("{PARTNER}/channels/{secret}"), 404),
            ("GET", format!("{PARTNER}/channels?cursor={secret}"), 400),
            ("GET", format!("{PARTNER}/channels?limit={secret}"), 400),
            ("GET", format!("{PARTNER}/sign?return_to={secret}"), 400),
            ("GET", format!("{PARTNER}/sign?tenant={secret}"), 400),
            ("GET", format!("{PARTNER}/redirect/{state}/{secret}"), 404),
            ("GET", format!("{secret}?token={secret}"), 404),
            ("DELETE", format!("{PARTNER}/redirect/{secret}"), no_route),
            ("PUT", format!("{PARTNER}/webhook?{secret}"), no_route),
            ("OPTIONS", format!("{PARTNER}/sign?{secret}"), 204),
        ] {
            let request = run.request("acme", method, &format!("/{path}"));
            let request = request.header("origin", format!("http://{secret}"));
            let answer = run.ask(request).await;
            let seen = answer.status;
            assert!([status, 401].contains(&seen), "{path}: {seen}");
        }
    }
}

/// Nothing is misplaced, neither while the bundle runs nor when it is stopped, and its files are its owner's only;
/// then shows that the search finds what is planted wherever the run may have written it. Answers all it found.
pub(crate) async fn nothing_is_misplaced(
    run: &mut Run,
    private: &[&str],
) -> BTreeMap<String, Found> {
    run.bundle.write_down().await;
    run.assert_nothing_is_misplaced();
    let private = [private, &["onboarding.db"]].concat();
    let while_it_runs = [private.as_slice(), &["endpoint"]].concat();
    assert_private(&run.bundle.data(), &while_it_runs);
    run.bundle.stop().await;
    run.assert_nothing_is_misplaced();
    assert_private(&run.bundle.data(), &private);

    run.add(PLANTED, PLANTED);
    let planted = ["log.old", "data/planted", &format!("{ANSWERS}/planted")];
    for file in planted {
        let path = run.bundle.directory.path().join(file);
        std::fs::write(path, json!([PLANTED]).to_string()).expect("a file");
    }
    let misplaced = run.misplaced();
    for file in planted {
        assert!(misplaced[file].contains(PLANTED), "{file}: {misplaced:?}");
    }
    run.found()
}

/// All files in `data` are their owner's only, and those `named` are among them. On AWS there are no files, but those
/// that the harness writes down what is in the services to.
fn assert_private(data: &Path, named: &[&str]) {
    if is_on_aws() {
        return;
    }
    let mode = |path: &Path| {
        let file = unless_gone(std::fs::metadata(path));
        file.map(|file| file.permissions().mode() & 0o777)
    };
    let of_others = mode(data).expect("the directory") & 0o077;
    assert_eq!(of_others, 0, "the data directory is its owner's");
    for name in named {
        assert_eq!(mode(&data.join(name)), Some(0o600), "{name}");
    }
    for path in files(data) {
        let is_private = matches!(mode(&path), Some(0o600) | None);
        assert!(is_private, "{}", path.display());
    }
}
