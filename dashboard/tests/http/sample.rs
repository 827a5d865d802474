//! What the fake node holds in tests and in the preview: something of everything, and something hostile.

use windlass_core::api::{WorkerJob, WorkerView};
use windlass_core::id::JobId;
use windlass_core::job::{JobSpec, JobState, Payload};
use windlass_core::schedule::{CatchUp, ScheduleSpec, When};
use windlass_core::time::Timestamp;

use crate::fake::{Fake, World, now, queue, schedule, worker_id};

/// What a hostile client would send wherever text is taken.
pub(crate) const HOSTILE: &str = "\"><img src=x onerror=alert(1)>";

impl Fake {
    /// A node with something of everything.
    pub(crate) fn busy() -> Fake {
        let fake = Fake::default();
        let mut world = fake.world.lock().expect("nobody else has it");
        add_jobs(&mut world);
        add_workers(&mut world);
        add_schedules(&mut world);
        drop(world);
        fake
    }

    /// Adds a job whose every text is hostile; its id.
    pub(crate) fn hostile(&self) -> JobId {
        let mut world = self.world.lock().expect("no test panics with the lock");
        let payload = serde_json::to_string(
            &serde_json::json!({ HOSTILE: [HOSTILE, "</pre><script>alert(2)</script>"] }),
        );
        let id = world.add("default", HOSTILE, &payload.expect("it is JSON"), JobState::Dead, 5_000);
        let view = world.jobs.get_mut(&id).expect("just added");
        view.tags = vec![HOSTILE.to_owned()];
        view.headers = vec![(HOSTILE.to_owned(), HOSTILE.to_owned())];
        HOSTILE.clone_into(&mut view.reason);
        for attempt in &mut view.attempts {
            HOSTILE.clone_into(&mut attempt.error);
            HOSTILE.clone_into(&mut attempt.worker_name);
        }
        view.result =
            Some(Payload { content_type: HOSTILE.to_owned(), data: HOSTILE.as_bytes().to_vec().into() });
        world.problems.push(HOSTILE.to_owned());
        let mut bad = worker(9, HOSTILE, &[("default", 1)], 2, Vec::new());
        bad.kinds = vec![HOSTILE.to_owned()];
        HOSTILE.clone_into(&mut bad.host);
        HOSTILE.clone_into(&mut bad.client);
        world.workers.push(bad);
        id
    }
}

/// Jobs in every state but held.
fn add_jobs(world: &mut World) {
    for n in 0..64_u64 {
        let payload = format!(
            r#"{{"to":"user{n}@example.org","template":"welcome","account_id":{}}}"#,
            (1_u64 << 53) + 1 + n
        );
        world.add("default", "send_email", &payload, JobState::Succeeded, 60_000 + n * 900);
    }
    for n in 0..23_u64 {
        let payload = format!(r#"{{"image":"s3://photos/{n}.jpg","width":1280}}"#);
        world.add("images", "resize_image", &payload, JobState::Ready, 3_000 + n * 700);
    }
    for n in 0..4_u64 {
        world.add(
            "images",
            "resize_image",
            r#"{"image":"s3://photos/big.tiff"}"#,
            JobState::Running,
            8_000 + n * 4_000,
        );
    }
    for n in 0..7_u64 {
        world.add(
            "mail.eu/high",
            "send_email",
            r#"{"to":"ada@example.org","campaign":"autumn"}"#,
            JobState::Dead,
            400_000 + n * 61_000,
        );
    }
    world.add("mail.eu/high", "send_email", r#"{"to":"grace@example.org"}"#, JobState::Retrying, 40_000);
    world.add("default", "send_email", r#"{"to":"alan@example.org"}"#, JobState::Running, 2_000);
    for n in 0..12_u64 {
        world.add(
            "reports",
            "build_report",
            r#"{"month":"2026-10"}"#,
            JobState::Scheduled,
            3_600_000 * (n + 1),
        );
    }
    world.add("reports", "build_report", r#"{"month":"2026-09"}"#, JobState::Cancelled, 90_000_000);
    world.add("reports", "build_report", r#"{"month":"2026-08"}"#, JobState::Expired, 190_000_000);
    for n in 0..5_u64 {
        world.add("search", "reindex", r#"{"shard":3}"#, JobState::Ready, 94_000 + n * 1_000);
    }
    world.paused.insert(queue("reports"), Timestamp(now().0 - 1_260_000));
}

/// Two workers at work, and one that was lost.
fn add_workers(world: &mut World) {
    let mut running: Vec<JobId> =
        world.jobs.values().filter(|v| v.state == JobState::Running).map(|v| v.id).collect();
    running.sort();
    let first = world.jobs.get_mut(&running[0]).expect("it is there");
    first.progress = Some((62, "tile 31 of 50".to_owned()));
    let jobs = |world: &World, ids: &[JobId]| -> Vec<WorkerJob> {
        ids.iter()
            .map(|id| &world.jobs[id])
            .map(|v| WorkerJob {
                queue: v.queue.clone(),
                id: v.id,
                kind: v.kind.clone(),
                attempt: 1,
                started_at: v.attempts[0].started_at,
            })
            .collect()
    };
    let (a, b) = (jobs(world, &running[..3]), jobs(world, &running[3..]));
    world.workers = vec![
        worker(1, "mailer-1", &[("default", 1), ("mail.eu/high", 3)], 8, b),
        worker(2, "images-1", &[("images", 1)], 4, a),
    ];
    let mut away = worker(3, "images-2", &[("images", 1), ("reports", 1)], 4, Vec::new());
    "away".clone_into(&mut away.status);
    away.heartbeat_age_ms = 2_600;
    "dead".clone_into(&mut away.gossip);
    world.workers.push(away);
}

/// By cron, by interval, in several zones.
fn add_schedules(world: &mut World) {
    for (name, when, zone, kind, q) in [
        ("nightly-report", When::Cron("0 3 * * *".to_owned()), "Europe/Berlin", "build_report", "reports"),
        ("cache-warm", When::EveryMs(90_000), "UTC", "warm_cache", "default"),
        (
            "weekday/digest",
            When::Cron("30 8 * * mon-fri".to_owned()),
            "Asia/Shanghai",
            "send_digest",
            "mail.eu/high",
        ),
    ] {
        let job = JobSpec::new(kind, Payload::json(r#"{"full":true}"#));
        let spec = ScheduleSpec {
            name: name.to_owned(),
            when,
            zone: zone.to_owned(),
            catch_up: CatchUp::Latest,
            queue: queue(q),
            job,
        };
        let view = schedule(spec);
        world.schedules.insert(name.to_owned(), view);
    }
}

fn worker(n: u8, name: &str, queues: &[(&str, u32)], slots: u32, running: Vec<WorkerJob>) -> WorkerView {
    let running_count = running.len() as u32;
    WorkerView {
        id: worker_id(n),
        name: name.to_owned(),
        host: "atlas".to_owned(),
        pid: 4_000 + u32::from(n),
        client: "windlass-worker/0.1.0".to_owned(),
        queues: queues.iter().map(|(name, weight)| (queue(name), *weight)).collect(),
        strict: false,
        kinds: vec!["send_email".to_owned(), "resize_image".to_owned()],
        free_slots: slots - running_count,
        running,
        running_count,
        connected_at: Timestamp(now().0 - 7_400_000),
        heartbeat_age_ms: 320,
        status: "connected".to_owned(),
        gossip: "alive".to_owned(),
    }
}
