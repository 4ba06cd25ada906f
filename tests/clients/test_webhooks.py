"""What docs/webhooks.md tells receivers to do, done."""
import re
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
