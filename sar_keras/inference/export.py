"""SavedModel export for TensorFlow Serving."""

import json
from collections.abc import Callable
from pathlib import Path

import keras
import tensorflow as tf

import sar_keras
from sar_keras import compat
from sar_keras.data import scaling
from sar_keras.errors import OutputError, parameter
from sar_keras.hint_planes import KINDS, compose_hint, has_data, hint_channels
from sar_keras.inference.hints import LEAST_WEIGHT
from sar_keras.inference.metadata import metadata_of, to_json
from sar_keras.io.files import atomic, local_path
from sar_keras.io.images import max_pixels
from sar_keras.io.sar import Scale
from sar_keras.networks.guided import input_planes, split_planes
from sar_keras.networks.sizes import (
    any_size,
    multiple_of_sides,
    normalizes_each,
    patch_size,
    sar_channels,
    shapes_of_inputs,
    takes_hint,
)

# What the signatures of a guided model are called by, and the kind of their hint.
_KINDS = {"reference": "other_date", "basemap": "coarse"}


def export_saved_model(model: keras.Model, folder: str | Path, version: int | None = None) -> Path:
    """Write `folder/<version>/saved_model.pb` with its signatures, and warm-up requests where the extra is installed.

    - `serving_default`: `sar` float32 (N, H, W, channels) in [-1, 1], of a guided model also `hint`, see
      `sar_keras.compose_hint`, to `optical` float32 (N, H, W, 3) in [-1, 1]; height and width are whatever the network
      allows; multiples of 256 always fit;
    - `colorize_png`: `image_bytes`, a batch of PNG or JPEG files of any size, 8 or 16 bits, to `png_bytes`, RGB PNG
      files of the same sizes. Decoding and scaling happen in the graph, of at most `images.max_pixels` as it is now;
    - of a guided model `colorize_png_with_reference` and `colorize_png_with_basemap`, which take `hint_bytes` beside
      `image_bytes`: as many PNG or JPEG files of RGB.

    Bands and scales are in `assets.extra/sar_keras.json`, see `describe`.

    Args:
        model: A model from `sar_keras.load_model`.
        folder: The model's base path in TensorFlow Serving.
        version: None: one more than the highest there.

    Returns:
        The version's directory.

    Raises:
        OutputError: the version exists.
    """
    target = new_version(folder, version)
    scale = metadata_of(model).sar_scale
    channels = sar_channels(model)
    run = _image_function(model)
    network = run.network  # pyright: ignore[reportFunctionMemberAccess]

    guided = takes_hint(model)

    def colored(encoded, hint=None):
        sar = _decode(encoded, channels, scale)
        if guided:
            hint = tf.zeros((*tf.unstack(tf.shape(sar)[:2]), hint_channels(channels))) if hint is None else hint(sar)
            sar = tf.concat([sar, hint], -1)
        return tf.io.encode_png(run(sar))

    def colorize_png(image_bytes):
        return {"png_bytes": tf.map_fn(colored, image_bytes, fn_output_signature=tf.string)}

    def colorize_png_with(kind):
        def colorize_png_with_hint(image_bytes, hint_bytes):
            def one(encoded):
                return colored(encoded[0], lambda sar: _decode_hint(encoded[1], tf.shape(sar)[:2], kind, channels))

            return {"png_bytes": tf.map_fn(one, (image_bytes, hint_bytes), fn_output_signature=tf.string)}

        return colorize_png_with_hint

    archive = keras.export.ExportArchive()
    archive.track(network)
    size, files = patch_size(model), tf.TensorSpec((None,), tf.string, name="image_bytes")
    archive.add_endpoint("serving_default", serving_default(network), input_signature(model))
    archive.add_endpoint("colorize_png", colorize_png, [files])
    if guided:
        for name, kind in _KINDS.items():
            hints = tf.TensorSpec((None,), tf.string, name="hint_bytes")
            archive.add_endpoint(f"colorize_png_with_{name}", colorize_png_with(kind), [files, hints])
    with atomic(target) as temporary:
        temporary.mkdir()
        compat.write_out(archive, str(temporary))
        extra = temporary / "assets.extra"
        extra.mkdir()
        (extra / "sar_keras.json").write_text(json.dumps(describe(model), indent=2) + "\n")
        arrays = {name: (size, size, count) for name, count in planes(model).items()}
        _write_warm_up(extra, target.parent.name, arrays)
    return target


