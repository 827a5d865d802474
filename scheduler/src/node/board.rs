//! What requests know of ownership: who owns what, who did, and the order to give it up.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use windlass_core::api::{ApiError, ErrorCode, MoveView};
use windlass_core::id::NodeName;

use crate::cluster::{Cluster, DrainOrder, Seat, Seats, SeatsView, facts, nobody_else};
use crate::store::postgres::SHARD;
use crate::store::postgres::database::{Database, Session};
use crate::store::postgres::seat::{self, SeatRow};

/// How often who owns what is read for requests.
const BOARD: Duration = Duration::from_secs(1);

/// Where requests read who owns what, and where they leave their orders.
pub(super) struct Board {
    pub(super) publish: watch::Sender<SeatsView>,
    pub(super) seats: Seats,
    pub(super) drains: mpsc::Receiver<DrainOrder>,
}

impl Board {
    pub(super) fn new() -> Board {
        let (publish, view) = watch::channel(SeatsView::default());
        // One that is being taken and one that waits.
        let (orders, drains) = mpsc::channel(2);
        Board { publish, seats: Seats::new(view, orders), drains }
    }
}

/// Waits for an order to give the shard up, and returns for how long it is not to be taken again. Other orders are answered.
pub(super) async fn drained(
    orders: &mut mpsc::Receiver<DrainOrder>,
    cluster: &Cluster,
    me: &NodeName,
) -> Duration {
    loop {
        let Some(order) = orders.recv().await else { return std::future::pending().await };
        let other = order.node.filter(|node| node != me.as_str());
        let servers = cluster.members().into_iter().filter(|member| member.role == facts::SERVER);
        let alone = !servers.into_iter().any(|member| member.id != me.as_str());
        let answer = match &other {
            Some(node) => {
                let text = format!("{node} does not own the shard; it can be stopped at any time");
                Err(ApiError::new(ErrorCode::Conflict, text))
            }
            None if alone && cluster.addr().is_some() => Err(nobody_else()),
            None => Ok(()),
        };
        let taken = answer.is_ok();
        // Whoever asked may have given up; the order stands all the same.
        let _ = order.taken.send(answer);
        if taken {
            // The stop that follows waits until whoever asked is answered.
            return Duration::from_millis(order.hold_ms);
        }
    }
}

/// Reads who owns what, and who did, for requests.
pub(super) async fn keep_board(
    publish: &watch::Sender<SeatsView>,
    session: &Arc<tokio::sync::Mutex<Session>>,
    database: &Database,
) -> std::convert::Infallible {
    loop {
        read_board(publish, session, database).await;
        tokio::time::sleep(BOARD).await;
    }
}

/// Reads it once. What cannot be read stays as it was.
pub(super) async fn read_board(
    publish: &watch::Sender<SeatsView>,
    session: &Arc<tokio::sync::Mutex<Session>>,
    database: &Database,
) {
    let theirs = Arc::clone(session);
    let read = database.run(async move {
        let mut session = theirs.lock().await;
        let row = seat::read(&mut session, SHARD).await?;
        Ok((row, seat::moves(&mut session, SHARD).await?))
    });
    if let Ok((Some(row), moves)) = read.await {
        publish.send_replace(seats_view(&row, &moves));
    }
}

fn seats_view(row: &SeatRow, moves: &[seat::Move]) -> SeatsView {
    let last = moves.first();
    let seat = Seat {
        shard: SHARD,
        epoch: row.seat.epoch,
        owner: row.seat.owner.as_ref().map(ToString::to_string),
        since: last.map_or_else(Default::default, |last| last.at),
        moves_total: row.moves,
    };
    let shown = |m: &seat::Move| MoveView {
        at: m.at,
        shard: SHARD,
        epoch: m.epoch,
        from: m.from.clone(),
        to: m.to.clone(),
        why: m.why.clone(),
    };
    SeatsView { shards: vec![seat], nodes: Vec::new(), moves: moves.iter().map(shown).collect() }
}
