//! Class labels: int64 or text.

use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;

use super::{attributes, kernel};

/// The labels of a classifier, one per class.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Labels {
    Ints(Vec<i64>),
    Texts(Vec<String>),
}

impl Labels {
    /// Reads `classlabels_strings` or, when that is empty, the list called `ints`.
    pub(super) fn read(node: &NodeProto, ints: &str) -> TractResult<Self> {
        let texts = attributes::texts(node, "classlabels_strings")?;
        if !texts.is_empty() {
            return Ok(Self::Texts(texts));
        }
        Ok(Self::Ints(attributes::ints(node, ints)?.to_vec()))
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Ints(labels) => labels.len(),
            Self::Texts(labels) => labels.len(),
        }
    }

    pub(super) fn datum_type(&self) -> DatumType {
        match self {
            Self::Ints(_) => DatumType::I64,
            Self::Texts(_) => DatumType::String,
        }
    }

    /// The label tensor for the classes of some rows.
    pub(super) fn of(&self, classes: &[usize]) -> TractResult<Tensor> {
        let class = |i: usize| format_err!("there is no label for class {i}");
        match self {
            Self::Ints(labels) => kernel::filled(&[classes.len()], |out| {
                for (out, i) in out.iter_mut().zip(classes) {
                    *out = *labels.get(*i).ok_or_else(|| class(*i))?;
                }
                Ok(())
            }),
            Self::Texts(labels) => {
                let text = |i: &usize| labels.get(*i).cloned().ok_or_else(|| class(*i));
                kernel::texts(
                    &[classes.len()],
                    classes.iter().map(text).collect::<TractResult<_>>()?,
                )
            }
        }
    }
}

/// The class names of a classifier or a ZipMap, numbers as text; empty when the node has none.
pub(crate) fn class_labels(node: &NodeProto) -> Vec<String> {
    const NAMES: [&str; 3] = ["classlabels_strings", "classlabels_int64s", "classlabels_ints"];
    let lists = node.attribute.iter().filter(|a| NAMES.contains(&&*a.name));
    lists
        .flat_map(|a| {
            let texts = a.strings.iter().map(|s| String::from_utf8_lossy(s).into_owned());
            texts.chain(a.ints.iter().map(i64::to_string))
        })
        .collect()
}
