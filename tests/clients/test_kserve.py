"""KServe's own SDK, unmodified: v1, v2 in JSON and binary, gRPC. Runs in an environment of its own."""
import asyncio

import demo
import extra
import grpc
import httpx
import numpy as np
import pytest
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest
from kserve.inference_client import RESTConfig
from kserve.protocol.grpc import grpc_predict_v2_pb2 as messages
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub
from kserve.protocol.infer_type import RequestedOutput
from kserve.utils.numpy_codec import from_np_dtype

VERSIONS = demo.versions()
DIGITS = VERSIONS[0]


def rest(protocol: str, call):
    """What `call` gets from a client of KServe's REST protocols."""
    async def talk():
        async with InferenceRESTClient(RESTConfig(protocol=protocol, retries=0)) as client:
            return await call(client)

    return asyncio.run(talk())


def rpc(gateway, call, **how):
    """What `call` gets from a client of KServe's gRPC protocol."""
    async def talk():
        async with InferenceGRPCClient(gateway.address, **how) as client:
            return await call(client)

    return asyncio.run(talk())


def asked(model: str, inputs: dict[str, np.ndarray], is_binary: bool, **more) -> InferRequest:
    """A request for a model."""
    tensors = [InferInput(name, list(array.shape), from_np_dtype(array.dtype)) for name, array in inputs.items()]
    for tensor, array in zip(tensors, inputs.values()):
        tensor.set_data_from_numpy(array, binary_data=is_binary)
    return InferRequest(model, tensors, **more)


def images() -> dict[str, np.ndarray]:
    """The committed rows of DIGITS."""
    return {"image": demo.features("digits")}


def answered(response) -> dict[str, np.ndarray]:
    """The outputs of an answer by name."""
    return {output.name: output.as_numpy() for output in response.outputs}


@pytest.fixture(scope="module")
def wanted() -> dict[str, np.ndarray]:
    """What ONNX Runtime says to the committed rows of DIGITS, whose version 1 takes the traffic."""
    return demo.run(DIGITS, demo.features("digits"))


# ---- health -------------------------------------------------------------------------------


def test_health_by_v1(gateway):
    assert rest("v1", lambda client: client.is_server_live(gateway.data))
    assert rest("v1", lambda client: client.is_server_live(f"{gateway.data}/"))
    assert rest("v1", lambda client: client.is_model_ready(gateway.data, "digits")) is True
    with pytest.raises(httpx.HTTPStatusError) as error:
        rest("v1", lambda client: client.is_model_ready(gateway.data, "nobody"))
    assert error.value.response.status_code == 404


def test_health_by_v2(gateway):
    assert rest("v2", lambda client: client.is_server_live(gateway.data)) is True
    assert rest("v2", lambda client: client.is_server_ready(gateway.data)) is True
    assert rest("v2", lambda client: client.is_model_ready(gateway.data, "digits")) is True
    assert rest("v2", lambda client: client.is_model_ready(gateway.data, "nobody")) is False


def test_health_by_grpc(gateway):
    assert rpc(gateway, lambda client: client.is_server_live()) is True
    assert rpc(gateway, lambda client: client.is_server_ready()) is True
    assert rpc(gateway, lambda client: client.is_model_ready("digits")) is True
    assert rpc(gateway, lambda client: client.is_model_ready("nobody")) is False


# ---- predictions --------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["digits", "breast_cancer", "diabetes"])
def test_instances_by_v1(gateway, model):
    version = next(version for version in VERSIONS if version.model == model)
    matrix = demo.features(model)
    wanted = demo.run(version, matrix)
    body = {"instances": matrix.tolist()}
    got = rest("v1", lambda client: client.infer(gateway.data, body, model_name=model))["predictions"]
    if len(wanted) == 1:
        got = [{name: row for name in wanted} for row in got]
    demo.agree({name: np.array([row[name] for row in got]) for name in wanted}, wanted)


def test_a_column_by_v1_is_answered_as_the_models_dialect_says(workshop, wanted):
    def predictions():
        return rest("v1", lambda client: client.infer(workshop.data, {"inputs": images()["image"].tolist()},
                                                      model_name="digits"))
    assert set(predictions()) == {"outputs"}
    told = workshop.administer("PATCH", "/models/digits/settings", json={"v1_dialect": "kserve"})
    assert told.status_code == 200, told.text
    try:
        (got,) = predictions().values()
        demo.agree({name: np.array(got[name]) for name in wanted}, wanted)
        assert set(predictions()) == {"predictions"}
    finally:
        workshop.administer("PATCH", "/models/digits/settings", json={"v1_dialect": "default"})


@pytest.mark.parametrize("binary_output", [True, False])
@pytest.mark.parametrize("binary_input", [True, False])
def test_committed_rows_by_v2(gateway, wanted, binary_input, binary_output):
    request = asked("digits", images(), binary_input, request_id="mine",
                    parameters={"binary_data_output": binary_output})
    headers = {}
    response = rest("v2", lambda client: client.infer(gateway.data, request, model_name="digits",
                                                      response_headers=headers))
    demo.agree(answered(response), wanted)
    assert (response.id, response.model_name) == ("mine", "digits")
    assert ("inference-header-content-length" in headers) is binary_output


