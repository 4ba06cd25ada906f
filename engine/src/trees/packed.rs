//! The fast form of a forest.
//!
//! Each comparison is brought to `x <= t` (`x < t` is `x <= next number below t`; `>` and `>=`
//! swap the children). The nodes of a tree lie breadth first, so that the right child follows
//! the left one and one number finds both. A leaf leads to itself: its threshold is NaN, which
//! nothing is `<=` to, and its "left child" is the place before it. So a walk needs no test for
//! leaves, and NaN in a row goes right by itself. Where nodes send NaN to the left, a second
//! form of the walk asks them; it serves the blocks of rows that hold NaN.

mod build;
mod walk;

use std::fmt::Debug;

use super::value::Value;

pub(super) use build::pack;

/// A forest in some fast form.
pub trait Walk<T>: Debug + Send + Sync {
    /// Adds what every tree says about the rows of `x` to `sums`, which holds the forest's
    /// columns per row. `width` is the length of a row, at least the forest's features and 1.
    fn add(&self, x: &[T], width: usize, sums: &mut [T]);
}

/// A node as the walk sees it.
pub(super) trait Layout<T>: Copy + Debug + Send + Sync + 'static {
    /// The largest node number and feature number that fit.
    const MOST_NODES: usize;
    const MOST_FEATURES: usize;

    fn new(threshold: T, feature: u32, left: u32) -> Self;
    fn threshold(self) -> T;
    fn feature(self) -> usize;
    /// The number within its tree of the left child, or of the right one, which is the next.
    fn child(self, right: bool) -> u32;
}

/// Eight bytes: almost every forest of f32.
#[derive(Debug, Clone, Copy)]
pub(super) struct Narrow {
    threshold: f32,
    feature: u16,
    left: u16,
}

impl Layout<f32> for Narrow {
    const MOST_NODES: usize = 1 << 16;
    const MOST_FEATURES: usize = 1 << 16;

    fn new(threshold: f32, feature: u32, left: u32) -> Self {
        Self { threshold, feature: feature as u16, left: left as u16 }
    }
    #[inline(always)]
    fn threshold(self) -> f32 {
        self.threshold
    }
    #[inline(always)]
    fn feature(self) -> usize {
        usize::from(self.feature)
    }
    #[inline(always)]
    fn child(self, right: bool) -> u32 {
        u32::from(self.left) + u32::from(right)
    }
}

/// Trees or rows beyond 65,536, and forests of f64.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wide<T> {
    threshold: T,
    feature: u32,
    left: u32,
}

impl<T: Value> Layout<T> for Wide<T> {
    const MOST_NODES: usize = u32::MAX as usize;
    const MOST_FEATURES: usize = u32::MAX as usize;

    fn new(threshold: T, feature: u32, left: u32) -> Self {
        Self { threshold, feature, left }
    }
    #[inline(always)]
    fn threshold(self) -> T {
        self.threshold
    }
    #[inline(always)]
    fn feature(self) -> usize {
        self.feature as usize
    }
    #[inline(always)]
    fn child(self, right: bool) -> u32 {
        self.left + u32::from(right)
    }
}

/// What a tree's leaves add, found by the number of the leaf among all nodes.
#[derive(Debug, Clone)]
pub(super) enum Leaves<T> {
    /// Each tree feeds one column: regression, binary and boosted multi-class models.
    OneColumn { column: Vec<u32>, value: Vec<T> },
    /// Each leaf feeds all columns: forests of multi-class trees. `start` is the place of the
    /// leaf's row in `table`.
    AllColumns { start: Vec<u32>, table: Vec<T> },
}

/// The number of a tree's root within the tree. Number 0 is nobody: the place before the root,
/// should that be a leaf.
const ROOT: u32 = 1;

#[derive(Debug, Clone, Copy)]
struct Tree {
    /// The place of the tree's number 0 among all nodes.
    base: u32,
    /// The shortest and the longest walk from the root to a leaf.
    shortest: u32,
    longest: u32,
}

/// A forest in the fast form, over nodes of one layout.
#[derive(Debug, Clone)]
pub(super) struct Packed<T, N> {
    nodes: Vec<N>,
    trees: Vec<Tree>,
    leaves: Leaves<T>,
    columns: usize,
    /// Per node, whether NaN goes left; empty when it does nowhere.
    nan_left: Vec<bool>,
}
