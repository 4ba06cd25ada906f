"""The unmodified HTTP client of Triton, with tensors as JSON."""
import demo
import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

VERSIONS = demo.versions()


@pytest.fixture(scope="module")
def client(gateway):
    """A client that may have eight requests under way."""
    with triton.InferenceServerClient(gateway.data.removeprefix("http://"), concurrency=8) as client:
        yield client


def asked(model: str, matrix: np.ndarray) -> list:
    """The model's input as the client wants it."""
    tensor = triton.InferInput(demo.tensor(model, matrix)["name"], list(matrix.shape), "FP32")
    tensor.set_data_from_numpy(matrix, binary_data=False)
    return [tensor]


def outputs(version) -> list:
    """All outputs of a version, as JSON."""
    names = [o["name"] for o in demo.rows(version.model)["expected"][str(version.number)]]
    return [triton.InferRequestedOutput(name, binary_data=False) for name in names]


def test_server_and_models_are_live_and_ready(client):
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("digits")
    assert client.is_model_ready("digits", "2")
    assert not client.is_model_ready("digits", "9")
    assert not client.is_model_ready("nobody")


def test_metadata(client):
    assert client.get_server_metadata()["name"] == "weighbridge"
    digits = client.get_model_metadata("digits")
    assert digits["inputs"] == [{"name": "image", "datatype": "FP32", "shape": [-1, 64]}]
    assert [o["name"] for o in digits["outputs"]] == ["output_label", "output_probability"]
    assert client.get_model_metadata("digits", "2")["properties"]["described_version"] == "2"


@pytest.mark.parametrize("version", VERSIONS, ids=str)
def test_committed_rows(client, version):
    matrix = demo.features(version.model)
    result = client.infer(version.model, asked(version.model, matrix), model_version=str(version.number),
                          outputs=outputs(version), request_id="committed")
    assert result.get_response()["id"] == "committed"
    assert result.get_response()["model_version"] == str(version.number)
    wanted = demo.answered({"outputs": demo.rows(version.model)["expected"][str(version.number)]})
    demo.agree({name: result.as_numpy(name) for name in wanted}, wanted)


def test_many_requests_at_once_get_their_own_rows(client):
    version = VERSIONS[0]
    matrix = demo.features(version.model)
    wanted = demo.run(version, matrix)
    picked = [place % len(matrix) for place in range(64)]
    waiting = [client.async_infer(version.model, asked(version.model, matrix[p:p + 1]), model_version="1",
                                  outputs=outputs(version)) for p in picked]
    for place, answer in zip(picked, waiting):
        result = answer.get_result(timeout=30)
        demo.agree({name: result.as_numpy(name) for name in wanted},
                   {name: v[place:place + 1] for name, v in wanted.items()})


@pytest.mark.parametrize(("model", "version", "said"), [
    ("nobody", "", "Request for unknown model: 'nobody' is not found"),
    ("digits", "9", "digits has no version 9"),
])
def test_errors_are_texts_that_the_client_shows(client, model, version, said):
    with pytest.raises(InferenceServerException) as error:
        client.infer(model, asked("digits", demo.features("digits")[:1]), model_version=version)
    assert said in error.value.message()
    with pytest.raises(InferenceServerException) as error:
        client.get_model_metadata(model, version)
    assert said in error.value.message()
