//! `keys`: who may do what.

use std::time::{SystemTime, UNIX_EPOCH};

use clap::ValueEnum;
use serde::Serialize;
use weighbridge_config::Scopes;
use weighbridge_config::settings::units::parse_duration;
use weighbridge_registry::{KeyRecord, Millis, Role};

use super::error::CliError;
use super::wire::{Keys, NewKey};
use super::{Globals, id, serve, show};

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Create a key and print its secret, which is shown this once
    Create(CreateArgs),
    /// List the keys, revoked and expired ones too
    List,
    /// Revoke a key for good
    Revoke(RevokeArgs),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example: weighbridge keys create checkout --role predict --expires 30d
         weighbridge keys create fraud-team --scopes predict:fraud-*,admin:rollout --tenant risk
The secret alone goes to the standard output: KEY=$(weighbridge keys create …)")]
pub struct CreateArgs {
    /// Name that people know the key by
    name: String,
    /// What the holder may do: a named set of scopes
    #[arg(long, required_unless_present = "scopes")]
    role: Option<RoleName>,
    /// What the holder may do, in scopes: predict, predict:PATTERN, jobs, feedback, metrics,
    /// admin:read, admin:write, admin:rollout
    #[arg(long, value_name = "SCOPES", conflicts_with = "role")]
    scopes: Option<Scopes>,
    /// Whose limits and quotas its requests count against [default: the key's own]
    #[arg(long)]
    tenant: Option<String>,
    /// The tier of the server's settings that sets those limits [default: default]
    #[arg(long)]
    tier: Option<String>,
    /// How long the key is good for, such as 30d or 12h [default: for ever]
    #[arg(long, value_name = "DURATION", value_parser = whole_seconds)]
    expires: Option<u64>,
    /// Write into the data folder of a server that is stopped, for when every key is lost
    #[arg(long, requires = "role", conflicts_with_all = ["expires", "scopes", "tenant", "tier"])]
    offline: bool,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Example: weighbridge keys revoke wbk_ab12cd34")]
pub struct RevokeArgs {
    /// Id of the key, or its secret, or the visible beginning of that
    #[arg(value_parser = id)]
    id: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum RoleName {
    /// Everything, predictions included
    Admin,
    /// Predictions
    Predict,
    /// Reading metrics
    Metrics,
}

impl From<RoleName> for Role {
    fn from(name: RoleName) -> Self {
        match name {
            RoleName::Admin => Self::Admin,
            RoleName::Predict => Self::Predict,
            RoleName::Metrics => Self::Metrics,
        }
    }
}

pub async fn run(command: Command, globals: &Globals) -> Result<(), CliError> {
    match command {
        Command::Create(CreateArgs { name, role: Some(role), offline: true, .. }) => {
            create_offline(name, role.into(), globals).await
        }
        Command::Create(args) => create(args, globals).await,
        Command::List => list(globals).await,
        Command::Revoke(args) => revoke(&args, globals).await,
    }
}

async fn create(args: CreateArgs, globals: &Globals) -> Result<(), CliError> {
    #[derive(Serialize)]
    struct Wanted {
        name: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        role: Option<Role>,
        #[serde(skip_serializing_if = "Option::is_none")]
        scopes: Option<Scopes>,
        #[serde(skip_serializing_if = "Option::is_none")]
        tenant: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        tier: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        expires_in_s: Option<u64>,
    }
    let CreateArgs { name, role, scopes, tenant, tier, expires: expires_in_s, .. } = args;
    let role = role.map(Role::from);
    let wanted = Wanted { name, role, scopes, tenant, tier, expires_in_s };
    let answer = globals.client()?.post("keys", &wanted, None).await?;
    if globals.json {
        return show::json(&answer);
    }
    let created: NewKey = answer.parse()?;
    let key = &created.key;
    let expires = key.expires_at.map_or_else(|| "never".to_owned(), show::time);
    show::note(&format!(
        "key {} ({}, expires {expires}); this is the only time that its secret is shown:",
        key.name,
        may(key)
    ));
    show::print(&created.secret)
}

async fn create_offline(name: String, role: Role, globals: &Globals) -> Result<(), CliError> {
    let data_dir = globals.data_dir.clone();
    let create = move || serve::create_key_offline(data_dir, &name, role);
    // On a thread of its own: it may start a runtime, which this one must not.
    let created = tokio::task::spawn_blocking(create).await;
    let created = created.map_err(|error| CliError::failed(error.to_string()))?;
    let secret = created.map_err(|error| CliError::failed(format!("{error:#}")))?;
    match globals.json {
        true => show::print(&serde_json::json!({ "secret": secret }).to_string()),
        false => show::print(&secret),
    }
}

async fn list(globals: &Globals) -> Result<(), CliError> {
    let answer = globals.client()?.get("keys").await?;
    if globals.json {
        return show::json(&answer);
    }
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX);
    show::print(&listed(&answer.parse::<Keys>()?.keys, now))
}

async fn revoke(args: &RevokeArgs, globals: &Globals) -> Result<(), CliError> {
    let answer = globals
        .client()?
        .delete(&format!("keys/{}", weighbridge::secrets::shown(&args.id)), None)
        .await?;
    if globals.json {
        return show::json(&answer);
    }
    let key: KeyRecord = answer.parse()?;
    show::print(&format!("revoked key {} ({}…)", key.name, key.prefix))
}

fn listed(keys: &[KeyRecord], now: Millis) -> String {
    let heading =
        ["ID", "KEY", "NAME", "MAY", "TENANT", "TIER", "STATE", "CREATED", "EXPIRES", "LAST USED"];
    let rows = keys.iter().map(|key| {
        let state = match (key.revoked_at, key.expires_at) {
            (Some(_), _) => "revoked",
            (None, Some(expires)) if expires <= now => "expired",
            _ => "valid",
        };
        vec![
            key.id.clone(),
            format!("{}…", key.prefix),
            key.name.clone(),
            may(key),
            key.tenant.clone().unwrap_or_else(|| "-".to_owned()),
            key.tier.clone().unwrap_or_else(|| "default".to_owned()),
            state.to_owned(),
            show::time(key.created_at),
            key.expires_at.map_or_else(|| "never".to_owned(), show::time),
            key.last_used_at.map_or_else(|| "never".to_owned(), show::time),
        ]
    });
    show::table(&heading, rows.collect(), "no keys")
}

/// What a key allows: its role, or its own scopes.
fn may(key: &KeyRecord) -> String {
    match key.role {
        Some(Role::Admin) => "role admin".to_owned(),
        Some(Role::Predict) => "role predict".to_owned(),
        Some(Role::Metrics) => "role metrics".to_owned(),
        None => key.scopes.to_string().replace(' ', ","),
    }
}

fn whole_seconds(text: &str) -> Result<u64, String> {
    let seconds = parse_duration(text).map(|duration| duration.as_secs());
    let seconds = seconds.filter(|seconds| *seconds > 0);
    seconds.ok_or_else(|| "wanted a duration of at least 1s, such as 30d or 12h".to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keys_are_listed_with_their_state() {
        let key = |expires: Option<u64>, revoked: Option<u64>| {
            let key = json!({
                "id": "k1", "name": "ci", "role": null, "prefix": "wbk_ab",
                "scopes": "predict:a-* jobs", "tenant": "acme",
                "created_at": 0, "created_by": "system", "expires_at": expires,
                "revoked_at": revoked, "last_used_at": null,
            });
            serde_json::from_value(key).unwrap()
        };
        let keys = [key(None, None), key(Some(10), None), key(Some(11), None), key(None, Some(1))];
        let shown = listed(&keys, 10);
        let states: Vec<&str> =
            shown.lines().skip(1).filter_map(|line| line.split_whitespace().nth(6)).collect();
        assert_eq!(states, ["valid", "expired", "valid", "revoked"], "{shown}");
        assert!(shown.contains("jobs,predict:a-*  acme    default"), "{shown}");
    }

    #[test]
    fn durations_carry_units() {
        assert_eq!(whole_seconds("30d"), Ok(30 * 86_400));
        for bad in ["30", "0s", "1ms", "soon"] {
            assert!(whole_seconds(bad).is_err(), "{bad}");
        }
    }
}
