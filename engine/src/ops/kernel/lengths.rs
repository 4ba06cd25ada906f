//! Output axes whose length only a run shows.

use std::sync::Mutex;

use tract_onnx::model::ParsingContext;
use tract_onnx::prelude::{Symbol, TDim};
use tract_onnx::tract_hir::internal::SymbolScope;

/// The symbols that stand for such lengths, one per name. The same name gives the same symbol,
/// for the runtime asks for an operator's shapes again and again.
#[derive(Debug)]
pub(in crate::ops) struct Lengths {
    scope: SymbolScope,
    made: Mutex<Vec<(usize, Symbol)>>,
}

impl Lengths {
    pub(in crate::ops) fn of(context: &ParsingContext) -> Self {
        Self { scope: context.template.symbols.clone(), made: Mutex::default() }
    }

    /// The length called `name`, a number of the kernel's choice.
    pub(in crate::ops) fn get(&self, name: usize) -> TDim {
        let mut made = self.made.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some((_, symbol)) = made.iter().find(|(of, _)| *of == name) {
            return symbol.clone().into();
        }
        let symbol = self.scope.new_with_prefix("length");
        made.push((name, symbol.clone()));
        symbol.into()
    }

    /// True when `length` depends on one of these.
    pub(super) fn are_in(&self, length: &TDim) -> bool {
        let made = self.made.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let symbols = length.symbols();
        made.iter().any(|(_, symbol)| symbols.contains(symbol))
    }
}
