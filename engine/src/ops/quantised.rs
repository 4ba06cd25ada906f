//! QuantizeLinear, DequantizeLinear, and both in a row as one operator.
//!
//! The runtime's own are rewritten by its optimiser into integer types, which gives wrong answers
//! where Softmax follows, and slow ones elsewhere. These are left alone by it. Rounding is half to
//! even and saturates, in float32, as in ONNX Runtime. Blocked quantisation, float8 and the
//! four-bit types are not served.

mod steps;

use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;

use super::kernel::{Fact, Kernel, filled, values};
use steps::to_steps;
pub(super) use steps::{ROUNDER, Steps};

/// What a node does to its first input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Quantise,
    Dequantise,
    Both,
}

#[derive(Debug, Clone)]
struct Quantised {
    role: Role,
    axis: i64,
    has_zero_point: bool,
    /// What `output_dtype` of QuantizeLinear says where there is no zero point.
    integers: DatumType,
}

pub(super) fn read_quantise(node: &NodeProto) -> TractResult<Box<dyn Kernel>> {
    read(node, Role::Quantise)
}

pub(super) fn read_dequantise(node: &NodeProto) -> TractResult<Box<dyn Kernel>> {
    read(node, Role::Dequantise)
}

pub(super) fn read_both(node: &NodeProto) -> TractResult<Box<dyn Kernel>> {
    read(node, Role::Both)
}

fn read(node: &NodeProto, role: Role) -> TractResult<Box<dyn Kernel>> {
    let number = |name: &str, default: i64| -> TractResult<i64> {
        Ok(node.get_attr_opt::<i64>(name)?.unwrap_or(default))
    };
    ensure!(number("block_size", 0)? == 0, "quantisation in blocks is not served");
    use tract_onnx::pb::tensor_proto::DataType;
    let integers = match number("output_dtype", 0)? {
        0 => DatumType::U8,
        code => {
            let code = DataType::try_from(i32::try_from(code)?)?;
            if role == Role::Quantise { DatumType::try_from(code)? } else { DatumType::U8 }
        }
    };
    let has_zero_point = node.input.get(2).is_some_and(|name| !name.is_empty());
    Ok(Box::new(Quantised { role, axis: number("axis", 1)?, has_zero_point, integers }))
}

/// The range of a type that floats are quantised to.
fn range(dt: DatumType) -> TractResult<(f32, f32)> {
    Ok(match dt {
        DatumType::U8 => (0.0, 255.0),
        DatumType::I8 => (-128.0, 127.0),
        DatumType::U16 => (0.0, 65535.0),
        DatumType::I16 => (-32768.0, 32767.0),
        other => bail!("quantising to {other:?} is not served"),
    })
}

