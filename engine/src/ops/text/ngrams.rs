//! The n-grams of a TfIdfVectorizer: which there are, and how often a row has each.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::TractResult;
use tract_onnx::tract_hir::internal::*;

use super::super::attributes;

/// The number of an element of the pool.
pub(super) type Id = u32;

/// Stands for an element that the pool does not have.
pub(super) const UNKNOWN: Id = Id::MAX;

/// No n-gram ends here.
const NOWHERE: u32 = u32::MAX;

/// The n-grams as a tree: its first level is a list by element, the deeper ones a table.
#[derive(Debug)]
pub(super) struct Ngrams {
    /// The place in `ends` of each element as the first of an n-gram.
    first: Vec<u32>,
    /// From a place and the next element to the next place.
    next: HashMap<(u32, Id), u32>,
    ends: Vec<Option<End>>,
    shortest: usize,
    longest: usize,
    most_skips: usize,
    adds: bool,
    width: usize,
}

/// What an n-gram does to the output.
#[derive(Debug, Clone, Copy)]
struct End {
    column: usize,
    weight: f32,
}

impl Ngrams {
    /// Reads the lists of a TfIdfVectorizer whose pool has the elements `pool`.
    pub(super) fn read(node: &NodeProto, pool: &[Id]) -> TractResult<Self> {
        let size = |name: &str| -> TractResult<usize> {
            let value: i64 = node.get_attr(name)?;
            usize::try_from(value).map_err(|_| format_err!("{name} is {value}"))
        };
        let (shortest, longest) = (size("min_gram_length")?, size("max_gram_length")?);
        let most_skips = size("max_skip_count")?;
        let starts = attributes::ints(node, "ngram_counts")?;
        ensure!(
            shortest >= 1 && shortest <= longest && longest <= starts.len(),
            "n-grams of {shortest} to {longest} elements, and {} ngram_counts",
            starts.len()
        );
        let columns = columns(node)?;
        let weights = attributes::floats(node, "weights")?;
        ensure!(
            weights.is_empty() || weights.len() == columns.len(),
            "{} weights for {} n-grams",
            weights.len(),
            columns.len()
        );
        let mode = attributes::text(node, "mode", "")?;
        let (weighs, adds) = match mode {
            "TF" => (false, true),
            "IDF" => (true, false),
            "TFIDF" => (true, true),
            other => bail!("the mode {other} is unknown"),
        };
        let width = columns.iter().max().map_or(0, |column| column + 1);
        let elements = pool.iter().max().map_or(0, |id| *id as usize + 1);
        let mut ngrams = Self {
            first: vec![NOWHERE; elements],
            next: HashMap::new(),
            ends: vec![],
            shortest,
            longest,
            most_skips,
            adds,
            width,
        };
        let mut number = 0;
        for (length, part) in (1..).zip(parts(pool, starts)?) {
            ensure!(part.len() % length == 0, "the pool does not hold whole {length}-grams");
            for ngram in part.chunks_exact(length) {
                let column = columns.get(number).copied();
                let column = column.context("there are more n-grams than ngram_indexes")?;
                let weight = if weighs { weights.get(number).copied().unwrap_or(1.0) } else { 1.0 };
                number += 1;
                if (shortest..=longest).contains(&length) {
                    ngrams.insert(ngram, End { column, weight })?;
                }
            }
        }
        Ok(ngrams)
    }

    fn insert(&mut self, ngram: &[Id], end: End) -> TractResult<()> {
        let Some((first, rest)) = ngram.split_first() else { bail!("an empty n-gram") };
        let count = self.ends.len() as u32;
        let mut place = self.first[*first as usize];
        if place == NOWHERE {
            place = count;
            self.first[*first as usize] = place;
            self.ends.push(None);
        }
        for id in rest {
            let count = self.ends.len() as u32;
            place = match self.next.entry((place, *id)) {
                Entry::Occupied(known) => *known.get(),
                Entry::Vacant(new) => {
                    self.ends.push(None);
                    *new.insert(count)
                }
            };
        }
        let known = self.ends[place as usize].replace(end);
        ensure!(known.is_none(), "the pool lists an n-gram twice");
        Ok(())
    }

