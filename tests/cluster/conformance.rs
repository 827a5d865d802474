//! Goal: the PostgreSQL engine keeps the contract that every store keeps. Method: the suite of the core, each theme in a database of
//! its own, with bounds so small that checkpoints happen all the time; then what only this engine can do.

use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;
use windlass_core::cluster::{Nonce, Seat};
use windlass_core::id::NodeName;
use windlass_core::store::conformance::{self, Subject, batch, put};
use windlass_core::store::{CommitError, Store};
use windlass_scheduler::store::DatabaseUrl;
use windlass_scheduler::store::postgres::database::{Database, DbError, Session};
use windlass_scheduler::store::postgres::seat::{self, Presence};
use windlass_scheduler::store::postgres::{Bounds, ClaimError, Claimant, PgStore, SHARD, prepare};
use windlass_tests::postgres::Postgres;

/// With these everything happens often.
pub(crate) const TINY: Bounds =
    Bounds { overlay_bytes: 100 * 1024, cache_bytes: 256 * 1024, block_bytes: 2 * 1024 };

pub(crate) fn database(url: &str) -> Database {
    let database = Database::new(DatabaseUrl::parse(url).expect("a URL")).expect("a thread");
    let theirs = database.clone();
    let prepared = database.wait(async move { Ok(prepare(&mut Session::new(theirs)).await) });
    prepared.expect("it answers").expect("it is fit");
    database
}

/// The shard's seat as it is now.
pub(crate) fn seat_now(database: &Database) -> Result<Seat, DbError> {
    let theirs = database.clone();
    let read = async move { seat::read(&mut Session::new(theirs), SHARD).await };
    Ok(database.wait(read)?.expect("there is a shard").seat)
}

/// Takes the shard away from whoever has it.
pub(crate) fn take(database: &Database, name: &str, bounds: Bounds) -> Result<PgStore, ClaimError> {
    static NONCE: AtomicU64 = AtomicU64::new(1);
    let seen = seat_now(database)?;
    let name = NodeName::new(name).expect("a name");
    let who = Claimant { name, presence: Presence::default(), shard: SHARD };
    let nonce = Nonce(NONCE.fetch_add(1, Ordering::Relaxed).into());
    PgStore::claim(database, &who, &seen, nonce, bounds, "a test")
}

struct InDatabase {
    database: Database,
    bounds: Bounds,
    store: Option<PgStore>,
}

impl Subject for InDatabase {
    fn store(&self) -> &dyn Store {
        self.store.as_ref().expect("it is open")
    }

    fn reopen(&mut self, orderly: bool) -> bool {
        let store = self.store.take().expect("it is open");
        if orderly {
            store.close().expect("it is closed in order");
        }
        drop(store);
        self.store = Some(take(&self.database, "again", self.bounds).expect("it is opened again"));
        true
    }
}

fn conform(bounds: Bounds) -> Result<()> {
    let Some(server) = Postgres::start()? else { return Ok(()) };
    let mut made = 0;
    conformance::run(&mut || {
        made += 1;
        let database = database(&server.database(&format!("theme{made}")).expect("a database"));
        let store = Some(take(&database, "first", bounds).expect("it is taken"));
        Box::new(InDatabase { database, bounds, store })
    });
    Ok(())
}

#[test]
fn the_engine_keeps_the_contract() -> Result<()> {
    conform(TINY)
}

#[test]
fn the_engine_keeps_the_contract_with_its_own_bounds() -> Result<()> {
    conform(Bounds {
        overlay_bytes: 21 * 1024 * 1024,
        cache_bytes: 16 * 1024 * 1024,
        block_bytes: Bounds::BLOCK_BYTES,
    })
}

/// Whatever session a statement gets, it finds all that it needs.
#[test]
fn the_engine_keeps_the_contract_behind_a_pooler() -> Result<()> {
    let Some(server) = Postgres::start()? else { return Ok(()) };
    let Some(pooler) = server.pooler()? else { return Ok(()) };
    let mut made = 0;
    conformance::run(&mut || {
        made += 1;
        let name = format!("theme{made}");
        server.database(&name).unwrap();
        let database = database(&pooler.url(&name));
        let store = Some(take(&database, "first", TINY).unwrap());
        Box::new(InDatabase { database, bounds: TINY, store })
    });
    Ok(())
}

#[test]
fn a_replaced_owner_writes_nothing_more_and_its_successor_sees_everything() -> Result<()> {
    let Some(server) = Postgres::start()? else { return Ok(()) };
    let database = database(&server.url());
    let old = take(&database, "old", TINY)?;
    for n in 0..2_000_u32 {
        assert_eq!(old.commit(vec![batch(vec![put(n.to_be_bytes(), [b'x'; 200])])]), [Ok(())]);
    }
    let new = take(&database, "new", TINY)?;
    assert!(new.epoch() > old.epoch());
    assert!(matches!(
        old.commit(vec![batch(vec![put("late", "x")])])[..],
        [Err(CommitError::Fenced { by })] if by == new.epoch()
    ));
    // It goes on failing, and reads what it read.
    assert!(matches!(old.commit(vec![batch(vec![put("late", "x")])])[..], [Err(CommitError::Fenced { .. })]));
    assert_eq!(new.get(b"late")?, None);
    let mut found = 0;
    new.scan(b"", &[0xff; 8], &mut |_, value| {
        found += 1;
        value == [b'x'; 200][..]
    })?;
    assert_eq!(found, 2_000);
    // Giving up a shard that is not its own any more changes nothing for the owner.
    drop(old.close());
    assert_eq!(new.commit(vec![batch(vec![put("after", "x")])]), [Ok(())]);
    Ok(())
}

