//! One error for the crate: a kind that a caller acts on, a sentence, and the source.

use std::error::Error as StdError;

/// What a caller does differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The bytes are not a whole ONNX model.
    NotOnnx,
    /// The model uses operators that are missing here or known to be computed wrongly.
    Unsupported,
    /// The model is larger than the format or the engine can hold.
    TooLarge,
    /// The model is ONNX and its operators are known, but it could not be made to run.
    Load,
    /// The engine that was asked for is not there.
    Engine,
    /// An input or output cannot be served: unknown type or shape.
    Signature,
    /// A batch was refused or failed; another batch may work.
    Run,
    /// An output did not have one row per row put in; the answer is withheld.
    OutputRows,
    /// The model's code panicked; the panic was caught.
    Panicked,
}

/// Why a file was not loaded or a batch was not answered.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    kind: ErrorKind,
    message: String,
    #[source]
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    /// Joins what was attempted with the whole chain of causes, cut to a readable length:
    /// the runtime's own top line ("analysing node 7") says too little without its cause.
    pub(crate) fn because(
        kind: ErrorKind,
        attempt: &str,
        cause: tract_onnx::prelude::TractError,
    ) -> Self {
        const LONGEST: usize = 800;
        let mut message = format!("{attempt}: {cause:#}");
        if let Some((cut, _)) = message.char_indices().nth(LONGEST) {
            message.truncate(cut);
            message.push('…');
        }
        Self { kind, message, source: Some(cause.into()) }
    }

    /// What a caller acts on.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}
