//! No mouse.

use anyhow::Result;
use thirtyfour::prelude::*;
use windlass_core::job::JobState;

use crate::browser::{Look, open};
use crate::site::Site;

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_job_is_found_and_retried_by_keys_alone() -> Result<()> {
    let Some(browser) = open(Look::default()).await else { return Ok(()) };
    let mut site = Site::start().await?;
    site.work(&["mail"]);
    let id = site.dead("mail").await?;
    browser.goto(&site.page("/")).await?;
    browser.until("document.documentElement.classList.contains('js')").await?;
    browser.press("?").await?;
    browser.until("document.querySelector('#keys').open").await?;
    browser.press(Key::Escape + "").await?;
    browser.until("!document.querySelector('#keys').open").await?;
    browser.press("gj").await?;
    browser
        .until("location.pathname === '/jobs' && document.documentElement.classList.contains('js')")
        .await?;
    browser.press("j").await?;
    browser.until("document.activeElement.closest('tr') !== null").await?;
    browser.press("x").await?;
    browser.until("document.querySelector('#bulk').innerText.includes('1 selected')").await?;
    browser.press("x").await?;
    browser.press("j").await?;
    browser.press(Key::Enter + "").await?;
    browser
        .until(&format!(
            "location.pathname === '/jobs/{id}' && document.documentElement.classList.contains('js')"
        ))
        .await?;
    for _ in 0..40 {
        browser.press(Key::Tab + "").await?;
        if browser.eval("document.activeElement.innerText?.trim() === 'Retry'").await? == true {
            break;
        }
    }
    let outline = browser.eval("getComputedStyle(document.activeElement).outlineStyle !== 'none'").await?;
    assert_eq!(outline, true, "the focus is seen");
    browser.press(Key::Enter + "").await?;
    site.until(id, JobState::Succeeded).await?;
    browser.until("document.querySelector('.diagram .here.succeeded') !== null").await?;
    browser.close().await?;
    site.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_stay_out_of_fields_and_p_holds_the_page() -> Result<()> {
    let Some(browser) = open(Look::default()).await else { return Ok(()) };
    let site = Site::start().await?;
    site.enqueue("first", "quick").await?;
    browser.goto(&site.page("/jobs")).await?;
    browser.until("document.documentElement.classList.contains('js')").await?;
    browser.press("/").await?;
    browser.until("document.activeElement.name === 'queue'").await?;
    browser.press("gqp?t").await?;
    assert_eq!(browser.eval("document.activeElement.value").await?, "gqp?t");
    browser.goto(&site.page("/queues")).await?;
    browser.until("document.querySelector('#q-first') !== null").await?;
    browser.press("p").await?;
    browser.until("document.querySelector('#live').innerText.includes('Paused')").await?;
    site.enqueue("second", "quick").await?;
    // Two ticks of a live page; a held one must not have moved in that time.
    tokio::time::sleep(std::time::Duration::from_millis(2_200)).await;
    assert_eq!(browser.eval("document.querySelector('#q-second') === null").await?, true);
    browser.press("p").await?;
    browser.until("document.querySelector('#q-second') !== null").await?;
    browser.close().await?;
    site.stop().await
}
