//! The plain form of a forest: built from the lists of the file, checked, walked node by node.

use std::collections::HashMap;

use super::value::Value;

/// How a node compares the feature `x` with its threshold `t`; true leads to the `yes` child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Leq,
    Lt,
    Gte,
    Gt,
    Eq,
    Neq,
    Leaf,
}

impl Mode {
    /// The mode of an ONNX name such as `BRANCH_LEQ`.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "BRANCH_LEQ" => Self::Leq,
            "BRANCH_LT" => Self::Lt,
            "BRANCH_GTE" => Self::Gte,
            "BRANCH_GT" => Self::Gt,
            "BRANCH_EQ" => Self::Eq,
            "BRANCH_NEQ" => Self::Neq,
            "LEAF" => Self::Leaf,
            _ => return None,
        })
    }
}

/// One node. For a leaf, `yes..no` is its range of the forest's weights.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node<T> {
    pub threshold: T,
    pub feature: u32,
    pub yes: u32,
    pub no: u32,
    pub mode: Mode,
    /// NaN leads to the `yes` child, whatever the comparison says.
    pub nan_yes: bool,
}

impl<T: Value> Node<T> {
    fn holds(&self, x: T) -> bool {
        let compared = match self.mode {
            Mode::Leq => x <= self.threshold,
            Mode::Lt => x < self.threshold,
            Mode::Gte => x >= self.threshold,
            Mode::Gt => x > self.threshold,
            Mode::Eq => x == self.threshold,
            Mode::Neq => x != self.threshold,
            Mode::Leaf => false,
        };
        compared || (self.nan_yes && x.is_nan())
    }

    /// True when NaN leads to the `yes` child.
    pub(super) fn nan_holds(&self) -> bool {
        self.nan_yes || self.mode == Mode::Neq
    }
}

/// The parallel lists of the operator's `nodes_*` attributes.
#[derive(Debug, Clone, Default)]
pub struct NodeLists<'a, T> {
    pub tree_ids: &'a [i64],
    pub node_ids: &'a [i64],
    pub features: &'a [i64],
    pub modes: Vec<Mode>,
    pub thresholds: Vec<T>,
    pub yes_ids: &'a [i64],
    pub no_ids: &'a [i64],
    /// Empty, or 1 where NaN leads to the true child.
    pub nan_yes: &'a [i64],
}

/// The parallel lists of the `class_*` or `target_*` attributes: what the leaves add.
#[derive(Debug, Clone, Default)]
pub struct WeightLists<'a, T> {
    pub tree_ids: &'a [i64],
    pub node_ids: &'a [i64],
    pub columns: &'a [i64],
    pub weights: Vec<T>,
}

/// A checked forest: every child exists in its own tree, no walk goes in circles, all columns
/// are below `columns`.
#[derive(Debug, Clone, PartialEq)]
pub struct Forest<T> {
    pub(super) nodes: Vec<Node<T>>,
    /// The first node listed of each tree.
    pub(super) roots: Vec<u32>,
    /// (column, weight), the weights of one leaf side by side.
    pub(super) weights: Vec<(u32, T)>,
    pub(super) columns: usize,
    /// One more than the highest feature in use: the narrowest row that will do.
    pub(super) features: usize,
}

impl<T: Value> Forest<T> {
    /// Builds the forest for `columns` classes or targets.
    ///
    /// # Errors
    /// A sentence naming the list or the node that is wrong.
    pub fn new(
        nodes: &NodeLists<'_, T>,
        leaves: &WeightLists<'_, T>,
        columns: usize,
    ) -> Result<Self, String> {
        check_lengths(nodes, leaves)?;
        let count = nodes.node_ids.len();
        let mut place: HashMap<(i64, i64), u32> = HashMap::with_capacity(count);
        let mut roots = Vec::new();
        for (i, key) in
            nodes.tree_ids.iter().copied().zip(nodes.node_ids.iter().copied()).enumerate()
        {
            if i == 0 || nodes.tree_ids[i - 1] != key.0 {
                roots.push(i as u32);
            }
            if place.insert(key, i as u32).is_some() {
                return Err(format!("tree {} lists node {} twice", key.0, key.1));
            }
        }
        let weights = grouped_weights(leaves, &place, columns)?;
        let mut forest =
            Self { nodes: Vec::with_capacity(count), roots, weights: vec![], columns, features: 0 };
        for i in 0..count {
            let node = forest.node(nodes, i, &place, &weights)?;
            forest.nodes.push(node);
        }
        forest.check_walks()?;
        Ok(forest)
    }

    fn node(
        &mut self,
        lists: &NodeLists<'_, T>,
        i: usize,
        place: &HashMap<(i64, i64), u32>,
        weights: &HashMap<u32, Vec<(u32, T)>>,
    ) -> Result<Node<T>, String> {
        let (tree, mode) = (lists.tree_ids[i], lists.modes[i]);
        let mut node = Node {
            threshold: lists.thresholds[i],
            feature: 0,
            yes: self.weights.len() as u32,
            no: 0,
            mode,
            nan_yes: lists.nan_yes.get(i) == Some(&1),
        };
        if mode == Mode::Leaf {
            self.weights.extend(weights.get(&(i as u32)).into_iter().flatten());
            node.no = self.weights.len() as u32;
            return Ok(node);
        }
        let child = |id: i64| {
            let found = place.get(&(tree, id)).copied();
            found.ok_or_else(|| {
                format!("tree {tree} has no node {id}, which node {} leads to", lists.node_ids[i])
            })
        };
        node.yes = child(lists.yes_ids[i])?;
        node.no = child(lists.no_ids[i])?;
        let feature = u32::try_from(lists.features[i]);
        node.feature =
            feature.map_err(|_| format!("{} is not a feature number", lists.features[i]))?;
        self.features = self.features.max(node.feature as usize + 1);
        Ok(node)
    }