impl Kernel for Quantised {
    fn name(&self) -> &'static str {
        match self.role {
            Role::Quantise => "QuantizeLinear",
            Role::Dequantise => "DequantizeLinear",
            Role::Both => crate::rewrite::JOINED,
        }
    }

    fn input_count(&self) -> usize {
        2 + usize::from(self.has_zero_point)
    }

    fn facts(&self, inputs: &[Fact]) -> TractResult<Vec<Fact>> {
        let ((dt, shape), (scale, _)) = (&inputs[0], &inputs[1]);
        ensure!(matches!(scale, DatumType::F32 | DatumType::F16), "scales of {scale:?}");
        let steps = inputs.get(2).map_or(self.integers, |(dt, _)| *dt);
        let out = match self.role {
            Role::Quantise | Role::Both => {
                let is_number = dt.is_float() || *dt == DatumType::I32;
                ensure!(is_number, "an input of {dt:?}, floats are needed");
                range(steps)?;
                if self.role == Role::Both { *scale } else { steps }
            }
            Role::Dequantise => {
                ensure!(range(*dt).is_ok() || *dt == DatumType::I32, "an input of {dt:?}");
                *scale
            }
        };
        Ok(vec![(out, shape.clone())])
    }

    fn eval(&self, inputs: &[&Tensor]) -> TractResult<Vec<Tensor>> {
        let (input, scale) = (inputs[0], inputs[1].cast_to::<f32>()?);
        let spans = Spans::of(input.shape(), &scale, self.axis)?;
        let scales = values::<f32>(&scale)?;
        let (steps, zeros) = match inputs.get(2) {
            None => (self.integers, vec![0.0; scales.len()]),
            Some(zeros) => {
                ensure!(
                    zeros.len() == scales.len(),
                    "{} scales and {} zero points",
                    scales.len(),
                    zeros.len()
                );
                // Not through a cast of a quantised type, which would apply its own scale.
                let plain = zeros.cast_to::<i32>()?;
                let zeros = values::<i32>(&plain)?.iter().map(|z| *z as f32).collect();
                (inputs[2].datum_type().unquantized(), zeros)
            }
        };
        let grid = Grid { spans, scales, zeros: &zeros };
        let output = match self.role {
            Role::Quantise => {
                let input = input.cast_to::<f32>()?;
                grid.quantise(values::<f32>(&input)?, steps, input.shape())?
            }
            Role::Dequantise => grid.dequantise(input)?,
            Role::Both => {
                let input = input.cast_to::<f32>()?;
                let (low, high) = range(steps)?;
                let steps: Vec<Steps> = grid.steps(low, high).collect();
                round(values::<f32>(&input)?, spans, &steps, input.shape())?
            }
        };
        match self.role {
            Role::Quantise => Ok(vec![output]),
            _ => Ok(vec![output.cast_to_dt(inputs[1].datum_type())?.into_owned()]),
        }
    }

    fn rounds_to(&self, constants: &[Option<Arc<Tensor>>]) -> TractResult<Option<Vec<Steps>>> {
        let (Role::Both, [None, Some(scale), Some(zero)]) = (self.role, constants) else {
            return Ok(None);
        };
        if scale.datum_type() != DatumType::F32 || scale.len() != zero.len() {
            return Ok(None);
        }
        let (low, high) = range(zero.datum_type().unquantized())?;
        let zeros = zero.cast_to::<i32>()?;
        let pairs = values::<f32>(scale)?.iter().zip(values::<i32>(&zeros)?);
        let steps = pairs.map(|(scale, zero)| {
            let zero = *zero as f32;
            Steps::new(*scale, low - zero, high - zero)
        });
        Ok(Some(steps.collect()))
    }

    fn prepared(&self, constants: &[Option<Arc<Tensor>>]) -> TractResult<Option<Box<dyn Kernel>>> {
        let Some(steps) = self.rounds_to(constants)? else { return Ok(None) };
        let Some(scale) = constants[1].clone() else { return Ok(None) };
        Ok(Some(Box::new(Rounding { scale, axis: self.axis, steps })))
    }
}

/// [`Role::Both`] with constant scales and zero points.
#[derive(Debug)]
struct Rounding {
    scale: Arc<Tensor>,
    axis: i64,
    steps: Vec<Steps>,
}

impl Kernel for Rounding {
    fn name(&self) -> &'static str {
        crate::rewrite::JOINED
    }

    /// The scale and the zero point are still inputs of the node.
    fn input_count(&self) -> usize {
        3
    }

    fn facts(&self, inputs: &[Fact]) -> TractResult<Vec<Fact>> {
        Ok(vec![(DatumType::F32, inputs[0].1.clone())])
    }

    fn eval(&self, inputs: &[&Tensor]) -> TractResult<Vec<Tensor>> {
        let spans = Spans::of(inputs[0].shape(), &self.scale, self.axis)?;
        let input = inputs[0].cast_to::<f32>()?;
        Ok(vec![round(values::<f32>(&input)?, spans, &self.steps, input.shape())?])
    }
}

/// How values and scales belong together: `length` values in a row share a scale, and after
/// `count` scales it begins anew.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Spans {
    length: usize,
    count: usize,
}

