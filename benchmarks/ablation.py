"""What each part of `default` brings, what discriminators would, which view of them is better, what speckle in training
does, and whether bfloat16 costs quality.

    python benchmarks/ablation.py --data DIR --steps 300 -o ablation [--only without_warm_up ...] [--set KEY=VALUE ...]

Trains variants of presets for equally many steps on one split, the first half of them without its discriminators in
`gan`, and writes the report of `sar-keras benchmark` for them. Goes on where it stopped.
"""

from pathlib import Path

import click

import sar_keras
from sar_keras.config import load_config, override

# What `default` was before: a generator twice as wide, and two discriminators.
GAN = [
    "model.filters=32",
    "model.discriminator_filters=16",
    "model.dropout=0.5",
    "model.scales=2",
    "loss.adversarial=0.1",
    "loss.feature_matching=3",
    "loss.edges=250",
    "optimizer.generator.config.learning_rate=0.0005",
]
# Name to the preset and what differs from it.
VARIANTS = {
    "default": ("default", []),
    "without_ssim": ("default", ["loss.ssim=0"]),
    "without_edges": ("default", ["loss.edges=0"]),
    "without_to_mean_colour": ("default", ["data.to_mean_colour=0"]),
    "without_radiometric_jitter": ("default", ["data.radiometric_jitter=0"]),
    "without_average": ("default", ["train.average=0"]),
    "with_speckle": ("default", ["data.speckle=true"]),
    "gan": ("default", GAN),
    "gan_without_multi_scale": ("default", [*GAN, "model.scales=1"]),
    "gan_without_feature_matching": ("default", [*GAN, "loss.feature_matching=0"]),
    "gan_without_warm_up": ("default", [*GAN, "loss.warm_up=0"]),
    "gan_without_average": ("default", [*GAN, "train.average=0"]),
    "gan_without_edges": ("default", [*GAN, "loss.edges=0"]),
    "gan_without_to_mean_colour": ("default", [*GAN, "data.to_mean_colour=0"]),
    "gan_without_radiometric_jitter": ("default", [*GAN, "data.radiometric_jitter=0"]),
    "gan_with_speckle": ("default", [*GAN, "data.speckle=true"]),
    "perceptual_luma": ("pix2pix_perceptual", ["model.view=luma"]),
    "perceptual_rgb": ("pix2pix_perceptual", ["model.view=rgb"]),
    "fast_float32": ("fast", ["train.precision=float32"]),
    "fast_bfloat16": ("fast", ["train.precision=bfloat16"]),
}


@click.command(help=__doc__)
@click.option("--data", required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--steps", default=300, show_default=True)
@click.option("-o", "--output", default=Path("ablation"), show_default=True, type=click.Path(path_type=Path))
@click.option("--only", multiple=True, type=click.Choice(list(VARIANTS)))
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE")
def main(data: Path, steps: int, output: Path, only: tuple[str, ...], overrides: tuple[str, ...]) -> None:
    configs = output / "configs"
    configs.mkdir(parents=True, exist_ok=True)
    paths = []
    for name in only or VARIANTS:
        preset, changes = VARIANTS[name]
        paths.append(configs / f"{name}.yaml")
        warm_up = [f"loss.warm_up={steps // 2}"] if name.startswith("gan") else []
        override(load_config(preset), [*warm_up, *changes]).save(paths[-1])
    print(sar_keras.benchmark(output, tuple(map(str, paths)), data, steps=steps, overrides=overrides))


if __name__ == "__main__":
    main()
