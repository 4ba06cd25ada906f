//! `status`: is the server ready, where, and what does it hold.

use super::Globals;
use super::error::CliError;
use super::show;
use super::wire::{Settings, Status};

pub async fn run(globals: &Globals) -> Result<(), CliError> {
    let answer = globals.client()?.get("status").await?;
    if globals.json {
        return show::json(&answer);
    }
    show::print(&told(&answer.parse()?))
}

fn told(status: &Status) -> String {
    let ready = if status.ready { "ready" } else { "not ready" };
    // Rounding down is what clocks do.
    let up = show::span(status.uptime_s.max(0.0) as u64);
    let since = show::time(status.started_at);
    let models = format!(
        "{}, {} versions loaded, {} resident",
        status.models,
        status.loaded_versions,
        show::size(status.resident_bytes)
    );
    let settings = match &status.settings {
        None => "as at the start".to_owned(),
        Some(Settings { at, error: Some(error), .. }) => {
            format!("refused at {}, the old ones stay: {error}", show::time(*at))
        }
        Some(Settings { at, needs_restart, .. }) if needs_restart.is_empty() => {
            format!("read again at {}", show::time(*at))
        }
        Some(Settings { at, needs_restart, .. }) => format!(
            "read again at {}; from the next start: {}",
            show::time(*at),
            needs_restart.join(", ")
        ),
    };
    let mut fields = vec![
        ("server", format!("{} {}, {ready}", status.name, status.version)),
        ("up", format!("{up}, since {since}")),
        ("predictions", status.data_url.clone()),
    ];
    fields.extend(status.grpc_url.clone().map(|url| ("gRPC", url)));
    fields.extend([
        ("admin", status.admin_url.clone()),
        ("models", models),
        ("revision", status.revision.to_string()),
        ("settings", settings),
    ]);
    show::fields(&fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_is_told_in_lines() {
        let status = serde_json::from_str(
            r#"{"name":"weighbridge","version":"0.1.0","data_url":"http://127.0.0.1:8080",
            "admin_url":"http://127.0.0.1:8081","revision":42,"ready":true,"started_at":0,
            "uptime_s":3725,"models":3,"loaded_versions":4,"resident_bytes":94371840,
            "settings":{"at":0,"changed":[],"needs_restart":["server.listen"],"error":null}}"#,
        );
        let wanted = "\
server       weighbridge 0.1.0, ready
up           1h 2m, since 1970-01-01T00:00:00Z
predictions  http://127.0.0.1:8080
admin        http://127.0.0.1:8081
models       3, 4 versions loaded, 90.0 MiB resident
revision     42
settings     read again at 1970-01-01T00:00:00Z; from the next start: server.listen";
        assert_eq!(told(&status.unwrap()), wanted);
    }
}
