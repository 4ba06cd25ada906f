//! Brings a plain forest into the fast form, or says that it does not fit.

use super::super::forest::{Forest, Mode, Node};
use super::super::value::Value;
use super::{Layout, Leaves, Packed, ROOT, Tree};

/// A table of all columns may take this many times the space of the weights it is made from.
const MOST_PADDING: usize = 8;

/// The fast form of `forest`; `None` when it does not fit this layout: comparisons for equality,
/// nodes with two parents, too many nodes or features, leaves that feed different columns of many.
pub(in super::super) fn pack<T: Value, N: Layout<T>>(forest: &Forest<T>) -> Option<Packed<T, N>> {
    if forest.features > N::MOST_FEATURES {
        return None;
    }
    let mut packed = Packed {
        nodes: Vec::with_capacity(forest.nodes.len()),
        trees: Vec::with_capacity(forest.roots.len()),
        leaves: empty_leaves(forest)?,
        columns: forest.columns,
        nan_left: Vec::with_capacity(forest.nodes.len()),
    };
    for &root in &forest.roots {
        pack_tree(&mut packed, forest, root)?;
    }
    if packed.nan_left.iter().all(|left| !left) {
        packed.nan_left.clear();
    }
    Some(packed)
}

fn empty_leaves<T: Value>(forest: &Forest<T>) -> Option<Leaves<T>> {
    let one_column = forest.roots.iter().all(|root| tree_column(forest, *root).is_some());
    if one_column {
        return Some(Leaves::OneColumn { column: vec![], value: vec![] });
    }
    let leaves = forest.nodes.iter().filter(|n| n.mode == Mode::Leaf).count();
    let size = leaves.checked_mul(forest.columns)?;
    let fits =
        size <= u32::MAX as usize && size <= forest.weights.len().saturating_mul(MOST_PADDING);
    fits.then(|| Leaves::AllColumns { start: vec![], table: vec![] })
}

/// The column that every leaf of the tree feeds exactly once, if there is such a column.
fn tree_column<T: Value>(forest: &Forest<T>, root: u32) -> Option<u32> {
    let mut column = None;
    let mut stack = vec![root];
    let mut visits = 0;
    while let Some(at) = stack.pop() {
        visits += 1;
        if visits > forest.nodes.len() {
            // Nodes with two parents are visited once per path: exponentially often.
            return None;
        }
        let node = &forest.nodes[at as usize];
        if node.mode != Mode::Leaf {
            stack.extend([node.yes, node.no]);
            continue;
        }
        let [(fed, _)] = &forest.weights[node.yes as usize..node.no as usize] else { return None };
        if *column.get_or_insert(*fed) != *fed {
            return None;
        }
    }
    column
}

/// Appends one tree, breadth first. `queue[i]` is the plain number of the tree's node `ROOT + i`.
fn pack_tree<T: Value, N: Layout<T>>(
    packed: &mut Packed<T, N>,
    forest: &Forest<T>,
    root: u32,
) -> Option<()> {
    let base = u32::try_from(packed.nodes.len()).ok()?;
    // Number 0, which no walk comes to.
    packed.nodes.push(N::new(T::NAN, 0, 0));
    packed.nan_left.push(false);
    push_leaf(&mut packed.leaves, forest, None);
    let mut queue = vec![(root, 0u32)];
    let (mut shortest, mut longest) = (u32::MAX, 0);
    let mut at = 0;
    while let Some(&(plain, level)) = queue.get(at) {
        let node = &forest.nodes[plain as usize];
        if node.mode == Mode::Leaf {
            (shortest, longest) = (shortest.min(level), longest.max(level));
            // A NaN threshold sends every row to "left + 1", which is the leaf itself.
            packed.nodes.push(N::new(T::NAN, 0, ROOT + at as u32 - 1));
            packed.nan_left.push(false);
        } else {
            let step = normalised(node)?;
            let left = ROOT + u32::try_from(queue.len()).ok()?;
            packed.nodes.push(N::new(step.threshold, node.feature, left));
            packed.nan_left.push(!step.nan_goes_right);
            queue.extend([(step.left, level + 1), (step.right, level + 1)]);
            // More nodes than the forest has: some have two parents.
            if queue.len() > forest.nodes.len().min(N::MOST_NODES - ROOT as usize) {
                return None;
            }
        }
        push_leaf(&mut packed.leaves, forest, Some(node));
        at += 1;
    }
    if let Leaves::OneColumn { column, .. } = &mut packed.leaves {
        column.push(tree_column(forest, root)?);
    }
    packed.trees.push(Tree { base, shortest, longest });
    Some(())
}

/// Keeps one entry per node, so that a leaf is found by its number; inner nodes hold a dummy.
fn push_leaf<T: Value>(leaves: &mut Leaves<T>, forest: &Forest<T>, node: Option<&Node<T>>) {
    let leaf = node.filter(|node| node.mode == Mode::Leaf);
    let weights = leaf.map_or(&[][..], |node| &forest.weights[node.yes as usize..node.no as usize]);
    match leaves {
        Leaves::OneColumn { value, .. } => value.push(weights.first().map_or(T::ZERO, |w| w.1)),
        Leaves::AllColumns { start, table } => {
            let from = table.len();
            start.push(from as u32);
            if leaf.is_some() {
                table.resize(from + forest.columns, T::ZERO);
                for &(column, weight) in weights {
                    table[from + column as usize] += weight;
                }
            }
        }
    }
}

struct Step<T> {
    threshold: T,
    left: u32,
    right: u32,
    nan_goes_right: bool,
}

/// The comparison as `x <= threshold`, true to the left.
fn normalised<T: Value>(node: &Node<T>) -> Option<Step<T>> {
    let t = node.threshold;
    // No number is below -inf, and swapped children would turn "never" into "always" for NaN.
    let plain = !t.is_nan() && t != T::NEG_INFINITY;
    let (threshold, swapped) = match node.mode {
        Mode::Leq => (t, false),
        Mode::Lt if plain => (t.below(), false),
        Mode::Gt if plain => (t, true),
        Mode::Gte if plain => (t.below(), true),
        _ => return None,
    };
    let (left, right) = if swapped { (node.no, node.yes) } else { (node.yes, node.no) };
    Some(Step { threshold, left, right, nan_goes_right: node.nan_holds() == swapped })
}
