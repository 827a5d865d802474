//! The audit log: who did what, kept in the store up to a bound, and said to the log under `windlass::audit`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use windlass_core::access::{AuditRecord, Caller, Operation, Principal, decode_audit, encode_audit};
use windlass_core::api::{ApiError, AuditEntry, AuditPage, ErrorCode};
use windlass_core::job::clip;
use windlass_core::limits;
use windlass_core::store::Write;
use windlass_core::store::keys::{audit_key, audit_seq, region, region_range};

use super::commit;
use crate::clock::Clock;
use crate::node::StartError;
use crate::store::writer::StoreWriter;

/// Entries of a page, unless asked otherwise.
const PAGE_DEFAULT: u32 = 50;

/// A cheap handle of the audit log; usable from any thread.
#[derive(Clone)]
pub struct Audit {
    writer: StoreWriter,
    clock: Clock,
    next: Arc<AtomicU64>,
}

impl Audit {
    /// Finds the end of the log.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn recover(writer: StoreWriter, clock: Clock) -> Result<Audit, StartError> {
        let mut next = 1;
        let (from, to) = region_range(region::AUDIT);
        writer
            .store()
            .scan(&from, &to, &mut |key, _| {
                next = audit_seq(key).map_or(next, |seq| seq.saturating_add(1));
                true
            })
            .map_err(|e| StartError::Failed(format!("the audit log cannot be read: {e}")))?;
        Ok(Audit { writer, clock, next: Arc::new(AtomicU64::new(next)) })
    }

    /// Writes down what a caller did, when it is worth an entry; durable when this returns. An entry that cannot be written does
    /// not undo what was done: the log says so.
    pub async fn note(
        &self,
        caller: &Caller,
        operation: Operation,
        target: String,
        outcome: Result<u64, &ApiError>,
    ) {
        if !operation.is_audited() {
            return;
        }
        let short = |text: String| clip(text, limits::AUDIT_TEXT_BYTES_MAX);
        let record = AuditRecord {
            at: self.clock.now().wall,
            who: caller.name.clone(),
            token: match &caller.principal {
                Principal::Token(id) => Some(*id),
                Principal::Process | Principal::Anyone | Principal::Root | Principal::Password => None,
            },
            from: caller.from.clone(),
            operation: operation.name().to_owned(),
            target: short(target),
            count: outcome.unwrap_or(0),
            error: outcome.err().map(|error| short(error.message.clone())),
        };
        tracing::info!(
            target: "windlass::audit",
            who = record.who, from = record.from, operation = record.operation, on = record.target,
            count = record.count, error = record.error.as_deref().unwrap_or_default(), "audit"
        );
        // What is refused changes nothing, and would let whoever is refused fill the log.
        if outcome.is_err_and(|error| error.code == ErrorCode::Denied) {
            return;
        }
        let seq = self.next.fetch_add(1, Ordering::Relaxed);
        let mut writes = vec![Write::Put { key: audit_key(seq), value: encode_audit(&record) }];
        if let Some(oldest) = seq.checked_sub(limits::AUDIT_ENTRIES_MAX) {
            writes.push(Write::Delete { key: audit_key(oldest) });
        }
        if let Err(error) = commit(&self.writer, writes).await {
            tracing::error!(%error, operation = record.operation, "an audit entry could not be written");
        }
    }

    /// A page of the log, newest first.
    ///
    /// # Errors
    /// `Invalid` for a page that is too large, or what keeps the store from being read.
    pub fn page(&self, before: Option<u64>, limit: Option<u32>) -> Result<AuditPage, ApiError> {
        let limit = limit.unwrap_or(PAGE_DEFAULT);
        if limit == 0 || limit > limits::PAGE_MAX {
            let text = format!("a page has 1 to {} entries", limits::PAGE_MAX);
            return Err(ApiError::new(ErrorCode::Invalid, text));
        }
        let end = before.unwrap_or(u64::MAX).min(self.next.load(Ordering::Relaxed));
        let begin = end.saturating_sub(u64::from(limit));
        let mut entries = Vec::new();
        let mut broken = None;
        let scanned = self.writer.store().scan(&audit_key(begin), &audit_key(end), &mut |key, value| {
            match (audit_seq(key), decode_audit(&value)) {
                (Some(seq), Ok(record)) => entries.push(entry(seq, record)),
                (_, Err(error)) => broken = Some(error.to_string()),
                (None, Ok(_)) => {}
            }
            true
        });
        if let Some(error) = broken.or_else(|| scanned.err().map(|e| e.to_string())) {
            return Err(ApiError::new(
                ErrorCode::StoreFailed,
                format!("the audit log cannot be read: {error}"),
            ));
        }
        entries.reverse();
        // Numbers have gaps only where an entry could not be written.
        let oldest = self.next.load(Ordering::Relaxed).saturating_sub(limits::AUDIT_ENTRIES_MAX).max(1);
        Ok(AuditPage { entries, next: (begin > oldest).then_some(begin) })
    }
}

fn entry(seq: u64, record: AuditRecord) -> AuditEntry {
    AuditEntry {
        seq,
        at: record.at,
        who: record.who,
        token: record.token,
        from: record.from,
        operation: record.operation,
        target: record.target,
        count: record.count,
        error: record.error,
    }
}
