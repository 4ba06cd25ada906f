//! How the two servers are found and called.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use super::Plan;
use super::child::Launch;

/// The bare handler: it prints its address.
pub fn bare_launch(plan: &Plan, folder: &Path, model: &Path) -> Result<Launch> {
    let hint = "cargo build --release -p load-tests --example bare";
    let program = find_program(plan.bare.as_deref(), "examples/bare", hint)?;
    let stdout = folder.join("bare.out");
    Ok(Launch {
        name: "bare",
        program,
        arguments: vec!["--model".into(), model.into(), "--listen".into(), "127.0.0.1:0".into()],
        url_file: stdout.clone(),
        stdout: Some(stdout),
        log: folder.join("bare.log"),
    })
}

/// The gateway: it writes its address into its data folder. It serves `model` (name and file)
/// from the start, if one is given.
pub fn gateway_launch(
    program: Option<&Path>,
    folder: &Path,
    model: Option<(&str, &Path)>,
    more: &[String],
) -> Result<Launch> {
    let program = find_program(program, "weighbridge", "cargo build --release")?;
    let data_dir = data_dir(folder);
    let mut arguments: Vec<OsString> = vec!["serve".into()];
    if let Some((name, file)) = model {
        let mut named = OsString::from(format!("{name}="));
        named.push(file);
        arguments.extend(["--model".into(), named]);
    }
    arguments.extend(["--data-dir".into(), data_dir.clone().into_os_string()]);
    let listen = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
    arguments.extend(listen.map(Into::into));
    arguments.extend(more.iter().map(Into::into));
    Ok(Launch {
        name: "gateway",
        program,
        arguments,
        url_file: data_dir.join("listen-url"),
        stdout: None,
        log: folder.join("gateway.log"),
    })
}

/// The gateway's data folder.
pub fn data_dir(folder: &Path) -> PathBuf {
    folder.join("data")
}

/// `given`, or the file of that name beside our own executable (or one above, under `cargo test`).
pub fn find_program(given: Option<&Path>, name: &str, build: &str) -> Result<PathBuf> {
    if let Some(given) = given {
        ensure!(given.is_file(), "{} is not a file", given.display());
        return Ok(given.to_owned());
    }
    let own = std::env::current_exe().context("find our own executable")?;
    let found = own.ancestors().skip(1).take(2).map(|folder| folder.join(name));
    match found.into_iter().find(|path| path.is_file()) {
        Some(path) => Ok(path),
        None => bail!("{name} is not beside {}: run `{build}` first", own.display()),
    }
}
