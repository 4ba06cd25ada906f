"""The unmodified gRPC client of Triton: tensors, streams, deadlines, packed messages; health and reflection."""
import asyncio
import queue
import time

import demo
import extra
import grpc
import numpy as np
import pytest
import tensors
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from tritonclient.grpc import model_config_pb2, service_pb2
from tritonclient.utils import InferenceServerException

VERSIONS = demo.versions()
DIGITS = VERSIONS[0]
LIMIT_S = 30


@pytest.fixture(scope="module")
def client(gateway):
    """A client of the demo models."""
    with triton.InferenceServerClient(gateway.address) as client:
        yield client


@pytest.fixture(scope="module")
def clients(workshop):
    """A client of the gateway that has the extra models."""
    with triton.InferenceServerClient(workshop.address) as client:
        yield client


@pytest.fixture(scope="module")
def channel(gateway):
    """A channel of one's own, for the standard services."""
    with grpc.insecure_channel(gateway.address) as channel:
        yield channel


@pytest.fixture(scope="module")
def wanted() -> dict[str, np.ndarray]:
    """What ONNX Runtime says to the committed rows of DIGITS."""
    return demo.run(DIGITS, demo.features("digits"))


def row(wanted: dict[str, np.ndarray], place: int) -> dict[str, np.ndarray]:
    """One row of the outputs."""
    return {name: values[place:place + 1] for name, values in wanted.items()}


def infer(client, **more):
    """The answer to the committed rows of DIGITS."""
    return client.infer("digits", tensors.asked(triton, tensors.rows(DIGITS)), model_version="1", **more)


def test_server_and_models_are_live_and_ready(client):
    assert client.is_server_live() and client.is_server_ready()
    assert client.is_model_ready("digits") and client.is_model_ready("digits", "2")
    # As Triton: no error, but not ready.
    assert not client.is_model_ready("digits", "9")
    assert not client.is_model_ready("nobody")


def test_metadata(client):
    server = client.get_server_metadata(as_json=True)
    assert server["name"] == "weighbridge" and "statistics" in server["extensions"]
    digits = client.get_model_metadata("digits", "2", as_json=True)
    assert digits["inputs"] == [{"name": "image", "datatype": "FP32", "shape": ["-1", "64"]}]
    assert [(o["name"], o["datatype"]) for o in digits["outputs"]] == [("output_label", "INT64"),
                                                                      ("output_probability", "FP32")]
    assert (digits["versions"], digits["platform"]) == (["1", "2"], "onnx_onnxv1")


@pytest.mark.parametrize("version", VERSIONS, ids=str)
def test_committed_rows(client, version):
    result = client.infer(version.model, tensors.asked(triton, tensors.rows(version)), request_id="committed",
                          model_version=str(version.number))
    wanted = demo.run(version, demo.features(version.model))
    demo.agree(tensors.answered(result, wanted), wanted)
    told = result.get_response()
    assert (told.id, told.model_name, told.model_version) == ("committed", version.model, str(version.number))


@pytest.mark.parametrize("model", extra.FILES)
def test_every_datatype(clients, model):
    inputs = extra.inputs(model)
    wanted = extra.run(model, inputs)
    result = clients.infer(model, tensors.asked(triton, inputs))
    tolerance = extra.HALF_TOLERANCE if model == "half" else demo.TOLERANCE
    extra.agree(tensors.answered(result, wanted), wanted, tolerance)


def test_a_part_of_the_outputs(client, wanted):
    result = infer(client, outputs=[triton.InferRequestedOutput("output_probability")])
    assert [output.name for output in result.get_response().outputs] == ["output_probability"]
    np.testing.assert_allclose(result.as_numpy("output_probability"), wanted["output_probability"], atol=1e-5)


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_packed_messages(client, wanted, coding):
    demo.agree(tensors.answered(infer(client, compression_algorithm=coding), wanted), wanted)


