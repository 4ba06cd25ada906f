//! Text: from strings to the counts that a linear model takes, and the small string operators.
//!
//! Texts are UTF-8 and all lengths are in code points, as in ONNX Runtime. A pipeline of
//! scikit-learn's vectorisers is StringNormalizer, Tokenizer, Flatten, TfIdfVectorizer; the last
//! three become one operator before the graph is built, see [`fuse`].

mod case;
mod concat;
mod counts;
mod full_match;
mod fuse;
mod ngrams;
mod normalizer;
mod pattern;
mod split;
mod tfidf;
mod tokenizer;
mod tokens;

use tract_onnx::model::{OnnxOpRegister, ParsingContext};
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;

use super::{Built, kernel};

pub(super) use fuse::fuse;

/// Operators of the domain com.microsoft that are ours.
pub(crate) const MICROSOFT: &str = "Tokenizer";

/// The domain of operators that no file holds.
const OWN_DOMAIN: &str = "weighbridge";

/// Puts the text operators into the runtime's register.
pub(super) fn install(register: &mut OnnxOpRegister) {
    register.insert("RegexFullMatch", |_, node| build("", node, full_match::read(node)?));
    register.insert("StringConcat", |_, node| build("", node, concat::read(node)?));
    register.insert("TfIdfVectorizer", |_, node| build("", node, tfidf::read(node)?));
    register.insert("StringNormalizer", |context, node| {
        build("", node, normalizer::read(node, fresh_size(context))?)
    });
    register.insert("StringSplit", |context, node| {
        build("", node, split::read(node, fresh_size(context))?)
    });
    register.insert("Tokenizer", |context, node| {
        build("com.microsoft", node, tokenizer::read(node, fresh_size(context))?)
    });
    register.insert(counts::NAME, |_, node| build(OWN_DOMAIN, node, counts::read(node)?));
}

fn build(domain: &str, node: &NodeProto, kernel: Box<dyn kernel::Kernel>) -> Built {
    Ok((kernel::operator(domain, node, kernel)?, vec![]))
}

/// A size that only the values decide on, such as the number of tokens.
fn fresh_size(context: &ParsingContext) -> TDim {
    context.template.symbols.new_with_prefix("size").into()
}

/// Refuses numbers where texts are needed.
fn expect_texts((dt, _): &kernel::Fact) -> TractResult<()> {
    ensure!(*dt == String::datum_type(), "an input of {dt:?}, texts are needed");
    Ok(())
}
