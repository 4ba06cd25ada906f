//! Rows to answer: many, so that no branch predictor learns them.

use weighbridge_config::{Tensor, TensorData};

/// Rows made out of a model's own.
const POOL: usize = 1024;

/// The next of a fixed series of numbers below `below`: the same rows in each run.
fn dice(state: &mut u64, below: usize) -> usize {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) as usize % below
}

/// Puts NaN into `share` of the float elements.
pub(crate) fn with_missing(inputs: Vec<Tensor>, share: f64) -> Vec<Tensor> {
    const STEPS: usize = 1 << 20;
    let mut state = 11;
    let limit = (share * STEPS as f64) as usize;
    let punch = |tensor: Tensor| {
        let (shape, data) = tensor.into_parts();
        let data = match data {
            TensorData::Fp32(mut v) => {
                let hit = |x: &mut f32| {
                    if dice(&mut state, STEPS) < limit {
                        *x = f32::NAN;
                    }
                };
                v.iter_mut().for_each(hit);
                TensorData::Fp32(v)
            }
            other => other,
        };
        Tensor::new(shape, data).expect("as many elements as before")
    };
    inputs.into_iter().map(punch).collect()
}

/// Where the rows of the pool come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// The model's own rows, drawn at random: walks through trees meet again, as do those of
    /// like customers.
    Drawn,
    /// Each feature from another of the model's rows: no two rows are alike, and features that
    /// go together in the data do not.
    Mixed,
}

/// `POOL` rows made out of those of `inputs`. Inputs with more than two axes, which no tree
/// takes, stay as they are.
pub(crate) fn pool(inputs: &[Tensor], source: Source) -> Vec<Tensor> {
    if inputs.iter().any(|t| t.shape().len() > 2) {
        return inputs.to_vec();
    }
    let mut state = 5;
    let rows = inputs.first().map_or(1, Tensor::rows);
    let drawn: Vec<usize> = (0..POOL).map(|_| dice(&mut state, rows)).collect();
    let of = |tensor: &Tensor| {
        let width = tensor.data().len() / rows;
        let mut pick = |i: usize| match source {
            Source::Drawn => drawn[i / width] * width + i % width,
            Source::Mixed => dice(&mut state, rows) * width + i % width,
        };
        gathered(tensor, (0..POOL * width).map(&mut pick).collect())
    };
    inputs.iter().map(of).collect()
}

/// `POOL` rows of the elements at `places`.
fn gathered(tensor: &Tensor, places: Vec<usize>) -> Tensor {
    let mut shape = tensor.shape().to_vec();
    shape[0] = POOL;
    macro_rules! picked {
        ($($kind:ident),*) => {
            match tensor.data() {
                $(TensorData::$kind(v) => {
                    TensorData::$kind(places.iter().map(|i| v[*i].clone()).collect())
                })*
                other => panic!("inputs of {} are not gathered", other.datatype()),
            }
        };
    }
    let data = picked!(Bool, Int32, Int64, Fp32, Fp64, Bytes);
    Tensor::new(shape, data).expect("as many elements as the shape wants")
}

/// The inputs of one call.
pub(crate) struct Batch {
    pub inputs: Vec<Tensor>,
    /// The elements of inputs of text as the other engine's crate takes them; empty for others.
    pub texts: Vec<Vec<String>>,
}

impl Batch {
    pub(crate) fn new(inputs: Vec<Tensor>) -> Self {
        let text = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).into_owned();
        let of = |tensor: &Tensor| match tensor.data() {
            TensorData::Bytes(v) => v.iter().map(text).collect(),
            _ => vec![],
        };
        let texts = inputs.iter().map(of).collect();
        Self { inputs, texts }
    }
}

/// The pool cut into batches, given out in turns.
pub(crate) struct Batches {
    batches: Vec<Batch>,
    next: usize,
}

impl Batches {
    pub(crate) fn new(pool: &[Tensor], rows: usize) -> Self {
        let count = pool.first().map_or(0, Tensor::rows) / rows;
        let cut = |k: usize| {
            Batch::new(pool.iter().map(|t| t.slice_rows(k * rows, (k + 1) * rows)).collect())
        };
        Self { batches: (0..count).map(cut).collect(), next: 0 }
    }

    pub(crate) fn next(&mut self) -> &Batch {
        let batch = &self.batches[self.next];
        self.next = (self.next + 1) % self.batches.len();
        batch
    }

    pub(crate) fn position(&self) -> usize {
        self.next
    }

    pub(crate) fn rewind(&mut self, position: usize) {
        self.next = position;
    }
}
