//! A spec file, checked before the server sees it.

use std::path::Path;

use serde_json::Value;
use weighbridge_config::RolloutSpec;

use crate::cli::error::{CliError, with_causes};

/// Reads a spec in TOML or JSON and checks it.
///
/// What was written is sent, and not what it means: what it leaves out is the server's to fill in.
///
/// # Errors
/// All mistakes, as wrong usage.
pub fn read(path: &Path) -> Result<Value, CliError> {
    let shown = path.display();
    let text = std::fs::read_to_string(path)
        .map_err(|error| CliError::io(format!("read {shown}"), &error))?;
    if let Err(invalid) = RolloutSpec::parse(&text) {
        let mistakes: String = invalid.0.iter().map(|mistake| format!("\n  {mistake}")).collect();
        return Err(CliError::usage(format!("{shown} is no spec of a rollout:{mistakes}")));
    }
    let unreadable = |error: &dyn std::error::Error| {
        CliError::usage(format!("{shown} is no spec of a rollout: {}", with_causes(error)))
    };
    if text.trim_start().starts_with('{') {
        return serde_json::from_str(&text).map_err(|error| unreadable(&error));
    }
    toml::from_str(&text).map_err(|error| unreadable(&error))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::error::Exit;

    fn of(text: &str) -> Result<Value, CliError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        read(file.path())
    }

    #[test]
    fn what_was_written_is_sent_from_both_forms() {
        let wanted = json!({"steps": [5, 50.5], "step_min": "10s", "err": {"rollback_pp": 0.5}});
        let toml = "steps = [5, 50.5]\nstep_min = \"10s\"\n[err]\nrollback_pp = 0.5\n";
        assert_eq!(of(toml).unwrap(), wanted);
        assert_eq!(of(&wanted.to_string()).unwrap(), wanted);
        assert_eq!(of("").unwrap(), json!({}));
    }

    #[test]
    fn all_mistakes_are_told_as_wrong_usage() {
        let error = of("steps = [50, 5]\nalpa = 1\n[[webhooks]]\nurl = \"ftp://x\"\n").unwrap_err();
        assert_eq!(error.exit, Exit::WrongUsage);
        for field in ["  steps[1]: ", "  alpa: ", "  webhooks[0].url: "] {
            assert!(error.text.contains(field), "{error}");
        }
        assert_eq!(error.text.lines().count(), 4, "{error}");
        assert_eq!(of("steps = ").unwrap_err().exit, Exit::WrongUsage);
        assert_eq!(of("{\"steps\": [").unwrap_err().exit, Exit::WrongUsage);
    }

    #[test]
    fn a_file_that_cannot_be_read_is_no_wrong_usage() {
        let error = read(Path::new("/no/such/spec.toml")).unwrap_err();
        assert_eq!(error.exit, Exit::Failed);
        assert!(error.text.contains("/no/such/spec.toml"), "{error}");
    }
}
