"""Pairs a second of the training data's pipeline, beside a PyTorch DataLoader with two workers.

    python benchmarks/pipeline.py [--data DIR] [--pairs 360] [--batch 4] [--runs 5] [--seconds 3]

Both sides read the same PNG pairs, procedural ones if no folder is given, and give shuffled batches in [-1, 1],
flipped, turned by quarters and, in half of the cases, enlarged by 286 / 256 and cropped. Each of them twice: the files
read and decoded at every use, and all images in memory. The sides take turns in processes of their own; a process
measures its seconds after two of warm-up, and the figures are medians over the runs. The other side needs PyTorch.
"""

import importlib.util
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import numpy as np
from common import circumstances
from PIL import Image

SIZE = 256


def our_batches(folder: Path, where: str, batch: int):
    import dataclasses

    from sar_keras.config import DataConfig
    from sar_keras.data.loading import load_images
    from sar_keras.data.pairs import find_pairs
    from sar_keras.data.pipeline import training_dataset

    images = load_images(find_pairs(folder).pairs, SIZE)
    if where == "files":
        images = dataclasses.replace(images, memory=None)
    return training_dataset(images, list(range(len(images.pairs))), batch, seed=0, config=DataConfig(augment=True))


class PairsOfTorch:
    """What one writes for a DataLoader."""

    def __init__(self, folder: Path, where: str):
        from sar_keras.data.pairs import find_pairs

        self.paths = [(pair.sar, pair.optical) for pair in find_pairs(folder).pairs]
        self.images = [self.read(index) for index in range(len(self.paths))] if where == "memory" else None

    def __len__(self):
        return len(self.paths)

    def read(self, index: int) -> list[Image.Image]:
        sar, optical = self.paths[index]
        return [Image.open(sar).convert("L"), Image.open(optical).convert("RGB")]

    def __getitem__(self, index: int):
        import torch

        images = self.images[index] if self.images else self.read(index)
        if random.random() < 0.5:
            images = [image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for image in images]
        angle = 90 * random.randrange(4)
        images = [image.rotate(angle) for image in images]
        enlarged = SIZE * 286 // 256
        if random.random() < 0.5:
            images = [image.resize((enlarged, enlarged), Image.Resampling.BILINEAR) for image in images]
        left, top = (random.randint(0, images[0].width - SIZE) for _ in range(2))
        arrays = [np.array(image.crop((left, top, left + SIZE, top + SIZE))) for image in images]
        tensors = [torch.from_numpy(array.reshape(SIZE, SIZE, -1)) for array in arrays]
        return [tensor.permute(2, 0, 1).float() / 127.5 - 1 for tensor in tensors]


def torch_batches(folder: Path, where: str, batch: int):
    from torch.utils.data import DataLoader

    pairs = PairsOfTorch(folder, where)
    loader = DataLoader(pairs, batch, shuffle=True, num_workers=2, drop_last=True, persistent_workers=True)
    while True:
        yield from loader


def measure(side: str, where: str, folder: Path, batch: int, seconds: float) -> float:
    """Pairs a second; run in a process of its own."""
    batches = iter((our_batches if side == "ours" else torch_batches)(folder, where, batch))
    for span in (min(2, seconds), seconds):
        started, count = time.perf_counter(), 0
        while time.perf_counter() - started < span:
            next(batches)
            count += batch
        rate = count / (time.perf_counter() - started)
    return rate


@click.command(help=__doc__)
@click.option("--data", type=click.Path(path_type=Path, exists=True))
@click.option("--pairs", default=360, show_default=True, help="Procedural pairs to draw.")
@click.option("--batch", default=4, show_default=True)
@click.option("--runs", default=5, show_default=True)
@click.option("--seconds", default=3.0, show_default=True, help="Seconds of each measurement.")
@click.option("--case", nargs=2, hidden=True)
def main(data: Path | None, pairs: int, batch: int, runs: int, seconds: float, case: tuple[str, str] | None) -> None:
    if case:
        print(json.dumps(measure(*case, data, batch, seconds)), flush=True)
        os._exit(0)  # without waiting for workers that still read ahead

    from sar_keras.data.synthetic import write_pairs

    sides = ["ours"] + (["torch"] if importlib.util.find_spec("torch") else [])
    with tempfile.TemporaryDirectory() as temporary:
        folder = data or Path(temporary)
        if not data:
            write_pairs(folder, pairs)
        found = {(side, where): [] for where in ("files", "memory") for side in sides}
        for _ in range(runs):
            for case, rates in found.items():
                options = ["--data", folder, "--batch", batch, "--seconds", seconds]
                command = [sys.executable, __file__, "--case", *case, *map(str, options)]
                result = subprocess.run(command, capture_output=True, text=True)
                if result.returncode:
                    sys.exit(result.stderr)
                rates.append(json.loads(result.stdout.splitlines()[-1]))
    print(f"{circumstances()}, pairs/s, median of {runs}\n")
    print("| from | batch | sar_keras | PyTorch, 2 workers | ratio |\n|---|---|---|---|---|")
    for where in ("files", "memory"):
        ours = statistics.median(found["ours", where])
        theirs = statistics.median(found.get(("torch", where), [float("nan")]))
        peer = f"{theirs:.0f} | {ours / theirs:.2f}" if theirs == theirs else "- | -"
        print(f"| {where} | {batch} | {ours:.0f} | {peer} |")


if __name__ == "__main__":
    main()
