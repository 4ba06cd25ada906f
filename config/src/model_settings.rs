//! Settings of one model. They are registry rows with a revision and an audit trail; the file
//! holds only the defaults for what a model leaves unset.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};

use crate::engine::EngineChoice;
use crate::names::Version;
use crate::rollout::Percent;

/// Where a request's sticky key comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Sticky {
    /// The value of this HTTP header (lower case).
    Header(String),
}

/// How `/v1` answers a request in column form.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum V1Dialect {
    /// TF Serving: `{"outputs": …}`.
    #[default]
    Tfs,
    /// KServe: `{"predictions": …}`.
    Kserve,
}

/// Which versions of a model are in memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Residency {
    /// What routes, aliases, rollouts, experiments and shadows name stays; newer versions are
    /// kept as long as there is room.
    #[default]
    Routed,
    /// Each version is loaded when a request asks for it, and may be put away when others need
    /// the room.
    OnDemand,
    /// All versions that are loaded stay, whoever needs the room.
    Pinned,
}

impl Residency {
    /// The word that an operator writes.
    pub fn word(self) -> &'static str {
        match self {
            Self::Routed => "routed",
            Self::OnDemand => "on_demand",
            Self::Pinned => "pinned",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        [Self::Routed, Self::OnDemand, Self::Pinned].into_iter().find(|r| r.word() == word)
    }
}

/// What an operator may set for one model; `None` means the default of the process settings.
/// Stored rows tolerate fields they do not know, so that an older binary reads newer rows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ModelSettings {
    /// The most rows that share one run of the model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_batch_size: Option<u32>,
    /// How long the first row of a batch may wait for others, in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_queue_delay_us: Option<u64>,
    /// The most rows that may wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_queue_size: Option<u32>,
    /// The deadline of a request that names none, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// What keeps a caller on one version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sticky: Option<Sticky>,
    /// The dialect of `/v1`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub v1_dialect: Option<V1Dialect>,
    /// Whether stable answers what a canary in a rollout fails.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rescue: Option<bool>,
    /// How long a canary may take before stable is asked, in microseconds; unset: four times
    /// stable's own p99.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rescue_after_us: Option<u64>,
    /// False when running a request twice does harm: no rescue and no shadow then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idempotent: Option<bool>,
    /// True when NaN and infinities are answers and not failures.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_nan: Option<bool>,
    /// Which versions are in memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub residency: Option<Residency>,
    /// False: nothing of it is in memory, and nothing is answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loaded: Option<bool>,
    /// The engine of versions that are pushed from then on and name none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub engine: Option<EngineChoice>,
    /// The versions that see copies of requests and answer nobody, with the share of the
    /// requests that each sees.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "keyed_by_text")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<BTreeMap<String, Percent>>))]
    pub shadows: Option<BTreeMap<Version, Percent>>,
}

/// Keys of JSON objects are text, and stay so where an object is read into another by
/// `#[serde(flatten)]`.
fn keyed_by_text<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<BTreeMap<Version, Percent>>, D::Error> {
    let shadows = Option::<BTreeMap<String, Percent>>::deserialize(from)?;
    let parsed = |(key, share): (String, Percent)| Ok((key.parse()?, share));
    let shadows = shadows.map(|s| s.into_iter().map(parsed).collect());
    shadows.transpose().map_err(|e: crate::InvalidName| serde::de::Error::custom(e))
}

/// A `key=value` that is not a setting, or whose value does not fit; names both.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key} = \"{value}\": {wanted}")]
pub struct InvalidSetting {
    pub key: String,
    pub value: String,
    pub wanted: String,
}

/// The settings an operator may name, with what each wants.
pub const MODEL_SETTING_KEYS: [(&str, &str); 14] = [
    ("max_batch_size", "rows, a whole number from 1 to 65536"),
    ("max_queue_delay", "a duration such as 0s, 500us or 2ms, at most 10s"),
    ("max_queue_size", "rows, a whole number from 1 to 1000000"),
    ("timeout", "a duration such as 250ms or 30s, from 1ms to 1h"),
    ("sticky", "header:NAME, such as header:x-user-id"),
    ("v1_dialect", "tfs or kserve"),
    ("rescue", "on or off"),
    ("rescue_after", "auto, or a duration such as 50ms, from 1ms to 1h"),
    ("idempotent", "true or false"),
    ("allow_nan", "true or false"),
    ("residency", "routed, on_demand or pinned"),
    ("loaded", "true or false: nothing of the model is in memory, and nothing is answered"),
    ("engine", "auto, tract or onnxruntime: of versions that are pushed from then on"),
    (
        "shadows",
        "VERSION=PERCENT, such as 3=10 or 3=10,4=2.5: each version once, each percentage above 0 \
         and up to 100 with at most two decimals",
    ),
];

