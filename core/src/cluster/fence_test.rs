//! Every path through the fence, one by one.

use super::*;

const NONCE: Nonce = Nonce(77);

fn fence() -> Fence {
    Fence::claimed(5, NONCE, 10)
}

/// A fence with so many commits in flight.
fn sent(commits: u64) -> Fence {
    let mut fence = fence();
    for ahead in 0..commits {
        assert_eq!(fence.begin(), commit(5, 10 + ahead));
    }
    fence
}

fn commit(epoch: Epoch, seq: u64) -> Statement {
    Statement::Commit { epoch, nonce: NONCE, seq }
}

fn applied(epoch: Epoch, seq: u64) -> Answer {
    Answer::Applied { epoch, seq }
}

const REOPEN: Step = Step::Send(Statement::Reopen { nonce: NONCE });

fn settled(committed: u64) -> Step {
    Step::Settled { committed }
}

#[test]
fn commits_follow_one_another() {
    let mut fence = fence();
    assert_eq!(fence.begin(), commit(5, 10));
    assert_eq!(fence.answered(applied(5, 11)), Step::Committed { seq: 11 });
    assert_eq!(fence.begin(), commit(5, 11));
    assert_eq!(fence.answered(applied(5, 12)), Step::Committed { seq: 12 });
    assert_eq!((fence.epoch(), fence.seq(), fence.is_idle()), (5, 12, true));
}

#[test]
fn commits_in_flight_are_confirmed_each_by_its_own_answer() {
    let mut fence = sent(3);
    assert_eq!(fence.answered(applied(5, 11)), Step::Committed { seq: 11 });
    assert_eq!(fence.begin(), commit(5, 13), "another one goes behind those in flight");
    for seq in 12..=14 {
        assert!(!fence.is_idle(), "{seq} is in flight");
        assert_eq!(fence.answered(applied(5, seq)), Step::Committed { seq });
    }
    assert!(fence.is_idle());
    assert_eq!(fence.again(), None);
}

#[test]
fn a_lost_commit_that_was_executed_is_found() {
    let mut fence = sent(1);
    assert_eq!(fence.answered(Answer::Lost), REOPEN);
    assert_eq!(fence.answered(applied(6, 11)), settled(1));
    assert_eq!(fence.again(), None);
    assert_eq!(fence.begin(), commit(6, 11));
    assert_eq!(fence.epoch(), 5, "tokens keep the epoch of the claim");
}

#[test]
fn a_lost_commit_that_was_not_is_sent_again_under_the_new_epoch() {
    let mut fence = sent(1);
    assert_eq!(fence.answered(Answer::Lost), REOPEN);
    assert_eq!(fence.answered(applied(6, 10)), settled(0));
    assert!(!fence.may_begin(), "the one before is not in flight");
    assert_eq!(fence.again(), Some(commit(6, 10)));
    assert_eq!(fence.seq(), 10, "nothing is confirmed before the answer");
    assert_eq!(fence.answered(applied(6, 11)), Step::Committed { seq: 11 });
}

/// Whatever the answers behind the lost one say, and wherever the row of commits was cut.
#[test]
fn of_commits_in_flight_the_journal_has_a_beginning() {
    for found in 0..=4 {
        for behind in [Answer::Nothing, Answer::Lost, applied(5, 12)] {
            let mut fence = sent(4);
            for first in [Answer::Lost, behind, behind] {
                assert_eq!(fence.answered(first), Step::Unsettled);
                assert!(
                    !fence.may_begin() && fence.again().is_none(),
                    "nothing is sent before all are answered"
                );
            }
            assert_eq!(fence.answered(behind), REOPEN);
            assert_eq!(fence.answered(applied(6, 10 + found)), settled(found));
            assert_eq!(fence.seq(), 10 + found);
            for seq in 10 + found..14 {
                assert!(!fence.may_begin(), "those before it go first");
                assert_eq!(fence.again(), Some(commit(6, seq)));
            }
            assert_eq!(fence.again(), None);
            assert_eq!(fence.begin(), commit(6, 14));
            for seq in 11 + found..=15 {
                assert_eq!(fence.answered(applied(6, seq)), Step::Committed { seq });
            }
            assert!(fence.is_idle());
        }
    }
}

#[test]
fn what_was_confirmed_before_the_lost_one_stays_confirmed() {
    let mut fence = sent(3);
    assert_eq!(fence.answered(applied(5, 11)), Step::Committed { seq: 11 });
    assert_eq!(fence.answered(Answer::Nothing), Step::Unsettled);
    assert_eq!(fence.answered(Answer::Nothing), REOPEN);
    assert_eq!(fence.answered(applied(6, 11)), settled(0));
    assert_eq!((fence.again(), fence.again()), (Some(commit(6, 11)), Some(commit(6, 12))));
}

/// They may go one by one: a database without room for the first has none for those behind.
#[test]
fn what_is_sent_again_can_be_lost_again() {
    let mut fence = sent(2);
    fence.answered(Answer::Lost);
    fence.answered(Answer::Lost);
    assert_eq!(fence.answered(applied(6, 10)), settled(0));
    assert_eq!(fence.again(), Some(commit(6, 10)));
    assert_eq!(fence.answered(Answer::Lost), REOPEN, "the second is not in flight");
    assert_eq!(fence.answered(applied(7, 11)), settled(1));
    assert_eq!(fence.again(), Some(commit(7, 11)));
    assert_eq!(fence.answered(applied(7, 12)), Step::Committed { seq: 12 });
    assert!(fence.is_idle());
}

