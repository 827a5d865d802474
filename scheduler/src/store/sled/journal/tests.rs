//! Torn or damaged, recycled or fresh: what a replay makes of bytes.

use std::os::unix::fs::FileExt;

use bytes::Bytes;
use tempfile::TempDir;
use windlass_core::store::{Batch, Write};

use super::replay::Replayed;
use super::*;

const SEGMENT: u64 = 64 * 1024;
const START: Start = Start { segment: 1, lsn: 1 };

struct Lab {
    _dir: TempDir,
    shape: Shape,
}

fn put(n: u64) -> Write {
    Write::Put { key: Bytes::copy_from_slice(&n.to_be_bytes()), value: Bytes::from(vec![n as u8; 500]) }
}

impl Lab {
    fn new() -> Lab {
        let dir = tempfile::tempdir().unwrap();
        let shape = Shape { dir: dir.path().to_owned(), salt: 7, segment_bytes: SEGMENT };
        Lab { _dir: dir, shape }
    }

    fn create(&self) -> Journal {
        Journal::create(self.shape.clone(), 1, START).unwrap()
    }

    /// Writes groups of one batch each, with as many segments as they need. Returns the offset of each.
    fn write(&self, journal: &mut Journal, numbers: std::ops::Range<u64>) -> Vec<(u64, u64)> {
        let mut places = Vec::new();
        for n in numbers {
            let mut group = Group::default();
            group.push(&Batch { writes: vec![put(n)], ..Batch::default() });
            if group.bytes() > journal.room() {
                while let Some((number, free)) = journal.wanted() {
                    journal.adopt(self.shape.prepare(number, free).unwrap());
                }
                assert!(journal.rotate());
            }
            places.push((journal.active.number, journal.offset));
            journal.write(&mut group).unwrap();
        }
        places
    }

    fn replay_from(
        &self,
        start: Start,
        after: Lsn,
        end: Option<Lsn>,
    ) -> Result<(Vec<Write>, Replayed), ReplayError> {
        let mut writes = Vec::new();
        let row = segments(&self.shape.dir, start.segment)?;
        let replayed = replay(self.shape.salt, start, &row, after, end, &mut |write| writes.push(write))?;
        Ok((writes, replayed))
    }

    fn replay(&self) -> Result<(Vec<Write>, Replayed), ReplayError> {
        self.replay_from(START, 0, None)
    }

    fn damage(&self, segment: u64, offset: u64, bytes: &[u8]) {
        let file = File::options().write(true).open(self.shape.path(segment)).unwrap();
        file.write_all_at(bytes, offset).unwrap();
    }

