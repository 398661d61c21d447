//! The demo page in a real browser: from the click on either button to the stored key.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::process::Stdio;
use std::time::{Duration, Instant};

use super::readme::block;
use fantoccini::elements::Element;
use fantoccini::wd::WindowHandle;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tempfile::TempDir;
use tests::{Ask, Bundle, PARTNER, until, until_seen};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

/// Where the stock button goes with `env="local"`; here the browser finds the test's own hub there.
const STOCK_HUB: &str = "localhost:8082";

/// The tenant the demo signs in as.
const TENANT: &str = "demo";

/// How long browser and driver may take to end before they are killed.
const ENDING: Duration = Duration::from_secs(5);

const PACKAGE_MISSING: &str =
    "360dialog's npm package is not installed: `make packages` installs it.";

const BROWSER_MISSING: &str = "This test drives Chromium: `make tools` installs it, as does `apt-get install chromium chromium-driver`.";

#[tokio::test]
async fn the_stock_button_brings_a_number_to_its_stored_key() {
    let bundle = super::start().await;
    let page = Page::open(&bundle).await;
    page.click_stock_button().await;
    let address = page.in_popup("#grant").await;
    let stock = format!("http://{STOCK_HUB}/dashboard/app/{PARTNER}?");
    assert!(address.starts_with(&stock), "{address}");
    page.ends_with_stored_key(&bundle).await;
}

#[tokio::test]
async fn a_popup_brings_a_number_to_its_stored_key_by_the_other_name_of_this_machine_too() {
    let bundle = super::start().await;
    // It is led to the address whose origin is allowed.
    let page = Page::open_at(&bundle, &bundle.url.replace("127.0.0.1", "localhost")).await;
    page.find("dialog-connect-button").await;
    page.click("#connect:enabled").await;
    let address = page.in_popup("#grant").await;
    assert!(address.starts_with(&bundle.hub), "{address}");
    page.ends_with_stored_key(&bundle).await;
}

#[tokio::test]
async fn a_visit_that_is_cancelled_or_closed_is_told_and_the_next_one_works() {
    let bundle = super::start().await;
    let page = Page::open(&bundle).await;
    page.click_stock_button().await;
    page.in_popup("#cancel").await;
    page.find("#outcome [data-kind=cancelled]").await;
    // After the stock button: its listener for messages must not take those of the page's own popup.
    page.click_stock_button().await;
    page.close_popup().await;
    page.click("#connect:enabled").await;
    page.in_popup("#cancel").await;
    page.find("#outcome [data-kind=cancelled]").await;
    page.click("#connect:enabled").await;
    page.close_popup().await;
    page.find("#outcome [data-kind=closed]").await;
    page.click("#connect:enabled").await;
    page.in_popup("#grant").await;
    page.ends_with_stored_key(&bundle).await;
}

/// The README's two blocks of JavaScript, on the demo page in place of the page's own code.
#[tokio::test]
async fn the_readmes_code_brings_numbers_to_their_stored_keys() {
    let bundle = super::start().await;
    let page = Page::open(&bundle).await;
    page.find("dialog-connect-button").await;
    let own = block("const popup =");
    page.run(&format!(
        "console.log = (data) => sessionStorage.setItem('readme', data);
         document.querySelector('h1').onclick = async () => {{ {own} }};"
    ))
    .await;
    page.click("h1").await;
    page.in_popup("#grant").await;
    page.ends_with_stored_key(&bundle).await;
    let result = page.run("return sessionStorage.getItem('readme');").await;
    let result = result.as_str().expect("a message");
    assert!(result.starts_with("?client="), "{result}");

    page.find("dialog-connect-button").await;
    page.run("document.querySelector('dialog-connect-button').remove();")
        .await;
    page.run(&block("const page =")).await;
    // The README's button goes to 360dialog itself.
    page.run("document.querySelector('dialog-connect-button').setAttribute('env', 'local');")
        .await;
    page.click_stock_button().await;
    page.in_popup("#cancel").await;
    page.find("#outcome [data-kind=cancelled]").await;
}

/// The demo page in a browser of its own. Dropping it ends both browser and driver.
struct Page {
    window: WindowHandle,
    browser: Client,
    _driver: Driver,
    _profile: TempDir,
}

impl Page {
    async fn open(bundle: &Bundle) -> Self {
        Self::open_at(bundle, &bundle.url).await
    }

    async fn open_at(bundle: &Bundle, url: &str) -> Self {
        let address = format!("{url}/");
        let button = bundle.http.get(format!("{address}_demo/connect-button.js"));
        assert_eq!(button.ask().await.status, 200, "{PACKAGE_MISSING}");
        let profile = tempfile::tempdir().expect("a directory");
        let driver = Driver::start().await;
        let hub = bundle.hub.trim_start_matches("http://");
        let browser = driver.browser(&profile, hub).await;
        browser.goto(&address).await.expect("the page");
        let window = browser.window().await.expect("a window");
        Self {
            window,
            browser,
            _driver: driver,
            _profile: profile,
        }
    }

    /// Runs `script` in the page, where `api`, `partnerId` and `token` are what the README's code expects.
    async fn run(&self, script: &str) -> Value {
        let script = format!(
            "const [done] = [...arguments].slice(-1);
             (async () => {{
               const session = await (await fetch('/_demo/session')).json();
               const [api, partnerId, token] = [location.origin, session.partners[0], session.token];
               {script}
             }})().then(done, (error) => done(`failed: ${{error}}`));"
        );
        let done = self.browser.execute_async(&script, Vec::new()).await;
        let done = done.expect("a script that ends");
        let has_failed = done.as_str().is_some_and(|it| it.starts_with("failed: "));
        assert!(!has_failed, "{done}");
        done
    }

