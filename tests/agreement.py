"""Run by training/test_machines.py and benchmarks/scaling.py: train presets under a strategy, in a process of its own.

python agreement.py FOLDER DATA STRATEGY PRESET... leaves two epochs of each preset in FOLDER/PRESET-STRATEGY; under
"mirrored", with two logical devices, in two sittings.
"""

import sys
from pathlib import Path

import tensorflow as tf
from helpers import DISCRIMINATORS, those_of, tiny

import sar_keras
from sar_keras.config import Config

# Plain descent: an update is proportional to the gradient, so that a loss scaled twice, or never, would show. Without
# dropout, whose masks each replica draws for itself, the arithmetic is the same everywhere.
SETTINGS = [
    "model.dropout=0",
    "model.filters=2",
    "model.discriminator_filters=2",
    "train.batch_size=6",
    "train.checkpoint_every=1 epoch",
    "train.decay=0",  # It depends on the number of epochs, which the second sitting raises.
    # Eight validation images: for the two of the last batch, all devices and workers but the first have nothing to do.
    "data.ratios=[0.5, 0.3, 0.2]",
    *(
        f"optimizer.{which}={{class_name: SGD, config: {{learning_rate: 0.0001}}}}"
        for which in ("generator", "discriminator", "refinement")
    ),
]
OF_PRESETS = {
    # It follows signs, which rounding errors turn after three steps.
    "l1": ["train.steps_per_epoch=1"],
    # Few steps: rounding errors of 1e-8 after one are 1e-4 after six, on one device with other kernels too
    # (TF_ENABLE_ONEDNN_OPTS=0).
    "default": [*DISCRIMINATORS, "train.average=0.5", "loss.warm_up=2", "train.steps_per_epoch=2"],
    "guided": ["train.average=0.5", "train.steps_per_epoch=2"],
    "pix2pix_dae": ["train.epochs=1", "refinement.epochs=1", "refinement.filters=4"],
    # In the second epoch the pool is full. Instance normalisation of so narrow networks magnifies rounding errors.
    "cyclegan": [
        "train.steps_per_epoch=10",
        "optimizer.generator.config.learning_rate=0.00001",
        "optimizer.discriminator.config.learning_rate=0.00001",
    ],
}


def config(preset: str, data: str, *changes: str) -> Config:
    return tiny(preset, *those_of(preset, SETTINGS), *OF_PRESETS.get(preset, []), f"data.root={data}", *changes)


def divide_cpu(devices: int) -> None:
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * devices)


def main(folder: Path, data: str, strategy: str, *presets: str) -> None:
    if strategy == "mirrored":
        divide_cpu(2)
    # Most of the time would go into optimizing graphs that run a few times.
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    for preset in presets:
        run, changes = folder / f"{preset}-{strategy}", [f"train.strategy={strategy}"]
        if strategy == "mirrored" and preset != "pix2pix_dae":
            sar_keras.fit(config(preset, data, *changes, "train.epochs=1"), run)
        sar_keras.fit(config(preset, data, *changes), run, resume=run.exists())


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
