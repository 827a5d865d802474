//! A browser of the test's own: its driver on a free port, its profile in a fresh directory, both gone at the end.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tempfile::TempDir;
use thirtyfour::prelude::*;
use thirtyfour::{ChromiumLikeCapabilities, LoggingPrefsLogLevel};
use tokio::sync::{Mutex, MutexGuard};

/// Longest time for anything that a page should show; only a failing test takes it.
const PATIENCE: Duration = Duration::from_secs(20);
/// Browsers are large: one at a time is kinder to a small machine, and quicker.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

/// A running browser.
pub(crate) struct Browser {
    pub(crate) driver: WebDriver,
    process: Child,
    port: u16,
    _profile: TempDir,
    _turn: MutexGuard<'static, ()>,
}

/// How a page is looked at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Look {
    pub(crate) width: u32,
    pub(crate) dark: bool,
    pub(crate) scripts: bool,
}

impl Default for Look {
    fn default() -> Look {
        Look { width: 1280, dark: false, scripts: true }
    }
}

/// Where a program is, if it is installed.
fn which(names: &[&str]) -> Option<String> {
    let path = std::env::var_os("PATH")?;
    let places = std::env::split_paths(&path).flat_map(|dir| names.iter().map(move |name| dir.join(name)));
    places.filter(|place| place.is_file()).find_map(|place| place.to_str().map(str::to_owned))
}

/// Starts a browser, or says why there is none. `None` means that the test should pass without having looked.
pub(crate) async fn open(look: Look) -> Option<Browser> {
    let chromium = which(&["chromium", "chromium-browser", "google-chrome"]);
    let (Some(chromium), Some(driver)) = (chromium, which(&["chromedriver"])) else {
        let must = std::env::var("WINDLASS_REQUIRE_BROWSER").is_ok_and(|value| value == "1");
        assert!(!must, "WINDLASS_REQUIRE_BROWSER=1, and chromium or chromedriver is not installed");
        println!("skipped: chromium or chromedriver is not installed");
        return None;
    };
    let turn = ONE_AT_A_TIME.lock().await;
    Some(Browser::start(&chromium, &driver, look, turn).await.expect("the installed browser starts"))
}

/// Starts the driver and reads from it which port it took.
fn start_driver(program: &str) -> Result<(Child, u16)> {
    let mut process = Command::new(program)
        .arg("--port=0")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .stdin(Stdio::null())
        .spawn()?;
    let mut lines = BufReader::new(process.stdout.take().context("its output is piped")?).lines();
    while let Some(line) = lines.next().transpose()? {
        if let Some(port) =
            line.strip_suffix('.').and_then(|l| l.split("started successfully on port ").nth(1))
        {
            // What it says later must be read, or it would stop with a full pipe.
            std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
            return Ok((process, port.parse()?));
        }
    }
    bail!("{program} ended before it was ready")
}

fn capabilities(chromium: &str, profile: &TempDir, look: Look) -> Result<thirtyfour::ChromeCapabilities> {
    let mut caps = DesiredCapabilities::chrome();
    caps.set_binary(chromium)?;
    for arg in [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--lang=en-US",
        "--window-size=1280,900",
    ] {
        caps.add_arg(arg)?;
    }
    caps.add_arg(&format!("--user-data-dir={}", profile.path().display()))?;
    caps.set_logging_prefs("browser", LoggingPrefsLogLevel::All)?;
    if !look.scripts {
        caps.add_experimental_option(
            "prefs",
            json!({"profile.managed_default_content_settings.javascript": 2}),
        )?;
    }
    Ok(caps)
}

/// Whether the page was changing under the driver's hands: the element was replaced, or was on its way out.
fn is_passing(error: &thirtyfour::error::WebDriverError) -> bool {
    let text = error.to_string();
    text.contains("stale") || text.contains("not interactable")
}

impl Browser {
    async fn start(
        chromium: &str,
        driver: &str,
        look: Look,
        turn: MutexGuard<'static, ()>,
    ) -> Result<Browser> {
        let profile = TempDir::new()?;
        let caps = capabilities(chromium, &profile, look)?;
        let (process, port) = start_driver(driver)?;
        let driver = WebDriver::new(format!("http://127.0.0.1:{port}"), caps).await?;
        let browser = Browser { driver, process, port, _profile: profile, _turn: turn };
        browser.look(look).await?;
        Ok(browser)
    }

