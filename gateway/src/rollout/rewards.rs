//! What users report back about answers of a rollout, joined to the variant that was drawn.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use weighbridge_config::rollout::Percent;
use weighbridge_judge::{Pair, Rewards};

use crate::rollout::evidence::Side;

/// Requests that wait for their report; of more the oldest are forgotten, on both sides alike.
const MOST_WAITING: usize = 100_000;

/// The requests of one rollout that may still be reported on, and the reports so far.
#[derive(Debug, Default)]
pub struct RewardBook(Mutex<Book>);

#[derive(Debug, Default)]
struct Book {
    waiting: HashMap<String, (Side, Percent)>,
    order: VecDeque<String>,
    reported: BTreeMap<Percent, Pair<Rewards>>,
}

impl RewardBook {
    /// A request was answered; somebody may report on it by this id.
    pub fn expect(&self, request: &str, side: Side, weight: Percent) {
        let mut book = self.lock();
        if book.waiting.insert(request.to_owned(), (side, weight)).is_some() {
            // An id that a client has used before names the newer request.
            return;
        }
        book.order.push_back(request.to_owned());
        if book.order.len() > MOST_WAITING
            && let Some(oldest) = book.order.pop_front()
        {
            book.waiting.remove(&oldest);
        }
    }

    /// Somebody reports on a request. False when it is not known, or was reported on before:
    /// the first report counts.
    pub fn report(&self, request: &str, is_good: bool) -> bool {
        let mut book = self.lock();
        let Some((side, weight)) = book.waiting.remove(request) else { return false };
        let pair = book.reported.entry(weight).or_default();
        let of = match side {
            Side::Canary => &mut pair.canary,
            Side::Stable => &mut pair.stable,
        };
        if is_good {
            of.good += 1;
        } else {
            of.bad += 1;
        }
        true
    }

    /// The reports since the last call, by the weight at which their requests were drawn.
    pub fn take(&self) -> BTreeMap<Percent, Pair<Rewards>> {
        std::mem::take(&mut self.lock().reported)
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        // Nothing panics while it is held; a poisoned lock would still hold a whole state.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_counts_once_for_the_variant_that_answered() {
        let (book, five) = (RewardBook::default(), Percent::whole(5));
        book.expect("a", Side::Canary, five);
        book.expect("b", Side::Stable, five);
        assert!(book.report("a", false) && book.report("b", true));
        assert!(!book.report("a", true), "the first report counts");
        assert!(!book.report("c", true), "never answered");
        let taken = book.take();
        assert_eq!(taken[&five].canary, Rewards { good: 0, bad: 1 });
        assert_eq!(taken[&five].stable, Rewards { good: 1, bad: 0 });
        assert!(book.take().is_empty());
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let book = RewardBook::default();
        for n in 0..=MOST_WAITING {
            book.expect(&n.to_string(), Side::Stable, Percent::whole(5));
        }
        assert!(!book.report("0", true) && book.report("1", true));
    }
}
