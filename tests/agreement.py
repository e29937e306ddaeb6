"""Run by test_distribution.py: every preset under the strategies named on the command line, in one process each.

python agreement.py FOLDER DATA STRATEGY PRESET... trains each preset for two epochs into FOLDER/PRESET-STRATEGY.
"""

import sys
from pathlib import Path

import tensorflow as tf
from helpers import TINY

import sar_keras

# Plain descent: an update is proportional to the gradient, so that a loss scaled twice, or never, would show. Without
# dropout, whose masks each replica draws for itself, the arithmetic is the same everywhere.
_SGD = "{class_name: SGD, config: {learning_rate: 0.001}}"
SETTINGS = [
    *TINY,
    "model.blocks=1",
    "model.dropout=0",
    "model.filters=2",
    "model.discriminator_filters=2",
    "train.batch_size=6",
    "data.ratios=[0.5, 0.3, 0.2]",
    # Eight validation images: for the two of the last batch, all devices and workers but the first have nothing to do.
    *(f"optimizer.{which}={_SGD}" for which in ("generator", "discriminator", "refinement")),
]
OF_PRESETS = {
    "strong": ["train.average=0.5", "loss.warm_up=2"],
    "pix2pix_dae": ["refinement.epochs=1", "refinement.filters=4"],
    "cyclegan": ["train.steps_per_epoch=15"],  # until the pool is full
}


def main(folder: Path, data: str, strategy: str, *names: str) -> None:
    if strategy == "mirrored":
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    # Most of the time goes into optimizing graphs that run a few times.
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    for name in names:
        changes = [*SETTINGS, *OF_PRESETS.get(name, []), f"data.root={data}", f"train.strategy={strategy}"]
        sar_keras.fit(sar_keras.load_config(name, changes), folder / f"{name}-{strategy}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
