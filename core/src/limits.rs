//! Every bound with its reason. A buffer, name or batch without a line here is a defect.

/// Longest queue name, in bytes: it stands in URLs, file names of exports and metric labels.
pub const QUEUE_NAME_BYTES_MAX: usize = 128;
/// Longest job kind, in bytes: same uses as a queue name.
pub const KIND_BYTES_MAX: usize = 128;
/// Largest payload of one job, in bytes. Larger data belongs in an object store, with its address in the payload.
pub const PAYLOAD_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Largest result of one attempt, in bytes; held in memory for the finished list.
pub const RESULT_BYTES_MAX: usize = 1024 * 1024;
/// Longest error text kept per attempt, in bytes; longer text is cut at a character border.
pub const ERROR_BYTES_MAX: usize = 16 * 1024;
/// Longest content type of a payload, in bytes.
pub const CONTENT_TYPE_BYTES_MAX: usize = 128;
/// Most jobs in one enqueue request. Larger sets are streamed as several requests.
pub const BATCH_JOBS_MAX: usize = 10_000;
/// Most bytes of one native frame, its length prefix not counted.
pub const FRAME_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Most bytes of a frame before the handshake is done, so that strangers cannot make the server allocate.
pub const FRAME_BYTES_MAX_UNGREETED: usize = 4 * 1024;
/// Time a connection has for its handshake.
pub const HANDSHAKE_MS_MAX: u64 = 5_000;
/// Most connections on the native port.
pub const CONNECTIONS_MAX: usize = 12_000;
/// Most queues of one node.
pub const QUEUES_MAX: usize = 20_000;
/// Most queues that one worker may take jobs from.
pub const WORKER_QUEUES_MAX: usize = 256;
/// Most free slots that one worker may state, its running jobs included.
pub const WORKER_SLOTS_MAX: u32 = 100_000;
/// Most tags of one job.
pub const TAGS_MAX: usize = 32;
/// Longest tag, in bytes.
pub const TAG_BYTES_MAX: usize = 128;
/// Most headers of one job.
pub const HEADERS_MAX: usize = 32;
/// Most bytes of all header names and values of one job.
pub const HEADERS_BYTES_MAX: usize = 8 * 1024;
/// Most entries of a list backoff.
pub const BACKOFF_LIST_MAX: usize = 64;
/// Most attempts that a job may ask for.
pub const ATTEMPTS_MAX: u32 = 10_000;
/// Attempt records kept per job; older ones are summarised by the attempt counter.
pub const ATTEMPT_HISTORY_MAX: usize = 50;
/// Times a job may take its worker down with it before it goes dead (the poison guard).
pub const CRASHES_MAX: u32 = 3;
/// Furthest delay of a job: ten years, in milliseconds. More is a mistake in the caller's units.
pub const DELAY_MS_MAX: u64 = 10 * 366 * 24 * 3600 * 1000;
/// Ready jobs of one queue held in memory, and as many timers (delayed jobs and retries); the rest of the backlog rests
/// in the store, in order.
pub const WINDOW_JOBS: usize = 8_192;
/// Bytes of ready jobs of one queue held in memory, and as many of timers.
pub const WINDOW_BYTES: usize = 16 * 1024 * 1024;
/// Jobs fetched from the store at a time when a window runs low.
pub const WINDOW_LOAD_JOBS: usize = 4_096;
/// Bytes of records after which a load from the store stops, so that large payloads do not fill the memory.
pub const LOAD_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Jobs in one chunk record at most: jobs that arrive ready in one request stand in the store together.
pub const CHUNK_JOBS_MAX: usize = 1_024;
/// Fewer jobs than this get a record each: a chunk costs an entry in memory for as long as one of its jobs lives.
pub const CHUNK_JOBS_MIN: usize = 16;
/// Bytes of one chunk record, about: whoever wants one of its jobs reads all of it.
pub const CHUNK_BYTES_MAX: usize = 128 * 1024;
/// By how much a scheduled job of a crowd may be put off so that it shares a chunk with others of its request, in milliseconds: what a start
/// takes anyway on a machine that has so much to do. See [`ChunkShape`](crate::queue::ChunkShape).
pub const CHUNK_WAIT_MS_MAX: u64 = 20;
/// A job is put off by no more than this part of its delay.
pub const CHUNK_WAIT_PART: u64 = 50;
/// So many jobs that would be put off are a crowd; the times of fewer are left as they are.
pub const CHUNK_CROWD_MIN: usize = 256;
/// Jobs of one hand-out that share a lease mark at most; larger ones have several.
pub const HAND_OUT_JOBS_MAX: usize = CHUNK_JOBS_MAX;
/// How far the time in a job id may be from the time of its arrival, in milliseconds, so that the job is found by it without
/// an index entry. Clocks of one data centre agree better than this.
pub const ID_SKEW_MS_MAX: u64 = 2_000;
/// Sequence numbers reserved at a time; a restart skips at most this many.
pub const SEQ_BLOCK: u64 = 1 << 20;
/// Finished jobs that a queue remembers in memory unless its settings say otherwise.
pub const FINISHED_JOBS_DEFAULT: u32 = 1_000;
/// Bytes of finished jobs (payloads and results) that a queue remembers at most.
pub const FINISHED_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Requests that may wait for the end of one job.
pub const WATCHERS_PER_JOB_MAX: usize = 64;
/// Requests that may wait for ends of jobs of one queue.
pub const WATCHERS_PER_QUEUE_MAX: usize = 10_000;
/// Longest wait for a result in one request.
pub const WAIT_MS_MAX: u64 = 10 * 60 * 1000;
/// Most entries of one page of a list.
pub const PAGE_MAX: u32 = 1_000;
/// Records looked at for one page of a filtered list; the page then says how far it looked.
pub const PAGE_SCAN_MAX: usize = 20_000;
/// Schedules of one node.
pub const SCHEDULES_MAX: usize = 10_000;
/// Longest schedule name, in bytes.
pub const SCHEDULE_NAME_BYTES_MAX: usize = 128;
/// Longest cron expression, in bytes.
pub const CRON_BYTES_MAX: usize = 256;
/// Longest progress message, in bytes.
pub const PROGRESS_BYTES_MAX: usize = 512;

