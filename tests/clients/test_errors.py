"""Bad input: each answer is JSON that names the thing, what came and what was wanted."""
import demo
import pytest
import requests


def digits(**changes) -> dict:
    """A sound request for one image, with changes to its tensor."""
    return {"inputs": [demo.tensor("digits", demo.features("digits")[:1]) | changes]}


def check(answer: requests.Response, status: int, *said: str) -> None:
    """Checks status and body of a refusal."""
    assert answer.status_code == status, answer.text
    # Clients of the data listener look for JSON by this very name.
    is_admin = "/admin/" in answer.url or answer.url.endswith("/metrics")
    wanted = "application/problem+json" if is_admin else "application/json"
    assert answer.headers["content-type"] == wanted, answer.text
    body = answer.json()
    assert body["error"] == body["detail"] and body["status"] == status
    assert body["request_id"] == answer.headers["x-request-id"]
    for words in said:
        assert words in body["error"], body["error"]


@pytest.mark.parametrize(("changes", "said"), [
    ({"datatype": "FP64"}, ["image", "FP64", "FP32"]),
    ({"datatype": "FLOAT"}, ["FLOAT"]),
    ({"shape": [1, 63], "data": [0.0] * 63}, ["image", "63", "64"]),
    ({"shape": [64]}, ["image", "[1, 64]"]),
    ({"data": [0.0] * 63}, ["image", "63", "64"]),
    ({"data": ["a"] * 64}, ["image"]),
    ({"name": "picture"}, ["picture", "image"]),
    ({"shape": [-1, 64]}, ["shape"]),
    ({"shape": [2**40, 2**40]}, ["image"]),
])
def test_a_wrong_tensor(gateway, changes, said):
    check(gateway.v2("digits", digits(**changes)), 400, *said)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"{}", b'{"inputs": []}', b'{"inputs": {}}',
                                  b'{"inputs": [{}]}', b"\xff\xfe", b'{"inputs": [' + b"[" * 10000])
def test_a_body_that_is_no_request(gateway, body):
    url = f"{gateway.data}/v2/models/digits/infer"
    check(requests.post(url, data=body, timeout=30), 400)


@pytest.mark.parametrize("body", [{}, {"instances": []}, {"instances": [[1, 2]]}, {"instances": "x"},
                                  {"instances": [[0] * 64], "inputs": [[0] * 64]}, {"inputs": {"picture": [[0] * 64]}}])
def test_a_wrong_v1_body(gateway, body):
    check(gateway.v1("digits", body), 400)


def test_unknown_things(gateway):
    check(gateway.v2("nobody", digits()), 404, "nobody")
    check(gateway.v2("digits", digits(), version=9), 404, "digits", "9")
    check(gateway.v1("digits/labels/nobody", {"instances": [[0] * 64]}), 404, "nobody")
    check(requests.get(f"{gateway.data}/v2/nowhere", timeout=10), 404, "/v2/nowhere")
    check(requests.delete(f"{gateway.data}/v2/models/digits", timeout=10), 405, "DELETE")
    check(gateway.v2("digits", digits() | {"outputs": [{"name": "picture"}]}), 400, "picture", "output_label")


def test_headers_that_make_no_sense(gateway):
    check(gateway.v2("digits", digits(), headers={"x-request-timeout-ms": "soon"}), 400, "soon")
    check(gateway.v2("digits", digits(), headers={"weighbridge-version": "1", "weighbridge-alias": "stable"}), 400)


def test_a_body_over_the_limit(gateway):
    url = f"{gateway.data}/v2/models/digits/infer"
    check(requests.post(url, data=b" " * (65 << 20), timeout=60), 413, "67108864")


def test_the_admin_api_wants_a_key(gateway):
    check(requests.get(f"{gateway.admin}/admin/v1/models", timeout=10), 401)
    check(requests.get(f"{gateway.admin}/metrics", headers={"x-api-key": "wrong"}, timeout=10), 401)


# A framework's own refusals are answers like all others.
def test_a_path_that_is_no_text(gateway):
    check(requests.get(f"{gateway.data}/v2/models/%ff", timeout=10), 400)


def test_a_query_that_makes_no_sense(gateway):
    check(gateway.administer("GET", "/audit?limit=many"), 400)
    check(gateway.administer("DELETE", "/models/digits?if_routed=perhaps"), 400)


def test_an_upload_that_is_no_form(gateway):
    check(gateway.administer("POST", "/models/digits/versions", data=b"no form"), 400)


def test_the_gateway_is_as_well_as_before(gateway):
    assert gateway.v2("digits", digits()).status_code == 200
    assert requests.get(f"{gateway.data}/v2/health/ready", timeout=10).json() == {"ready": True}