#[test]
fn an_idle_owner_shows_that_it_lives_a_few_times_a_second() -> Result<()> {
    let Some(server) = Postgres::start()? else { return Ok(()) };
    let database = database(&server.url());
    let _owner = take(&database, "owner", TINY)?;
    let beat = || anyhow::Ok(server.sql("SELECT beat FROM windlass.shard WHERE id = 0")?.parse::<u64>()?);
    let (before, begun) = (beat()?, std::time::Instant::now());
    std::thread::sleep(std::time::Duration::from_secs(3));
    let (beats, time) = (beat()? - before, begun.elapsed());
    // One in a quarter of a second; a machine with other work may miss some, and none comes too often.
    let most = u64::try_from(time.as_millis())? / windlass_core::limits::BEAT_MS + 1;
    assert!((3..=most).contains(&beats), "{beats} beats in {time:?}");
    Ok(())
}

#[test]
fn only_one_of_two_claims_at_once_is_taken() -> Result<()> {
    let Some(server) = Postgres::start()? else { return Ok(()) };
    let database = database(&server.url());
    for round in 0..20_u64 {
        let seen = seat_now(&database)?;
        let claims: Vec<_> = (0..2_u64)
            .map(|at| {
                let (database, seen) = (database.clone(), seen.clone());
                std::thread::spawn(move || {
                    let name = NodeName::new(&format!("node{at}")).unwrap();
                    let who = Claimant { name, presence: Presence::default(), shard: SHARD };
                    let nonce = Nonce((1_000 + round * 2 + at).into());
                    PgStore::claim(&database, &who, &seen, nonce, TINY, "a race")
                })
            })
            .collect();
        let results: Vec<_> = claims.into_iter().map(|claim| claim.join().unwrap()).collect();
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1, "round {round}");
        assert_eq!(results.iter().filter(|result| matches!(result, Err(ClaimError::Raced))).count(), 1);
    }
    Ok(())
}

#[test]
fn a_database_that_would_lose_commits_is_refused() -> Result<()> {
    let Some(server) = Postgres::start()? else { return Ok(()) };
    server.sql("ALTER ROLE windlass SET synchronous_commit = off")?;
    let database = Database::new(DatabaseUrl::parse(&server.url()).unwrap()).unwrap();
    let theirs = database.clone();
    let prepared = database.wait(async move { Ok(prepare(&mut Session::new(theirs)).await) })?;
    let error = prepared.unwrap_err().to_string();
    assert!(error.contains("synchronous_commit = off"), "{error}");
    Ok(())
}

#[test]
fn the_databases_certificate_is_checked() -> Result<()> {
    let Some(server) = Postgres::start()? else { return Ok(()) };
    let make = || rcgen::generate_simple_self_signed(["localhost".to_owned()]);
    let (own, other) = (make()?, make()?);
    server.offer_tls(&own.cert.pem(), &own.signing_key.serialize_pem())?;
    let dir = tempfile::tempdir()?;
    let (trusted, stranger) = (dir.path().join("trusted.pem"), dir.path().join("stranger.pem"));
    std::fs::write(&trusted, own.cert.pem())?;
    std::fs::write(&stranger, other.cert.pem())?;
    let url = server.url().replace("127.0.0.1", "localhost").replace("disable", "require");
    let connect = |ca: &std::path::Path| {
        let mut url = DatabaseUrl::parse(&url).unwrap();
        url.trust(Some(ca.to_owned()));
        let database = Database::new(url).unwrap();
        let theirs = database.clone();
        let ask = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
        database.wait(async move { Ok(Session::new(theirs).query(ask, &[]).await?[0].get::<_, bool>(0)) })
    };
    assert_eq!(connect(&trusted), Ok(true));
    let error = connect(&stranger).unwrap_err().to_string();
    assert!(error.contains("certificate"), "{error}");
    Ok(())
}

#[test]
fn commits_wait_for_a_database_that_is_started_again() -> Result<()> {
    let Some(mut server) = Postgres::start()? else { return Ok(()) };
    let database = database(&server.url());
    let store = take(&database, "owner", TINY)?;
    for round in 0..3_u32 {
        for n in 0..300_u32 {
            let key = [round.to_be_bytes(), n.to_be_bytes()].concat();
            if n == 100 {
                server.kill()?;
                let commit = std::thread::scope(|scope| {
                    let waiting =
                        scope.spawn(|| store.commit(vec![batch(vec![put(&key, "while it was away")])]));
                    std::thread::sleep(std::time::Duration::from_millis(300));
                    server.go().unwrap();
                    waiting.join().unwrap()
                });
                assert_eq!(commit, [Ok(())], "round {round}");
            } else {
                assert_eq!(
                    store.commit(vec![batch(vec![put(&key, [b'x'; 300])])]),
                    [Ok(())],
                    "round {round}, {n}"
                );
            }
        }
    }
    let successor = take(&database, "successor", TINY)?;
    let mut found = 0;
    successor.scan(b"", &[0xff; 8], &mut |_, _| {
        found += 1;
        true
    })?;
    assert_eq!(found, 900);
    Ok(())
}
