//! How a gateway is to be started.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::gateway::Gateway;
use crate::wait;

/// A gateway that has not been started yet: ports of the system's choice, a fresh folder, logs
/// as JSON.
#[derive(Debug)]
#[must_use]
pub struct Start {
    home: TempDir,
    settings: BTreeMap<String, String>,
    args: Vec<OsString>,
}

impl Default for Start {
    fn default() -> Self {
        let home = tempfile::tempdir().expect("a folder");
        let defaults = [
            ("server.listen", "127.0.0.1:0"),
            ("admin.listen", "127.0.0.1:0"),
            ("logging.format", "json"),
        ];
        let own = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
        Self { home, settings: defaults.map(own).into(), args: Vec::new() }
    }
}

impl Start {
    /// With the demo models.
    pub fn demo(mut self) -> Self {
        self.args.push("--demo".into());
        self
    }

    /// With a model that it serves at once.
    pub fn model(mut self, name: &str, onnx: &[u8]) -> Self {
        let file = self.file(&format!("{name}-{}.onnx", self.args.len()), onnx);
        self.args.push("--model".into());
        self.args.push(format!("{name}={}", file.display()).into());
        self
    }

    /// With a setting of the process, such as `limits.body`.
    pub fn setting(mut self, key: &str, value: &str) -> Self {
        self.settings.insert(key.to_owned(), value.to_owned());
        self
    }

    /// The data folder that it will have.
    pub fn data_dir(&self) -> PathBuf {
        self.home.path().join("data")
    }

    /// A file beside the data folder.
    pub fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        write(self.home.path(), name, bytes)
    }

    /// Starts it and waits until it is ready.
    pub async fn ready(self) -> Gateway {
        let mut gateway = self.started().await;
        gateway.wait_ready().await;
        gateway
    }

    /// Starts it and waits for its addresses only.
    pub async fn started(self) -> Gateway {
        let data_dir = self.data_dir();
        let config = write(self.home.path(), "weighbridge.toml", self.toml().as_bytes());
        let mut args: Vec<OsString> = vec!["serve".into(), "--config".into(), config.into()];
        args.extend(["--data-dir".into(), data_dir.into_os_string()]);
        args.extend(self.args);
        Gateway::launch(self.home, args).await
    }

    fn toml(&self) -> String {
        let mut sections: BTreeMap<&str, String> = BTreeMap::new();
        for (key, value) in &self.settings {
            let (section, name) = key.split_once('.').expect("section.name");
            let is_number = value.parse::<u64>().is_ok();
            let value = if is_number { value.clone() } else { format!("\"{value}\"") };
            let lines = sections.entry(section).or_default();
            writeln!(lines, "{name} = {value}").expect("a String takes everything");
        }
        sections.iter().map(|(section, lines)| format!("[{section}]\n{lines}\n")).collect()
    }
}

fn write(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, bytes).expect("a file can be written");
    path
}

/// A file that a gateway writes when it is started, as soon as it is there.
pub(crate) async fn text_of(path: &Path, mut check: impl FnMut()) -> String {
    let what = format!("{} is written", path.display());
    wait::until(&what, async || {
        check();
        let text = std::fs::read_to_string(path).ok()?;
        Some(text.trim().to_owned())
    })
    .await
}
