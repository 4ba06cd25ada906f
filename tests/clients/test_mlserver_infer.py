"""`mlserver infer`, unmodified: batch inference from a file of requests, through the gateway."""
import json
import subprocess

import demo
import numpy as np
import pytest
import start

MLSERVER = start.REPOSITORY / ".venv/mlserver/bin/mlserver"
DIGITS = demo.versions()[0]
LIMIT_S = 120


def infer(gateway, model: str, asked, answered, *options: str) -> str:
    """Runs the command on a file of requests; what it said."""
    command = [MLSERVER, "infer", "--url", gateway.address, "--model-name", model, "--input-data-path", asked,
               "--output-data-path", answered, "--retries", "1", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def answers(path) -> list[dict]:
    """The answers in the order of the requests; they are written as they come."""
    found = [json.loads(line) for line in path.read_text().splitlines()]
    return sorted(found, key=lambda answer: answer["parameters"]["batch_index"])


def outputs(found: list[dict]) -> dict[str, np.ndarray]:
    """The outputs of all answers put together; a vector comes as a column."""
    first = {output["name"]: output for output in found[0]["outputs"]}
    assert len(first) == len(found[0]["outputs"])
    together = {name: np.array([output["data"] for answer in found for output in answer["outputs"]
                                if output["name"] == name]) for name in first}
    return {name: values[:, 0] if first[name]["shape"][-1] == 1 else values for name, values in together.items()}


@pytest.mark.parametrize("options", [(), ("--binary-data",)], ids=["json", "binary"])
def test_ten_thousand_rows(gateway, tmp_path, options):
    committed = demo.features("digits")
    picked = np.arange(10_000) % len(committed)
    # Rows that are all of their own: no answer can stand for another.
    matrix = committed[picked] * np.linspace(0.5, 1.5, len(picked), dtype=np.float32)[:, None]
    with (tmp_path / "requests.jsonl").open("w") as file:
        for row in matrix:
            tensor = {"name": "image", "datatype": "FP32", "shape": [1, 64], "data": row.tolist()}
            file.write(json.dumps({"inputs": [tensor]}) + "\n")
    infer(gateway, "digits", tmp_path / "requests.jsonl", tmp_path / "answers.jsonl",
          "--batch-size", "100", "--workers", "4", *options)
    found = answers(tmp_path / "answers.jsonl")
    assert [answer["parameters"]["batch_index"] for answer in found] == list(range(len(matrix)))
    demo.agree(outputs(found), demo.run(DIGITS, matrix))


def test_one_mistake_among_the_rows(gateway, tmp_path):
    matrix = demo.features("digits")[:3]
    tensors = [{"name": "image", "datatype": "FP32", "shape": [1, 64], "data": row.tolist()} for row in matrix]
    tensors[1]["name"] = "picture"
    (tmp_path / "requests.jsonl").write_text("".join(
        json.dumps({"id": f"row-{n}", "inputs": [tensor]}) + "\n" for n, tensor in enumerate(tensors)))
    infer(gateway, "digits", tmp_path / "requests.jsonl", tmp_path / "answers.jsonl")
    first, wrong, last = answers(tmp_path / "answers.jsonl")
    assert "picture" in wrong["error"]["msg"]
    assert [first["id"], last["id"]] == ["row-0", "row-2"]
    wanted = demo.run(DIGITS, matrix)
    demo.agree(outputs([first, last]), {name: values[[0, 2]] for name, values in wanted.items()})
