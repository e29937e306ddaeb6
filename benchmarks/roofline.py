"""How near training and inference come to the machine's limit, where the rest goes, and what a large GPU should do.

    python benchmarks/roofline.py [--steps 5] [--only "fast infer"]

Measures the rate of matrix products and the memory bandwidth of this machine, counts the floating point operations of
each graph as TensorFlow runs it (what no output needs is left out), and divides.
"""

import collections
import glob
import tempfile
from collections.abc import Callable

import click
import numpy as np
from common import choose, circumstances, median_seconds

import sar_keras
from sar_keras.config import load_config

# Dense bfloat16 matrix products, from the vendor's data sheets, TFLOP/s.
GPUS = {"A100 (312 TFLOP/s)": 312, "H100 SXM (989 TFLOP/s)": 989}
PRECISIONS = ("float32", "bfloat16")
# preset, work, batch, precision
CASES = [
    ("paper", "train", 4, "float32"),
    ("paper", "train", 4, "bfloat16"),
    ("default", "train", 8, "bfloat16"),
    ("fast", "train", 8, "bfloat16"),
    ("paper", "infer", 4, "float32"),
    ("paper", "infer", 4, "bfloat16"),
    ("fast", "infer", 4, "bfloat16"),
]
KINDS = {
    "Conv2DBackpropInput": "convolutions, gradient of their input",
    "Conv2DBackpropFilter": "convolutions, gradient of their weights",
    "Conv2D": "convolutions",
    "MatMul": "matrix products",
}


@click.command(help=__doc__)
@click.option("--steps", default=5, show_default=True)
@click.option("--only", default="", help="The cases that begin with these words: network, work, batch.")
@click.option("--side", default=4096, show_default=True, help="Of the matrices that are multiplied.")
def main(steps: int, only: str, side: int) -> None:
    cases = choose(CASES, only)
    sar_keras.fit  # noqa: B018 - imports TensorFlow without its start-up lines
    print(circumstances("tensorflow"), end="\n\n")
    peaks = {precision: matrix_rate(precision, side) for precision in PRECISIONS}
    for precision, rate in peaks.items():
        print(f"matrix products, {precision}: {rate:.0f} GFLOP/s")
    print(f"memory: {bandwidth():.0f} GB/s\n")
    print("| work | precision | batch | GFLOP an image | images/s | GFLOP/s | of the matrix products' rate |")
    print("|---|---|---|---|---|---|---|")
    shares, profiles = {}, {}
    for preset, work, batch, precision in cases:
        build, title = {"train": (training, "training step of"), "infer": (inference, "inference,")}[work]
        name = f"{title} `{preset}`"
        operations = gflop(*build(preset, precision, batch, counted=True)) / batch
        function, arguments = build(preset, precision, batch)
        seconds = waited_for(lambda run=function, given=arguments: run(*given), steps)
        rate = operations * batch / seconds
        share = rate / peaks[precision]
        print(
            f"| {name} | {precision} | {batch} | {operations:.1f} | {batch / seconds:.2f} | {rate:.0f} | {share:.0%} |",
            flush=True,
        )
        if precision == "bfloat16":
            shares[name] = operations, share
            profiles[name] = profile(function, arguments)
    print("\nWhere processor time goes, in bfloat16:\n")
    for work, kinds in profiles.items():
        print(f"- {work}: " + ", ".join(f"{kind} {part:.0%}" for kind, part in kinds.items()))
    print("\nProjection, not measured: images/s on a GPU that reaches the same share of its peak in bfloat16\n")
    print("| work | " + " | ".join(GPUS) + " |")
    print("|---" * (1 + len(GPUS)) + "|")
    for name, (operations, share) in shares.items():
        rates = [f"{tera * 1000 * share / operations:.0f}" for tera in GPUS.values()]
        print(f"| {name} | " + " | ".join(rates) + " |")


