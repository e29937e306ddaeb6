"""Whole scenes: MPix/s end to end, what is not the network, peak memory, and the obvious alternative beside it.

    python benchmarks/scene.py [--model RUN|demo] [--scene SCENE.tif] [--sizes 3072,6144,12288] [--tile N] [--overlap N]

The network is the paper's U-Net (54.4 million weights, transposed convolutions) with random weights, or that of RUN,
on each engine; the form for OpenVINO is made before anything is timed.
The scene is 3072 x 5120 pixels of 8 bits, drawn at random unless SCENE.tif is given; so are those of --sizes. Each case
runs in a process of its own, after one window as a warm-up; times of scenes below 16 MPix are the median
of three. The alternative holds everything in memory: the whole scene, a loop over the same windows one after the other,
sums of colours and weights in numpy, and a GeoTIFF written at once.

\b
- network: the network alone, on windows of the same number and shapes.
- rest: reading, blending and writing, as far as the network does not hide them: total - network - COG.
- COG: the copy to a cloud-optimised GeoTIFF with overviews. The alternative has none.
- peak: the process's largest resident set; of the alternative TensorFlow's, too.
"""

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import numpy as np
import rasterio
from common import circumstances
from rasterio.windows import Window

HEADER = "| way | precision | MPix | total s | network s | rest | COG s | MPix/s | peak MB |\n" + "|---" * 9 + "|"


def draw_scene(path: Path, width: int, height: int) -> None:
    """8-bit noise of several scales, tile by tile: memory stays flat here too."""
    random = np.random.default_rng(0)
    profile = {"driver": "GTiff", "width": width, "height": height, "count": 1, "dtype": "uint8", "tiled": True}
    transform = rasterio.transform.from_origin(500_000, 5_400_000, 10, 10)
    with (
        rasterio.Env(GDAL_CACHEMAX=2**24),
        rasterio.open(path, "w", **profile, crs="EPSG:32632", transform=transform) as file,
    ):
        for row in range(0, height, 512):
            for column in range(0, width, 512):
                window = Window(column, row, min(512, width - column), min(512, height - row))
                coarse = np.kron(random.normal(110, 40, (8, 8)), np.ones((64, 64)))
                pixels = np.clip(coarse * random.gamma(4, 0.25, (512, 512)), 1, 255).astype("uint8")
                file.write(pixels[: window.height, : window.width], 1, window=window)


def save_random_model(path: Path) -> None:
    import sar_keras

    generator = sar_keras.UNetGenerator(upsampling="transpose")
    from sar_keras.inference.metadata import ModelMetadata
    from sar_keras.inference.model_file import save_model

    save_model(generator, path, ModelMetadata())


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def network_seconds(network, positions: list[list[tuple[int, int]]]) -> float:
    """Seconds that the network alone takes, on windows of these (first, size) along rows and columns."""
    random = np.random.default_rng(0)
    windows = {
        (height, width): random.uniform(-1, 1, (1, height, width, network.channels)).astype("float32")
        for _, height in positions[0]
        for _, width in positions[1]
    }
    started = time.perf_counter()
    for _, height in positions[0]:
        for _, width in positions[1]:
            network(windows[height, width])
    return time.perf_counter() - started


def in_memory(network, scene: Path, destination: Path, positions) -> None:
    """The obvious alternative."""
    from sar_keras.inference.network import to_levels

    with rasterio.open(scene) as file:
        values, profile = file.read(1).astype("float32") / 127.5 - 1, file.profile
    height, width = values.shape
    margin = -positions[0][0][0]
    beyond = [sum(spans[-1]) - size for spans, size in zip(positions, values.shape, strict=True)]
    values = np.pad(values, ((margin, beyond[0]), (margin, beyond[1])), "reflect")
    colours, weights = np.zeros((*values.shape, 3), "float32"), np.zeros((*values.shape, 1), "float32")
    for row, rows in positions[0]:
        for column, columns in positions[1]:
            window = np.s_[row + margin : row + margin + rows, column + margin : column + margin + columns]
            ramps = [np.minimum(np.minimum(np.arange(size), np.arange(size)[::-1]) + 1, 64) for size in (rows, columns)]
            weight = np.outer(*ramps)[..., None].astype("float32")
            colours[window] += to_levels(network(values[window][None, ..., None]))[0] * weight
            weights[window] += weight
    colours = (colours / weights).round().astype("uint8")
    profile.update(count=3, compress="deflate")
    with rasterio.open(destination, "w", **profile) as file:
        file.write(np.moveaxis(colours[margin : margin + height, margin : margin + width], -1, 0))


