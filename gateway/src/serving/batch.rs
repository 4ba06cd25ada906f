//! The core of batching: which of the waiting entries run together. Pure: time is an argument.
//!
//! Rows are counted, not requests. The first live entry sets what the batch is (version and
//! row shape) and always fits; later ones of the same kind join in the order of arrival while
//! their rows fit. Entries that nobody waits for any more are dropped before the engine runs.

use std::collections::VecDeque;
use std::time::Instant;

/// What batching needs to know of an entry.
pub trait Waiting {
    /// Rows of the request.
    fn rows(&self) -> usize;
    /// The most rows that may share a run with this entry.
    fn max_rows(&self) -> usize;
    /// When the caller stops waiting.
    fn deadline(&self) -> Instant;
    /// True when the caller has left.
    fn is_abandoned(&self) -> bool;
    /// True when this entry may share a run with `first`.
    fn joins(&self, first: &Self) -> bool;
}

/// Why a batch was closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    /// No further row would fit, or nothing that fits was waiting behind it.
    Full,
    /// A worker was free: everything that could join has joined.
    IdleWorker,
    /// The model takes one request at a time.
    Single,
}

impl CloseReason {
    /// All reasons, in the order of [`CloseReason::index`].
    pub const ALL: [Self; 3] = [Self::Full, Self::IdleWorker, Self::Single];

    /// The label of metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::IdleWorker => "idle-worker",
            Self::Single => "single",
        }
    }

    /// What a batch of `rows` is called when nothing else can or will join it.
    pub fn of(rows: usize, most: usize) -> Self {
        match most {
            1 => Self::Single,
            most if rows >= most => Self::Full,
            _ => Self::IdleWorker,
        }
    }

    /// The position in [`CloseReason::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }
}

/// The outcome of looking at a queue.
#[derive(Debug)]
pub struct Taken<E> {
    /// In the order of arrival; empty when nothing live was waiting.
    pub batch: Vec<E>,
    /// Entries whose deadline has passed: they are told.
    pub expired: Vec<E>,
    /// Entries whose caller has left.
    pub abandoned: Vec<E>,
    /// Rows of the batch.
    pub rows: usize,
    /// Rows that left the queue, in whichever way.
    pub rows_gone: usize,
    pub close: CloseReason,
}

/// Takes the next batch off the queue.
pub fn take<E: Waiting>(queue: &mut VecDeque<E>, now: Instant) -> Taken<E> {
    take_where(queue, now, |_| true)
}

/// Takes the next batch of the entries that `may_run`; the others keep their places.
pub fn take_where<E: Waiting>(
    queue: &mut VecDeque<E>,
    now: Instant,
    may_run: impl Fn(&E) -> bool,
) -> Taken<E> {
    let mut taken = Taken {
        batch: Vec::new(),
        expired: Vec::new(),
        abandoned: Vec::new(),
        rows: 0,
        rows_gone: 0,
        close: CloseReason::IdleWorker,
    };
    let mut passed_over = Vec::new();
    while let Some(entry) = queue.pop_front() {
        if entry.is_abandoned() {
            taken.rows_gone += entry.rows();
            taken.abandoned.push(entry);
        } else if entry.deadline() <= now {
            taken.rows_gone += entry.rows();
            taken.expired.push(entry);
        } else if !may_run(&entry) {
            passed_over.push(entry);
        } else if let Some(first) = taken.batch.first() {
            let most = first.max_rows();
            if !entry.joins(first) {
                passed_over.push(entry);
            } else if taken.rows + entry.rows() > most {
                // Later entries may be smaller, but overtaking would let a stream of small
                // requests starve a larger one.
                passed_over.push(entry);
                taken.close = CloseReason::Full;
                break;
            } else {
                taken.add(entry);
                taken.close = CloseReason::of(taken.rows, most);
                if taken.close != CloseReason::IdleWorker {
                    break;
                }
            }
        } else {
            let most = entry.max_rows();
            taken.add(entry);
            taken.close = CloseReason::of(taken.rows, most);
            if taken.close != CloseReason::IdleWorker {
                break;
            }
        }
    }
    for entry in passed_over.into_iter().rev() {
        queue.push_front(entry);
    }
    taken
}

