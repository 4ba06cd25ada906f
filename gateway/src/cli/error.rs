//! Why a command failed, and the exit code that says so to scripts.

use std::error::Error;
use std::fmt;
use std::process::ExitCode;

use http::StatusCode;
use serde::Deserialize;
use weighbridge_config::client::ClientSettingsError;

/// What a script can tell apart. clap exits with 2 by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Failed = 1,
    WrongUsage = 2,
    Unreachable = 3,
    NotAllowed = 4,
    Refused = 5,
    /// A rollout that was waited for was rolled back.
    RolledBack = 10,
    /// It stands until somebody decides, or ended some other way.
    Held = 11,
    /// It had not ended when the time to wait was over.
    WaitTimedOut = 12,
    WaitsForApproval = 13,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl Exit {
    /// What an answer other than success means.
    fn of(status: StatusCode) -> Self {
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Self::NotAllowed,
            StatusCode::CONFLICT
            | StatusCode::PRECONDITION_FAILED
            | StatusCode::UNPROCESSABLE_ENTITY => Self::Refused,
            _ => Self::Failed,
        }
    }
}

/// A command that did not do what it was asked.
#[derive(Debug)]
pub struct CliError {
    pub exit: Exit,
    pub text: String,
}

impl CliError {
    pub fn failed(text: impl Into<String>) -> Self {
        Self { exit: Exit::Failed, text: text.into() }
    }

    pub fn usage(text: impl Into<String>) -> Self {
        Self { exit: Exit::WrongUsage, text: text.into() }
    }

    pub fn unreachable(text: impl Into<String>) -> Self {
        Self { exit: Exit::Unreachable, text: text.into() }
    }

    pub fn refused(text: impl Into<String>) -> Self {
        Self { exit: Exit::Refused, text: text.into() }
    }

    /// A file or stream of this machine that could not be read or written.
    pub fn io(attempt: impl fmt::Display, error: &std::io::Error) -> Self {
        Self::failed(format!("cannot {attempt}: {error}"))
    }

    /// An answer other than success. `request_id` is that of the header, for answers whose body
    /// has none.
    pub fn of_answer(status: StatusCode, body: &str, request_id: Option<&str>) -> Self {
        let problem: Problem = serde_json::from_str(body).unwrap_or_default();
        let told = [problem.error, problem.detail, problem.title].into_iter().flatten().next();
        let told = told.unwrap_or_else(|| beginning(body));
        let mut text = match told.as_str() {
            "" => format!("the server answered {status}"),
            told => format!("{told} ({status})"),
        };
        if let Some(id) = problem.request_id.as_deref().or(request_id) {
            text.push_str(&format!("\nrequest id: {id}"));
        }
        Self { exit: Exit::of(status), text }
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<ClientSettingsError> for CliError {
    fn from(error: ClientSettingsError) -> Self {
        use ClientSettingsError::{BadKey, BadUrl, KeyOfAnotherServer, NoKey, NoUrl, Unreadable};
        let exit = match &error {
            // The file with the address appears when a server starts.
            NoUrl(_) => Exit::Unreachable,
            NoKey(_) | KeyOfAnotherServer { .. } | Unreadable { .. } => Exit::NotAllowed,
            BadUrl { .. } | BadKey(_) => Exit::WrongUsage,
        };
        Self { exit, text: with_causes(&error) }
    }
}

/// The members of `application/problem+json` that are shown.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Problem {
    title: Option<String>,
    detail: Option<String>,
    error: Option<String>,
    request_id: Option<String>,
}

/// The first line of an answer that is no problem document, such as that of another server.
fn beginning(body: &str) -> String {
    const LONGEST: usize = 200;
    body.trim().lines().next().unwrap_or_default().chars().take(LONGEST).collect()
}

/// An error and what lies below it, on one line. A cause that its parent has told already is
/// not told again.
pub fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let told = cause.to_string();
        if !text.contains(&told) {
            text.push_str(": ");
            text.push_str(&told);
        }
        source = cause.source();
    }
    text
}

/// What lies at the bottom of an error, without the layers above that only say that it failed.
pub fn innermost(error: &dyn Error) -> String {
    let mut error = error;
    while let Some(cause) = error.source() {
        error = cause;
    }
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_follow_the_status() {
        for (status, code) in [
            (400, 1),
            (401, 4),
            (403, 4),
            (404, 1),
            (409, 5),
            (412, 5),
            (413, 1),
            (422, 5),
            (500, 1),
            (503, 1),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            let error = CliError::of_answer(status, "{}", None);
            assert_eq!(error.exit as u8, code, "{status}");
        }
    }

    #[test]
    fn a_problem_shows_its_error_and_the_request_id() {
        let body = r#"{"type":"x","title":"conflict","status":409,"detail":"d",
            "error":"version 2 of fraud is rejected","request_id":"r-1"}"#;
        let text = CliError::of_answer(StatusCode::CONFLICT, body, Some("r-2")).to_string();
        assert_eq!(text, "version 2 of fraud is rejected (409 Conflict)\nrequest id: r-1");
    }

    #[test]
    fn other_bodies_are_shown_by_their_first_line() {
        let of = |body: &str| CliError::of_answer(StatusCode::NOT_FOUND, body, None).to_string();
        assert_eq!(of(""), "the server answered 404 Not Found");
        assert_eq!(of("no such page\n<html>"), "no such page (404 Not Found)");
        assert!(of(&"x".repeat(5000)).len() < 300);
    }

    #[test]
    fn where_to_talk_to_has_exit_codes_too() {
        let exit = |error: ClientSettingsError| CliError::from(error).exit;
        assert_eq!(exit(ClientSettingsError::NoUrl("x".into())), Exit::Unreachable);
        assert_eq!(exit(ClientSettingsError::NoKey("x".into())), Exit::NotAllowed);
        let error = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
        let error = ClientSettingsError::Unreadable { path: "x/admin-key".into(), error };
        let told = CliError::from(error);
        assert_eq!(told.exit, Exit::NotAllowed);
        assert!(told.text.contains("x/admin-key: permission denied"), "{told}");
    }
}
