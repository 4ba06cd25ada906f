//! Datatypes, typed tensors and signatures, in the words of the Open Inference Protocol.
//!
//! Tensors are dense and row-major. Axis 0 of every batchable tensor is the batch: its length
//! is the number of rows of the request.

pub mod compare;
mod compatible;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An element type, named as on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Datatype {
    Bool,
    Uint8,
    Uint16,
    Uint32,
    Uint64,
    Int8,
    Int16,
    Int32,
    Int64,
    Fp16,
    /// The upper 16 bits of an FP32: its range with three digits.
    Bf16,
    Fp32,
    Fp64,
    /// Text or binary strings, one per element.
    Bytes,
}

impl Datatype {
    /// Every datatype, in the order of the protocol's table.
    pub const ALL: [Datatype; 14] = [
        Datatype::Bool,
        Datatype::Uint8,
        Datatype::Uint16,
        Datatype::Uint32,
        Datatype::Uint64,
        Datatype::Int8,
        Datatype::Int16,
        Datatype::Int32,
        Datatype::Int64,
        Datatype::Fp16,
        Datatype::Bf16,
        Datatype::Fp32,
        Datatype::Fp64,
        Datatype::Bytes,
    ];

    /// The name on the wire, such as `FP32`.
    pub fn name(self) -> &'static str {
        match self {
            Datatype::Bool => "BOOL",
            Datatype::Uint8 => "UINT8",
            Datatype::Uint16 => "UINT16",
            Datatype::Uint32 => "UINT32",
            Datatype::Uint64 => "UINT64",
            Datatype::Int8 => "INT8",
            Datatype::Int16 => "INT16",
            Datatype::Int32 => "INT32",
            Datatype::Int64 => "INT64",
            Datatype::Fp16 => "FP16",
            Datatype::Bf16 => "BF16",
            Datatype::Fp32 => "FP32",
            Datatype::Fp64 => "FP64",
            Datatype::Bytes => "BYTES",
        }
    }

    /// The bytes of one element; `None` for BYTES, whose elements differ in length.
    pub fn size(self) -> Option<usize> {
        Some(match self {
            Datatype::Bool | Datatype::Uint8 | Datatype::Int8 => 1,
            Datatype::Uint16 | Datatype::Int16 | Datatype::Fp16 | Datatype::Bf16 => 2,
            Datatype::Uint32 | Datatype::Int32 | Datatype::Fp32 => 4,
            Datatype::Uint64 | Datatype::Int64 | Datatype::Fp64 => 8,
            Datatype::Bytes => return None,
        })
    }
}

impl fmt::Display for Datatype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A datatype name that the protocol does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{0}\" is not a datatype: wanted one of BOOL, UINT8, UINT16, UINT32, UINT64, INT8, INT16, INT32, INT64, FP16, BF16, FP32, FP64, BYTES"
)]
pub struct UnknownDatatype(pub String);

impl FromStr for Datatype {
    type Err = UnknownDatatype;

    fn from_str(text: &str) -> Result<Self, UnknownDatatype> {
        Self::ALL
            .into_iter()
            .find(|d| d.name() == text)
            .ok_or_else(|| UnknownDatatype(text.chars().take(40).collect()))
    }
}

/// The elements of a tensor in row-major order. `Fp16` holds the raw IEEE 754 half bits, `Bf16`
/// the upper 16 bits of an FP32.
#[derive(Debug, Clone, PartialEq)]
pub enum TensorData {
    Bool(Vec<bool>),
    Uint8(Vec<u8>),
    Uint16(Vec<u16>),
    Uint32(Vec<u32>),
    Uint64(Vec<u64>),
    Int8(Vec<i8>),
    Int16(Vec<i16>),
    Int32(Vec<i32>),
    Int64(Vec<i64>),
    Fp16(Vec<u16>),
    Bf16(Vec<u16>),
    Fp32(Vec<f32>),
    Fp64(Vec<f64>),
    Bytes(Vec<Vec<u8>>),
}

/// Runs `$body` with `$v` bound to the elements, whatever their type.
#[macro_export]
macro_rules! with_elements {
    ($data:expr, $v:ident => $body:expr) => {
        match $data {
            $crate::TensorData::Bool($v) => $body,
            $crate::TensorData::Uint8($v) => $body,
            $crate::TensorData::Uint16($v) => $body,
            $crate::TensorData::Uint32($v) => $body,
            $crate::TensorData::Uint64($v) => $body,
            $crate::TensorData::Int8($v) => $body,
            $crate::TensorData::Int16($v) => $body,
            $crate::TensorData::Int32($v) => $body,
            $crate::TensorData::Int64($v) => $body,
            $crate::TensorData::Fp16($v) => $body,
            $crate::TensorData::Bf16($v) => $body,
            $crate::TensorData::Fp32($v) => $body,
            $crate::TensorData::Fp64($v) => $body,
            $crate::TensorData::Bytes($v) => $body,
        }
    };
}

/// What an element of BYTES takes besides its bytes: where and how long it is, and what the allocator
/// adds.
pub const ROOM_OF_A_TEXT: usize = 40;

