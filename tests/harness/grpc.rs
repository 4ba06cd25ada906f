//! A client of gRPC.

use tonic::codec::CompressionEncoding;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};
use weighbridge_grpc::inference::grpc_inference_service_client::GrpcInferenceServiceClient;
use weighbridge_grpc::inference::model_infer_request::InferInputTensor;
use weighbridge_grpc::inference::{InferTensorContents, ModelInferRequest, ModelInferResponse};

use crate::listener::Listener;

/// Calls to one listener; metadata goes with each.
#[derive(Debug, Clone)]
pub struct Grpc {
    pub channel: Channel,
    metadata: Vec<(String, String)>,
}

impl Grpc {
    /// A connection to `listener`, with its key.
    pub fn to(listener: &Listener) -> Self {
        let endpoint = Channel::from_shared(listener.url.clone()).expect("an address");
        let calls = Self { channel: endpoint.connect_lazy(), metadata: Vec::new() };
        match &listener.key {
            Some(key) => calls.with("authorization", &format!("Bearer {key}")),
            None => calls,
        }
    }

    /// The same connection, with one more line of metadata.
    pub fn with(&self, name: &str, value: &str) -> Self {
        let mut calls = self.clone();
        calls.metadata.push((name.to_owned(), value.to_owned()));
        calls
    }

    /// A request with the metadata.
    pub fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        for (name, value) in &self.metadata {
            let name = name.parse::<tonic::metadata::AsciiMetadataKey>().expect("a name");
            request.metadata_mut().append(name, value.parse().expect("a value"));
        }
        request
    }

    /// The generated client.
    pub fn client(&self) -> GrpcInferenceServiceClient<Channel> {
        GrpcInferenceServiceClient::new(self.channel.clone())
            .accept_compressed(CompressionEncoding::Gzip)
            .max_decoding_message_size(usize::MAX)
    }

    /// One prediction.
    pub async fn infer(
        &self,
        message: ModelInferRequest,
    ) -> Result<Response<ModelInferResponse>, Status> {
        self.client().model_infer(self.request(message)).await
    }
}

/// A request with one FP32 input.
pub fn fp32(model: &str, input: &str, rows: &[impl AsRef<[f32]>]) -> ModelInferRequest {
    let width = rows.first().map_or(0, |row| row.as_ref().len());
    let values = rows.iter().flat_map(|row| row.as_ref().iter().copied()).collect();
    let contents = InferTensorContents { fp32_contents: values, ..Default::default() };
    let input = InferInputTensor {
        name: input.to_owned(),
        datatype: "FP32".to_owned(),
        shape: vec![rows.len() as i64, width as i64],
        contents: Some(contents),
        ..Default::default()
    };
    ModelInferRequest {
        model_name: model.to_owned(),
        inputs: vec![input],
        ..ModelInferRequest::default()
    }
}

/// A row for the tag models.
pub fn any_row(model: &str) -> ModelInferRequest {
    fp32(model, "x", &[[1.0, 2.0, 3.0, 4.0]])
}

/// The values of output number `place`, of FP32.
pub fn floats(answer: &ModelInferResponse, place: usize) -> Vec<f32> {
    assert_eq!(answer.outputs[place].datatype, "FP32");
    let (words, rest) = answer.raw_output_contents[place].as_chunks::<4>();
    assert!(rest.is_empty());
    words.iter().map(|word| f32::from_le_bytes(*word)).collect()
}
