//! What the server says it has, all of it: every job, every queue's counters, every schedule.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Result, bail, ensure};
use serde_json::Value;
use windlass_core::api::{JobQuery, JobView, Request, Response};
use windlass_core::id::JobId;
use windlass_core::job::JobState;
use windlass_core::schedule::{HEADER_NOMINAL, HEADER_SCHEDULE, HEADER_TRIGGER, When};
use windlass_worker::Client;

/// Jobs asked for at a time.
const PAGE: u32 = 1_000;
/// Pages after which the listing cannot be honest.
const PAGES_MAX: usize = 20_000;

/// A job of the dump.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Where it stands.
    pub state: JobState,
    /// Attempts used.
    pub attempt: u32,
    /// Attempts it may use.
    pub max_attempts: u32,
    /// The token in its result: the run that the server believed.
    pub result_token: Option<(u64, u64)>,
    /// Schedule and nominal time of a planned firing.
    pub firing: Option<(String, u64)>,
    /// How often the listing showed it.
    pub listed: u32,
}

/// A schedule of the dump.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fired {
    /// Its name.
    pub name: String,
    /// Its interval, when it has one.
    pub every_ms: Option<u64>,
    /// Firings by its own count.
    pub fired: u64,
    /// Nominal times left out by its policy.
    pub skipped: u64,
    /// The last nominal time that fired.
    pub last: Option<u64>,
}

/// Everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dump {
    /// Jobs by id.
    pub jobs: HashMap<JobId, Kept>,
    /// Counters of each queue as it tells them.
    pub counters: BTreeMap<String, BTreeMap<JobState, u64>>,
    /// The same, counted job by job.
    pub counted: BTreeMap<String, BTreeMap<JobState, u64>>,
    /// Schedules.
    pub schedules: Vec<Fired>,
}

impl Dump {
    /// Asks for everything. The server must be at rest: nothing enqueued, nothing due.
    ///
    /// # Errors
    /// When the server cannot be asked, or its listing does not end.
    pub async fn take(client: &Client) -> Result<Dump> {
        let mut dump = Dump::default();
        for queue in client.list_queues().await? {
            let counters = queue.counts.into_iter().filter(|(_, count)| *count > 0).collect();
            dump.counters.insert(queue.name.to_string(), counters);
            let counted = dump.counted.entry(queue.name.to_string()).or_default();
            let mut query = JobQuery { queue: Some(queue.name), limit: Some(PAGE), ..JobQuery::default() };
            for pages in 0.. {
                ensure!(pages < PAGES_MAX, "the listing of jobs does not end");
                let page = client.list_jobs(query.clone()).await?;
                for job in page.jobs {
                    *counted.entry(job.state).or_default() += 1;
                    dump.jobs.entry(job.id).and_modify(|kept| kept.listed += 1).or_insert_with(|| kept(&job));
                }
                query.cursor = page.next;
                if query.cursor.is_none() {
                    break;
                }
            }
        }
        dump.schedules = schedules(client).await?;
        Ok(dump)
    }

    /// Jobs that have not ended.
    #[must_use]
    pub fn open(&self) -> usize {
        self.jobs.values().filter(|job| !job.state.is_final()).count()
    }
}

async fn schedules(client: &Client) -> Result<Vec<Fired>> {
    let Response::Schedules(views) = client.call(Request::ListSchedules).await? else {
        bail!("the server does not list its schedules");
    };
    let fired = views.into_iter().map(|view| Fired {
        every_ms: if let When::EveryMs(ms) = view.spec.when { Some(ms) } else { None },
        name: view.spec.name,
        fired: view.fired_total,
        skipped: view.skipped_total,
        last: view.last_fired.map(|at| at.0),
    });
    Ok(fired.collect())
}

fn kept(job: &JobView) -> Kept {
    let header = |name| job.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    let planned = header(HEADER_TRIGGER).as_deref() == Some("plan");
    let nominal = header(HEADER_NOMINAL).and_then(|text| text.parse().ok());
    let result = job.result.as_ref().and_then(|result| serde_json::from_slice::<Value>(&result.data).ok());
    let token = result.as_ref().map(|value| (value["token"][0].as_u64(), value["token"][1].as_u64()));
    Kept {
        state: job.state,
        attempt: job.attempt,
        max_attempts: job.max_attempts,
        result_token: if let Some((Some(epoch), Some(delivery))) = token {
            Some((epoch, delivery))
        } else {
            None
        },
        firing: header(HEADER_SCHEDULE).zip(nominal).filter(|_| planned),
        listed: 1,
    }
}
