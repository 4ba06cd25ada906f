//! What can be set:
//!
//! ```text
//! --library PATH   ONNX Runtime's library; without it the environment variable is read
//! --folder PATH    models with their rows beside them (NAME.onnx, NAME.json)
//! --filter TEXT    only models whose name holds TEXT; several flags: any of them
//! --passes N       interleaved passes, 15 unless said, 9 at least
//! --rows WHICH     "drawn" from the model's own (unless said), or "mixed": see [`Source`]
//! --missing SHARE  puts NaN into this share of the float inputs (0 to 1)
//! ```

use std::env;
use std::path::{Path, PathBuf};

use crate::rows::Source;

const LIBRARY: &str = "ONNXRUNTIME_LIBRARY_FOR_TESTS";
const FEWEST_PASSES: usize = 9;

/// The flags of one run.
#[derive(Debug)]
pub(crate) struct Arguments {
    pub library: PathBuf,
    pub folder: PathBuf,
    pub filters: Vec<String>,
    pub passes: usize,
    pub missing: f64,
    pub source: Source,
}

impl Arguments {
    #[expect(clippy::disallowed_methods, reason = "a bench, told by who runs it")]
    pub(crate) fn read() -> Result<Self, String> {
        let mut library = env::var_os(LIBRARY).map(PathBuf::from);
        let mut folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/listed");
        let (mut filters, mut passes, mut missing) = (Vec::new(), 15, 0.0);
        let mut source = Source::Drawn;
        let mut given = env::args().skip(1);
        while let Some(flag) = given.next() {
            if flag == "--bench" {
                // Cargo's own.
                continue;
            }
            let value = given.next().ok_or_else(|| format!("{flag} wants a value"))?;
            let wrong = || format!("{flag} {value} is not a number");
            match &*flag {
                "--library" => library = Some(value.into()),
                "--folder" => folder = value.into(),
                "--filter" => filters.push(value),
                "--passes" => passes = value.parse().map_err(|_| wrong())?,
                "--rows" => {
                    source = match &*value {
                        "drawn" => Source::Drawn,
                        "mixed" => Source::Mixed,
                        _ => return Err(format!("--rows {value}: drawn or mixed")),
                    }
                }
                "--missing" => missing = value.parse().map_err(|_| wrong())?,
                _ => return Err(format!("{flag} is unknown")),
            }
        }
        let library = library.ok_or_else(|| {
            format!("ONNX Runtime's library is needed: --library PATH or {LIBRARY}=PATH")
        })?;
        if !library.is_file() {
            return Err(format!("there is no ONNX Runtime library {}", library.display()));
        }
        if passes < FEWEST_PASSES {
            return Err(format!("--passes {passes}: {FEWEST_PASSES} are the fewest"));
        }
        Ok(Self { library, folder, filters, passes, missing, source })
    }

    /// The JSON files of the models to time, sorted. Exports that differ in their ZipMap only
    /// are the same model here.
    pub(crate) fn models(&self) -> Result<Vec<PathBuf>, String> {
        let failed = |e: std::io::Error| format!("{}: {e}", self.folder.display());
        let entries = std::fs::read_dir(&self.folder).map_err(failed)?;
        let mut paths = Vec::new();
        for entry in entries {
            let path = entry.map_err(failed)?.path();
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let is_twin = name.ends_with("_zm") || name.ends_with("_zipmap");
            let wanted = self.filters.is_empty() || self.filters.iter().any(|f| name.contains(f));
            if path.extension().is_some_and(|e| e == "json") && !is_twin && wanted {
                paths.push(path);
            }
        }
        paths.sort();
        Ok(paths)
    }
}