    /// Walks every path once; a path longer than its tree has nodes goes in circles.
    fn check_walks(&self) -> Result<(), String> {
        const UNSEEN: u8 = 0;
        const OPEN: u8 = 1;
        const DONE: u8 = 2;
        let mut state = vec![UNSEEN; self.nodes.len()];
        for &root in &self.roots {
            let mut stack = vec![(root, false)];
            while let Some((at, leaving)) = stack.pop() {
                let node = &self.nodes[at as usize];
                if leaving || node.mode == Mode::Leaf {
                    state[at as usize] = DONE;
                    continue;
                }
                match state[at as usize] {
                    DONE => continue,
                    OPEN => return Err("the nodes of a tree lead in a circle".to_owned()),
                    _ => state[at as usize] = OPEN,
                }
                stack.push((at, true));
                for child in [node.yes, node.no] {
                    if state[child as usize] == OPEN {
                        return Err("the nodes of a tree lead in a circle".to_owned());
                    }
                    stack.push((child, false));
                }
            }
        }
        Ok(())
    }

    /// The weights of the leaf that `row` ends in, in the tree of `root`.
    pub(super) fn leaf(&self, root: u32, row: &[T]) -> &[(u32, T)] {
        let mut node = &self.nodes[root as usize];
        while node.mode != Mode::Leaf {
            let next = if node.holds(row[node.feature as usize]) { node.yes } else { node.no };
            node = &self.nodes[next as usize];
        }
        &self.weights[node.yes as usize..node.no as usize]
    }

    /// How many trees.
    pub fn trees(&self) -> usize {
        self.roots.len()
    }

    /// How many classes or targets.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// The weights of all leaves, as (column, weight).
    pub fn weights(&self) -> impl Iterator<Item = (usize, T)> + '_ {
        self.weights.iter().map(|(column, weight)| (*column as usize, *weight))
    }
}

impl Forest<f32> {
    /// The same forest in f64, for inputs of f64: comparing them as f32 could turn a walk.
    pub fn widened(&self) -> Forest<f64> {
        let node = |n: &Node<f32>| Node {
            threshold: f64::from(n.threshold),
            feature: n.feature,
            yes: n.yes,
            no: n.no,
            mode: n.mode,
            nan_yes: n.nan_yes,
        };
        Forest {
            nodes: self.nodes.iter().map(node).collect(),
            roots: self.roots.clone(),
            weights: self.weights.iter().map(|(column, w)| (*column, f64::from(*w))).collect(),
            columns: self.columns,
            features: self.features,
        }
    }
}

fn check_lengths<T>(nodes: &NodeLists<'_, T>, leaves: &WeightLists<'_, T>) -> Result<(), String> {
    let count = nodes.node_ids.len();
    if count == 0 || count > u32::MAX as usize {
        return Err(format!("{count} nodes"));
    }
    let nan = if nodes.nan_yes.is_empty() { count } else { nodes.nan_yes.len() };
    let same = [
        ("nodes_treeids", nodes.tree_ids.len()),
        ("nodes_featureids", nodes.features.len()),
        ("nodes_modes", nodes.modes.len()),
        ("nodes_values", nodes.thresholds.len()),
        ("nodes_truenodeids", nodes.yes_ids.len()),
        ("nodes_falsenodeids", nodes.no_ids.len()),
        ("nodes_missing_value_tracks_true", nan),
    ];
    if let Some((name, n)) = same.iter().find(|(_, n)| *n != count) {
        return Err(format!("{name} has {n} entries for {count} nodes"));
    }
    let weights = leaves.weights.len();
    let same = [leaves.tree_ids.len(), leaves.node_ids.len(), leaves.columns.len()];
    if same.iter().any(|n| *n != weights) {
        return Err(format!(
            "the lists of the leaves' weights have different lengths: {same:?}, {weights}"
        ));
    }
    Ok(())
}

/// The weights per node, in the file's order.
fn grouped_weights<T: Value>(
    leaves: &WeightLists<'_, T>,
    place: &HashMap<(i64, i64), u32>,
    columns: usize,
) -> Result<HashMap<u32, Vec<(u32, T)>>, String> {
    let mut grouped: HashMap<u32, Vec<(u32, T)>> = HashMap::new();
    for (i, weight) in leaves.weights.iter().enumerate() {
        let (tree, node, column) = (leaves.tree_ids[i], leaves.node_ids[i], leaves.columns[i]);
        let at = place.get(&(tree, node)).ok_or_else(|| {
            format!("a weight belongs to node {node} of tree {tree}, which is not there")
        })?;
        let column = u32::try_from(column).ok().filter(|c| (*c as usize) < columns);
        let column = column.ok_or_else(|| {
            format!("a weight belongs to column {}, there are {columns}", leaves.columns[i])
        })?;
        grouped.entry(*at).or_default().push((column, *weight));
    }
    Ok(grouped)
}
