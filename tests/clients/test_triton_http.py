"""The unmodified HTTP client of Triton: binary tensors, packed bodies, parameters, classification, errors."""
import asyncio
import gzip
import zlib

import demo
import extra
import numpy as np
import pytest
import requests
import tensors
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
import zstandard
from tritonclient.utils import InferenceServerException

VERSIONS = demo.versions()
DIGITS = VERSIONS[0]
HEADER = "inference-header-content-length"


@pytest.fixture(scope="module")
def client(gateway):
    """A client of the demo models that may have eight requests under way."""
    with triton.InferenceServerClient(gateway.address, concurrency=8) as client:
        yield client


@pytest.fixture(scope="module")
def clients(workshop):
    """A client of the gateway that has the extra models."""
    with triton.InferenceServerClient(workshop.address) as client:
        yield client


@pytest.fixture(scope="module")
def wanted() -> dict[str, np.ndarray]:
    """What ONNX Runtime says to the committed rows of DIGITS."""
    return demo.run(DIGITS, demo.features("digits"))


def infer(client, **more):
    """The answer to the committed rows of DIGITS."""
    return client.infer("digits", tensors.asked(triton, tensors.rows(DIGITS)), model_version="1", **more)


@pytest.mark.parametrize("version", VERSIONS, ids=str)
def test_committed_rows_in_binary(client, version):
    result = client.infer(version.model, tensors.asked(triton, tensors.rows(version)),
                          model_version=str(version.number), request_id="binary")
    wanted = demo.run(version, demo.features(version.model))
    demo.agree(tensors.answered(result, wanted), wanted)
    told = result.get_response()
    assert (told["id"], told["model_name"], told["model_version"]) == ("binary", version.model, str(version.number))
    for output in told["outputs"]:
        assert output["parameters"] == {"binary_data_size": wanted[output["name"]].nbytes} and "data" not in output


@pytest.mark.parametrize("model", extra.FILES)
def test_every_datatype_in_binary(clients, model):
    inputs = extra.inputs(model)
    wanted = extra.run(model, inputs)
    result = clients.infer(model, tensors.asked(triton, inputs))
    tolerance = extra.HALF_TOLERANCE if model == "half" else demo.TOLERANCE
    extra.agree(tensors.answered(result, wanted), wanted, tolerance)


@pytest.mark.parametrize("model", [model for model in extra.FILES if model != "half"])
def test_every_datatype_in_json(clients, model):
    inputs = extra.inputs(model)
    wanted = extra.run(model, inputs)
    result = clients.infer(model, tensors.asked(triton, inputs, binary_data=False),
                           outputs=[triton.InferRequestedOutput(name, binary_data=False) for name in wanted])
    extra.agree(tensors.answered(result, wanted), wanted)
    assert all("data" in output for output in result.get_response()["outputs"])


def test_inputs_and_outputs_of_both_kinds_in_one_request(clients):
    inputs = extra.inputs("columns")
    wanted = extra.run("columns", inputs)
    asked = [*tensors.asked(triton, {name: inputs[name] for name in ("age", "port")}, binary_data=True),
             *tensors.asked(triton, {name: inputs[name] for name in ("fare", "sex")}, binary_data=False)]
    result = clients.infer("columns", asked, outputs=[triton.InferRequestedOutput("probabilities", binary_data=True),
                                                      triton.InferRequestedOutput("label", binary_data=False)])
    extra.agree(tensors.answered(result, wanted), wanted)
    first, second = result.get_response()["outputs"]
    assert (first["name"], first["parameters"]) == ("probabilities", {"binary_data_size": 24})
    assert (second["name"], second["data"]) == ("label", wanted["label"].tolist())


def test_outputs_are_binary_when_none_is_named_whatever_the_inputs_were(client, wanted):
    asked = tensors.asked(triton, tensors.rows(DIGITS), binary_data=False)
    result = client.infer("digits", asked, model_version="1")
    demo.agree(tensors.answered(result, wanted), wanted)
    assert all("binary_data_size" in output["parameters"] for output in result.get_response()["outputs"])


