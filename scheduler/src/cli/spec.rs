//! The options of a job as flags, shared by `job enqueue` and `schedule add`.

use std::time::Duration;

use windlass_core::id::QueueName;
use windlass_core::job::JobSpec;
use windlass_core::retry::Backoff;
use windlass_core::time::millis;

use super::error::CliError;
use super::value;

/// Flags that describe a job, whatever makes it run.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct SpecFlags {
    /// Argument of the job: JSON, @FILE, or - for stdin
    #[arg(long, value_name = "JSON|@FILE|-", default_value = "null")]
    pub(crate) payload: String,
    /// Content type of a payload that is not JSON
    #[arg(long, value_name = "MIME")]
    pub(crate) content_type: Option<String>,
    /// Queue; made on first use
    #[arg(long, short, default_value = "default")]
    pub(crate) queue: QueueName,
    /// Higher runs first, -128 to 127
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    pub(crate) priority: i8,
    /// Longest run of one attempt [default: no limit]
    #[arg(long, value_name = "DURATION", value_parser = value::duration)]
    pub(crate) timeout: Option<Duration>,
    /// Attempts, the first included [default: 20]
    #[arg(long, value_name = "N")]
    pub(crate) max_attempts: Option<u32>,
    /// Wait between attempts: fixed:5s, exp:1s:2:1h or list:1s,5s,1m; ~20 behind it adds 20 % jitter
    /// [default: exp:2s:2:2days~20]
    #[arg(long, value_name = "POLICY", value_parser = value::backoff)]
    pub(crate) backoff: Option<Backoff>,
    /// Keep the result durably for this long [default: the queue remembers its last 1,000]
    #[arg(long, value_name = "DURATION", value_parser = value::duration)]
    pub(crate) retention: Option<Duration>,
    /// A label; may be repeated
    #[arg(long = "tag", value_name = "TAG")]
    pub(crate) tags: Vec<String>,
    /// A header, such as traceparent=…; may be repeated
    #[arg(long = "header", value_name = "NAME=VALUE", value_parser = value::header)]
    pub(crate) headers: Vec<(String, String)>,
}

impl SpecFlags {
    /// The job that the flags describe, without id and time.
    ///
    /// # Errors
    /// Usage, for a payload that cannot be read or is not what it says.
    pub(crate) fn spec(&self, kind: &str) -> Result<JobSpec, CliError> {
        let payload = value::payload(&self.payload, self.content_type.as_deref())?;
        let mut spec = JobSpec::new(kind, payload);
        spec.priority = self.priority;
        if let Some(timeout) = self.timeout {
            spec.options_mut().timeout_ms = Some(millis(timeout));
        }
        if let Some(most) = self.max_attempts {
            spec.options_mut().max_attempts = Some(most);
        }
        if let Some(backoff) = &self.backoff {
            spec.options_mut().backoff = Some(backoff.clone());
        }
        if let Some(retention) = self.retention {
            spec.options_mut().retention_ms = Some(millis(retention));
        }
        if !self.tags.is_empty() {
            spec.options_mut().tags.clone_from(&self.tags);
        }
        if !self.headers.is_empty() {
            spec.options_mut().headers.clone_from(&self.headers);
        }
        // Checked here too, so that a mistake is found before anything is sent.
        spec.validate(value::now())?;
        Ok(spec)
    }
}
