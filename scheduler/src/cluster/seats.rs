//! Who owns what, for requests: the handle between them and whoever decides about ownership.
//!
//! On an engine that only one node can open, that node owns everything ([`Seats::alone`]). On a shared one a supervisor watches the
//! store, publishes what it sees and takes orders ([`Seats::new`]). Nothing here decides anything.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use windlass_core::api::{ApiError, ClusterNode, ErrorCode, MoveView};
use windlass_core::limits;
use windlass_core::store::Epoch;
use windlass_core::time::Timestamp;

use crate::clock::Clock;

/// How long a supervisor has to take an order; it has little else to do.
const PATIENCE: Duration = Duration::from_secs(10);

/// Who owns a shard.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Seat {
    /// The shard.
    pub shard: u16,
    /// The epoch of its owner, or of the last one.
    pub epoch: Epoch,
    /// The owner; `None` while nobody owns it.
    pub owner: Option<String>,
    /// Since when.
    pub since: Timestamp,
    /// How often it has been claimed, as far as is known.
    pub moves_total: u64,
}

/// What is known of ownership right now.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SeatsView {
    /// All shards, by number.
    pub shards: Vec<Seat>,
    /// Nodes that are known otherwise than by the gossip, such as from the store. What the gossip says of them wins, but for
    /// [`NodeState::Draining`](windlass_core::api::NodeState::Draining); it is enough to leave this empty where all nodes gossip.
    pub nodes: Vec<ClusterNode>,
    /// Moves, newest first; at most [`limits::MOVES_MAX`] are shown.
    pub moves: Vec<MoveView>,
}

/// A node is to give up what it owns, in order, and to claim nothing for a while.
#[derive(Debug)]
pub struct DrainOrder {
    /// The node; `None` for the one that was asked.
    pub node: Option<String>,
    /// For how long it claims nothing, in milliseconds.
    pub hold_ms: u64,
    /// Answered when the order is taken, before anything is given up: a node that gives up answers nobody any more.
    pub taken: oneshot::Sender<Result<(), ApiError>>,
}

/// A cheap handle of who owns what.
#[derive(Debug, Clone)]
pub struct Seats {
    view: watch::Receiver<SeatsView>,
    orders: Option<mpsc::Sender<DrainOrder>>,
}

impl Seats {
    /// The seats of a node that can have no other beside it: it owns the only shard.
    #[must_use]
    pub fn alone(node: &str, epoch: Epoch, clock: &Clock) -> Seats {
        let (since, owner) = (clock.now().wall, Some(node.to_owned()));
        let seat = Seat { shard: 0, epoch, owner: owner.clone(), since, moves_total: 1 };
        let opened =
            MoveView { at: since, shard: 0, epoch, from: None, to: owner, why: "started".to_owned() };
        let view = SeatsView { shards: vec![seat], nodes: Vec::new(), moves: vec![opened] };
        Seats { view: watch::channel(view).1, orders: None }
    }

    /// The seats that a supervisor keeps. `view` is read at every request, the newest wins; `orders` should have room for one or two:
    /// an order that finds none is answered with `Busy`.
    #[must_use]
    pub fn new(view: watch::Receiver<SeatsView>, orders: mpsc::Sender<DrainOrder>) -> Seats {
        Seats { view, orders: Some(orders) }
    }

    /// Whether no other node can ever take over.
    #[must_use]
    pub fn is_alone(&self) -> bool {
        self.orders.is_none()
    }

    /// Who owns what.
    #[must_use]
    pub fn view(&self) -> SeatsView {
        self.view.borrow().clone()
    }

    /// Orders a node to give up what it owns. Resolves when the order is taken.
    ///
    /// # Errors
    /// `Invalid` for a hold beyond its limit, `Conflict` where there can be no other node, `Busy` and `Unavailable` when the supervisor
    /// does not take it, and what the supervisor says.
    pub async fn drain(&self, node: Option<String>, hold_ms: u64) -> Result<(), ApiError> {
        if hold_ms > limits::DRAIN_HOLD_MS_MAX {
            let text = format!(
                "a drained node claims nothing for {} ms at most, not {hold_ms}; stop the server instead",
                limits::DRAIN_HOLD_MS_MAX
            );
            return Err(ApiError::new(ErrorCode::Invalid, text));
        }
        let Some(orders) = &self.orders else { return Err(nobody_else()) };
        let (taken, answer) = oneshot::channel();
        orders.try_send(DrainOrder { node, hold_ms, taken }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => {
                ApiError::new(ErrorCode::Busy, "another order to drain is being taken; try again")
            }
            mpsc::error::TrySendError::Closed(_) => crate::queue::stopping(),
        })?;
        match tokio::time::timeout(PATIENCE, answer).await {
            Ok(answer) => answer.map_err(|_| crate::queue::stopping())?,
            Err(_) => Err(ApiError::new(ErrorCode::Timeout, "the node has not taken the order in time")),
        }
    }
}

/// Why a node that is alone is not drained.
pub(crate) fn nobody_else() -> ApiError {
    ApiError::new(ErrorCode::Conflict, "there is no other node to take over; stop the server instead")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[actix_rt::test]
    async fn a_node_that_is_alone_owns_everything_and_is_not_drained() {
        let seats = Seats::alone("n1", 7, &Clock::system());
        let view = seats.view();
        assert_eq!((view.shards[0].owner.as_deref(), view.shards[0].epoch), (Some("n1"), 7));
        assert_eq!((view.moves[0].to.as_deref(), view.moves[0].from.as_deref()), (Some("n1"), None));
        let error = seats.drain(None, 30_000).await.unwrap_err();
        assert_eq!(error, nobody_else());
    }

    #[actix_rt::test]
    async fn orders_reach_the_supervisor_and_its_answer_comes_back() {
        let (publish, view) = watch::channel(SeatsView::default());
        let (orders, mut ordered) = mpsc::channel(1);
        let seats = Seats::new(view, orders);
        let supervisor = async {
            let order: DrainOrder = ordered.recv().await.expect("the first order");
            assert_eq!((order.node.as_deref(), order.hold_ms), (Some("n2"), 5));
            order.taken.send(Err(nobody_else())).expect("somebody waits");
            ordered.recv().await.expect("the second order").taken.send(Ok(())).expect("somebody waits");
        };
        let ask = async {
            let refused = seats.drain(Some("n2".to_owned()), 5).await.unwrap_err();
            assert_eq!(refused.code, ErrorCode::Conflict);
            assert_eq!(seats.drain(None, 5).await, Ok(()));
        };
        tokio::join!(supervisor, ask);
        let long = seats.drain(None, limits::DRAIN_HOLD_MS_MAX + 1).await.unwrap_err();
        assert_eq!(long.code, ErrorCode::Invalid);
        publish.send_replace(SeatsView { shards: vec![Seat::default()], ..SeatsView::default() });
        assert_eq!(seats.view().shards.len(), 1);
        drop(ordered);
        assert_eq!(seats.drain(None, 5).await.unwrap_err().code, ErrorCode::Unavailable);
    }

    #[actix_rt::test]
    async fn a_second_order_does_not_pile_up() {
        let (orders, _ordered) = mpsc::channel(1);
        let seats = Seats::new(watch::channel(SeatsView::default()).1, orders);
        let first = seats.clone();
        let waiting = actix_rt::spawn(async move { first.drain(None, 5).await });
        tokio::task::yield_now().await;
        assert_eq!(seats.drain(None, 5).await.unwrap_err().code, ErrorCode::Busy);
        waiting.abort();
    }
}
