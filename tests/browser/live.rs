//! Pages that stay true by themselves.

use std::time::Duration;

use anyhow::Result;
use windlass_core::job::JobState;

use crate::browser::{Look, open};
use crate::site::Site;

/// The number in the tile of that name.
fn tile(name: &str) -> String {
    format!(
        "[...document.querySelectorAll('.tile')].find(t => t.innerText.startsWith('{name}')).querySelector('.value').innerText"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn rates_and_counts_move_without_a_reload() -> Result<()> {
    let Some(browser) = open(Look::default()).await else { return Ok(()) };
    let mut site = Site::start().await?;
    browser.goto(&site.page("/")).await?;
    browser.until_text("There is nothing in the queues yet.").await?;
    browser.eval("window.sameDocument = true").await?;
    site.work(&["mail"]);
    let feed = async {
        loop {
            site.enqueue("mail", "quick").await?;
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        #[expect(unreachable_code, reason = "names the type of the errors above")]
        Ok::<(), anyhow::Error>(())
    };
    let watch = async {
        browser.until(&format!("parseFloat({}) > 1", tile("Enqueued"))).await?;
        browser.until(&format!("parseFloat({}) > 1", tile("Done"))).await?;
        browser.until("document.querySelectorAll('svg.chart.large polyline').length === 3").await?;
        browser.until("document.querySelector('#q-mail') !== null").await
    };
    tokio::select! {
        fed = feed => fed?,
        watched = watch => watched?,
    }
    assert_eq!(browser.eval("window.sameDocument === true").await?, true, "the page was not loaded again");
    browser.close().await?;
    site.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_followed_from_running_to_its_end() -> Result<()> {
    let Some(browser) = open(Look::default()).await else { return Ok(()) };
    let mut site = Site::start().await?;
    let id = site.enqueue("mail", "slow").await?;
    browser.goto(&site.page(&format!("/jobs/{id}"))).await?;
    browser.until("document.querySelector('.diagram .here.ready') !== null").await?;
    site.work(&["mail"]);
    browser.until("document.querySelector('.diagram .here.running') !== null").await?;
    browser.until_text("halfway, nearly").await?;
    browser.until("document.querySelector('progress')?.value === 40").await?;
    browser.click("#job-head button:not([data-copy])").await?;
    browser.until("document.querySelector('#confirm[open]')?.innerText.includes('Cancel this job (slow)?') === true").await?;
    browser.click("#confirm button[data-yes]").await?;
    browser.until("document.querySelector('.diagram .here.cancelled') !== null").await?;
    browser.until_text("Attempt 1").await?;
    site.until(id, JobState::Cancelled).await?;
    browser.close().await?;
    site.stop().await
}

/// A browser allows six connections to a host; tabs that nobody looks at must not hold them.
#[tokio::test(flavor = "multi_thread")]
async fn eight_tabs_are_all_live_when_they_are_looked_at() -> Result<()> {
    let Some(browser) = open(Look::default()).await else { return Ok(()) };
    let site = Site::start().await?;
    site.enqueue("tab-0", "quick").await?;
    let mut tabs = vec![browser.driver.window().await?];
    for n in 0..8 {
        if n > 0 {
            tabs.push(browser.driver.new_tab().await?);
            browser.driver.switch_to_window(tabs[n].clone()).await?;
        }
        browser.goto(&site.page("/queues")).await?;
        browser.until("document.querySelector('#q-tab-0') !== null").await?;
    }
    for (n, tab) in tabs.iter().enumerate() {
        browser.driver.switch_to_window(tab.clone()).await?;
        let queue = format!("seen-{n}");
        site.enqueue(&queue, "quick").await?;
        browser.until(&format!("document.querySelector('#q-{queue}') !== null")).await?;
    }
    browser.close().await?;
    site.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_went_away_is_said_and_comes_back() -> Result<()> {
    let Some(browser) = open(Look::default()).await else { return Ok(()) };
    let site = Site::start().await?;
    site.enqueue("before", "quick").await?;
    browser.goto(&site.page("/queues")).await?;
    browser.until("document.querySelector('#q-before') !== null").await?;
    let port = site.url.rsplit(':').next().unwrap_or_default().parse::<u16>()?;
    site.stop().await?;
    browser.until("document.querySelector('#live').innerText.includes('Reconnecting')").await?;
    let again = Site::with(|config| config.http = Some(([127, 0, 0, 1], port).into())).await?;
    again.enqueue("after", "quick").await?;
    browser.until("document.querySelector('#q-after') !== null").await?;
    browser.until("document.querySelector('#live').innerText.includes('Live')").await?;
    // The lost connection is in the console by right, so the log is not looked at here.
    browser.driver.clone().quit().await?;
    again.stop().await
}
