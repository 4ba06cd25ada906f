//! SpaceToDepth in both orders; the runtime has one and ignores which is asked for.

use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;

use super::attributes::text;
use super::kernel::{Fact, Kernel};

#[derive(Debug)]
struct SpaceToDepth {
    block: usize,
    /// True when the new channels are grouped by old channel (CRD), not by place in the block.
    by_channel: bool,
}

pub(super) fn read(node: &NodeProto) -> TractResult<Box<dyn Kernel>> {
    let block: i64 = node.get_attr("blocksize")?;
    ensure!(block > 0, "a block of {block}");
    let by_channel = match text(node, "mode", "DCR")? {
        "DCR" => false,
        "CRD" => true,
        other => bail!("the mode \"{other}\" is not one of the standard's"),
    };
    Ok(Box::new(SpaceToDepth { block: block as usize, by_channel }))
}

impl Kernel for SpaceToDepth {
    fn name(&self) -> &'static str {
        "SpaceToDepth"
    }

    fn facts(&self, inputs: &[Fact]) -> TractResult<Vec<Fact>> {
        let (dt, shape) = &inputs[0];
        let [rows, channels, height, width] = &**shape else {
            bail!("an input of {} axes, four are needed", shape.len());
        };
        let whole = |side: &TDim| {
            let fits = side.to_usize().map_or(true, |side| side.is_multiple_of(self.block));
            ensure!(fits, "a side of {side}, a multiple of {} is needed", self.block);
            Ok(side.clone() / self.block)
        };
        let channels = channels.clone() * (self.block * self.block);
        let shape = tvec![rows.clone(), channels, whole(height)?, whole(width)?];
        Ok(vec![(*dt, shape)])
    }

    fn eval(&self, inputs: &[&Tensor]) -> TractResult<Vec<Tensor>> {
        let block = self.block;
        let &[rows, channels, height, width] = inputs[0].shape() else {
            bail!("an input of {} axes, four are needed", inputs[0].rank());
        };
        ensure!(
            height.is_multiple_of(block) && width.is_multiple_of(block),
            "sides of {height} and {width}, multiples of {block} are needed"
        );
        let (height, width) = (height / block, width / block);
        let apart = inputs[0].clone().into_shape(&[rows, channels, height, block, width, block])?;
        let order = if self.by_channel { [0, 1, 3, 5, 2, 4] } else { [0, 3, 5, 1, 2, 4] };
        let apart = apart.permute_axes(&order)?;
        Ok(vec![apart.into_shape(&[rows, channels * block * block, height, width])?])
    }
}
