"""Networks compiled by OpenVINO, which runs some of them faster on CPUs than TensorFlow; needs the extra `openvino`."""

import functools
import importlib.util
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from sar_keras.errors import DataError

ENGINES = ("tensorflow", "openvino")
# Input shapes that stay compiled: those of a scene's windows, or of a folder's images.
_SHAPES = 8


def check_engine(engine: str) -> None:
    """
    Raises:
        DataError: no engine of that name, or it is not installed.
    """
    if engine not in ENGINES:
        raise DataError(f"engine: must be one of {', '.join(ENGINES)}, got {engine!r}")
    if engine == "openvino" and not importlib.util.find_spec("openvino"):
        raise DataError('engine: openvino is not installed: pip install "sar-keras[openvino]"')


def on_openvino(
    function: tf.types.experimental.PolymorphicFunction, precision: str
) -> Callable[[np.ndarray], np.ndarray]:
    """A `tf.function` of one tensor, with a signature, as a function of an array, with the weights as they are now.

    Compiles anew for each shape of its input, in a tenth of a second or so: with an unknown shape a small network is
    half as fast. `precision` is "float32", or "bfloat16" where the processor has it.
    """
    import openvino

    model = openvino.convert_model(function.get_concrete_function())
    names = {"float32": "f32", "bfloat16": "bf16"}
    hints = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": names[precision]}

    @functools.lru_cache(_SHAPES)
    def request(shape: tuple[int, ...]):
        fixed = model.clone()
        fixed.reshape(shape)
        return openvino.Core().compile_model(fixed, "CPU", hints).create_infer_request()

    def run(values: np.ndarray) -> np.ndarray:
        compiled = request(values.shape)
        compiled.infer({0: values})
        return compiled.get_output_tensor(0).data.copy()  # the next call would write into it

    return run
