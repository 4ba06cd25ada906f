//! What the whole stack in front of a handler costs: a request with a JSON web token that was
//! verified before, through request id, log, metrics, panic guard, authentication, scopes and the
//! tenant's rate, beside the same routes of axum without any of it. What it costs to hold an answer
//! until it is handed over. And the memory that a million tenants take.
//!
//! The model of the request has no version, so the handler ends where a prediction would begin;
//! its answer, a problem, costs more than the baseline's fixed one and is part of the figure.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use axum::routing::post;
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;
use weighbridge::app::assemble;
use weighbridge::data_dir::DataDir;
use weighbridge::edge::idle::Activity;
use weighbridge::edge::limit::quota::Quotas;
use weighbridge::edge::limit::rate::{Limiter, MOST_BUCKETS};
use weighbridge::gateway::Urls;
use weighbridge::serving::fair::{Fair, Gone, Party};
use weighbridge::telemetry::names;
use weighbridge_config::{Manifest, Overrides, Settings, settings};
use weighbridge_registry::{Actor, NewVersion, VersionInfo};

const ROUNDS: usize = 21;
const REQUESTS: usize = 4_000;

fn main() {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(stack());
    million_tenants();
}

fn unix_seconds() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.expect("after 1970").as_secs()
}

async fn stack() {
    let home = tempfile::tempdir().expect("a folder");
    let keys = home.path().join("rsa.pem");
    std::fs::write(&keys, include_bytes!("../../tests/it/tokens/rsa.pem")).expect("a file");
    let text = format!(
        "[auth]\ndata_plane = \"keys\"\n[logging]\naccess = \"off\"\n\
         [tiers.default]\nrequests = \"1000000000/s\"\n\
         [issuers.bench]\nissuer = \"https://bench.test\"\naudience = \"weighbridge\"\n\
         algorithms = \"RS256\"\nkeys = \"{}\"\nscopes = \"predict\"\n",
        keys.display()
    );
    let settings = Settings::load_from(Some(("bench", &text)), [], &Overrides::default());
    let settings = settings.expect("settings");
    let data_dir = DataDir::hold(&home.path().join("data")).expect("a data folder");
    let urls = Urls { data: String::new(), grpc: None, admin: String::new() };
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let metrics = names::install().expect("metrics");
    let rooms = assemble(settings, &data_dir, metrics, urls, &tasks, &stop).await;
    let rooms = rooms.expect("a gateway");
    let new = NewVersion {
        model: "fraud".parse().expect("a name"),
        version: None,
        manifest: Manifest::single_onnx(1, weighbridge_config::Digest::of(b"x")),
        info: VersionInfo::default(),
    };
    let registry = &rooms.gateway.control.registry;
    registry.register_version(new, &Actor::system(), 1).await.expect("a version");
    rooms.sync.refresh().await.expect("a snapshot");

    let claims = serde_json::json!({
        "iss": "https://bench.test", "aud": "weighbridge", "sub": "ada", "scope": "predict",
        "exp": unix_seconds() + 3600,
    });
    let key = include_bytes!("../../tests/it/tokens/rsa.key.pem");
    let key = EncodingKey::from_rsa_pem(key).expect("a key");
    let token = jsonwebtoken::encode(&Header::new(Algorithm::RS256), &claims, &key);
    let bearer = format!("Bearer {}", token.expect("a token"));

    let whole = weighbridge::api::routes::data(&rooms.gateway);
    let bare = Router::new().route(
        "/v2/models/{model}/infer",
        post(|| async { (StatusCode::SERVICE_UNAVAILABLE, "no version has been promoted") }),
    );
    let bare = bare.with_state(());
    let request = || {
        Request::post("/v2/models/fraud/infer")
            .header("authorization", &bearer)
            .header("content-type", "application/json")
            .body(Body::from("{}"))
            .expect("a request")
    };
    let time = async |router: &Router| {
        let requests: Vec<_> = (0..REQUESTS).map(|_| request()).collect();
        let begun = Instant::now();
        for request in requests {
            let Ok(answer) = router.clone().oneshot(request).await;
            assert_eq!(black_box(answer).status(), StatusCode::SERVICE_UNAVAILABLE);
        }
        begun.elapsed().as_secs_f64() * 1e6 / REQUESTS as f64
    };
    time(&whole).await;
    time(&bare).await;
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        with.push(time(&whole).await);
        without.push(time(&bare).await);
    }
    let (with, without) = (median(with), median(without));
    println!(
        "stack: {with:.2} us a request, the bare route {without:.2} us: {:.2} us more, {:.1} times \
         (medians of {ROUNDS} interleaved rounds of {REQUESTS})",
        with - without,
        with / without
    );
    stop.cancel();
    tasks.close();
    answers().await;
}