    /// The columns of the output.
    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// True when single elements are all there is to count, so that their order does not matter.
    pub(super) fn are_single(&self) -> bool {
        self.longest == 1
    }

    /// Counts one element by itself. `out` has [`Self::width`] columns.
    pub(super) fn count_single(&self, id: Id, out: &mut [f32]) {
        if let Some(place) = self.first.get(id as usize) {
            self.end(*place, out);
        }
    }

    /// Counts the n-grams of a row. `out` has [`Self::width`] columns.
    pub(super) fn count(&self, row: &[Id], out: &mut [f32]) {
        let mut shortest = self.shortest;
        if shortest == 1 {
            // Single elements count once, however many distances are tried.
            row.iter().for_each(|id| self.count_single(*id, out));
            shortest = 2;
        }
        if shortest > self.longest {
            return;
        }
        for distance in 1..=self.most_skips.saturating_add(1).min(row.len()) {
            for start in 0..row.len().saturating_sub(distance * (shortest - 1)) {
                self.count_from(&row[start..], distance, shortest, out);
            }
        }
    }

    /// Counts the n-grams that begin with the first of `row`, its elements `distance` apart.
    fn count_from(&self, row: &[Id], distance: usize, shortest: usize, out: &mut [f32]) {
        let Some(mut place) = self.first.get(row[0] as usize).copied() else { return };
        let more = row.iter().step_by(distance).take(self.longest).enumerate().skip(1);
        for (length, id) in more.map(|(before, id)| (before + 1, id)) {
            match self.next.get(&(place, *id)) {
                Some(next) => place = *next,
                None => return,
            }
            if length >= shortest {
                self.end(place, out);
            }
        }
    }

    fn end(&self, place: u32, out: &mut [f32]) {
        let Some(Some(end)) = self.ends.get(place as usize) else { return };
        if self.adds {
            out[end.column] += end.weight;
        } else {
            out[end.column] = end.weight;
        }
    }
}

fn columns(node: &NodeProto) -> TractResult<Vec<usize>> {
    // Beyond this the output of a single row would not fit into memory.
    const MOST: usize = 1 << 28;
    let columns = attributes::ints(node, "ngram_indexes")?;
    ensure!(!columns.is_empty(), "ngram_indexes are needed");
    let column = |i: &i64| usize::try_from(*i).ok().filter(|i| *i < MOST);
    columns.iter().map(|i| column(i).with_context(|| format!("{i} is not a column"))).collect()
}

/// The pool cut into its single elements, its pairs and so on.
fn parts<'a>(pool: &'a [Id], starts: &[i64]) -> TractResult<Vec<&'a [Id]>> {
    let ends = starts.iter().skip(1).copied().chain([pool.len() as i64]);
    let part = |(from, to): (i64, i64)| -> TractResult<&[Id]> {
        let range = usize::try_from(from)?..usize::try_from(to)?;
        let misfit = || format!("ngram_counts from {from} to {to} in a pool of {}", pool.len());
        pool.get(range).with_context(misfit)
    };
    starts.iter().copied().zip(ends).map(part).collect()
}

/// Numbers the distinct elements of a pool.
pub(super) fn numbered<K: std::hash::Hash + Eq, S: std::hash::BuildHasher + Default>(
    pool: impl Iterator<Item = K>,
) -> (HashMap<K, Id, S>, Vec<Id>) {
    let mut ids: HashMap<K, Id, S> = HashMap::default();
    let numbers = pool.map(|element| {
        let next = ids.len() as Id;
        *ids.entry(element).or_insert(next)
    });
    let numbers = numbers.collect();
    (ids, numbers)
}
