//! I8: no secret, key, token or state in a log line, event, error, page, or URL we did not have to put it in.
//!
//! A run is made in which everything happens that has to do with secrets, at the most talkative level of logging.
//! Then all that it wrote (logs, data directory, pages, answers) is searched for each of them in every form.

pub(crate) mod run;
pub(crate) mod search;

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use reqwest::Method;
use serde_json::{Value, json};
use tests::{
    Bundle, PARTNER, PAYING_PARTNER, Secrets, hmac_sha256, is_on_aws, until, without_a_route,
};

use run::{ANSWERS, Run};
use search::{Found, Search, files, unless_gone, written_down};

/// Everything, from everywhere, but for the database and its client: they say at great length what the database
/// holds, and that is searched itself.
pub(crate) const TALKATIVE: (&str, &str) = (
    "RUST_LOG",
    "trace,aws_smithy_runtime=info,aws_smithy_runtime_api=info,aws_sigv4=info,dynoxide=info",
);

/// The files that may hold secrets when `SECRETS_FILE` is given: that file, and two by name.
const GIVEN: [&str; 3] = ["secrets.json", "data/vault.json", "data/hub.json"];

/// A text that is no secret and travels the way of secrets: what the searches must find.
const PLANTED: &str = "planted \"needle\" of +/=% and more";

#[tokio::test]
async fn no_secret_is_written_down_where_it_does_not_belong() {
    let bundle = Bundle::start_as(secrets_of_all_characters(), &[TALKATIVE]).await;
    let mut run = Run::of(bundle, &GIVEN);
    refuse_the_credentials(&mut run).await;
    grant(&mut run).await;
    come_back_with_bad_states(&mut run).await;
    hand_in(&mut run).await;
    send_webhooks(&mut run).await;
    ask_without_a_right(&mut run).await;
    put_secrets_where_they_do_not_belong(&mut run).await;
    read_channels(&mut run).await;
    run.bundle.kill_and_restart().await;
    connect(&mut run, "acme", "lateCH").await;

    assert!(run.needles().len() > 40, "{:?}", run.needles().keys());
    run.bundle.write_down().await;
    run.assert_nothing_is_misplaced();
    assert_private(
        &run.bundle.data(),
        &["onboarding.db", "vault.json", "hub.json", "endpoint"],
    );
    run.bundle.stop().await;
    run.assert_nothing_is_misplaced();
    assert_private(
        &run.bundle.data(),
        &["onboarding.db", "vault.json", "hub.json"],
    );
    let found = find_what_is_planted(&mut run);
    assert!(
        found["secrets.json"].contains("platform_secret of aAbBcCPA"),
        "{found:#?}"
    );
    assert!(
        found["data/vault.json"].contains("the key of oneCH"),
        "{found:#?}"
    );
    let table =
        ["data/onboarding.db", "data/onboarding.db-wal", "data/table"].map(|file| found.get(file));
    assert!(
        table
            .into_iter()
            .flatten()
            .any(|found| found.contains(PLANTED)),
        "what a webhook said: {found:#?}"
    );
}

#[tokio::test]
async fn what_stands_in_the_place_of_a_partner_id_is_not_logged() {
    let bundle = Bundle::start().await;
    let key = bundle.secrets.file[PAYING_PARTNER]["partner_api_key"]
        .as_str()
        .expect("a key")
        .to_owned();
    for path in ["sign", "channels", "channels/oneCH", "redirect", "webhook"] {
        bundle
            .get("acme", &format!("/{key}/{path}"))
            .send()
            .await
            .expect("an answer");
        bundle
            .http
            .post(format!("{}/{key}/{path}", bundle.url))
            .send()
            .await
            .expect("an answer");
    }
    let log = bundle.log();
    let telling = log.lines().find(|line| line.contains(&key));
    assert_eq!(
        telling, None,
        "it has the form of an id, but is none that is served"
    );
}

#[test]
fn a_needle_is_found_in_every_form() {
    for value in [
        PLANTED,
        "needle-platform-direct-0001",
        "ünd \\ anders: 0123456789",
    ] {
        let search = Search::new([("needle", value)]);
        for (form, written) in written_down(value) {
            let text = [b"{\"before\":\"".as_slice(), &written, b"\"}\n"].concat();
            assert!(
                search.in_bytes(&text).contains("needle"),
                "{value} as {form} is not found"
            );
        }
        let (start, end) = value.split_at(value.len() - 1);
        assert!(
            search
                .in_bytes(format!("{start}.{end}").as_bytes())
                .is_empty(),
            "it is no longer there"
        );
    }
}

