//! What the path and headers of a prediction ask for.

use std::time::{Duration, Instant};

use http::HeaderMap;
use weighbridge_config::settings::Priority;
use weighbridge_config::{Sticky, Version};
use weighbridge_protocol::v2::InferRequest;
use weighbridge_routing::{Ask, Key, Refusal};

use crate::edge::problem::{Kind, Problem};
use crate::rollout::snapshot::{ServedModel, Snapshot};
use crate::telemetry::events;

/// Which version the path names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathAsk<'a> {
    Any,
    Version(&'a str),
    Alias(&'a str),
}

/// The model of a path.
pub fn model<'s>(
    snapshot: &'s Snapshot,
    name: &str,
) -> Result<&'s std::sync::Arc<ServedModel>, Problem> {
    snapshot.model(name).ok_or_else(|| {
        let name: String = name.chars().take(128).collect();
        // The first sentence is the one that Triton's clients look for. What else there is, the
        // list of models says to who may know it.
        let detail = format!(
            "Request for unknown model: '{name}' is not found (GET /v2/models lists those that are)"
        );
        Problem::new(Kind::NotFound, detail)
    })
}

/// The version asked for, by path first and by header otherwise.
pub fn version_asked<'a>(path: PathAsk<'a>, headers: &'a HeaderMap) -> Result<Ask<'a>, Problem> {
    let by_header = |name: &'static str| text_header(headers, name);
    match path {
        PathAsk::Version(text) => parse_version(text).map(Ask::Version),
        PathAsk::Alias(alias) => Ok(Ask::Alias(alias)),
        PathAsk::Any => {
            match (by_header("weighbridge-version")?, by_header("weighbridge-alias")?) {
                (Some(_), Some(_)) => Err(Problem::new(
                    Kind::InvalidRequest,
                    "weighbridge-version and weighbridge-alias both came: wanted one of them",
                )),
                // Of a path it is not found; a header is wrong.
                (Some(text), None) => match parse_version(text) {
                    Ok(version) => Ok(Ask::Version(version)),
                    Err(problem) => Err(Problem::new(Kind::InvalidRequest, problem.detail)),
                },
                (None, Some(alias)) => Ok(Ask::Alias(alias)),
                (None, None) => Ok(Ask::Routed),
            }
        }
    }
}

fn text_header<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<Option<&'a str>, Problem> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    let text = value.to_str().map_err(|_| {
        Problem::new(Kind::InvalidRequest, format!("header {name} wants visible ASCII"))
    })?;
    Ok(Some(text.trim()))
}

/// Whether the answer shall name the elements of its outputs: `weighbridge-labels: map`.
pub fn wants_labels(headers: &HeaderMap) -> Result<bool, Problem> {
    match text_header(headers, "weighbridge-labels")? {
        None => Ok(false),
        Some("map") => Ok(true),
        Some(other) => {
            let came: String = other.chars().take(40).collect();
            let detail = format!("weighbridge-labels is \"{came}\": wanted map");
            Err(Problem::new(Kind::InvalidRequest, detail))
        }
    }
}

/// A version of a path; anything that is no version number is a version nobody has.
pub fn parse_version(text: &str) -> Result<Version, Problem> {
    text.parse()
        .map_err(|e: weighbridge_config::InvalidName| Problem::new(Kind::NotFound, e.to_string()))
}

/// The key that the split hashes, as the model's settings want it.
pub fn routing_key<'a>(model: &ServedModel, headers: &'a HeaderMap) -> Key<'a> {
    let Some(Sticky::Header(name)) = &model.settings.sticky else {
        return Key::Coin(rand::random());
    };
    match headers.get(name.as_str()) {
        Some(value) if !value.is_empty() => Key::Sticky(value.as_bytes()),
        _ => {
            events::no_sticky_key(&model.name);
            Key::Missing(rand::random())
        }
    }
}

