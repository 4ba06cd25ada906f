//! The binary run to its end: its exit code and what it said.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Stdio;

use serde_json::Value;
use tokio::process::Command;

use crate::wait::BOUND;

/// A run of the binary that has ended.
#[derive(Debug)]
pub struct Invocation {
    /// `None` when a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    pub asked: String,
}

/// The binary under test: that of the build this test belongs to, or `WEIGHBRIDGE_BIN`.
///
/// # Panics
/// When it has not been built.
#[expect(clippy::disallowed_methods, reason = "where the binary is, is no setting of it")]
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("WEIGHBRIDGE_BIN") {
        return PathBuf::from(path);
    }
    let own = std::env::current_exe().expect("the path of the test itself");
    let folder = own.parent().and_then(|deps| deps.parent()).expect("target/release/deps");
    let binary = folder.join("weighbridge");
    assert!(
        binary.exists(),
        "{} is missing: build it first: cargo build --release",
        binary.display()
    );
    binary
}

/// ONNX Runtime's library, which `tests/run` installs.
///
/// # Panics
/// When nobody says where it is.
#[expect(clippy::disallowed_methods, reason = "told by who runs the tests")]
pub fn onnxruntime() -> PathBuf {
    let path = std::env::var_os("ONNXRUNTIME_LIBRARY_FOR_TESTS");
    path.expect("ONNXRUNTIME_LIBRARY_FOR_TESTS names the library: tests/run sets it").into()
}

/// A command of the binary that sees nothing of the environment of this machine.
pub fn command(args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
    let mut command = Command::new(binary());
    command.args(args).env_clear().stdin(Stdio::null()).kill_on_drop(true);
    command
}

impl Invocation {
    /// Runs the binary with `args` to its end.
    ///
    /// # Panics
    /// When it does not end within the bound.
    pub async fn run(args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        Self::of(command(args)).await
    }

    /// Runs a prepared command to its end.
    ///
    /// # Panics
    /// When it does not end within the bound.
    pub async fn of(mut command: Command) -> Self {
        let asked = format!("{:?}", command.as_std().get_args().collect::<Vec<_>>());
        let output = tokio::time::timeout(BOUND, command.output()).await;
        let output = output.unwrap_or_else(|_| panic!("{asked} did not end")).expect("it starts");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        assert!(!stderr.contains("panicked"), "{asked}: {stderr}");
        Self { code: output.status.code(), stdout, stderr, asked }
    }

    /// The run itself, known to have ended with `code` and to have told every one of `facts`
    /// on either stream.
    ///
    /// # Panics
    /// When it did not.
    #[track_caller]
    pub fn ended(self, code: i32, facts: &[&str]) -> Self {
        let told = format!("{}\n{}", self.stdout, self.stderr);
        assert_eq!(self.code, Some(code), "{}: {told}", self.asked);
        for fact in facts {
            assert!(told.contains(fact), "{} should tell \"{fact}\":\n{told}", self.asked);
        }
        self
    }

    /// What it printed, as JSON.
    ///
    /// # Panics
    /// When it is none.
    #[track_caller]
    pub fn json(&self) -> Value {
        let parsed = serde_json::from_str(&self.stdout);
        parsed.unwrap_or_else(|e| panic!("{}: {e}: {}", self.asked, self.stdout))
    }
}
