//! Languages, themes and small screens, on every page.

use anyhow::Result;
use windlass_core::api::{BulkAct, BulkSpec, Request};
use windlass_core::job::JobState;

use crate::browser::{Browser, Look, open};
use crate::site::Site;

/// Every page, with something on it.
async fn pages(site: &mut Site) -> Result<Vec<String>> {
    site.work(&["mail.eu/a-rather-long-queue-name-that-does-not-fit", "mail"]);
    let dead = site.dead("mail").await?;
    let running = site.enqueue("mail.eu/a-rather-long-queue-name-that-does-not-fit", "slow").await?;
    site.until(running, JobState::Running).await?;
    let spec =
        r#"{"name":"nightly","cron":"0 3 * * *","zone":"Europe/Berlin","kind":"quick","queue":"mail"}"#;
    put_schedule(site, spec).await?;
    let mut pages: Vec<String> = [
        "/",
        "/queues",
        "/jobs",
        "/jobs?state=dead&queue=mail",
        "/workers",
        "/cluster",
        "/schedules",
        "/schedules/new",
        "/enqueue",
        "/docs/api",
        "/nothing",
    ]
    .map(str::to_owned)
    .to_vec();
    for dry_run in [true, false] {
        let (filter, reason) = ("state:dead queue:mail".to_owned(), "the relay is back".to_owned());
        let spec = BulkSpec { act: BulkAct::Cancel, filter, reason, pace: Some(1), dry_run };
        site.client.call(Request::StartBulk(spec)).await?;
    }
    pages.extend(["/bulk", "/bulk/1", "/bulk/2"].map(str::to_owned));
    pages.extend([format!("/jobs/{dead}"), format!("/jobs/{running}")]);
    Ok(pages)
}

/// Creates a schedule as a program would, over HTTP.
async fn put_schedule(site: &Site, body: &str) -> Result<()> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let host = site.url.trim_start_matches("http://");
    let mut stream = tokio::net::TcpStream::connect(host).await?;
    let head = format!(
        "POST /api/v1/schedules HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(format!("{head}{body}").as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    anyhow::ensure!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    Ok(())
}

/// The brightness of the page behind everything, 0 to 255.
async fn brightness(browser: &Browser) -> Result<f64> {
    let value = browser
        .eval("(() => { const c = document.createElement('canvas').getContext('2d'); c.fillStyle = getComputedStyle(document.body).backgroundColor; c.fillRect(0, 0, 1, 1); const d = c.getImageData(0, 0, 1, 1).data; return (d[0] + d[1] + d[2]) / 3; })()")
        .await?;
    Ok(value.as_f64().unwrap_or(-1.0))
}

#[tokio::test(flavor = "multi_thread")]
async fn no_page_is_wider_than_a_small_screen() -> Result<()> {
    let Some(browser) = open(Look::default()).await else { return Ok(()) };
    let mut site = Site::start().await?;
    let pages = pages(&mut site).await?;
    for (width, lang) in [(360, "en"), (320, "zh-CN"), (768, "en")] {
        browser.look(Look { width, ..Look::default() }).await?;
        for page in &pages {
            let join = if page.contains('?') { '&' } else { '?' };
            browser.goto(&site.page(&format!("{page}{join}lang={lang}"))).await?;
            browser.until("document.documentElement.classList.contains('js')").await?;
            let wide = browser.eval("document.documentElement.scrollWidth - innerWidth").await?;
            assert!(
                wide.as_i64().is_some_and(|over| over <= 0),
                "{page} at {width} px is {wide} px too wide"
            );
        }
    }
    // The page that is not there is in the console by right.
    browser.driver.clone().quit().await?;
    site.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn chinese_is_complete_and_stays_chosen() -> Result<()> {
    let Some(browser) = open(Look::default()).await else { return Ok(()) };
    let mut site = Site::start().await?;
    let pages = pages(&mut site).await?;
    browser.goto(&site.page("/")).await?;
    browser.click("#lang").await?;
    browser.until("document.documentElement.lang === 'zh-CN'").await?;
    for page in pages.iter().filter(|page| *page != "/nothing") {
        browser.goto(&site.page(page)).await?;
        browser.until("document.documentElement.classList.contains('js')").await?;
        assert_eq!(browser.eval("document.documentElement.lang").await?, "zh-CN", "{page}");
        let nav = browser.eval("document.querySelector('nav.side').innerText").await?;
        assert!(nav.as_str().is_some_and(|text| text.contains("队列") && !text.contains("Queues")), "{nav}");
    }
    browser.goto(&site.page("/workers")).await?;
    browser.until("/前/.test(document.querySelector('time').innerText)").await?;
    browser.click("#lang").await?;
    browser.until("document.documentElement.lang === 'en'").await?;
    browser.close().await?;
    site.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_theme_follows_the_system_and_the_switch() -> Result<()> {
    let Some(browser) = open(Look::default()).await else { return Ok(()) };
    let site = Site::start().await?;
    browser.goto(&site.page("/")).await?;
    browser.until("document.documentElement.classList.contains('js')").await?;
    assert!(brightness(&browser).await? > 200.0);
    browser.look(Look { dark: true, ..Look::default() }).await?;
    assert!(brightness(&browser).await? < 60.0);
    browser.click("#theme").await?;
    assert_eq!(browser.eval("document.documentElement.dataset.theme").await?, "light");
    assert!(brightness(&browser).await? > 200.0, "the switch overrules the system");
    browser.goto(&site.page("/queues")).await?;
    assert_eq!(browser.eval("document.documentElement.dataset.theme").await?, "light", "and is remembered");
    browser.close().await?;
    site.stop().await
}

/// Landmarks, names and headings that people who do not see the page rely on.
#[tokio::test(flavor = "multi_thread")]
async fn pages_have_what_screen_readers_need() -> Result<()> {
    const CHECK: &str = "(() => { const bad = [];
        if (document.querySelectorAll('h1').length !== 1) bad.push('h1');
        for (const tag of ['main', 'nav', 'header', 'footer']) if (!document.querySelector(tag)) bad.push(tag);
        for (const e of document.querySelectorAll('button, a, input:not([type=hidden]), select, textarea')) {
          const label = e.labels?.[0]?.textContent ?? '';
          const name = e.getAttribute('aria-label') || e.textContent.trim() || label.trim() || e.title;
          if (!name) bad.push(e.outerHTML.slice(0, 120));
        }
        for (const e of document.querySelectorAll('thead th')) if (!e.scope) bad.push('th without scope');
        const ids = [...document.querySelectorAll('[id]')].map((e) => e.id);
        for (const id of ids) if (ids.filter((i) => i === id).length > 1) bad.push('id ' + id);
        for (const e of document.querySelectorAll('[aria-labelledby]'))
          for (const id of e.getAttribute('aria-labelledby').split(' ')) if (!document.getElementById(id)) bad.push('no ' + id);
        return bad.join('; '); })()";
    let Some(browser) = open(Look::default()).await else { return Ok(()) };
    let mut site = Site::start().await?;
    for page in pages(&mut site).await? {
        browser.goto(&site.page(&page)).await?;
        browser.until("document.documentElement.classList.contains('js')").await?;
        assert_eq!(browser.eval(CHECK).await?, "", "{page}");
    }
    browser.driver.clone().quit().await?;
    site.stop().await
}
