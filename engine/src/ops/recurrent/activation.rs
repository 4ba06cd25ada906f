//! The activation functions of recurrent layers, on slices.

use tract_onnx::tract_core::tract_linalg::element_wise::ElementWise;
use tract_onnx::tract_core::tract_linalg::routines::Func;
use tract_onnx::tract_hir::internal::*;

use super::super::registers::clear_upper_halves;

/// A function of the list that the standard gives for LSTM, GRU and RNN.
#[derive(Debug, Clone)]
pub(super) enum Activation {
    Sigmoid(Box<dyn ElementWise<f32>>),
    Tanh(Box<dyn ElementWise<f32>>),
    Relu,
    Softsign,
    Softplus,
    Affine { alpha: f32, beta: f32 },
    LeakyRelu { alpha: f32 },
    ThresholdedRelu { alpha: f32 },
    ScaledTanh { alpha: f32, beta: f32 },
    HardSigmoid { alpha: f32, beta: f32 },
    Elu { alpha: f32 },
}

impl Activation {
    /// By the standard's name, upper and lower case being alike as in ONNX Runtime. `alphas` and
    /// `betas` are consumed by the functions that have such a parameter, in the order of the
    /// functions; what is missing has the default of the operator of that name. Where the standard
    /// names no default, or ONNX Runtime takes another (zero), the parameter must be given.
    pub(super) fn read(
        name: &str,
        alphas: &mut impl Iterator<Item = f32>,
        betas: &mut impl Iterator<Item = f32>,
    ) -> TractResult<Self> {
        let mut alpha = |default: f32| alphas.next().unwrap_or(default);
        let mut beta = |default: f32| betas.next().unwrap_or(default);
        let needed = |value: f32, parameter: &str| {
            ensure!(
                !value.is_nan(),
                "the activation {name} needs a value in activation_{parameter}"
            );
            Ok(value)
        };
        Ok(match name.to_ascii_lowercase().as_str() {
            "sigmoid" => Self::Sigmoid(Func::Sigmoid.ew_f32()?),
            "tanh" => Self::Tanh(Func::Tanh.ew_f32()?),
            "relu" => Self::Relu,
            "softsign" => Self::Softsign,
            "softplus" => Self::Softplus,
            "affine" => Self::Affine {
                alpha: needed(alpha(f32::NAN), "alpha")?,
                beta: needed(beta(f32::NAN), "beta")?,
            },
            "leakyrelu" => Self::LeakyRelu { alpha: alpha(0.01) },
            "thresholdedrelu" => Self::ThresholdedRelu { alpha: needed(alpha(f32::NAN), "alpha")? },
            "scaledtanh" => Self::ScaledTanh {
                alpha: needed(alpha(f32::NAN), "alpha")?,
                beta: needed(beta(f32::NAN), "beta")?,
            },
            "hardsigmoid" => Self::HardSigmoid { alpha: alpha(0.2), beta: beta(0.5) },
            "elu" => Self::Elu { alpha: alpha(1.0) },
            _ => bail!("the activation function \"{name}\" is not one of the standard's"),
        })
    }

    pub(super) fn apply(&self, values: &mut [f32]) -> TractResult<()> {
        match *self {
            Self::Sigmoid(ref function) | Self::Tanh(ref function) => {
                function.run(values)?;
                clear_upper_halves();
            }
            Self::Relu => each(values, |x| x.max(0.0)),
            Self::Softsign => each(values, |x| x / (1.0 + x.abs())),
            // The larger part taken out, so that no exponential overflows.
            Self::Softplus => each(values, |x| x.max(0.0) + (-x.abs()).exp().ln_1p()),
            Self::Affine { alpha, beta } => each(values, |x| alpha * x + beta),
            Self::LeakyRelu { alpha } => each(values, |x| if x < 0.0 { alpha * x } else { x }),
            Self::ThresholdedRelu { alpha } => each(values, |x| if x > alpha { x } else { 0.0 }),
            Self::ScaledTanh { alpha, beta } => each(values, |x| alpha * (beta * x).tanh()),
            Self::HardSigmoid { alpha, beta } => {
                each(values, |x| (alpha * x + beta).clamp(0.0, 1.0));
            }
            Self::Elu { alpha } => each(values, |x| if x < 0.0 { alpha * x.exp_m1() } else { x }),
        }
        Ok(())
    }
}

fn each(values: &mut [f32], function: impl Fn(f32) -> f32) {
    values.iter_mut().for_each(|x| *x = function(*x));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_go_to_the_functions_that_have_them() {
        let (mut alphas, mut betas) = ([0.5, 2.0].into_iter(), [0.25].into_iter());
        let mut read = |name: &str| Activation::read(name, &mut alphas, &mut betas).unwrap();
        assert!(matches!(read("Tanh"), Activation::Tanh(_)));
        assert!(matches!(read("LeakyRelu"), Activation::LeakyRelu { alpha: 0.5 }));
        assert!(matches!(read("affine"), Activation::Affine { alpha: 2.0, beta: 0.25 }));
        assert!(matches!(read("Elu"), Activation::Elu { alpha: 1.0 }));
        for name in ["Gelu", "Affine", "ThresholdedRelu"] {
            assert!(Activation::read(name, &mut [].into_iter(), &mut [].into_iter()).is_err());
        }
    }

    #[test]
    fn functions_keep_to_their_definitions_far_from_zero() {
        let applied = |name: &str, x: f32| {
            let function = Activation::read(name, &mut [].into_iter(), &mut [].into_iter());
            let mut values = [x];
            function.unwrap().apply(&mut values).unwrap();
            values[0]
        };
        for (name, low, high) in [
            ("Sigmoid", 0.0, 1.0),
            ("Tanh", -1.0, 1.0),
            ("Softsign", -100.0 / 101.0, 100.0 / 101.0),
            ("Softplus", 0.0, 100.0),
            ("HardSigmoid", 0.0, 1.0),
            ("Elu", -1.0, 100.0),
            ("Relu", 0.0, 100.0),
        ] {
            assert!((applied(name, -100.0) - low).abs() < 1e-6, "{name}");
            assert!((applied(name, 100.0) - high).abs() < 1e-6, "{name}");
        }
    }
}
