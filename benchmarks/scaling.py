"""What several devices and machines cost and whether they compute the same, with logical devices and local processes.

    python benchmarks/scaling.py [--steps 8] [--filters 16] [--presets PRESET...]

The first table is training under `default` at 128 x 128 pixels, a global batch of 12: 1, 2 and 4 logical CPU devices
under MirroredStrategy, and 1, 2 and 3 processes under MultiWorkerMirroredStrategy. All of them share this machine's
cores, so that the table shows what the strategies cost, not what more hardware gains. Images a second are medians after
two steps of warm-up; memory is the largest resident set, of all processes together.

The second table trains each preset for two short epochs from one seed with one device, two devices, two and three
workers (see tests/agreement.py) and gives the largest difference of a weight in the last checkpoint, as a share of the
largest change that the last epoch made to a weight of that network; and of the figures in history.csv, each by itself.
"""

import argparse
import json
import resource
import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import agreement
from helpers import read_rows, saved_state, start_workers

CASES = [("mirrored", count) for count in (1, 2, 4)] + [("multi_worker", count) for count in (1, 2, 3)]
SIZE, BATCH = 128, 12


def measure(name: str, devices: int, filters: int, steps: int) -> None:
    """Train and print figures as JSON; run in a process of its own."""
    import keras
    import tensorflow as tf

    from sar_keras import load_config, systems
    from sar_keras.distribution import strategy_for

    if name == "mirrored":
        agreement.divide_cpu(devices)
    strategy = strategy_for(name)
    changes = [f"data.image_size={SIZE}", f"model.filters={filters}", f"model.discriminator_filters={filters}"]
    with strategy.scope():
        model = systems.build_model(load_config("default", changes), "float32")

    def dataset(context):
        random = np.random.default_rng(context.input_pipeline_id)
        batch = [random.uniform(-1, 1, (BATCH // strategy.num_replicas_in_sync, SIZE, SIZE, c)) for c in (1, 3)]
        return tf.data.Dataset.from_tensors(tuple(tf.cast(part, tf.float32) for part in batch)).repeat()

    ends = []
    watch = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: ends.append(time.perf_counter()))
    data = strategy.distribute_datasets_from_function(dataset)
    model.fit(data, steps_per_epoch=steps + 2, verbose=0, shuffle=False, callbacks=[watch])
    rate = BATCH / statistics.median(np.diff(ends[1:]))
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
    """Of the last checkpoints' weights, in relation to what the last epoch changed; and of the histories.

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--filters", type=int, default=16)
    parser.add_argument("--presets", nargs="*", help="of the second table [all]")
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        name, devices = arguments.measure
        return measure(name, int(devices), arguments.filters, arguments.steps)

    from sar_keras.comparison import processor
    from sar_keras.config import presets
    from sar_keras.data.synthetic import write_pairs

    print(f"{processor()}, {time.strftime('%Y-%m-%d')}\n")
    print("| strategy | devices | images/s | memory MB |\n|---|---|---|---|")
    for name, count in CASES:
        options = ["--measure", name, count, "--filters", arguments.filters, "--steps", arguments.steps]
        lines = in_processes(count if name == "multi_worker" else 1, [__file__, *options])
        figures = [json.loads(line) for line in lines]
        memory = sum(each["memory"] for each in figures)
        print(f"| {name} | {count} | {figures[0]['rate']:.2f} | {memory:.0f} |", flush=True)

    print("\n| preset | strategy | workers | difference of weights / change | of history |\n|---|---|---|---|---|")
    names = arguments.presets or presets()
    with tempfile.TemporaryDirectory() as temporary:
        data, one = Path(temporary) / "data", Path(temporary) / "one"
        write_pairs(data, 24, image_size=64)
        in_processes(1, [agreement.__file__, one, data, "one", *names])
        for strategy, workers in (("mirrored", 1), ("multi_worker", 2), ("multi_worker", 3)):
            folder = Path(temporary) / f"{strategy}-{workers}"
            in_processes(workers, [agreement.__file__, folder, data, strategy, *names])
            for name in names:
                weights, history = difference(one / f"{name}-one", folder / f"{name}-{strategy}")
                print(f"| {name} | {strategy} | {workers} | {weights:.1e} | {history:.1e} |", flush=True)


if __name__ == "__main__":
    main()
