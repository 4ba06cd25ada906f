//! Operators of our own, in place of the runtime's missing or wrong ones.
//!
//! Of the default domain those are ours that the runtime lacks, computes wrongly, or has for
//! constant inputs only.
//!
//! The domain ai.onnx.ml is what exporters of scikit-learn, XGBoost and LightGBM write. The
//! runtime has six of its operators, of which the tree classifier gives wrong labels. Each file
//! here is one family: reading the attributes of a node into a kernel, and the kernel itself.
//! Where the standard is silent, ONNX Runtime's answer is the right one.

mod array_feature_extractor;
mod arrays;
mod attention;
mod attributes;
mod binarizer;
mod cast;
mod category_mapper;
mod celu;
mod dense;
mod fallback;
mod feature_vectorizer;
mod imputer;
mod integers;
mod kernel;
mod label_encoder;
mod labels;
mod linear_classifier;
mod linear_regressor;
mod log_sum_exp;
mod normalizer;
mod one_hot;
mod pools;
mod products;
mod quantised;
mod real;
mod recurrent;
mod registers;
mod rewrite;
mod row_wise;
mod scaler;
mod short;
mod sigmoid;
mod signal;
mod slots;
mod space_to_depth;
mod steps;
mod svm;
mod text;
mod tree_ensemble;
mod trees;
mod unsigned;
mod vision;
mod zip_map;

use std::borrow::Cow;
use std::collections::HashSet;

use tract_onnx::model::{OnnxOpRegister, ParsingContext};
use tract_onnx::pb::{ModelProto, NodeProto};
use tract_onnx::prelude::TractResult;
use tract_onnx::tract_hir::internal::InferenceOp;

use crate::rewrite::{DOMAIN, JOINED};

pub(crate) use cast::exact_sizes;
pub(crate) use integers::exact_integers;
pub(crate) use labels::class_labels;
pub(crate) use rewrite::rewrite;
pub(crate) use steps::Steps;
pub(crate) use text::MICROSOFT as MICROSOFT_TEXT;

/// Operators of the domain ai.onnx.ml that are served, all of them ours.
pub(crate) const ML_OPERATORS: &[&str] = &[
    "ArrayFeatureExtractor",
    "Binarizer",
    "CategoryMapper",
    "FeatureVectorizer",
    "Imputer",
    "LabelEncoder",
    "LinearClassifier",
    "LinearRegressor",
    "Normalizer",
    "OneHotEncoder",
    "SVMClassifier",
    "SVMRegressor",
    "Scaler",
    "TreeEnsemble",
    "TreeEnsembleClassifier",
    "TreeEnsembleRegressor",
    "ZipMap",
];

type Built = TractResult<(Box<dyn InferenceOp>, Vec<String>)>;

/// The register takes plain functions, which cannot capture: one is written per operator.
macro_rules! own {
    ($register:ident, $domain:expr; $($name:expr => $read:path),+ $(,)?) => {
        $({
            fn build(_: &ParsingContext, node: &NodeProto) -> Built {
                Ok((kernel::operator($domain, node, $read(node)?)?, vec![]))
            }
            $register.insert($name, build);
        })+
    };
}

/// Like [`own`], for operators of the default domain, whose kernels may need the model around.
macro_rules! own_standard {
    ($register:ident: $($name:literal => $read:path),+ $(,)?) => {
        $({
            fn build(context: &ParsingContext, node: &NodeProto) -> Built {
                Ok((kernel::operator("", node, $read(context, node)?)?, vec![]))
            }
            $register.insert($name, build);
        })+
    };
}

