//! What people do on pages, seen from the node.

use anyhow::Result;
use thirtyfour::prelude::*;
use windlass_core::job::JobState;
use windlass_worker::Job;

use crate::browser::{Look, open};
use crate::site::Site;

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_is_paused_and_resumed() -> Result<()> {
    let Some(browser) = open(Look::default()).await else { return Ok(()) };
    let mut site = Site::start().await?;
    let id = site.enqueue("mail.eu/high", "quick").await?;
    browser.goto(&site.page("/queues")).await?;
    let row = "document.querySelector('tr[id^=\"q-mail.eu\"]').innerText";
    browser.until(&format!("{row}.includes('No worker')")).await?;
    browser.click("tr[id^='q-mail.eu'] form.act button").await?;
    browser.until(&format!("{row}.includes('Paused') && {row}.includes('Resume')")).await?;
    assert!(site.is_paused("mail.eu/high").await?);
    site.work(&["mail.eu/high"]);
    let cells =
        "[...document.querySelectorAll('tr[id^=\"q-mail.eu\"] td.num')].map((cell) => cell.innerText).join()";
    browser.until(&format!("{cells}.endsWith(',1')")).await?;
    assert_eq!(site.job(id).await?.attempts.len(), 0, "a paused queue hands out nothing");
    browser.click("tr[id^='q-mail.eu'] form.act button").await?;
    site.until(id, JobState::Succeeded).await?;
    browser.until(&format!("!{row}.includes('Paused')")).await?;
    browser.close().await?;
    site.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_job_is_retried_from_its_page() -> Result<()> {
    let Some(browser) = open(Look::default()).await else { return Ok(()) };
    let mut site = Site::start().await?;
    site.work(&["mail"]);
    let id = site.dead("mail").await?;
    browser.goto(&site.page("/jobs?state=dead")).await?;
    browser.click(&format!("#j-{id} th a")).await?;
    browser.until_text("the first attempt fails for good").await?;
    browser.until("document.querySelector('.diagram .here.dead') !== null").await?;
    browser.click("#job-head form.act button").await?;
    browser.until("document.querySelector('.diagram .here.succeeded') !== null").await?;
    // The number is larger than a browser's own numbers can hold.
    browser.until_text("9007199254740993").await?;
    browser.until("document.querySelectorAll('.timeline > li').length === 2").await?;
    browser.close().await?;
    site.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn all_dead_jobs_of_a_queue_at_once_and_some_by_selection() -> Result<()> {
    let Some(browser) = open(Look::default()).await else { return Ok(()) };
    let mut site = Site::start().await?;
    site.work(&["mail"]);
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.push(site.dead("mail").await?);
    }
    browser.goto(&site.page("/jobs?state=dead&queue=mail")).await?;
    for id in &ids[..2] {
        browser.click(&format!("#j-{id} input[type=checkbox]")).await?;
    }
    browser.until("document.querySelector('#bulk').innerText.includes('2 selected')").await?;
    browser.click("#bulk button[value='job:delete']").await?;
    browser.until("document.querySelector('#confirm[open]')?.innerText.includes('2 jobs') === true").await?;
    browser.click("#confirm button[data-yes]").await?;
    browser.until("document.querySelector('#toasts').innerText.includes('2 jobs are deleted.')").await?;
    browser.until("document.querySelectorAll('#jobs tbody tr').length === 2").await?;
    assert!(site.client.status(ids[0]).await?.is_none());
    browser.click("#jobs .row form.act button").await?;
    browser
        .until("document.querySelector('#confirm[open]')?.innerText.includes('all 2 dead jobs') === true")
        .await?;
    browser.click("#confirm button[data-yes]").await?;
    site.until(ids[2], JobState::Succeeded).await?;
    site.until(ids[3], JobState::Succeeded).await?;
    browser.until_text("No job matches.").await?;
    browser.close().await?;
    site.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_and_a_schedule_are_made_by_hand() -> Result<()> {
    let Some(browser) = open(Look::default()).await else { return Ok(()) };
    let mut site = Site::start().await?;
    site.work(&["mail"]);
    browser.goto(&site.page("/enqueue")).await?;
    for (name, text) in [("queue", "mail"), ("kind", "quick"), ("payload", "{\"n\": 12345678901234567890}")] {
        let field = browser.driver.find(By::Css(format!("[name={name}]"))).await?;
        field.clear().await?;
        field.send_keys(text).await?;
    }
    browser.click("form.form button.primary").await?;
    browser.until_text("The job is enqueued.").await?;
    browser.until_text("12345678901234567890").await?;
    browser.until("document.querySelector('.diagram .here.succeeded') !== null").await?;

    browser.goto(&site.page("/schedules/new")).await?;
    for (name, text) in
        [("name", "night/report"), ("cron", "0 3 * * *"), ("zone", "Asia/Shanghai"), ("kind", "quick")]
    {
        let field = browser.driver.find(By::Css(format!("[name={name}]"))).await?;
        field.clear().await?;
        field.send_keys(text).await?;
    }
    browser.click("form.form button.primary").await?;
    browser.until_text("The schedule is saved.").await?;
    browser.until("document.querySelectorAll('#schedules .next li').length === 5").await?;
    browser.click("#schedules form.act button").await?;
    browser
        .until("document.querySelector('#toasts').innerText.includes('The schedule has fired once.')")
        .await?;
    browser.goto(&site.page("/schedules/new?from=night%2Freport")).await?;
    assert_eq!(browser.eval("document.querySelector('[name=cron]').value").await?, "0 3 * * *");
    browser.close().await?;
    site.stop().await
}

/// Text of users is text, whatever it says.
#[tokio::test(flavor = "multi_thread")]
async fn hostile_text_does_nothing() -> Result<()> {
    const HOSTILE: &str = "\"><img src=x onerror=\"document.title='taken'\">";
    let Some(browser) = open(Look::default()).await else { return Ok(()) };
    let site = Site::start().await?;
    let job =
        Job::new(HOSTILE, &serde_json::json!({ HOSTILE: HOSTILE }))?.tag(HOSTILE).header(HOSTILE, HOSTILE);
    let id = site.client.enqueue(job).await?.id;
    for path in ["/jobs".to_owned(), format!("/jobs/{id}"), "/jobs?kind=%22%3E%3Cimg%20src%3Dx%3E".to_owned()]
    {
        browser.goto(&site.page(&path)).await?;
        browser.until("document.documentElement.classList.contains('js')").await?;
        assert_eq!(browser.eval("document.querySelectorAll('img').length").await?, 0, "{path}");
        assert_ne!(browser.eval("document.title").await?, "taken", "{path}");
    }
    browser.goto(&site.page(&format!("/jobs/{id}"))).await?;
    browser.until("document.querySelector('h1').innerText.includes('<img')").await?;
    browser.close().await?;
    site.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_works_without_scripts() -> Result<()> {
    let Some(browser) = open(Look { scripts: false, ..Look::default() }).await else { return Ok(()) };
    let mut site = Site::start().await?;
    site.work(&["mail"]);
    let id = site.dead("mail").await?;
    browser.goto(&site.page("/queues")).await?;
    browser.click("#q-mail form.act button").await?;
    browser.driver.query(By::Css(".notice.good")).first().await?;
    assert!(site.is_paused("mail").await?);
    browser.goto(&site.page(&format!("/jobs/{id}"))).await?;
    browser.click("#job-head form.act:last-of-type button").await?;
    let question = browser.driver.query(By::Css("main form p")).first().await?;
    assert!(question.text().await?.starts_with("Delete this job"));
    assert!(site.client.status(id).await?.is_some(), "nothing is deleted before the answer");
    browser.click("main form button.primary").await?;
    browser.driver.query(By::Css(".notice.good")).first().await?;
    assert!(site.client.status(id).await?.is_none());
    browser.close().await?;
    site.stop().await
}
