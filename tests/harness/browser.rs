//! Chromium, as a person uses it: one page and its popups.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::process::Stdio;
use std::str::FromStr;
use std::time::{Duration, Instant};

use axum::http::Method;
use fantoccini::elements::Element;
use fantoccini::wd::{WebDriverCompatibleCommand, WindowHandle};
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use reqwest::Url;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::{Ask, Bundle, until, until_seen};

/// Where the stock button goes with `env="local"`; here the browser finds the bundle's own hub there.
pub const STOCK_HUB: &str = "localhost:8082";

/// How long browser and driver may take to end before they are killed.
const ENDING: Duration = Duration::from_secs(5);

const PACKAGE_MISSING: &str =
    "The demo's npm packages are not installed: `make packages` installs them.";

const BROWSER_MISSING: &str = "This needs Chromium: `make tools` installs it, as does `apt-get install chromium chromium-driver`.";

/// Scripts that `make packages` installs or bundles.
const PACKAGES: [&str; 3] = ["connect-button", "react-signed", "react-unsigned"];

/// The demo page in a browser of its own. Dropping it ends both browser and driver.
pub struct Page {
    /// The browser, for what this type has no function for.
    pub browser: Client,
    window: WindowHandle,
    _driver: Driver,
    _profile: TempDir,
}

impl Page {
    /// Opens the demo page of a bundle.
    pub async fn open(bundle: &Bundle) -> Self {
        Self::open_at(bundle, &format!("{}/", bundle.url)).await
    }

    /// Opens an address of a bundle.
    pub async fn open_at(bundle: &Bundle, address: &str) -> Self {
        for package in PACKAGES {
            let script = bundle
                .http
                .get(format!("{}/_demo/{package}.js", bundle.url));
            assert_eq!(script.ask().await.status, 200, "{PACKAGE_MISSING}");
        }
        let profile = tempfile::tempdir().expect("a directory");
        let driver = Driver::start().await;
        let hub = bundle.hub.trim_start_matches("http://");
        let browser = driver.browser(&profile, hub).await;
        browser.goto(address).await.expect("the page");
        let window = browser.window().await.expect("a window");
        Self {
            browser,
            window,
            _driver: driver,
            _profile: profile,
        }
    }

    /// The element, once it is there.
    pub async fn find(&self, css: &str) -> Element {
        until(|| async {
            let found = self.browser.find(Locator::Css(css)).await;
            found.map_err(|error| format!("{css}: {error}"))
        })
        .await
    }

    /// Clicks the element, once it is there.
    pub async fn click(&self, css: &str) {
        self.find(css).await.click().await.expect("a click");
    }

    /// Clicks until there is a popup: for 360dialog's React component, which hears no click before its effects have run.
    pub async fn click_until_popup(&self, css: &str) {
        until(|| async {
            self.click(css).await;
            let has_popup = self.windows().await?.len() > 1;
            has_popup.then_some(()).ok_or_else(|| "no popup".to_owned())
        })
        .await
    }

    /// Clicks 360dialog's web component.
    pub async fn click_stock_button(&self) {
        let component = self.find("dialog-connect-button").await;
        let inside = component.shadow_root().await.expect("its inside");
        let button = inside.find(Locator::Css("button")).await;
        let button = button.expect("a button");
        button.click().await.expect("a click");
    }

    /// Presses a button of the simulated hub's page and comes back when the popup has closed; answers its address.
    pub async fn in_popup(&self, button: &str) -> String {
        self.switch_to_popup().await;
        let button = self.find(button).await;
        let address = self.browser.current_url().await.expect("its address");
        // The popup may be gone before the click is answered.
        let _closing = button.click().await;
        self.switch_back().await;
        address.to_string()
    }

    /// Closes the popup as a person does.
    pub async fn close_popup(&self) {
        self.switch_to_popup().await;
        self.browser.close_window().await.expect("closed");
        self.switch_back().await;
    }

    /// What follows happens in the popup, until [`Self::switch_back`].
    pub async fn switch_to_popup(&self) {
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

    /// Goes back to the page, once the popup has closed.
    pub async fn switch_back(&self) {
        let is_alone = |windows: &Result<Vec<_>, _>| windows.as_ref().is_ok_and(|it| it.len() == 1);
        until_seen(|| self.windows(), is_alone)
            .await
            .expect("one window");
        let switched = self.browser.switch_to_window(self.window.clone()).await;
        switched.expect("the page");
    }

    /// The element's text contains `wanted`.
    pub async fn says(&self, css: &str, wanted: &str) {
        let text = self.find(css).await.text().await.expect("a text");
        assert!(text.contains(wanted), "{css}: {text}");
    }

    /// A picture (PNG) of the whole page, `width` CSS pixels wide, as shown to who prefers `scheme`: `light` or `dark`.
    pub async fn picture(&self, scheme: &str, width: u32) -> Vec<u8> {
        let scheme = json!({"name": "prefers-color-scheme", "value": scheme});
        let still = json!({"name": "prefers-reduced-motion", "value": "reduce"});
        let media = json!({"features": [scheme, still]});
        self.dev_tools("Emulation.setEmulatedMedia", media).await;
        let size = json!({"width": width, "height": 1, "deviceScaleFactor": 1, "mobile": false});
        self.dev_tools("Emulation.setDeviceMetricsOverride", size)
            .await;
        let hidden = json!({"hidden": true});
        self.dev_tools("Emulation.setScrollbarsHidden", hidden)
            .await;
        let whole = json!({"format": "png", "captureBeyondViewport": true});
        let taken = self.dev_tools("Page.captureScreenshot", whole).await;
        let data = taken["data"].as_str().expect("a picture");
        let picture = data_encoding::BASE64.decode(data.as_bytes());
        picture.expect("base64")
    }

    async fn dev_tools(&self, command: &'static str, parameters: Value) -> Value {
        let done = self.browser.issue_cmd(DevTools {
            command,
            parameters,
        });
        done.await
            .unwrap_or_else(|error| panic!("{command}: {error}"))
    }
}

/// A command of Chromium's own protocol, such as `Page.captureScreenshot`.
#[derive(Debug)]
struct DevTools {
    command: &'static str,
    parameters: Value,
}

impl WebDriverCompatibleCommand for DevTools {
    fn endpoint(&self, base: &Url, session: Option<&str>) -> Result<Url, <Url as FromStr>::Err> {
        let session = session.unwrap_or_default();
        base.join(&format!("session/{session}/goog/cdp/execute"))
    }

    fn method_and_body(&self, _: &Url) -> (Method, Option<String>) {
        let body = json!({"cmd": self.command, "params": self.parameters});
        (Method::POST, Some(body.to_string()))
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
