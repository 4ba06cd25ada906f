//! Optional inputs: a file leaves one out by an empty name or by a shorter list, and the runtime
//! passes on only those that are there.

use tract_onnx::pb::NodeProto;

/// Which inputs of the standard's list a node has.
#[derive(Debug, Clone)]
pub(super) struct Slots(Vec<bool>);

impl Slots {
    pub(super) fn of(node: &NodeProto) -> Self {
        Self(node.input.iter().map(|name| !name.is_empty()).collect())
    }

    /// How many inputs there are.
    pub(super) fn count(&self) -> usize {
        self.0.iter().filter(|is_there| **is_there).count()
    }

    /// The place of the standard's input number `slot` among those that are there.
    pub(super) fn place(&self, slot: usize) -> Option<usize> {
        let is_there = *self.0.get(slot)?;
        is_there.then(|| self.0[..slot].iter().filter(|is_there| **is_there).count())
    }

    /// Input number `slot` of the standard's list.
    pub(super) fn pick<'a, T>(&self, inputs: &'a [T], slot: usize) -> Option<&'a T> {
        self.place(slot).and_then(|place| inputs.get(place))
    }
}
