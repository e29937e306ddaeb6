"""Images a second and memory of a training step and of inference, beside PyTorch and OpenVINO where they are installed.

    python benchmarks/train_step.py [--peer torch_pix2pix.py] [--runs 3] [--steps 8] [--only "paper train 4"]

Networks and losses are the same on all sides: pix2pix's U-Net-256 with transposed convolutions and batch normalisation,
the 70 x 70 PatchGAN, BCE + 100 L1 + 0.01 VGG16 block3_conv3. `fast` is that preset's own network. Each figure is the
median of several processes, the sides taking turns, each of which gives the median of its steps on random images after
two of warm-up. Ours is what `fit` runs, what `sar_keras.colorize` runs on one image, and what scenes are made of.

The peer must print one JSON line with `images_per_s` and take `{train|infer} --batch N [--bf16] [--channels-last]
--steps N`; it needs PyTorch. OpenVINO compiles our SavedModel with the hint LATENCY, its faster one here.
"""

import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import click
from common import choose, circumstances, median_seconds

DEFAULT_PEER = Path(__file__).parents[2] / "shared" / "peers" / "torch_pix2pix.py"
# preset, kind, batch, reduced precision
CASES = [
    ("paper", "train", 1, False),
    ("paper", "train", 4, True),
    ("fast", "train", 8, True),
    ("paper", "infer", 1, False),
    ("paper", "infer", 1, True),
    ("paper", "infer", 4, True),
    ("fast", "infer", 1, True),
    ("fast", "infer", 8, True),
]


def random_images(batch: int, channels: int):
    import numpy as np

    return np.random.default_rng(0).uniform(-1, 1, (batch, 256, 256, channels)).astype("float32")


def measure_ours(preset: str, kind: str, batch: int, low: bool, steps: int, engine: str = "tensorflow") -> float:
    import sar_keras

    sar_keras.fit  # noqa: B018 - imports TensorFlow without its start-up lines
    from sar_keras.config import load_config
    from sar_keras.inference.colorize import colorize
    from sar_keras.inference.engines import network_of
    from sar_keras.training.build import build_generator, build_model

    config, sar = load_config(preset), random_images(batch, 1)
    if kind == "train":
        model = build_model(config, "mixed_bfloat16" if low else "float32")
        optical = random_images(batch, 3)
        return batch / median_seconds(lambda: model.train_on_batch(sar, optical), steps)
    generator, precision = build_generator(config), "bfloat16" if low else "float32"
    if batch == 1:
        levels = ((sar[0] + 1) * 127.5).astype("uint8")
        with tempfile.TemporaryDirectory() as folder:
            os.environ["XDG_CACHE_HOME"] = folder  # for the converted model
            model = Path(folder, "generator.keras")
            sar_keras.save_model(generator, model, sar_keras.ModelMetadata())
            return 1 / median_seconds(lambda: colorize(model, levels, "uint8", precision, engine), steps)
    network = network_of(generator, engine, precision)
    return batch / median_seconds(lambda: network(sar), steps)


def measure_openvino(preset: str, kind: str, batch: int, low: bool, steps: int) -> float:
    import sar_keras

    sar_keras.fit  # noqa: B018
    from sar_keras.config import load_config
    from sar_keras.inference.openvino import runtime
    from sar_keras.networks.rewriting import for_inference
    from sar_keras.training.build import build_generator

    openvino = runtime()
    with tempfile.TemporaryDirectory() as folder:
        for_inference(build_generator(load_config(preset))).export(folder, verbose=False)
        network = openvino.convert_model(folder)
    network.reshape([batch, 256, 256, 1])
    hints = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "bf16" if low else "f32"}
    request = openvino.Core().compile_model(network, "CPU", hints).create_infer_request()
    sar = random_images(batch, 1)
    return batch / median_seconds(lambda: request.infer({0: sar}), steps)


def in_a_process(command: list) -> tuple[float, float]:
    """Images a second, and the largest resident set in MB."""
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen([sys.executable, *map(str, command)], stdout=subprocess.PIPE, stderr=errors)
        out = process.stdout.read().decode()
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            errors.seek(0)
            raise SystemExit(f"failed: {command}\n{errors.read()}")
    return json.loads(out.splitlines()[-1])["images_per_s"], usage.ru_maxrss / 1024


def memory_of_import(code: str) -> float:
    """Largest resident set, in MB, of a process that does nothing else."""
    code += "; import resource; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    return int(out.splitlines()[-1]) / 1024


def commands(preset: str, kind: str, batch: int, low: bool, steps: int, peer: Path) -> dict[str, list]:
    """Side to its command."""
    case = ["--case", preset, kind, batch, low, "--steps", steps]
    sides = {"sar_keras": [__file__, "--side", "ours", *case]}
    if preset == "paper" and peer.is_file() and importlib.util.find_spec("torch"):
        # Channels last is its faster layout in bfloat16 only.
        flags = ["--bf16", "--channels-last"] if low else []
        sides["PyTorch"] = [peer, kind, "--batch", batch, "--steps", steps, *flags]
    if kind == "infer" and importlib.util.find_spec("openvino"):
        sides["with --engine openvino"] = [__file__, "--side", "engine", *case]
        sides["OpenVINO"] = [__file__, "--side", "openvino", *case]
    return sides


@click.command(help=__doc__)
@click.option(
    "--peer", default=DEFAULT_PEER, type=click.Path(path_type=Path), help="[../shared/peers/torch_pix2pix.py]"
)
@click.option("--runs", default=3, show_default=True)
@click.option("--steps", default=8, show_default=True)
@click.option("--only", default="", help="The cases that begin with these words: network, work, batch.")
@click.option("--side", type=click.Choice(["ours", "engine", "openvino"]), hidden=True)
@click.option("--case", type=(str, str, int, bool), hidden=True)
def main(
    peer: Path, runs: int, steps: int, only: str, side: str | None, case: tuple[str, str, int, bool] | None
) -> None:
    if case:
        if side == "openvino":
            rate = measure_openvino(*case, steps)
        else:
            rate = measure_ours(*case, steps, "openvino" if side == "engine" else "tensorflow")
        print(json.dumps({"images_per_s": rate}))
        return

    cases = choose(CASES, only)
    print(f"{circumstances('tensorflow', 'torch', 'openvino')}; images/s, peak MB\n")
    print(f"Importing alone: sar_keras {memory_of_import('import sar_keras; sar_keras.fit'):.0f} MB", end="")
    print(f", PyTorch {memory_of_import('import torch'):.0f} MB\n" if importlib.util.find_spec("torch") else "\n")
    columns = ("sar_keras", "with --engine openvino", "PyTorch", "OpenVINO")
    print(f"| network | work | batch | precision | {' | '.join(columns)} |\n" + "|---" * 8 + "|")
    for case in cases:
        sides = commands(*case, steps, peer)
        figures = [{name: in_a_process(command) for name, command in sides.items()} for _ in range(runs)]
        cells = []
        for column in columns:
            rates_and_memories = [run[column] for run in figures if column in run]
            medians = map(statistics.median, zip(*rates_and_memories, strict=True))
            cells.append("{:.2f}, {:.0f}".format(*medians) if rates_and_memories else "-")
        preset, kind, batch, low = case
        print(f"| {preset} | {kind} | {batch} | {'bfloat16' if low else 'float32'} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
