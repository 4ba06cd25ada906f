//! Every setting once, in the order of the example file: its key, why one would change it, and
//! how its text becomes a value. The defaults are those of [`Settings::default`].

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::rules::{
    address, duration, folder, log_level, name, networks, optional_address, optional_address_of,
    optional_file, optional_file_of, secret_file, secret_file_of, size, whole, word, word_of,
};
use super::units::{ByteSize, format_duration};
use crate::engine::EngineChoice;

use super::{AccessLog, DataPlane, LogFormat, ModelControl, Settings};

/// One setting.
#[derive(Clone, Copy)]
pub(super) struct Setting {
    /// `section.name`.
    pub(super) key: &'static str,
    /// What the setting is for, and why its default is what it is. Lines of the example file.
    pub(super) about: &'static str,
    /// Whether the file writes the value in quotes; whole numbers stand without.
    pub(super) quoted: bool,
    /// Puts the value that a text means, or says what is wanted and changes nothing.
    pub(super) set: fn(&mut Settings, &str) -> Result<(), String>,
    /// The value as text that `set` accepts.
    pub(super) show: fn(&Settings) -> String,
    /// Whether a running server takes a changed value over; else it counts from the next start.
    pub(super) is_live: bool,
    /// Whether both have the same value.
    pub(super) is_same: fn(&Settings, &Settings) -> bool,
    /// Gives the first the value of the second.
    pub(super) take: fn(&mut Settings, &Settings),
}

impl Setting {
    /// The part of the key before the dot.
    pub(super) fn section(&self) -> &'static str {
        self.key.split_once('.').map_or(self.key, |(section, _)| section)
    }

    /// The part of the key after the dot.
    pub(super) fn name(&self) -> &'static str {
        self.key.split_once('.').map_or(self.key, |(_, name)| name)
    }

    /// The environment variable that overrides the file.
    pub(super) fn variable(&self) -> String {
        format!("{PREFIX}{}", self.key.replace('.', "__").to_ascii_uppercase())
    }

    /// The default as text.
    pub(super) fn default(&self) -> String {
        (self.show)(&Settings::default())
    }
}

/// What every variable that overrides a setting begins with. Two underscores: container
/// platforms make up variables such as `WEIGHBRIDGE_PORT` for a service of that name.
pub(super) const PREFIX: &str = "WEIGHBRIDGE__";

/// What each section is about, for the example file.
pub(super) const SECTIONS: [(&str, &str); 12] = [
    ("server", "The data listener (predictions, health, metadata) and the process itself."),
    ("admin", "The admin listener: admin API, metrics, dashboard. It always asks for a key."),
    ("auth", "Who may ask."),
    ("limits", "What one connection or request may use. Beyond a limit the answer is an error."),
    ("serving", "Defaults for what a model leaves unset: weighbridge configure NAME key=value."),
    ("engine", "Compute threads, and what loading a model may use."),
    ("shadow", "Copies of requests to shadow versions: weighbridge configure NAME shadows=3=10."),
    ("registry", "How this process follows the registry."),
    ("store", "The bytes of models."),
    ("webhooks", "Who is told of rollouts: the webhooks of a rollout's spec."),
    ("triton", "What clients of Triton may do beyond predictions."),
    ("logging", "What is logged, and how. Logs go to standard error."),
];

const DATA_PLANES: [(&str, DataPlane); 3] =
    [("auto", DataPlane::Auto), ("open", DataPlane::Open), ("keys", DataPlane::Keys)];
const MODEL_CONTROLS: [(&str, ModelControl); 2] =
    [("none", ModelControl::None), ("explicit", ModelControl::Explicit)];
const LOG_FORMATS: [(&str, LogFormat); 3] =
    [("auto", LogFormat::Auto), ("pretty", LogFormat::Pretty), ("json", LogFormat::Json)];
const ACCESS_LOGS: [(&str, AccessLog); 3] =
    [("off", AccessLog::Off), ("errors", AccessLog::Errors), ("all", AccessLog::All)];

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

