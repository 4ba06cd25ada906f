//! The fast form equals the plain one, on random forests and rows.

use proptest::prelude::*;

use super::*;

/// One random node: comparison, feature, threshold, NaN direction, leaf value.
type Draw = (u8, u8, f32, bool, f32);

const FEATURES: usize = 4;

/// Few distinct numbers, so that rows often hit a threshold exactly.
fn number() -> impl Strategy<Value = f32> {
    prop_oneof![
        6 => (-6i8..=6).prop_map(|n| f32::from(n) / 2.0),
        2 => -3.0f32..3.0,
        1 => prop::sample::select(vec![0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::MIN_POSITIVE]),
    ]
}

struct Lists {
    tree_ids: Vec<i64>,
    node_ids: Vec<i64>,
    features: Vec<i64>,
    modes: Vec<Mode>,
    thresholds: Vec<f32>,
    yes_ids: Vec<i64>,
    no_ids: Vec<i64>,
    nan_yes: Vec<i64>,
    leaf_tree: Vec<i64>,
    leaf_node: Vec<i64>,
    leaf_column: Vec<i64>,
    leaf_weight: Vec<f32>,
}

/// A tree from draws: node `i` of a heap is inner while its children fit.
fn lists(trees: &[Vec<Draw>], modes: &[Mode], columns: usize, dense: bool) -> Lists {
    let mut l = Lists {
        tree_ids: vec![],
        node_ids: vec![],
        features: vec![],
        modes: vec![],
        thresholds: vec![],
        yes_ids: vec![],
        no_ids: vec![],
        nan_yes: vec![],
        leaf_tree: vec![],
        leaf_node: vec![],
        leaf_column: vec![],
        leaf_weight: vec![],
    };
    for (tree, draws) in trees.iter().enumerate() {
        for (i, (mode, feature, threshold, nan_yes, weight)) in draws.iter().enumerate() {
            let inner = 2 * i + 2 < draws.len();
            l.tree_ids.push(tree as i64);
            l.node_ids.push(i as i64);
            l.features.push(i64::from(*feature) % FEATURES as i64);
            l.modes.push(if inner { modes[usize::from(*mode) % modes.len()] } else { Mode::Leaf });
            l.thresholds.push(*threshold);
            // Children in either order.
            l.yes_ids.push(2 * i as i64 + if *nan_yes { 1 } else { 2 });
            l.no_ids.push(2 * i as i64 + if *nan_yes { 2 } else { 1 });
            l.nan_yes.push(i64::from(*feature % 3 == 0));
            if !inner {
                let fed = if dense { 0..columns } else { tree % columns..tree % columns + 1 };
                for column in fed {
                    l.leaf_tree.push(tree as i64);
                    l.leaf_node.push(i as i64);
                    l.leaf_column.push(column as i64);
                    l.leaf_weight.push(*weight + column as f32);
                }
            }
        }
    }
    l
}

impl Lists {
    fn forest<T: Value>(
        &self,
        columns: usize,
        nan: bool,
        number: impl Fn(f32) -> T,
    ) -> Result<Forest<T>, String> {
        let nodes = NodeLists {
            tree_ids: &self.tree_ids,
            node_ids: &self.node_ids,
            features: &self.features,
            modes: self.modes.clone(),
            thresholds: self.thresholds.iter().map(|t| number(*t)).collect(),
            yes_ids: &self.yes_ids,
            no_ids: &self.no_ids,
            nan_yes: if nan { &self.nan_yes } else { &[] },
        };
        let leaves = WeightLists {
            tree_ids: &self.leaf_tree,
            node_ids: &self.leaf_node,
            columns: &self.leaf_column,
            weights: self.leaf_weight.iter().map(|w| number(*w)).collect(),
        };
        Forest::new(&nodes, &leaves, columns)
    }
}

