//! `load-tests make-model`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::{Args, Subcommand};

use crate::onnx_file::faults::{self, Declared};
use crate::{onnx_file, saturate};

/// Each writes one file. All but `mlp` take x FP32 [N, 4] and answer y FP32 [N, 1].
#[derive(Debug, Subcommand)]
pub(super) enum ModelArguments {
    /// A dense network: x FP32 [N, first] to y FP32 [N, last]
    Mlp {
        out: PathBuf,
        /// Sizes of input, hidden layers and output
        #[arg(long, value_delimiter = ',', default_values_t = saturate::LAYERS)]
        layers: Vec<usize>,
        #[arg(long, default_value_t = 7)]
        seed: u64,
    },
    /// Answers the same value to every row
    Tag(Tag),
    /// As tag, after a dense network: batches pay
    DenseTag {
        #[command(flatten)]
        tag: Tag,
        /// Sizes of the hidden layers
        #[arg(long, value_delimiter = ',', default_values_t = [512, 1024, 1024, 512])]
        hidden: Vec<usize>,
        #[arg(long, default_value_t = 7)]
        seed: u64,
    },
    /// As tag, with as much compute as wanted, in proportion to the rows
    Slow {
        #[command(flatten)]
        tag: Tag,
        /// Matrix products, about 0.04 ms each
        #[arg(long, default_value_t = 125)]
        steps: usize,
    },
    /// As tag, with as much compute as wanted, in proportion to the runs: batches pay
    PerRun {
        #[command(flatten)]
        tag: Tag,
        /// Matrix products, about 0.04 ms each
        #[arg(long, default_value_t = 12)]
        steps: usize,
    },
    /// As tag, with work for each run and work for each row: batches save a part
    PartPerRun {
        #[command(flatten)]
        tag: Tag,
        /// Matrix products for each run, about 0.04 ms each
        #[arg(long, default_value_t = 25)]
        run_steps: usize,
        /// Matrix products for each row
        #[arg(long, default_value_t = 50)]
        row_steps: usize,
    },
    /// Fails (Gather, by a panic in the runtime) when x[0] is at least the limit
    GatherFault(Limited),
    /// Fails (GatherElements, by an error) when x[0] is at least the limit
    Fails(Limited),
    /// NaN when x[1] is 0
    Divides(Tag),
    /// Panics when the whole part of x[1] is 5
    Panics(Tag),
    /// Answers y FP32 [N, 2]
    OtherShape {
        #[command(flatten)]
        tag: Tag,
        /// Declares [N, K]: how many columns there are shows with the answer only
        #[arg(long)]
        hidden: bool,
    },
    /// The same function as another file, in other bytes
    Equal {
        out: PathBuf,
        /// The other file
        #[arg(long, value_name = "FILE")]
        of: PathBuf,
        /// What makes the difference
        #[arg(long, default_value = "equal")]
        remark: String,
    },
}

#[derive(Debug, Args)]
pub(super) struct Tag {
    out: PathBuf,
    /// What it answers
    #[arg(long, allow_negative_numbers = true)]
    value: f32,
}

#[derive(Debug, Args)]
pub(super) struct Limited {
    #[command(flatten)]
    tag: Tag,
    /// Places in its table
    #[arg(long, default_value_t = 2)]
    limit: usize,
}

impl ModelArguments {
    /// Writes the file and says how large it is.
    pub(super) fn write(self) -> Result<()> {
        let (out, bytes) = self.file()?;
        super::write(&out, &bytes)?;
        println!("{}: {} bytes", out.display(), bytes.len());
        Ok(())
    }

    fn file(self) -> Result<(PathBuf, Vec<u8>)> {
        Ok(match self {
            Self::Mlp { out, layers, seed } => {
                ensure!(layers.len() >= 2, "--layers needs at least two sizes");
                ensure!(!layers.contains(&0), "--layers: no size may be zero");
                (out, onnx_file::mlp(&layers, seed))
            }
            Self::Tag(Tag { out, value }) => (out, onnx_file::tag(value)),
            Self::DenseTag { tag: Tag { out, value }, hidden, seed } => {
                ensure!(!hidden.is_empty(), "--hidden needs at least one size");
                ensure!(!hidden.contains(&0), "--hidden: no size may be zero");
                (out, onnx_file::dense_tag(value, &hidden, seed))
            }
            Self::Slow { tag: Tag { out, value }, steps } => (out, onnx_file::slow(value, steps)),
            Self::PerRun { tag: Tag { out, value }, steps } => {
                (out, onnx_file::per_run(value, steps))
            }
            Self::PartPerRun { tag: Tag { out, value }, run_steps, row_steps } => {
                (out, onnx_file::part_per_run(value, run_steps, row_steps))
            }
            Self::GatherFault(limited) => limited.file(faults::gather_fault)?,
            Self::Fails(limited) => limited.file(faults::fails)?,
            Self::Divides(Tag { out, value }) => (out, faults::divides(value)),
            Self::Panics(Tag { out, value }) => (out, faults::panics(value)),
            Self::OtherShape { tag: Tag { out, value }, hidden } => {
                let declared = if hidden { Declared::Hidden } else { Declared::Openly };
                (out, faults::other_shape(value, declared))
            }
            Self::Equal { out, of, remark } => (out, onnx_file::equal(&read(&of)?, &remark)),
        })
    }
}

impl Limited {
    fn file(self, make: fn(f32, usize) -> Vec<u8>) -> Result<(PathBuf, Vec<u8>)> {
        ensure!(self.limit > 0, "--limit: a table needs at least one place");
        Ok((self.tag.out, make(self.tag.value, self.limit)))
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("read {}", path.display()))
}
