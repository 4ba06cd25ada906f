"""Starting a gateway with the demo models on free ports, stopping it by its pid, and pushing models to it."""
import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

REPOSITORY = Path(__file__).resolve().parents[2]
START_LIMIT_S = 60
STOP_LIMIT_S = 40
PUSH_LIMIT_S = 60


@dataclass(frozen=True)
class Gateway:
    """Where a running gateway and its data are found, and the key that administers it."""

    data: str
    admin: str
    key: str
    folder: Path

    @property
    def address(self) -> str:
        """Host and port of the data listener, as clients want it that know the scheme themselves."""
        return self.data.removeprefix("http://")

    @property
    def as_admin(self) -> dict[str, str]:
        """What shows the key, as HTTP headers and as gRPC metadata, whose names are in lower case."""
        return {"authorization": f"Bearer {self.key}"}

    def v2(self, model: str, body, version: int | None = None, **more) -> requests.Response:
        """A prediction by the Open Inference Protocol."""
        pinned = f"/versions/{version}" if version else ""
        return requests.post(f"{self.data}/v2/models/{model}{pinned}/infer", json=body, timeout=30, **more)

    def v1(self, target: str, body, verb: str = "predict", **more) -> requests.Response:
        """A prediction as TF Serving's clients ask for it; `target` is what stands before `:predict`."""
        return requests.post(f"{self.data}/v1/models/{target}:{verb}", json=body, timeout=30, **more)

    def administer(self, verb: str, path: str, **more) -> requests.Response:
        """A call of the admin API."""
        headers = self.as_admin | more.pop("headers", {})
        return requests.request(verb, f"{self.admin}/admin/v1{path}", headers=headers, timeout=30, **more)

    def push(self, model: str, file: Path, **info) -> None:
        """Makes `file` the promoted version 1 of a new model."""
        parts = {"info": (None, json.dumps(info)), "model": ("model.onnx", file.read_bytes())}
        pushed = self.administer("POST", f"/models/{model}/versions", files=parts)
        assert pushed.status_code == 202, pushed.text
        operation = pushed.json()["operation"]
        limit = time.monotonic() + PUSH_LIMIT_S
        while operation["state"] == "running" and time.monotonic() < limit:
            time.sleep(0.02)
            operation = self.administer("GET", f"/operations/{operation['id']}").json()
        assert operation["state"] == "done", operation
        promoted = self.administer("POST", f"/models/{model}/promote", json={"version": 1})
        assert promoted.status_code == 200, promoted.text


def binary() -> Path:
    """The gateway under test: WEIGHBRIDGE_BIN, or what `cargo build --release` made."""
    found = Path(os.environ.get("WEIGHBRIDGE_BIN", REPOSITORY / "target/release/weighbridge"))
    assert found.is_file(), f"{found} is not there: cargo build --release, or start through tests/run"
    return found


def wait_until_ready(process: subprocess.Popen, folder: Path, said: Path) -> None:
    """Waits for the gateway's address and readiness; fails with what it said."""
    limit = time.monotonic() + START_LIMIT_S
    while time.monotonic() < limit:
        assert process.poll() is None, f"the gateway ended with {process.returncode}:\n{said.read_text()}"
        # Both files are there before the ports answer "ready".
        if (folder / "listen-url").is_file() and (folder / "admin-key").is_file():
            url = (folder / "listen-url").read_text().strip()
            try:
                if requests.get(f"{url}/v2/health/ready", timeout=5).ok:
                    return
            except requests.ConnectionError:
                pass
        time.sleep(0.05)
    pytest.fail(f"the gateway was not ready within {START_LIMIT_S} s:\n{said.read_text()}")


@contextmanager
def started(folder: Path, **settings: str) -> Iterator[Gateway]:
    """A gateway with the demo models and its data in `folder`, which must not be there yet. A setting of
    `[section]` is named SECTION__NAME."""
    said = folder.with_name(f"{folder.name}-said.txt")
    command = [binary(), "serve", "--demo", "--data-dir", folder,
               "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]
    # Settings of whoever runs the tests are not settings of the tests.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("WEIGHBRIDGE")}
    environment |= {f"WEIGHBRIDGE__{name}": value for name, value in settings.items()}
    with said.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment)
    try:
        wait_until_ready(process, folder, said)
        files = ("listen-url", "admin-url", "admin-key")
        yield Gateway(*((folder / name).read_text().strip() for name in files), folder)
    finally:
        process.terminate()
        try:
            process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
    assert process.returncode == 0, f"the gateway ended with {process.returncode}:\n{said.read_text()}"
