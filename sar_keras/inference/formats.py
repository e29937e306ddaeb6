"""The formats that models are exported to, and the extras that they need. Loads no TensorFlow."""

from sar_keras.errors import OutputError, parameter
from sar_keras.inference.openvino import is_installed

# Format to the packages of the extra of its name.
_PACKAGES = {"saved_model": (), "onnx": ("onnx", "onnxruntime", "tf2onnx"), "openvino": ("openvino",)}
FORMATS = tuple(_PACKAGES)


def check_format(format: str) -> None:
    """Check that there is such a format, and what it needs.

    Raises:
        OutputError: no such format, or its extra is not installed.
    """
    if format not in FORMATS:
        raise OutputError(f"{parameter('format')}: must be one of {', '.join(FORMATS)}, got {format!r}")
    missing = [name for name in _PACKAGES[format] if not is_installed(name)]
    if missing:
        raise OutputError(
            f'{parameter("format")} {format}: {", ".join(missing)} not installed: pip install ".[{format}]"'
        )
