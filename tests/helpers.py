import csv
import functools
import json
import os
import re
import shutil
import socket
import subprocess
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine, from_origin

from sar_keras.config import Config, DataConfig, is_of_other_systems, load_config

# What the preset `default` was with discriminators: all terms, several scales, a warm-up.
DISCRIMINATORS = ["model.scales=2", "loss.adversarial=0.1", "loss.feature_matching=3"]
# Networks and images small enough for seconds; everything else is what a user's run has.
TINY = [
    "data.image_size=64",
    "data.limit=24",
    "model.filters=4",
    "model.discriminator_filters=4",
    "model.blocks=1",
    "loss.perceptual_layer=block1_conv1",
    "train.steps_per_epoch=3",
    "train.epochs=2",
    "train.precision=float32",
]


def those_of(preset: str, changes: list[str]) -> list[str]:
    """The changes whose keys the system of a preset has."""
    system = load_config(preset).model.system
    return [change for change in changes if not is_of_other_systems(change.partition("=")[0], system)]


CHROMIUM = shutil.which("chromium")
IN_BROWSER = [pytest.mark.slow, pytest.mark.skipif(not CHROMIUM, reason="needs Debian's package chromium")]


def plain_data(**changes) -> DataConfig:
    """Patches as they are stored, but for these changes."""
    return DataConfig(**{"augment": False, "radiometric_jitter": 0.0, "to_mean_colour": 0.0} | changes)


def tiny_settings(preset: str) -> list[str]:
    """Those of TINY that the preset's system has."""
    return those_of(preset, TINY)


def tiny(preset: str, *changes: str) -> Config:
    """A preset with TINY's settings and further changes."""
    return load_config(preset, [*tiny_settings(preset), *changes])


def one_convolution(inputs: int = 1, outputs: int = 3, size: int = 16, activation: str = "tanh"):
    """The smallest network that a system trains: images (N, size, size, inputs) to (N, size, size, outputs)."""
    import keras

    image = keras.Input((size, size, inputs))
    return keras.Model(image, keras.layers.Conv2D(outputs, 3, padding="same", activation=activation)(image))


@functools.cache
def bessel() -> type:
    """A layer that neither ONNX nor OpenVINO has."""
    import keras
    import tensorflow as tf

    @keras.saving.register_keras_serializable(package="test")
    class Bessel(keras.layers.Layer):
        def call(self, x):
            return tf.math.bessel_i0e(x)

        def compute_output_shape(self, input_shape):
            return input_shape

    return Bessel


def small_discriminator(inputs: int, size: int = 16):
    """One hidden level and logits of patches, (N, size, size, inputs) to (N, size / 2, size / 2, 1)."""
    import keras

    view = keras.Input((size, size, inputs))
    hidden = keras.layers.LeakyReLU()(keras.layers.Conv2D(4, 4, 2, "same")(view))
    return keras.Model(view, keras.layers.Conv2D(1, 3, padding="same")(hidden))


def check_saving_and_other_sizes(generator, sar: np.ndarray, path: Path) -> None:
    """Check a network whose height and width are multiples of 8 on `sar` (2, 32, 32, 1)."""
    import keras

    from sar_keras.networks.sizes import any_size

    optical = generator.predict(sar, verbose=0)
    assert optical.shape == (2, 32, 32, 3) and np.abs(optical).max() <= 1
    generator.save(path)
    again = keras.saving.load_model(path, safe_mode=True)
    np.testing.assert_allclose(again.predict(sar, verbose=0), optical, atol=1e-6)
    assert any_size(again)(np.zeros((1, 40, 64, 1), "float32")).shape == (1, 40, 64, 3)


def saved_state(run: Path, checkpoints_ago: int = 0) -> dict[str, np.ndarray]:
    """Everything in a run's newest checkpoint, or an earlier one, but the time that it took."""
    import tensorflow as tf

    checkpoint = sorted((run / "checkpoints").iterdir())[-1 - checkpoints_ago]
    reader = tf.train.load_checkpoint(str(checkpoint / "state"))
    return {
        name: reader.get_tensor(name)
        for name in reader.get_variable_to_shape_map()
        if "minutes" not in name and name != "_CHECKPOINTABLE_OBJECT_GRAPH"
    }