    fn refused_at(&self, outcome: Result<(Vec<Write>, Replayed), ReplayError>) -> (PathBuf, u64) {
        match outcome {
            Err(ReplayError::Damaged(damage)) => (damage.file, damage.offset),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn all_groups_come_back_in_order_over_several_segments() {
    let lab = Lab::new();
    let mut journal = lab.create();
    lab.write(&mut journal, 0..300);
    assert!(journal.segments() > 2);
    let (writes, replayed) = lab.replay().unwrap();
    assert_eq!(writes, (0..300).map(put).collect::<Vec<_>>());
    assert_eq!((replayed.last_lsn, replayed.torn), (300, false));
    let (writes, _) = lab.replay_from(START, 290, Some(300)).unwrap();
    assert_eq!(writes, (290..300).map(put).collect::<Vec<_>>(), "what rests elsewhere is not applied again");
}

#[test]
fn a_torn_tail_is_cut_and_written_over() {
    let lab = Lab::new();
    let mut journal = lab.create();
    let places = lab.write(&mut journal, 0..10);
    drop(journal);
    let (segment, offset) = places[9];
    lab.damage(segment, offset + 300, &[0xee; 100]);
    let (writes, replayed) = lab.replay().unwrap();
    assert_eq!((writes.len(), replayed.last_lsn, replayed.torn), (9, 9, true));
    let row = segments(&lab.shape.dir, 1).unwrap();
    let mut journal = replayed.into_journal(lab.shape.clone(), 2, row).unwrap();
    assert!(journal.seal().unwrap());
    lab.write(&mut journal, 10..12);
    let (writes, replayed) = lab.replay().unwrap();
    assert_eq!((writes.len(), replayed.epoch), (11, 2));
}

#[test]
fn a_damaged_record_before_others_is_refused_with_its_place() {
    for which in [0, 5, 150] {
        let lab = Lab::new();
        let mut journal = lab.create();
        let places = lab.write(&mut journal, 0..300);
        let (segment, offset) = places[which];
        lab.damage(segment, offset + 40, &[0xee]);
        assert_eq!(lab.refused_at(lab.replay()), (lab.shape.path(segment), offset));
    }
}

#[test]
fn the_last_record_is_vouched_for_by_a_seal_or_by_the_manifest() {
    let lab = Lab::new();
    let mut journal = lab.create();
    let (segment, offset) = lab.write(&mut journal, 0..10)[9];
    assert!(journal.seal().unwrap());
    assert!(!journal.seal().unwrap(), "one seal is enough");
    lab.damage(segment, offset + 40, &[0xee]);
    assert_eq!(lab.refused_at(lab.replay()), (lab.shape.path(segment), offset));

    let lab = Lab::new();
    let (segment, offset) = lab.write(&mut lab.create(), 0..10)[9];
    lab.damage(segment, offset + 40, &[0xee]);
    assert_eq!(lab.replay().unwrap().1.last_lsn, 9, "nothing tells it from a torn one");
    assert_eq!(lab.refused_at(lab.replay_from(START, 0, Some(10))), (lab.shape.path(segment), offset));
}

#[test]
fn a_segment_that_is_used_again_shows_nothing_of_its_past() {
    let lab = Lab::new();
    let mut journal = lab.create();
    lab.write(&mut journal, 0..300);
    let start = journal.start_after(300);
    let surplus = journal.release(start);
    surplus.iter().for_each(|path| fs::remove_file(path).unwrap());
    assert!(!journal.free.is_empty());
    lab.write(&mut journal, 300..450);
    assert!(journal.free.is_empty(), "they are in use again");
    let (writes, replayed) = lab.replay_from(start, 300, None).unwrap();
    assert_eq!(writes, (300..450).map(put).collect::<Vec<_>>());
    assert_eq!(replayed.last_lsn, 450);
}

#[test]
fn segments_of_other_stores_and_other_places_are_refused() {
    let lab = Lab::new();
    let mut journal = lab.create();
    lab.write(&mut journal, 0..300);
    let stranger = replay(8, START, &segments(&lab.shape.dir, 1).unwrap(), 0, None, &mut |_| {});
    assert!(matches!(stranger, Err(ReplayError::Damaged(_))));
    fs::copy(lab.shape.path(1), lab.shape.path(2)).unwrap();
    assert_eq!(lab.refused_at(lab.replay()).0, lab.shape.path(2));
    fs::remove_file(lab.shape.path(2)).unwrap();
    assert_eq!(lab.refused_at(lab.replay()).0, lab.shape.path(2), "a gap in the row");
    File::options().write(true).open(lab.shape.path(1)).unwrap().set_len(SEGMENT / 2).unwrap();
    assert_eq!(lab.refused_at(lab.replay_from(START, 0, None)).0, lab.shape.path(2));
}

/// What is on disks today is read by every later version: a change of these bytes needs a new format number.
#[test]
fn the_format_stays() {
    let header = SegmentHeader { number: 2, salt: 3, bytes: 65_536 };
    let golden = "57494e444c5345470100000008130589020000000000000003000000000000000000010000000000";
    assert_eq!(hex(&header.encode()), golden);
    let mut group = Group::default();
    let writes = vec![
        Write::Put { key: Bytes::from_static(b"key"), value: Bytes::from_static(b"value") },
        Write::Delete { key: Bytes::from_static(b"gone") },
    ];
    group.push(&Batch { writes, settles: true, queue: None });
    record::finish(&mut group.bytes, record::Place { salt: 3, segment: 2, offset: 4096 }, 5, 6, 1);
    let golden = concat!(
        "b3d101da2000000005000000000000000600000000000000010000001e000000",
        "0200000001030000006b65790500000076616c75650204000000676f6e650000"
    );
    assert_eq!(hex(&group.bytes), golden);
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
