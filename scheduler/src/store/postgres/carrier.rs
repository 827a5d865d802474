//! The committing end: a task that sends rows of the journal, several in flight, each behind the fence; and the sign of life of an idle
//! owner.
//!
//! All statements go over one connection, one behind the other, but for the signs of life of an owner that still reads. Each is a
//! transaction of its own, and a commit names the number of the one before it, so the order does not rest on the connection: it only
//! makes that nothing has to be sent twice. After trouble the fence says what has to be sent again.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Row as Answered};
use windlass_core::cluster::{Answer, Fence, Nonce, ShardNo, Statement, Step};
use windlass_core::limits;
use windlass_core::store::{CommitError, Epoch};

use super::database::{Database, DbError, Param, STATEMENT_WAIT, Session};
use super::engine::{Engine, Row};
use super::seat::{column, proof, shard_column};

/// Wait before a database that is away is asked again.
const RETRY: Duration = Duration::from_millis(100);
/// Time after which an owner that commits nothing shows that it lives.
const BEAT: Duration = Duration::from_millis(limits::BEAT_MS);

/// What came back for a statement.
type Heard = Result<Vec<Answered>, DbError>;

/// The writing end of a shard that is ours.
pub(super) struct Carrier {
    engine: Arc<Engine>,
    session: Session,
    fence: Fence,
    /// Rows that were sent and are not settled, oldest first.
    begun: VecDeque<Row>,
    /// The answers to the commits in flight, which are those of the first rows.
    in_flight: FuturesOrdered<Pin<Box<dyn Future<Output = Heard> + Send>>>,
    /// Since when the first of them is waited for.
    waits_since: Instant,
    /// When this owner last showed that it lives, or tried to.
    last: Instant,
    /// Batches that are in the journal of a group that is not there as a whole.
    written: usize,
}

/// Answers what is left when the task ends, whatever ends it.
impl Drop for Carrier {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.engine.fail(CommitError::Failed("the task that commits has panicked".to_owned()));
        }
        let closed = || CommitError::Failed("the store is closed".to_owned());
        let error = self.engine.failed_error().unwrap_or_else(closed);
        self.engine.refuse(std::mem::take(&mut self.begun), self.written, &error);
    }
}

impl Carrier {
    pub(super) fn new(engine: Arc<Engine>, fence: Fence) -> Carrier {
        Carrier {
            session: Session::new(engine.database.clone()),
            engine,
            fence,
            begun: VecDeque::new(),
            in_flight: FuturesOrdered::new(),
            waits_since: Instant::now(),
            last: Instant::now(),
            written: 0,
        }
    }

    /// Commits until the store fails or stops; then gives the shard up, if that is wanted, so that the next owner need not wait for this one
    /// to fall silent.
    ///
    /// # Errors
    /// When it should have been given up and was not.
    pub(super) async fn run(mut self) -> Result<(), CommitError> {
        let engine = Arc::clone(&self.engine);
        let outcome = self.serve().await;
        match outcome {
            Err(error) if !engine.stop.load(Ordering::Relaxed) => engine.fail(error),
            _ => {}
        }
        if !engine.gives_up.load(Ordering::Relaxed) || engine.failure().is_some() || !self.fence.is_idle() {
            return Ok(());
        }
        let statement = self.fence.give_up();
        self.carry(statement).await
    }

    async fn serve(&mut self) -> Result<(), CommitError> {
        let engine = Arc::clone(&self.engine);
        // Whatever stops the store: of what is in flight it is known a moment later what became of it.
        while engine.failed_error().is_none()
            || !self.begun.is_empty() && !engine.stop.load(Ordering::Relaxed)
        {
            self.send_commits().await?;
            let waits = !self.in_flight.is_empty();
            tokio::select! {
                biased;
                heard = timeout_at(self.waits_since + STATEMENT_WAIT, self.in_flight.next()), if waits => {
                    let heard = heard.map(|heard| heard.expect("commits are in flight"));
                    self.hear(heard.unwrap_or_else(|_| Err(DbError::late()))).await?;
                }
                () = engine.work.notified() => {}
                () = sleep_until(self.last + BEAT), if self.fence.is_idle() => {
                    let statement = self.fence.beat();
                    self.carry(statement).await?;
                    self.last = Instant::now();
                }
            }
        }
        Ok(())
    }

