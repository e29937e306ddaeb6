"""Networks compiled by OpenVINO, which runs some of them faster on CPUs than TensorFlow; needs the extra `openvino`."""

import functools
import importlib.util
import threading
from collections.abc import Callable

from sar_keras.errors import DataError, parameter

ENGINES = ("tensorflow", "openvino")
PRECISIONS = ("float32", "bfloat16")
# Input shapes that stay compiled: those of a scene's windows, or of a folder's images.
_SHAPES = 8


def check_engine(engine: str, precision: str) -> None:
    """Check that the engine is there and has the precision.

    Raises:
        DataError: no engine or precision of that name, or the engine is not installed.
    """
    if precision not in PRECISIONS:
        raise DataError(f"{parameter('precision')}: must be one of {', '.join(PRECISIONS)}, got {precision!r}")
    if engine not in ENGINES:
        raise DataError(f"{parameter('engine')}: must be one of {', '.join(ENGINES)}, got {engine!r}")
    if engine == "openvino" and not importlib.util.find_spec("openvino"):
        raise DataError(f'{parameter("engine")}: openvino is not installed: pip install "sar-keras[openvino]"')


def on_engine(function: Callable, engine: str, precision: str) -> Callable:
    """Turn a `tf.function` of one tensor, with a signature, into a function of an array.

    "tensorflow" runs it as it is. "openvino" keeps the weights as they are now, and computes in `precision`: "float32",
    or "bfloat16" where the processor has it. It compiles anew for each shape of its input, because with an unknown
    shape a small network is half as fast.
    """
    if engine == "tensorflow":
        return lambda values: function(values).numpy()
    import openvino

    model = openvino.convert_model(function.get_concrete_function())
    names = {"float32": "f32", "bfloat16": "bf16"}
    hints = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": names[precision]}

    @functools.lru_cache(_SHAPES)
    def request(shape: tuple[int, ...]):
        fixed = model.clone()
        fixed.reshape(shape)
        return openvino.Core().compile_model(fixed, "CPU", hints).create_infer_request()

    one_at_a_time = threading.Lock()  # a request has one output, into which the next call writes

    def run(values):
        with one_at_a_time:
            compiled = request(values.shape)
            compiled.infer({0: values})
            return compiled.get_output_tensor(0).data.copy()

    return run
