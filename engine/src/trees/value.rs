//! The two number types of tree ensembles.

use std::fmt::Debug;
use std::ops::{Add, AddAssign, Div, Neg};
use std::sync::Arc;

use super::forest::Forest;
use super::packed::{Narrow, Walk, Wide, pack};

/// f32 or f64: thresholds, inputs and sums of one forest have the same type.
pub trait Value:
    Copy
    + Debug
    + PartialOrd
    + Add<Output = Self>
    + AddAssign
    + Div<Output = Self>
    + Neg<Output = Self>
    + Send
    + Sync
    + 'static
{
    const ZERO: Self;
    const HALF: Self;
    const NAN: Self;
    const NEG_INFINITY: Self;

    /// The greatest number below; -inf stays.
    fn below(self) -> Self;
    fn is_nan(self) -> bool;
    fn as_f32(self) -> f32;
    fn from_count(count: usize) -> Self;

    /// The fastest form that `forest` fits, if any.
    fn fast_form(forest: &Forest<Self>) -> Option<Arc<dyn Walk<Self>>>;
}

macro_rules! value {
    ($kind:ident, $($layout:ty),+) => {
        impl Value for $kind {
            const ZERO: Self = 0.0;
            const HALF: Self = 0.5;
            const NAN: Self = $kind::NAN;
            const NEG_INFINITY: Self = $kind::NEG_INFINITY;

            fn below(self) -> Self {
                self.next_down()
            }
            fn is_nan(self) -> bool {
                self.is_nan()
            }
            fn as_f32(self) -> f32 {
                self as f32
            }
            fn from_count(count: usize) -> Self {
                count as Self
            }
            fn fast_form(forest: &Forest<Self>) -> Option<Arc<dyn Walk<Self>>> {
                $(if let Some(packed) = pack::<Self, $layout>(forest) {
                    return Some(Arc::new(packed));
                })+
                None
            }
        }
    };
}

value!(f32, Narrow, Wide<f32>);
value!(f64, Wide<f64>);