/// Two hubs whose secrets change in every encoding there is.
fn secrets_of_all_characters() -> Secrets {
    let file = json!({
        PARTNER: {"platform_secret": "needle \"platform\" \\ üß +/=% 0001", "partner_token": "needle-\"token\"-+/=%25-0002"},
        PAYING_PARTNER: {
            "platform_secret": "needle 'platform' & <paying> ?~ 0003",
            "partner_api_key": "needle-apikey-+/=&?-paying-0004",
            "billing": "partner_paid",
        },
    });
    Secrets {
        file,
        jwt: "needle \"jwt\" +/=% ü long enough for everybody 0005".to_owned(),
    }
}

/// The hub refuses what `SECRETS_FILE` says meanwhile, until the file is right again and the bundle new.
async fn refuse_the_credentials(run: &mut Run) {
    let mut file = run.bundle.secrets.file.clone();
    file[PAYING_PARTNER]["partner_api_key"] = json!("needle-apikey-+/=&?-refused-0006");
    run.add("the refused API key", "needle-apikey-+/=&?-refused-0006");
    run.bundle.keep_partner_secrets(&file);
    let signed = run.sign(PAYING_PARTNER, "payer", "").await;
    complete(
        run,
        &signed,
        json!({"client": "pCL", "channels": ["paidCH"]}),
    )
    .await;
    until(|| async {
        let refused = run.bundle.log().contains("the hub refused the credentials");
        let is_told = run
            .bundle
            .scan()
            .await
            .iter()
            .any(|item| item.contains("GREEN"));
        if refused && is_told {
            Ok(())
        } else {
            Err(format!("refused: {refused}, told all: {is_told}"))
        }
    })
    .await;
    // A look that is killed holds its lease for a while: let the last one end.
    run.bundle.scan_when_quiet("quietCH").await;
    run.bundle.keep_partner_secrets(&run.bundle.secrets.file);
    run.bundle.kill_and_restart().await;
    run.stored(PAYING_PARTNER, "payer", "paidCH").await;
}

/// Goes through the hub with the link `signed` and comes back once as a person and once as a program.
pub(crate) async fn complete(run: &mut Run, signed: &Value, mut choice: Value) -> String {
    let link = signed["url"].as_str().expect("a link").to_owned();
    let page = run.bundle.http.get(&link);
    assert_eq!(run.ask_hub(page, signed).await.status, 200);
    choice["link"] = json!(link);
    let completion = run
        .bundle
        .http
        .post(format!("{}/_hub/complete", run.bundle.hub))
        .json(&choice);
    let completed = run.ask_hub(completion, signed).await;
    let redirect_url = completed.json()["redirect_url"]
        .as_str()
        .expect("a redirect")
        .to_owned();
    for accept in ["text/html", "application/json"] {
        let answer = run
            .ask(run.bundle.http.get(&redirect_url).header("accept", accept))
            .await;
        assert!(matches!(answer.status, 200 | 303), "{}", answer.text);
    }
    redirect_url
}

async fn connect(run: &mut Run, tenant: &str, channel: &str) {
    let signed = run.sign(PARTNER, tenant, "").await;
    complete(
        run,
        &signed,
        json!({"client": "aCL", "channels": [channel]}),
    )
    .await;
    run.stored(PARTNER, tenant, channel).await;
}

/// One number with the small page, one with a return address; then the permission is taken back.
async fn grant(run: &mut Run) {
    connect(run, "acme", "oneCH").await;
    let return_to = format!("?return_to={}/%3Fa%3D1%23there", run.bundle.url);
    let signed = run.sign(PARTNER, "acme", &return_to).await;
    let back = complete(
        run,
        &signed,
        json!({"client": "aCL", "channels": ["twoCH"]}),
    )
    .await;
    let answer = run.ask(run.bundle.http.get(&back)).await;
    assert_eq!(answer.status, 303);
    assert!(
        answer
            .location
            .expect("a way on")
            .contains("a=1&client=aCL")
    );
    run.stored(PARTNER, "acme", "twoCH").await;
    let signed = run.sign(PARTNER, "acme", "").await;
    complete(
        run,
        &signed,
        json!({"client": "aCL", "channels": [], "revoked": ["twoCH"]}),
    )
    .await;
}