impl TensorData {
    /// An empty buffer of `datatype` with room for `capacity` elements.
    pub fn with_capacity(datatype: Datatype, capacity: usize) -> Self {
        match datatype {
            Datatype::Bool => Self::Bool(Vec::with_capacity(capacity)),
            Datatype::Uint8 => Self::Uint8(Vec::with_capacity(capacity)),
            Datatype::Uint16 => Self::Uint16(Vec::with_capacity(capacity)),
            Datatype::Uint32 => Self::Uint32(Vec::with_capacity(capacity)),
            Datatype::Uint64 => Self::Uint64(Vec::with_capacity(capacity)),
            Datatype::Int8 => Self::Int8(Vec::with_capacity(capacity)),
            Datatype::Int16 => Self::Int16(Vec::with_capacity(capacity)),
            Datatype::Int32 => Self::Int32(Vec::with_capacity(capacity)),
            Datatype::Int64 => Self::Int64(Vec::with_capacity(capacity)),
            Datatype::Fp16 => Self::Fp16(Vec::with_capacity(capacity)),
            Datatype::Bf16 => Self::Bf16(Vec::with_capacity(capacity)),
            Datatype::Fp32 => Self::Fp32(Vec::with_capacity(capacity)),
            Datatype::Fp64 => Self::Fp64(Vec::with_capacity(capacity)),
            Datatype::Bytes => Self::Bytes(Vec::with_capacity(capacity)),
        }
    }

    /// The type of the elements.
    pub fn datatype(&self) -> Datatype {
        match self {
            Self::Bool(_) => Datatype::Bool,
            Self::Uint8(_) => Datatype::Uint8,
            Self::Uint16(_) => Datatype::Uint16,
            Self::Uint32(_) => Datatype::Uint32,
            Self::Uint64(_) => Datatype::Uint64,
            Self::Int8(_) => Datatype::Int8,
            Self::Int16(_) => Datatype::Int16,
            Self::Int32(_) => Datatype::Int32,
            Self::Int64(_) => Datatype::Int64,
            Self::Fp16(_) => Datatype::Fp16,
            Self::Bf16(_) => Datatype::Bf16,
            Self::Fp32(_) => Datatype::Fp32,
            Self::Fp64(_) => Datatype::Fp64,
            Self::Bytes(_) => Datatype::Bytes,
        }
    }

    /// The memory that the elements take, in bytes.
    pub fn memory(&self) -> usize {
        match self {
            Self::Bytes(texts) => texts.iter().map(|text| text.len() + ROOM_OF_A_TEXT).sum(),
            data => data.len() * data.datatype().size().unwrap_or(1),
        }
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        with_elements!(self, v => v.len())
    }

    /// True when there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A copy of the elements `from..to`; the range must lie inside the buffer.
    fn range(&self, from: usize, to: usize) -> Self {
        macro_rules! copy {
            ($($kind:ident),*) => {
                match self { $(Self::$kind(v) => Self::$kind(v[from..to].to_vec()),)* }
            };
        }
        copy!(
            Bool, Uint8, Uint16, Uint32, Uint64, Int8, Int16, Int32, Int64, Fp16, Bf16, Fp32, Fp64,
            Bytes
        )
    }

    /// Appends the elements of `other`; false when the datatypes differ.
    #[must_use]
    fn append(&mut self, other: Self) -> bool {
        macro_rules! join {
            ($($kind:ident),*) => {
                match (self, other) {
                    $((Self::$kind(a), Self::$kind(mut b)) => a.append(&mut b),)*
                    _ => return false,
                }
            };
        }
        join!(
            Bool, Uint8, Uint16, Uint32, Uint64, Int8, Int16, Int32, Int64, Fp16, Bf16, Fp32, Fp64,
            Bytes
        );
        true
    }
}

/// A dense tensor whose element count equals the product of its shape.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    shape: Vec<usize>,
    data: TensorData,
}

/// Why a shape and a buffer do not make a tensor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ShapeMismatch {
    #[error("shape {shape:?} wants {wanted} elements, {got} came")]
    Count { shape: Vec<usize>, wanted: usize, got: usize },
    #[error("shape {shape:?} holds more elements than can be counted")]
    Overflow { shape: Vec<usize> },
    #[error("tensors of different datatype or row shape cannot be joined")]
    Unlike,
}

impl Tensor {
    /// Joins `shape` and `data`, checking that the counts agree.
    pub fn new(shape: Vec<usize>, data: TensorData) -> Result<Self, ShapeMismatch> {
        let Some(wanted) = element_count(&shape) else {
            return Err(ShapeMismatch::Overflow { shape });
        };
        if wanted != data.len() {
            let got = data.len();
            return Err(ShapeMismatch::Count { shape, wanted, got });
        }
        Ok(Self { shape, data })
    }

    /// The lengths of the axes, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The elements, row-major.
    pub fn data(&self) -> &TensorData {
        &self.data
    }

