"""Networks run by OpenVINO, which starts in a fraction of a second, and runs some faster on CPUs than TensorFlow.

It is the extra `openvino`. Loads no TensorFlow.
"""

import copy
import functools
import importlib.util
import json
import re
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sar_keras.errors import DataError, ModelError, parameter
from sar_keras.inference.metadata import ModelMetadata, from_json, to_json
from sar_keras.inference.network import Network
from sar_keras.io.files import sha256_of_arrays

if TYPE_CHECKING:
    import openvino

ENGINES = ("auto", "openvino", "tensorflow")
PRECISIONS = ("float32", "bfloat16")
# Under this name a converted model keeps what it knows of itself, in `rt_info`.
ABOUT = "sar_keras"
# Pixels of the input shapes that stay compiled. Each takes memory for all that is computed, about 200 MB of a million.
_PIXELS = 1_600_000
# What a normalisation of each image multiplies with and adds, see `sar_keras.networks.faster_layers`.
_SCALE = re.compile(r"/normalization/strided_slice(_1)?$")


def runtime() -> Any:
    """The package openvino, without the one that reports each import and conversion to Google Analytics."""
    sys.modules.setdefault("openvino_telemetry", None)  # pyright: ignore[reportArgumentType] - as if not installed
    import openvino

    return openvino


def check_engine(engine: str, precision: str) -> None:
    """Check that the engine is there and has the precision.

    Raises:
        DataError: no engine or precision of that name, or the engine is not installed.
    """
    if precision not in PRECISIONS:
        raise DataError(f"{parameter('precision')}: must be one of {', '.join(PRECISIONS)}, got {precision!r}")
    if engine not in ENGINES:
        raise DataError(f"{parameter('engine')}: must be one of {', '.join(ENGINES)}, got {engine!r}")
    if engine != "auto" and not is_installed(engine):
        mend = ".[openvino]" if engine == "openvino" else "."
        raise DataError(f'{parameter("engine")}: {engine} is not installed: pip install "{mend}"')


def is_installed(package: str) -> bool:
    """Whether there is such a package; a folder of that name, as a run has, is none."""
    spec = importlib.util.find_spec(package)
    return spec is not None and spec.origin is not None


class Compiled:
    """A function as `Network` is one, which keeps the weights as they are now.

    It computes in "float32", or in "bfloat16" where the processor has it. It compiles anew for each shape of its
    inputs, because with an unknown shape a small network is half as fast.
    """

    def __init__(self, model: "openvino.Model", precision: str):
        self._models = {"own": model}
        self._count = len(model.inputs)
        names = {"float32": "f32", "bfloat16": "bf16"}
        self._hints = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": names[precision]}
        # A request has one output, into which the next call writes.
        self._one_at_a_time = threading.Lock()
        self._requests: dict[tuple[str, int, int], openvino.InferRequest] = {}

    def __call__(self, sar: np.ndarray, hint: np.ndarray | None = None) -> np.ndarray:
        return self._run("own", (), sar, hint)

    def normalized_as(self, sar: np.ndarray, hint: np.ndarray | None = None) -> Callable[..., np.ndarray]:
        """The function of `Network.normalized_as`."""
        if "asked" not in self._models:
            self._models |= _asked_and_given(self._models["own"])
        with self._one_at_a_time:
            request = self._request("asked", *sar.shape[1:3])
            self._infer(request, (), sar[0], None if hint is None else hint[0])
            scales = [tensor.data.copy() for tensor in request.output_tensors[1:]]
        return functools.partial(self._run, "given", scales)

    def _run(self, kind: str, scales: Sequence[np.ndarray], sar: np.ndarray, hint: np.ndarray | None) -> np.ndarray:
        optical = np.empty((*sar.shape[:3], 3), "float32")
        with self._one_at_a_time:
            request = self._request(kind, *sar.shape[1:3])
            for n in range(len(sar)):  # one after the other is as fast, and needs no shape of its own
                self._infer(request, scales, sar[n], None if hint is None else hint[n])
                optical[n] = request.get_output_tensor(0).data[0]
        return optical

    def _request(self, kind: str, height: int, width: int) -> "openvino.InferRequest":
        """For images of this shape; those that were asked for the longest ago make room for a new one."""
        key = kind, height, width
        request = self._requests.pop(key, None)
        while request is None and self._requests and sum(h * w for _, h, w in [key, *self._requests]) > _PIXELS:
            del self._requests[next(iter(self._requests))]
        self._requests[key] = request = request or self._compile(kind, height, width)
        return request

    def _compile(self, kind: str, height: int, width: int) -> "openvino.InferRequest":
        fixed = self._models[kind].clone()
        channels = [tensor.partial_shape[3].get_length() for tensor in fixed.inputs[: self._count]]
        fixed.reshape({n: (1, height, width, count) for n, count in enumerate(channels)})
        return runtime().Core().compile_model(fixed, "CPU", self._hints).create_infer_request()

    def _infer(self, request, scales: Sequence[np.ndarray], sar: np.ndarray, hint: np.ndarray | None) -> None:
        images, others = request.input_tensors[: self._count], request.input_tensors[self._count :]
        for tensor, image in zip(images, (sar, hint), strict=False):
            tensor.data[0] = 0 if image is None else image
        for tensor, scale in zip(others, scales, strict=True):
            tensor.data[:] = scale
        request.infer()