def test_big_messages_both_ways(clients):
    inputs = {"x": extra.text(*[["a" * 1_000_000, "b" * 1_500_000] for _ in range(3)])}
    result = clients.infer("texts", tensors.asked(triton, inputs))
    assert result.get_response().ByteSize() > 7_000_000
    extra.agree({"y": result.as_numpy("y")}, {"y": inputs["x"]})


def test_classification(client, wanted):
    scores = wanted["output_probability"]
    result = infer(client, outputs=[triton.InferRequestedOutput("output_probability", class_count=2)])
    found = result.as_numpy("output_probability")
    assert (result.get_output("output_probability").datatype, found.shape) == ("BYTES", (len(scores), 2))
    for place, best in enumerate(tensors.ranked(scores, 2)):
        for text, index in zip(found[place], best):
            value, *names = text.decode().split(":")
            assert names == [str(index), str(index)]
            assert abs(float(value) - scores[place, index]) < 1e-5


def test_many_requests_at_once_get_their_own_rows(client, wanted):
    matrix, answers = demo.features("digits"), queue.Queue()
    for place in range(32):
        at = place % len(matrix)
        client.async_infer("digits", tensors.asked(triton, {"image": matrix[at:at + 1]}), model_version="1",
                           request_id=str(at), callback=lambda result, error: answers.put((result, error)))
    for _ in range(32):
        result, error = answers.get(timeout=LIMIT_S)
        assert error is None, error
        demo.agree(tensors.answered(result, wanted), row(wanted, int(result.get_response().id)))


def test_priority_and_parameters_of_ones_own_change_no_answer(client, wanted):
    result = infer(client, priority=1, timeout=20_000_000, sequence_id="s", sequence_start=True, sequence_end=True,
                   parameters={"mine": "text", "weight": 0.5, "count": 3, "flag": True})
    demo.agree(tensors.answered(result, wanted), wanted)


# ---- streams ------------------------------------------------------------------------------


def streamed(client, *requests: dict, **how) -> list:
    """What comes back, in the order it comes, as (result, error)."""
    answers = queue.Queue()
    client.start_stream(lambda result, error: answers.put((result, error)), **how)
    try:
        for request in requests:
            client.async_stream_infer(**request)
        return [answers.get(timeout=LIMIT_S) for _ in requests]
    finally:
        client.stop_stream()


def one_row(place: int, **more) -> dict:
    """A request of a stream for one of the committed rows."""
    image = demo.features("digits")[place:place + 1]
    return {"model_name": "digits", "model_version": "1", "request_id": str(place),
            "inputs": tensors.asked(triton, {"image": image})} | more


@pytest.mark.parametrize("coding", [None, "gzip", "deflate"])
def test_a_stream_answers_in_order(client, wanted, coding):
    answers = streamed(client, *(one_row(place) for place in range(8)), compression_algorithm=coding)
    for place, (result, error) in enumerate(answers):
        assert error is None and result.get_response().id == str(place)
        demo.agree(tensors.answered(result, wanted), row(wanted, place))


def test_a_mistake_does_not_end_the_stream(client, wanted):
    answers = streamed(client, one_row(0), one_row(1, model_name="nobody"), one_row(2, model_version="9"), one_row(3))
    assert [error is None for _, error in answers] == [True, False, False, True]
    assert "Request for unknown model: 'nobody' is not found" in answers[1][1].message()
    assert "digits has no version 9" in answers[2][1].message()
    demo.agree(tensors.answered(answers[3][0], wanted), row(wanted, 3))


def test_the_last_answer_to_a_request_says_so_where_that_is_asked_for(client):
    ((result, error), (unasked, _)) = streamed(client, one_row(0, enable_empty_final_response=True), one_row(1))
    assert error is None and result.get_response().parameters["triton_final_response"].bool_param
    assert "triton_final_response" not in unasked.get_response().parameters


def test_who_stops_asking_gets_what_is_due(client, wanted):
    answers = queue.Queue()
    client.start_stream(lambda result, error: answers.put((result, error)))
    for place in range(8):
        client.async_stream_infer(**one_row(place))
    client.stop_stream()
    for place in range(8):
        result, error = answers.get_nowait()
        assert error is None, error
        demo.agree(tensors.answered(result, wanted), row(wanted, place))


