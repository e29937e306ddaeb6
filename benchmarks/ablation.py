"""What each addition to `strong` brings, which view of the discriminator is better, what speckle in training does, and
whether bfloat16 costs quality.

    python benchmarks/ablation.py --data DIR --steps 300 -o ablation [--only without_warm_up ...] [--set KEY=VALUE ...]

Trains variants of presets for equally many steps on one split, the first half of them without a discriminator in
`strong`, and writes the report of `sar-keras benchmark` for them. Goes on where it stopped.
"""

from pathlib import Path

import click

import sar_keras
from sar_keras.config import load_config, override

# Name to the preset and what differs from it.
VARIANTS = {
    "strong_all": ("strong", []),
    "without_multi_scale": ("strong", ["model.scales=1"]),
    "without_feature_matching": ("strong", ["loss.feature_matching=0"]),
    "without_warm_up": ("strong", ["loss.warm_up=0"]),
    "without_average": ("strong", ["train.average=0"]),
    "without_discriminator": ("strong", ["loss.adversarial=0", "loss.feature_matching=0", "loss.warm_up=0"]),
    "without_edges": ("strong", ["loss.edges=0"]),
    "without_to_mean_colour": ("strong", ["data.to_mean_colour=0"]),
    "without_radiometric_jitter": ("strong", ["data.radiometric_jitter=0"]),
    "with_speckle": ("strong", ["data.speckle=true"]),
    "default_luma": ("default", ["model.view=luma"]),
    "default_rgb": ("default", ["model.view=rgb"]),
    "fast_float32": ("fast", ["train.precision=float32"]),
    "fast_bfloat16": ("fast", ["train.precision=bfloat16"]),
}


@click.command()
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
        # The preset's own warm-up is longer than a short training.
        warm_up = [f"loss.warm_up={steps // 2}"] if preset == "strong" else []
        override(load_config(preset), [*warm_up, *changes]).save(paths[-1])
    print(sar_keras.benchmark(output, tuple(map(str, paths)), data, steps=steps, overrides=overrides))


if __name__ == "__main__":
    main()