/// Lease time of a worker that does not renew, in milliseconds: with the heartbeat below, a worker that cannot gossip
/// and falls silent costs at most this long.
pub const LEASE_MS_DEFAULT: u64 = 8_000;
/// Heartbeat interval of a worker session, in milliseconds.
pub const HEARTBEAT_MS_DEFAULT: u64 = 1_000;
/// Time a lost session has to come back with its leases, in milliseconds.
pub const RESUME_GRACE_MS_DEFAULT: u64 = 3_000;
/// Longest wait for a job in one request over HTTP: proxies end what is silent for a minute.
pub const FETCH_WAIT_MS_MAX: u64 = 50_000;
/// Jobs of one fetch over HTTP: a worker that runs more at once fetches again.
pub const FETCH_JOBS_MAX: u32 = 100;
/// Fetches of one worker over HTTP that wait for their turn.
pub const FETCHES_WAITING_MAX: usize = 32;
/// Leases in one heartbeat over HTTP.
pub const HEARTBEAT_LEASES_MAX: usize = 1_000;
/// Workers over HTTP: each is an actor, and people read the list.
pub const HTTP_WORKERS_MAX: usize = 10_000;
/// Shortest lease that a worker over HTTP may ask for: below it a slow network alone would lose jobs.
pub const LEASE_MS_ASKED_MIN: u64 = 1_000;
/// Longest lease that a worker over HTTP may ask for; a worker that dies with it costs this long.
pub const LEASE_MS_ASKED_MAX: u64 = 60 * 60 * 1000;
/// Attempts of a job that does not say, the first included. With the default backoff they span about three weeks.
pub const MAX_ATTEMPTS_DEFAULT: u32 = 20;

