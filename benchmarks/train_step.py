"""Images a second of a training step and of inference, beside a PyTorch script where there is one.

    python benchmarks/train_step.py [--peer torch_pix2pix.py] [--steps 8]

Networks and losses are the same on both sides: pix2pix's U-Net-256 with transposed convolutions and batch
normalisation, the 70 x 70 PatchGAN, BCE + 100 L1 + 0.01 VGG16 block3_conv3. Both sides run one after the other in
processes of their own, on random images; the figures are medians after two steps of warm-up. The peer must print one
JSON line with `images_per_s` and take `{train|infer} --batch N [--bf16] [--channels-last] --steps N`; it needs PyTorch.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

DEFAULT_PEER = Path(__file__).parents[2] / "shared" / "peers" / "torch_pix2pix.py"
# kind, batch, reduced precision
CASES = [("train", 1, False), ("train", 4, False), ("train", 4, True), ("infer", 1, False), ("infer", 4, True)]


def measure_ours(kind: str, batch: int, low: bool, steps: int) -> float:
    """Images a second; run in a process of its own."""
    import keras
    import numpy as np

    import sar_keras

    dtype = "mixed_bfloat16" if low else "float32"
    generator = sar_keras.UNetGenerator(upsampling="transpose", dtype=dtype)
    model = sar_keras.Pix2Pix(
        generator, sar_keras.PatchDiscriminator(dtype=dtype), sar_keras.VGG16Features(dtype=dtype)
    )
    model.compile(keras.optimizers.Adam(2e-4, 0.5), keras.optimizers.Adam(2e-4, 0.5))
    random = np.random.default_rng(0)
    sar, optical = (random.uniform(-1, 1, (batch, 256, 256, c)).astype("float32") for c in (1, 3))
    step = (lambda: model.train_on_batch(sar, optical)) if kind == "train" else (lambda: model.predict_on_batch(sar))
    for _ in range(2):
        step()
    seconds = []
    for _ in range(steps):
        started = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - started)
    return batch / statistics.median(seconds)


def in_a_process(command: list) -> float:
    result = subprocess.run([sys.executable, *map(str, command)], capture_output=True, text=True, check=True)
    return json.loads(result.stdout.splitlines()[-1])["images_per_s"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer", type=Path, default=DEFAULT_PEER)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--case", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.case:
        kind, batch, low = arguments.case
        rate = measure_ours(kind, int(batch), low == "True", arguments.steps)
        print(json.dumps({"images_per_s": rate}))
        return

    from sar_keras.comparison import processor

    has_peer = (
        arguments.peer.is_file()
        and not subprocess.run([sys.executable, "-c", "import torch"], capture_output=True).returncode
    )
    machine = f"{os.cpu_count()} x {processor()}, Python {platform.python_version()}"
    print(f"{machine}, {time.strftime('%Y-%m-%d')}, images/s, median\n")
    print(f"| work | batch | precision | sar_keras | {'PyTorch' if has_peer else 'PyTorch (not installed)'} |")
    print("|---|---|---|---|---|")
    for kind, batch, low in CASES:
        ours = in_a_process([__file__, "--case", kind, batch, low, "--steps", arguments.steps])
        peer = "-"
        if has_peer:
            flags = ["--bf16", "--channels-last"] if low else []
            command = [arguments.peer, kind, "--batch", batch, "--steps", arguments.steps, *flags]
            peer = f"{in_a_process(command):.2f}"
        print(f"| {kind} | {batch} | {'bfloat16' if low else 'float32'} | {ours:.2f} | {peer} |", flush=True)


if __name__ == "__main__":
    main()
