"""The OpenAPI documents of both listeners: valid, and true of what is answered, whatever is asked."""
import json
import os
import subprocess
from pathlib import Path

import pytest
import requests
from start import REPOSITORY, Gateway, started

TOOLS = Path(os.environ.get("SCHEMATHESIS_PYTHON", REPOSITORY / ".venv/schemathesis/bin/python")).parent
# Seconds of asking. The admin API has twice the operations.
TIMES = {"data": 30, "admin": 50}
SEED = 7
LISTENERS = list(TIMES)


# Its own: what schemathesis changes is not what the other tests expect.
@pytest.fixture(scope="module")
def own(tmp_path_factory) -> Gateway:
    """A gateway that may be changed in every way there is."""
    with started(tmp_path_factory.mktemp("openapi") / "data") as gateway:
        yield gateway


def url(gateway: Gateway, listener: str) -> str:
    return gateway.data if listener == "data" else gateway.admin


def document(gateway: Gateway, listener: str) -> dict:
    answer = requests.get(f"{url(gateway, listener)}/openapi.json", timeout=10)
    assert answer.headers["content-type"] == "application/json"
    return answer.json()


@pytest.mark.parametrize("listener", LISTENERS)
def test_the_document_is_valid(own, listener, tmp_path):
    found = document(own, listener)
    assert found["openapi"].startswith("3.1")
    file = tmp_path / "openapi.json"
    file.write_text(json.dumps(found))
    command = [TOOLS / "openapi-spec-validator", "--schema", "3.1", file]
    checked = subprocess.run(command, capture_output=True, text=True, timeout=60)
    # Its complaints end with the whole document.
    assert checked.returncode == 0, (checked.stdout + checked.stderr)[:2000]


@pytest.mark.parametrize("listener", LISTENERS)
def test_the_page_loads_nothing_from_elsewhere(own, listener):
    answer = requests.get(f"{url(own, listener)}/docs", timeout=10)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "http://" not in answer.text and "https://" not in answer.text


def test_the_examples_of_predictions_are_answered(own):
    found = document(own, "data")
    for path in ["/v2/models/{model}/infer", "/v1/models/{model}:predict"]:
        body = found["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
        example = found["components"]["schemas"][body["$ref"].split("/")[-1]]["example"]
        answer = requests.post(own.data + path.replace("{model}", "digits"), json=example, timeout=30)
        assert answer.status_code == 200, answer.text


def test_the_example_of_an_experiment_starts_one(own):
    example = document(own, "admin")["components"]["schemas"]["ExperimentStart"]["example"]
    started = own.administer("POST", "/models/digits/experiments", json=example)
    assert started.status_code == 201, started.text
    stopped = own.administer("POST", f"/models/digits/experiments/{started.json()['id']}/stop")
    assert stopped.status_code == 200, stopped.text


def test_a_verb_and_its_model_take_methods_of_their_own(own):
    model = f"{own.data}/v1/models/digits"
    for verb, address, allowed in [("POST", model, "GET, HEAD"), ("PUT", model, "GET, HEAD"),
                                   ("GET", f"{model}:predict", "POST"), ("PUT", f"{model}:predict", "POST")]:
        answer = requests.request(verb, address, timeout=10)
        assert (answer.status_code, answer.headers["allow"]) == (405, allowed), f"{verb} {address}"


def test_bodies_that_no_state_would_take(own):
    answer = own.administer("POST", "/models/digits/promote", json=[1])
    assert answer.status_code == 400 and "list" in answer.json()["detail"], answer.text
    answer = own.administer("PUT", "/models/digits/route", json={"weights": {"1": 9000}})
    assert answer.status_code == 400 and "90%" in answer.json()["detail"], answer.text
    answer = own.v2("digits", {"inputs": [], "parameters": 5})
    assert answer.status_code == 400 and "parameters" in answer.json()["detail"], answer.text


# Last: nothing is left as it was.
@pytest.mark.parametrize("listener", LISTENERS)
def test_answers_are_as_the_document_says(own, listener):
    limit = TIMES[listener]
    command = [TOOLS / "st", "--config-file", Path(__file__).with_name("schemathesis.toml"), "run",
               f"{url(own, listener)}/openapi.json", "--header", f"Authorization: Bearer {own.key}",
               "--max-time", str(limit), "--seed", str(SEED), "--request-timeout", "20", "--continue-on-failure"]
    hooks = Path(__file__).with_name("schemathesis_hooks.py")
    environment = os.environ | {"SCHEMATHESIS_HOOKS": str(hooks), "PYTHONDONTWRITEBYTECODE": "1"}
    run = subprocess.run(command, capture_output=True, text=True, cwd=own.folder.parent, env=environment,
                         timeout=limit + 120)
    assert run.returncode == 0, f"{run.stdout[-20000:]}\n{run.stderr[-2000:]}"
    assert requests.get(f"{own.data}/v2/health/ready", timeout=10).ok
