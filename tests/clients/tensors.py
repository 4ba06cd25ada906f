"""Arrays as Triton's clients want them, and their answers as arrays; `triton` is the module of a client."""
import demo
import numpy as np
from tritonclient.utils import np_to_triton_dtype


def asked(triton, arrays: dict[str, np.ndarray], **how) -> list:
    """Inputs by name."""
    return [triton.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
            .set_data_from_numpy(array, **how) for name, array in arrays.items()]


def rows(version, count: int | None = None) -> dict[str, np.ndarray]:
    """The first of the committed rows of a demo model, by the name of its input."""
    return {demo.rows(version.model)["inputs"][0]["name"]: demo.features(version.model)[:count]}


def answered(result, wanted: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The outputs of an answer whose names are wanted; an output that did not come is None."""
    return {name: result.as_numpy(name) for name in wanted}


def ranked(scores: np.ndarray, count: int) -> list[list[int]]:
    """The places of the highest scores of each row, the highest first."""
    return np.argsort(-scores, axis=1, kind="stable")[:, :count].tolist()
