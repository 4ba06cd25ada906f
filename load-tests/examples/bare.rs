//! The line to beat: a plain axum handler that parses the request, runs the model inline with
//! tract and answers. No batching, no routing, no limits, no accounts.
//!
//! It is meant to be as good as such a handler gets without tricks: typed parsing straight into
//! `Vec<f32>`, names borrowed from the body, a symbolic plan with one reused state per runtime
//! thread, the answer serialised from the output tensor's own memory.

use std::borrow::Cow;
use std::cell::RefCell;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use clap::Parser;
use serde::{Deserialize, Serialize};
use tract_onnx::prelude::*;

/// One ONNX model with one FP32 input behind a plain handler.
#[derive(Debug, Parser)]
struct Arguments {
    /// An ONNX file with a symbolic batch axis.
    #[arg(long)]
    model: PathBuf,
    /// Port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
}

#[derive(Deserialize)]
struct Request<'a> {
    #[serde(borrow)]
    inputs: Vec<Input<'a>>,
}

#[derive(Deserialize)]
struct Input<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    shape: Vec<usize>,
    #[serde(borrow)]
    datatype: Cow<'a, str>,
    data: Vec<f32>,
}

#[derive(Serialize)]
struct Answer<'a> {
    model_name: &'a str,
    model_version: &'a str,
    outputs: [Output<'a>; 1],
}

#[derive(Serialize)]
struct Output<'a> {
    name: &'a str,
    shape: &'a [usize],
    datatype: &'a str,
    data: &'a [f32],
}

struct Model {
    plan: Arc<TypedRunnableModel>,
    input: String,
    output: String,
}

thread_local! {
    /// One process serves one model, so each runtime thread needs one state.
    static RUNNING: RefCell<Option<TypedSimpleState>> = const { RefCell::new(None) };
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let model = Arc::new(load(&arguments.model)?);
    // Default workers: one per core, as `#[tokio::main]` would have it.
    let runtime = tokio::runtime::Runtime::new().context("start the runtime")?;
    runtime.block_on(serve(model, arguments.listen))
}

async fn serve(model: Arc<Model>, listen: SocketAddr) -> Result<()> {
    let app = Router::new()
        .route("/v2/health/ready", get(|| async { r#"{"ready":true}"# }))
        .route("/v2/models/mlp/infer", post(infer))
        .with_state(model);
    let listener = tokio::net::TcpListener::bind(listen).await.context("bind")?;
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "http://{}", listener.local_addr()?).context("print the address")?;
    stdout.flush().context("print the address")?;
    drop(stdout);
    let no_delay = axum::serve::ListenerExt::tap_io(listener, |stream| {
        // An answer is one write: nothing is gained by waiting for more.
        let _ = stream.set_nodelay(true);
    });
    axum::serve(no_delay, app).await.context("serve")
}

fn load(path: &PathBuf) -> Result<Model> {
    let bytes = std::fs::read(path).with_context(|| format!("read {}", path.display()))?;
    let model = tract_onnx::onnx().model_for_read(&mut &bytes[..]).context("parse the model")?;
    ensure!(model.inputs.len() == 1 && model.outputs.len() == 1, "one input, one output expected");
    let input = model.node(model.inputs[0].node).name.clone();
    let output = model.outlet_label(model.outputs[0]).unwrap_or("y").to_owned();
    // The file's own symbolic batch axis stays symbolic: any batch runs on this one plan.
    let plan = model.into_optimized()?.into_runnable()?;
    Ok(Model { plan, input, output })
}

async fn infer(State(model): State<Arc<Model>>, body: Bytes) -> Response {
    match answer(&model, &body) {
        Ok(json) => ([(header::CONTENT_TYPE, "application/json")], json).into_response(),
        Err(error) => {
            let said = serde_json::json!({ "error": format!("{error:#}") }).to_string();
            (StatusCode::BAD_REQUEST, [(header::CONTENT_TYPE, "application/json")], said)
                .into_response()
        }
    }
}

fn answer(model: &Model, body: &[u8]) -> Result<Vec<u8>> {
    let request: Request<'_> = serde_json::from_slice(body).context("parse the request")?;
    let [input] = &request.inputs[..] else { anyhow::bail!("one input expected") };
    ensure!(
        input.name == model.input && input.datatype == "FP32",
        "the input is {} FP32, not {} {}",
        model.input,
        input.name,
        input.datatype
    );
    let tensor = Tensor::from_shape(&input.shape, &input.data)?;
    let outputs = run(model, tensor)?;
    let output = &outputs[0];
    let answer = Answer {
        model_name: "mlp",
        model_version: "1",
        outputs: [Output {
            name: &model.output,
            shape: output.shape(),
            datatype: "FP32",
            data: output.try_as_plain_ram()?.as_slice::<f32>()?,
        }],
    };
    Ok(serde_json::to_vec(&answer)?)
}

fn run(model: &Model, tensor: Tensor) -> Result<TVec<TValue>> {
    RUNNING.with_borrow_mut(|state| {
        let state = match state {
            Some(state) => state,
            None => state.insert(model.plan.spawn()?),
        };
        state.run(tvec!(tensor.into()))
    })
}
