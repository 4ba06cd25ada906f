//! Every field of the named groups once, as `table` has every plain setting: the file, the
//! environment, `print-config` and the example file all follow it. The defaults are in
//! `defaults`.

use std::time::Duration;

use super::Settings;
use super::groups::{Client, Issuer, Priority, Tier};
use super::rules::{
    algorithms, claim, duration, exact, group_name, key_source, list, listed, optional,
    optional_of, rate, some_scopes, tenant, whole, word, word_of,
};
use super::units::format_duration;

/// Groups of the same fields, each with a name: `[kind.NAME]`.
pub(super) struct Kind {
    /// The part of the key before the group's name.
    pub(super) name: &'static str,
    /// What these groups are. Lines of the example file.
    pub(super) about: &'static str,
    /// The name of the group that the example file shows.
    pub(super) example: &'static str,
    pub(super) fields: &'static [Field],
    /// Puts a group in which nothing is set, unless there is one of that name.
    pub(super) add: fn(&mut Settings, &str),
    /// The names of the groups that there are.
    pub(super) names: fn(&Settings) -> Vec<String>,
}

impl Kind {
    /// The field of this name; names are case-sensitive.
    pub(super) fn field(&self, name: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.name == name)
    }
}

/// One field of the groups of a kind.
pub(super) struct Field {
    /// The part of the key after the group's name.
    pub(super) name: &'static str,
    /// What the field is for, and why its default is what it is. Lines of the example file.
    pub(super) about: &'static str,
    /// Whether the file writes the value in quotes; whole numbers stand without.
    pub(super) quoted: bool,
    /// The value that the example file shows.
    pub(super) example: &'static str,
    /// Whether a group without it is a mistake.
    pub(super) is_required: bool,
    /// Puts the value that a text means into the group of that name, or says what is wanted and
    /// changes nothing.
    pub(super) set: fn(&mut Settings, &str, &str) -> Result<(), String>,
    /// The value of the group of that name as text that `set` accepts.
    pub(super) show: fn(&Settings, &str) -> String,
}

const MINUTE: Duration = Duration::from_secs(60);
/// Beyond it numbers of JSON are no longer exact.
const MOST_A_DAY: u64 = 1_000_000_000_000_000;

/// One row of a table: the kind of value, the field that is also the key, its bounds, what the
/// example shows, why.
macro_rules! field {
    (required $($row:tt)*) => { Field { is_required: true, ..field!($($row)*) } };
    (duration $kind:ident.$name:ident, $bounds:expr, $example:literal, $about:literal) => {
        field!(@ $kind.$name, true, $example, $about,
            |text| duration(text, $bounds), |value: &Duration| format_duration(*value))
    };
    (whole $kind:ident.$name:ident, $unit:literal, $bounds:expr, $example:literal,
        $about:literal) => {
        field!(@ $kind.$name, false, $example, $about,
            |text| whole(text, $unit, $bounds), |value: &u32| value.to_string())
    };
    (optional_whole $kind:ident.$name:ident, $unit:literal, $bounds:expr, $example:literal,
        $about:literal) => {
        field!(@ $kind.$name, false, $example, $about,
            |text| optional(text, |text| whole(text, $unit, $bounds)), optional_of)
    };
    (word $kind:ident.$name:ident, $words:expr, $example:literal, $about:literal) => {
        field!(@ $kind.$name, true, $example, $about,
            |text| word(text, &$words), |value| word_of(value, &$words))
    };
    (text $kind:ident.$name:ident, $rule:expr, $example:literal, $about:literal) => {
        field!(@ $kind.$name, true, $example, $about, $rule, |value| ToString::to_string(value))
    };
    (list $kind:ident.$name:ident, $rule:expr, $example:literal, $about:literal) => {
        field!(@ $kind.$name, true, $example, $about, $rule, |value: &Vec<_>| listed(value))
    };
    (optional $kind:ident.$name:ident, $rule:expr, $example:literal, $about:literal) => {
        field!(@ $kind.$name, true, $example, $about,
            |text| optional(text, $rule), optional_of)
    };
    (@ $kind:ident.$name:ident, $quoted:literal, $example:literal, $about:literal, $rule:expr,
        $show:expr) => {
        Field {
            name: stringify!($name),
            about: $about,
            quoted: $quoted,
            example: $example,
            is_required: false,
            set: |settings, group, text| {
                let value = $rule(text)?;
                if let Some(group) = settings.$kind.get_mut(group) {
                    group.$name = value;
                }
                Ok(())
            },
            show: |settings, group| {
                settings.$kind.get(group).map(|group| ($show)(&group.$name)).unwrap_or_default()
            },
        }
    };
}