    async fn find(&self, css: &str) -> Element {
        until(|| async {
            let found = self.browser.find(Locator::Css(css)).await;
            found.map_err(|error| format!("{css}: {error}"))
        })
        .await
    }

    async fn click(&self, css: &str) {
        self.find(css).await.click().await.expect("a click");
    }

    async fn click_stock_button(&self) {
        let component = self.find("dialog-connect-button").await;
        let inside = component.shadow_root().await.expect("its inside");
        let button = inside.find(Locator::Css("button")).await;
        let button = button.expect("a button");
        button.click().await.expect("a click");
    }

    /// Presses a button of the simulated hub's page and comes back when the popup has closed; answers its address.
    async fn in_popup(&self, button: &str) -> String {
        self.switch_to_popup().await;
        let button = self.find(button).await;
        let address = self.browser.current_url().await.expect("its address");
        // The popup may be gone before the click is answered.
        let _closing = button.click().await;
        self.switch_back().await;
        address.to_string()
    }

    async fn close_popup(&self) {
        self.switch_to_popup().await;
        self.browser.close_window().await.expect("closed");
        self.switch_back().await;
    }

    async fn switch_to_popup(&self) {
        let popup = until(|| async {
            let windows = self.windows().await?.into_iter();
            let mut others = windows.filter(|window| *window != self.window);
            others.next().ok_or_else(|| "no popup".to_owned())
        });
        let switched = self.browser.switch_to_window(popup.await).await;
        switched.expect("the popup");
    }

    async fn windows(&self) -> Result<Vec<WindowHandle>, String> {
        let windows = self.browser.windows().await;
        windows.map_err(|error| error.to_string())
    }

    async fn switch_back(&self) {
        let is_alone = |windows: &Result<Vec<_>, _>| windows.as_ref().is_ok_and(|it| it.len() == 1);
        until_seen(|| self.windows(), is_alone)
            .await
            .expect("one window");
        let switched = self.browser.switch_to_window(self.window.clone()).await;
        switched.expect("the page");
    }

    async fn says(&self, css: &str, wanted: &str) {
        let text = self.find(css).await.text().await.expect("a text");
        assert!(text.contains(wanted), "{css}: {text}");
    }

    /// The page tells the result, its one row reaches the stored key, and that key works.
    async fn ends_with_stored_key(&self, bundle: &Bundle) {
        self.find("#outcome [data-kind=connected]").await;
        let row = self.find("#channels tr[data-key-status=stored]").await;
        let channel = row.attr("data-channel").await.expect("a row");
        let channel = channel.expect("a channel");
        for (css, wanted) in [(".key", "stored"), (".permission", "granted")] {
            let css = format!("#channels tr[data-channel='{channel}'] {css}");
            self.says(&css, wanted).await;
        }
        self.says("#changes", "stored").await;
        let cleaned = format!("{}/", bundle.url);
        let address = || async { self.browser.current_url().await.map(String::from) };
        let is_cleaned = |seen: &Result<String, _>| seen.as_ref().is_ok_and(|it| *it == cleaned);
        until_seen(address, is_cleaned).await.expect("an address");
        let seen = bundle.stored(PARTNER, TENANT, &channel).await;
        assert_eq!(seen["claim"], "confirmed");
        bundle.can_send(PARTNER, &channel).await;
    }
}

/// A running chromedriver.
struct Driver {
    port: u16,
    process: Child,
    /// Kept open: it may write more.
    _output: Lines<BufReader<ChildStdout>>,
}

impl Driver {
    async fn start() -> Self {
        let process = Command::new("chromedriver")
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn();
        let mut process =
            process.unwrap_or_else(|error| panic!("chromedriver: {error}. {BROWSER_MISSING}"));
        let mut lines = BufReader::new(process.stdout.take().expect("its output")).lines();
        while let Some(line) = lines.next_line().await.expect("a line") {
            // "ChromeDriver was started successfully on port 41723."
            let port = line
                .split_once("successfully on port ")
                .map(|(_, port)| port.trim_end_matches('.'));
            if let Some(port) = port.and_then(|port| port.parse().ok()) {
                return Self {
                    port,
                    process,
                    _output: lines,
                };
            }
        }
        panic!("chromedriver ended at once. {BROWSER_MISSING}");
    }

    /// A headless browser that asks nobody but this machine; it takes `hub` for [`STOCK_HUB`].
    async fn browser(&self, profile: &TempDir, hub: &str) -> Client {
        let arguments = [
            "--headless",
            "--no-sandbox", // needed as root; it only ever shows pages of ours
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--no-proxy-server",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            &format!("--user-data-dir={}", profile.path().display()),
            &format!("--host-resolver-rules=MAP {STOCK_HUB} {hub}"),
        ];
        let capabilities = json!({"goog:chromeOptions": {
            "args": arguments,
            // As people have it: a popup opened too late is blocked.
            "excludeSwitches": ["disable-popup-blocking"],
        }});
        ClientBuilder::new(HttpConnector::new())
            .capabilities(capabilities.as_object().cloned().expect("an object"))
            .connect(&format!("http://127.0.0.1:{}", self.port))
            .await
            .unwrap_or_else(|error| panic!("Chromium does not start: {error}. {BROWSER_MISSING}"))
    }

    /// chromedriver's own way to end: it takes its browsers with it, which a kill would leave running.
    fn shut_down(&self) -> std::io::Result<()> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
        stream.set_read_timeout(Some(ENDING))?;
        write!(
            stream,
            "GET /shutdown HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
        )?;
        stream.read_to_end(&mut Vec::new()).map(drop)
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let deadline = Instant::now() + ENDING;
        if self.shut_down().is_ok() {
            while matches!(self.process.try_wait(), Ok(None)) && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
}