impl Spans {
    fn of(shape: &[usize], scale: &Tensor, axis: i64) -> TractResult<Self> {
        if scale.len() == 1 {
            return Ok(Self { length: shape.iter().product(), count: 1 });
        }
        let rank = shape.len() as i64;
        let axis = if axis < 0 { axis + rank } else { axis };
        ensure!((0..rank).contains(&axis), "axis {axis} of an input of {rank} axes");
        let axis = axis as usize;
        ensure!(
            scale.rank() == 1 && scale.len() == shape[axis],
            "scales of shape {:?} for axis {axis} of an input of shape {shape:?}",
            scale.shape()
        );
        Ok(Self { length: shape[axis + 1..].iter().product(), count: scale.len() })
    }
}

struct Grid<'a> {
    spans: Spans,
    scales: &'a [f32],
    zeros: &'a [f32],
}

/// Each value of `input` to the nearest of its steps.
fn round(input: &[f32], spans: Spans, steps: &[Steps], shape: &[usize]) -> TractResult<Tensor> {
    filled::<f32>(shape, |output| {
        let length = spans.length.max(1);
        let parts = input.chunks(length).zip(output.chunks_mut(length));
        for (index, (input, output)) in parts.enumerate() {
            steps[index % spans.count].round(input, output);
        }
        Ok(())
    })
}

impl Grid<'_> {
    /// The steps between `low` and `high` of each scale.
    fn steps(&self, low: f32, high: f32) -> impl Iterator<Item = Steps> + '_ {
        let of_one = move |(scale, zero): (&f32, &f32)| Steps::new(*scale, low - zero, high - zero);
        self.scales.iter().zip(self.zeros).map(of_one)
    }

    /// Calls `work` with each stretch of `input` and `output` that shares scale and zero point.
    fn each<A, B>(&self, input: &[A], output: &mut [B], work: impl Fn(&[A], &mut [B], f32, f32)) {
        let length = self.spans.length.max(1);
        let spans = input.chunks(length).zip(output.chunks_mut(length));
        for (index, (input, output)) in spans.enumerate() {
            let which = index % self.spans.count;
            work(input, output, self.scales[which], self.zeros[which]);
        }
    }

    fn quantise(&self, input: &[f32], to: DatumType, shape: &[usize]) -> TractResult<Tensor> {
        let (low, high) = range(to)?;
        macro_rules! quantised {
            ($($dt:ident => $integer:ty),+) => {
                match to {
                    $(DatumType::$dt => filled::<$integer>(shape, |output| {
                        self.each(input, output, |input, output, scale, zero| {
                            let (low, high) = (low - zero, high - zero);
                            for (x, y) in input.iter().zip(output) {
                                *y = (to_steps(*x, scale, low, high) + zero) as i32 as $integer;
                            }
                        });
                        Ok(())
                    }),)+
                    other => bail!("quantising to {other:?} is not served"),
                }
            };
        }
        quantised!(U8 => u8, I8 => i8, U16 => u16, I16 => i16)
    }

    fn dequantise(&self, input: &Tensor) -> TractResult<Tensor> {
        macro_rules! dequantised {
            ($($dt:ident => $integer:ty),+) => {
                match input.datum_type().unquantized() {
                    $(DatumType::$dt => {
                        let numbers = values::<$integer>(input)?;
                        filled::<f32>(input.shape(), |output| {
                            self.each(numbers, output, |input, output, scale, zero| {
                                for (x, y) in input.iter().zip(output) {
                                    *y = (*x as f32 - zero) * scale;
                                }
                            });
                            Ok(())
                        })
                    })+
                    other => bail!("dequantising {other:?} is not served"),
                }
            };
        }
        dequantised!(U8 => u8, I8 => i8, U16 => u16, I16 => i16, I32 => i32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_belong_to_their_axis() {
        let scales = tensor1(&[1f32, 2.0, 3.0]);
        assert_eq!(Spans::of(&[2, 3, 4], &scales, 1).unwrap(), Spans { length: 4, count: 3 });
        assert_eq!(Spans::of(&[2, 3], &scales, -1).unwrap(), Spans { length: 1, count: 3 });
        assert_eq!(Spans::of(&[2, 3], &tensor0(1f32), 9).unwrap(), Spans { length: 6, count: 1 });
        assert!(Spans::of(&[2, 4], &scales, 1).is_err());
        assert!(Spans::of(&[2, 3], &scales, 2).is_err());
    }
}
