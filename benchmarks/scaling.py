"""How cost grows with batch, image, devices and processes, and whether devices compute the same.

    python benchmarks/scaling.py [--only growth|agreement] [--plot scaling.png] [--steps 8] [--filters 16]

Growth: training under `pix2pix_perceptual` from a base of a batch of 12 images of 128 x 128 pixels on one CPU device,
one of these changed at a time; logical CPU devices under MirroredStrategy, processes under MultiWorkerMirroredStrategy.
All of them share this machine's cores, so that the figures show what the strategies cost, not what more hardware gains.
Images a second are medians after two steps of warm-up; memory is the largest resident set, of all processes together.

Agreement: trains each preset for two short epochs from one seed with one device, two devices, two and three workers
(see tests/agreement.py) and gives the largest difference of a weight in the last checkpoint, as a share of the largest
change that the last epoch made to a weight of that network; and of the figures in history.csv, each by itself.
"""

import json
import resource
import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import click
import numpy as np
from common import circumstances

TESTS = Path(__file__).parents[1] / "tests"
sys.path.insert(0, str(TESTS))
from helpers import read_rows, saved_state, start_workers  # noqa: E402

SIZE, BATCH = 128, 12
# What changes under growth, to its values.
GROWTH = {
    "batch": (1, 2, 4, 8, 12, 24, 48),
    "image side": (64, 128, 256, 512),
    "logical devices": (1, 2, 4),
    "processes": (1, 2, 3),
}
# Strategies and workers whose agreement with one device is looked at.
STRATEGIES = [("mirrored", 1), ("multi_worker", 2), ("multi_worker", 3)]


