"""Triton's extensions beside inference, through both of its clients: repository, statistics, configuration, logs."""
import json
import time

import demo
import extra
import numpy as np
import pytest
import requests
import tensors
import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import InferenceServerException

DIGITS = demo.versions()[0]
REFUSED = "explicit model load / unload is not allowed if polling is enabled"


class Speaker:
    """One of the two clients with what tells them apart: where gRPC's answers are messages, JSON is asked for."""

    def __init__(self, triton, gateway):
        self.triton = triton
        self.client = triton.InferenceServerClient(gateway.address)
        self.is_grpc = triton is tritonclient.grpc
        self.as_json = {"as_json": True} if self.is_grpc else {}

    def infer(self, model: str, inputs: dict[str, np.ndarray], **more):
        """A prediction."""
        return self.client.infer(model, tensors.asked(self.triton, inputs), **more)

    def index(self) -> dict[tuple[str, str], dict]:
        """The repository's index by model and version."""
        found = self.client.get_model_repository_index(**self.as_json)
        entries = found.get("models", []) if self.is_grpc else found
        return {(entry["name"], entry.get("version", "")): entry for entry in entries}

    def statistics(self, *of: str) -> list[dict]:
        """Statistics, of all models or one."""
        return self.client.get_inference_statistics(*of, **self.as_json)["model_stats"]

    def logging(self, call: str, *arguments, **more) -> dict:
        """Settings of the log by name."""
        told = getattr(self.client, call)(*arguments, **self.as_json, **more)
        if not self.is_grpc:
            return told
        # An entry is {"uint32_param": 0}, or {"bool_param": …}.
        return {name: next(iter(value.values())) for name, value in told["settings"].items()}


@pytest.fixture(scope="module", params=[tritonclient.http, tritonclient.grpc], ids=["http", "grpc"])
def triton(request):
    """The module of a client."""
    return request.param


@pytest.fixture(scope="module")
def speaker(triton, gateway):
    """A client of the demo models."""
    speaker = Speaker(triton, gateway)
    yield speaker
    speaker.client.close()


@pytest.fixture(scope="module")
def builder(triton, workshop):
    """A client of the gateway that lets clients load and unload."""
    builder = Speaker(triton, workshop)
    yield builder
    builder.client.close()


def status(speaker: Speaker, http: int, grpc: str) -> str:
    """The status of an error as the client shows it."""
    return f"StatusCode.{grpc}" if speaker.is_grpc else str(http)


# ---- statistics ---------------------------------------------------------------------------


def counts(statistics: dict) -> dict[str, int]:
    """What of a version's statistics is counted; zeros are left out of gRPC's JSON."""
    by_kind = statistics["inference_stats"]
    return {"samples": int(statistics.get("inference_count", 0)), "runs": int(statistics.get("execution_count", 0)),
            **{kind: int(by_kind.get(kind, {}).get("count", 0)) for kind in ("success", "fail")},
            **{f"{kind}_ns": int(by_kind.get(kind, {}).get("ns", 0))
               for kind in ("success", "queue", "compute_input", "compute_infer", "compute_output")}}


def test_statistics_count_samples_and_runs(speaker):
    (before,) = map(counts, speaker.statistics("breast_cancer", "2"))
    for rows in (1, 2, 4):
        matrix = demo.features("breast_cancer")[:rows]
        speaker.infer("breast_cancer", {"features": matrix}, model_version="2")
    (statistics,) = speaker.statistics("breast_cancer", "2")
    assert (statistics["name"], statistics["version"]) == ("breast_cancer", "2")
    after = counts(statistics)
    grown = {name: after[name] - before[name] for name in after}
    assert grown["samples"] == 7 and grown["runs"] == 3 and grown["success"] == 3 and grown["fail"] == 0
    parts = sum(grown[f"{kind}_ns"] for kind in ("queue", "compute_input", "compute_infer", "compute_output"))
    assert 0 < grown["compute_infer_ns"] <= parts <= grown["success_ns"]
    assert abs(int(statistics["last_inference"]) / 1000 - time.time()) < 60
    sizes = {int(batch["batch_size"]): int(batch["compute_infer"]["count"]) for batch in statistics["batch_stats"]}
    assert set(sizes) >= {1, 2, 4} and sum(sizes.values()) == after["runs"]


def test_statistics_count_failures(speaker):
    (before,) = map(counts, speaker.statistics("breast_cancer", "2"))
    with pytest.raises(InferenceServerException):
        speaker.infer("breast_cancer", {"features": np.zeros((1, 29), np.float32)}, model_version="2")
    with pytest.raises(InferenceServerException):
        speaker.infer("breast_cancer", {"features": np.zeros((1, 30), np.float32)}, model_version="2", timeout=1)
    (after,) = map(counts, speaker.statistics("breast_cancer", "2"))
    assert after["fail"] > before["fail"] and after["success"] == before["success"]


def test_statistics_of_all_models(speaker):
    speaker.infer("digits", tensors.rows(DIGITS, 1), model_version="1")
    found = {(s["name"], s["version"]) for s in speaker.statistics()}
    assert {(version.model, str(version.number)) for version in demo.versions()} <= found
    assert {(s["name"], s["version"]) for s in speaker.statistics("digits")} == {("digits", "1"), ("digits", "2")}


