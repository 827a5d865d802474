//! The seeds: real encodings of real values, written to `tests/fuzz/seeds` by
//! `cargo test -p windlass-tests --test decoders -- --ignored write_the_seeds`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use bytes::{Bytes, BytesMut};
use windlass_core::id::{JobId, QueueName, WorkerId};
use windlass_core::job::{AttemptOutcome, AttemptRecord, Chunk, Holes, Job, JobState, Payload, encode_job};
use windlass_core::queue::{HandOut, LeaseMark, QueueRecord};
use windlass_core::schedule::{CatchUp, Record, ScheduleSpec, When, encode_record};
use windlass_core::store::keys::{self, ChunkKey, Place, Row};
use windlass_core::store::{Batch, Write};
use windlass_core::time::Timestamp;
use windlass_core::wire::{ClientFrame, Token, encode_frame};
use windlass_dashboard::ROUTES;
use windlass_scheduler::config::FIELDS;
use windlass_scheduler::store::{StoreConfig, open};

use crate::mutate::Random;

#[path = "../wire/frames.rs"]
mod frames;

/// Seeds by decoder.
type Seeds = BTreeMap<&'static str, Vec<Vec<u8>>>;

#[test]
#[ignore = "it writes into the repository; run it by hand when an encoding has changed"]
fn write_the_seeds() {
    let mut seeds = Seeds::new();
    of_wire(&mut seeds);
    of_records(&mut seeds);
    of_small_records(&mut seeds);
    of_keys(&mut seeds);
    of_texts(&mut seeds);
    of_files(&mut seeds);
    seeds.insert("http", requests());
    seeds.insert("faktory", conversations());
    for (name, inputs) in seeds {
        let folder = super::corpus(name);
        // The old ones go, so that none stays behind that nobody makes any more.
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        for (number, input) in inputs.iter().enumerate() {
            std::fs::write(folder.join(format!("{number:03}")), input).unwrap();
        }
    }
}

