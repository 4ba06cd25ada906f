//! Plans for fixed numbers of rows, beside or in place of the one for any number.

use std::sync::Arc;

use weighbridge_config::{Signature, Tensor};

use super::{Run, rows_of};
use crate::error::{Error, ErrorKind};

/// A plan for a fixed number of rows.
pub(crate) type Sized = (usize, Arc<dyn Run>);

/// A plan for any number of rows, and faster ones for some numbers.
#[derive(Debug)]
pub(crate) struct WithFaster {
    pub any: Arc<dyn Run>,
    pub faster: Vec<Sized>,
}

impl Run for WithFaster {
    fn run(&self, signature: &Signature, parts: &[&[Tensor]]) -> Result<Vec<Vec<Tensor>>, Error> {
        let total: usize = rows_of(parts).iter().sum();
        let fitting = self.faster.iter().find(|(rows, _)| *rows == total);
        fitting.map_or(&self.any, |(_, plan)| plan).run(signature, parts)
    }
}

/// Plans for a few numbers of rows, for a model that has none for any number. Rows are padded
/// with copies of the last one to the next number there is, and more rows than the largest one
/// are run in turns: the rows of such a model do not influence each other.
#[derive(Debug)]
pub(crate) struct BySize {
    /// Ascending; the first is for one row.
    plans: Vec<Sized>,
}

impl BySize {
    /// `plans` in ascending order, the first of them for one row.
    pub(crate) fn new(plans: Vec<Sized>) -> Self {
        Self { plans }
    }

    /// The smallest plan that takes `rows`, else the largest.
    fn fitting(&self, rows: usize) -> Result<&Sized, Error> {
        let fitting = self.plans.iter().find(|(size, _)| *size >= rows);
        let none = || Error::new(ErrorKind::Run, "running the model: it has no plan");
        fitting.or(self.plans.last()).ok_or_else(none)
    }

    /// Runs `rows` whole rows of one request after another.
    fn run_joined(&self, signature: &Signature, joined: &[Tensor]) -> Result<Vec<Tensor>, Error> {
        let rows = joined.first().map_or(0, Tensor::rows);
        let mut answer: Option<Vec<Tensor>> = None;
        let mut from = 0;
        while from < rows {
            let (size, plan) = self.fitting(rows - from)?;
            let to = rows.min(from + size);
            let piece = joined.iter().map(|t| padded(t, from, to, *size));
            let piece = piece.collect::<Result<Vec<_>, Error>>()?;
            let outputs = plan.run(signature, &[&piece])?.into_iter().next().unwrap_or_default();
            let outputs = outputs.iter().map(|t| t.slice_rows(0, to - from));
            match &mut answer {
                None => answer = Some(outputs.collect()),
                Some(whole) => {
                    for (whole, more) in whole.iter_mut().zip(outputs) {
                        whole.append_rows(more).map_err(unlike)?;
                    }
                }
            }
            from = to;
        }
        Ok(answer.unwrap_or_default())
    }
}

impl Run for BySize {
    fn run(&self, signature: &Signature, parts: &[&[Tensor]]) -> Result<Vec<Vec<Tensor>>, Error> {
        let rows = rows_of(parts);
        let total: usize = rows.iter().sum();
        if total == 0 {
            let detail = "running the model: no rows came, and it has no plan for none";
            return Err(Error::new(ErrorKind::Run, detail));
        }
        let mut joined: Vec<Tensor> = Vec::new();
        for part in parts {
            if joined.is_empty() {
                joined = part.to_vec();
                continue;
            }
            for (whole, more) in joined.iter_mut().zip(*part) {
                whole.append_rows(more.clone()).map_err(unlike)?;
            }
        }
        let outputs = self.run_joined(signature, &joined)?;
        let mut from = 0;
        let cut = rows.iter().map(|rows| {
            from += rows;
            outputs.iter().map(|output| output.slice_rows(from - rows, from)).collect()
        });
        Ok(cut.collect())
    }
}

/// The rows `from..to`, and the last of them again until there are `size`.
fn padded(tensor: &Tensor, from: usize, to: usize, size: usize) -> Result<Tensor, Error> {
    let mut rows = tensor.slice_rows(from, to);
    for _ in to - from..size {
        rows.append_rows(tensor.slice_rows(to - 1, to)).map_err(unlike)?;
    }
    Ok(rows)
}

fn unlike(cause: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Run, format!("running the model: rows cannot be joined: {cause}"))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use weighbridge_config::{Datatype, TensorData, TensorSpec};

    use super::*;

    /// Answers its input, and remembers how many rows came.
    #[derive(Debug, Default)]
    struct Echo(Mutex<Vec<usize>>);

    impl Run for Echo {
        fn run(&self, _: &Signature, parts: &[&[Tensor]]) -> Result<Vec<Vec<Tensor>>, Error> {
            self.0.lock().unwrap().push(rows_of(parts).iter().sum());
            Ok(parts.iter().map(|part| part.to_vec()).collect())
        }
    }

    fn signature() -> Signature {
        let spec = |name: &str| TensorSpec {
            name: name.into(),
            datatype: Datatype::Int64,
            shape: vec![-1, 1],
            labels: vec![],
        };
        Signature { inputs: vec![spec("x")], outputs: vec![spec("y")], batchable: true }
    }

    fn column(values: std::ops::Range<i64>) -> Vec<Tensor> {
        let data: Vec<i64> = values.collect();
        vec![Tensor::new(vec![data.len(), 1], TensorData::Int64(data)).unwrap()]
    }

    #[test]
    fn rows_are_padded_run_in_turns_and_given_back_to_their_callers() {
        let echoes = [1, 2, 4].map(|size| (size, Arc::new(Echo::default())));
        let plans = echoes.iter().map(|(size, echo)| (*size, Arc::clone(echo) as Arc<dyn Run>));
        let by_size = BySize::new(plans.collect());
        for parts in [vec![1], vec![3], vec![2, 0, 1], vec![4, 4, 4], vec![5, 1]] {
            let mut next = 0;
            let inputs: Vec<Vec<Tensor>> = parts
                .iter()
                .map(|rows| {
                    next += rows;
                    column(next - rows..next)
                })
                .collect();
            let asked: Vec<&[Tensor]> = inputs.iter().map(Vec::as_slice).collect();
            assert_eq!(by_size.run(&signature(), &asked).unwrap(), inputs, "{parts:?}");
        }
        for (size, echo) in &echoes {
            let seen = echo.0.lock().unwrap();
            assert!(!seen.is_empty() && seen.iter().all(|rows| rows == size), "{size}: {seen:?}");
        }
        assert!(by_size.run(&signature(), &[&column(0..0)]).is_err());
    }

    #[test]
    fn the_plan_for_the_very_number_of_rows_runs() {
        let (any, two) = (Arc::new(Echo::default()), Arc::new(Echo::default()));
        let plans = WithFaster { any: any.clone(), faster: vec![(2, two.clone())] };
        for parts in [vec![1], vec![1, 1], vec![2], vec![2, 1]] {
            let inputs: Vec<Vec<Tensor>> = parts.iter().map(|rows| column(0..*rows)).collect();
            let asked: Vec<&[Tensor]> = inputs.iter().map(Vec::as_slice).collect();
            assert_eq!(plans.run(&signature(), &asked).unwrap(), inputs);
        }
        assert_eq!(*two.0.lock().unwrap(), [2, 2]);
        assert_eq!(*any.0.lock().unwrap(), [1, 3]);
    }
}
