//! A forest with the fastest form that fits it.

use std::sync::Arc;

use super::finish::Aggregate;
use super::forest::{Forest, Mode};
use super::packed::Walk;
use super::value::Value;

/// Rows walked before their sums are handed on.
const CHUNK: usize = 64;

/// Takes the row's number, the aggregated score per column, and whether the column has a score.
type Sink<'a, T> = dyn FnMut(usize, &[T], &[bool]) + 'a;

/// A forest ready to run.
#[derive(Debug, Clone)]
pub struct Ensemble<T> {
    forest: Forest<T>,
    aggregate: Aggregate,
    fast: Option<Arc<dyn Walk<T>>>,
    /// Which columns have a score, the same for every row; `None` when it depends on the row.
    seen: Option<Vec<bool>>,
}

impl<T: Value> Ensemble<T> {
    pub fn new(forest: Forest<T>, aggregate: Aggregate) -> Self {
        let seen = columns_seen(&forest);
        let adds = matches!(aggregate, Aggregate::Sum | Aggregate::Average);
        let fast = if adds && seen.is_some() { T::fast_form(&forest) } else { None };
        Self { forest, aggregate, fast, seen }
    }

    /// True when the forest has a fast form.
    pub fn is_fast(&self) -> bool {
        self.fast.is_some()
    }

    /// The forest in its plain form.
    pub fn forest(&self) -> &Forest<T> {
        &self.forest
    }

    /// The narrowest row that the forest can read.
    pub fn features(&self) -> usize {
        self.forest.features
    }

    /// Calls `sink(row number, aggregated score per column, whether the column has a score)` for
    /// each row of `x`, which holds rows of `width` features: at least [`Self::features`], and 1.
    pub fn for_each_row(&self, x: &[T], width: usize, mut sink: impl FnMut(usize, &[T], &[bool])) {
        match (&self.fast, &self.seen) {
            (Some(fast), Some(seen)) => self.fast_rows(fast.as_ref(), seen, x, width, &mut sink),
            _ => {
                let mut plain = PlainRow::new(self.forest.columns);
                for (i, row) in x.chunks_exact(width).enumerate() {
                    plain.score(self, row);
                    sink(i, &plain.scores, &plain.seen);
                }
            }
        }
    }

    /// The plain form for every row, whatever the fast form could do: the truth for tests and
    /// the yardstick for benches.
    #[doc(hidden)]
    pub fn for_each_row_plainly(
        &self,
        x: &[T],
        width: usize,
        mut sink: impl FnMut(usize, &[T], &[bool]),
    ) {
        let mut plain = PlainRow::new(self.forest.columns);
        for (i, row) in x.chunks_exact(width).enumerate() {
            plain.score(self, row);
            sink(i, &plain.scores, &plain.seen);
        }
    }

    fn fast_rows(
        &self,
        fast: &dyn Walk<T>,
        seen: &[bool],
        x: &[T],
        width: usize,
        sink: &mut Sink<'_, T>,
    ) {
        let columns = self.forest.columns;
        let mut sums = vec![T::ZERO; columns * CHUNK.min(x.len() / width)];
        for (chunk, values) in x.chunks(CHUNK * width).enumerate() {
            let first = chunk * CHUNK;
            let sums = &mut sums[..values.len() / width * columns];
            sums.fill(T::ZERO);
            fast.add(values, width, sums);
            for (i, sums) in sums.chunks_exact(columns).enumerate() {
                sink(first + i, sums, seen);
            }
        }
    }
}

/// The scores of one row, gathered tree by tree.
struct PlainRow<T> {
    scores: Vec<T>,
    seen: Vec<bool>,
}

impl<T: Value> PlainRow<T> {
    fn new(columns: usize) -> Self {
        Self { scores: vec![T::ZERO; columns], seen: vec![false; columns] }
    }

    fn score(&mut self, ensemble: &Ensemble<T>, row: &[T]) {
        self.scores.fill(T::ZERO);
        self.seen.fill(false);
        for &root in &ensemble.forest.roots {
            for &(column, weight) in ensemble.forest.leaf(root, row) {
                let column = column as usize;
                let score = &mut self.scores[column];
                match ensemble.aggregate {
                    Aggregate::Sum | Aggregate::Average => *score += weight,
                    Aggregate::Min if self.seen[column] && *score <= weight => {}
                    Aggregate::Max if self.seen[column] && *score >= weight => {}
                    Aggregate::Min | Aggregate::Max => *score = weight,
                }
                self.seen[column] = true;
            }
        }
    }
}

/// Which columns get a score from every row, when the others get one from none.
fn columns_seen<T: Value>(forest: &Forest<T>) -> Option<Vec<bool>> {
    let mut ever = vec![false; forest.columns];
    forest.weights().for_each(|(column, _)| ever[column] = true);
    let mut always = vec![false; forest.columns];
    let mut ends = forest.roots[1..].iter().copied().chain([forest.nodes.len() as u32]);
    for &root in &forest.roots {
        // The nodes of a tree are listed side by side.
        let end = ends.next()?;
        let mut leaves = 0usize;
        let mut fed = vec![0usize; forest.columns];
        for node in
            forest.nodes[root as usize..end as usize].iter().filter(|n| n.mode == Mode::Leaf)
        {
            leaves += 1;
            let mut columns: Vec<u32> =
                forest.weights[node.yes as usize..node.no as usize].iter().map(|w| w.0).collect();
            columns.sort_unstable();
            columns.dedup();
            columns.into_iter().for_each(|c| fed[c as usize] += 1);
        }
        always.iter_mut().zip(fed).for_each(|(always, n)| *always |= n == leaves);
    }
    (ever == always).then_some(always)
}