    /// Shape and elements, without a copy.
    pub fn into_parts(self) -> (Vec<usize>, TensorData) {
        (self.shape, self.data)
    }

    /// The type of the elements.
    pub fn datatype(&self) -> Datatype {
        self.data.datatype()
    }

    /// The length of axis 0; 1 for a scalar.
    pub fn rows(&self) -> usize {
        self.shape.first().copied().unwrap_or(1)
    }

    /// A copy of the rows `from..to` of axis 0, clamped to the tensor.
    pub fn slice_rows(&self, from: usize, to: usize) -> Self {
        let rows = self.rows();
        let (from, to) = (from.min(rows), to.min(rows));
        let per_row = self.data.len().checked_div(rows).unwrap_or(0);
        let mut shape = self.shape.clone();
        if let Some(first) = shape.first_mut() {
            *first = to.saturating_sub(from);
        }
        let data = self.data.range(from * per_row, to.max(from) * per_row);
        Self { shape, data }
    }

    /// Appends the rows of `other`, which must have the same datatype and row shape.
    pub fn append_rows(&mut self, other: Self) -> Result<(), ShapeMismatch> {
        let alike = !self.shape.is_empty()
            && self.shape.len() == other.shape.len()
            && self.shape[1..] == other.shape[1..];
        if !alike {
            return Err(ShapeMismatch::Unlike);
        }
        let more = other.shape[0];
        if !self.data.append(other.data) {
            return Err(ShapeMismatch::Unlike);
        }
        self.shape[0] += more;
        Ok(())
    }
}

/// The product of a shape, or `None` when it overflows.
pub fn element_count(shape: &[usize]) -> Option<usize> {
    // A zero anywhere makes the tensor empty, whatever the other axes say.
    if shape.contains(&0) {
        return Some(0);
    }
    shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d))
}

/// What a model wants or gives under one name. `-1` stands for any length; it is the batch on
/// axis 0 of a batchable model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TensorSpec {
    pub name: String,
    pub datatype: Datatype,
    pub shape: Vec<i64>,
    /// The class names behind the columns of a probability output, or behind the numbers of a
    /// label output, when the model carries them (ZipMap, class labels).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
}

/// The inputs and outputs of a version, in the model's order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Signature {
    pub inputs: Vec<TensorSpec>,
    pub outputs: Vec<TensorSpec>,
    /// True when axis 0 of every input and output is the batch and rows are independent, so
    /// that rows of different requests may share a run.
    pub batchable: bool,
}

impl Signature {
    /// The position of an input by name.
    pub fn input_index(&self, name: &str) -> Option<usize> {
        self.inputs.iter().position(|t| t.name == name)
    }

    /// The position of an output by name.
    pub fn output_index(&self, name: &str) -> Option<usize> {
        self.outputs.iter().position(|t| t.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn f32s(shape: &[usize]) -> Tensor {
        let n = shape.iter().product::<usize>();
        let data = TensorData::Fp32((0..n).map(|i| i as f32).collect());
        Tensor::new(shape.to_vec(), data).unwrap()
    }

    #[test]
    fn names_and_datatypes_agree_both_ways() {
        for datatype in Datatype::ALL {
            assert_eq!(datatype.name().parse(), Ok(datatype));
            let empty = TensorData::with_capacity(datatype, 4);
            assert_eq!(empty.datatype(), datatype);
            assert!(empty.is_empty());
            let json = serde_json::to_string(&datatype).unwrap();
            assert_eq!(json, format!("\"{datatype}\""));
        }
        assert!("fp32".parse::<Datatype>().is_err());
    }

    #[test]
    fn counts_must_agree_with_the_shape() {
        let data = TensorData::Int64(vec![1, 2, 3]);
        assert_eq!(
            Tensor::new(vec![2, 2], data.clone()),
            Err(ShapeMismatch::Count { shape: vec![2, 2], wanted: 4, got: 3 })
        );
        assert!(matches!(
            Tensor::new(vec![usize::MAX, 2], data),
            Err(ShapeMismatch::Overflow { .. })
        ));
        assert!(Tensor::new(vec![0, usize::MAX, 2], TensorData::Int64(vec![])).is_ok());
    }

    #[test]
    fn slices_put_together_give_the_whole() {
        let whole = f32s(&[5, 2, 3]);
        let mut joined = whole.slice_rows(0, 2);
        joined.append_rows(whole.slice_rows(2, 5)).unwrap();
        assert_eq!(joined, whole);
        assert_eq!(whole.slice_rows(4, 99).shape(), [1, 2, 3]);
        assert_eq!(whole.slice_rows(7, 9).shape(), [0, 2, 3]);
    }

    #[test]
    fn unlike_tensors_are_not_joined() {
        let mut a = f32s(&[1, 2]);
        assert_eq!(a.append_rows(f32s(&[1, 3])), Err(ShapeMismatch::Unlike));
        let ints = Tensor::new(vec![1, 2], TensorData::Int64(vec![1, 2])).unwrap();
        assert_eq!(a.append_rows(ints), Err(ShapeMismatch::Unlike));
    }
}
