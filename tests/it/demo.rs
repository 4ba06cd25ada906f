//! The demo models answer the committed rows as ONNX Runtime does, in every form.

use serde_json::{Value, json};
use weighbridge_tests::Gateway;
use weighbridge_tests::committed::{Committed, DEMO_MODELS, Output};

#[tokio::test]
async fn every_committed_row_is_answered_as_onnx_runtime_answers_it() {
    let gateway = Gateway::start().demo().ready().await;
    for committed in DEMO_MODELS.map(Committed::of) {
        for (version, outputs) in &committed.expected {
            gateway.wait_loaded(&committed.model, version).await;
            single_rows_of_v2(&gateway, &committed, version, outputs).await;
            all_rows_of_v2(&gateway, &committed, version, outputs).await;
            rows_of_v1(&gateway, &committed, version, outputs).await;
            columns_of_v1(&gateway, &committed, version, outputs).await;
        }
    }
}

async fn single_rows_of_v2(gateway: &Gateway, of: &Committed, version: &str, outputs: &[Output]) {
    for (place, row) in of.rows.iter().enumerate() {
        let ask = gateway.infer_ask(&format!("{}/versions/{version}", of.model));
        let answer = ask.body(of.v2_text(row)).send().await;
        assert_outputs(&answer.expect(200).json(), of, version, outputs, place..place + 1);
    }
}

async fn all_rows_of_v2(gateway: &Gateway, of: &Committed, version: &str, outputs: &[Output]) {
    let path = format!("{}/versions/{version}", of.model);
    let answer = gateway.infer(&path, &of.v2(&of.rows)).await.expect(200);
    assert_eq!(answer.version().to_string(), version);
    assert_outputs(&answer.json(), of, version, outputs, 0..of.rows.len());
}

fn assert_outputs(
    answer: &Value,
    of: &Committed,
    version: &str,
    outputs: &[Output],
    rows: std::ops::Range<usize>,
) {
    assert_eq!(answer["model_name"], of.model.as_str());
    assert_eq!(answer["model_version"], version);
    let came = answer["outputs"].as_array().expect("outputs");
    assert_eq!(came.len(), outputs.len());
    for (came, wanted) in came.iter().zip(outputs) {
        assert_eq!(came["name"], wanted.name.as_str());
        assert_eq!(came["datatype"], wanted.datatype.as_str());
        assert_eq!(came["shape"], json!(wanted.shape_of(rows.len())));
        let about = format!("{} {version} rows {rows:?}", of.model);
        wanted.assert_close(&came["data"], wanted.of_rows(rows.start, rows.end), &about);
    }
}

async fn rows_of_v1(gateway: &Gateway, of: &Committed, version: &str, outputs: &[Output]) {
    let path = format!("{}/versions/{version}", of.model);
    let answer = gateway.predict(&path, &json!({"instances": of.rows})).await.expect(200).json();
    let predictions = answer["predictions"].as_array().expect("one per row");
    assert_eq!(predictions.len(), of.rows.len());
    for (place, prediction) in predictions.iter().enumerate() {
        for wanted in outputs {
            let came = if outputs.len() == 1 { prediction } else { &prediction[&wanted.name] };
            let about = format!("{} {version} instance {place}", of.model);
            wanted.assert_close(came, wanted.of_rows(place, place + 1), &about);
        }
    }
}

async fn columns_of_v1(gateway: &Gateway, of: &Committed, version: &str, outputs: &[Output]) {
    let path = format!("{}/versions/{version}", of.model);
    for inputs in [json!(of.rows), json!({&of.input: of.rows})] {
        let answer = gateway.predict(&path, &json!({"inputs": inputs})).await.expect(200).json();
        for wanted in outputs {
            let whole = &answer["outputs"];
            let came = if outputs.len() == 1 { whole } else { &whole[&wanted.name] };
            wanted.assert_close(came, &wanted.values, &format!("{} {version} column", of.model));
        }
    }
}

#[tokio::test]
async fn health_and_metadata_say_what_is_there() {
    let gateway = Gateway::start().demo().setting("server.name", "scales").ready().await;
    gateway.wait_loaded("digits", "2").await;
    let get = async |path: &str| gateway.data.get(path).await.expect(200).json();
    assert_eq!(get("/v2/health/live").await, json!({"live": true}));
    assert_eq!(get("/v2/health/ready").await, json!({"ready": true}));
    assert_eq!(get("/").await, json!({"status": "alive"}));
    for path in ["/v2", "/v2/"] {
        let server = get(path).await;
        assert_eq!(server["name"], "scales");
        assert!(server["version"].is_string() && server["extensions"].is_array(), "{server}");
    }
    assert_eq!(get("/v2/models").await, json!({"models": ["breast_cancer", "diabetes", "digits"]}));

    let digits = get("/v2/models/digits").await;
    assert_eq!(digits["name"], "digits");
    assert_eq!(digits["versions"], json!(["1", "2"]));
    assert_eq!(digits["platform"], "onnx_onnxv1");
    let image = json!({"name": "image", "datatype": "FP32", "shape": [-1, 64]});
    assert_eq!(digits["inputs"], json!([image]));
    assert_eq!(
        digits["outputs"][0],
        json!({"name": "output_label", "datatype": "INT64", "shape": [-1]})
    );
    assert_eq!(get("/v2/models/digits/versions/2").await["inputs"], json!([image]));
    assert_eq!(get("/v2/models/digits/ready").await, json!({"name": "digits", "ready": true}));
    assert_eq!(get("/v2/models/digits/versions/1/ready").await["ready"], true);
    let v1 = get("/v1/models/digits").await;
    assert_eq!(v1["model_version_status"][1]["state"], "AVAILABLE", "{v1}");
}

#[tokio::test]
async fn an_answer_carries_id_requested_outputs_and_headers() {
    let gateway = Gateway::start().demo().ready().await;
    gateway.wait_loaded("digits", "2").await;
    let of = Committed::of("digits");
    let mut body = of.v2(&of.rows[..1]);
    body["id"] = json!("my-7");
    body["outputs"] = json!([{"name": "output_probability"}, {"name": "output_label"}]);
    let ask = gateway.infer_ask("digits").header("x-request-id", "trace-42").json(&body);
    let answer = ask.send().await.expect(200);
    let names: Vec<Value> =
        answer.json()["outputs"].as_array().unwrap().iter().map(|o| o["name"].clone()).collect();
    assert_eq!(names, ["output_probability", "output_label"]);
    assert_eq!(answer.json()["id"], "my-7");
    assert_eq!(answer.header("x-request-id"), Some("trace-42"));
    assert_eq!(answer.version(), 1);
    assert_eq!(answer.header("weighbridge-variant"), Some("stable"));
    assert_eq!(answer.header("weighbridge-reason"), Some("route"));
    let timing = answer.header("server-timing").expect("server-timing");
    assert!(timing.contains("queue;dur=") && timing.contains("compute;dur="), "{timing}");

    body["outputs"] = json!([{"name": "output_label"}]);
    body.as_object_mut().unwrap().remove("id");
    let ask = gateway.infer_ask("digits").header("weighbridge-version", "2").json(&body);
    let answer = ask.send().await.expect(200);
    assert_eq!(answer.json()["outputs"].as_array().map(Vec::len), Some(1));
    assert_eq!(answer.json().get("id"), None);
    assert_eq!(answer.version(), 2);
    assert_eq!(answer.header("weighbridge-variant"), Some("pinned"));
    assert_eq!(answer.header("x-request-id").map(str::len), Some(32), "one is made");
}
