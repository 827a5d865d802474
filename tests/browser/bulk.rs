//! Operations on many jobs: counted, answered, watched, stopped.

use anyhow::Result;
use thirtyfour::prelude::*;
use windlass_core::job::JobState;
use windlass_worker::Job;

use crate::browser::{Browser, Look, open};
use crate::site::Site;

/// So many jobs that nobody works on.
async fn backlog(site: &Site, kind: &str, count: u32) -> Result<()> {
    let jobs =
        (0..count).map(|n| Job::new(kind, &serde_json::json!({ "n": n })).map(|job| job.queue("mail")));
    site.client.enqueue_many(jobs.collect::<Result<Vec<_>, _>>()?).await?;
    Ok(())
}

async fn ready(site: &Site) -> Result<usize> {
    use windlass_core::api::{JobSearch, Request, Response};
    let search = JobSearch { filter: "state:ready".to_owned(), cursor: None, limit: Some(200) };
    match site.client.call(Request::SearchJobs(search)).await? {
        Response::Jobs(page) => Ok(page.jobs.len()),
        other => anyhow::bail!("{other:?}"),
    }
}

async fn fill(browser: &Browser, name: &str, text: &str) -> Result<()> {
    browser.driver.find(By::Css(format!("[name={name}]"))).await?.send_keys(text).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_match_are_counted_then_touched_at_a_pace_and_stopped() -> Result<()> {
    let Some(browser) = open(Look::default()).await else { return Ok(()) };
    let site = Site::start().await?;
    backlog(&site, "old", 120).await?;
    backlog(&site, "new", 30).await?;
    browser.goto(&site.page("/jobs?state=ready&kind=old")).await?;
    browser.click("#many button[value=cancel]").await?;
    browser.until_text("Cancel 120 jobs?").await?;
    assert_eq!(browser.eval("document.querySelectorAll('#sample tbody tr').length").await?, 10);
    assert_eq!(
        browser.eval("document.querySelector('#facts code').innerText").await?,
        "state:ready kind:\"old\""
    );
    assert_eq!(ready(&site).await?, 150, "a count touches nothing");

    // What is typed survives what the stream sends meanwhile.
    fill(&browser, "reason", "they are no longer wanted").await?;
    fill(&browser, "pace", "10").await?;
    backlog(&site, "old", 1).await?;
    tokio::time::sleep(std::time::Duration::from_millis(1_500)).await;
    browser.click("#question button.primary").await?;
    browser.until_text("they are no longer wanted").await?;
    browser.eval("window.sameDocument = true").await?;
    let bar = "document.querySelector('#figures progress')";
    browser.until(&format!("{bar}.value > 0 && {bar}.value < {bar}.max")).await?;
    browser.until_text("Under way").await?;
    browser.until_text("10 per second").await?;
    browser.click("#bulk-head form.act button").await?;
    browser
        .until("document.querySelector('#confirm[open]')?.innerText.includes('Stop this') === true")
        .await?;
    browser.click("#confirm button[data-yes]").await?;
    browser.until_text("What was done stays done.").await?;
    browser.until(&format!("{bar} === null")).await?;
    assert_eq!(browser.eval("window.sameDocument === true").await?, true, "the page was not loaded again");
    let left = ready(&site).await?;
    assert!((32..150).contains(&left), "{left} are left");

    // On it goes with what is left: as many as are still there.
    browser.click("#figures form button").await?;
    browser.until_text(&format!("Cancel {} jobs?", left - 30)).await?;
    browser.click("#question button.primary").await?;
    browser.until_text(&format!("{0} of {0} done", left - 30)).await?;
    assert_eq!(ready(&site).await?, 30, "the others are as they were");
    browser.goto(&site.page("/bulk")).await?;
    browser.until("document.querySelectorAll('#bulks tbody tr').length === 4").await?;
    let first = "document.querySelector('#bulks tbody tr').innerText";
    browser.until(&format!("{first}.includes('Cancel') && {first}.includes('Done')")).await?;
    browser.close().await?;
    site.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn without_scripts_too() -> Result<()> {
    let Some(browser) = open(Look { scripts: false, ..Look::default() }).await else { return Ok(()) };
    let mut site = Site::start().await?;
    site.work(&["mail"]);
    let ids = [site.dead("mail").await?, site.dead("mail").await?];
    browser.goto(&site.page("/jobs?state=dead&filter=error%3Afails")).await?;
    browser.click("#many button[value=retry]").await?;
    let question = browser.driver.query(By::Css("#question h2")).first().await?;
    assert_eq!(question.text().await?, "Retry 2 jobs?");
    browser.click("#question button.primary").await?;
    browser.driver.query(By::Css("#bulk-head .crumbs a[href='/bulk']")).first().await?;
    for id in ids {
        site.until(id, JobState::Succeeded).await?;
    }
    browser.close().await?;
    site.stop().await
}