    /// Sends what may be sent: rows again that were sent before, then those that wait.
    async fn send_commits(&mut self) -> Result<(), CommitError> {
        loop {
            let flying = self.in_flight.len();
            if flying > 0 && self.session.live().is_none() {
                // Their answers, which are lost, come first.
                return Ok(());
            }
            if flying < self.begun.len() {
                // One by one: a database without room for the first has none for those behind it.
                if flying > 0 {
                    return Ok(());
                }
            } else {
                if flying >= limits::COMMITS_IN_FLIGHT_MAX || !self.fence.may_begin() {
                    return Ok(());
                }
                let Some(row) = self.engine.next_row() else { return Ok(()) };
                self.begun.push_back(row);
            }
            let client = self.client().await?;
            let data = self.begun[flying].data.clone();
            let statement = match self.fence.again() {
                Some(statement) => statement,
                None => self.fence.begin(),
            };
            if flying == 0 {
                self.waits_since = Instant::now();
            }
            let shard = shard_column(self.engine.shard);
            self.in_flight.push_back(Box::pin(async move { ask(&client, shard, statement, &data).await }));
        }
    }

    /// A connection; waits for a database that is away, for as long as the link wants it.
    async fn client(&mut self) -> Result<Arc<Client>, CommitError> {
        loop {
            match self.session.client().await {
                Ok(client) => return Ok(client),
                Err(error) => {
                    self.engine.link.is_away(error.to_string());
                    self.engine.link.pause(RETRY).await?;
                }
            }
        }
    }

    /// Takes the answer to the oldest commit in flight.
    async fn hear(&mut self, heard: Heard) -> Result<(), CommitError> {
        self.waits_since = Instant::now();
        let lost = matches!(heard, Err(DbError::Lost(_) | DbError::Away(_)));
        let answer = self.answer(heard, true)?;
        let mut step = self.fence.answered(answer);
        if lost {
            // The connection is given up, and with it whatever is in flight behind.
            self.in_flight = FuturesOrdered::new();
            while step == Step::Unsettled {
                step = self.fence.answered(Answer::Lost);
            }
        }
        match self.follow(step).await? {
            Some(next) => {
                if answer == Answer::Lost {
                    self.engine.link.pause(RETRY).await?;
                }
                self.carry(next).await
            }
            None => Ok(()),
        }
    }

    /// Sends a statement that is alone, and what follows from its answer, until nothing does.
    async fn carry(&mut self, first: Statement) -> Result<(), CommitError> {
        let mut statement = first;
        loop {
            let heard = ask_alone(&mut self.session, self.engine.shard, statement).await;
            let answer = self.answer(heard, false)?;
            let step = self.fence.answered(answer);
            let Some(next) = self.follow(step).await? else { return Ok(()) };
            if answer == Answer::Lost {
                self.engine.link.pause(RETRY).await?;
            }
            statement = next;
        }
    }

    /// What the fence makes of what came back.
    fn answer(&mut self, heard: Heard, commit: bool) -> Result<Answer, CommitError> {
        let link = &self.engine.link;
        match heard {
            Ok(rows) => {
                let answer = rows.first().map_or(Answer::Nothing, |row| {
                    let number = |at| u64::try_from(row.get::<_, i64>(at)).unwrap_or(0);
                    Answer::Applied { epoch: number(0), seq: number(1) }
                });
                let applied = answer != Answer::Nothing;
                link.is_here(commit && applied);
                if applied {
                    self.last = Instant::now();
                }
                Ok(answer)
            }
            Err(DbError::Full(text)) if commit => {
                link.is_full(text);
                Ok(Answer::Lost)
            }
            Err(DbError::Lost(text) | DbError::Away(text)) => {
                link.is_away(text);
                self.session.give_up();
                Ok(Answer::Lost)
            }
            Err(DbError::Full(text)) => {
                link.is_away(text);
                Ok(Answer::Lost)
            }
            Err(DbError::Refused(text)) => Err(CommitError::Failed(text)),
        }
    }

    /// Does what a step says; returns the statement to be sent.
    async fn follow(&mut self, step: Step) -> Result<Option<Statement>, CommitError> {
        match step {
            Step::Committed { .. } => self.apply(1),
            Step::Settled { committed } => self.apply(committed),
            Step::Unsettled | Step::Done | Step::GivenUp => {}
            Step::Send(next) => return Ok(Some(next)),
            Step::Fenced => {
                // For the error's text.
                let row = super::seat::read(&mut self.session, self.engine.shard).await.ok().flatten();
                return Err(CommitError::Fenced { by: row.map_or(0, |row| row.seat.epoch) });
            }
            Step::Regressed { confirmed, found } => {
                return Err(CommitError::Failed(format!(
                    "the database has lost commits that it had confirmed: it is at {found}, {confirmed} was \
                     confirmed; was a standby promoted that replicates asynchronously?"
                )));
            }
        }
        Ok(None)
    }