def test_an_output_has_its_own_say_in_v2(gateway, wanted):
    request = asked("digits", images(), False, parameters={"binary_data_output": True},
                    request_outputs=[RequestedOutput("output_label", {"binary_data": False})])
    headers = {}
    response = rest("v2", lambda client: client.infer(gateway.data, request, model_name="digits",
                                                      response_headers=headers))
    assert list(answered(response)) == ["output_label"] and "inference-header-content-length" not in headers
    assert answered(response)["output_label"].tolist() == wanted["output_label"].tolist()


@pytest.mark.parametrize("model", extra.FILES)
def test_every_datatype_by_v2(workshop, model):
    inputs = extra.inputs(model)
    request = asked(model, inputs, True, parameters={"binary_data_output": True})
    response = rest("v2", lambda client: client.infer(workshop.data, request, model_name=model))
    extra.agree(answered(response), extra.run(model, inputs), extra.HALF_TOLERANCE if model == "half" else 1e-5)


@pytest.mark.parametrize("version", VERSIONS, ids=str)
def test_committed_rows_by_grpc(gateway, version):
    name = demo.rows(version.model)["inputs"][0]["name"]
    request = asked(version.model, {name: demo.features(version.model)}, True, model_version=str(version.number),
                    request_id="mine")
    response = rpc(gateway, lambda client: client.infer(request))
    demo.agree(answered(response), demo.run(version, demo.features(version.model)))
    assert (response.id, response.model_name, response.model_version) == ("mine", version.model, str(version.number))


# gRPC has no field for halves: they go in binary only.
@pytest.mark.parametrize(("model", "is_binary"), [(model, is_binary) for model in extra.FILES
                                                  for is_binary in (True, False) if is_binary or model != "half"])
def test_every_datatype_by_grpc(workshop, model, is_binary):
    inputs = extra.inputs(model)
    request = asked(model, inputs, is_binary)
    response = rpc(workshop, lambda client: client.infer(request))
    extra.agree(answered(response), extra.run(model, inputs), extra.HALF_TOLERANCE if model == "half" else 1e-5)


# ---- mistakes -----------------------------------------------------------------------------


@pytest.mark.parametrize(("model", "inputs", "code", "said"), [
    ("nobody", {"image": np.zeros((1, 64), np.float32)}, 404, "Request for unknown model: 'nobody' is not found"),
    ("digits", {"picture": np.zeros((1, 64), np.float32)}, 400, "picture"),
])
@pytest.mark.parametrize("is_binary", [True, False])
def test_mistakes_are_shown_by_v2(gateway, model, inputs, code, said, is_binary):
    request = asked(model, inputs, is_binary)
    with pytest.raises(httpx.HTTPStatusError, match=said) as error:
        rest("v2", lambda client: client.infer(gateway.data, request, model_name=model))
    assert error.value.response.status_code == code


def test_mistakes_are_shown_by_v1(gateway):
    with pytest.raises(httpx.HTTPStatusError, match="64") as error:
        rest("v1", lambda client: client.infer(gateway.data, {"instances": [[1, 2]]}, model_name="digits"))
    assert error.value.response.status_code == 400


@pytest.mark.parametrize(("model", "name", "code", "said"), [
    ("nobody", "image", grpc.StatusCode.NOT_FOUND, "Request for unknown model: 'nobody' is not found"),
    ("digits", "picture", grpc.StatusCode.INVALID_ARGUMENT, "picture"),
])
def test_mistakes_are_shown_by_grpc(gateway, model, name, code, said):
    request = asked(model, {name: np.zeros((1, 64), np.float32)}, False)
    with pytest.raises(grpc.RpcError) as error:
        rpc(gateway, lambda client: client.infer(request))
    assert error.value.code() == code and said in error.value.details()


def test_raw_and_typed_inputs_do_not_mix(workshop):
    inputs = extra.inputs("pair")
    request = asked("pair", {"a": inputs["a"]}, True)
    request.inputs += asked("pair", {"b": inputs["b"]}, False).inputs
    with pytest.raises(grpc.RpcError) as error:
        rpc(workshop, lambda client: client.infer(request))
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "contents field must not be specified when using raw_input_contents" in error.value.details()


# ---- repository: the SDK's messages, for which its client has no calls --------------------


def test_a_model_goes_and_comes_back(workshop):
    with grpc.insecure_channel(workshop.address) as channel:
        stub = GRPCInferenceServiceStub(channel)
        as_admin = {"metadata": tuple(workshop.as_admin.items()), "timeout": 30}
        gone = stub.RepositoryModelUnload(messages.RepositoryModelUnloadRequest(model_name="tokens"), **as_admin)
        assert (gone.model_name, gone.isUnloaded) == ("tokens", True)
        assert rpc(workshop, lambda client: client.is_model_ready("tokens")) is False
        assert rest("v1", lambda client: client.is_model_ready(workshop.data, "tokens")) is False
        back = stub.RepositoryModelLoad(messages.RepositoryModelLoadRequest(model_name="tokens"), **as_admin)
        assert (back.model_name, back.isLoaded) == ("tokens", True)
        assert rpc(workshop, lambda client: client.is_model_ready("tokens")) is True
