//! Whether a model's requests come one at a time.
//!
//! A caller that finds others in the system is in company, and so are the next few callers,
//! whatever they find: batches end all at once, so the first caller after one finds nobody
//! though its companions are on their way.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

/// Callers without company until a model counts as calm again.
const CALM_AFTER: u32 = 16;

/// The callers of one model. Counts only hint at how to run a request: relaxed order will do.
#[derive(Debug, Default)]
pub struct Company {
    inside: AtomicUsize,
    /// Callers to come that count as in company.
    crowded: AtomicU32,
}

/// A caller inside; it leaves when it is dropped.
#[derive(Debug)]
pub struct Visit<'a> {
    company: &'a Company,
    /// True when nobody else is inside and nobody was for a while.
    pub is_alone: bool,
}

impl Company {
    /// Enters.
    pub fn enter(&self) -> Visit<'_> {
        let others = self.inside.fetch_add(1, Ordering::Relaxed);
        let crowded = self.crowded.load(Ordering::Relaxed);
        let left = if others > 0 { CALM_AFTER } else { crowded.saturating_sub(1) };
        if left != crowded {
            self.crowded.store(left, Ordering::Relaxed);
        }
        Visit { company: self, is_alone: others == 0 && crowded == 0 }
    }
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        self.company.inside.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_is_alone_and_company_is_remembered_for_a_while() {
        let company = Company::default();
        for _ in 0..3 {
            assert!(company.enter().is_alone);
        }
        let first = company.enter();
        assert!(!company.enter().is_alone, "the first is still inside");
        drop(first);
        let alone: Vec<bool> = (0..=CALM_AFTER).map(|_| company.enter().is_alone).collect();
        let calm_at = alone.iter().position(|alone| *alone);
        assert_eq!(calm_at, Some(CALM_AFTER as usize));
    }
}
