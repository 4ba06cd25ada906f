//! `weighbridge serve`: runs the gateway.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use weighbridge::app::{self, Greeting, SettingsSource, Startup};
use weighbridge::telemetry::logging;
use weighbridge_config::{ModelName, Overrides, Settings};
use weighbridge_registry::Role;

/// What can be said about a server on its command line.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Serve the demo models: digits, breast_cancer, diabetes.
    #[arg(long)]
    demo: bool,
    /// Serve an ONNX file at once under this name. Repeatable.
    #[arg(long = "model", value_name = "NAME=FILE", value_parser = parse_model)]
    models: Vec<(ModelName, PathBuf)>,
    /// The settings file (TOML).
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where predictions are served [default: 127.0.0.1:8080].
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Where the admin API is served [default: 127.0.0.1:8081].
    #[arg(long, value_name = "ADDRESS")]
    admin_listen: Option<String>,
}

/// Settings with mistakes: the exit code of wrong usage in `sysexits.h`, told apart from clap's 2.
const BAD_SETTINGS: u8 = 64;

fn parse_model(text: &str) -> Result<(ModelName, PathBuf), String> {
    let (name, file) =
        text.split_once('=').ok_or("wanted NAME=FILE, such as fraud=./fraud.onnx")?;
    let name = name.parse::<ModelName>().map_err(|e| e.to_string())?;
    if file.is_empty() {
        return Err("wanted NAME=FILE: the file is missing".to_owned());
    }
    Ok((name, PathBuf::from(file)))
}

/// Runs the gateway until it is told to stop.
pub fn run(args: Args, data_dir: Option<PathBuf>) -> ExitCode {
    let Args { demo, models, config, listen, admin_listen } = args;
    let overrides = Overrides { listen, admin_listen, data_dir };
    let settings = match Settings::load(config.as_deref(), &overrides) {
        Ok(settings) => settings,
        Err(mistakes) => {
            eprintln!("{mistakes}");
            return ExitCode::from(BAD_SETTINGS);
        }
    };
    logging::install(&settings.logging);
    let outcome = runtime(&settings).and_then(|runtime| {
        let source = SettingsSource { file: config, overrides };
        runtime.block_on(app::serve(source, settings, Startup { demo, models }, |g| greet(g, demo)))
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("weighbridge: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn runtime(settings: &Settings) -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread()
        .worker_threads(app::compute_slots(settings))
        .thread_name("serve")
        .enable_all()
        .build()?)
}

fn greet(greeting: &Greeting, demo: bool) {
    let Greeting { urls, data_dir, new_admin_key, admin_key_file, needs_key, failures, models } =
        greeting;
    println!("predictions  {}", urls.data);
    if let Some(grpc) = &urls.grpc {
        println!("gRPC         {grpc}");
    }
    println!("admin API    {}/admin/v1", urls.admin);
    println!("data         {}", data_dir.display());
    match new_admin_key {
        // Never into a log: a terminal is a person.
        Some(key) if std::io::stdout().is_terminal() => {
            println!("admin key    {key} (shown once; also in {})", admin_key_file.display());
        }
        _ => println!("admin key    in {}", admin_key_file.display()),
    }
    for model in models {
        println!("model        {model}");
    }
    for failure in failures {
        eprintln!("weighbridge: not served: {failure}");
    }
    println!("\ntry:");
    for line in suggestions(&urls.data, data_dir, *needs_key, demo) {
        println!("  {line}");
    }
}

/// Three commands that work as they stand, from the folder the server was started in.
fn suggestions(data_url: &str, data_dir: &Path, needs_key: bool, demo: bool) -> [String; 3] {
    let program = std::env::args().next().unwrap_or_else(|| "weighbridge".to_owned());
    let mut command = program;
    if data_dir != Path::new("./weighbridge-data") {
        command = format!("{command} --data-dir {}", data_dir.display());
    }
    if demo {
        let request = data_dir.join("demo/digits.json");
        let mut curl = "curl -sS".to_owned();
        if data_url.starts_with("https://") {
            // Whose certificate it is only the operator knows.
            curl.push_str(" --cacert CA.pem");
        }
        if needs_key {
            let file = data_dir.join("admin-key");
            curl.push_str(&format!(" -H \"x-api-key: $(cat {})\"", file.display()));
        }
        curl.push_str(&format!(" {data_url}/v2/models/digits/infer -d @{}", request.display()));
        [curl, format!("{command} route digits 1=95 2=5"), format!("{command} promote digits 2")]
    } else {
        [
            format!("{command} status"),
            format!("{command} push NAME FILE.onnx"),
            format!("{command} promote NAME 1"),
        ]
    }
}

/// See [`app::offline_key`].
pub fn create_key_offline(
    data_dir: Option<PathBuf>,
    name: &str,
    role: Role,
) -> anyhow::Result<String> {
    let overrides = Overrides { data_dir, ..Overrides::default() };
    let settings = Settings::load(None, &overrides)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(app::offline_key(&settings.server.data_dir, name, role))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_are_named_files() {
        let (name, file) = parse_model("fraud=./a=b.onnx").unwrap();
        assert_eq!((name.as_str(), file), ("fraud", PathBuf::from("./a=b.onnx")));
        for bad in ["fraud", "=x.onnx", "a/b=x.onnx", "fraud="] {
            assert!(parse_model(bad).is_err(), "{bad}");
        }
    }
}