/// When the caller stops waiting: `x-request-timeout-ms` or gRPC's `grpc-timeout`, whichever ends
/// sooner, up to the ceiling; else the model's own.
pub fn deadline(
    headers: &HeaderMap,
    arrived: Instant,
    model_timeout: Duration,
    ceiling: Duration,
) -> Result<Instant, Problem> {
    Ok(arrived + timeout(headers)?.map_or(model_timeout, |asked| asked.min(ceiling)))
}

/// The shorter of the two, if one came.
pub fn timeout(headers: &HeaderMap) -> Result<Option<Duration>, Problem> {
    Ok([timeout_ms(headers)?, grpc_timeout(headers)?].into_iter().flatten().min())
}

/// At most eight digits and a unit, as gRPC's protocol over HTTP/2 has it.
fn grpc_timeout(headers: &HeaderMap) -> Result<Option<Duration>, Problem> {
    let Some(text) = text_header(headers, "grpc-timeout")? else { return Ok(None) };
    let parsed = || {
        let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
        if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let count: u64 = digits.parse().ok()?;
        Some(match unit {
            "H" => Duration::from_secs(count * 3600),
            "M" => Duration::from_secs(count * 60),
            "S" => Duration::from_secs(count),
            "m" => Duration::from_millis(count),
            "u" => Duration::from_micros(count),
            "n" => Duration::from_nanos(count),
            _ => return None,
        })
    };
    parsed().map(Some).ok_or_else(|| {
        let came: String = text.chars().take(40).collect();
        let detail = format!(
            "grpc-timeout is \"{came}\": wanted up to 8 digits and a unit of H, M, S, m, u, n"
        );
        Problem::new(Kind::InvalidRequest, detail)
    })
}

fn timeout_ms(headers: &HeaderMap) -> Result<Option<Duration>, Problem> {
    let Some(text) = text_header(headers, "x-request-timeout-ms")? else { return Ok(None) };
    match text.parse::<u64>() {
        Ok(ms) if ms > 0 => Ok(Some(Duration::from_millis(ms))),
        _ => {
            let came: String = text.chars().take(40).collect();
            let detail = format!(
                "x-request-timeout-ms is \"{came}\": wanted milliseconds, a whole number above 0"
            );
            Err(Problem::new(Kind::InvalidRequest, detail))
        }
    }
}

/// Triton's parameter `timeout`: the most microseconds that the request may take. 0 means none.
pub fn timeout_asked(body: &InferRequest) -> Result<Option<Duration>, Problem> {
    let Some(text) = body.parameter("timeout") else { return Ok(None) };
    match text.parse::<u64>() {
        Ok(0) => Ok(None),
        Ok(micros) => Ok(Some(Duration::from_micros(micros))),
        Err(_) => {
            let came: String = text.chars().take(40).collect();
            let detail =
                format!("parameters.timeout is \"{came}\": wanted microseconds, a whole number");
            Err(Problem::new(Kind::InvalidRequest, detail))
        }
    }
}

/// Triton's parameter `priority`, as a class of ours: 1 is high, 2 normal, from 3 on low. 0, or
/// none, is the class of the tier.
pub fn priority_asked(body: &InferRequest) -> Result<Option<Priority>, Problem> {
    let Some(text) = body.parameter("priority") else { return Ok(None) };
    match text.parse::<u64>() {
        Ok(0) => Ok(None),
        Ok(1) => Ok(Some(Priority::High)),
        Ok(2) => Ok(Some(Priority::Normal)),
        Ok(_) => Ok(Some(Priority::Low)),
        Err(_) => {
            let came: String = text.chars().take(40).collect();
            let detail = format!("parameters.priority is \"{came}\": wanted a whole number");
            Err(Problem::new(Kind::InvalidRequest, detail))
        }
    }
}

