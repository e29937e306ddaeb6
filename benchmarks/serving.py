"""Images a second of exported models, loaded by a C++ program as TensorFlow Serving loads them, by size of batch.

    python benchmarks/serving.py [--preset fast --preset default] [--batch 1 --batch 4 --batch 16] [--seconds 5]

A request holds a batch of images. "one caller" sends them one after another, as Serving's batching does with a single
thread; the other column is of as many callers at a time as there are processors, as requests come to a server without
batching. What the network and gRPC take is left out. The weights are not trained, which takes as long.

It builds serving.cc against the headers and libraries in TensorFlow's wheel, so it needs a C++ compiler; and the extra
`serving`.
"""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import click
import numpy as np
from common import circumstances


def build(folder: Path) -> Path:
    """Compile serving.cc and return the program."""
    import tensorflow as tf

    compiler = shutil.which("c++")
    if compiler is None:
        raise click.UsageError("needs a C++ compiler, such as Debian's g++")
    program, library = folder / "serving", tf.sysconfig.get_lib()
    command = [
        compiler,
        "-O1",
        "-w",
        *tf.sysconfig.get_compile_flags(),
        Path(__file__).with_suffix(".cc"),
        "-o",
        program,
    ]
    # Nothing refers to what registers the sessions, so that the linker would leave its library out.
    command += [f"-L{library}", "-Wl,--no-as-needed", "-l:libtensorflow_cc.so.2", "-l:libtensorflow_framework.so.2"]
    result = subprocess.run([*command, f"-Wl,-rpath,{library}"], capture_output=True, text=True)
    if result.returncode:
        raise click.ClickException(result.stderr)
    return program


def write_requests(path: Path, requests: list[tuple[str, dict]]) -> None:
    """Write requests, each the name of a signature and {input: array, or list of bytes}, as warm-up requests are."""
    import tensorflow as tf
    from tensorflow_serving.apis import model_pb2, predict_pb2, prediction_log_pb2

    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature, inputs in requests:
            request = predict_pb2.PredictRequest(
                model_spec=model_pb2.ModelSpec(name="model", signature_name=signature),
                inputs={name: tf.make_tensor_proto(value) for name, value in inputs.items()},
            )
            log = prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))
            writer.write(log.SerializeToString())


def answer(program: Path, model: Path, requests: Path, answers: Path, *options) -> str:
    """Run the program; what it prints. With seconds and callers as options these are the requests a second."""
    command = [program, model, requests, answers, *map(str, options)]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        raise click.ClickException(result.stderr)
    return result.stdout


@click.command(help=__doc__)
@click.option("--preset", "presets", multiple=True, default=("fast", "default"), show_default=True)
@click.option("--batch", "batches", multiple=True, type=int, default=(1, 4, 16), show_default=True)
@click.option("--seconds", default=5.0, show_default=True, help="Of each figure.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a key of every preset.")
def main(presets: tuple[str, ...], batches: tuple[int, ...], seconds: float, overrides: tuple[str, ...]) -> None:
    import tensorflow as tf

    from sar_keras.config import load_config
    from sar_keras.inference.export import export_saved_model
    from sar_keras.networks.sizes import shapes_of_inputs
    from sar_keras.training.build import build_saved_generator

    callers, random = os.cpu_count() or 1, np.random.default_rng(0)
    print(f"{circumstances('tensorflow', 'keras')}\n")
    print(f"| preset | signature | batch | images/s, one caller | images/s, {callers} callers |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        program, file = build(folder), folder / "requests"
        for preset in presets:
            model = build_saved_generator(load_config(preset, overrides))
            exported = export_saved_model(model, folder / preset)
            shapes = {name: shape[1:] for name, shape in shapes_of_inputs(model).items()}
            png = tf.io.encode_png(random.integers(0, 256, shapes["sar"], np.uint8)).numpy()
            requests = []
            for count in batches:
                arrays = {name: random.uniform(-1, 1, (count, *shape)) for name, shape in shapes.items()}
                arrays = {name: array.astype("float32") for name, array in arrays.items()}
                requests += [("serving_default", arrays), ("colorize_png", {"image_bytes": [png] * count})]
            write_requests(file, requests)
            rates = [
                answer(program, exported, file, folder / "answers", seconds, at_a_time).split()
                for at_a_time in (1, callers)
            ]
            for (signature, inputs), one, several in zip(requests, *rates, strict=True):
                count = len(next(iter(inputs.values())))
                cells = [f"{float(rate) * count:.1f}" for rate in (one, several)]
                print(f"| {preset} | {signature} | {count} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
