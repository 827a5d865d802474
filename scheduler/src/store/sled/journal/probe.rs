//! The journal's decoders for tests that feed them arbitrary bytes; see [`crate::store::probe`].

use std::path::Path;

use bytes::Bytes;
use windlass_core::store::{Batch, Write};

use super::record::{self, FIRST_RECORD, Place, RECORD_HEADER_BYTES, SegmentHeader};
use super::replay::{ReplayError, replay, segments};
use super::{Lsn, Start, segment_name};

const SALT: u64 = 7;
const START: Start = Start { segment: 1, lsn: 1 };
/// Groups of the journal that [`damaged_journal`] damages, and how many of them fit into its segments.
const GROUPS: u64 = 24;
const GROUPS_PER_SEGMENT: u64 = 10;

/// Replays bytes as a journal of one or two segments in `dir`, by the first byte: a whole file, what stands behind a sound header,
/// or payloads of records whose checksums fit.
///
/// # Panics
/// When the replay hands out more than stands there, gives two answers, or blames a file that is not there.
pub fn journal(dir: &Path, bytes: &[u8]) {
    let Some((&form, bytes)) = bytes.split_first() else { return };
    let files = match form % 3 {
        0 => vec![bytes.to_vec()],
        1 => {
            let (first, second) = bytes.split_at(bytes.len() / 2);
            vec![segment(1, first), segment(2, second)]
        }
        _ => vec![segment(1, &forged(bytes))],
    };
    let total: usize = files.iter().map(Vec::len).sum();
    let (outcome, writes) = run(dir, &files, None);
    assert_eq!((&outcome, &writes), (&run(dir, &files, None).0, &run(dir, &files, None).1), "two answers");
    let handed: usize = writes.iter().map(write_bytes).sum();
    assert!(handed <= total, "{handed} bytes came out of {total}");
}

/// Damages a sound journal as the bytes say, five for each place, and replays it: what comes out is a beginning of what was
/// written, and all of it when its end had been noted; or an error.
///
/// # Panics
/// When anything else comes out.
pub fn damaged_journal(dir: &Path, bytes: &[u8]) {
    let mut files = Vec::new();
    let mut written = Vec::new();
    for first in (1..=GROUPS).step_by(usize::try_from(GROUPS_PER_SEGMENT).expect("a few")) {
        let mut body = Vec::new();
        for lsn in first..=(first + GROUPS_PER_SEGMENT - 1).min(GROUPS) {
            let offset = FIRST_RECORD + body.len() as u64;
            let mut group = vec![0; RECORD_HEADER_BYTES];
            record::encode_batch(&mut group, &batch(lsn));
            written.extend(batch(lsn).writes);
            let place = Place { salt: SALT, segment: files.len() as u64 + 1, offset };
            record::finish(&mut group, place, lsn, 1, 1);
            body.extend_from_slice(&group);
        }
        body.resize(body.len() + 512, 0);
        files.push(segment(files.len() as u64 + 1, &body));
    }
    let sound = files.clone();
    let end = bytes.first().filter(|flags| *flags % 2 == 1).map(|_| GROUPS);
    for place in bytes.get(1..).unwrap_or_default().chunks_exact(5) {
        let file = &mut files[usize::from(place[0]) % sound.len()];
        let at = usize::from(u16::from_le_bytes([place[1], place[2]])) % file.len().max(1);
        match place[3] % 4 {
            0 => file.truncate(at),
            1 => file.extend(std::iter::repeat_n(place[4], usize::from(place[4]))),
            _ => file.iter_mut().skip(at).take(1 + usize::from(place[3] / 4)).for_each(|b| *b ^= place[4]),
        }
    }
    let (outcome, writes) = run(dir, &files, end);
    assert!(written.starts_with(&writes), "something else came out than was written");
    if outcome.is_ok() && end.is_some() {
        assert_eq!(writes, written, "what was noted as durable is missing");
    }
    if files == sound {
        assert_eq!(outcome, Ok(GROUPS), "a sound journal");
        assert_eq!(writes, written);
    }
}

fn batch(lsn: Lsn) -> Batch {
    let key = Bytes::copy_from_slice(&lsn.to_be_bytes());
    let value = Bytes::from(vec![lsn as u8; (lsn * 7 % 64) as usize]);
    let old = Bytes::copy_from_slice(&(lsn / 2).to_be_bytes());
    Batch { writes: vec![Write::Put { key, value }, Write::Delete { key: old }], ..Batch::default() }
}

fn write_bytes(write: &Write) -> usize {
    match write {
        Write::Put { key, value } => key.len() + value.len(),
        Write::Delete { key } => key.len(),
    }
}

/// A segment with a sound header.
fn segment(number: u64, body: &[u8]) -> Vec<u8> {
    let bytes = FIRST_RECORD + body.len() as u64;
    let mut file = SegmentHeader { number, salt: SALT, bytes }.encode();
    file.resize(usize::try_from(FIRST_RECORD).expect("a page"), 0);
    file.extend_from_slice(body);
    file
}

/// Records with checksums that fit around payloads that may be anything; what is left over stands behind them as it is.
fn forged(mut bytes: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    for lsn in 1.. {
        let Some((&[length, batches], rest)) = bytes.split_first_chunk::<2>() else { break };
        let Some((payload, rest)) = rest.split_at_checked(usize::from(length)) else { break };
        let mut group = vec![0; RECORD_HEADER_BYTES];
        group.extend_from_slice(payload);
        let place = Place { salt: SALT, segment: 1, offset: FIRST_RECORD + body.len() as u64 };
        record::finish(&mut group, place, lsn, 1, u32::from(batches));
        body.extend_from_slice(&group);
        bytes = rest;
    }
    body.extend_from_slice(bytes);
    body
}

/// The last group that was found, or the error; and what was handed out.
fn run(dir: &Path, files: &[Vec<u8>], end: Option<Lsn>) -> (Result<Lsn, String>, Vec<Write>) {
    for (number, file) in (1..).zip(files) {
        std::fs::write(dir.join(segment_name(number)), file).expect("a directory for the test's files");
    }
    let mut writes = Vec::new();
    let outcome = segments(dir, START.segment)
        .and_then(|row| replay(SALT, START, &row, 0, end, &mut |write| writes.push(write)));
    for number in (1..).take(files.len()) {
        std::fs::remove_file(dir.join(segment_name(number))).expect("it was just written");
    }
    let outcome = outcome.map(|replayed| replayed.last_lsn).map_err(|error| {
        if let ReplayError::Damaged(damage) = &error {
            assert!(damage.file.starts_with(dir), "blames a file that is not there: {damage}");
        }
        error.to_string()
    });
    (outcome, writes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forged_records_are_replayed() {
        let dir = tempfile::tempdir().unwrap();
        let mut payload = Vec::new();
        record::encode_batch(&mut payload, &batch(3));
        let bytes = [&[payload.len() as u8, 1], &payload[..]].concat();
        let (last, writes) = run(dir.path(), &[segment(1, &forged(&bytes))], None);
        assert_eq!((last, writes), (Ok(1), batch(3).writes));
        journal(dir.path(), &[&[2], &bytes[..]].concat());
        damaged_journal(dir.path(), &[]);
    }
}