fn rows_of<T: Value>(ensemble: &Ensemble<T>, x: &[T], plainly: bool) -> Vec<(Vec<T>, Vec<bool>)> {
    let mut rows = vec![None; x.len() / FEATURES];
    let sink =
        |i: usize, scores: &[T], seen: &[bool]| rows[i] = Some((scores.to_vec(), seen.to_vec()));
    if plainly {
        ensemble.for_each_row_plainly(x, FEATURES, sink);
    } else {
        ensemble.for_each_row(x, FEATURES, sink);
    }
    rows.into_iter().map(|r| r.expect("each row is answered once")).collect()
}

const ORDERED: [Mode; 4] = [Mode::Leq, Mode::Lt, Mode::Gte, Mode::Gt];
const ALL: [Mode; 6] = [Mode::Leq, Mode::Lt, Mode::Gte, Mode::Gt, Mode::Eq, Mode::Neq];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_fast_form_equals_the_plain_one(
        trees in prop::collection::vec(
            prop::collection::vec((any::<u8>(), any::<u8>(), number(), any::<bool>(), -2.0f32..2.0), 1..40),
            1..20,
        ),
        x in prop::collection::vec(prop_oneof![9 => number(), 1 => Just(f32::NAN)], FEATURES..=FEATURES * 90),
        columns in 1usize..4,
        dense in any::<bool>(),
        nan in any::<bool>(),
        modes in 0usize..6,
    ) {
        let modes = match modes { 0 => &ORDERED[..], 1 => &ALL[..], k => &ORDERED[k - 2..k - 1] };
        let x = &x[..x.len() / FEATURES * FEATURES];
        let lists = lists(&trees, modes, columns, dense);
        let narrow = Ensemble::new(lists.forest(columns, nan, |v| v).unwrap(), Aggregate::Sum);
        prop_assert_eq!(rows_of(&narrow, x, false), rows_of(&narrow, x, true));
        let wide = Ensemble::new(lists.forest(columns, nan, f64::from).unwrap(), Aggregate::Sum);
        let x: Vec<f64> = x.iter().map(|v| f64::from(*v)).collect();
        prop_assert_eq!(rows_of(&wide, &x, false), rows_of(&wide, &x, true));
    }
}

fn stump() -> Lists {
    lists(
        &[vec![(0, 0, 0.5, true, 0.0), (0, 0, 0.0, true, 1.0), (0, 0, 0.0, true, 2.0)]],
        &ORDERED,
        1,
        true,
    )
}

#[test]
fn ordered_comparisons_have_a_fast_form_and_equality_has_not() {
    let ensemble = Ensemble::new(stump().forest(1, false, |v| v).unwrap(), Aggregate::Sum);
    assert!(ensemble.is_fast());
    let mut lists = stump();
    lists.modes[0] = Mode::Eq;
    let ensemble = Ensemble::new(lists.forest(1, false, |v| v).unwrap(), Aggregate::Sum);
    assert!(!ensemble.is_fast());
}

#[test]
fn more_features_than_two_bytes_number_take_the_wide_nodes() {
    let mut lists = stump();
    lists.features[0] = 70_000;
    let ensemble = Ensemble::new(lists.forest(1, false, |v| v).unwrap(), Aggregate::Sum);
    assert!(ensemble.is_fast());
    let mut x = vec![0.0f32; 70_001];
    x[70_000] = 1.0;
    ensemble.for_each_row(&x, x.len(), |_, scores, _| assert_eq!(scores, [2.0]));
}