/// One row of the table: the kind of value, the field that is also the key, its bounds, why.
macro_rules! setting {
    (live $($row:tt)*) => { Setting { is_live: true, ..setting!($($row)*) } };
    (duration $section:ident.$name:ident, $bounds:expr, $about:literal) => {
        setting!(@ $section.$name, true, $about,
            |text| duration(text, $bounds), |value: &Duration| format_duration(*value))
    };
    (size $section:ident.$name:ident, $bounds:expr, $about:literal) => {
        setting!(@ $section.$name, true, $about,
            |text| size(text, $bounds), |value: &ByteSize| value.to_string())
    };
    (whole $section:ident.$name:ident, $unit:literal, $bounds:expr, $about:literal) => {
        setting!(@ $section.$name, false, $about,
            |text| whole(text, $unit, $bounds), |value: &u32| value.to_string())
    };
    (word $section:ident.$name:ident, $words:expr, $about:literal) => {
        setting!(@ $section.$name, true, $about,
            |text| word(text, &$words), |value| word_of(value, &$words))
    };
    (text $section:ident.$name:ident, $rule:expr, $about:literal) => {
        setting!(@ $section.$name, true, $about, $rule, |value| ToString::to_string(value))
    };
    (folder $section:ident.$name:ident, $about:literal) => {
        setting!(@ $section.$name, true, $about,
            |text| folder(Path::new(text)), |value: &PathBuf| value.display().to_string())
    };
    (secret_file $section:ident.$name:ident, $about:literal) => {
        setting!(@ $section.$name, true, $about, secret_file, secret_file_of)
    };
    (optional_file $section:ident.$name:ident, $about:literal) => {
        setting!(@ $section.$name, true, $about, optional_file, optional_file_of)
    };
    (optional_address $section:ident.$name:ident, $about:literal) => {
        setting!(@ $section.$name, true, $about, optional_address, optional_address_of)
    };
    (@ $section:ident.$name:ident, $quoted:literal, $about:literal, $rule:expr, $show:expr) => {
        Setting {
            key: concat!(stringify!($section), ".", stringify!($name)),
            about: $about,
            quoted: $quoted,
            set: |settings, text| {
                settings.$section.$name = $rule(text)?;
                Ok(())
            },
            show: |settings| ($show)(&settings.$section.$name),
            is_live: false,
            is_same: |one, other| one.$section.$name == other.$section.$name,
            take: |to, from| to.$section.$name.clone_from(&from.$section.$name),
        }
    };
}

