//! A gateway that runs.

use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::time::Duration;

use http::Method;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::answer::Answer;
use crate::connection::Connection;
use crate::invocation::{self, Invocation};
use crate::listener::{Ask, Listener};
use crate::metrics::Metrics;
use crate::start::{Start, text_of};
use crate::wait;

/// A running gateway in a folder of its own. Dropping it stops the process and asserts that
/// nothing in it panicked.
#[derive(Debug)]
pub struct Gateway {
    /// Predictions.
    pub data: Listener,
    /// Administration, with the admin key.
    pub admin: Listener,
    home: TempDir,
    args: Vec<OsString>,
    child: Child,
    models_may_panic: bool,
}

impl Gateway {
    /// A gateway to be started.
    pub fn start() -> Start {
        Start::default()
    }

    pub(crate) async fn launch(home: TempDir, args: Vec<OsString>) -> Self {
        let child = spawn(home.path(), &args);
        let nowhere = Listener::new("", None);
        let mut gateway = Self {
            data: nowhere.clone(),
            admin: nowhere,
            home,
            args,
            child,
            models_may_panic: false,
        };
        gateway.find_addresses().await;
        gateway
    }

    async fn find_addresses(&mut self) {
        let folder = self.data_dir();
        // `admin-url` is written last.
        let admin = text_of(&folder.join("admin-url"), || self.assert_running()).await;
        let data = text_of(&folder.join("listen-url"), || ()).await;
        let key = text_of(&folder.join("admin-key"), || ()).await;
        self.data = Listener::new(&data, None);
        self.admin = Listener::new(&admin, Some(key));
    }

    /// Waits until traffic may come.
    pub async fn wait_ready(&mut self) {
        wait::until("the gateway is ready", async || {
            self.assert_running();
            let answer = self.data.ask(Method::GET, "/v2/health/ready").try_send().await;
            answer.ok().filter(|answer| answer.status.is_success())
        })
        .await;
    }

    fn assert_running(&mut self) {
        let ended = self.child.try_wait().expect("the state of a child");
        assert!(ended.is_none(), "the gateway ended: {ended:?}\n{}", self.stderr());
    }

    /// The folder that holds registry, store and keys.
    pub fn data_dir(&self) -> PathBuf {
        self.home.path().join("data")
    }

