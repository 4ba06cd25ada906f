"""What docs/webhooks.md tells receivers to do, done: with its example, and with what the gateway sends."""
import json
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

PAGE = (Path(__file__).resolve().parents[2] / "docs/webhooks.md").read_text()
SECRET, BODY, SENT = "wbs_example", b'{"model": "fraud"}', 1767225600


@pytest.fixture(scope="module")
def is_genuine():
    """The function of the page."""
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names = {}
    exec(code, names)
    return names["is_genuine"]


@pytest.fixture(scope="module")
def signature() -> str:
    """The signature on the page, which a test of the gateway keeps to what it sends."""
    (found,) = re.findall(r"^t=\d+,v1=[0-9a-f]{64}$", PAGE, re.MULTILINE)
    return found


def test_a_message_of_the_server_is_genuine(is_genuine, signature):
    assert is_genuine(SECRET, signature, BODY, now=SENT)
    assert is_genuine(SECRET, signature, BODY, now=SENT + 299)


@pytest.mark.parametrize("change", [
    {"secret": "wbs_exampl3"},
    {"body": BODY + b" "},
    {"now": SENT + 301},
    {"now": None},
    {"signature": ""},
    {"signature": f"t={SENT}"},
    {"signature": "v1=" + "0" * 64},
    {"signature": f"t={SENT},v1=\u00e9"},
    {"signature": "t=\u00b2,v1=0"},
])
def test_anything_else_is_not(is_genuine, signature, change):
    came = {"secret": SECRET, "signature": signature, "body": BODY, "now": SENT} | change
    assert not is_genuine(**came)


def test_another_time_needs_another_signature(is_genuine, signature):
    later = signature.replace(str(SENT), str(SENT + 600))
    assert not is_genuine(SECRET, later, BODY, now=SENT + 600)


@pytest.fixture
def receiver():
    """A receiver on loopback that refuses the first message once; `came` has (status, headers, body)."""
    came = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            status = 204 if came else 503
            came.append((status, self.headers, body))
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.came = came
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_receiver_is_told_of_each_move_and_can_verify_it(gateway, receiver, is_genuine):
    url = f"http://127.0.0.1:{receiver.server_port}/hook"
    spec = {"shadow": {"requests": 0}, "step_min": "1h", "webhooks": [{"url": url}]}
    started = gateway.administer("POST", "/models/diabetes/rollouts", json={"to": 2, "spec": spec})
    assert started.status_code == 201, started.text
    ended = gateway.administer("POST", "/models/diabetes/rollout/rollback", json={"reason": "enough"})
    assert ended.status_code == 200, ended.text
    limit = time.monotonic() + 60
    # Two moves, of which the first one to come is refused once and sent again.
    while len(receiver.came) < 3 and time.monotonic() < limit:
        time.sleep(0.02)
    assert len(receiver.came) == 3
    secret = (gateway.folder / "webhook-secret").read_text().strip()
    for _, headers, body in receiver.came:
        assert is_genuine(secret, headers["weighbridge-signature"], body)
    deliveries = [headers["weighbridge-delivery"] for _, headers, _ in receiver.came]
    assert deliveries[0] in deliveries[1:] and len(set(deliveries)) == 2
    taken = {headers["weighbridge-event"]: json.loads(body)
             for status, headers, body in receiver.came if status == 204}
    assert set(taken) == {"rollout.started", "rollout.rolled_back"}
    told = taken["rollout.rolled_back"]
    assert (told["model"], told["from"], told["to"], told["reason"]) == ("diabetes", 1, 2, "enough")


@pytest.mark.parametrize("url", ["http://10.0.0.1/hook", "ftp://hooks.example.com", "https://169.254.169.254/"])
def test_a_receiver_elsewhere_is_refused_with_the_field(gateway, url):
    spec = {"shadow": {"requests": 0}, "webhooks": [{"url": url}]}
    refused = gateway.administer("POST", "/models/diabetes/rollouts", json={"to": 2, "spec": spec})
    assert refused.status_code == 422 and "webhooks[0].url" in refused.json()["error"], refused.text