def measure(name: str, devices: int, size: int, batch: int, filters: int, steps: int) -> None:
    """Train and print figures as JSON; run in a process of its own."""
    import agreement
    import keras
    import tensorflow as tf

    from sar_keras import load_config
    from sar_keras.training.build import build_model
    from sar_keras.training.machines import strategy_for

    if name == "mirrored":
        agreement.divide_cpu(devices)
    strategy = strategy_for(name)
    changes = [f"data.image_size={size}", f"model.filters={filters}", f"model.discriminator_filters={filters}"]
    with strategy.scope():
        model = build_model(load_config("pix2pix_perceptual", changes), "float32")

    def dataset(context):
        random = np.random.default_rng(context.input_pipeline_id)
        shape = batch // strategy.num_replicas_in_sync, size, size
        images = tuple(tf.cast(random.uniform(-1, 1, (*shape, channels)), tf.float32) for channels in (1, 3))
        return tf.data.Dataset.from_tensors(images).repeat()

    ends = []
    watch = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: ends.append(time.perf_counter()))
    data = strategy.distribute_datasets_from_function(dataset)
    model.fit(data, steps_per_epoch=steps + 2, verbose=0, shuffle=False, callbacks=[watch])
    rate = batch / statistics.median(np.diff(ends[1:]))
    print(json.dumps({"rate": rate, "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))


def in_processes(count: int, arguments: list) -> list[str]:
    """The last line that each of so many workers prints."""
    lines = []
    for process in start_workers(count, [sys.executable, *arguments]):
        out, err = process.communicate()
        if process.returncode:
            raise SystemExit(err)
        lines.append((out.splitlines() or [""])[-1])
    return lines


def difference(one: Path, other: Path) -> tuple[float, float]:
    """The largest differences: of the last checkpoints' weights, as a share of the last epoch's change; of histories.

    Each optimizer's weights have a relation of their own, since those of a discriminator move less; the larger counts.
    """
    first, before, after = saved_state(one, checkpoints_ago=1), saved_state(one), saved_state(other)
    changed, apart = Counter(), Counter()
    for name in before:
        optimizer, found, _ = name.partition("/_trainable_variables/")
        if found:
            changed[optimizer] = max(changed[optimizer], np.abs(before[name] - first[name]).max())
            apart[optimizer] = max(apart[optimizer], np.abs(after[name] - before[name]).max())
    rows = zip(read_rows(one / "history.csv"), read_rows(other / "history.csv"), strict=True)
    figures = [(float(a[key]), float(b[key])) for a, b in rows for key in a if key != "minutes" and a[key]]
    return (
        max(apart[optimizer] / change for optimizer, change in changed.items() if change),
        max(abs(a - b) / max(abs(a), 1e-6) for a, b in figures),
    )


def growth(steps: int, filters: int, count: int | None, plot: Path | None) -> None:
    print("| what | value | images/s | memory MB |\n|---|---|---|---|")
    curves = {}
    for what, values in GROWTH.items():
        for value in values[:count]:
            name = {"logical devices": "mirrored", "processes": "multi_worker"}.get(what, "one")
            size, batch = (value if what == key else base for key, base in (("image side", SIZE), ("batch", BATCH)))
            case = [name, value if what == "logical devices" else 1, size, batch]
            command = [__file__, "--measure", *case, "--filters", filters, "--steps", steps]
            lines = in_processes(value if name == "multi_worker" else 1, command)
            figures = [json.loads(line) for line in lines]
            rate, memory = figures[0]["rate"], sum(each["memory"] for each in figures)
            print(f"| {what} | {value} | {rate:.2f} | {memory:.0f} |", flush=True)
            curves.setdefault(what, []).append((value, rate, memory))
    if plot:
        draw(plot, curves)


def draw(path: Path, curves: dict[str, list[tuple[int, float, float]]]) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 5), layout="constrained")
    axes = figure.subplots(2, len(curves))
    for (above, below), (what, points) in zip(axes.T, curves.items(), strict=True):
        values, rates, memories = zip(*points, strict=True)
        above.plot(values, rates, ".-")
        below.plot(values, memories, ".-")
        for each in (above, below):
            each.set_xscale("log", base=2)
            each.set_xticks(values, values)
            each.set_ylim(0)
        below.set_xlabel(what)
    axes[0, 0].set_ylabel("images/s")
    axes[1, 0].set_ylabel("memory, MB")
    figure.savefig(path, dpi=100)


def agree(names: list[str], count: int | None) -> None:
    from sar_keras.data.synthetic import write_pairs

    print("\n| preset | strategy | workers | difference of weights / change | of history |\n|---|---|---|---|---|")
    script = TESTS / "agreement.py"
    with tempfile.TemporaryDirectory() as temporary:
        data, one = Path(temporary) / "data", Path(temporary) / "one"
        write_pairs(data, 24, image_size=64)
        in_processes(1, [script, one, data, "one", *names])
        for strategy, workers in STRATEGIES[:count]:
            folder = Path(temporary) / f"{strategy}-{workers}"
            in_processes(workers, [script, folder, data, strategy, *names])
            for name in names:
                weights, history = difference(one / f"{name}-one", folder / f"{name}-{strategy}")
                print(f"| {name} | {strategy} | {workers} | {weights:.1e} | {history:.1e} |", flush=True)


@click.command(help=__doc__)
@click.option("--only", type=click.Choice(["growth", "agreement"]))
@click.option("--plot", type=click.Path(path_type=Path), help="Draw the growth.")
@click.option("--steps", default=8, show_default=True)
@click.option("--filters", default=16, show_default=True)
@click.option("--values", type=int, metavar="N", help="Only the first N values, or strategies.  [default: all]")
@click.option("--presets", metavar="A,B,...", help="Of the agreement.  [default: all]")
@click.option("--measure", "case", type=(str, int, int, int), hidden=True)
def main(
    only: str | None,
    plot: Path | None,
    steps: int,
    filters: int,
    values: int | None,
    presets: str | None,
    case: tuple[str, int, int, int] | None,
) -> None:
    if case:
        measure(*case, filters, steps)
        return

    from sar_keras import config

    print(circumstances(), end="\n\n")
    if only != "agreement":
        growth(steps, filters, values, plot)
    if only != "growth":
        agree(presets.split(",") if presets else list(config.presets()), values)


if __name__ == "__main__":
    main()