/// States that are cut, changed, doubled, of another partner, or used up.
async fn come_back_with_bad_states(run: &mut Run) {
    let (signed, other) = (
        run.sign(PARTNER, "acme", "").await,
        run.sign(PAYING_PARTNER, "acme", "").await,
    );
    let (state, other) = (
        signed["state"].as_str().expect("a state"),
        other["state"].as_str().expect("a state"),
    );
    let (payload, seal) = state.split_once('.').expect("two parts");
    let claim = "client=bCL&channels=[bCH]";
    let bad = [
        format!("/{PARTNER}/redirect/{}?{claim}", &state[..state.len() - 1]),
        format!("/{PARTNER}/redirect/{state}x?{claim}"),
        format!("/{PARTNER}/redirect/{seal}.{payload}?{claim}"),
        format!("/{PARTNER}/redirect/{other}?{claim}"),
        format!("/{PARTNER}/redirect/{state}?{claim}&state={other}"),
        format!("/{PARTNER}/redirect?{claim}&state={state}&state={state}1"),
        format!("/{PARTNER}/redirect/{state}?client=b/CL"),
        format!("/{PARTNER}/redirect/{state}?%zz&client=%ff"),
    ];
    refuse_all(run, &bad).await;
    let good = format!("/{PARTNER}/redirect/{state}?client=nobodyCL");
    assert_eq!(run.ask(run.request(Method::GET, &good)).await.status, 200);
    refuse_all(run, &[format!("/{PARTNER}/redirect/{state}?client=elseCL")]).await;
}

async fn refuse_all(run: &mut Run, paths: &[String]) {
    for path in paths {
        for accept in ["text/html", "application/json"] {
            let answer = run
                .ask(run.request(Method::GET, path).header("accept", accept))
                .await;
            assert_eq!(answer.status, 400, "{path}: {}", answer.text);
        }
    }
}

/// POSTs of a page that is the redirect URL itself, good and bad.
async fn hand_in(run: &mut Run) {
    let signed = run.sign(PARTNER, "acme", "").await;
    let state = signed["state"].as_str().expect("a state");
    let query = json!({"query": format!("?client=aCL&channels=[oneCH]&state={state}")});
    let path = format!("/{PARTNER}/redirect");
    for (tenant, body, status) in [
        ("thief", query.to_string(), 400),
        ("acme", query.to_string(), 200),
        (
            "acme",
            json!({"query": "?client=aCL&channels=[oneCH]"}).to_string(),
            200,
        ),
        (
            "acme",
            json!({"query": format!("?client=aCL&state={state}x")}).to_string(),
            400,
        ),
        ("acme", json!({"state": state}).to_string(), 400),
        ("acme", format!("{{\"query\": {state}"), 400),
    ] {
        let request = run.request_of(tenant, Method::POST, &path).body(body);
        let answer = run.ask(request).await;
        assert_eq!(answer.status, status, "{}", answer.text);
    }
}

/// Webhooks: good, not understood, forged, unsigned, signed with the wrong thing, too large.
async fn send_webhooks(run: &mut Run) {
    let secret = run.bundle.secrets.platform_secret(PARTNER).to_owned();
    let event =
        json!({"event": "channel_live", "data": {"id": "oneCH", "note": PLANTED}}).to_string();
    let unknown = json!({"event": "something_new", "data": {"note": PLANTED}}).to_string();
    let (token, large) = (run.token("acme"), "x".repeat(300_000));
    let hub_token = run.bundle.secrets.file[PARTNER]["partner_token"]
        .as_str()
        .expect("a token")
        .to_owned();
    for (body, signature, status) in [
        (
            event.as_str(),
            Some(hmac_sha256(&secret, event.as_bytes())),
            200,
        ),
        (
            &unknown,
            Some(hmac_sha256(&secret, unknown.as_bytes())),
            200,
        ),
        ("no JSON", Some(hmac_sha256(&secret, b"no JSON")), 200),
        (
            &event,
            Some(hmac_sha256("another secret", event.as_bytes())),
            401,
        ),
        (&event, Some(hub_token), 401),
        (&event, Some(token), 401),
        (&secret, Some("00".repeat(32)), 401),
        (&event, None, 401),
        (&large, Some(hmac_sha256(&secret, large.as_bytes())), 413),
    ] {
        let request = run
            .request(Method::POST, &format!("/{PARTNER}/webhook"))
            .body(body.to_owned());
        let request = signature.iter().fold(request, |request, it| {
            request.header("x-360dialog-signature", it)
        });
        let answer = run.ask(request).await;
        assert_eq!(answer.status, status, "{}", answer.text);
    }
}