macro_rules! kind {
    ($name:ident, $example:literal, $empty:expr, $fields:expr, $about:literal) => {
        Kind {
            name: stringify!($name),
            about: $about,
            example: $example,
            fields: $fields,
            add: |settings, group| {
                settings.$name.entry(group.to_owned()).or_insert_with($empty);
            },
            names: |settings| settings.$name.keys().cloned().collect(),
        }
    };
}

/// All kinds of groups, in the order of the example file.
pub(super) static KINDS: [Kind; 3] = [
    kind!(
        issuers,
        "corp",
        Issuer::empty,
        ISSUER,
        "Who signs JSON web tokens that are accepted beside keys. Live."
    ),
    kind!(
        clients,
        "billing",
        Client::empty,
        CLIENT,
        "Client certificates that are accepted beside keys: those that an authority of\n\
         server.tls_client_ca or admin.tls_client_ca has signed. Live."
    ),
    kind!(
        tiers,
        "gold",
        Tier::default,
        TIER,
        "What a tenant may use. The tier \"default\", of those that name none, is there without\n\
         being written and then has no limits. Live."
    ),
];

static ISSUER: &[Field] = &[
    field!(required text issuers.issuer, exact, "https://login.example.com",
        "What the tokens have as \"iss\", exactly. Required."),
    field!(required list issuers.audience, |text| list(text, "audiences", exact), "weighbridge",
        "What the tokens have as \"aud\": one of these, separated by commas. Required, since a\n\
         token that was made for another service must not count here."),
    field!(required list issuers.algorithms, algorithms, "RS256,ES256",
        "How tokens may be signed: some of RS256, PS256, ES256 and EdDSA, or HS256 alone. Required."),
    field!(required text issuers.keys, key_source, "https://login.example.com/keys",
        "Where the keys are: the path of a file, or a URL, https:// unless it is on this machine.\n\
         HS256 needs a file. Required."),
    field!(duration issuers.leeway, Duration::ZERO..=5 * MINUTE, "30s",
        "By how much the issuer's clock may differ from the one here."),
    field!(text issuers.scope_claim, claim, "scope",
        "The claim that says what the token allows."),
    field!(optional issuers.scopes, some_scopes, "predict:fraud-*",
        "What a token without that claim allows. By default \"none\": nothing."),
    field!(text issuers.tenant_claim, claim, "sub",
        "The claim that names the tenant, who is counted and limited as one."),
    field!(text issuers.tier_claim, claim, "tier",
        "The claim that names the tier."),
    field!(text issuers.tier, group_name, "default",
        "The tier of tokens without that claim."),
];

static CLIENT: &[Field] = &[
    field!(required text clients.subject, exact, "billing.example.com",
        "A DNS name, URI or e-mail address of the certificate's alternative names, or its common\n\
         name, exactly. Required."),
    field!(optional clients.tenant, tenant, "billing",
        "The tenant. By default \"none\": the name of this group."),
    field!(text clients.tier, group_name, "default",
        "The tier of the tenant."),
    field!(required text clients.scopes, some_scopes, "metrics predict:invoices-*",
        "What it may do, separated by spaces: predict, or predict:PATTERN for the models whose\n\
         names match, jobs, feedback, metrics, admin:read, admin:write, admin:rollout, or admin\n\
         for all of them. Required."),
];

static TIER: &[Field] = &[
    field!(optional tiers.requests, rate, "100/s burst 200",
        "The most requests, by the second (s), minute (m) or hour (h), and how many may come at\n\
         once; without \"burst\" as many as the rate. By default \"none\": no limit."),
    field!(optional tiers.rows, rate, "10000/s",
        "As requests, for the rows in them. By default \"none\"."),
    field!(optional_whole tiers.requests_per_day, "requests", 1..=MOST_A_DAY, "1000000",
        "The most requests in a day, or \"none\", which is the default."),
    field!(optional_whole tiers.rows_per_day, "rows", 1..=MOST_A_DAY, "none",
        "The most rows in a day, or \"none\", which is the default."),
    field!(word tiers.priority, Priority::WORDS, "normal",
        "Who goes first when there is not room for all: \"low\", \"normal\" or \"high\"."),
    field!(whole tiers.weight, "shares", 1..=1000, "1",
        "The share that a tenant gets among those of the same priority: twice the weight, twice\n\
         the share."),
];

/// The kind of this name; names are case-sensitive.
pub(super) fn kind(name: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.name == name)
}
