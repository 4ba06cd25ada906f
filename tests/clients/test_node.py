"""The official gRPC client of Node.js, with our own .proto files."""
import base64
import json
import os
import subprocess

import demo
import numpy as np
import pytest
import start

PROGRAM = start.REPOSITORY / "tests/clients/node/infer.js"
PACKAGES = start.REPOSITORY / ".venv/node/node_modules"
PROTO = start.REPOSITORY / "gateway/grpc/proto/inference.proto"
DIGITS = demo.versions()[0]
TYPES = {"INT64": np.int64, "FP32": np.float32}


def call(gateway, method: str, *requests: dict, coding: str = "") -> list[dict]:
    """The answers to some requests."""
    done = subprocess.run(["node", PROGRAM, gateway.address, PROTO, method, coding], input=json.dumps(requests),
                          env=os.environ | {"NODE_PATH": str(PACKAGES)}, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def request(matrix: np.ndarray, is_raw: bool, **more) -> dict:
    """A prediction by DIGITS."""
    tensor = {"name": "image", "datatype": "FP32", "shape": list(matrix.shape)}
    if is_raw:
        more["raw_input_contents"] = [base64.b64encode(matrix.tobytes()).decode()]
    else:
        tensor["contents"] = {"fp32_contents": matrix.reshape(-1).tolist()}
    return {"model_name": "digits", "model_version": "1", "inputs": [tensor]} | more


def outputs(answer: dict) -> dict[str, np.ndarray]:
    """The outputs of an answer by name."""
    return {output["name"]: np.frombuffer(base64.b64decode(raw), TYPES[output["datatype"]]).reshape(output["shape"])
            for output, raw in zip(answer["outputs"], answer["raw_output_contents"], strict=True)}


def test_health_and_metadata(gateway):
    assert call(gateway, "ServerReady", {}) == [{"ready": True}]
    (digits,) = call(gateway, "ModelMetadata", {"name": "digits"})
    assert digits["inputs"] == [{"name": "image", "datatype": "FP32", "shape": [-1, 64]}]


@pytest.mark.parametrize("coding", ["", "gzip", "deflate"])
@pytest.mark.parametrize("is_raw", [True, False])
def test_committed_rows(gateway, is_raw, coding):
    matrix = demo.features("digits")
    (answer,) = call(gateway, "ModelInfer", request(matrix, is_raw, id="node"), coding=coding)
    assert (answer["id"], answer["model_version"]) == ("node", "1")
    demo.agree(outputs(answer), demo.run(DIGITS, matrix))


def test_many_requests_at_once_get_their_own_rows(gateway):
    matrix = demo.features("digits")
    wanted = demo.run(DIGITS, matrix)
    answers = call(gateway, "ModelInfer", *(request(row[None], True) for row in matrix))
    for place, answer in enumerate(answers):
        demo.agree(outputs(answer), {name: values[place:place + 1] for name, values in wanted.items()})


def test_a_stream_goes_on_after_a_mistake(gateway):
    matrix = demo.features("digits")[:3]
    asked = [request(row[None], True, id=str(n)) for n, row in enumerate(matrix)]
    first, wrong, last = call(gateway, "ModelStreamInfer", asked[0], asked[1] | {"model_name": "nobody"}, asked[2])
    assert "Request for unknown model: 'nobody' is not found" in wrong["error_message"]
    wanted = demo.run(DIGITS, matrix)
    for place, answer in ((0, first), (2, last)):
        assert (answer["error_message"], answer["infer_response"]["id"]) == ("", str(place))
        demo.agree(outputs(answer["infer_response"]), {name: v[place:place + 1] for name, v in wanted.items()})


def test_a_mistake_has_code_and_text(gateway):
    (error,) = call(gateway, "ModelInfer", request(demo.features("digits")[:, :10], True))
    assert error["code"] == "INVALID_ARGUMENT" and "image" in error["details"] and "64" in error["details"]