def test_a_part_of_the_outputs(client, wanted):
    result = infer(client, outputs=[triton.InferRequestedOutput("output_label")])
    assert [output["name"] for output in result.get_response()["outputs"]] == ["output_label"]
    assert result.as_numpy("output_label").tolist() == wanted["output_label"].tolist()


@pytest.fixture(scope="module")
def many() -> dict[str, np.ndarray]:
    """Enough rows for an answer that is worth packing."""
    return {"image": np.tile(demo.features("digits"), (20, 1))}


@pytest.mark.parametrize("answer", [None, "gzip", "deflate"])
@pytest.mark.parametrize("asked", [None, "gzip", "deflate"])
def test_packed_bodies(client, many, asked, answer):
    result = client.infer("digits", tensors.asked(triton, many), model_version="1",
                          request_compression_algorithm=asked, response_compression_algorithm=answer)
    wanted = demo.run(DIGITS, many["image"])
    demo.agree(tensors.answered(result, wanted), wanted)


UNPACK = {"gzip": gzip.decompress, "deflate": zlib.decompress, "identity": bytes,
          "zstd": lambda body: zstandard.ZstdDecompressor().decompressobj().decompress(body)}


@pytest.mark.parametrize(("accepted", "coding"), [
    ("gzip", "gzip"), ("deflate", "deflate"), ("zstd", "zstd"), ("identity", "identity"),
    # What aiohttp sends for a client that unpacks gzip and deflate only.
    ("gzip, deflate, br, zstd", "gzip"),
])
def test_the_header_counts_what_is_unpacked(gateway, many, accepted, coding):
    body, size = triton.InferenceServerClient.generate_request_body(tensors.asked(triton, many))
    headers = {"accept-encoding": accepted, HEADER: str(size)}
    answer = requests.post(f"{gateway.data}/v2/models/digits/versions/1/infer", data=body, headers=headers,
                           timeout=30, stream=True)
    packed = answer.raw.read(decode_content=False)
    assert answer.status_code == 200, packed
    assert answer.headers.get("content-encoding", "identity") == coding
    result = triton.InferenceServerClient.parse_response_body(
        UNPACK[coding](packed), header_length=int(answer.headers[HEADER]))
    wanted = demo.run(DIGITS, many["image"])
    demo.agree(tensors.answered(result, wanted), wanted)


def test_a_body_packed_by_zstd(gateway, many):
    body, size = triton.InferenceServerClient.generate_request_body(tensors.asked(triton, many))
    headers = {"content-encoding": "zstd", HEADER: str(size)}
    answer = requests.post(f"{gateway.data}/v2/models/digits/versions/1/infer", timeout=30,
                           data=zstandard.compress(body), headers=headers)
    assert answer.status_code == 200, answer.text
    result = triton.InferenceServerClient.parse_response_body(
        answer.content, header_length=int(answer.headers[HEADER]))
    wanted = demo.run(DIGITS, many["image"])
    demo.agree(tensors.answered(result, wanted), wanted)


def test_many_requests_at_once_get_their_own_rows(client, wanted):
    matrix = demo.features("digits")
    picked = [place % len(matrix) for place in range(64)]
    waiting = [client.async_infer("digits", tensors.asked(triton, {"image": matrix[p:p + 1]}), model_version="1",
                                  request_id=str(p)) for p in picked]
    for place, answer in zip(picked, waiting):
        result = answer.get_result(timeout=30)
        assert result.get_response()["id"] == str(place)
        demo.agree(tensors.answered(result, wanted), {name: v[place:place + 1] for name, v in wanted.items()})


