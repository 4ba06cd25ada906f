//! The library, opened once per process.
//!
//! Whatever the path names, the process goes on: what cannot be opened is an error.

use std::fs::File;
use std::io::Read as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use ort::environment::Environment;
use ort::logging::LogLevel;

use crate::error::{Error, ErrorKind};
use crate::guard::guarded;

/// The setting that names the library, for messages.
const SETTING: &str = "engine.onnxruntime_library";

struct Opened {
    path: PathBuf,
    environment: Environment,
}

/// Never dropped: sessions of any thread may outlive the one that opened it, and the library
/// cannot be opened a second time.
static OPENED: OnceLock<Opened> = OnceLock::new();
static OPENING: Mutex<()> = Mutex::new(());

/// The environment of the library at `path`, opened by the first call that succeeds.
///
/// # Errors
/// [`ErrorKind::Engine`] when it cannot be opened, is not ONNX Runtime, is too old, or when this
/// process has opened another one. The message names the path and the setting.
pub(super) fn open(path: &Path) -> Result<&'static Environment, Error> {
    let failed = |detail: &str| {
        let message = format!("opening ONNX Runtime at {} ({SETTING}): {detail}", path.display());
        Error::new(ErrorKind::Engine, message)
    };
    let _turn = OPENING.lock().unwrap_or_else(PoisonError::into_inner);
    let absolute = std::path::absolute(path).map_err(|cause| failed(&cause.to_string()))?;
    if let Some(opened) = OPENED.get() {
        if opened.path == absolute {
            return Ok(&opened.environment);
        }
        let other = format!("this process uses {} already", opened.path.display());
        return Err(failed(&other));
    }
    check_file(&absolute).map_err(|detail| failed(&detail))?;
    let environment = guarded("opening ONNX Runtime", || {
        environment(&absolute).map_err(|detail| Error::new(ErrorKind::Engine, detail))
    });
    let environment = environment.map_err(|error| failed(&error.to_string()))?;
    Ok(&OPENED.get_or_init(|| Opened { path: absolute, environment }).environment)
}

fn environment(path: &Path) -> Result<Environment, String> {
    let builder = ort::init_from(path).map_err(|cause| cause.to_string())?;
    let environment = builder
        .with_name("weighbridge")
        .with_telemetry(false)
        .with_logger(Arc::new(log))
        .build()
        .map_err(|cause| cause.to_string())?;
    // A logger of one's own is given everything otherwise, each run's node by node.
    environment.set_log_level(LogLevel::Error);
    Ok(environment)
}

/// What the library says goes where everything else is logged. It is called from C++, through
/// which no panic may pass.
fn log(level: LogLevel, category: &str, _id: &str, place: &str, message: &str) {
    let _ = catch_unwind(AssertUnwindSafe(|| match level {
        LogLevel::Verbose | LogLevel::Info => tracing::trace!(category, place, "{message}"),
        LogLevel::Warning => tracing::debug!(category, place, "{message}"),
        // What fails is an error of the call too; this line only adds where.
        LogLevel::Error => tracing::debug!(category, place, "{message}"),
        LogLevel::Fatal => tracing::error!(category, place, "{message}"),
    }));
}

/// Refuses what the system's loader would stumble over: it maps a file as its head says, and
/// touching what a cut file does not have ends the process.
fn check_file(path: &Path) -> Result<(), String> {
    let told = |cause: std::io::Error| cause.to_string();
    let mut file = File::open(path).map_err(told)?;
    let length = file.metadata().map_err(told)?.len();
    let mut head = [0; 64];
    let read = file.read(&mut head).map_err(told)?;
    match elf_length(&head[..read]) {
        Some(wanted) if wanted > length => {
            Err(format!("the file is cut: it has {length} of at least {wanted} bytes"))
        }
        None if cfg!(target_os = "linux") => Err("it is not a 64-bit ELF library".to_owned()),
        _ => Ok(()),
    }
}

/// Where the table of sections of a 64-bit little-endian ELF file ends, which linkers write
/// last; `None` for anything else.
fn elf_length(head: &[u8]) -> Option<u64> {
    if !head.starts_with(b"\x7fELF\x02\x01") || head.len() < 64 {
        return None;
    }
    let offset = u64::from_le_bytes(head[40..48].try_into().ok()?);
    let size = u64::from(u16::from_le_bytes(head[58..60].try_into().ok()?));
    let count = u64::from(u16::from_le_bytes(head[60..62].try_into().ok()?));
    offset.checked_add(size * count)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(name: &str, content: Option<&[u8]>, word: &str) {
        let path = std::env::temp_dir().join(format!("weighbridge-{}-{name}", std::process::id()));
        if let Some(content) = content {
            std::fs::write(&path, content).unwrap();
        }
        let (checked, error) = (check_file(&path).unwrap_err(), open(&path).unwrap_err());
        let _ = std::fs::remove_file(&path);
        assert!(checked.contains(word), "{checked}");
        assert_eq!(error.kind(), ErrorKind::Engine);
        let told = error.to_string();
        assert!(told.contains(SETTING) && told.contains(&*path.to_string_lossy()), "{told}");
    }

    #[test]
    fn what_is_no_library_is_an_error_that_names_path_and_setting() {
        refused("absent.so", None, "No such file");
        refused("empty.so", Some(b""), "not a 64-bit ELF");
        refused("text.so", Some(b"INPUT(libonnxruntime.so.1)\n"), "not a 64-bit ELF");
        // The head of this very program: a whole ELF head, and a file that ends after it.
        let program = std::fs::read("/proc/self/exe").unwrap();
        refused("cut.so", Some(&program[..4096]), "cut");
        refused("folder/none.so", None, "No such file");
    }

    #[test]
    fn an_elf_file_tells_its_length() {
        let program = std::fs::read("/proc/self/exe").unwrap();
        let wanted = elf_length(&program).unwrap();
        assert!(wanted > 4096 && wanted <= program.len() as u64, "{wanted}");
        assert_eq!(elf_length(&program[..63]), None);
        assert_eq!(elf_length(b"MZ"), None);
    }
}