def logged_steps(run: Path) -> dict[tuple[str, str], list[int]]:
    """What TensorBoard shows: (folder, tag) to the steps of its points."""
    import tensorflow as tf

    found = {}
    for path in sorted((run / "logs").rglob("events*")):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                found.setdefault((path.parent.name, value.tag), []).append(event.step)
    return found


def take(dataset, count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """The first batches (sar, optical) of a dataset."""
    return [(sar.numpy(), optical.numpy()) for sar, optical in dataset.take(count)]


def read_rows(path: Path) -> list[dict]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def markdown_rows(printed: str) -> list[list[str]]:
    """The cells of the Markdown tables in a text, heads included."""
    lines = [line for line in printed.splitlines() if line.startswith("|") and not re.fullmatch("[| -]+", line)]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def one_line(text: str) -> str:
    """The only line of an error message, warnings apart."""
    lines = [line for line in text.splitlines() if not line.startswith("warning:")]
    assert len(lines) == 1, text
    assert "Traceback" not in text
    return lines[0]


def first(count: int):
    """For `read_image`: the first bands."""
    return lambda bands: bands.numbers[:count]


def write_tiff(
    path: Path, bands: np.ndarray, west: float = 500_000, crs: str | None = "EPSG:32631", names=(), kinds=(), **options
) -> Path:
    """Write (bands, H, W) as a GeoTIFF of 10 m pixels whose upper left corner is (west, 4,500,000).

    `names` are the descriptions of its bands, `kinds` their colour interpretations.
    """
    count, height, width = bands.shape
    path.parent.mkdir(parents=True, exist_ok=True)
    place = {"crs": crs, "transform": from_origin(west, 4_500_000, 10, 10)} if crs else {}
    profile = {"driver": "GTiff", "width": width, "height": height, "count": count, "dtype": bands.dtype}
    with rasterio.open(path, "w", **profile, **place, **options) as file:
        file.write(bands)
        for number, name in enumerate(names, start=1):
            file.set_band_description(number, name)
        if kinds:
            file.colorinterp = kinds
    return path


def write_scenes(folder: Path, name: str, height: int, width: int, west: float = 500_000) -> tuple[Path, Path]:
    """Two 8-bit scenes of one area, in which each pixel of the SAR image is the first band of the optical one."""
    optical = np.random.default_rng(0).integers(1, 255, (3, height, width), np.uint8)
    return (
        write_tiff(folder / f"{name}_S1_VH.tif", optical[:1], west),
        write_tiff(folder / f"{name}_S2_RGB.tif", optical, west),
    )


def start_workers(count: int, command: list) -> list[subprocess.Popen]:
    """Start a command `count` times, as the workers of a TensorFlow cluster on this machine; their output is piped."""
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    workers = [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]
    for each in sockets:
        each.close()
    # What this process set itself when it imported TensorFlow.
    own = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    cluster = [{"cluster": {"worker": workers}, "task": {"type": "worker", "index": n}} for n in range(count)]
    return [
        subprocess.Popen(
            list(map(str, command)),
            env=own | {"TF_CONFIG": json.dumps(config)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for config in cluster
    ]


UTM = {"crs": "EPSG:32632", "transform": Affine(10, 0, 500_000.5, 0, -10, 5_400_000.25)}


def write_scene(path, bands, nodata=None, mask=None, descriptions=None, tags=None, **profile):
    bands = np.atleast_3d(bands.T).T if bands.ndim == 2 else bands
    path.parent.mkdir(parents=True, exist_ok=True)
    profile = {"driver": "GTiff", **UTM, **profile}
    count, height, width = bands.shape
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(
            path, "w", width=width, height=height, count=count, dtype=bands.dtype, nodata=nodata, **profile
        ) as file,
    ):
        file.write(bands)
        if mask is not None:
            file.write_mask(mask)
        if descriptions:
            file.descriptions = descriptions
        file.update_tags(**(tags or {}))
    return path


def read_scene(path):
    """Colours (H, W, bands) and where they are valid (H, W)."""
    with rasterio.open(path) as file:
        return np.moveaxis(file.read(), 0, -1), file.dataset_mask() > 0


def speckle(shape, seed=0):
    """An 8-bit scene with areas, edges and speckle."""
    from sar_keras.data.synthetic import synthesize_scene

    sar, _ = synthesize_scene("agri", seed, max(*shape, 64))
    return sar[: shape[0], : shape[1]]


def names(folder):
    return sorted(path.name for path in folder.iterdir())
