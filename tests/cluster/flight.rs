//! Goal: several groups in flight are told in order, each when it is durable, whatever cuts them off. Method: the shard's row is locked so
//! that a row of commits waits for it, and the connection is ended then; or the journal takes nothing for want of space; directly and
//! behind a pooler.

use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use windlass_core::limits::COMMITS_IN_FLIGHT_MAX;
use windlass_core::store::conformance::{batch, put};
use windlass_core::store::{Begun, CommitError, Space, Store};
use windlass_scheduler::store::postgres::PgStore;
use windlass_scheduler::store::postgres::database::{Database, Session};
use windlass_tests::postgres::Postgres;

use crate::conformance::{TINY, database, take};

/// Longest wait for something that has to come.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is told, in the order in which it is.
type Told = Receiver<(u32, Vec<Result<(), CommitError>>)>;

/// Hands one group per number over, without waiting for any.
fn begin(store: &PgStore, numbers: std::ops::Range<u32>) -> Told {
    let (tell, told) = sync_channel(numbers.len());
    for number in numbers {
        let tell = tell.clone();
        let group = vec![batch(vec![put(number.to_be_bytes(), [b'x'; 300])])];
        let begun = store.begin(
            group,
            Box::new(move |results| {
                tell.send((number, results)).expect("the test listens");
            }),
        );
        assert_eq!(begun, Begun::OnItsWay(vec![Ok(())]), "group {number}");
    }
    told
}

fn all_told(told: &Told, numbers: std::ops::Range<u32>) -> Result<()> {
    for number in numbers {
        assert_eq!(told.recv_timeout(PATIENCE)?, (number, vec![Ok(())]));
    }
    Ok(())
}

fn found(store: &PgStore) -> Result<u32> {
    let mut found = 0_u32;
    store.scan(b"", &[0xff; 8], &mut |key, _| {
        assert_eq!(key, found.to_be_bytes(), "a beginning of what was begun");
        found += 1;
        true
    })?;
    Ok(found)
}

/// Takes the row's lock.
fn hold(database: &Database) -> Result<Session> {
    let mut session = Session::new(database.clone());
    Ok(database.wait(async move {
        session.batch("BEGIN; SELECT 1 FROM windlass.shard WHERE id = 0 FOR UPDATE").await?;
        Ok(session)
    })?)
}

fn let_go(database: &Database, mut session: Session) -> Result<()> {
    Ok(database.wait(async move { session.batch("COMMIT").await })?)
}

/// `direct` sees the server, `through` is how the store gets there.
fn cut_off(server: &Postgres, direct: &Database, through: &Database) -> Result<()> {
    let store = take(through, "owner", TINY)?;
    let each = COMMITS_IN_FLIGHT_MAX as u32;
    for round in 0..10 {
        let numbers = round * each..(round + 1) * each;
        let held = hold(direct)?;
        let told = begin(&store, numbers.clone());
        let begun = Instant::now();
        let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
        while server.sql(waiting)? == "0" {
            ensure!(begun.elapsed() < PATIENCE, "nothing waits for the row");
        }
        assert!(told.try_recv().is_err(), "nothing is durable yet");
        if round % 2 == 0 {
            server.sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock'",
            )?;
        }
        let_go(direct, held)?;
        all_told(&told, numbers.clone())?;
        assert_eq!(found(&store)?, numbers.end);
    }
    let successor = take(through, "successor", TINY)?;
    assert_eq!(found(&successor)?, 10 * each);
    Ok(())
}

#[test]
fn groups_in_flight_survive_their_connection_in_order() -> Result<()> {
    let Some(server) = Postgres::start()? else { return Ok(()) };
    let database = database(&server.url());
    cut_off(&server, &database, &database)
}

#[test]
fn groups_in_flight_behind_a_pooler_do_so_too() -> Result<()> {
    let Some(server) = Postgres::start()? else { return Ok(()) };
    let Some(pooler) = server.pooler()? else { return Ok(()) };
    cut_off(&server, &database(&server.url()), &database(&pooler.url("windlass")))
}

#[test]
fn groups_without_room_keep_their_order_and_new_work_is_refused() -> Result<()> {
    let Some(server) = Postgres::start()? else { return Ok(()) };
    let database = database(&server.url());
    let store = take(&database, "owner", TINY)?;
    // There is room for two groups more.
    server.sql(
        "CREATE FUNCTION windlass.full() RETURNS trigger LANGUAGE plpgsql AS \
         $$ BEGIN IF NEW.seq > 2 THEN RAISE EXCEPTION 'no room' USING ERRCODE = '53100'; END IF; RETURN NEW; END $$; \
         CREATE TRIGGER full_disk BEFORE INSERT ON windlass.journal FOR EACH ROW EXECUTE FUNCTION windlass.full()",
    )?;
    let each = COMMITS_IN_FLIGHT_MAX as u32;
    let told = begin(&store, 0..each);
    all_told(&told, 0..2)?;
    let begun = Instant::now();
    while store.space() == Space::Ample {
        ensure!(begun.elapsed() < PATIENCE, "nobody notices that there is no room");
        std::thread::sleep(Duration::from_millis(5));
    }
    let refused = store.commit(vec![batch(vec![put("new", "work")])]);
    assert!(
        matches!(&refused[..], [Err(CommitError::Full(text))] if text.contains("no room")),
        "{refused:?}"
    );
    // Signs of life go through, and change nothing about it.
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(store.space(), Space::Low);
    assert!(told.try_recv().is_err(), "there is no room");
    assert_eq!(found(&store)?, 2);
    server.sql("DROP TRIGGER full_disk ON windlass.journal")?;
    all_told(&told, 2..each)?;
    assert_eq!(store.space(), Space::Ample);
    assert_eq!(store.commit(vec![batch(vec![put(each.to_be_bytes(), "x")])]), [Ok(())]);
    let successor = take(&database, "successor", TINY)?;
    assert_eq!(found(&successor)?, each + 1);
    Ok(())
}
