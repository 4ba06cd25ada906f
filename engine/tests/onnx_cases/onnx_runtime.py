"""Prints how many of the same cases ONNX Runtime passes: onnx_runtime.py FOLDER.

FOLDER is the one that tests/run makes, .venv/onnx-cases. Which cases are in scope says excluded.txt,
as for the engine; tolerances are the engine's too. Runs on ../fixtures/requirements.txt.
"""

import fnmatch
import pathlib
import sys
from collections import Counter

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper

WHEELS = {"1.12.0": "17", "1.18.0": "23"}
RELATIVE, ABSOLUTE = 1e-3, 1e-5


def excluded(opset: str) -> list[tuple[str, str]]:
    """(section, pattern) of the lines for `opset`."""
    section, lines = "", []
    for line in pathlib.Path(__file__).with_name("excluded.txt").read_text().splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif line and not line.startswith("#"):
            opsets, pattern, _ = line.split(maxsplit=2)
            if opset in opsets.split(","):
                lines.append((section, pattern))
    return lines


def decode(path: pathlib.Path, kind: onnx.TypeProto):
    content = path.read_bytes()
    match kind.WhichOneof("value"):
        case "tensor_type":
            return numpy_helper.to_array(onnx.TensorProto.FromString(content))
        case "sequence_type":
            return numpy_helper.to_list(onnx.SequenceProto.FromString(content))
        case "optional_type":
            return numpy_helper.to_optional(onnx.OptionalProto.FromString(content))
        case other:
            raise TypeError(f"a value of {other}")


def is_close(got, wanted) -> bool:
    if isinstance(wanted, list):
        return len(got) == len(wanted) and all(map(is_close, got, wanted))
    if wanted is None:
        return got is None
    got = np.asarray(got)
    if got.shape != wanted.shape or got.dtype != wanted.dtype:
        return False
    if wanted.dtype.kind == "f":
        pair = got.astype(np.float64), wanted.astype(np.float64)
        return np.allclose(*pair, rtol=RELATIVE, atol=ABSOLUTE, equal_nan=True)
    return got.tolist() == wanted.tolist()


def outcome(folder: pathlib.Path) -> str:
    try:
        model = onnx.load(folder / "model.onnx")
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        for data in sorted(folder.glob("test_data_set_*")):
            inputs = {
                spec.name: decode(data / f"input_{i}.pb", spec.type)
                for i, spec in enumerate(model.graph.input)
            }
            for i, got in enumerate(session.run(None, inputs)):
                wanted = decode(data / f"output_{i}.pb", model.graph.output[i].type)
                if not is_close(got, wanted):
                    return "differs"
    except Exception:  # noqa: BLE001: whatever it is, the case has no answer
        return "error"
    return "pass"


def main() -> None:
    root = pathlib.Path(sys.argv[1])
    for version, opset in WHEELS.items():
        lines = excluded(opset)
        counts: dict[str, Counter] = {}
        for kind in ("node", "simple"):
            for folder in (root / version / kind).iterdir():
                name = folder.name
                section = next((s for s, p in lines if fnmatch.fnmatchcase(name, p)), "")
                group = "expanded" if "_expanded" in name else "in scope"
                if section in ("out of scope", "expected otherwise"):
                    group = section
                counts.setdefault(group, Counter())[outcome(folder)] += 1
        print(f"opset {opset}, ONNX Runtime {onnxruntime.__version__}")
        for group, c in sorted(counts.items()):
            rate = 100 * c["pass"] / c.total()
            print(f"  {group:<18} {c.total():>5} {rate:6.1f} %  {dict(c)}")


if __name__ == "__main__":
    onnxruntime.set_default_logger_severity(4)
    main()
