//! Every path through the fence, one by one.

use super::*;

const NONCE: Nonce = Nonce(77);

fn fence() -> Fence {
    Fence::claimed(5, NONCE, 10)
}

fn commit(epoch: Epoch, seq: u64) -> Statement {
    Statement::Commit { epoch, nonce: NONCE, seq }
}

fn applied(epoch: Epoch, seq: u64) -> Answer {
    Answer::Applied { epoch, seq }
}

const REOPEN: Step = Step::Send(Statement::Reopen { nonce: NONCE });

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
fn a_lost_commit_that_was_executed_is_found() {
    let mut fence = fence();
    fence.begin();
    assert_eq!(fence.answered(Answer::Lost), REOPEN);
    assert_eq!(fence.answered(applied(6, 11)), Step::Committed { seq: 11 });
    assert_eq!(fence.begin(), commit(6, 11));
    assert_eq!(fence.epoch(), 5, "tokens keep the epoch of the claim");
}

#[test]
fn a_lost_commit_that_was_not_is_sent_again_under_the_new_epoch() {
    let mut fence = fence();
    fence.begin();
    assert_eq!(fence.answered(Answer::Lost), REOPEN);
    assert_eq!(fence.answered(applied(6, 10)), Step::Send(commit(6, 10)));
    assert_eq!(fence.seq(), 10, "nothing is confirmed before the answer");
    assert_eq!(fence.answered(applied(6, 11)), Step::Committed { seq: 11 });
}

#[test]
fn a_lost_reopen_is_asked_again_until_there_is_an_answer() {
    let mut fence = fence();
    fence.begin();
    for _ in 0..3 {
        assert_eq!(fence.answered(Answer::Lost), REOPEN);
    }
    // All of them were executed.
    assert_eq!(fence.answered(applied(8, 11)), Step::Committed { seq: 11 });
}

/// The first Reopen is executed behind the second: the epoch goes up under the commit, which is no fence.
#[test]
fn a_late_reopen_of_ones_own_is_no_fence() {
    let mut fence = fence();
    fence.begin();
    fence.answered(Answer::Lost);
    fence.answered(Answer::Lost);
    assert_eq!(fence.answered(applied(6, 10)), Step::Send(commit(6, 10)));
    assert_eq!(fence.answered(Answer::Nothing), REOPEN);
    assert_eq!(fence.answered(applied(8, 10)), Step::Send(commit(8, 10)));
    assert_eq!(fence.answered(applied(8, 11)), Step::Committed { seq: 11 });
}

#[test]
fn a_commit_that_matches_nothing_is_fenced_when_the_nonce_is_gone() {
    let mut fence = fence();
    fence.begin();
    assert_eq!(fence.answered(Answer::Nothing), REOPEN);
    assert_eq!(fence.answered(Answer::Nothing), Step::Fenced);
    assert!(fence.is_over());
}

#[test]
fn a_lost_commit_is_fenced_when_the_nonce_is_gone() {
    let mut fence = fence();
    fence.begin();
    fence.answered(Answer::Lost);
    assert_eq!(fence.answered(Answer::Nothing), Step::Fenced);
}

#[test]
fn lost_commits_of_the_database_are_noticed() {
    for lost in [Answer::Lost, Answer::Nothing] {
        let mut fence = fence();
        fence.begin();
        fence.answered(lost);
        assert_eq!(fence.answered(applied(3, 9)), Step::Regressed { confirmed: 10, found: 9 });
        assert!(fence.is_over());
    }
}

#[test]
fn a_seq_that_nobody_can_have_written_is_noticed() {
    let mut fence = fence();
    fence.begin();
    fence.answered(Answer::Lost);
    assert_eq!(fence.answered(applied(6, 12)), Step::Regressed { confirmed: 10, found: 12 });
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
    assert_eq!(fence.answered(applied(7, 10)), Step::Done);
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
#[should_panic(expected = "one statement at a time")]
fn two_statements_at_once_are_a_bug() {
    let mut fence = fence();
    fence.begin();
    fence.beat();
}

#[test]
#[should_panic(expected = "none when the fence is over")]
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
