//! Medians, groups and the Markdown table.

use std::fmt::Write as _;

/// Seconds a call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pass {
    pub ours: f64,
    pub theirs: f64,
}

/// The passes of one model: single rows, then large batches.
#[derive(Debug)]
pub(crate) struct Measured {
    name: String,
    large: usize,
    passes: [Vec<Pass>; 2],
}

impl Measured {
    pub(crate) fn new(name: String, large: usize) -> Self {
        Self { name, large, passes: [vec![], vec![]] }
    }

    pub(crate) fn add(&mut self, size: usize, pass: Pass) {
        self.passes[size].push(pass);
    }

    /// Our time over theirs: the median of the passes.
    fn ratio(&self, size: usize) -> f64 {
        median(self.passes[size].iter().map(|p| p.ours / p.theirs))
    }
}

/// Groups by how exports are called, with what they should reach at batch 1 and at a large one.
const GROUPS: &[(&str, &[&str], [f64; 2])] = &[
    ("trees", &["dt_", "rf_", "et_", "gb_", "hgb_", "xgb_", "lgbm_", "cat_"], [0.4, 0.5]),
    (
        "linear",
        &[
            "calibrated",
            "ct_logreg",
            "imputer_logreg",
            "linreg",
            "logreg_",
            "onehot_logreg",
            "pca_logreg",
            "poly",
            "ridge",
            "scaler_logreg",
            "selectk",
            "sgd_clf",
            "svc_linear",
        ],
        [1.0, 1.0],
    ),
    ("SVM", &["svc_rbf", "svr_"], [1.0, 1.0]),
    ("text", &["tfidf_", "count_"], [1.0, 1.0]),
    ("MLP", &["mlp_"], [1.1, 1.1]),
];
const REST: &str = "other";

fn group(name: &str) -> &'static str {
    let holds = |(_, starts, _): &&(&str, &[&str], _)| starts.iter().any(|s| name.starts_with(s));
    GROUPS.iter().find(holds).map_or(REST, |(group, ..)| group)
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 }
}

/// A table of the models and one of the groups.
pub(crate) fn markdown(measured: &[Measured], passes: usize) -> String {
    let mut text = format!(
        "Microseconds a call; ours / theirs is the median of {passes} interleaved passes.\n\n\
         | model | rows | ONNX Runtime | ours | ours / theirs | rows | ONNX Runtime | ours | ours / theirs |\n\
         |---|---|---|---|---|---|---|---|---|\n"
    );
    for model in measured {
        // Writing to a String cannot fail.
        let _ = write!(text, "| {} ", model.name);
        for (size, rows) in [1, model.large].into_iter().enumerate() {
            let time = |of: fn(&Pass) -> f64| median(model.passes[size].iter().map(of)) * 1e6;
            let (theirs, ours) = (time(|p| p.theirs), time(|p| p.ours));
            let _ = write!(text, "| {rows} | {theirs:.2} | {ours:.2} | {:.2} ", model.ratio(size));
        }
        text.push_str("|\n");
    }
    text.push_str(
        "\n| group | models | median, one row | highest | wanted | median, large batch | highest | wanted |\n\
         |---|---|---|---|---|---|---|---|\n",
    );
    for name in GROUPS.iter().map(|g| g.0).chain([REST]) {
        let members: Vec<&Measured> = measured.iter().filter(|m| group(&m.name) == name).collect();
        if members.is_empty() {
            continue;
        }
        let _ = write!(text, "| {name} | {} ", members.len());
        for size in 0..2 {
            let wanted = GROUPS.iter().find(|g| g.0 == name).map(|g| g.2[size]);
            let wanted = wanted.map_or("-".to_owned(), |w| w.to_string());
            let middle = median(members.iter().map(|m| m.ratio(size)));
            let highest = members.iter().max_by(|a, b| a.ratio(size).total_cmp(&b.ratio(size)));
            let highest =
                highest.map_or(String::new(), |m| format!("{:.2} ({})", m.ratio(size), m.name));
            let _ = write!(text, "| {middle:.2} | {highest} | {wanted} ");
        }
        text.push_str("|\n");
    }
    text.push('\n');
    text
}