const _: () = assert!(LEASE_MS_DEFAULT >= 4 * HEARTBEAT_MS_DEFAULT, "a lease survives three lost heartbeats");
const _: () = assert!(PAYLOAD_BYTES_MAX < FRAME_BYTES_MAX, "a job of the largest size fits into a frame");
const _: () = assert!(WINDOW_LOAD_JOBS < WINDOW_JOBS, "a load fits into the window");
/// Most access tokens: one per application and person is far below, and all are held in memory.
pub const TOKENS_MAX: usize = 1_000;
/// Most access tokens that open the Faktory door: each is tried for every connection, which costs thousands of hashes.
pub const FAKTORY_TOKENS_MAX: usize = 16;
/// Longest name of an access token, in bytes: it stands in every line of the audit log.
pub const TOKEN_NAME_BYTES_MAX: usize = 64;
/// Most queue patterns of one access token.
pub const TOKEN_QUEUES_MAX: usize = 64;
/// Entries of the audit log; the oldest goes when there is one more.
pub const AUDIT_ENTRIES_MAX: u64 = 10_000;
/// Longest text of one field of an audit entry, in bytes.
pub const AUDIT_TEXT_BYTES_MAX: usize = 512;

/// Longest name of a node, in bytes: it stands in every row of the store's history, in lists and in metric labels. A host
/// name's label has at most 63.
pub const NODE_NAME_BYTES_MAX: usize = 64;
/// Time between two proofs of life of an owner that has nothing to commit, in milliseconds: four tiny statements a second,
/// and three may get lost before the quickest standby grows suspicious.
pub const BEAT_MS: u64 = 250;
/// Most commits that an owner has in flight. What is behind the first needs no answer to be sent, so the way to the database costs less; each is
/// executed by itself all the same, and what fills a fourth place would only wait there.
pub const COMMITS_IN_FLIGHT_MAX: usize = 4;
/// Time between two readings of the seat by a standby, in milliseconds: it adds at most this much to an outage, and ten
/// indexed single-row reads a second and standby are nothing to a database.
pub const SEAT_READ_MS: u64 = 100;
/// Silence of an owner that gossip calls dead too, or whose port is closed, in milliseconds. Two witnesses agree, so three beats are
/// enough.
pub const DEAD_SILENCE_MS: u64 = 800;
/// Silence of an owner that gossip calls alive, or of which it knows nothing, in milliseconds: longer than a database
/// takes for a slow flush or a connection for its second try, short enough for a person who waits.
pub const SILENCE_MS: u64 = 3_000;
/// Head start of each standby over the next one, in milliseconds: long enough for a claim to be seen by all (a claim's round
/// trip and a reading), so that as a rule only one claims.
pub const TURN_MS: u64 = 400;

const _: () = assert!(DEAD_SILENCE_MS >= 3 * BEAT_MS, "two lost beats in a row change no owner");
const _: () = assert!(SILENCE_MS >= 10 * BEAT_MS, "gossip that is wrong makes nobody hasty");
const _: () =
    assert!(TURN_MS >= 3 * SEAT_READ_MS, "the next in turn has read the claim before its own turn comes");

/// Moves of ownership that are remembered and shown: a cluster that moves more often than people read has another trouble.
pub const MOVES_MAX: usize = 100;
/// Nodes of one cluster that are shown. Whoever reaches the gossip could make up any number.
pub const CLUSTER_NODES_MAX: usize = 64;
/// Nodes beside the owner that clients are told of, and that a client remembers: whoever lost that many has lost the cluster.
pub const NODES_TOLD_MAX: usize = 16;
/// Longest address of a node that a client is told of, in bytes: the longest name of a host, and a port.
pub const NODE_ADDRESS_BYTES_MAX: usize = 253 + 6;
/// For how long a drained node claims nothing unless it is told otherwise, in milliseconds: longer than a restart takes.
pub const DRAIN_HOLD_MS_DEFAULT: u64 = 30_000;
/// The longest that a drained node can be told to claim nothing: a cluster must not lack a node for good by one command.
pub const DRAIN_HOLD_MS_MAX: u64 = 60 * 60 * 1000;