/// No token, cut ones, ones of another secret, other secrets in their place.
async fn ask_without_a_right(run: &mut Run) {
    let token = run.token("acme");
    let cut = token[..token.len() - 1].to_owned();
    let unsigned = format!("{}.", token.rsplit_once('.').expect("three parts").0);
    let key = run.needles()["the key of oneCH"].clone();
    let hub_token = run.needles()["partner_token of aAbBcCPA"].clone();
    for (method, path) in [
        (Method::GET, "sign"),
        (Method::GET, "channels"),
        (Method::POST, "redirect"),
    ] {
        let path = format!("/{PARTNER}/{path}");
        let with = |value: &str| {
            run.request(method.clone(), &path)
                .header("authorization", value)
        };
        let mut requests: Vec<_> = [&cut, &unsigned, &key, &hub_token]
            .map(|it| with(&format!("Bearer {it}")))
            .into();
        requests.extend([
            with(&token),
            with(&format!("Basic {token}")),
            run.request(method.clone(), &path),
        ]);
        for request in requests {
            assert_eq!(run.ask(request).await.status, 401);
        }
    }
}

/// What a confused caller may do: addresses, parameters and bodies that hold what does not belong there.
async fn put_secrets_where_they_do_not_belong(run: &mut Run) {
    let signed = run.sign(PARTNER, "acme", "").await;
    let state = signed["state"].as_str().expect("a state");
    let (token, key) = (run.token("acme"), run.needles()["the key of oneCH"].clone());
    for secret in [state, &token, &key] {
        for (method, path, status) in [
            (Method::GET, format!("/{PARTNER}/channels/{secret}"), 404),
            (
                Method::GET,
                format!("/{PARTNER}/channels?cursor={secret}"),
                400,
            ),
            (
                Method::GET,
                format!("/{PARTNER}/channels?limit={secret}"),
                400,
            ),
            (
                Method::GET,
                format!("/{PARTNER}/sign?return_to={secret}"),
                400,
            ),
            (Method::GET, format!("/{PARTNER}/sign?tenant={secret}"), 400),
            (
                Method::GET,
                format!("/{PARTNER}/redirect/{state}/{secret}"),
                404,
            ),
            (Method::GET, format!("/{secret}?token={secret}"), 404),
            (
                Method::DELETE,
                format!("/{PARTNER}/redirect/{secret}"),
                without_a_route(405),
            ),
            (
                Method::PUT,
                format!("/{PARTNER}/webhook?{secret}"),
                without_a_route(405),
            ),
            (Method::OPTIONS, format!("/{PARTNER}/sign?{secret}"), 204),
        ] {
            let request = run
                .request_of("acme", method.clone(), &path)
                .header("origin", format!("http://{secret}"));
            let answer = run.ask(request).await;
            assert!(
                answer.status == status || answer.status == 401,
                "{method} {path}: {}",
                answer.status
            );
        }
    }
}

async fn read_channels(run: &mut Run) {
    for (tenant, path) in [
        ("acme", ""),
        ("acme", "?limit=1"),
        ("acme", "/oneCH"),
        ("thief", ""),
        ("thief", "/oneCH"),
    ] {
        let request = run.request_of(tenant, Method::GET, &format!("/{PARTNER}/channels{path}"));
        run.ask(request).await;
    }
}

/// Shows that the search finds a needle in every form, wherever the run may have written it; answers all it found.
pub(crate) fn find_what_is_planted(run: &mut Run) -> BTreeMap<String, Found> {
    run.add(PLANTED, PLANTED);
    let directory = run.bundle.directory.path().to_owned();
    let mut planted = Vec::new();
    for (number, (form, written)) in written_down(PLANTED).into_iter().enumerate() {
        for file in [
            format!("log.{number}"),
            format!("data/planted.{number}"),
            format!("{ANSWERS}/planted.{number}"),
        ] {
            std::fs::write(directory.join(&file), &written).expect("a file");
            planted.push((file, form.clone()));
        }
    }
    let misplaced = run.misplaced();
    for (file, form) in planted {
        assert!(
            misplaced
                .get(&file)
                .is_some_and(|found| found.contains(PLANTED)),
            "{form} in {file} is not found"
        );
    }
    run.found()
}

/// All files in `data` are their owner's only, and those `named` are among them. On AWS there are no files, but those
/// that the harness writes down what is in the services to.
pub(crate) fn assert_private(data: &Path, named: &[&str]) {
    if is_on_aws() {
        return;
    }
    let mode = |path: &Path| {
        unless_gone(std::fs::metadata(path)).map(|file| file.permissions().mode() & 0o777)
    };
    assert_eq!(
        mode(data).expect("the directory") & 0o077,
        0,
        "the data directory is its owner's"
    );
    for name in named {
        assert_eq!(mode(&data.join(name)), Some(0o600), "{name}");
    }
    for path in files(data) {
        assert!(
            matches!(mode(&path), Some(0o600) | None),
            "{}",
            path.display()
        );
    }
}