impl<E: Waiting> Taken<E> {
    fn add(&mut self, entry: E) {
        self.rows += entry.rows();
        self.rows_gone += entry.rows();
        self.batch.push(entry);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    struct Entry {
        id: usize,
        rows: usize,
        kind: u8,
        most: usize,
        deadline: Instant,
        left: bool,
    }

    impl Waiting for Entry {
        fn rows(&self) -> usize {
            self.rows
        }
        fn max_rows(&self) -> usize {
            self.most
        }
        fn deadline(&self) -> Instant {
            self.deadline
        }
        fn is_abandoned(&self) -> bool {
            self.left
        }
        fn joins(&self, first: &Self) -> bool {
            self.kind == first.kind
        }
    }

    fn queue(start: Instant, rows: &[(usize, u8)]) -> VecDeque<Entry> {
        let deadline = start + Duration::from_secs(10);
        let entry = |(id, (rows, kind)): (usize, &(usize, u8))| Entry {
            id,
            rows: *rows,
            kind: *kind,
            most: 8,
            deadline,
            left: false,
        };
        rows.iter().enumerate().map(entry).collect()
    }

    fn ids(entries: &[Entry]) -> Vec<usize> {
        entries.iter().map(|e| e.id).collect()
    }

    #[test]
    fn everything_that_fits_runs_together() {
        let now = Instant::now();
        let mut waiting = queue(now, &[(1, 0), (2, 0), (3, 0)]);
        let taken = take(&mut waiting, now);
        assert_eq!((ids(&taken.batch), taken.rows), (vec![0, 1, 2], 6));
        assert_eq!(taken.close, CloseReason::IdleWorker);
        assert!(waiting.is_empty());
    }

    #[test]
    fn a_full_batch_leaves_the_rest_in_order() {
        let now = Instant::now();
        let mut waiting = queue(now, &[(5, 0), (2, 0), (4, 0), (1, 0)]);
        let taken = take(&mut waiting, now);
        assert_eq!((ids(&taken.batch), taken.close), (vec![0, 1], CloseReason::Full));
        assert_eq!(waiting.iter().map(|e| e.id).collect::<Vec<_>>(), [2, 3]);
    }

    #[test]
    fn the_first_entry_always_fits() {
        let now = Instant::now();
        let mut waiting = queue(now, &[(20, 0), (1, 0)]);
        let taken = take(&mut waiting, now);
        assert_eq!((ids(&taken.batch), taken.close), (vec![0], CloseReason::Full));
    }

    #[test]
    fn versions_do_not_mix_and_nobody_loses_its_place() {
        let now = Instant::now();
        let mut waiting = queue(now, &[(1, 0), (1, 1), (1, 0), (1, 1)]);
        assert_eq!(ids(&take(&mut waiting, now).batch), [0, 2]);
        assert_eq!(ids(&take(&mut waiting, now).batch), [1, 3]);
    }

    #[test]
    fn who_left_or_is_late_does_not_run() {
        let now = Instant::now();
        let mut waiting = queue(now, &[(1, 0), (2, 0), (3, 0)]);
        waiting[0].left = true;
        waiting[1].deadline = now;
        let taken = take(&mut waiting, now);
        assert_eq!((ids(&taken.batch), ids(&taken.expired)), (vec![2], vec![1]));
        assert_eq!((taken.abandoned.len(), taken.rows, taken.rows_gone), (1, 3, 6));
    }

    #[test]
    fn entries_that_may_not_run_now_keep_their_places() {
        let now = Instant::now();
        let mut waiting = queue(now, &[(1, 1), (1, 0), (1, 1), (1, 0)]);
        assert_eq!(ids(&take_where(&mut waiting, now, |e| e.kind == 0).batch), [1, 3]);
        assert_eq!(waiting.iter().map(|e| e.id).collect::<Vec<_>>(), [0, 2]);
    }

    #[test]
    fn a_model_that_takes_one_row_gets_one_request() {
        let now = Instant::now();
        let mut waiting = queue(now, &[(1, 0), (1, 0)]);
        waiting.iter_mut().for_each(|e| e.most = 1);
        let taken = take(&mut waiting, now);
        assert_eq!((taken.batch.len(), taken.close), (1, CloseReason::Single));
    }

    proptest! {
        #[test]
        fn every_live_entry_runs_once_in_order_within_its_kind(
            shape in proptest::collection::vec((1usize..12, 0u8..3, any::<bool>(), any::<bool>()), 0..60)
        ) {
            let now = Instant::now();
            let mut waiting = VecDeque::new();
            for (id, (rows, kind, left, late)) in shape.iter().enumerate() {
                let deadline = if *late { now } else { now + Duration::from_secs(1) };
                waiting.push_back(Entry { id, rows: *rows, kind: *kind, most: 8, deadline, left: *left });
            }
            let total: usize = shape.iter().map(|s| s.0).sum();
            let (mut ran, mut gone) = (Vec::new(), 0);
            while !waiting.is_empty() {
                let taken = take(&mut waiting, now);
                prop_assert!(taken.rows <= 8 || taken.batch.len() == 1);
                prop_assert!(taken.batch.iter().all(|e| e.kind == taken.batch[0].kind));
                gone += taken.rows_gone;
                ran.extend(taken.batch);
            }
            prop_assert_eq!(gone, total);
            for kind in 0..3u8 {
                let got: Vec<_> = ran.iter().filter(|e| e.kind == kind).map(|e| e.id).collect();
                let wanted: Vec<_> = shape.iter().enumerate()
                    .filter(|(_, s)| s.1 == kind && !s.2 && !s.3).map(|(id, _)| id).collect();
                prop_assert_eq!(got, wanted);
            }
        }
    }
}
