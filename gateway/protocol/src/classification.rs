//! The best classes of an output in place of all its values: the classification extension.

use std::cmp::Ordering;

use weighbridge_config::{Tensor, TensorData};

use crate::error::BadRequest;
use crate::write::{brain_to_f32, half_to_f32};

/// Larger outputs are no classes.
const MOST_ELEMENTS: usize = 1_000_000;

/// The `n` highest values of each row as BYTES of the shape `[batch, n]`, `[n]` when the tensor
/// is not `batched`; of fewer classes than `n`, all.
///
/// An element is `value:index` or, for a class that has one, `value:index:label`: highest first,
/// NaN last, equals by index. Floats have six decimals, as in C's `%f`.
///
/// # Errors
/// A tensor of more than 1,000,000 elements, or of BOOL or BYTES.
pub fn top(
    tensor: &Tensor,
    n: u32,
    labels: &[String],
    batched: bool,
) -> Result<Tensor, BadRequest> {
    let elements = tensor.data().len();
    if elements > MOST_ELEMENTS {
        return Err(BadRequest(format!(
            "classification: the output has {elements} elements, wanted at most {MOST_ELEMENTS}"
        )));
    }
    // Without elements there is nothing to choose from, whatever axis 0 says.
    let rows = if batched { tensor.rows().min(elements) } else { 1 };
    let classes = elements.checked_div(rows).unwrap_or(0);
    let kept = usize::try_from(n).map_or(classes, |n| n.min(classes));
    let pick = Pick { classes, kept, labels };
    let texts = match tensor.data() {
        TensorData::Uint8(v) => pick.whole(v),
        TensorData::Uint16(v) => pick.whole(v),
        TensorData::Uint32(v) => pick.whole(v),
        TensorData::Uint64(v) => pick.whole(v),
        TensorData::Int8(v) => pick.whole(v),
        TensorData::Int16(v) => pick.whole(v),
        TensorData::Int32(v) => pick.whole(v),
        TensorData::Int64(v) => pick.whole(v),
        TensorData::Fp16(v) => pick.floats(v, |bits| f64::from(half_to_f32(bits))),
        TensorData::Bf16(v) => pick.floats(v, |bits| f64::from(brain_to_f32(bits))),
        TensorData::Fp32(v) => pick.floats(v, f64::from),
        TensorData::Fp64(v) => pick.floats(v, |x| x),
        TensorData::Bool(_) | TensorData::Bytes(_) => {
            let came = tensor.datatype();
            return Err(BadRequest(format!(
                "classification: the output is {came}, wanted numbers to order"
            )));
        }
    };
    let shape = if batched { vec![rows, kept] } else { vec![kept] };
    Tensor::new(shape, TensorData::Bytes(texts))
        .map_err(|e| BadRequest(format!("classification: {e}")))
}

/// What each row is cut down to.
struct Pick<'a> {
    classes: usize,
    kept: usize,
    labels: &'a [String],
}

