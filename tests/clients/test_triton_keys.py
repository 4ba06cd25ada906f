"""Triton's clients where the gateway wants keys: what each call needs, and that refusals are shown as what they are."""
import queue

import demo
import pytest
import start
import tensors
import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import InferenceServerException

DIGITS = demo.versions()[0]


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """A gateway whose predictions want a key."""
    with start.started(tmp_path_factory.mktemp("guarded") / "data", AUTH__DATA_PLANE="keys") as running:
        yield running


@pytest.fixture(scope="module")
def key(guarded) -> str:
    """A key that may ask for predictions and no more."""
    made = guarded.administer("POST", "/keys", json={"name": "caller", "role": "predict"})
    assert made.ok, made.text
    return made.json()["secret"]


@pytest.fixture
def predictor(key) -> dict[str, str]:
    """What shows the key; anew each time, for the HTTP client adds its own headers to those it is given."""
    return {"authorization": f"Bearer {key}"}


@pytest.fixture(scope="module", params=[tritonclient.http, tritonclient.grpc], ids=["http", "grpc"])
def triton(request):
    """The module of a client."""
    return request.param


@pytest.fixture(scope="module")
def client(triton, guarded):
    """A client without a key."""
    with triton.InferenceServerClient(guarded.address) as client:
        yield client


def refusal(call, *arguments, **more) -> str:
    """The status of the error that the client shows."""
    with pytest.raises(InferenceServerException) as error:
        call(*arguments, **more)
    assert error.value.message()
    return error.value.status()


UNAUTHENTICATED = ("401", "StatusCode.UNAUTHENTICATED")
FORBIDDEN = ("403", "StatusCode.PERMISSION_DENIED")


def test_health_wants_no_key(client):
    assert client.is_server_live() and client.is_server_ready()
    assert client.get_server_metadata()


def test_predictions_want_one(client, triton, key, predictor):
    asked = tensors.asked(triton, tensors.rows(DIGITS))
    assert refusal(client.infer, "digits", asked) in UNAUTHENTICATED
    assert refusal(client.infer, "digits", asked, headers={"authorization": "Bearer wbk_wrong"}) in UNAUTHENTICATED
    wanted = demo.run(DIGITS, demo.features("digits"))
    for header in (predictor, {"x-api-key": key}):
        result = client.infer("digits", asked, model_version="1", headers=header)
        demo.agree(tensors.answered(result, wanted), wanted)


@pytest.mark.parametrize("call", ["get_model_metadata", "get_model_config", "get_inference_statistics"])
def test_questions_about_models_want_one(client, predictor, call):
    assert refusal(getattr(client, call), "digits") in UNAUTHENTICATED
    assert getattr(client, call)("digits", headers=predictor)


def test_a_stranger_is_not_told_which_models_there_are(client):
    assert refusal(client.get_model_metadata, "nobody") in UNAUTHENTICATED
    assert refusal(client.get_model_repository_index) in UNAUTHENTICATED


def test_a_key_for_predictions_administers_nothing(client, predictor):
    assert refusal(client.update_log_settings, {"log_verbose_level": 1}, headers=predictor) in FORBIDDEN
    assert refusal(client.unload_model, "digits", headers=predictor) in FORBIDDEN
    assert client.is_model_ready("digits", headers=predictor)


def test_a_stream_wants_a_key(guarded, predictor):
    answers = queue.Queue()
    with tritonclient.grpc.InferenceServerClient(guarded.address) as client:
        client.start_stream(lambda result, error: answers.put((result, error)))
        assert answers.get(timeout=30)[1].status() in UNAUTHENTICATED
        client.stop_stream()
        client.start_stream(lambda result, error: answers.put((result, error)), headers=predictor)
        client.async_stream_infer("digits", tensors.asked(tritonclient.grpc, tensors.rows(DIGITS)), model_version="1")
        client.stop_stream()
    result, error = answers.get_nowait()
    assert error is None, error
    wanted = demo.run(DIGITS, demo.features("digits"))
    demo.agree(tensors.answered(result, wanted), wanted)