def _asked_and_given(model: "openvino.Model") -> dict[str, "openvino.Model"]:
    """A model that also gives what each normalisation multiplies with and adds, and one that takes these as inputs."""
    asked, given = model.clone(), model.clone()
    there = {name: each for each in asked.get_ops() if _SCALE.search(name := each.get_friendly_name())}
    asked.add_outputs([each.output(0) for each in there.values()])
    operations = {each.get_friendly_name(): each for each in given.get_ops()}
    for name in there:
        scale = operations[name].output(0)
        told = runtime().opset13.parameter([1, 1, 1, scale.partial_shape[3].get_length()], np.float32)
        scale.replace(told.output(0))
        given.add_parameters([told])
    given.validate_nodes_and_infer_types()
    return {"asked": asked, "given": given}


class ConvertedNetwork(Network):
    """A model that was exported for OpenVINO.

    Args:
        file: The file model.xml.
        precision: One of PRECISIONS.
        name: For people.
        saved_as: The file of the model that it was made of.
        said: For people: why this engine.

    Raises:
        ModelError: the file is broken, or is no export of this package.
    """

    engine = "openvino"

    def __init__(self, file: Path, precision: str, name: str, saved_as: Path, said: str = "openvino"):
        self.name, self.precision, self.said = name, precision, said
        try:
            self._model = runtime().Core().read_model(file)
            about = self._model.get_rt_info([ABOUT]).astype(dict)
            about = {key: value.astype(str) for key, value in about.items()}
            known = [name for name in to_json(ModelMetadata()) if name in about]
            self.metadata = from_json({name: json.loads(about[name]) for name in known}, saved_as)
            shapes = {tensor.any_name: tensor.partial_shape for tensor in self._model.inputs}
            self.channels, self.takes_hint = shapes["sar"][3].get_length(), "hint" in shapes
            self.patch, self.multiple = int(about["patch"]), int(about["multiple"])
            self.normalizes_each = json.loads(about["normalizes_each"])
        except (RuntimeError, KeyError, ValueError, TypeError) as error:  # OpenVINO's own, or other values than ours
            raise ModelError(
                f"{file}: not a model for OpenVINO that this version has exported; make it again: sar-keras export "
                "MODEL --format openvino"
            ) from error
        self._run = Compiled(self._model, precision)

    def weights_hash(self) -> str:
        # Not of the file, which another process may have removed by now.
        operations = self._model.get_ordered_ops()
        return sha256_of_arrays(each.data for each in operations if each.get_type_name() == "Constant")

    def __call__(self, sar: np.ndarray, hint: np.ndarray | None = None, exact: bool = False) -> np.ndarray:
        return self._run(sar, hint)

    def normalized_as(self, sar: np.ndarray, hint: np.ndarray | None = None) -> Network:
        network = copy.copy(self)
        network._run, network.normalizes_each = self._run.normalized_as(sar, hint), False
        return network