def test_a_stream_that_is_cut_off_leaves_the_gateway_well(client, wanted):
    client.start_stream(lambda result, error: None)
    for place in range(8):
        client.async_stream_infer(**one_row(place))
    client.stop_stream(cancel_requests=True)
    demo.agree(tensors.answered(infer(client), wanted), wanted)


def test_the_asynchronous_client(gateway, wanted):
    async def requests():
        for place in range(4):
            yield one_row(place, model_name="nobody") if place == 1 else one_row(place)

    async def talk():
        async with triton_aio.InferenceServerClient(gateway.address) as client:
            assert await client.is_server_ready() and not await client.is_model_ready("nobody")
            assert (await client.get_model_metadata("digits", as_json=True))["name"] == "digits"
            for result in await asyncio.gather(*(infer(client) for _ in range(8))):
                demo.agree(tensors.answered(result, wanted), wanted)
            with pytest.raises(InferenceServerException) as error:
                await client.infer("nobody", one_row(0)["inputs"])
            assert error.value.status() == "StatusCode.NOT_FOUND"
            answers = [answer async for answer in client.stream_infer(requests())]
            assert [error is None for _, error in answers] == [True, False, True, True]
            demo.agree(tensors.answered(answers[3][0], wanted), row(wanted, 3))

    asyncio.run(talk())


# ---- mistakes and deadlines ---------------------------------------------------------------


@pytest.mark.parametrize(("change", "status", "said"), [
    ({"model_name": "nobody"}, "NOT_FOUND", ["Request for unknown model: 'nobody' is not found"]),
    ({"model_version": "9"}, "NOT_FOUND", ["digits has no version 9"]),
    ({"model_version": "newest"}, "NOT_FOUND", ["newest"]),
    ({"inputs": tensors.asked(triton, {"picture": np.zeros((1, 64), np.float32)})}, "INVALID_ARGUMENT",
     ["picture", "image"]),
    ({"inputs": tensors.asked(triton, {"image": np.zeros((1, 64))})}, "INVALID_ARGUMENT", ["image", "FP64", "FP32"]),
    ({"inputs": tensors.asked(triton, {"image": np.zeros((2, 32), np.float32)})}, "INVALID_ARGUMENT", ["image", "64"]),
    ({"inputs": [triton.InferInput("image", [1, 64], "FP32")]}, "INVALID_ARGUMENT", ["image"]),
    ({"inputs": [triton.InferInput("image", [1, 64], "FP32").set_shared_memory("region", 256)]}, "INVALID_ARGUMENT",
     ["image", "shared_memory_region"]),
    ({"inputs": []}, "INVALID_ARGUMENT", ["image"]),
    ({"outputs": [triton.InferRequestedOutput("picture")]}, "INVALID_ARGUMENT", ["picture", "output_label"]),
])
def test_mistakes_are_told_by_name(client, change, status, said):
    with pytest.raises(InferenceServerException) as error:
        client.infer(**(one_row(0) | change))
    assert error.value.status() == f"StatusCode.{status}", error.value
    for words in said:
        assert words in error.value.message()


@pytest.mark.parametrize("call", ["get_model_metadata", "get_model_config", "get_inference_statistics"])
def test_nobody_is_not_found(client, call):
    with pytest.raises(InferenceServerException) as error:
        getattr(client, call)("nobody")
    assert error.value.status() == "StatusCode.NOT_FOUND"
    assert "Request for unknown model: 'nobody' is not found" in error.value.message()


def test_the_callers_deadline(client, wanted):
    matrix = np.tile(demo.features("digits"), (1000, 1))
    start = time.monotonic()
    with pytest.raises(InferenceServerException) as error:
        client.infer("digits", tensors.asked(triton, {"image": matrix}), client_timeout=0.001)
    assert error.value.status() == "StatusCode.DEADLINE_EXCEEDED"
    assert time.monotonic() - start < LIMIT_S
    demo.agree(tensors.answered(infer(client, client_timeout=LIMIT_S), wanted), wanted)


