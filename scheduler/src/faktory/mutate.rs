//! `MUTATE`: something for all jobs of a set that a filter names.

use serde::Deserialize;
use windlass_core::api::{ApiError, JobView};
use windlass_core::id::JobId;
use windlass_core::job::JobState;

use super::desk::Desk;
use super::fetched::Shown;
use super::glob;
use super::jid::{COPIES_MAX, job_id};
use super::json::Fields;
use super::reply::Reply;
use crate::queue::{Act, Op, QueueHandle};

/// Most jids of one filter.
const JIDS_MAX: usize = 10_000;

/// What to do, and with which jobs.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mutation {
    act: Act,
    set: JobState,
    filter: Filter,
}

#[derive(Debug, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
struct Filter {
    jids: Option<Vec<String>>,
    jobtype: Option<String>,
    regexp: Option<String>,
}

impl Mutation {
    /// Reads it.
    ///
    /// # Errors
    /// A text for the client.
    pub(super) fn read(text: &str) -> Result<Mutation, String> {
        let fields: Fields<'_> =
            serde_json::from_str(text).map_err(|error| format!("invalid JSON: {error}"))?;
        let command = fields.read::<String>("cmd")?.unwrap_or_default();
        let target = fields.read::<String>("target")?.unwrap_or_default();
        let act = match command.as_str() {
            "clear" | "discard" => Act::Delete,
            "requeue" => Act::Retry,
            "kill" => Act::Bury,
            _ => return Err("unknown mutate operation".to_owned()),
        };
        let set = match target.as_str() {
            "scheduled" => JobState::Scheduled,
            "retries" => JobState::Retrying,
            "dead" => JobState::Dead,
            _ => return Err("invalid target for mutation command".to_owned()),
        };
        // An empty array stands for no filter as well.
        let no_filter = command == "clear" || fields.get("filter").is_some_and(|filter| filter.get() == "[]");
        let mut filter =
            if no_filter { Filter::default() } else { fields.read::<Filter>("filter")?.unwrap_or_default() };
        filter.jids = filter.jids.filter(|jids| !jids.is_empty());
        filter.jobtype = filter.jobtype.filter(|kind| !kind.is_empty());
        filter.regexp = filter.regexp.filter(|pattern| !pattern.is_empty());
        if filter.jids.as_ref().is_some_and(|jids| jids.len() > JIDS_MAX) {
            return Err(format!("a filter has at most {JIDS_MAX} jids; send several commands"));
        }
        Ok(Mutation { act, set, filter })
    }

    fn wants(&self, job: &JobView) -> bool {
        let filter = &self.filter;
        let shown = || Shown::of_view(job).hand_out().json;
        job.state == self.set
            && filter.jobtype.as_ref().is_none_or(|kind| *kind == job.kind)
            && filter.regexp.as_ref().is_none_or(|glob| glob::matches(glob.as_bytes(), shown().as_bytes()))
    }
}

impl Desk {
    /// `MUTATE`.
    pub(super) async fn mutate(&self, text: &str) -> Reply {
        let mutation = match Mutation::read(text) {
            Ok(mutation) => mutation,
            Err(error) => return Reply::Error(error),
        };
        for queue in self.registry().all() {
            let done = match &mutation.filter.jids {
                Some(jids) => self.mutate_named(&queue, &mutation, jids).await,
                None => self.mutate_set(&queue, &mutation).await,
            };
            if let Err(error) = done {
                return Reply::error(error);
            }
        }
        Reply::Ok
    }

    async fn mutate_set(&self, queue: &QueueHandle, mutation: &Mutation) -> Result<(), ApiError> {
        let mut cursor = None;
        loop {
            let (mut jobs, next) = self.page(queue, mutation.set, cursor).await?;
            jobs.retain(|job| mutation.wants(job));
            self.act_on_all(queue, mutation.act, jobs).await?;
            match next {
                Some(next) => cursor = Some(next),
                None => return Ok(()),
            }
        }
    }

    /// Jobs by their jids: of each, all copies that may exist, and the job of another door whose id it is.
    async fn mutate_named(
        &self,
        queue: &QueueHandle,
        mutation: &Mutation,
        jids: &[String],
    ) -> Result<(), ApiError> {
        for jid in jids {
            let own = jid.parse::<JobId>().ok();
            let copies = (0..COPIES_MAX).map(|copy| job_id(jid, copy)).chain(own);
            let mut found: Vec<JobView> = Vec::new();
            for id in copies {
                let job = queue.ask(|then| Op::Get { id, then }).await?.map(|job| *job);
                let job = job.filter(|job| job.state == mutation.set && Shown::of_view(job).jid() == *jid);
                found.extend(job.filter(|job| found.iter().all(|other| other.id != job.id)));
            }
            self.act_on_all(queue, mutation.act, found).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_say_all_is_understood() {
        for filter in
            ["", r#","filter":{}"#, r#","filter":null"#, r#","filter":[]"#, r#","filter":{"jids":[]}"#]
        {
            let read = Mutation::read(&format!(r#"{{"cmd":"discard","target":"dead"{filter}}}"#));
            let all = Mutation { act: Act::Delete, set: JobState::Dead, filter: Filter::default() };
            assert_eq!(read, Ok(all), "{filter}");
        }
        let clear = Mutation::read(r#"{"cmd":"clear","target":"retries","filter":{"jobtype":"x"}}"#);
        assert_eq!(clear.map(|m| m.filter), Ok(Filter::default()), "clear looks at no filter");
    }

    #[test]
    fn wrong_words_are_named() {
        let error = |text: &str| Mutation::read(text).expect_err("wrong");
        assert_eq!(error(r#"{"cmd":"burn","target":"dead"}"#), "unknown mutate operation");
        assert_eq!(error(r#"{"cmd":"kill","target":"working"}"#), "invalid target for mutation command");
        assert!(error("nope").starts_with("invalid JSON"));
        assert!(error(r#"{"cmd":"kill","target":"dead","filter":{"jids":"x"}}"#).starts_with("invalid JSON"));
    }
}