#[test]
fn a_lost_reopen_is_asked_again_until_there_is_an_answer() {
    let mut fence = sent(2);
    assert_eq!(fence.answered(Answer::Lost), Step::Unsettled);
    for _ in 0..3 {
        assert_eq!(fence.answered(Answer::Lost), REOPEN);
    }
    // All of them were executed.
    assert_eq!(fence.answered(applied(8, 11)), settled(1));
    assert_eq!(fence.again(), Some(commit(8, 11)));
}

/// The first Reopen is executed behind the second: the epoch goes up under the commits, which is no fence.
#[test]
fn a_late_reopen_of_ones_own_is_no_fence() {
    let mut fence = sent(2);
    fence.answered(Answer::Lost);
    fence.answered(Answer::Lost);
    fence.answered(Answer::Lost);
    assert_eq!(fence.answered(applied(6, 10)), settled(0));
    assert_eq!((fence.again(), fence.again()), (Some(commit(6, 10)), Some(commit(6, 11))));
    // It comes between the two.
    assert_eq!(fence.answered(applied(6, 11)), Step::Committed { seq: 11 });
    assert_eq!(fence.answered(Answer::Nothing), REOPEN);
    assert_eq!(fence.answered(applied(8, 11)), settled(0));
    assert_eq!(fence.again(), Some(commit(8, 11)));
    assert_eq!(fence.answered(applied(8, 12)), Step::Committed { seq: 12 });
}

#[test]
fn commits_that_match_nothing_are_fenced_when_the_nonce_is_gone() {
    let mut fence = sent(2);
    assert_eq!(fence.answered(Answer::Nothing), Step::Unsettled);
    assert_eq!(fence.answered(Answer::Nothing), REOPEN);
    assert_eq!(fence.answered(Answer::Nothing), Step::Fenced);
    assert!(fence.is_over() && !fence.may_begin());
    assert_eq!(fence.again(), None);
}

#[test]
fn a_lost_commit_is_fenced_when_the_nonce_is_gone() {
    let mut fence = sent(1);
    fence.answered(Answer::Lost);
    assert_eq!(fence.answered(Answer::Nothing), Step::Fenced);
}

#[test]
fn lost_commits_of_the_database_are_noticed() {
    for lost in [Answer::Lost, Answer::Nothing] {
        let mut fence = sent(2);
        fence.answered(lost);
        fence.answered(lost);
        assert_eq!(fence.answered(applied(3, 9)), Step::Regressed { confirmed: 10, found: 9 });
        assert!(fence.is_over());
    }
}

#[test]
fn a_seq_that_nobody_can_have_written_is_noticed() {
    let mut fence = sent(2);
    fence.answered(Answer::Lost);
    fence.answered(Answer::Lost);
    assert_eq!(fence.answered(applied(6, 13)), Step::Regressed { confirmed: 10, found: 13 });
}

#[test]
fn beats() {
    let mut fence = fence();
    let beat = |epoch| Statement::Beat { epoch, nonce: NONCE };
    assert_eq!(fence.beat(), beat(5));
    assert_eq!(fence.answered(applied(5, 10)), Step::Done);
    fence.beat();
    assert_eq!(fence.answered(Answer::Lost), Step::Done);
    fence.beat();
    assert_eq!(fence.answered(Answer::Nothing), REOPEN);
    assert_eq!(fence.answered(Answer::Lost), REOPEN);
    assert_eq!(fence.answered(applied(7, 10)), settled(0));
    assert_eq!(fence.beat(), beat(7));
    assert_eq!(fence.answered(Answer::Nothing), REOPEN);
    assert_eq!(fence.answered(Answer::Nothing), Step::Fenced);
}

#[test]
fn an_idle_owner_notices_what_its_database_lost() {
    let mut one = fence();
    one.beat();
    assert_eq!(one.answered(applied(5, 9)), Step::Regressed { confirmed: 10, found: 9 });
    let mut other = fence();
    other.beat();
    other.answered(Answer::Nothing);
    assert_eq!(other.answered(applied(5, 9)), Step::Regressed { confirmed: 10, found: 9 });
}

#[test]
fn the_seat_is_given_up() {
    let mut one = fence();
    let give_up = Statement::GiveUp { nonce: NONCE };
    assert_eq!(one.give_up(), give_up);
    assert_eq!(one.answered(Answer::Lost), Step::Send(give_up));
    assert_eq!(one.answered(applied(6, 10)), Step::GivenUp);
    assert!(one.is_over());
    let mut other = fence();
    other.give_up();
    assert_eq!(other.answered(Answer::Nothing), Step::Fenced);
}

#[test]
#[should_panic(expected = "only when nothing is in flight")]
fn a_beat_behind_a_commit_is_a_bug() {
    sent(1).beat();
}

#[test]
#[should_panic(expected = "behind one that is unsettled")]
fn a_group_behind_one_that_is_unsettled_is_a_bug() {
    let mut fence = sent(2);
    fence.answered(Answer::Lost);
    fence.begin();
}

#[test]
#[should_panic(expected = "when the fence is over")]
fn a_statement_after_the_end_is_a_bug() {
    let mut fence = fence();
    fence.give_up();
    fence.answered(Answer::Nothing);
    fence.begin();
}

#[test]
#[should_panic(expected = "no statement in flight")]
fn an_answer_to_nothing_is_a_bug() {
    fence().answered(Answer::Lost);
}
