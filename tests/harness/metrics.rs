//! What `/metrics` says, parsed.

use std::collections::BTreeMap;

/// One line of the exposition: a name, its labels, a value.
#[derive(Debug, Clone)]
pub struct Sample {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

/// All samples of one moment.
#[derive(Debug, Clone)]
pub struct Metrics {
    pub samples: Vec<Sample>,
}

impl Metrics {
    /// Reads Prometheus' text form.
    ///
    /// # Panics
    /// When a line is neither a comment nor a sample.
    pub fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        Self { samples: lines.map(sample).collect() }
    }

    /// The sum of the samples of that name which carry all of `labels`; 0 when there are none.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.of(name, labels).map(|sample| sample.value).sum()
    }

    /// The samples of that name which carry all of `labels`.
    pub fn of<'a>(
        &'a self,
        name: &'a str,
        labels: &'a [(&'a str, &'a str)],
    ) -> impl Iterator<Item = &'a Sample> {
        let carries = |sample: &Sample| {
            labels.iter().all(|(k, v)| sample.labels.get(*k).map(String::as_str) == Some(*v))
        };
        self.samples.iter().filter(move |sample| sample.name == name && carries(sample))
    }

    /// Runs of a model's batches with more than `rows` rows.
    pub fn batches_above(&self, model: &str, rows: u32) -> f64 {
        let edge = rows.to_string();
        let labels = [("model", model), ("le", edge.as_str())];
        let all = self.sum("weighbridge_batch_rows_count", &labels[..1]);
        let edges = self.of("weighbridge_batch_rows_bucket", &labels).count();
        assert!(edges > 0, "{rows} rows are no edge of weighbridge_batch_rows");
        all - self.sum("weighbridge_batch_rows_bucket", &labels)
    }
}

fn sample(line: &str) -> Sample {
    let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no sample: {line}"));
    let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
    // No label of ours holds a comma or an escape.
    let labels = labels.trim_end_matches('}').split(',').filter(|pair| !pair.is_empty());
    let label = |pair: &str| {
        let (key, value) = pair.split_once('=').unwrap_or_else(|| panic!("no label: {pair}"));
        (key.to_owned(), value.trim_matches('"').to_owned())
    };
    let value = value.parse().unwrap_or_else(|_| panic!("no number: {line}"));
    Sample { name: name.to_owned(), labels: labels.map(label).collect(), value }
}