impl ModelSettings {
    /// These settings with `changes` applied; an empty value or `default` clears a setting.
    /// All mistakes are returned together.
    pub fn with_changes(
        &self,
        changes: &BTreeMap<String, String>,
    ) -> Result<Self, Vec<InvalidSetting>> {
        let mut changed = self.clone();
        let mut mistakes = Vec::new();
        for (key, value) in changes {
            if let Err(wanted) = changed.set(key, value.trim()) {
                let (key, value) = (key.clone(), value.clone());
                mistakes.push(InvalidSetting { key, value, wanted });
            }
        }
        if mistakes.is_empty() { Ok(changed) } else { Err(mistakes) }
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        let wanted = MODEL_SETTING_KEYS.iter().find(|(name, _)| *name == key);
        let Some((_, wanted)) = wanted else {
            let names = MODEL_SETTING_KEYS.map(|(name, _)| name).join(", ");
            return Err(format!("no such setting; wanted one of {names}"));
        };
        let clear = value.is_empty() || value == "default";
        let done = match key {
            "max_batch_size" => put(&mut self.max_batch_size, clear, || whole(value, 1, 65_536)),
            "max_queue_size" => put(&mut self.max_queue_size, clear, || whole(value, 1, 1_000_000)),
            "max_queue_delay" => put(&mut self.max_queue_delay_us, clear, || {
                let delay = humantime::parse_duration(value).ok()?;
                (delay <= Duration::from_secs(10)).then_some(delay.as_micros() as u64)
            }),
            "timeout" => put(&mut self.timeout_ms, clear, || {
                let timeout = humantime::parse_duration(value).ok()?.as_millis() as u64;
                (1..=3_600_000).contains(&timeout).then_some(timeout)
            }),
            "sticky" => put(&mut self.sticky, clear, || parse_sticky(value)),
            "rescue" => put(&mut self.rescue, clear, || one_of(value, "on", "off")),
            "rescue_after" => put(&mut self.rescue_after_us, clear || value == "auto", || {
                let limit = humantime::parse_duration(value).ok()?;
                (Duration::from_millis(1)..=Duration::from_secs(3600))
                    .contains(&limit)
                    .then_some(limit.as_micros() as u64)
            }),
            "idempotent" => put(&mut self.idempotent, clear, || one_of(value, "true", "false")),
            "allow_nan" => put(&mut self.allow_nan, clear, || one_of(value, "true", "false")),
            "residency" => put(&mut self.residency, clear, || Residency::parse(value)),
            "loaded" => put(&mut self.loaded, clear, || one_of(value, "true", "false")),
            "engine" => put(&mut self.engine, clear, || value.parse().ok()),
            "shadows" => put(&mut self.shadows, clear, || parse_shadows(value)),
            _ => put(&mut self.v1_dialect, clear, || match value {
                "tfs" => Some(V1Dialect::Tfs),
                "kserve" => Some(V1Dialect::Kserve),
                _ => None,
            }),
        };
        if done { Ok(()) } else { Err(format!("wanted {wanted}")) }
    }
}

/// Clears or sets one field; false when the value does not fit.
fn put<T>(field: &mut Option<T>, clear: bool, parse: impl FnOnce() -> Option<T>) -> bool {
    let value = if clear { None } else { parse() };
    let fits = clear || value.is_some();
    if fits {
        *field = value;
    }
    fits
}

fn one_of(value: &str, yes: &str, no: &str) -> Option<bool> {
    (value == yes || value == no).then(|| value == yes)
}

fn whole(text: &str, least: u32, most: u32) -> Option<u32> {
    text.parse().ok().filter(|n| (least..=most).contains(n))
}

fn parse_sticky(text: &str) -> Option<Sticky> {
    let name = text.strip_prefix("header:")?.to_ascii_lowercase();
    let token = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    (!name.is_empty() && name.len() <= 64 && name.bytes().all(token))
        .then_some(Sticky::Header(name))
}