def _image_function(generator: keras.Model) -> Callable[[tf.Tensor], tf.Tensor]:
    """The generator as a function of one SAR image of any size, to uint8 RGB of that size.

    The function takes (H, W, channels), float32 in [-1, 1]; of a guided generator the planes of the hint follow. The
    image is mirrored at its right and lower border until both sides are multiples of the network's patch size, and
    cropped back, as by `sar_keras.colorize`.
    """
    network = any_size(generator)
    patch = patch_size(generator)

    # AutoGraph would take half a second to find nothing to convert.
    @tf.function(input_signature=[tf.TensorSpec((None, None, input_planes(generator)), tf.float32)], autograph=False)
    def run(sar):
        height, width = tf.shape(sar)[0], tf.shape(sar)[1]
        padded = _mirror_to_multiple(_mirror_to_multiple(sar, patch, axis=0), patch, axis=1)
        optical = network(split_planes(network, padded[None]), training=False)[0, :height, :width]
        return tf.cast(tf.clip_by_value(tf.round((optical + 1.0) * 127.5), 0.0, 255.0), tf.uint8)

    run.network = network  # Keeps the layers alive, which a tf.function does not.
    return run


def _mirror_to_multiple(image: tf.Tensor, multiple: int, axis: int) -> tf.Tensor:
    """Continue an image by reflections, as often as it takes; works from a single pixel on."""
    size = tf.shape(image)[axis]
    positions = tf.range(-(-size // multiple) * multiple)
    period = tf.maximum(2 * (size - 1), 1)
    positions = tf.minimum(positions % period, period - positions % period)
    return tf.gather(image, tf.minimum(positions, size - 1), axis=axis)


def new_version(folder: str | Path, version: int | None) -> Path:
    """The directory `folder/<version>`, which is not there yet.

    Args:
        version: None: one more than the highest there.

    Raises:
        OutputError: the version exists.
    """
    folder = local_path(folder)
    if version is None:
        there = [int(path.name) for path in folder.glob("*") if path.name.isdigit()] if folder.is_dir() else []
        version = max(there, default=0) + 1
    target = folder / str(version)
    if target.exists():
        raise OutputError(f"{target}: exists already; give another {parameter('version')}")
    return target


def describe(model: keras.Model) -> dict[str, str]:
    """What an exported file says of itself: its inputs and its output in words, the rest as JSON.

    "sar", "hint" (of a guided model) and "optical" are words. "patch", "multiple" and "normalizes_each" are those of
    `sar_keras.inference.network.Network`; "sar_scale", "optical_scale", "expected_error",
    "mean_colour", "sar_bands" and "parent" are those of `sar_keras.ModelMetadata`.
    """
    about, channels, size = metadata_of(model), sar_channels(model), patch_size(model)
    multiple = multiple_of_sides(model)
    scale, bands = about.sar_scale, ", ".join(about.sar_bands) or "bands as in training"
    words = {
        "sar_keras": sar_keras.__version__,
        "sar": f"float32 (N, H, W, {channels}), {bands}: {scale.units} from {scale.low:g} to {scale.high:g} as -1 to "
        f"1, beyond it clipped; H and W are multiples of {multiple}",
        "optical": "float32 (N, H, W, 3): red, green and blue from -1 to 1, which are 0 to 255",
    }
    if takes_hint(model):
        kinds = ", ".join(f"1 where it is {kind}" for kind in KINDS)
        words["hint"] = (
            f"float32 (N, H, W, {hint_channels(channels)}), all 0 without a hint: RGB from -1 to 1; {kinds}; 1 where "
            "there is a SAR image of the other date; that image, scaled as sar is"
        )
    values = {"patch": size, "multiple": multiple, "normalizes_each": normalizes_each(model), **to_json(about)}
    return words | {name: json.dumps(value) for name, value in values.items()}


def serving_default(network: keras.Model) -> Callable[..., dict[str, tf.Tensor]]:
    """A network as a function of `sar`, a guided one of `sar` and `hint`."""
    if takes_hint(network):
        return lambda sar, hint: {"optical": network({"sar": sar, "hint": hint}, training=False)}
    return lambda sar: {"optical": network(sar, training=False)}


def input_signature(model: keras.Model) -> list[tf.TensorSpec]:
    """What `serving_default` takes: any number of images of any height and width."""
    return [tf.TensorSpec((None, None, None, count), tf.float32, name=name) for name, count in planes(model).items()]


def planes(model: keras.Model) -> dict[str, int]:
    """The channels of each input, in the order of `input_signature`."""
    shapes = shapes_of_inputs(model)
    return {name: shapes[name][-1] for name in ("sar", "hint") if name in shapes}


def _decode(encoded: tf.Tensor, channels: int, scale: Scale) -> tf.Tensor:
    """PNG or JPEG bytes to float32 (H, W, channels) in [-1, 1], as `sar_keras.colorize` reads a file."""
    image, is_deep = _levels(encoded)
    # A grey image stored as RGB serves a one-band model; the reverse is refused by the slice's shape below.
    image = tf.ensure_shape(image[:, :, :channels], (None, None, channels))
    return tf.cond(
        is_deep,
        lambda: scaling.to_unit(scale, image, "amplitude"),
        lambda: scaling.to_unit(scale, image / 257.0, "uint8"),
    )


def _levels(encoded: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """PNG or JPEG bytes to levels (H, W, bands) of 16 bits, float32, and whether they were stored so.

    TensorFlow multiplies levels of 8 bits by 257. Fails for an image that claims more than `max_pixels`.
    """
    # substr fails beyond the end, so that the padding keeps a file too short to be an image for decode_image to refuse.
    header = tf.strings.join([encoded, b"\x00" * 32])
    is_png = tf.strings.substr(encoded, 0, 8) == b"\x89PNG\r\n\x1a\n"
    # PNG keeps its sides in bytes 16 to 24, its bit depth in byte 24 (https://www.w3.org/TR/png/#11IHDR).
    sides = tf.cond(
        is_png,
        lambda: tf.reshape(tf.io.decode_raw(tf.strings.substr(header, 16, 8), tf.int32, little_endian=False), [2]),
        lambda: tf.io.extract_jpeg_shape(encoded)[:2],  # fails where it is no JPEG
    )
    pixels = tf.reduce_prod(tf.cast(sides, tf.int64))
    allowed = tf.debugging.Assert((pixels > 0) & (pixels <= max_pixels()), ["image claims too many pixels:", sides])
    with tf.control_dependencies([allowed]):
        encoded = tf.identity(encoded)
    image = tf.cast(tf.io.decode_image(encoded, dtype=tf.uint16, expand_animations=False), tf.float32)
    image.set_shape((None, None, None))
    depth = tf.strings.substr(header, 24, 1)  # JPEG always has 8 bits
    return image, tf.logical_and(is_png, depth == b"\x10")


def _decode_hint(encoded: tf.Tensor, size: tf.Tensor, kind: str, channels: int) -> tf.Tensor:
    """PNG or JPEG bytes of RGB to the planes of a hint, stretched to the size of the SAR image."""
    levels = _levels(encoded)[0] / 257.0
    bands = tf.shape(levels)[-1]  # grey, grey and alpha, RGB, or RGB and alpha
    rgb = tf.cond(bands < 3, lambda: tf.repeat(levels[:, :, :1], 3, -1), lambda: levels[:, :, :3])
    rgb = tf.ensure_shape(rgb, (None, None, 3)) / 127.5 - 1.0
    alpha = tf.cond(
        tf.equal(tf.math.floormod(bands, 2), 0), lambda: levels[:, :, -1:], lambda: tf.ones_like(levels[:, :, :1])
    )
    where = has_data(rgb) & (alpha > 0)
    here = tf.image.resize(tf.cast(where, tf.uint8), size, "nearest")
    return compose_hint(_stretched(rgb, where, size), kind, here, channels=channels)


def _stretched(image: tf.Tensor, where: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """`sar_keras.inference.hints.stretched`."""

    def resized(values: tf.Tensor) -> tf.Tensor:
        return tf.image.resize(values, size, "bicubic", antialias=True)

    total = tf.maximum(resized(tf.cast(where, tf.float32)), LEAST_WEIGHT)
    total = tf.where(tf.reduce_all(where), tf.ones_like(total), total)
    return tf.clip_by_value(resized(tf.where(where, image, 0.0)) / total, -1.0, 1.0)


def _write_warm_up(folder: Path, name: str, arrays: dict[str, tuple]) -> None:
    """Requests that TensorFlow Serving answers before it takes traffic, so that no user waits for the first trace.

    https://www.tensorflow.org/tfx/serving/saved_model_warmup
    """
    try:
        from tensorflow_serving.apis import model_pb2, predict_pb2, prediction_log_pb2
    except ImportError:
        return
    png = tf.io.encode_png(tf.zeros(arrays["sar"], tf.uint8)).numpy()
    rgb = tf.make_tensor_proto([tf.io.encode_png(tf.zeros((*arrays["sar"][:2], 3), tf.uint8)).numpy()], tf.string)
    image = tf.make_tensor_proto([png], tf.string)
    requests = {
        "serving_default": {name: tf.make_tensor_proto(tf.zeros((1, *shape))) for name, shape in arrays.items()},
        "colorize_png": {"image_bytes": image},
    }
    if "hint" in arrays:
        requests |= {f"colorize_png_with_{name}": {"image_bytes": image, "hint_bytes": rgb} for name in _KINDS}
    with tf.io.TFRecordWriter(str(folder / "tf_serving_warmup_requests")) as writer:
        for signature, inputs in requests.items():
            # protobuf makes its classes when it is imported.
            spec = model_pb2.ModelSpec(name=name, signature_name=signature)  # pyright: ignore[reportAttributeAccessIssue]
            request = predict_pb2.PredictRequest(model_spec=spec, inputs=inputs)  # pyright: ignore[reportAttributeAccessIssue]
            log = prediction_log_pb2.PredictLog(request=request)  # pyright: ignore[reportAttributeAccessIssue]
            log = prediction_log_pb2.PredictionLog(predict_log=log)  # pyright: ignore[reportAttributeAccessIssue]
            writer.write(log.SerializeToString())
