//! **Promise.** Dead jobs stay until somebody retries or removes them.
//!
//! **How it is judged.** A bulk operation changes exactly the jobs of its page that are still dead by that death, and says so.
//! At the end every job that died and was not touched since is found in the store's dead region.

use windlass_core::store::keys::{self, region};

use super::{Verdict, wrong};
use crate::facts::{Facts, Phase};
use crate::history::Event;
use crate::world::World;
use windlass_core::queue::read;

const NAME: &str = "dead jobs stay";

pub(super) fn hear(event: &Event, facts: &Facts) -> Verdict {
    let Event::DeadActed { queue, page, count, .. } = event else { return Ok(()) };
    let dead = page.iter().filter(|(id, attempts)| facts.is_dead_with(&(*queue, *id), *attempts)).count();
    if dead as u64 != *count {
        let key = (*queue, page[0].0);
        return wrong(NAME, key, format!("{count} of a page were changed, {dead} of them were dead"));
    }
    Ok(())
}

pub(super) fn finish(world: &World) -> Verdict {
    for (queue, shell) in world.node.shells.iter().enumerate() {
        let (first, end) = keys::queue_range(region::DEAD, shell.queue.no());
        let found = read::scan(&world.disk, &first, &end, usize::MAX);
        let found = found.expect("the simulated disk is never damaged").stored;
        for (key, book) in world.facts.jobs.iter().filter(|(key, _)| key.0 == queue) {
            let there = found.iter().any(|stored| stored.job.id == key.1);
            if (book.solid.phase == Phase::Dead) != there {
                return wrong(NAME, *key, format!("it is {:?}, among the dead: {there}", book.solid.phase));
            }
        }
    }
    Ok(())
}