fn parse_shadows(text: &str) -> Option<BTreeMap<Version, Percent>> {
    let mut shadows = BTreeMap::new();
    for pair in text.split(',') {
        let (version, percent) = pair.trim().split_once('=')?;
        // Digits and one dot: a number may not come as 1e1 or +10.
        let is_plain = percent.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        let percent = percent.parse::<f64>().ok().filter(|_| is_plain)?;
        let percent = Percent::try_from(percent).ok().filter(|p| p.as_points() > 0)?;
        let is_new = shadows.insert(version.parse().ok()?, percent).is_none();
        is_new.then_some(())?;
    }
    Some(shadows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn every_setting_can_be_set_and_cleared() {
        let set = ModelSettings::default()
            .with_changes(&changes(&[
                ("max_batch_size", "8"),
                ("max_queue_delay", "2ms"),
                ("max_queue_size", "100"),
                ("timeout", "250ms"),
                ("sticky", "header:X-User-Id"),
                ("v1_dialect", "kserve"),
                ("rescue", "off"),
                ("rescue_after", "50ms"),
                ("idempotent", "false"),
                ("allow_nan", "true"),
                ("residency", "on_demand"),
                ("loaded", "false"),
                ("engine", "onnxruntime"),
                ("shadows", "3=10, 4=2.5"),
            ]))
            .unwrap();
        let expected = ModelSettings {
            max_batch_size: Some(8),
            max_queue_delay_us: Some(2000),
            max_queue_size: Some(100),
            timeout_ms: Some(250),
            sticky: Some(Sticky::Header("x-user-id".into())),
            v1_dialect: Some(V1Dialect::Kserve),
            rescue: Some(false),
            rescue_after_us: Some(50_000),
            idempotent: Some(false),
            allow_nan: Some(true),
            residency: Some(Residency::OnDemand),
            loaded: Some(false),
            engine: Some(EngineChoice::OnnxRuntime),
            shadows: Some(
                [(3, Percent::whole(10)), (4, Percent::points(250))]
                    .map(|(version, percent)| (Version::try_from(version).unwrap(), percent))
                    .into(),
            ),
        };
        assert_eq!(set, expected);
        let clear: Vec<_> = MODEL_SETTING_KEYS.iter().map(|(k, _)| (*k, "default")).collect();
        assert_eq!(set.with_changes(&changes(&clear)), Ok(ModelSettings::default()));
    }

    #[test]
    fn all_mistakes_come_together_and_name_key_value_and_expectation() {
        let mistakes = ModelSettings::default()
            .with_changes(&changes(&[
                ("max_batch_size", "0"),
                ("timeout", "soon"),
                ("colour", "red"),
                ("sticky", "cookie:x"),
            ]))
            .unwrap_err();
        let lines: Vec<_> = mistakes.iter().map(ToString::to_string).collect();
        assert_eq!(lines.len(), 4);
        assert!(lines[0].contains("colour") && lines[0].contains("max_batch_size"));
        assert!(lines[1].contains("\"0\"") && lines[1].contains("1 to 65536"));
    }

    #[test]
    fn shadows_want_each_version_once_and_a_share_that_can_be() {
        let shadows = |text| ModelSettings::default().with_changes(&changes(&[("shadows", text)]));
        for good in ["1=100", "3=0.01", "3=10,4=2.5", "3=10 , 4=100"] {
            assert!(shadows(good).is_ok(), "{good}");
        }
        for bad in [
            "3",
            "3=",
            "=10",
            "0=10",
            "x=10",
            "3=0",
            "3=120",
            "3=-1",
            "3=1e1",
            "3=+5",
            "3=0.001",
            "3=nan",
            "3=10,3=20",
            "3=10,",
            "3=10;4=5",
            "3=10=5",
            "3=10%",
        ] {
            let mistakes = shadows(bad).unwrap_err();
            let told = mistakes[0].to_string();
            assert!(told.contains(bad) && told.contains("VERSION=PERCENT"), "{told}");
        }
        let stored = serde_json::to_string(&shadows("3=10,4=2.5").unwrap()).unwrap();
        assert_eq!(stored, r#"{"shadows":{"3":10.0,"4":2.5}}"#);
        assert_eq!(serde_json::from_str(&stored).ok(), shadows("3=10,4=2.5").ok());
        #[derive(Deserialize)]
        struct Around {
            #[serde(flatten)]
            settings: ModelSettings,
        }
        let around: Around = serde_json::from_str(&stored).unwrap();
        assert_eq!(Some(around.settings), shadows("3=10,4=2.5").ok());
        assert!(serde_json::from_str::<ModelSettings>(r#"{"shadows": {"0": 1}}"#).is_err());
    }

    #[test]
    fn stored_rows_tolerate_unknown_fields() {
        let row = r#"{"max_batch_size": 4, "a_later_setting": true}"#;
        let settings: ModelSettings = serde_json::from_str(row).unwrap();
        assert_eq!(settings.max_batch_size, Some(4));
    }
}
