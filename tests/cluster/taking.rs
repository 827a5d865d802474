//! Goal: taking a shard over costs what there is to read, once, and nobody else takes it meanwhile. Method: a journal of many groups with
//! the statistics of a moment at which it was nearly empty; and one from which nothing can be read for seconds.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use windlass_core::cluster::Seat;
use windlass_core::limits;
use windlass_core::store::Store;
use windlass_core::store::conformance::{batch, put};
use windlass_scheduler::store::postgres::Bounds;
use windlass_tests::postgres::Postgres;

use crate::conformance::{database, seat_now, take};

/// Nothing comes to rest.
const LARGE: Bounds =
    Bounds { overlay_bytes: 64 * 1024 * 1024, cache_bytes: 256 * 1024, block_bytes: Bounds::BLOCK_BYTES };
/// Groups that are read.
const GROUPS: u64 = 20_000;
/// How long a reading of the journal takes in the second test.
const SLOW: Duration = Duration::from_millis(limits::SILENCE_MS + 1_000);

/// Entries of the journal's index that were read so far, by sessions that have ended.
fn entries_read(server: &Postgres) -> Result<u64> {
    let sql = "SELECT idx_tup_read FROM pg_stat_user_indexes WHERE indexrelname = 'journal_pkey'";
    let begun = Instant::now();
    while server.sql("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'windlass'")? != "0" {
        ensure!(begun.elapsed() < Duration::from_secs(20), "its sessions have not ended");
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(server.sql(sql)?.parse()?)
}

#[test]
fn a_journal_that_statistics_call_empty_is_read_once() -> Result<()> {
    let Some(server) = Postgres::start()? else { return Ok(()) };
    server.sql("ALTER SYSTEM SET autovacuum = off")?;
    server.sql("SELECT pg_reload_conf()")?;
    let theirs = database(&server.url());
    let store = take(&theirs, "owner", LARGE)?;
    assert_eq!(store.commit(vec![batch(vec![put("key", [b'x'; 100])])]), [Ok(())]);
    drop(store);
    drop(theirs);
    // What was there before was moved to rest, and the database looks at the table just then.
    server.sql(
        "INSERT INTO windlass.journal SELECT 1, n, repeat('x', 500)::bytea FROM generate_series(1, 60000) n",
    )?;
    server.sql("DELETE FROM windlass.journal WHERE shard = 1 AND seq < 59990")?;
    server.sql("ANALYZE windlass.journal")?;
    // The same group again and again is as good as others.
    server.sql(&format!(
        "INSERT INTO windlass.journal SELECT shard, seq + n, data FROM windlass.journal, generate_series(1, {GROUPS}) n \
         WHERE shard = 0 AND seq = 1"
    ))?;
    server.sql(&format!("UPDATE windlass.shard SET seq = seq + {GROUPS} WHERE id = 0"))?;
    let before = entries_read(&server)?;
    let theirs = database(&server.url());
    let store = take(&theirs, "successor", LARGE)?;
    assert!(store.get(b"key")?.is_some());
    drop(store);
    drop(theirs);
    let read = entries_read(&server)? - before;
    println!("{read} entries read for {GROUPS} groups");
    ensure!(read >= GROUPS, "{read} entries: the groups were not read");
    ensure!(read < GROUPS + GROUPS / 10, "{read} entries of the index were read for {GROUPS} groups");
    Ok(())
}

#[test]
fn groups_larger_than_a_part_are_read_one_by_one() -> Result<()> {
    let Some(server) = Postgres::start()? else { return Ok(()) };
    let database = database(&server.url());
    let store = take(&database, "owner", LARGE)?;
    let sizes = [3, 3, 5, 1, 1, 4].map(|mebibytes| mebibytes * 1024 * 1024);
    for (at, size) in sizes.into_iter().enumerate() {
        let put = put([at as u8], vec![b'x'; size]);
        assert_eq!(store.commit(vec![batch(vec![put])]), [Ok(())]);
    }
    drop(store);
    let store = take(&database, "successor", LARGE)?;
    for (at, size) in sizes.into_iter().enumerate() {
        let found = store.get(&[at as u8])?;
        assert_eq!(found.map(|value| value.len()), Some(size), "group {at}");
    }
    Ok(())
}

#[test]
fn who_reads_for_long_shows_that_it_lives() -> Result<()> {
    let Some(server) = Postgres::start()? else { return Ok(()) };
    let database = database(&server.url());
    let store = take(&database, "owner", LARGE)?;
    assert_eq!(store.commit(vec![batch(vec![put("key", "value")])]), [Ok(())]);
    drop(store);
    // All but the look at the newest format, which comes before the claim.
    server.sql(&format!(
        "ALTER TABLE windlass.journal RENAME TO true_journal; \
         CREATE VIEW windlass.journal AS SELECT shard, seq, data FROM windlass.true_journal \
         WHERE current_query() LIKE '%substring%' OR (SELECT pg_sleep({})::text) IS NOT NULL",
        SLOW.as_secs()
    ))?;
    let theirs = database.clone();
    let taking = std::thread::spawn(move || take(&theirs, "successor", LARGE));
    let is_its = |seat: &Seat| seat.owner.as_ref().is_some_and(|owner| owner.as_str() == "successor");
    let begun = Instant::now();
    let (mut claimed, mut last, mut longest) =
        (None, (seat_now(&database)?.beat, Instant::now()), Duration::ZERO);
    while !taking.is_finished() {
        ensure!(begun.elapsed() < 5 * SLOW, "it takes for ever");
        let seat = seat_now(&database)?;
        if is_its(&seat) {
            claimed.get_or_insert(Instant::now());
            if seat.beat != last.0 {
                last = (seat.beat, Instant::now());
            }
            longest = longest.max(last.1.elapsed());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let store = taking.join().expect("it does not panic")?;
    let read = claimed.context("it claimed before it read")?.elapsed();
    println!("it read for {read:?} and was silent for {longest:?} at most");
    ensure!(read > Duration::from_millis(limits::SILENCE_MS), "it read for {read:?}: too short to tell");
    ensure!(longest < Duration::from_millis(limits::SILENCE_MS), "it was silent for {longest:?}");
    assert!(store.get(b"key")?.is_some());
    Ok(())
}
