//! `predict`: one request to the data listener, with the address that the server tells.

use std::io::{self, IsTerminal, Read};
use std::path::PathBuf;

use http::{HeaderMap, HeaderValue};
use weighbridge_config::{ModelName, Version};

use super::client::Answer;
use super::error::CliError;
use super::pretty::pretty;
use super::wire::Status;
use super::{Globals, show};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example: weighbridge predict digits --file row.json
The body is that of POST /v2/models/NAME/infer. Which version answered, and why, goes to the \
standard error.")]
pub struct Args {
    /// Name of the model
    name: ModelName,
    /// File with the request body [default: the standard input]
    #[arg(long, value_name = "BODY.json")]
    file: Option<PathBuf>,
    /// Ask this version, whatever the route says
    #[arg(long, value_name = "V")]
    version: Option<Version>,
    /// Ask the version behind this alias, such as stable or canary
    #[arg(long, conflicts_with = "version", value_parser = alias)]
    alias: Option<HeaderValue>,
}

pub async fn run(args: &Args, globals: &Globals) -> Result<(), CliError> {
    let client = globals.client()?;
    let body = body(args)?;
    let status: Status = client.get("status").await?.parse()?;
    let data_url = reachable(&status.data_url, client.url());
    let url = match args.version {
        Some(version) => format!("{data_url}/v2/models/{}/versions/{version}/infer", args.name),
        None => format!("{data_url}/v2/models/{}/infer", args.name),
    };
    let mut headers = HeaderMap::new();
    if let Some(alias) = &args.alias {
        headers.insert("weighbridge-alias", alias.clone());
    }
    let answer = client.predict(&url, body, headers).await?;
    if let Some(told) = who_answered(&answer) {
        show::note(&told);
    }
    match globals.json {
        true => show::json(&answer),
        false => show::print(&pretty(&answer.body)),
    }
}

fn body(args: &Args) -> Result<Vec<u8>, CliError> {
    if let Some(file) = &args.file {
        let read = std::fs::read(file);
        return read.map_err(|error| CliError::io(format!("read {}", file.display()), &error));
    }
    if io::stdin().is_terminal() {
        show::note("the request body is read from here: end it with Ctrl-D");
    }
    let mut body = Vec::new();
    let read = io::stdin().lock().read_to_end(&mut body);
    read.map(|_| body).map_err(|error| CliError::io("read the standard input", &error))
}

/// The data address as seen from here: a server that listens everywhere is where its admin
/// API is.
fn reachable(data_url: &str, admin_url: &str) -> String {
    let host = admin_url.split_once("://").map(|(_, rest)| {
        let authority = rest.split('/').next().unwrap_or(rest);
        match authority.rfind(':') {
            // Not a colon within `[::1]`.
            Some(colon) if !authority[colon..].contains(']') => &authority[..colon],
            _ => authority,
        }
    });
    let everywhere = data_url.split_once("://").and_then(|(scheme, rest)| {
        let port = rest.strip_prefix("0.0.0.0").or_else(|| rest.strip_prefix("[::]"))?;
        port.starts_with(':').then_some((scheme, port))
    });
    match (everywhere, host) {
        (Some((scheme, port)), Some(host)) => format!("{scheme}://{host}{port}"),
        _ => data_url.trim_end_matches('/').to_owned(),
    }
}

/// From the headers of the answer: `version 2 (canary) answered: split`.
fn who_answered(answer: &Answer) -> Option<String> {
    let version = answer.header("weighbridge-served-version")?;
    let variant = answer.header("weighbridge-variant").map(|variant| format!(" ({variant})"));
    let reason = answer.header("weighbridge-reason").map(|reason| format!(": {reason}"));
    let (variant, reason) = (variant.unwrap_or_default(), reason.unwrap_or_default());
    Some(format!("version {version}{variant} answered{reason}"))
}

/// Any alias, the derived ones too; the server knows which exist.
fn alias(text: &str) -> Result<HeaderValue, String> {
    // The rule for names of models is that for aliases too.
    let name: ModelName = text.parse().map_err(|_| "not an alias".to_owned())?;
    HeaderValue::from_str(name.as_str()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_listens_everywhere_is_where_its_admin_api_is() {
        for (data, admin, wanted) in [
            ("http://127.0.0.1:8080", "http://127.0.0.1:8081", "http://127.0.0.1:8080"),
            ("http://0.0.0.0:8080", "http://gw.example:8081", "http://gw.example:8080"),
            ("https://0.0.0.0:8080", "http://gw.example:8081", "https://gw.example:8080"),
            ("http://[::]:8080", "http://[::1]:8081", "http://[::1]:8080"),
            ("http://0.0.0.0:8080", "http://[::1]", "http://[::1]:8080"),
            ("http://10.0.0.1:8080/", "http://gw:1", "http://10.0.0.1:8080"),
        ] {
            assert_eq!(reachable(data, admin), wanted);
        }
    }

    #[test]
    fn aliases_are_names() {
        assert!(alias("stable").is_ok() && alias("champion").is_ok());
        assert!(alias("a b").is_err());
    }
}