/// What it costs to hold an answer until it is handed over, beside its body alone.
async fn answers() {
    let activity = Activity::new(Duration::from_secs(10));
    let answer = || Response::new(Body::from("{\"outputs\":[]}"));
    let (mut held, mut bare) = (Vec::new(), Vec::new());
    let us = |begun: Instant| begun.elapsed().as_secs_f64() * 1e6 / REQUESTS as f64;
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        for _ in 0..REQUESTS {
            let answer = activity.begin().answered(answer());
            black_box(answer.into_body().collect().await).expect("a body");
        }
        held.push(us(begun));
        let begun = Instant::now();
        for _ in 0..REQUESTS {
            black_box(answer().into_body().collect().await).expect("a body");
        }
        bare.push(us(begun));
    }
    let (held, bare) = (median(held), median(bare));
    println!(
        "an answer held until it is handed over: {held:.2} us, its body alone {bare:.2} us \
         (medians of {ROUNDS} rounds of {REQUESTS})"
    );
}

fn median(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    of[of.len() / 2]
}

/// Resident memory of this process, in bytes.
fn resident() -> f64 {
    let pages = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages: f64 = pages.split_whitespace().nth(1).expect("pages").parse().expect("a number");
    pages * 4096.0
}

fn million_tenants() {
    const TENANTS: usize = 1_000_000;
    let mib = |bytes: f64| bytes / f64::from(1 << 20);
    let rate: settings::Rate = "100/m".parse().expect("a rate");
    let report = |what: &str, before: f64, begun: Instant| {
        let each = begun.elapsed().as_secs_f64() * 1e9 / TENANTS as f64;
        println!("{what}: {:.0} MiB more, {each:.0} ns a tenant", mib(resident() - before));
    };
    let (limiter, before, begun) = (Limiter::new(rate), resident(), Instant::now());
    for tenant in 0..TENANTS {
        black_box(limiter.check(&tenant.to_string(), "fraud", 1));
    }
    report("rates of a million tenants", before, begun);
    assert!(limiter.buckets() <= MOST_BUCKETS);

    let (fair, before, begun) = (Fair::default(), resident(), Instant::now());
    let model = "fraud".parse().expect("a name");
    fair.enter(&Party::default(), &model, 100.0);
    for tenant in 0..TENANTS {
        let tenant = tenant.to_string();
        let party = Party { tenant: tenant.as_str().into(), ..Party::default() };
        let place = fair.enter(&party, &model, 100.0);
        let gone = Gone { party: &party, place, runs: true };
        fair.took(&model, Some(place.tag + 100.0), [gone], begun);
    }
    report("shares of a million tenants", before, begun);

    let (quotas, before, begun) = (Quotas::default(), resident(), Instant::now());
    let tier = settings::Tier { rows_per_day: Some(1_000), ..settings::Tier::default() };
    let now = unix_seconds() * 1000;
    for tenant in 0..2 * TENANTS {
        let tenant: Arc<str> = tenant.to_string().into();
        black_box(quotas.charge(&tenant, &tier, 1, now)).expect("within the quota");
    }
    report("quotas of two million tenants, one of which are kept", before, begun);
}