    /// Changes size and colours.
    pub(crate) async fn look(&self, look: Look) -> Result<()> {
        let tools = self.driver.cdp();
        let scheme = if look.dark { "dark" } else { "light" };
        let media = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        tools.send_raw("Emulation.setEmulatedMedia", media).await?;
        let size = json!({"width": look.width, "height": 800, "deviceScaleFactor": 1, "mobile": false});
        tools.send_raw("Emulation.setDeviceMetricsOverride", size).await?;
        Ok(())
    }

    pub(crate) async fn goto(&self, url: &str) -> Result<()> {
        Ok(self.driver.goto(url).await?)
    }

    /// The value of an expression in the page.
    pub(crate) async fn eval(&self, expression: &str) -> Result<Value> {
        let script = format!("return ({expression})");
        Ok(self.driver.execute(script, Vec::new()).await?.json().clone())
    }

    /// Waits until an expression in the page is true.
    pub(crate) async fn until(&self, expression: &str) -> Result<()> {
        let began = Instant::now();
        loop {
            // While a page is replaced by the next there is nothing to ask.
            let value = self.eval(expression).await;
            if matches!(value, Ok(Value::Bool(true))) {
                return Ok(());
            }
            if began.elapsed() > PATIENCE {
                let text = self.eval("document.body.innerText").await.unwrap_or_default();
                bail!("after {PATIENCE:?} not true: {expression} ({value:?}); the page says: {text}");
            }
            tokio::time::sleep(Duration::from_millis(40)).await;
        }
    }

    /// Waits until the text of the page has `text`.
    pub(crate) async fn until_text(&self, text: &str) -> Result<()> {
        self.until(&format!("document.querySelector('main')?.innerText.includes({})", json!(text))).await
    }

    /// Clicks an element. A live page may replace it between the look and the click; whoever sits before it then clicks
    /// what took its place, and so does this.
    pub(crate) async fn click(&self, css: &str) -> Result<()> {
        let began = Instant::now();
        loop {
            let element =
                self.driver.find(By::Css(css)).await.with_context(|| format!("no element {css}"))?;
            let clicked = async {
                element.scroll_into_view().await?;
                element.click().await
            };
            match clicked.await {
                Err(error) if is_passing(&error) && began.elapsed() < PATIENCE => {}
                done => return Ok(done?),
            }
        }
    }

    /// Types into whatever has the focus. While a page or a dialog goes, that may be something that is no longer there; a
    /// key that was not taken is pressed again.
    pub(crate) async fn press(&self, keys: impl Into<thirtyfour::TypingData>) -> Result<()> {
        let keys: String = keys.into().as_vec().into_iter().collect();
        let began = Instant::now();
        loop {
            let pressed = async { self.driver.active_element().await?.send_keys(keys.as_str()).await };
            match pressed.await {
                Err(error) if is_passing(&error) && began.elapsed() < PATIENCE => {
                    tokio::time::sleep(Duration::from_millis(40)).await;
                }
                done => return Ok(done?),
            }
        }
    }

    /// Ends the browser; fails when a page has complained to its console.
    pub(crate) async fn close(self) -> Result<()> {
        let log = self.driver.browser_log().await?;
        let complaints: Vec<String> = log
            .into_iter()
            .filter(|entry| matches!(entry.level.as_str(), "SEVERE" | "WARNING"))
            .map(|entry| entry.message)
            .collect();
        self.driver.clone().quit().await?;
        if complaints.is_empty() { Ok(()) } else { bail!("the console has {complaints:#?}") }
    }
}

impl Browser {
    /// Asks the driver to end its browser. Needs no runtime, since a failed test may have none any more.
    fn end_session(&self) -> std::io::Result<()> {
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let session = self.driver.session_id();
        write!(stream, "DELETE /session/{session} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n")?;
        // The first bytes of the answer come when the browser has ended; the driver keeps the connection open after them.
        stream.read(&mut [0; 64]).map(drop)
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // A driver that is killed leaves its browser behind, so a test that failed half way ends that first.
        let _ = self.end_session();
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
