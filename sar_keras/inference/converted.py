"""Export to ONNX and OpenVINO, whose runtimes need neither TensorFlow nor this package.

Inputs and output are those of the SavedModel's `serving_default`, see `export_saved_model`. The network is the copy for
inference, which runs in half the time of the network itself, and gives the same colours. Each export is compared with
the model before it gets its name.
"""

import contextlib
import functools
import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import keras
import numpy as np
import tensorflow as tf

from sar_keras.errors import ModelError, OutputError, first_line, parameter
from sar_keras.inference.export import describe, input_signature, new_version, planes, serving_default
from sar_keras.inference.formats import check_format
from sar_keras.inference.locate import CONVERTED
from sar_keras.inference.openvino import ABOUT, runtime
from sar_keras.io.files import atomic
from sar_keras.networks.rewriting import for_inference
from sar_keras.networks.sizes import any_size, patch_size

if TYPE_CHECKING:
    import openvino

# The ONNX operators of 2022: the newest that tf2onnx writes, and every runtime of today has them.
_OPSET = 18

# A converted network: arrays by the names of the inputs to colours.
_Runner = Callable[[dict[str, np.ndarray]], np.ndarray]


def export_onnx(model: keras.Model, folder: str | Path, version: int | None = None) -> Path:
    """Write `folder/<version>/model.onnx`; what `describe` says of it is in its `metadata_props`.

    Args:
        model: A model from `sar_keras.load_model`.
        folder: Where the versions stand.
        version: None: one more than the highest there.

    Returns:
        The file.

    Raises:
        OutputError: the version exists, or the extra `onnx` is not installed.
        ModelError: ONNX cannot take the model, or gives other colours.
    """
    check_format("onnx")
    import onnx
    import onnxruntime
    import tf2onnx

    def write(function: Callable, file: Path) -> _Runner:
        with _silent("tf2onnx"):
            # Not `keras.Model.export`, which names the output "Identity:0".
            converted, _ = tf2onnx.convert.from_function(function, input_signature(model), opset=_OPSET)
        for tensor in (*converted.graph.input, *converted.graph.output):
            for dimension, name in zip(tensor.type.tensor_type.shape.dim, "NHW", strict=False):
                dimension.dim_param = name
        onnx.helper.set_model_props(converted, describe(model))
        onnx.save(converted, file)
        session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
        return lambda arrays: np.asarray(session.run(["optical"], arrays)[0])

    return _export(model, "onnx", new_version(folder, version) / "model.onnx", write)


def export_openvino(model: keras.Model, folder: str | Path, version: int | None = None) -> Path:
    """Write `folder/<version>/model.xml` and `model.bin`; what `describe` says of it is in its `rt_info`.

    Arguments and errors are those of `export_onnx`, with the extra `openvino`. OpenVINO computes in bfloat16 where the
    processor has it: for the model's own colours compile it with INFERENCE_PRECISION_HINT f32.

    Returns:
        The file model.xml.
    """
    check_format("openvino")
    return _export(
        model, "openvino", new_version(folder, version) / CONVERTED, functools.partial(_write_openvino, model)
    )


def convert_for_openvino(model: keras.Model, folder: Path, half: bool = False) -> Path:
    """As `export_openvino`, but into `folder` itself; `half` stores weights in float16.

    Returns:
        The file model.xml.
    """
    return _write(model, folder / CONVERTED, functools.partial(_write_openvino, model, half=half))


def converted(model: keras.Model) -> "openvino.Model":
    """A model as OpenVINO has it, in memory.

    Raises:
        ModelError: OpenVINO cannot take it.
    """
    function = _function(model)
    try:
        return runtime().convert_model(function.get_concrete_function())
    except Exception as error:  # it has errors of its own
        raise ModelError(f"cannot take this model: {_reason(error)}") from error


def _write_openvino(model: keras.Model, function: Callable, file: Path, half: bool = False) -> _Runner:
    openvino = runtime()
    network = openvino.convert_model(function.get_concrete_function())
    for name, value in describe(model).items():
        network.set_rt_info(value, [ABOUT, name])
    try:
        openvino.save_model(network, file, compress_to_fp16=half)
    except RuntimeError as error:  # "iostream error", whatever it is
        raise OutputError(f"{file.parent}: cannot be written; is the disk full?") from error
    compiled = openvino.Core().compile_model(file, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda arrays: compiled(arrays)["optical"]


def _function(model: keras.Model) -> Callable:
    """The copy for inference, of any size, as a function to convert; it keeps alive what its graph refers to.

    Without transposed convolutions, because OpenVINO rounds to bfloat16 by itself, but whatever comes after the last
    plain convolution it leaves in float32: of a U-Net with transposed ones the whole decoder.
    """
    network = any_size(for_inference(model, without_transposed=True))
    return tf.function(serving_default(network), input_signature=input_signature(model), autograph=False)


def _export(model: keras.Model, format: str, file: Path, write: Callable[[Callable, Path], _Runner]) -> Path:
    try:
        return _write(model, file, write)
    except ModelError as error:
        raise ModelError(f"{parameter('format')} {format}: {error}; saved_model takes every model") from error


def _write(model: keras.Model, file: Path, write: Callable[[Callable, Path], _Runner]) -> Path:
    function = _function(model)
    with atomic(file.parent) as temporary:
        temporary.mkdir()
        try:
            run = write(function, temporary / file.name)
        except (OSError, OutputError):  # a full disk, or a folder that cannot be written
            raise
        except Exception as error:  # each converter and each runtime has errors of its own
            raise ModelError(f"cannot take this model: {_reason(error)}") from error
        difference = _difference(model, run)
        if not difference <= 1:
            raise ModelError(f"gives colours that are up to {difference:.0f} of 255 off")
    return file


def _difference(model: keras.Model, run: _Runner) -> float:
    """How far the colours are off, of 255, where they are most."""
    network, size = any_size(model), patch_size(model)
    random, found = np.random.default_rng(0), []
    for count, height, width, spread in ((2, size, size, 2.0), (1, size, 2 * size, 2.0), (1, size, size, 0.001)):
        arrays = {
            name: random.uniform(-1, spread - 1, (count, height, width, channels)).astype("float32")
            for name, channels in planes(model).items()
        }
        found.append(np.abs(run(arrays) - serving_default(network)(**arrays)["optical"]).max() * 127.5)
    return float(np.max(found))  # not a number where one is none


@contextlib.contextmanager
def _silent(name: str) -> Iterator[None]:
    """Let a package not log meanwhile: what it says of optimizations that it leaves out, with tracebacks."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(before)


def _reason(error: Exception) -> str:
    """What a converter or a runtime misses, without what it says around it."""
    missing = re.search("No (Op registered|conversion rule found) for .*", str(error))
    return missing[0] if missing else first_line(error)
