"""Networks run by OpenVINO, which starts in a fraction of a second, and runs some faster on CPUs than TensorFlow.

It is the extra `openvino`. Loads no TensorFlow.
"""

import importlib.util
import json
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sar_keras.errors import DataError, ModelError, first_line, parameter
from sar_keras.inference.metadata import ModelMetadata, from_json, to_json
from sar_keras.inference.network import Network
from sar_keras.io.files import sha256_of_arrays

if TYPE_CHECKING:
    import openvino

ENGINES = ("auto", "openvino", "tensorflow")
PRECISIONS = ("float32", "bfloat16")
# Under this name a converted model keeps what it knows of itself, in `rt_info`.
ABOUT = "sar_keras"
# Input shapes that stay compiled: those of a row of a scene's windows. Each takes memory for all that it computes.
_SHAPES = 2


def check_engine(engine: str, precision: str) -> None:
    """Check that the engine is there and has the precision.

    Raises:
        DataError: no engine or precision of that name, or the engine is not installed.
    """
    if precision not in PRECISIONS:
        raise DataError(f"{parameter('precision')}: must be one of {', '.join(PRECISIONS)}, got {precision!r}")
    if engine not in ENGINES:
        raise DataError(f"{parameter('engine')}: must be one of {', '.join(ENGINES)}, got {engine!r}")
    if engine == "openvino" and not is_installed("openvino"):
        raise DataError(f'{parameter("engine")}: openvino is not installed: pip install ".[openvino]"')


def is_installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


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

    def _request(self, shapes: list[tuple[int, ...]]) -> "openvino.InferRequest":
        """For inputs of these shapes; the one that was asked for the longest ago makes room for a new one."""
        request = self._requests.pop(tuple(shapes), None)
        if request is None and len(self._requests) == _SHAPES:
            del self._requests[next(iter(self._requests))]
        self._requests[tuple(shapes)] = request = request or self._compile(shapes)
        return request

    def _compile(self, shapes: list[tuple[int, ...]]) -> "openvino.InferRequest":
        import openvino

        fixed = self._model.clone()
        fixed.reshape(dict(zip(range(len(shapes)), shapes, strict=True)))
        return openvino.Core().compile_model(fixed, "CPU", self._hints).create_infer_request()

    def __call__(self, sar: np.ndarray, hint: np.ndarray | None = None) -> np.ndarray:
        shapes = [(*sar.shape[:3], tensor.partial_shape[3].get_length()) for tensor in self._model.inputs]
        with self._one_at_a_time:
            request = self._request(shapes)
            for given, tensor in zip((sar, hint), request.input_tensors, strict=False):
                tensor.data[:] = 0 if given is None else given
            request.infer()
            return request.get_output_tensor(0).data.copy()


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
        import openvino

        try:
            model = openvino.Core().read_model(file)
            about = {key: value.astype(str) for key, value in model.get_rt_info([ABOUT]).astype(dict).items()}
        except RuntimeError as error:
            raise ModelError(f"{file}: not a model for OpenVINO that was exported here: {first_line(error)}") from error
        self._model, self.name, self.said = model, name, said
        known = [name for name in to_json(ModelMetadata()) if name in about]
        self.metadata = from_json({name: json.loads(about[name]) for name in known}, saved_as)
        shapes = {tensor.any_name: tensor.partial_shape for tensor in model.inputs}
        self.channels, self.takes_hint = shapes["sar"][3].get_length(), "hint" in shapes
        self.patch, self.normalizes_each = int(about["patch"]), json.loads(about["normalizes_each"])
        self._run = Compiled(model, precision)

    def weights_hash(self) -> str:
        # Not of the file, which another process may have removed by now.
        operations = self._model.get_ordered_ops()
        return sha256_of_arrays(each.data for each in operations if each.get_type_name() == "Constant")

    def __call__(self, sar: np.ndarray, hint: np.ndarray | None = None) -> np.ndarray:
        return self._run(sar, hint)
