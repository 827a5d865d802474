//! A server process with short leases, and words for its API.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use windlass_tests::http::{Answer, send};
use windlass_tests::process::Server;

/// Lease time of the servers here: a second in which nothing happens must not lose a lease on a busy machine.
pub(crate) const LEASE_MS: u64 = 3_000;

/// A server and its data.
pub(crate) struct Site {
    pub(crate) server: Server,
    // Goes after the server.
    _dir: tempfile::TempDir,
}

impl Site {
    pub(crate) fn open() -> Site {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let flags = ["--lease", "3s", "--heartbeat", "500ms", "--grace", "6s"];
        let server = Server::start(dir.path(), &flags).expect("the server starts");
        Site { server, _dir: dir }
    }

    pub(crate) fn ask(&self, method: &str, path: &str, body: &Value) -> Answer {
        let text = if body.is_null() { String::new() } else { body.to_string() };
        let headers = [("Content-Type", "application/json")];
        send(self.server.http, method, path, &headers, text.as_bytes()).expect("the server answers")
    }

    pub(crate) fn get(&self, path: &str) -> Value {
        let answer = self.ask("GET", path, &Value::Null);
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        answer.json()
    }

    pub(crate) fn post(&self, path: &str, body: Value) -> Answer {
        self.ask("POST", path, &body)
    }

    pub(crate) fn enqueue(&self, body: Value) -> String {
        let answer = self.post("/api/v1/jobs", body);
        assert_eq!(answer.status, 201, "{}", answer.body);
        answer.json()["id"].as_str().expect("an id").to_owned()
    }

    pub(crate) fn fetch(&self, body: Value) -> Value {
        let answer = self.post("/api/v1/fetch", body);
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()
    }

    /// The one job that a fetch brings.
    pub(crate) fn take(&self, body: Value) -> Job {
        let fetched = self.fetch(body);
        assert_eq!(fetched["jobs"].as_array().map(Vec::len), Some(1), "{fetched}");
        Job {
            worker: fetched["worker"].as_str().expect("a worker").to_owned(),
            job: fetched["jobs"][0].clone(),
        }
    }

    /// A word about a job.
    pub(crate) fn say(&self, job: &Job, verb: &str, mut body: Value) -> Answer {
        body["lease"] = job.job["lease"].clone();
        self.post(&format!("/api/v1/jobs/{}/{verb}", job.id()), body)
    }

    pub(crate) fn job(&self, id: &str) -> Value {
        self.get(&format!("/api/v1/jobs/{id}"))
    }

    /// Waits until the job is in this state.
    pub(crate) fn until(&self, id: &str, state: &str, limit: Duration) -> Value {
        let end = Instant::now() + limit;
        loop {
            let job = self.job(id);
            if job["state"] == state {
                return job;
            }
            assert!(Instant::now() < end, "not {state} within {limit:?}: {job}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn workers(&self) -> Vec<Value> {
        self.get("/api/v1/workers").as_array().expect("a list").clone()
    }
}

/// A job in the hands of a worker.
pub(crate) struct Job {
    pub(crate) worker: String,
    pub(crate) job: Value,
}

impl Job {
    pub(crate) fn id(&self) -> &str {
        self.job["id"].as_str().expect("an id")
    }
}

/// A fetch that does not wait.
pub(crate) fn now() -> Value {
    json!({"wait_ms": 0})
}