def test_a_body_of_many_megabytes(client):
    matrix = np.tile(demo.features("digits"), (20_000 // len(demo.features("digits")) + 1, 1))
    wanted = demo.run(DIGITS, matrix)
    result = client.infer("digits", tensors.asked(triton, {"image": matrix}), model_version="1")
    assert matrix.nbytes > 5_000_000
    demo.agree(tensors.answered(result, wanted), wanted)


def test_the_asynchronous_client(gateway, wanted):
    async def talk():
        async with triton_aio.InferenceServerClient(gateway.address) as client:
            assert await client.is_server_live() and await client.is_server_ready()
            assert await client.is_model_ready("digits", "2") and not await client.is_model_ready("digits", "9")
            assert (await client.get_server_metadata())["name"] == "weighbridge"
            assert (await client.get_model_metadata("digits"))["name"] == "digits"
            many = await asyncio.gather(*(infer(client, request_id=str(n), request_compression_algorithm=coding)
                                          for n, coding in enumerate([None, "gzip", "deflate"] * 4)))
            for n, result in enumerate(many):
                assert result.get_response()["id"] == str(n)
                demo.agree(tensors.answered(result, wanted), wanted)
            # It asks for packed answers, but reads the text of an error as it comes.
            with pytest.raises(InferenceServerException) as error:
                await client.infer("nobody", tensors.asked(triton, tensors.rows(DIGITS)))
            assert "Request for unknown model: 'nobody' is not found" in error.value.message()

    asyncio.run(talk())


@pytest.mark.parametrize("is_binary", [True, False])
def test_classification(client, wanted, is_binary):
    scores = wanted["output_probability"]
    result = infer(client, outputs=[triton.InferRequestedOutput("output_probability", is_binary, class_count=3)])
    told = result.get_response()["outputs"][0]
    assert (told["datatype"], told["shape"]) == ("BYTES", [len(scores), 3])
    for row, best in enumerate(tensors.ranked(scores, 3)):
        found = [extra.as_text(text).split(":") for text in result.as_numpy("output_probability")[row]]
        assert [int(index) for _, index, *_ in found] == best
        assert [label for _, _, label in found] == [str(index) for index in best]
        assert all(len(value.split(".")[1]) == 6 for value, *_ in found)
        np.testing.assert_allclose([float(value) for value, *_ in found], scores[row, best], atol=1e-5)


def test_priority_and_parameters_of_ones_own_change_no_answer(client, wanted):
    result = infer(client, priority=1, timeout=20_000_000, sequence_id=7, sequence_start=True, sequence_end=True,
                   parameters={"mine": "text", "weight": 0.5, "count": 3, "flag": True})
    demo.agree(tensors.answered(result, wanted), wanted)


def test_a_timeout_that_cannot_be_kept(client):
    with pytest.raises(InferenceServerException) as error:
        infer(client, timeout=1)
    assert "Request timeout expired" in error.value.message()
    assert error.value.status() == "504"


def test_metadata_names_what_is_spoken(client):
    extensions = client.get_server_metadata()["extensions"]
    assert {"binary_tensor_data", "classification", "logging", "model_configuration", "model_repository",
            "parameters", "schedule_policy", "statistics"} <= set(extensions)
    assert not [name for name in extensions if "shared_memory" in name]


def mistaken(**changes) -> triton.InferInput:
    """A tensor for DIGITS, with changes."""
    matrix = demo.features("digits")[:1].reshape(changes.pop("shape", [1, 64])).astype(changes.pop("type", np.float32))
    return tensors.asked(triton, {changes.pop("name", "image"): matrix})[0]


@pytest.mark.parametrize(("inputs", "said"), [
    ([mistaken(name="picture")], ["picture", "image"]),
    ([mistaken(type=np.float64)], ["image", "FP64", "FP32"]),
    ([mistaken(shape=[2, 32])], ["image", "64"]),
    ([mistaken(shape=[64])], ["image"]),
    ([mistaken(), mistaken(name="picture")], ["picture"]),
    ([mistaken(), mistaken()], ["image"]),
    ([], ["image"]),
])
def test_mistakes_are_told_by_name(client, inputs, said):
    with pytest.raises(InferenceServerException) as error:
        client.infer("digits", inputs)
    assert error.value.status() == "400"
    for words in said:
        assert words in error.value.message()


@pytest.mark.parametrize("output", [triton.InferRequestedOutput("picture"),
                                    triton.InferRequestedOutput("picture", class_count=1)])
def test_an_output_that_is_not_there(client, output):
    with pytest.raises(InferenceServerException) as error:
        infer(client, outputs=[output])
    assert error.value.status() == "400"
    assert "picture" in error.value.message() and "output_label" in error.value.message()


@pytest.mark.parametrize("class_count", [-1, 0.5])
def test_a_classification_of_no_sense(client, class_count):
    with pytest.raises(InferenceServerException) as error:
        infer(client, outputs=[triton.InferRequestedOutput("output_probability", class_count=class_count)])
    assert error.value.status() == "400" and "classification" in error.value.message()


def sound() -> tuple[bytes, int]:
    """A request of the client for one image, and how much of it is JSON."""
    return triton.InferenceServerClient.generate_request_body([mistaken()])


BODY, SIZE = sound()


@pytest.mark.parametrize(("body", "length", "said"), [
    pytest.param(BODY + b"0000", SIZE, "unexpected additional input data", id="bytes too many"),
    pytest.param(BODY[:-4], SIZE, "image", id="bytes too few"),
    pytest.param(BODY, len(BODY) + 1, HEADER, id="longer than the body"),
    pytest.param(BODY, -1, HEADER, id="negative"),
    pytest.param(BODY, "many", HEADER, id="no number"),
    pytest.param(BODY, SIZE - 1, "json", id="inside the JSON"),
    pytest.param(BODY.replace(b"_size\":256", b"_size\":252"), SIZE, "image", id="another size than the shape's"),
    pytest.param(BODY.replace(b"_size\":256", b"_size\":-56"), SIZE, "binary_data_size", id="negative size"),
    pytest.param(BODY.replace(b'"shape":[1,64]', b'"shape":[-1,64]'), SIZE + 1, "shape", id="negative dim"),
])
def test_a_binary_body_that_does_not_add_up(gateway, body, length, said):
    assert b'"binary_data_size":256' in BODY and b'"shape":[1,64]' in BODY
    answer = requests.post(f"{gateway.data}/v2/models/digits/infer", data=body, timeout=30,
                           headers={HEADER: str(length)})
    assert answer.status_code == 400, answer.text
    assert said in answer.json()["error"].lower()


def test_a_raw_body_is_the_one_input(gateway, wanted):
    matrix = demo.features("digits")
    answer = requests.post(f"{gateway.data}/v2/models/digits/versions/1/infer", data=matrix[:1].tobytes(),
                           headers={HEADER: "0"}, timeout=30)
    assert answer.status_code == 200, answer.text
    result = triton.InferenceServerClient.parse_response_body(
        answer.content, header_length=int(answer.headers[HEADER]))
    demo.agree(tensors.answered(result, wanted), {name: values[:1] for name, values in wanted.items()})


def test_halves_in_json_are_for_answers_only(clients):
    inputs = extra.inputs("half")
    wanted = extra.run("half", inputs)
    result = clients.infer("half", tensors.asked(triton, inputs),
                           outputs=[triton.InferRequestedOutput("y", binary_data=False)])
    extra.agree(tensors.answered(result, wanted), wanted, extra.HALF_TOLERANCE)
    with pytest.raises(InferenceServerException) as error:
        clients.infer("half", tensors.asked(triton, inputs, binary_data=False))
    assert error.value.status() == "400" and "FP16" in error.value.message()


def test_shared_memory_is_refused_in_words(client):
    with pytest.raises(InferenceServerException) as error:
        client.infer("digits", [triton.InferInput("image", [1, 64], "FP32").set_shared_memory("region", 256)])
    assert error.value.status() == "400" and "shared_memory_region" in error.value.message()