/// A refusal of the router as an answer.
pub fn refusal(model: &ServedModel, refusal: Refusal) -> Problem {
    let name = &model.name;
    match refusal {
        Refusal::UnknownVersion(version) => {
            let known: Vec<String> = model.route.versions.keys().map(ToString::to_string).collect();
            let known = known.join(", ");
            Problem::new(
                Kind::NotFound,
                format!("{name} has no version {version} (versions here: {known})"),
            )
        }
        Refusal::UnknownAlias(alias) => Problem::new(
            Kind::NotFound,
            format!("{name} has no version behind the alias \"{alias}\""),
        ),
        Refusal::NotPromoted { newest: Some(version) } => Problem::new(
            Kind::NotReady,
            format!("no version of {name} has been promoted: weighbridge promote {name} {version}"),
        ),
        Refusal::NotPromoted { newest: None } => Problem::new(
            Kind::NotReady,
            format!("{name} has no version: weighbridge push {name} FILE.onnx"),
        ),
        Refusal::NotLoaded(_) if !model.settings.is_loaded => Problem::new(
            Kind::NotReady,
            format!(
                "{name} was unloaded: POST /v2/repository/models/{name}/load, or weighbridge \
                 configure {name} loaded=true"
            ),
        ),
        Refusal::NotLoaded(version) => {
            let detail = format!(
                "version {version} of {name} is not in memory: it is being loaded, or there was \
                 no room (with residency=on_demand a request loads what it asks for)"
            );
            Problem::new(Kind::NotReady, detail)
        }
        Refusal::Failed { version, reason } => Problem::new(
            Kind::NotReady,
            format!("version {version} of {name} cannot be loaded: {reason}"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(n, v)| (http::HeaderName::from_static(n), v.parse().unwrap())).collect()
    }

    #[test]
    fn the_path_wins_over_headers() {
        let both = headers(&[("weighbridge-version", "2")]);
        let v = |n: u32| Ask::Version(Version::try_from(n).unwrap());
        assert_eq!(version_asked(PathAsk::Version("7"), &both), Ok(v(7)));
        assert_eq!(version_asked(PathAsk::Any, &both), Ok(v(2)));
        assert_eq!(version_asked(PathAsk::Any, &HeaderMap::new()), Ok(Ask::Routed));
        assert_eq!(
            version_asked(PathAsk::Any, &headers(&[("weighbridge-alias", "canary")])),
            Ok(Ask::Alias("canary"))
        );
        let conflict = headers(&[("weighbridge-alias", "a"), ("weighbridge-version", "1")]);
        assert_eq!(version_asked(PathAsk::Any, &conflict).unwrap_err().kind, Kind::InvalidRequest);
        assert_eq!(version_asked(PathAsk::Version("x"), &both).unwrap_err().kind, Kind::NotFound);
    }

    #[test]
    fn deadlines_have_a_ceiling_and_a_default() {
        let now = Instant::now();
        let (own, ceiling) = (Duration::from_secs(30), Duration::from_secs(60));
        let at =
            |text: &str| deadline(&headers(&[("x-request-timeout-ms", text)]), now, own, ceiling);
        assert_eq!(deadline(&HeaderMap::new(), now, own, ceiling), Ok(now + own));
        assert_eq!(at("250"), Ok(now + Duration::from_millis(250)));
        assert_eq!(at("99999999"), Ok(now + ceiling));
        for bad in ["0", "-1", "soon", "", "1.5"] {
            assert_eq!(at(bad).unwrap_err().kind, Kind::InvalidRequest, "{bad}");
        }
        let grpc = |text: &str| deadline(&headers(&[("grpc-timeout", text)]), now, own, ceiling);
        for (text, wanted) in [
            ("495m", Duration::from_millis(495)),
            ("7u", Duration::from_micros(7)),
            ("90n", Duration::from_nanos(90)),
            ("2S", Duration::from_secs(2)),
            ("1M", ceiling),
            ("99999999H", ceiling),
            ("0m", Duration::ZERO),
        ] {
            assert_eq!(grpc(text), Ok(now + wanted), "{text}");
        }
        for bad in ["", "5", "m", "123456789m", "-1m", "5 m", "5s", "٣S"] {
            assert_eq!(grpc(bad).unwrap_err().kind, Kind::InvalidRequest, "{bad}");
        }
        let both = headers(&[("grpc-timeout", "5S"), ("x-request-timeout-ms", "20")]);
        assert_eq!(deadline(&both, now, own, ceiling), Ok(now + Duration::from_millis(20)));
    }
}