def test_a_deadline_as_a_parameter(client):
    with pytest.raises(InferenceServerException) as error:
        infer(client, timeout=1)
    assert error.value.status() == "StatusCode.DEADLINE_EXCEEDED"
    assert "Request timeout expired" in error.value.message()


# ---- the standard services ----------------------------------------------------------------


@pytest.mark.parametrize("service", ["", "inference.GRPCInferenceService"])
def test_health(channel, service):
    health = health_pb2_grpc.HealthStub(channel)
    asked = health_pb2.HealthCheckRequest(service=service)
    assert health.Check(asked, timeout=LIMIT_S).status == health_pb2.HealthCheckResponse.SERVING
    watching = health.Watch(asked, timeout=LIMIT_S)
    assert next(watching).status == health_pb2.HealthCheckResponse.SERVING
    watching.cancel()


def test_health_of_a_service_that_is_not_there(channel):
    health = health_pb2_grpc.HealthStub(channel)
    asked = health_pb2.HealthCheckRequest(service="nobody")
    with pytest.raises(grpc.RpcError) as error:
        health.Check(asked, timeout=LIMIT_S)
    assert error.value.code() == grpc.StatusCode.NOT_FOUND
    # It may come yet: whoever watches is told so, and goes on watching.
    watching = health.Watch(asked, timeout=LIMIT_S)
    assert next(watching).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
    assert watching.is_active()
    watching.cancel()


def test_reflection_lists_the_services_and_their_calls(channel):
    database = ProtoReflectionDescriptorDatabase(channel)
    assert {"inference.GRPCInferenceService", "grpc.health.v1.Health"} <= set(database.get_services())
    file = database.FindFileContainingSymbol("inference.GRPCInferenceService")
    (service,) = [service for service in file.service if service.name == "GRPCInferenceService"]
    assert {"ModelInfer", "ModelStreamInfer", "ModelConfig", "ModelStatistics", "RepositoryIndex",
            "RepositoryModelLoad", "RepositoryModelUnload", "LogSettings"} <= {call.name for call in service.method}


def fields(message) -> dict:
    """What of a message goes over the wire, by the path of its names."""
    found = {}
    for field in message.fields:
        of = field.message_type or field.enum_type
        found[message.full_name, field.name] = (field.number, field.type, field.is_repeated, of and of.full_name)
    for enum in message.enum_types:
        found |= {(enum.full_name, value.name): value.number for value in enum.values}
    for nested in message.nested_types:
        found |= fields(nested)
    return found


def test_what_the_definition_has_in_common_with_tritons_is_the_same(channel):
    ours = DescriptorPool(ProtoReflectionDescriptorDatabase(channel)).FindFileContainingSymbol("inference.ModelConfig")
    theirs = {**service_pb2.DESCRIPTOR.message_types_by_name, **model_config_pb2.DESCRIPTOR.message_types_by_name}
    compared = 0
    for name in ours.message_types_by_name.keys() & theirs.keys():
        mine, wanted = fields(ours.message_types_by_name[name]), fields(theirs[name])
        for field in mine.keys() & wanted.keys():
            assert mine[field] == wanted[field], field
            compared += 1
    assert compared > 100
    types = model_config_pb2.DESCRIPTOR.enum_types_by_name["DataType"].values_by_name
    assert {value.name: value.number for value in ours.enum_types_by_name["DataType"].values} == {
        name: value.number for name, value in types.items()}


def test_a_call_that_is_not_there(channel):
    call = channel.unary_unary("/inference.GRPCInferenceService/Nobody")
    with pytest.raises(grpc.RpcError) as error:
        call(b"", timeout=LIMIT_S)
    assert error.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_a_message_that_is_none(channel):
    call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
    with pytest.raises(grpc.RpcError) as error:
        call(b"\xff\xff\xff", timeout=LIMIT_S)
    assert error.value.code() in (grpc.StatusCode.INTERNAL, grpc.StatusCode.INVALID_ARGUMENT)
