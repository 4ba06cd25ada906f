"""The committed demo models still follow from their script."""
import os
import subprocess
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def test_training_again_gives_what_is_committed():
    # The exporters have a venv of their own: they and the clients disagree on versions.
    python = Path(os.environ.get("DEMO_PYTHON", REPOSITORY / ".venv/demo/bin/python"))
    assert python.exists(), f"{python} is not there: tests/run makes it"
    script = REPOSITORY / "gateway/demo/train.py"
    done = subprocess.run([python, script, "--check"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