impl Pick<'_> {
    fn whole<T: Copy + Ord + ToString>(&self, values: &[T]) -> Vec<Vec<u8>> {
        self.texts(values, |x| x, |a, b| b.cmp(a), T::to_string)
    }

    fn floats<T: Copy>(&self, values: &[T], widen: impl Fn(T) -> f64) -> Vec<Vec<u8>> {
        let order = |a: &f64, b: &f64| match (a.is_nan(), b.is_nan()) {
            (false, false) => b.partial_cmp(a).unwrap_or(Ordering::Equal),
            (a_is_nan, b_is_nan) => a_is_nan.cmp(&b_is_nan),
        };
        let text = |x: &f64| if x.is_nan() { "nan".to_owned() } else { format!("{x:.6}") };
        self.texts(values, widen, order, text)
    }

    fn texts<T: Copy, N>(
        &self,
        values: &[T],
        number: impl Fn(T) -> N,
        order: impl Fn(&N, &N) -> Ordering,
        text: impl Fn(&N) -> String,
    ) -> Vec<Vec<u8>> {
        if self.kept == 0 {
            return Vec::new();
        }
        let mut texts = Vec::with_capacity(values.len() / self.classes * self.kept);
        for row in values.chunks_exact(self.classes) {
            let mut ranked: Vec<(usize, N)> = row.iter().map(|x| number(*x)).enumerate().collect();
            let by_rank =
                |(i, a): &(usize, N), (j, b): &(usize, N)| order(a, b).then_with(|| i.cmp(j));
            if self.kept < ranked.len() {
                ranked.select_nth_unstable_by(self.kept, by_rank);
                ranked.truncate(self.kept);
            }
            ranked.sort_unstable_by(by_rank);
            for (index, value) in &ranked {
                let label = self.labels.get(*index).filter(|label| !label.is_empty());
                let label = label.map_or(String::new(), |label| format!(":{label}"));
                texts.push(format!("{}:{index}{label}", text(value)).into_bytes());
            }
        }
        texts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(tensor: &Tensor) -> Vec<&str> {
        let TensorData::Bytes(texts) = tensor.data() else { panic!("wanted BYTES") };
        texts.iter().map(|text| std::str::from_utf8(text).unwrap()).collect()
    }

    fn tensor(shape: &[usize], data: TensorData) -> Tensor {
        Tensor::new(shape.to_vec(), data).unwrap()
    }

    #[test]
    fn the_highest_come_first_and_nan_last() {
        let nan = f32::NAN;
        let scores = TensorData::Fp32(vec![1.1, nan, 3.3, 3.3, f32::INFINITY, nan, -0.5, 2.0]);
        let scores = tensor(&[2, 4], scores);
        let best = top(&scores, 3, &[], true).unwrap();
        assert_eq!(best.shape(), [2, 3]);
        let wanted =
            ["3.300000:2", "3.300000:3", "1.100000:0", "inf:0", "2.000000:3", "-0.500000:2"];
        assert_eq!(texts(&best), wanted);
        let all = top(&scores, 99, &[], true).unwrap();
        assert_eq!((all.shape(), texts(&all)[3]), (&[2, 4][..], "nan:1"));
        let whole = top(&scores, 1, &[], false).unwrap();
        assert_eq!((whole.shape(), texts(&whole)), (&[1][..], vec!["inf:4"]));
    }

    #[test]
    fn classes_carry_their_labels() {
        let labels = ["no".to_owned(), String::new()];
        let best = top(&tensor(&[3], TensorData::Fp64(vec![0.2, 0.5, 0.3])), 3, &labels, false);
        assert_eq!(texts(&best.unwrap()), ["0.500000:1", "0.300000:2", "0.200000:0:no"]);
    }

    #[test]
    fn every_number_can_be_ordered() {
        let table = [
            (TensorData::Uint8(vec![1, 255]), "255:1"),
            (TensorData::Uint16(vec![1, 65535]), "65535:1"),
            (TensorData::Uint32(vec![1, 2]), "2:1"),
            (TensorData::Uint64(vec![u64::MAX - 1, u64::MAX]), "18446744073709551615:1"),
            (TensorData::Int8(vec![1, -1]), "1:0"),
            (TensorData::Int16(vec![-2, -1]), "-1:1"),
            (TensorData::Int32(vec![-2, -1]), "-1:1"),
            (TensorData::Int64(vec![-2, -1]), "-1:1"),
            (TensorData::Fp16(vec![0x3c00, 0xc000]), "1.000000:0"),
            (TensorData::Bf16(vec![0x3f80, 0x4049]), "3.140625:1"),
        ];
        for (data, wanted) in table {
            let best = top(&tensor(&[1, 2], data), 1, &[], true).unwrap();
            assert_eq!((best.shape(), texts(&best)), (&[1, 1][..], vec![wanted]));
        }
    }

    #[test]
    fn what_has_no_order_or_too_many_elements_is_refused() {
        for data in [TensorData::Bool(vec![true]), TensorData::Bytes(vec![vec![]])] {
            let error = top(&tensor(&[1], data), 1, &[], false).unwrap_err().0;
            assert!(error.contains("wanted numbers to order"), "{error}");
        }
        let wide = tensor(&[1, 1_000_001], TensorData::Int8(vec![0; 1_000_001]));
        let error = top(&wide, 1, &[], true).unwrap_err().0;
        assert!(error.contains("1000001 elements, wanted at most 1000000"), "{error}");
    }

    #[test]
    fn a_tensor_without_elements_has_no_classes() {
        for shape in [[0, 3], [3, 0], [usize::MAX, 0]] {
            let none = tensor(&shape, TensorData::Fp32(vec![]));
            assert!(top(&none, 2, &[], true).unwrap().data().is_empty());
            assert!(top(&none, 2, &[], false).unwrap().data().is_empty());
        }
        assert_eq!(
            top(&tensor(&[], TensorData::Int8(vec![7])), 2, &[], true).unwrap().shape(),
            [1, 1]
        );
    }
}