# ---- configuration ------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["", "2"])
def test_configuration_and_metadata_say_the_same(speaker, version):
    told = speaker.client.get_model_config("digits", version, **speaker.as_json)
    config = told["config"] if speaker.is_grpc else told
    metadata = speaker.client.get_model_metadata("digits", version, **speaker.as_json)
    assert config["name"] == "digits"
    # perf_analyzer reads it: where batches are formed, dims leave out the batch that metadata's shapes begin with.
    leading = [-1] if config.get("max_batch_size", 0) > 0 else []
    types = {"FP32": "TYPE_FP32", "INT64": "TYPE_INT64"}
    for kind in ("input", "output"):
        assert [(t["name"], t["data_type"], leading + [int(n) for n in t.get("dims", [])]) for t in config[kind]] == [
            (t["name"], types[t["datatype"]], [int(n) for n in t["shape"]]) for t in metadata[f"{kind}s"]]


# ---- repository ---------------------------------------------------------------------------


def test_the_index_lists_every_version(speaker):
    index = speaker.index()
    for version in demo.versions():
        assert index[version.model, str(version.number)]["state"] == "READY"


def test_the_index_of_what_is_ready(workshop):
    listing = requests.post(f"{workshop.data}/v2/repository/index", json={"ready": True}, timeout=10).json()
    assert {entry["name"] for entry in listing} >= set(extra.FILES) and {e["state"] for e in listing} == {"READY"}


@pytest.mark.parametrize("call", ["load_model", "unload_model"])
def test_loading_and_unloading_is_the_gateways_own_by_default(speaker, gateway, call):
    with pytest.raises(InferenceServerException) as error:
        getattr(speaker.client, call)("digits", headers=gateway.as_admin)
    assert REFUSED in error.value.message()
    assert error.value.status() == status(speaker, 503, "UNAVAILABLE")
    assert speaker.client.is_model_ready("digits")


@pytest.mark.parametrize("call", ["load_model", "unload_model"])
def test_loading_and_unloading_wants_an_admin(builder, call):
    with pytest.raises(InferenceServerException) as error:
        getattr(builder.client, call)("digits")
    assert error.value.status() == status(builder, 401, "UNAUTHENTICATED") and error.value.message()
    assert builder.client.is_model_ready("digits")


def test_a_model_goes_and_comes_back(builder, workshop):
    inputs = extra.inputs("pair")
    wanted = extra.run("pair", inputs)
    builder.client.unload_model("pair", headers=workshop.as_admin)
    assert not builder.client.is_model_ready("pair")
    assert builder.index()["pair", "1"]["state"] == "UNAVAILABLE"
    with pytest.raises(InferenceServerException) as error:
        builder.infer("pair", inputs)
    assert "pair" in error.value.message()
    builder.client.load_model("pair", headers=workshop.as_admin)
    assert builder.client.is_model_ready("pair")
    assert builder.index()["pair", "1"]["state"] == "READY"
    extra.agree(tensors.answered(builder.infer("pair", inputs), wanted), wanted)


@pytest.mark.parametrize("brought", [{"config": json.dumps({"backend": "onnxruntime"})},
                                     {"config": "{}", "files": {"file:1/model.onnx": b"model"}}])
def test_a_model_that_is_brought_along_is_sent_to_the_admin_api(builder, workshop, brought):
    with pytest.raises(InferenceServerException) as error:
        builder.client.load_model("pair", headers=workshop.as_admin, **brought)
    assert error.value.status() == status(builder, 501, "UNIMPLEMENTED")
    assert "config" in error.value.message() and "/admin/v1/models/" in error.value.message()


@pytest.mark.parametrize("call", ["load_model", "unload_model"])
def test_nobody_can_be_neither_loaded_nor_unloaded(builder, workshop, call):
    with pytest.raises(InferenceServerException) as error:
        getattr(builder.client, call)("nobody", headers=workshop.as_admin)
    assert "nobody" in error.value.message()


# ---- settings of the log ------------------------------------------------------------------


def test_settings_of_the_log(speaker, gateway):
    before = speaker.logging("get_log_settings")
    assert {"log_file", "log_info", "log_warning", "log_error", "log_verbose_level", "log_format"} <= set(before)
    try:
        after = speaker.logging("update_log_settings", {"log_verbose_level": 1}, headers=gateway.as_admin)
        assert after == before | {"log_verbose_level": 1} == speaker.logging("get_log_settings")
    finally:
        level = {"log_verbose_level": before["log_verbose_level"]}
        assert speaker.logging("update_log_settings", level, headers=gateway.as_admin) == before


def test_settings_of_the_log_want_an_admin(speaker):
    before = speaker.logging("get_log_settings")
    with pytest.raises(InferenceServerException) as error:
        speaker.logging("update_log_settings", {"log_verbose_level": 2})
    assert error.value.status() == status(speaker, 401, "UNAUTHENTICATED")
    assert speaker.logging("get_log_settings") == before


@pytest.mark.parametrize(("settings", "http", "grpc"), [
    ({"log_colour": True}, 400, "INVALID_ARGUMENT"),
    # The gateway's own settings say these.
    ({"log_format": "rainbow"}, 501, "UNIMPLEMENTED"),
    ({"log_file": "elsewhere"}, 501, "UNIMPLEMENTED"),
])
def test_a_setting_of_the_log_that_cannot_be_changed(speaker, gateway, settings, http, grpc):
    before = speaker.logging("get_log_settings")
    with pytest.raises(InferenceServerException) as error:
        speaker.logging("update_log_settings", settings, headers=gateway.as_admin)
    assert error.value.status() == status(speaker, http, grpc)
    assert next(iter(settings)) in error.value.message()
    assert speaker.logging("get_log_settings") == before