    /// So many of the oldest rows are in the journal.
    fn apply(&mut self, rows: u64) {
        for _ in 0..rows {
            let row = self.begun.pop_front().expect("a commit is of a row");
            self.engine.applied(row, &mut self.written);
        }
    }
}

/// The signs of life of an owner that reads what those before it have committed, and has no carrier yet: others would take one that
/// reads for longer than their patience for dead, one after the other. They end when it is dropped.
///
/// They are sent beside the fence. It reasons about the row's epoch and seq, which they leave alone, and one that is executed late
/// matches as long as the epoch is that of the claim, for which the owner answers anyway.
pub(super) struct SignsOfLife(JoinHandle<()>);

impl Drop for SignsOfLife {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl SignsOfLife {
    /// Whether one has found that the seat is somebody else's.
    pub(super) fn are_over(&self) -> bool {
        self.0.is_finished()
    }

    /// # Errors
    /// [`DbError::Away`] when the connection's thread is gone.
    pub(super) fn begin(
        database: &Database,
        shard: ShardNo,
        epoch: Epoch,
        nonce: Nonce,
    ) -> Result<SignsOfLife, DbError> {
        let mut session = Session::new(database.clone());
        let signs = async move {
            loop {
                sleep(BEAT).await;
                match ask_alone(&mut session, shard, Statement::Beat { epoch, nonce }).await {
                    Ok(rows) if rows.is_empty() => return,
                    Ok(_) => {}
                    Err(_) => session.give_up(),
                }
            }
        };
        database.spawn(signs).map(SignsOfLife)
    }
}

/// Sends a statement behind which nothing else is sent, and waits for its answer, over a connection that is made if need be.
async fn ask_alone(session: &mut Session, shard: ShardNo, statement: Statement) -> Heard {
    let client = session.client().await?;
    let asked = ask(&client, shard_column(shard), statement, &[]);
    timeout(STATEMENT_WAIT, asked).await.unwrap_or_else(|_| Err(DbError::late()))
}

/// Sends a statement when it is polled first, and waits for its answer.
async fn ask(client: &Client, shard: i16, statement: Statement, data: &[u8]) -> Heard {
    const COMMIT: &str = "\
        WITH own AS (UPDATE windlass.shard SET seq = seq + 1, beat = beat + 1 \
            WHERE id = $1 AND epoch = $2 AND nonce = $3 AND seq = $4 RETURNING epoch, seq), \
        new AS (INSERT INTO windlass.journal (shard, seq, data) SELECT $1, own.seq, $5 FROM own) \
        SELECT epoch, seq FROM own";
    const REOPEN: &str = "UPDATE windlass.shard SET epoch = epoch + 1, beat = beat + 1 \
        WHERE id = $1 AND nonce = $2 RETURNING epoch, seq";
    const BEAT: &str = "UPDATE windlass.shard SET beat = beat + 1 \
        WHERE id = $1 AND nonce = $2 AND epoch = $3 RETURNING epoch, seq";
    const GIVE_UP: &str = "UPDATE windlass.shard SET epoch = epoch + 1, beat = beat + 1, owner = NULL, \
        native = NULL, http = NULL, faktory = NULL WHERE id = $1 AND nonce = $2 RETURNING epoch, seq";
    let shard: Param<'_> = (&shard, Type::INT2);
    let answered = match statement {
        Statement::Commit { epoch, nonce, seq } => {
            let (epoch, proof, seq) = (column(epoch), proof(nonce), column(seq));
            let params: [Param<'_>; 5] = [
                shard,
                (&epoch, Type::INT8),
                (&proof.as_slice(), Type::BYTEA),
                (&seq, Type::INT8),
                (&data, Type::BYTEA),
            ];
            client.query_typed(COMMIT, &params).await
        }
        Statement::Beat { epoch, nonce } => {
            let (epoch, proof) = (column(epoch), proof(nonce));
            let params = [shard, (&proof.as_slice(), Type::BYTEA), (&epoch, Type::INT8)];
            client.query_typed(BEAT, &params).await
        }
        Statement::Reopen { nonce } => {
            let proof = proof(nonce);
            client.query_typed(REOPEN, &[shard, (&proof.as_slice(), Type::BYTEA)]).await
        }
        Statement::GiveUp { nonce } => {
            let proof = proof(nonce);
            client.query_typed(GIVE_UP, &[shard, (&proof.as_slice(), Type::BYTEA)]).await
        }
    };
    answered.map_err(|error| DbError::of(&error))
}
