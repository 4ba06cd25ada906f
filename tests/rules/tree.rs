//! The files of the repository, and what every one of them must keep to.

use std::fs;
use std::path::{Path, PathBuf};

/// What builds and runs leave behind.
const NOT_OURS: [&str; 7] =
    ["target", ".git", ".venv", "weighbridge-data", "reports", "__pycache__", ".pytest_cache"];

/// A file of the repository.
pub struct File {
    /// Relative to the root, with `/`.
    pub path: String,
    pub bytes: Vec<u8>,
}

impl File {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

pub fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("tests/ lies in the repository").to_owned()
}

/// Every file below `folder`, sorted by path.
pub fn files(folder: &str) -> Vec<File> {
    let mut found = Vec::new();
    collect(&root(), &root().join(folder), &mut found);
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(!found.is_empty(), "no files in {folder}: the rules look in the wrong place");
    found
}

fn collect(root: &Path, folder: &Path, found: &mut Vec<File>) {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    for entry in entries.flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        let kind = entry.file_type().expect("a kind of file");
        if kind.is_dir() && !NOT_OURS.contains(&name.as_str()) {
            collect(root, &path, found);
        } else if kind.is_file() {
            let relative = path.strip_prefix(root).expect("a path below the root");
            let relative = relative.to_string_lossy().replace('\\', "/");
            // A file that another process has just removed is no file of the repository.
            if let Ok(bytes) = fs::read(&path) {
                found.push(File { path: relative, bytes });
            }
        }
    }
}

pub fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// Fails with everything that was found and what to do about it.
pub fn refuse(found: &[String], advice: &str) {
    assert!(found.is_empty(), "\n  {}\n{advice}\n", found.join("\n  "));
}

#[test]
fn files_are_named_after_what_they_hold() {
    const EMPTY_WORDS: [&str; 11] = [
        "manager",
        "util",
        "utils",
        "common",
        "info",
        "data",
        "processor",
        "helper",
        "helpers",
        "misc",
        "stuff",
    ];
    let mut found = Vec::new();
    for file in files("") {
        if file.path.ends_with(".rs") || file.path.ends_with(".py") {
            let words = file.path.split('/').map(|part| part.split('.').next().unwrap_or(part));
            let empty: Vec<&str> = words.filter(|w| EMPTY_WORDS.contains(w)).collect();
            found.extend(empty.iter().map(|word| format!("{}: \"{word}\"", file.path)));
        }
    }
    refuse(&found, "name a file or folder after the noun that it holds, not after nothing");
}

#[test]
fn no_file_knows_the_machine_it_was_written_on() {
    // In two halves each, since this file is searched too.
    let strangers = [
        ["/wor", "k/"],
        ["/tmp/bash", "_jobs"],
        [".libr", "ary/"],
        ["/root", "/."],
        ["crates", ".io"],
        ["pypi", ".org"],
        ["pythonhosted", ".org"],
        ["registry.npm", "js.org"],
        ["proxy.golang", ".org"],
    ]
    .map(|halves| halves.concat());
    let mut found = Vec::new();
    for file in files("") {
        // Cargo writes where each crate comes from.
        if file.path == "Cargo.lock" {
            continue;
        }
        let text = file.text();
        for (number, line) in (1..).zip(text.lines()) {
            let words = strangers.iter().filter(|s| line.contains(s.as_str()));
            found.extend(words.map(|word| format!("{}:{number}: {word}", file.path)));
        }
    }
    let advice = "paths are relative to the repository, and packages come from whatever registry \
                  the machine is set up with";
    refuse(&found, advice);
}

#[test]
fn committed_models_are_small() {
    const MOST_BYTES: usize = 256 * 1024;
    // Families in the sizes that people train, which the engine is compared and timed on.
    const FAMILIES: [&str; 2] = ["engine/tests/fixtures/listed/", "engine/tests/fixtures/wider/"];
    const MOST_BYTES_OF_FAMILY: usize = 1100 * 1024;
    let most = |path: &str| {
        let is_family = FAMILIES.iter().any(|folder| path.starts_with(folder));
        if is_family { MOST_BYTES_OF_FAMILY } else { MOST_BYTES }
    };
    let models = files("").into_iter().filter(|f| f.path.ends_with(".onnx"));
    let large: Vec<String> = models
        .filter(|f| f.bytes.len() > most(&f.path))
        .map(|f| format!("{}: {} bytes", f.path, f.bytes.len()))
        .collect();
    refuse(&large, "a committed model is at most 256 KiB: let a script make it where it is used");
}