def training(preset: str, precision: str, batch: int, counted: bool = False) -> tuple[Callable, list]:
    """A training step, and its arguments; to be counted, without a loop, into which the counter does not look."""
    import tensorflow as tf

    from sar_keras.models import losses
    from sar_keras.training.build import build_model
    from sar_keras.training.machines import dtype_policy_for

    model = build_model(load_config(preset), dtype_policy_for(precision))
    model.stop_training = False
    if counted and "perceptual" in model.term_functions:
        model.term_functions["perceptual"] = losses.perceptual_distance
    return tf.function(lambda sar, optical: model.train_step((sar, optical))), _images(batch, 1, 3)


def inference(preset: str, precision: str, batch: int, counted: bool = False) -> tuple[Callable, list]:
    """A call of the generator, and its argument."""
    import tensorflow as tf

    from sar_keras.networks.rewriting import for_inference
    from sar_keras.networks.sizes import any_size
    from sar_keras.training.build import build_generator

    network = any_size(for_inference(build_generator(load_config(preset)), precision))
    return tf.function(lambda sar: network(sar, training=False)), _images(batch, 1)


def _images(batch: int, *channels: int) -> list:
    import tensorflow as tf

    random = np.random.default_rng(0)
    return [tf.constant(random.uniform(-1, 1, (batch, 256, 256, count)), tf.float32) for count in channels]


def waited_for(run: Callable, steps: int) -> float:
    """Median seconds of a call until its first result is in memory."""
    import tensorflow as tf

    return median_seconds(lambda: tf.nest.flatten(run())[0].numpy(), steps)


def matrix_rate(precision: str, side: int) -> float:
    """GFLOP/s of a matrix product, the best of several."""
    import tensorflow as tf

    a, b = (tf.cast(tf.random.normal((side, side)), precision) for _ in range(2))
    product = tf.function(lambda: tf.matmul(a, b)[0, 0])
    return max(2 * side**3 / waited_for(product, 1) / 1e9 for _ in range(8))


def bandwidth(size: int = 2**26) -> float:
    """GB/s of a sum of two arrays much larger than the caches: two reads and a write."""
    import tensorflow as tf

    a, b = (tf.random.normal((size,)) for _ in range(2))
    add = tf.function(lambda: a + b)
    return max(3 * 4 * size / waited_for(add, 1) / 1e9 for _ in range(8))


def gflop(function, arguments: list) -> float:
    """Operations of one call, two to a multiplication with an addition."""
    import tensorflow as tf

    graph = function.get_concrete_function(*arguments).graph
    kept = [tensor.op.name for tensor in graph.outputs] + [operation.name for operation in graph.control_outputs]
    pruned = tf.compat.v1.graph_util.extract_sub_graph(graph.as_graph_def(add_shapes=True), kept)
    with tf.Graph().as_default() as alone:
        tf.import_graph_def(pruned, name="")
    options = tf.compat.v1.profiler.ProfileOptionBuilder(tf.compat.v1.profiler.ProfileOptionBuilder.float_operation())
    return tf.compat.v1.profiler.profile(alone, options=options.with_empty_output().build()).total_float_ops / 1e9


def profile(function, arguments: list, calls: int = 3) -> dict[str, float]:
    """Kind of operation to its share of all operations' time."""
    import tensorflow as tf
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    with tempfile.TemporaryDirectory() as folder:
        with tf.profiler.experimental.Profile(folder):
            for _ in range(calls):
                tf.nest.flatten(function(*arguments))[0].numpy()
        space = xplane_pb2.XSpace()
        with open(glob.glob(f"{folder}/**/*.xplane.pb", recursive=True)[0], "rb") as file:
            space.ParseFromString(file.read())
    spent = collections.Counter()
    for plane in space.planes:
        for line in plane.lines:
            for event in line.events:
                # Operations are called name:Type, among events such as Executor::Process.
                _, _, kind = plane.event_metadata[event.metadata_id].name.partition(":")
                if kind.isidentifier() and "inference" not in kind:
                    known = next((title for part, title in KINDS.items() if part in kind), "the rest")
                    spent[known] += event.duration_ps
    total = sum(spent.values())
    return {kind: picoseconds / total for kind, picoseconds in spent.most_common()}


if __name__ == "__main__":
    main()
