"""Networks run by OpenVINO, which starts in a fraction of a second, and runs some faster on CPUs than TensorFlow.

It is the extra `openvino`. Loads no TensorFlow.
"""

import importlib.util
import json
import sys
import threading
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
# Pixels of the input shapes that stay compiled, of which there are at least two: those of a row of a scene's windows.
# Each takes memory for all that is computed, about 200 MB of a million pixels.
_PIXELS = 1_600_000


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
        self._model = model
        names = {"float32": "f32", "bfloat16": "bf16"}
        self._hints = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": names[precision]}
        # A request has one output, into which the next call writes.
        self._one_at_a_time = threading.Lock()
        self._requests: dict[tuple, openvino.InferRequest] = {}

    def _request(self, shapes: tuple[tuple[int, ...], ...]) -> "openvino.InferRequest":
        """For inputs of these shapes; those that were asked for the longest ago make room for a new one."""
        request = self._requests.pop(shapes, None)
        while request is None and len(self._requests) > 1 and self._pixels(shapes, *self._requests) > _PIXELS:
            del self._requests[next(iter(self._requests))]
        self._requests[shapes] = request = request or self._compile(shapes)
        return request

    @staticmethod
    def _pixels(*requests: tuple[tuple[int, ...], ...]) -> int:
        return sum(height * width for (_, height, width, _), *_ in requests)

    def _compile(self, shapes: tuple[tuple[int, ...], ...]) -> "openvino.InferRequest":
        fixed = self._model.clone()
        fixed.reshape(dict(enumerate(shapes)))
        return runtime().Core().compile_model(fixed, "CPU", self._hints).create_infer_request()

    def __call__(self, sar: np.ndarray, hint: np.ndarray | None = None) -> np.ndarray:
        channels = [tensor.partial_shape[3].get_length() for tensor in self._model.inputs]
        shapes = tuple((1, *sar.shape[1:3], count) for count in channels)
        optical = np.empty((*sar.shape[:3], 3), "float32")
        with self._one_at_a_time:
            request = self._request(shapes)
            for n in range(len(sar)):  # one after the other is as fast, and needs no shape of its own
                for given, tensor in zip((sar, hint), request.input_tensors, strict=False):
                    tensor.data[0] = 0 if given is None else given[n]
                request.infer()
                optical[n] = request.get_output_tensor(0).data[0]
        return optical


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
            self.patch, self.normalizes_each = int(about["patch"]), json.loads(about["normalizes_each"])
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
