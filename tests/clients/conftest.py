"""The gateways of the run, and which files its Python can read."""
from importlib.util import find_spec

import extra
import pytest
import start

# Two environments share this folder: KServe's SDK and Triton's clients want different packages.
collect_ignore_glob = [] if find_spec("kserve") else ["test_kserve*.py"]


@pytest.fixture(scope="session")
def gateway(tmp_path_factory):
    """The gateway with the demo models."""
    # The receivers of the tests listen on loopback, where webhooks do not go by themselves.
    with start.started(tmp_path_factory.mktemp("gateway") / "data", WEBHOOKS__ALLOW="127.0.0.1/32") as running:
        yield running


@pytest.fixture(scope="session")
def workshop(tmp_path_factory):
    """A gateway that lets clients load and unload, with the models of extra.py beside the demo models."""
    with start.started(tmp_path_factory.mktemp("workshop") / "data", TRITON__MODEL_CONTROL="explicit") as running:
        for model, file in extra.FILES.items():
            running.push(model, file)
        yield running