    /// A file beside the data folder.
    pub fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.home.path().join(name);
        std::fs::write(&path, bytes).expect("a file can be written");
        path
    }

    /// All that it has logged since its first start.
    pub fn stderr(&self) -> String {
        read(&self.home.path().join("stderr"))
    }

    /// All that it has printed since its first start.
    pub fn stdout(&self) -> String {
        read(&self.home.path().join("stdout"))
    }

    /// `POST /v2/models/{model}/infer`.
    pub async fn infer(&self, model: &str, body: &Value) -> Answer {
        self.data.post(&format!("/v2/models/{model}/infer"), body).await
    }

    /// As [`Gateway::infer`], to be added to.
    pub fn infer_ask(&self, model: &str) -> Ask {
        self.data.ask(Method::POST, &format!("/v2/models/{model}/infer"))
    }

    /// `POST /v1/models/{model}:predict`; `model` may go on with `/versions/2`.
    pub async fn predict(&self, model: &str, body: &Value) -> Answer {
        self.data.post(&format!("/v1/models/{model}:predict"), body).await
    }

    /// A connection to the data listener, by hand.
    pub async fn connect(&self) -> std::io::Result<Connection> {
        Connection::open(self.data.address()).await
    }

    /// Uploads a model and returns the version once its check has ended, whatever it found.
    pub async fn push(&self, model: &str, onnx: &[u8]) -> Value {
        self.pushed(self.versions_ask(model).upload(&json!({}), onnx)).await
    }

    /// `POST /admin/v1/models/{model}/versions`, to be given an upload.
    pub fn versions_ask(&self, model: &str) -> Ask {
        self.admin.ask(Method::POST, &format!("/admin/v1/models/{model}/versions"))
    }

    /// Sends an upload and returns the version once its check has ended, whatever it found.
    pub async fn pushed(&self, upload: Ask) -> Value {
        let started = upload.send().await.expect(202).json();
        let id = started["operation"]["id"].as_str().expect("an operation has an id").to_owned();
        let path = format!("/admin/v1/operations/{id}");
        let operation = wait::until("the check ends", async || {
            let operation = self.admin.get(&path).await.expect(200).json();
            (operation["state"] != "running").then_some(operation)
        })
        .await;
        operation["result"].clone()
    }

    /// Uploads a model that must be fit, waits until it is loaded and returns its number.
    pub async fn push_ready(&self, model: &str, onnx: &[u8]) -> u64 {
        let version = self.push(model, onnx).await;
        assert_eq!(version["state"], "ready", "{version}");
        let number = version["version"].as_u64().expect("a version has a number");
        self.wait_loaded(model, &number.to_string()).await;
        number
    }

    /// Gives all traffic to one version.
    pub async fn promote(&self, model: &str, version: u64) -> Answer {
        let path = format!("/admin/v1/models/{model}/promote");
        self.admin.post(&path, &json!({"version": version})).await
    }

    /// Sets the weights of a route, in basis points.
    pub async fn route(&self, model: &str, weights: &Value) -> Answer {
        let path = format!("/admin/v1/models/{model}/route");
        self.admin.put(&path, &json!({"weights": weights})).await
    }

    /// Waits until a version can answer; readiness waits for routed versions only.
    pub async fn wait_loaded(&self, model: &str, version: &str) {
        let path = format!("/v2/models/{model}/versions/{version}/ready");
        wait::until(&path, async || (self.data.get(&path).await.status == 200).then_some(())).await;
    }

    /// Changes settings of a model.
    pub async fn configure(&self, model: &str, changes: &Value) {
        let path = format!("/admin/v1/models/{model}/settings");
        self.admin.ask(Method::PATCH, &path).json(changes).send().await.expect(200);
    }

    /// A model as the admin API shows it.
    pub async fn model(&self, model: &str) -> Value {
        self.admin.get(&format!("/admin/v1/models/{model}")).await.expect(200).json()
    }

    /// The whole audit trail, oldest first.
    pub async fn history(&self) -> Vec<Value> {
        let mut events: Vec<Value> = Vec::new();
        loop {
            let before = events.last().map(|e| format!("&before={}", e["sequence"]));
            let path = format!("/admin/v1/audit?limit=100{}", before.unwrap_or_default());
            let page = self.admin.get(&path).await.expect(200).json();
            let page = page["events"].as_array().expect("events").clone();
            if page.is_empty() {
                events.reverse();
                return events;
            }
            events.extend(page);
        }
    }

    /// The metrics of this moment.
    pub async fn metrics(&self) -> Metrics {
        Metrics::parse(&self.admin.get("/metrics").await.expect(200).text())
    }

    /// Runs a command of the CLI on the data folder of this gateway.
    pub async fn cli(&self, args: &[&str]) -> Invocation {
        let mut command = invocation::command(args);
        command.arg("--data-dir").arg(self.data_dir()).current_dir(self.home.path());
        Invocation::of(command).await
    }

    /// Ends the process as a crash does.
    pub fn kill9(&mut self) {
        self.child.kill().expect("a child can be killed");
        self.child.wait().expect("a killed child ends");
    }

    /// Starts it again on the same folder, with the same arguments, and waits until it is
    /// ready.
    pub async fn restart(&mut self) {
        for name in ["admin-url", "listen-url"] {
            // Those of the process before.
            let _ = std::fs::remove_file(self.data_dir().join(name));
        }
        self.child = spawn(self.home.path(), &self.args);
        self.find_addresses().await;
        self.wait_ready().await;
    }

    /// Forgets what the command line said about models: the next start has only its folder.
    pub fn without_models(&mut self) {
        let is_kept = |arg: &OsStr| arg != "--demo" && arg != "--model";
        let mut kept = Vec::new();
        let mut args = self.args.drain(..);
        while let Some(arg) = args.next() {
            if is_kept(&arg) {
                kept.push(arg);
            } else if arg == "--model" {
                args.next();
            }
        }
        drop(args);
        self.args = kept;
    }

    /// Says that a model of this scenario panics, which the gateway is to survive: only panics
    /// outside the engine's runtime are held against it when it is dropped.
    pub fn models_may_panic(&mut self) {
        self.models_may_panic = true;
    }

    /// Asks it to stop.
    /// Asks it to read its settings again.
    pub fn signal_reload(&self) {
        kill_process(Pid::from_child(&self.child), Signal::HUP).expect("a child takes signals");
    }

    pub fn signal_stop(&self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).expect("a child takes signals");
    }

    /// Waits until the process has ended by itself.
    pub async fn ended(&mut self) -> ExitStatus {
        let child = &mut self.child;
        wait::until("the gateway stops", async || child.try_wait().expect("its state")).await
    }

    /// Asks it to stop and waits until it has; its exit and all that it logged.
    pub async fn terminate(&mut self) -> (ExitStatus, String) {
        self.signal_stop();
        (self.ended().await, self.stderr())
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // It may have ended already, which is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let log = self.stderr();
        if std::thread::panicking() {
            let tail: Vec<&str> = log.lines().rev().take(30).collect();
            eprintln!("the gateway's last lines, newest first:\n{}", tail.join("\n"));
        } else {
            let is_own = |line: &&str| {
                // A model's own code may stand in the standard library: it runs on these threads.
                let is_of_model = line.contains("tract")
                    || line.contains("the model's code panicked")
                    || line.contains("\"thread\":\"compute-");
                line.contains("panicked") && !(self.models_may_panic && is_of_model)
            };
            let panics: Vec<&str> = log.lines().filter(is_own).collect();
            assert!(panics.is_empty(), "something panicked in the gateway: {panics:?}\n{log}");
        }
    }
}

fn spawn(home: &Path, args: &[OsString]) -> Child {
    let mut command = invocation::command(args).into_std();
    let stream = |name: &str| -> File {
        OpenOptions::new().create(true).append(true).open(home.join(name)).expect("a file")
    };
    command.stdout(stream("stdout")).stderr(Stdio::from(stream("stderr"))).current_dir(home);
    command.spawn().expect("the gateway starts")
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
}

/// A body for `/v2` with one FP32 input.
pub fn fp32(name: &str, rows: &[impl AsRef<[f32]>]) -> Value {
    let width = rows.first().map_or(0, |row| row.as_ref().len());
    let flat: Vec<f32> = rows.iter().flat_map(|row| row.as_ref().iter().copied()).collect();
    json!({"inputs": [
        {"name": name, "datatype": "FP32", "shape": [rows.len(), width], "data": flat}
    ]})
}

/// A row for the tag models, whose answer does not depend on it.
pub fn any_row() -> Value {
    fp32("x", &[[1.0, 2.0, 3.0, 4.0]])
}

/// How long `work` takes.
pub async fn timed<T>(work: impl Future<Output = T>) -> (T, Duration) {
    let began = std::time::Instant::now();
    (work.await, began.elapsed())
}