/// What Faktory clients say.
fn conversations() -> Vec<Vec<u8>> {
    let texts = [
        [
            concat!(r##"HELLO {"v":2,"wid":"w1","hostname":"h","pid":1,"labels":["a"]}"##, "\r\n"),
            concat!(r##"PUSH {"jid":"12345678","jobtype":"a","args":[1,"x",{"y":1.50}],"queue":"q","retry":3,"reserve_for":600,"custom":{"big":12345678901234567890,"traceparent":"00-1"},"priority":7}"##, "\n"),
            concat!(r##"FETCH a b c"##, "\n"),
            concat!(r##"ACK {"jid":"12345678"}"##, "\n"),
            concat!(r##"FAIL {"jid":"12345678","errtype":"E","message":"m","backtrace":["l1","l2"]}"##, "\n"),
            concat!(r##"BEAT {"wid":"w1","current_state":"quiet","rss_kb":12}"##, "\n"),
            concat!(r##"END"##, "\n"),
        ]
        .concat(),
        [
            concat!(r##"PUSH {"jid":"abcdefgh-ijkl","jobtype":"mail","args":[],"at":"2030-01-01T00:00:00.123456789+02:00","created_at":"2020-01-01T00:00:00Z","failure":{"retry_count":2,"failed_at":"2020-01-01T00:00:00Z"},"unknown":[ 1 , 2 ]}"##, ""),
        ]
        .concat(),
        [
            concat!(r##"PUSHB [{"jid":"12345678","jobtype":"a","args":[]},{"jid":"short"},7]"##, "\n"),
            concat!(r##"MUTATE {"cmd":"kill","target":"retries","filter":{"jids":["12345678"],"jobtype":"a","regexp":"*\\[x-z]?*"}}"##, "\n"),
            concat!(r##"QUEUE PAUSE a b"##, "\n"),
            concat!(r##"QUEUE LATENCY *"##, "\n"),
            concat!(r##"INFO"##, "\n"),
            concat!(r##"FLUSH"##, "\n"),
            concat!(r##"BATCH NEW {}"##, "\n"),
            concat!(r##"TRACK GET x"##, "\n"),
        ]
        .concat(),
    ];
    texts.into_iter().map(String::into_bytes).collect()
}

fn of_wire(seeds: &mut Seeds) {
    let framed = |frame: &dyn Fn(&mut BytesMut)| {
        let mut out = BytesMut::new();
        frame(&mut out);
        out.to_vec()
    };
    let client = frames::client().into_iter().map(|(_, frame)| framed(&|out| encode_frame(out, &frame)));
    let mut frames: Vec<Vec<u8>> = client.collect();
    let streams =
        frames.chunks(4).zip([0, 1, 3, 9]).map(|(some, pieces)| [&[pieces], &some.concat()[..]].concat());
    seeds.insert("frame_stream", streams.collect());
    let server = frames::server().into_iter().map(|(_, frame)| framed(&|out| encode_frame(out, &frame)));
    frames.extend(server);
    seeds.insert("frame", frames.into_iter().map(|frame| frame[4..].to_vec()).collect());
}

fn job() -> Job {
    Job {
        id: JobId([7; 16]),
        kind: "send_email".to_owned(),
        payload: Payload::json(r#"{"to":"ada@example.org"}"#),
        priority: -3,
        enqueued_at: Timestamp(1_767_614_400_000),
        run_at: Timestamp(1_767_614_460_000),
        options: None,
        past: None,
    }
}

fn of_records(seeds: &mut Seeds) {
    let mut worked = job();
    let enqueued = frames::client().into_iter().find_map(|(name, frame)| match frame {
        ClientFrame::Call { body: windlass_core::api::Request::Enqueue { mut jobs, .. }, .. }
            if name == "enqueue-options" =>
        {
            jobs.pop()
        }
        _ => None,
    });
    worked.options = enqueued.expect("there is such a frame").options;
    let past = worked.past_mut();
    past.attempts = 2;
    past.history = vec![AttemptRecord {
        attempt: 1,
        worker: WorkerId([1; 16]),
        started_at: Timestamp(1_767_614_460_001),
        ended_at: Timestamp(1_767_614_460_900),
        outcome: AttemptOutcome::Failed,
        error: "connection refused".to_owned(),
    }];
    past.ended = Some((JobState::Dead, Timestamp(1_767_614_470_000)));
    past.result = Some(Payload::json("[1,2]"));
    seeds.insert("job_record", vec![encode_job(&job()).to_vec(), encode_job(&worked).to_vec()]);
    let mut holes = Holes::default();
    let chunk = Chunk::encode([job(), worked].iter());
    assert!([0, 1, 700].into_iter().all(|index| holes.add(index)));
    seeds.insert("chunk", vec![chunk.to_vec(), holes.encode().to_vec()]);
}

const TOKEN: Token = Token { epoch: 3, delivery: 300 };

fn of_small_records(seeds: &mut Seeds) {
    let mark = LeaseMark {
        worker: WorkerId([9; 16]),
        token: TOKEN,
        attempt: 2,
        started_at: Timestamp(77),
        cancel: true,
    };
    let queue = QueueRecord {
        no: 7,
        paused_at: Some(Timestamp(5)),
        finished_max: 1_000,
        seq_reserved: 1 << 20,
        created_at: Timestamp(3),
    };
    let jobs = vec![(JobId([7; 16]), 1), (JobId([8; 16]), 3)];
    let hand_out = HandOut { worker: WorkerId([9; 16]), started_at: Timestamp(77), jobs };
    let small = [mark.to_bytes(), queue.to_bytes(), hand_out.to_bytes()];
    seeds.insert("small_records", small.map(|record| record.to_vec()).into());
    let record = |when, zone: &str, catch_up| {
        let (name, zone, queue) = ("nightly".to_owned(), zone.to_owned(), QueueName::default());
        let spec = ScheduleSpec {
            name,
            when,
            zone,
            catch_up,
            queue,
            job: windlass_core::job::JobSpec::new("k", Payload::json("1")),
        };
        encode_record(&Record::new(spec, Timestamp(1_767_225_600_000))).to_vec()
    };
    seeds.insert(
        "schedule_record",
        vec![
            record(When::Cron("30 2 * * *".to_owned()), "Europe/Berlin", CatchUp::Latest),
            record(When::EveryMs(60_000), "UTC", CatchUp::Skip),
            record(When::Cron("@every 1h30m".to_owned()), "UTC", CatchUp::Skip),
        ],
    );
}

fn of_keys(seeds: &mut Seeds) {
    let places = [
        Place::Ready { priority: -1, seq: 9 },
        Place::Timer { run_at: Timestamp(1_767_614_400_000), seq: 1 },
        Place::Dead { seq: 2 },
        Place::Kept { until: Timestamp(u64::MAX), seq: u64::MAX },
    ];
    let mut keys: Vec<Bytes> = places.iter().flat_map(|place| [place.key(7), place.to_value()]).collect();
    keys.extend([
        keys::lease_key(7, &JobId([1; 16])),
        keys::index_key(u32::MAX, &JobId([2; 16])),
        keys::meta_key("node"),
        keys::hand_out_key(7, TOKEN),
        keys::ended_key(7, TOKEN),
    ]);
    for row in [Row::Ready { priority: -1 }, Row::Timer { run_at: Timestamp(1_767_614_400_000) }] {
        let chunk = ChunkKey { row, first: 9 };
        keys.extend([chunk.key(7), chunk.holes_key(7)]);
    }
    seeds.insert("keys", keys.iter().map(|key| key.to_vec()).collect());
}

fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

fn of_texts(seeds: &mut Seeds) {
    seeds.insert(
        "names",
        texts(&["mail.eu/high", "01890a5d-ac96-774b-bcce-b302099a8057", "ready", "..", "dead", "a b"]),
    );
    let cron = [
        "30 2 * * *\nEurope/Berlin",
        "*/15 * * * *\nAmerica/New_York",
        "0 0 29 2 *\nUTC",
        "0 0 31 * 1\nAsia/Kolkata",
        "0 12 1-7 * mon-fri",
        "5/10 0,12 * jan,jul sun\nAustralia/Lord_Howe",
        "0 30 1 * * * 2030\nPacific/Apia",
        "@hourly\nAmerica/St_Johns",
        "@every 90m",
        "* * * * * *\nAfrica/Monrovia",
        "0 2 * * 0#1",
        "0 0 L * ?",
        "59 23 31 12 7",
    ];
    seeds.insert("cron", texts(&cron));
    seeds.insert(
        "every",
        texts(&[
            "5m",
            "1h30m",
            "2d",
            "90s",
            " 1s ",
            "3653d",
            "\u{e8}\u{3}\0\0\0\0\0",
            "99999999999999999999s",
        ]),
    );
    seeds.insert(
        "zone",
        texts(&["Europe/Berlin", "UTC", "berlin", "America/Argentina/Buenos_Aires", "new york", ""]),
    );
    let mut random = Random(11);
    let scripts = (1..=10).map(|n| (0..n * 60).map(|_| random.next() as u8).collect());
    seeds.insert("core_step", scripts.collect());
    let mut config = String::new();
    for field in FIELDS {
        writeln!(config, "{} = \"{}\"", field.key, field.default).unwrap();
    }
    let other = "# here\nhttp = \"off\"\nlease = \"30s\"\nheartbeat = '''1s'''\ninsecure_bind = true\nnative = \"[::1]:0\"\n";
    seeds.insert(
        "config",
        texts(&[&config, other, "data-dri = 1\n", "[http]\naddr = 1\n", "lease = 9\n", "http = \"off"]),
    );
    let lines = [
        "job\nenqueue\nwork\n--payload\n{\"a\":1}\n--delay\n1h30m\n--backoff\nexp:1s:2:1h~20\n--header\na=b",
        "job\nenqueue\nwork\n--run-at\n2026-12-24T18:00:00+01:00\n--expires-in\n2d\n--count\n3\n--wait=5s",
        "server\n--http\n127.0.0.1:0\n--lease\n30s\n--insecure-bind=true",
        "worker\nrun\n--queues\na=3,b",
        "--json\nqueue\nlist",
        "schedule\nput\nnightly\n--cron\n0 3 * * *\n--zone\nUTC\n--kind\nreport",
        "top\n--interval\n250ms",
        "bench\n--jobs\n0",
    ];
    seeds.insert("command_line", texts(&lines));
}

fn requests() -> Vec<Vec<u8>> {
    let id = "01890a5d-ac96-774b-bcce-b302099a8057";
    let json = "content-type: application/json\n\n";
    let form =
        "content-type: application/x-www-form-urlencoded\nsec-fetch-site: same-origin\naccept: text/html\n\n";
    let mut all = vec![
        format!(
            "POST /api/v1/jobs\n{json}{{\"queue\":\"mail\",\"kind\":\"send\",\"payload\":{{\"a\":[1,2.5,null]}},\"id\":\"{id}\",\
             \"priority\":-5,\"delay_ms\":60000,\"expires_at\":\"2027-01-01T00:00:00Z\",\"timeout_ms\":250,\"max_attempts\":3,\
             \"backoff\":{{\"policy\":\"exponential\",\"base_ms\":100,\"factor_tenths\":20,\"max_ms\":9000}},\"tags\":[\"t\"],\
             \"headers\":{{\"k\":\"v\"}},\"retention_ms\":1000}}"
        ),
        format!(
            "POST /api/v1/jobs/batch\n{json}{{\"jobs\":[{{\"kind\":\"a\",\"payload\":1}},{{\"kind\":\"b\",\"run_at\":1767614400000}}]}}"
        ),
        format!(
            "POST /api/v1/schedules\n{json}{{\"name\":\"n\",\"cron\":\"0 3 * * *\",\"zone\":\"Europe/Berlin\",\"kind\":\"k\",\"catch_up\":\"skip\"}}"
        ),
        format!(
            "PUT /api/v1/schedules/n%2Fightly\n{json}{{\"every_ms\":60000,\"kind\":\"k\",\"payload\":\"<fuzz>\"}}"
        ),
        format!("GET /api/v1/jobs?queue=mail&state=dead&kind=a&limit=5&cursor=x\n\n"),
        format!(
            "GET /jobs?q=%3Cfuzz%3E&state=ready\naccept: text/html\naccept-language: de\ncookie: lang=de; theme=dark\n\n"
        ),
        format!("GET /jobs/{id}?tab=payload\naccept: text/html\n\n"),
        format!("GET /api/v1/jobs/{id}/wait?timeout_ms=1\n\n"),
        format!("POST /enqueue\n{form}kind=k&queue=default&payload=%7B%7D&delay=5&priority=1&tags=a%2Cb"),
        format!(
            "POST /schedules/new\n{form}name=n&cron=0+3+*+*+*&zone=UTC&kind=k&payload=%3Cfuzz%3E&queue=q"
        ),
        format!("POST /do\n{form}do=cancel&id={id}&id=x&back=%2Fjobs&queue=default"),
        "GET /enqueue?kind=%3Cfuzz%3E\naccept: text/html\n\n".to_owned(),
    ];
    let filters = [
        "state:dead",
        "kind:send_*",
        "-tag:slow",
        "error:%22timed%20out%22",
        "age%3E10m",
        "attempt%3E=3",
        "args.user.id:123",
        "queue:mail%20state:ready",
    ];
    all.extend(filters.map(|filter| format!("GET /api/v1/jobs?filter={filter}&limit=3\n\n")));
    all.extend(
        (0..ROUTES.len())
            .map(|n| format!("{} {n}\naccept: text/html\nhost: localhost\n\n{{}}", ROUTES[n].verb.name())),
    );
    all.into_iter().map(String::into_bytes).collect()
}

fn run(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_le_bytes(), bytes].concat()
}

fn of_files(seeds: &mut Seeds) {
    let dir = tempfile::tempdir().unwrap();
    let config = StoreConfig {
        segment_bytes: Some(8 * 1024),
        overlay_bytes: 4_000,
        block_bytes: Some(2 * 1024),
        low_water_bytes: Some(0),
        ..StoreConfig::sled(dir.path())
    };
    let store = open(&config).unwrap();
    for n in 0..60_u64 {
        let put = Write::Put {
            key: Bytes::copy_from_slice(&n.to_be_bytes()),
            value: Bytes::from(vec![n as u8; 200]),
        };
        store.commit(vec![Batch { writes: vec![put], ..Batch::default() }]).remove(0).unwrap();
    }
    store.close().unwrap();
    drop(store);
    let read = |path: &Path| std::fs::read(path).unwrap();
    let in_dir = |dir: &Path, start: &str| {
        let mut paths: Vec<_> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths.retain(|path| path.file_name().unwrap().to_string_lossy().starts_with(start));
        paths
    };
    seeds.insert("manifest", vec![read(&dir.path().join("MANIFEST"))]);
    seeds.insert("directory", in_dir(dir.path(), "directory-").iter().map(|path| read(path)).collect());
    let pair = |key: &[u8], value: &[u8]| [run(key), run(value)].concat();
    let head = |pairs: u32| [1_u32.to_le_bytes(), pairs.to_le_bytes()].concat();
    let two = [head(2), pair(b"a", b"one"), pair(b"b", &[b'x'; 70])].concat();
    seeds.insert("block", vec![two, head(0), [head(9), pair(b"", b"")].concat()]);
    let segment = in_dir(&dir.path().join("journal"), "0").pop().expect("there is a segment");
    // A batch with a put and a delete, as a record has it.
    let batch = [&2_u32.to_le_bytes()[..], &[1], &pair(b"key", b"value"), &[2], &run(b"key")].concat();
    let records = [&[2, batch.len() as u8, 1], &batch[..], &[batch.len() as u8, 1], &batch, &[0, 0]].concat();
    seeds.insert(
        "journal",
        vec![[&[0], &read(&segment)[..]].concat(), [&[1], &[0; 200][..]].concat(), records, vec![2, 0, 0]],
    );
    let damage: &[&[u8]] = &[
        &[],
        &[1],
        &[1, 0, 0, 17, 3, 1],
        &[0, 2, 0, 16, 0, 0],
        &[1, 1, 0, 1, 1, 200],
        &[0, 1, 0, 17, 254, 255],
    ];
    seeds.insert("damaged_journal", damage.iter().map(|bytes| bytes.to_vec()).collect());
}