def measure(case: str, model: str, scene: Path, precision: str, tile: int, overlap: int) -> dict:
    """One case; run in a process of its own."""
    import sar_keras
    from sar_keras.inference.engines import network_of
    from sar_keras.io import geotiffs
    from sar_keras.scenes.tiles import tile_positions

    network = network_of(model, "tensorflow" if case == "in memory" else case, precision)
    with tempfile.TemporaryDirectory() as folder:
        destination = Path(folder) / "colour.tif"
        with rasterio.open(scene) as file:
            height, width = file.shape
        options = tile, overlap, network.patch, network.multiple
        positions = [tile_positions(size, *options) for size in (height, width)]
        alone = network
        if network.normalizes_each:  # as in a scene
            alone = network.normalized_as(np.zeros((1, network.patch, network.patch, network.channels), "float32"))
        # The first window is slower: oneDNN prepares for its shape.
        network_seconds(alone, [spans[:1] for spans in positions])
        totals, networks = [], []
        for _ in range(3 if height * width < 4096**2 else 1):
            started = time.perf_counter()
            if case == "in memory":
                in_memory(network, scene, destination, positions)
            else:
                sar_keras.colorize_scene(network, scene, destination, tile=tile, overlap=overlap)
            totals.append(time.perf_counter() - started)
            networks.append(network_seconds(alone, positions))
        highest, copy = peak(), 0.0
        if case != "in memory":
            started = time.perf_counter()
            geotiffs.copy_to_cog(destination, Path(folder) / "copy.tif")
            copy = time.perf_counter() - started
        return {
            "pixels": height * width / 1e6,
            "total": statistics.median(totals),
            "network": statistics.median(networks),
            "copy": copy,
            "peak": highest,
        }


def mean_error(model: str, scene: Path, tile: int, overlap: int) -> dict:
    """The mean error of bfloat16 against float32, in grey levels of 0..255."""
    import sar_keras

    with tempfile.TemporaryDirectory() as folder:
        colours = []
        for precision in ("float32", "bfloat16"):
            path = Path(folder) / f"{precision}.tif"
            sar_keras.colorize_scene(model, scene, path, precision=precision, tile=tile, overlap=overlap)
            with rasterio.open(path) as file:
                colours.append(file.read().astype("int16"))
        difference = np.abs(colours[0] - colours[1])
        return {"mean": float(difference.mean()), "p99": float(np.percentile(difference, 99))}


def in_a_process(*command) -> dict:
    """What this script prints last with these arguments."""
    result = subprocess.run([sys.executable, __file__, *map(str, command)], capture_output=True, text=True)
    if result.returncode:
        sys.exit(result.stderr)
    return json.loads(result.stdout.splitlines()[-1])


def print_row(way: str, precision: str, found: dict) -> None:
    rest = found["total"] - found["network"] - found["copy"]
    print(
        f"| {way} | {precision} | {found['pixels']:.1f} | {found['total']:.1f} | {found['network']:.1f} "
        f"| {rest / found['network']:.1%} | {found['copy']:.2f} | {found['pixels'] / found['total']:.2f} "
        f"| {found['peak']:.0f} |",
        flush=True,
    )


@click.command(help=__doc__)
@click.option("--model")
@click.option("--scene", type=click.Path(path_type=Path, exists=True))
@click.option("--sizes", default="3072,6144,12288", show_default=True, metavar="N,N,...", help="Sides in pixels.")
@click.option("--tile", default=1024, show_default=True)
@click.option("--overlap", default=128, show_default=True)
@click.option("--precision", default="bfloat16", show_default=True, help="Precision of the cases of --sizes.")
@click.option("--case", hidden=True)
def main(
    model: str | None, scene: Path | None, sizes: str, tile: int, overlap: int, precision: str, case: str | None
) -> None:
    if case:
        if case == "mean_error":
            found = mean_error(model, scene, tile, overlap)
        else:
            found = measure(case, model, scene, precision, tile, overlap)
        print(json.dumps(found))
        return

    print(circumstances("openvino", "tensorflow"))
    name = model or "the paper's U-Net, random weights"
    print(f"{name}; windows of {tile} pixels, overlap {overlap}\n")
    with tempfile.TemporaryDirectory() as folder:
        trained = model is not None
        if not trained:
            model = str(Path(folder) / "unet.keras")
            save_random_model(Path(model))
        if scene is None:
            scene = Path(folder) / "scene.tif"
            draw_scene(scene, 3072, 5120)
        common = ["--model", model, "--tile", tile, "--overlap", overlap]
        print(HEADER)
        for each in ("bfloat16", "float32"):
            for way in ("openvino", "tensorflow", "in memory"):
                found = in_a_process("--case", way, "--scene", scene, "--precision", each, *common)
                print_row(way, each, found)
        if trained:
            error = in_a_process("--case", "mean_error", "--scene", scene, *common)
            print(
                f"\nbfloat16 is off by {error['mean']:.3f} of 255 grey levels (99 %: {error['p99']:.0f}) from float32"
            )
        else:
            print("\nthe error of bfloat16 is that of trained weights: give --model RUN")
        print()
        print(HEADER)
        found = {}
        sides = [int(size) for size in sizes.split(",")]
        for side in sides:
            square = Path(folder) / f"{side}.tif"
            draw_scene(square, side, side)
            for way in ("openvino", "tensorflow"):
                found[way, side] = in_a_process("--case", way, "--scene", square, "--precision", precision, *common)
                print_row(way, precision, found[way, side])
        for way in ("openvino", "tensorflow"):
            first, last = found[way, sides[0]], found[way, sides[-1]]
            seconds = [case["total"] / case["pixels"] for case in (first, last)]
            print(
                f"\n{way}: {sides[-1]} pixels a side need {last['peak'] - first['peak']:+.0f} MB and "
                f"{seconds[1] / seconds[0] - 1:+.1%} time per MPix, compared with {sides[0]}"
            )


if __name__ == "__main__":
    main()