#[test]
fn a_tree_of_more_nodes_than_two_bytes_number_takes_the_wide_nodes() {
    // A chain: node 2i compares with i, its left child is a leaf, its right one goes on.
    let links = 40_000i64;
    let count = 2 * links + 1;
    let ids: Vec<i64> = (0..count).collect();
    let zeros = vec![0i64; count as usize];
    let is_link = |i: i64| i % 2 == 0 && i < count - 1;
    let child = |by: i64| ids.iter().map(|i| if is_link(*i) { i + by } else { 0 }).collect();
    let (yes, no): (Vec<i64>, Vec<i64>) = (child(1), child(2));
    let leaves: Vec<i64> = ids.iter().copied().filter(|i| !is_link(*i)).collect();
    let nodes = NodeLists {
        tree_ids: &zeros,
        node_ids: &ids,
        features: &zeros,
        modes: ids.iter().map(|i| if is_link(*i) { Mode::Leq } else { Mode::Leaf }).collect(),
        thresholds: ids.iter().map(|i| (i / 2) as f32).collect(),
        yes_ids: &yes,
        no_ids: &no,
        nan_yes: &[],
    };
    let weights = WeightLists {
        tree_ids: &zeros[..leaves.len()],
        node_ids: &leaves,
        columns: &zeros[..leaves.len()],
        weights: leaves.iter().map(|i| *i as f32).collect(),
    };
    let ensemble = Ensemble::new(Forest::new(&nodes, &weights, 1).unwrap(), Aggregate::Sum);
    assert!(ensemble.is_fast());
    // Row x ends in the leaf beside link x; 65,536 / 2 and more lie beyond the narrow nodes.
    for rows in [vec![39_998.5], (0..20).map(|k| 32_760.0 + k as f32).collect()] {
        let wanted: Vec<f32> = rows.iter().map(|x: &f32| x.ceil() * 2.0 + 1.0).collect();
        let mut got = vec![];
        ensemble.for_each_row(&rows, 1, |_, scores, _| got.push(scores[0]));
        assert_eq!(got, wanted);
    }
}

#[test]
fn malformed_lists_are_refused_with_the_reason() {
    let refused = |change: fn(&mut Lists), word: &str| {
        let mut lists = stump();
        change(&mut lists);
        let reason = lists.forest(1, true, |v| v).unwrap_err();
        assert!(reason.contains(word), "{reason}");
    };
    refused(|l| l.yes_ids[0] = 9, "no node 9");
    refused(|l| l.yes_ids[0] = 0, "circle");
    refused(|l| l.node_ids[2] = 1, "twice");
    refused(|l| l.features[0] = -1, "feature");
    refused(|l| l.leaf_column[0] = 5, "column 5");
    refused(|l| l.leaf_node[0] = 7, "node 7");
    refused(|l| l.thresholds.truncate(1), "nodes_values");
    refused(|l| l.leaf_weight.truncate(1), "different lengths");
}

#[test]
fn a_child_shared_by_two_parents_is_walked_plainly() {
    let mut lists = stump();
    lists.no_ids[0] = lists.yes_ids[0];
    let ensemble = Ensemble::new(lists.forest(1, false, |v| v).unwrap(), Aggregate::Sum);
    let x = [0.0f32, 1.0, 2.0, 3.0];
    assert_eq!(rows_of(&ensemble, &x, false), rows_of(&ensemble, &x, true));
}

#[test]
fn a_chain_of_shared_children_is_packed_or_refused_in_no_time() {
    let count = 64;
    let ids: Vec<i64> = (0..count).collect();
    let next: Vec<i64> = (1..=count).map(|i| i.min(count - 1)).collect();
    let zeros = vec![0i64; count as usize];
    let mut modes = vec![Mode::Leq; count as usize - 1];
    modes.push(Mode::Leaf);
    let nodes = NodeLists {
        tree_ids: &zeros,
        node_ids: &ids,
        features: &zeros,
        modes,
        thresholds: vec![0.0f32; count as usize],
        yes_ids: &next,
        no_ids: &next,
        nan_yes: &[],
    };
    let leaves =
        WeightLists { tree_ids: &[0], node_ids: &[count - 1], columns: &[0], weights: vec![3.0] };
    let ensemble = Ensemble::new(Forest::new(&nodes, &leaves, 1).unwrap(), Aggregate::Sum);
    ensemble.for_each_row(&[1.0], 1, |_, scores, _| assert_eq!(scores, [3.0]));
}