/// All settings, sections together.
pub(super) static TABLE: &[Setting] = &[
    setting!(text server.listen, address,
        "Where predictions are served. Loopback, so that nothing is reachable from another\n\
         machine before you say so. Port 0 picks a free port."),
    setting!(optional_address server.grpc_listen,
        "A second address for the same, for platforms that want gRPC on a port of its own.\n\
         \"none\": gRPC is on server.listen alone, beside REST."),
    setting!(folder server.data_dir,
        "The folder of the registry, the models' bytes and the admin key; one process at a time.\n\
         A relative path is relative to the folder the process was started in."),
    setting!(duration server.drain_timeout, MS..=HOUR,
        "How long requests that have begun may take to finish after a signal to stop. As long as\n\
         serving.timeout, so that none is cut off; keep it below the platform's own grace time."),
    setting!(text server.name, name,
        "What the server calls itself in its metadata, for those who look at several."),
    setting!(optional_file server.tls_certificate,
        "The certificate chain of this listener in PEM, its own certificate first. \"none\": plain\n\
         HTTP. A changed file counts for new connections within seconds."),
    setting!(optional_file server.tls_key,
        "The private key of server.tls_certificate in PEM."),
    setting!(optional_file server.tls_client_ca,
        "The authorities whose client certificates are accepted, in PEM; [clients.NAME] says what\n\
         their holders may do. \"none\": no certificate is asked for. Needs tls_certificate."),
    setting!(text admin.listen, address,
        "Where administration is served. Loopback: open it to a network only with TLS, since its\n\
         keys may change every route."),
    setting!(optional_file admin.tls_certificate,
        "As server.tls_certificate, for this listener."),
    setting!(optional_file admin.tls_key,
        "The private key of admin.tls_certificate in PEM."),
    setting!(optional_file admin.tls_client_ca,
        "As server.tls_client_ca, for this listener."),
    setting!(live word auth.data_plane, DATA_PLANES,
        "Whether predictions need a key: \"auto\" asks for one unless server.listen is loopback;\n\
         \"open\" never asks; \"keys\" always asks."),
    setting!(live size limits.body, ByteSize::kib(1)..=ByteSize::gib(4),
        "The largest body of a prediction. Bodies are held in memory while they are decoded."),
    setting!(size limits.upload, ByteSize::kib(1)..=ByteSize::gib(1024),
        "The largest file of a pushed model. It is streamed to disk and not held in memory, but\n\
         loading it takes a multiple of its size. 2GiB is the most that one ONNX file can be."),
    setting!(duration limits.header_read_timeout, MS..=HOUR,
        "How long the head of a request may take to arrive: ends connections that trickle."),
    setting!(live duration limits.body_read_timeout, MS..=HOUR,
        "How long a body may stand still while it arrives; a slow but steady upload is not cut."),
    setting!(duration limits.answer_timeout, MS..=HOUR,
        "How long an answer may wait for its client to read on: then it is given up, and the\n\
         memory that it takes is free again."),
    setting!(whole limits.max_connections, "connections", 1..=1_000_000,
        "The most connections open at once on a listener; beyond it those on which nothing is\n\
         asked give way to newcomers. Each takes a file descriptor: raise the limit of the\n\
         process too."),
    setting!(duration limits.max_timeout, MS..=HOUR,
        "The most that a request may ask for with x-request-timeout-ms."),
    setting!(size limits.headers, ByteSize::kib(8)..=ByteSize::mib(1),
        "The largest head of a request: its first line and its headers."),
    setting!(whole limits.max_streams, "requests", 1..=10_000,
        "The most requests at once on one HTTP/2 connection. A client that needs more opens\n\
         another, which counts to max_connections."),
    setting!(live whole limits.max_in_flight, "requests", 1..=1_000_000,
        "The most requests that are read or answered at once. Beyond it they are refused at once,\n\
         before their bodies take memory."),
    setting!(live size limits.body_memory, ByteSize::mib(1)..=ByteSize::gib(1024),
        "The memory of the bodies that are read and decoded at once, all requests together. At\n\
         least limits.body, or the largest body could never be read."),
    setting!(live whole limits.decompression_ratio, "times", 1..=10_000,
        "How many times its own size a compressed body may grow to; 1MiB is always allowed. More\n\
         than tensors do, and less than a body that is made to use up memory."),
    setting!(whole serving.max_batch_size, "rows", 1..=65_536,
        "The most rows that share one run of a model. Larger gains little on CPUs and makes\n\
         everyone in the batch wait for the whole of it."),
    setting!(duration serving.max_queue_delay, Duration::ZERO..=10 * SECOND,
        "How long the first row of a batch waits for others while a worker is idle. 0s: batches\n\
         form while workers are busy, and an idle worker starts at once."),
    setting!(whole serving.max_queue_size, "rows", 1..=1_000_000,
        "The most rows that wait for one model. Beyond it requests are refused at once, which a\n\
         client can act on; a longer queue only makes them late."),
    setting!(duration serving.timeout, MS..=HOUR,
        "The deadline of a request that names none. At most limits.max_timeout."),
    setting!(whole engine.threads, "threads", 0..=1024,
        "Compute threads, shared by all models. 0: as many as the process has CPUs, by its\n\
         container's quota; more than that makes answers later and no more of them."),
    setting!(whole engine.load_threads, "threads", 1..=64,
        "Threads that load, optimise and warm up versions, apart from the compute threads. One,\n\
         so that loading takes little from predictions."),
    setting!(duration engine.vet_timeout, SECOND..=HOUR,
        "How long the vetting of a pushed version may take, in a process of its own, before it\n\
         is killed and the version is rejected."),
    setting!(size engine.vet_memory, ByteSize::mib(128)..=ByteSize::gib(1024),
        "The memory that the vetting of a pushed version may use. Several times the size of the\n\
         largest model."),
    setting!(whole engine.loaded_versions_per_model, "versions", 2..=64,
        "The most versions of one model that stay loaded. Two are the least that a rollout needs;\n\
         the others make going back to an older route instant."),
    setting!(size engine.memory, ByteSize::new(0)..=ByteSize::gib(1024),
        "The memory that loaded versions may take together, as measured when they were pushed.\n\
         What no route needs is put away first, the least recently used before others; what a\n\
         route needs is never put away unless its model is set to residency=on_demand. A load that\n\
         finds no room fails and says so. 0B: three fifths of the process's memory limit."),
    setting!(duration engine.min_stay, Duration::ZERO..=24 * HOUR,
        "How long a version stays at least that was loaded because a request asked for it. Two\n\
         models that do not fit together would otherwise drive each other out at every request."),
    setting!(word engine.default, EngineChoice::WORDS,
        "The engine of versions whose push and model name none: \"tract\", which is built in,\n\
         \"onnxruntime\", or \"auto\": tract where it gives ONNX Runtime's answers in at most 1.5\n\
         times its time, found out when a version is checked. Without the library: tract."),
    setting!(optional_file engine.onnxruntime_library,
        "The library of ONNX Runtime, version 1.23 or later, such as\n\
         \"/usr/local/lib/libonnxruntime.so\". \"none\": models that need it are refused. What it\n\
         runs, runs in this process."),
    setting!(whole shadow.cpu_share, "percent", 1..=100,
        "The part of the compute threads' time that copies may take, all shadows together.\n\
         Beyond it requests are not copied. Copies run on one low-priority thread, so they never\n\
         take more than one CPU."),
    setting!(whole shadow.queue, "copies", 1..=100_000,
        "The most copies that wait. Beyond it requests are not copied."),
    setting!(size shadow.memory, ByteSize::kib(1)..=ByteSize::gib(1024),
        "The most memory that the inputs and answers of waiting copies may take."),
    setting!(duration shadow.run_limit, 10 * MS..=HOUR,
        "How long one run of a shadow may take before it is written off and the shadow switched\n\
         off. The other shadows wait that long, once."),
    setting!(whole shadow.exemplars, "exemplars", 0..=1000,
        "The worst disagreements that are kept in memory for each shadow, with the inputs of the\n\
         request and both answers. That is data of users: 0 keeps none."),
    setting!(duration registry.poll_interval, 100 * MS..=HOUR,
        "How often the registry is asked for changes that nobody announced."),
    setting!(duration store.blob_grace, SECOND..=8760 * HOUR,
        "How long bytes that no version names are kept. A day, so that a push that was refused\n\
         can be looked into. Longer than engine.vet_timeout: a version gets its row after that."),
    setting!(text webhooks.allow, networks,
        "Addresses that webhooks may reach besides public ones, such as \"10.0.0.0/8,::1/128\", also\n\
         over plain http://. \"none\": whoever may start a rollout could otherwise make this\n\
         process ask services that only it can reach."),
    setting!(secret_file webhooks.secret_file,
        "The file with the secret that signs webhooks. \"auto\": webhook-secret in the data folder,\n\
         made by the server. It is read for each delivery."),
    setting!(live word triton.model_control, MODEL_CONTROLS,
        "Whether POST /v2/repository/models/NAME/load and /unload (and the same over gRPC) change\n\
         what is in memory, for credentials with the scope admin:rollout: \"explicit\"; \"none\"\n\
         refuses them."),
    setting!(live text logging.level, log_level,
        "What is logged: off, error, warn, info, debug or trace, or a list such as\n\
         \"info,weighbridge=debug\"."),
    setting!(word logging.format, LOG_FORMATS,
        "How a line looks: \"pretty\", \"json\" or \"auto\", which is pretty on a terminal and\n\
         JSON elsewhere."),
    setting!(live word logging.access, ACCESS_LOGS,
        "Which requests get a line: \"off\", \"errors\" or \"all\". Errors, since a line for each\n\
         request costs more than many a prediction, and the metrics count them all."),
];

/// The setting with this key; keys are case-sensitive.
pub(super) fn setting(key: &str) -> Option<&'static Setting> {
    TABLE.iter().find(|setting| setting.key == key)
}
