"""The admin API as a script would use it."""
import time

import demo
import requests


def test_a_push_takes_no_traffic_until_it_is_promoted(gateway):
    onnx = demo.versions()[0].file.read_bytes()
    parts = {"info": (None, '{"description": "from outside"}'), "model": ("model.onnx", onnx)}
    pushed = gateway.administer("POST", "/models/outside/versions", files=parts)
    assert pushed.status_code == 202, pushed.text
    operation = pushed.json()["operation"]
    limit = time.monotonic() + 60
    while operation["state"] == "running" and time.monotonic() < limit:
        time.sleep(0.02)
        operation = gateway.administer("GET", f"/operations/{operation['id']}").json()
    assert (operation["state"], operation["error"]) == ("done", None)
    body = {"inputs": [demo.tensor("digits", demo.features("digits")[:1])]}
    refused = gateway.v2("outside", body)
    assert refused.status_code == 503 and "weighbridge promote outside 1" in refused.json()["error"]
    promoted = gateway.administer("POST", "/models/outside/promote", json={"version": 1})
    assert promoted.status_code == 200, promoted.text
    assert gateway.v2("outside", body).status_code == 200
    late = gateway.administer("POST", "/models/outside/promote", json={"version": 1}, headers={"If-Match": '"1"'})
    assert late.status_code == 412, late.text
    events = gateway.administer("GET", "/audit?model=outside").json()["events"]
    assert [e["action"] for e in events] == ["route.promoted", "version.ready", "version.registered"]
    assert gateway.administer("DELETE", "/models/outside").status_code == 409
    assert gateway.administer("DELETE", "/models/outside?if_routed=delete").status_code == 200
    assert gateway.v2("outside", body).status_code == 404


def test_what_is_no_model_leaves_no_version(gateway):
    refused = gateway.administer("POST", "/models/text/versions", files={"model": ("model.onnx", b"not a model")})
    assert refused.status_code == 422 and refused.json()["error"], refused.text
    assert gateway.administer("GET", "/models/text").status_code == 404


def test_a_split_and_its_way_back(gateway):
    route = gateway.administer("PUT", "/models/diabetes/route", json={"weights": {"1": 5000, "2": 5000}})
    assert route.status_code == 200, route.text
    body = {"inputs": [demo.tensor("diabetes", demo.features("diabetes")[:1])]}
    served = {gateway.v2("diabetes", body).headers["weighbridge-served-version"] for _ in range(60)}
    assert served == {"1", "2"}
    back = gateway.administer("POST", "/models/diabetes/rollback")
    assert back.status_code == 200, back.text
    assert gateway.v2("diabetes", body).headers["weighbridge-served-version"] == "1"


def test_a_key_that_predicts_does_not_administer(gateway):
    made = gateway.administer("POST", "/keys", json={"name": "a client", "role": "predict"})
    assert made.status_code == 200, made.text
    mine = {"x-api-key": made.json()["secret"]}
    models = f"{gateway.admin}/admin/v1/models"
    assert requests.get(models, headers=mine, timeout=10).status_code == 403
    assert gateway.administer("DELETE", f"/keys/{made.json()['key']['id']}").status_code == 200
    assert requests.get(models, headers=mine, timeout=10).status_code == 401


def test_metrics_count_what_was_served(gateway):
    gateway.v2("digits", {"inputs": [demo.tensor("digits", demo.features("digits")[:1])]})
    answer = requests.get(f"{gateway.admin}/metrics", headers={"x-api-key": gateway.key}, timeout=10)
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    counted = 'weighbridge_requests_total{model="digits",version="1",outcome="ok"}'
    line = next(line for line in answer.text.splitlines() if line.startswith(counted))
    assert float(line.split()[-1]) >= 1