/// Puts our operators into the runtime's register, over its own.
pub(crate) fn install(register: &mut OnnxOpRegister) {
    own!(register, "ai.onnx.ml";
        "ArrayFeatureExtractor" => array_feature_extractor::read,
        "Binarizer" => binarizer::read,
        "CategoryMapper" => category_mapper::read,
        "FeatureVectorizer" => feature_vectorizer::read,
        "Imputer" => imputer::read,
        "LinearClassifier" => linear_classifier::read,
        "LinearRegressor" => linear_regressor::read,
        "Normalizer" => normalizer::read,
        "OneHotEncoder" => one_hot::read,
        "SVMClassifier" => svm::read_classifier,
        "SVMRegressor" => svm::read_regressor,
        "Scaler" => scaler::read,
        "TreeEnsemble" => tree_ensemble::read,
        "TreeEnsembleClassifier" => trees::read_classifier,
        "TreeEnsembleRegressor" => trees::read_regressor,
        "ZipMap" => zip_map::read,
    );
    own!(register, "";
        "Celu" => celu::read,
        "GRU" => recurrent::read_gru,
        "LSTM" => recurrent::read_lstm,
        "RNN" => recurrent::read_rnn,
        "SpaceToDepth" => space_to_depth::read,
    );
    own!(register, DOMAIN; JOINED => quantised::read_both);
    register.insert("DequantizeLinear", build_dequantise);
    register.insert("QuantizeLinear", build_quantise);
    register.insert("LabelEncoder", build_label_encoder);
    own!(register, "";
        "Attention" => attention::read,
        "DeformConv" => vision::deform_conv,
        "Det" => arrays::det,
        "ReverseSequence" => arrays::reverse_sequence,
    );
    own_standard!(register:
        "AffineGrid" => vision::affine_grid,
        "CenterCropPad" => vision::center_crop_pad,
        "Col2Im" => vision::col2im,
        "BlackmanWindow" => signal::window,
        "Compress" => arrays::compress,
        "HammingWindow" => signal::window,
        "HannWindow" => signal::window,
        "LpPool" => pools::lp_pool,
        "MaxUnpool" => pools::max_unpool,
        "MelWeightMatrix" => signal::mel,
        "RoiAlign" => vision::roi_align,
        "Unique" => arrays::unique,
        "Upsample" => vision::upsample,
    );
    register.insert("Cast", cast::build);
    register.insert("ConstantOfShape", arrays::constant_of_shape);
    register.insert("OneHot", arrays::one_hot);
    register.insert("RotaryEmbedding", attention::rotary_embedding);
    register.insert("Sigmoid", sigmoid::build);
    text::install(register);
}

/// These two are the same in the default domain and in com.microsoft.
fn build_quantise(_: &ParsingContext, node: &NodeProto) -> Built {
    Ok((
        kernel::operator(standard_or_microsoft(node), node, quantised::read_quantise(node)?)?,
        vec![],
    ))
}

fn build_dequantise(_: &ParsingContext, node: &NodeProto) -> Built {
    let kernel = quantised::read_dequantise(node)?;
    Ok((kernel::operator(standard_or_microsoft(node), node, kernel)?, vec![]))
}

fn standard_or_microsoft(node: &NodeProto) -> &'static str {
    if node.domain == "com.microsoft" { "com.microsoft" } else { "" }
}

/// The only operator whose meaning differs between the versions served here.
fn build_label_encoder(context: &ParsingContext, node: &NodeProto) -> Built {
    let imports = &context.model.opset_import;
    let version = imports.iter().find(|i| i.domain == "ai.onnx.ml").map_or(0, |i| i.version);
    Ok((kernel::operator("ai.onnx.ml", node, label_encoder::read(node, version)?)?, vec![]))
}

/// The model as the runtime shall see it: some groups of nodes are put into other forms.
pub(crate) fn rewritten(proto: &ModelProto) -> Cow<'_, ModelProto> {
    let mut seen = Cow::Borrowed(proto);
    for rewrite in [unsigned::as_bytes, log_sum_exp::stabilise, text::fuse] {
        if let Some(rewritten) = rewrite(&seen) {
            seen = Cow::Owned(rewritten);
        }
    }
    seen
}

/// The names of all operators that can be built.
pub(crate) fn register() -> HashSet<String> {
    let mut onnx = tract_onnx::onnx();
    install(&mut onnx.op_register);
    onnx.op_register.0.into_keys().collect()
}
