"""Hurts the package for a long time and counts what it loses. See docs/reliability.md.

\b
    python benchmarks/soak.py kills              # a training killed 20 times, some times inside a checkpoint write
    python benchmarks/soak.py faults             # 30 minutes of kills, flipped bits, broken files and full disks
    python benchmarks/soak.py fuzz               # 5,000 mutated files through the command line
    python benchmarks/soak.py memory             # memory and file handles after 200 to 4,000 steps

Everything runs through the command line, in processes of their own, on networks of a few filters.
"""

import contextlib
import csv
import json
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import click
from common import circumstances, command

SIZE = 64
TINY = [
    f"data.image_size={SIZE}",
    "model.filters=4",
    "model.discriminator_filters=4",
    "loss.perceptual_layer=block1_conv1",
    "train.precision=float32",
]
# All that a checkpoint has to carry: averaged weights, dropout, a schedule, speckle, the discriminator's optimizer.
RUN = [*TINY, "train.average=0.9", "data.speckle=true", "train.steps_per_epoch=40", "train.checkpoint_every=5 steps"]


@click.group(help=__doc__)
@click.option("--seed", default=0, show_default=True)
@click.option("--work", type=click.Path(path_type=Path), help="Keep everything here, not in a temporary folder.")
@click.pass_context
def main(context: click.Context, seed: int, work: Path | None) -> None:
    random.seed(seed)
    context.obj = work or Path(context.with_resource(tempfile.TemporaryDirectory()))
    context.obj.mkdir(parents=True, exist_ok=True)
    print(f"{circumstances()}, {context.invoked_subcommand}, seed {seed}", flush=True)


def run(*arguments) -> None:
    subprocess.run(command(*arguments), check=True, stdout=subprocess.DEVNULL)


def changes(settings: list[str]) -> list[str]:
    return [part for setting in settings for part in ("--set", setting)]


# Trainings that are disturbed.


@main.command()
@click.option("-n", "--number", default=20, show_default=True, help="How often a training is killed.")
@click.option("--epochs", default=12, show_default=True, help="Epochs of each training.")
@click.pass_obj
def kills(work: Path, number: int, epochs: int) -> None:
    """Kill trainings, some times inside a checkpoint write."""
    disturb(work, epochs, ["kill", "kill in a write"], number=number)


@main.command()
@click.option("--minutes", default=30.0, show_default=True, help="Minutes of disturbance.")
@click.option("--epochs", default=12, show_default=True, help="Epochs of each training.")
@click.pass_obj
def faults(work: Path, minutes: float, epochs: int) -> None:
    """Kill trainings, flip bits in checkpoints, break files, fill disks."""
    disturb(work, epochs, list(FAULTS), minutes=minutes)


class Training:
    """A run that can be started, disturbed and started again."""

    def __init__(self, data: Path, out: Path, epochs: int):
        self.data, self.out, self.settings = data, out, changes([*RUN, f"train.epochs={epochs}"])
        self.saved = 0  # step of the newest checkpoint that was ever seen

    def start(self) -> subprocess.Popen:
        if (self.out / "config.yaml").exists():
            arguments = command("fit", "--out", self.out, "--resume")
        else:
            if self.saved:
                raise RuntimeError(f"a run that had saved step {self.saved} is gone")
            shutil.rmtree(self.out, ignore_errors=True)
            arguments = command("fit", "quick", "--data", self.data, "--out", self.out, *self.settings)
        return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def newest(self) -> int:
        """The step of the newest checkpoint."""
        newest = max((int(path.name[5:]) for path in (self.out / "checkpoints").glob("step-*")), default=0)
        self.saved = max(self.saved, newest)
        return newest


def wait(condition, process: subprocess.Popen, seconds: float = 300) -> bool:
    """Whether the condition came true before the process ended."""
    end = time.monotonic() + seconds
    while process.poll() is None:
        if condition():
            return True
        if time.monotonic() > end:
            process.kill()
            raise RuntimeError("a training hangs: " + "".join(process.communicate())[-2000:])
        time.sleep(0.0005)
    return False


def under_way(training: Training, process: subprocess.Popen) -> bool:
    """Wait for the first new checkpoint, and then for a random moment."""
    before = training.newest()
    if not wait(lambda: training.newest() > before, process):
        return False
    end = time.monotonic() + random.uniform(0, 1)
    return wait(lambda: time.monotonic() > end, process)


def kill(training: Training, process: subprocess.Popen) -> str | None:
    """SIGKILL, at any moment from the first instruction on."""
    if random.random() < 0.2:
        end = time.monotonic() + random.uniform(0, 15)
        alive = wait(lambda: time.monotonic() > end, process)
    else:
        alive = under_way(training, process)
    if not alive:
        return None
    process.send_signal(signal.SIGKILL)
    process.wait()
    return "killed"


def kill_in_a_write(training: Training, process: subprocess.Popen) -> str | None:
    folder = training.out / "checkpoints"
    if not under_way(training, process) or not wait(lambda: any(folder.glob(".step-*")), process):
        return None
    process.send_signal(signal.SIGKILL)
    process.wait()
    return "killed inside a checkpoint write" if any(folder.glob(".step-*")) else "killed"


def terminate(training: Training, process: subprocess.Popen) -> str | None:
    if not under_way(training, process):
        return None
    process.send_signal(random.choice([signal.SIGTERM, signal.SIGINT]))
    error = process.communicate(timeout=300)[1]
    if process.returncode == 0:
        return None
    assert process.returncode in (130, 143) and "--resume" in error and "Traceback" not in error, error
    return "told to stop"


def flip_a_bit(training: Training, process: subprocess.Popen) -> str | None:
    if not kill(training, process):
        return None
    found = sorted((training.out / "checkpoints").glob("step-*"))
    if len(found) < 2:
        return "killed"
    path = random.choice(sorted(found[-1].iterdir()))
    content = bytearray(path.read_bytes())
    content[random.randrange(len(content))] ^= 1 << random.randrange(8)
    path.write_bytes(content)
    return "newest checkpoint damaged"


def break_a_file(training: Training, process: subprocess.Popen) -> str | None:
    if not kill(training, process):
        return None
    path = random.choice(sorted(training.data.rglob("*.png")))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    broken = training.start()
    error = broken.communicate(timeout=300)[1]
    path.write_bytes(content)
    if (training.out / "config.yaml").exists():
        assert broken.returncode == 2 and str(path) in error and "Traceback" not in error, error
    return "file broken"


def fill_the_disk(training: Training, process: subprocess.Popen) -> str | None:
    if not under_way(training, process):
        return None
    filler = training.out.parent / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(b"\0" * 4096)
    error = process.communicate(timeout=300)[1]
    filler.unlink()
    if process.returncode == 0:
        return None
    assert process.returncode == 2 and "disk is full" in error and "Traceback" not in error, error
    return "disk filled"


FAULTS = {
    "kill": kill,
    "kill in a write": kill_in_a_write,
    "terminate": terminate,
    "flip a bit": flip_a_bit,
    "break a file": break_a_file,
    "fill the disk": fill_the_disk,
}


def disturb(work: Path, epochs: int, kinds: list[str], number: int = 0, minutes: float = 0) -> None:
    """Disturb trainings `number` times, or for `minutes`, and compare them with one that was left alone."""
    data = work / "data"
    run("data", "synth", data, "-n", 24, "--size", SIZE)
    with disk(work / "disk", needed="fill the disk" in kinds) as place:
        whole = Training(data, work / "whole", epochs)
        check_ended(whole.start())
        end = time.monotonic() + minutes * 60
        counts, lost, runs, differing = Counter(), [], 0, 0
        while sum(counts.values()) < number or time.monotonic() < end:
            runs += 1
            training = Training(data, place / f"run{runs}", epochs)
            while True:
                process = training.start()
                enough = sum(counts.values()) >= number and time.monotonic() >= end
                kind = random.choice(kinds)
                happened = None if enough else FAULTS[kind](training, process)
                if happened is None:
                    check_ended(process)
                    break
                counts[happened] += 1
                print(f"  {sum(counts.values()):3} {happened}, newest checkpoint: step {training.newest()}", flush=True)
            compared, different = compare(whole.out, training.out)
            differing += different
            lost.append(compared)
            print(f"  run {runs} has ended: {different} of {compared} bytes differ", flush=True)
            shutil.rmtree(training.out)
    print(", ".join(f"{count} times {what}" for what, count in counts.items()))
    print(f"disturbances survived: {sum(counts.values())}, in {runs} run(s)")
    print(f"bytes lost: {differing} of {sum(lost)} (checkpoint, model, history and TensorBoard of each run at its end)")
    sys.exit(bool(differing))


def check_ended(process: subprocess.Popen) -> None:
    out, error = process.communicate()
    if process.returncode:
        raise RuntimeError(f"a training failed with exit code {process.returncode}:\n{out}\n{error}")


@contextlib.contextmanager
def disk(folder: Path, needed: bool) -> Iterator[Path]:
    """A file system of 64 MB where it is needed and can be mounted."""
    folder.mkdir()
    options = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)]
    mounted = needed and subprocess.run(options, capture_output=True).returncode == 0
    if needed and not mounted:
        print("no right to mount a small file system: the disk is never full")
        FAULTS["fill the disk"] = FAULTS["kill"]
    try:
        yield folder
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(folder)], check=True)


def compare(run: Path, other: Path) -> tuple[int, int]:
    """Bytes of all that two runs have kept but the time that they took, and how many of them differ."""
    pairs = [contents(folder) for folder in (run, other)]
    total = different = 0
    for name in pairs[0].keys() | pairs[1].keys():
        a, b = (pair.get(name, b"") for pair in pairs)
        total += max(len(a), len(b))
        different += abs(len(a) - len(b)) + sum(x != y for x, y in zip(a, b, strict=False))
        if a != b:
            print(f"  differs: {name}")
    return total, different


def contents(run: Path) -> dict[str, bytes]:
    import keras
    import tensorflow as tf

    newest = max((run / "checkpoints").glob("step-*"))
    reader = tf.train.load_checkpoint(newest / "state")
    names = [
        name for name in reader.get_variable_to_shape_map() if "minutes" not in name and "OBJECT_GRAPH" not in name
    ]
    found = {name: reader.get_tensor(name).tobytes() for name in names} | {"step": newest.name.encode()}
    for file in ("generator.keras", "generator_best.keras"):
        for index, weight in enumerate(keras.saving.load_model(run / file, compile=False).get_weights()):
            found[f"{file} {index}"] = weight.tobytes()
    with (run / "history.csv").open() as file:
        rows = [{name: value for name, value in row.items() if name != "minutes"} for row in csv.DictReader(file)]
    found["history"] = json.dumps(rows).encode()
    points = {}
    for path in sorted((run / "logs").rglob("events*")):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                if value.tag != "minutes":
                    points.setdefault(f"{path.parent.name} {value.tag}", []).append((event.step, str(value)))
    return found | {f"TensorBoard {name}": json.dumps(values).encode() for name, values in points.items()}


# Memory of a long run.


@main.command()
@click.option(
    "--steps",
    default="200,1000,2000,4000",
    show_default=True,
    metavar="N,N,...",
    help="Steps after which to look: multiples of the first.",
)
@click.pass_obj
def memory(work: Path, steps: str) -> None:
    """Print memory and file handles of a training."""
    looks = [int(step) for step in steps.split(",")]
    data, out = work / "data", work / "run"
    run("data", "synth", data, "-n", 24, "--size", SIZE)
    epochs = looks[-1] // 40 + 10
    settings = [*RUN[:-1], f"train.checkpoint_every={looks[0]} steps", "train.keep=99", f"train.epochs={epochs}"]
    process = subprocess.Popen(
        command("fit", "quick", "--data", data, "--out", out, *changes(settings)), stdout=subprocess.DEVNULL
    )
    for step in looks:
        wait((out / f"checkpoints/step-{step:08d}").exists, process, 3600)
        samples = []
        for _ in range(20):  # a checkpoint that is being written holds some of both for a moment
            status = Path(f"/proc/{process.pid}/status").read_text()
            handles = len(os.listdir(f"/proc/{process.pid}/fd"))
            samples.append((int(status.split("VmRSS:")[1].split()[0]) / 1024, handles))
            time.sleep(0.1)
        megabytes, handles = (min(values) for values in zip(*samples, strict=True))
        print(f"step {step:4}: {megabytes:.0f} MB, {handles} file handles", flush=True)
    process.terminate()
    process.wait()


# Mutated files.

KINDS = {"png": 0.35, "tif": 0.34, "yaml": 0.15, "csv": 0.13, "keras": 0.03}
A_JOB = {"png": 250, "tif": 250, "yaml": 250, "csv": 250, "keras": 50}  # inputs of a worker
SECONDS = 900  # that a worker may take


@main.command()
@click.option("-n", "--number", default=5000, show_default=True, help="At least so many files.")
@click.pass_context
def fuzz(context: click.Context, number: int) -> None:
    """Put mutated files through the command line.

    What ends in a traceback, a hang or a crash is kept in ./soak-failures.
    """
    work, seed = context.obj, context.parent.params["seed"]
    run("data", "synth", work / "data", "-n", 12, "--size", SIZE)
    settings = [*TINY, "train.epochs=1", "train.steps_per_epoch=1"]
    run("fit", "quick", "--data", work / "data", "--out", work / "run", *changes(settings))
    jobs = []
    for kind, share in KINDS.items():
        wanted = max(1, round(number * share))
        count = min(wanted, A_JOB[kind])
        for job in range(-(-wanted // count)):
            jobs.append({"kind": kind, "seed": f"{seed}-{kind}-{job}", "count": count, "work": str(work)})
    random.shuffle(jobs)
    done, codes, failures = Counter(), Counter(), []
    for index, job in enumerate(jobs):
        folder = work / f"job{index}"
        folder.mkdir()
        (folder / "job.json").write_text(json.dumps(job))
        worker = subprocess.Popen(
            [sys.executable, __file__, "fuzz-worker", folder], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )  # a process each: what crashes takes nothing else with it
        try:
            error = worker.communicate(timeout=SECONDS)[1].decode(errors="replace")
            problem = f"crash, exit code {worker.returncode}: {error[-800:]}" if worker.returncode else None
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.communicate()
            problem = "hang"
        lines = (folder / "log").read_text().splitlines() if (folder / "log").exists() else []
        for line in map(json.loads, lines):
            if "code" in line:
                done[job["kind"]] += line["inputs"]
                codes[line["code"]] += 1
            if line.get("traceback"):
                failures.append((job, line))
        if problem:
            failures.append((job, {"traceback": problem, "arguments": json.loads(lines[-1]) if lines else None}))
        if failures and failures[-1][0] is job:
            kept = Path("soak-failures") / f"{job['seed']}"
            shutil.rmtree(kept, ignore_errors=True)
            shutil.copytree(folder, kept)
            print(f"FAILED in {kept}: {failures[-1][1]['arguments']}\n{failures[-1][1]['traceback']}", flush=True)
        shutil.rmtree(folder)
    print("inputs tried: " + ", ".join(f"{count} {kind}" for kind, count in done.items()) + f"; {done.total()} in all")
    print("exit codes: " + ", ".join(f"{code}: {count} commands" for code, count in sorted(codes.items())))
    print(f"tracebacks, hangs and crashes: {len(failures)}")
    sys.exit(bool(failures))


@main.command(hidden=True)
@click.argument("folder", type=click.Path(path_type=Path))
def fuzz_worker(folder: Path) -> None:
    """One job of `fuzz`, in a process of its own."""
    import traceback

    from click.testing import CliRunner

    from sar_keras.cli.main import main as cli

    job = json.loads((folder / "job.json").read_text())
    random.seed(job["seed"])
    os.chdir(folder)
    with (folder / "log").open("w") as log:
        for inputs, arguments in COMMANDS[job["kind"]](folder, Path(job["work"]), job["count"]):
            arguments = [str(argument) for argument in arguments]
            log.write(json.dumps({"arguments": arguments}) + "\n")
            log.flush()
            result = CliRunner().invoke(cli, arguments)
            error = result.exception
            line = {"code": result.exit_code, "inputs": inputs, "arguments": arguments}
            if error and not isinstance(error, SystemExit):
                line["traceback"] = "".join(traceback.format_exception(error))[-3000:]
            elif "Traceback" in result.stderr or result.exit_code not in (0, 1, 2):
                line["traceback"] = result.stderr[-3000:]
            log.write(json.dumps(line) + "\n")


def mutated(content: bytes) -> bytes:
    content = bytearray(content)
    for _ in range(random.choice([1, 1, 2, 4, 16])):
        at = random.randrange(len(content) + 1)
        what = random.random()
        if what < 0.4 and at < len(content):
            content[at] ^= 1 << random.randrange(8)
        elif what < 0.6 and at < len(content):
            content[at] = random.choice([0, 1, 0x7F, 0x80, 0xFF, random.randrange(256)])
        elif what < 0.7:
            content[at : at + 4] = random.choice([b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\0", b"\0\0\1\0"])
        elif what < 0.8:
            del content[at : at + random.choice([1, 4, 100])]
        elif what < 0.9:
            content[at:at] = random.randbytes(random.choice([1, 4, 100]))
        else:
            del content[at:]
        if not content:
            break
    return bytes(content)


def mutated_text(text: str) -> bytes:
    nasty = [
        "\0", "\n", ",", '"', "'", ":", "- ", "{", "}", "[", "]", "&a", "*a", "<<: *a", "!!python/object/apply:os.kill",
        "null", "~", "nan", "inf", "-1", "0", "1e999", "9" * 30, "9" * 5000, "true", "../", "/etc/passwd", "é", "²",
        "%", "\ufeff", "x" * 5000, "[" * 2000, "test", "p1",
    ]  # fmt: skip
    words = [part for part in text.replace("\n", "\n ").split(" ") if part]
    for _ in range(random.choice([1, 1, 2, 4])):
        at = random.randrange(len(text) + 1)
        what = random.random()
        if what < 0.5:
            text = text[:at] + random.choice(nasty) + text[at + random.choice([0, 0, 1, 5]) :]
        elif what < 0.7:
            text = text.replace(random.choice(words), random.choice([*nasty, *words]), 1)
        elif what < 0.85:
            lines = text.splitlines(keepends=True) or [""]
            lines.insert(random.randrange(len(lines) + 1), random.choice(lines))
            text = "".join(lines)
        else:
            text = text[:at]
    content = text.encode()
    return mutated(content) if random.random() < 0.2 else content


def mutated_png(content: bytes) -> bytes:
    """A mutated PNG; half of them have checksums that fit, so that what is inside is read."""
    if random.random() < 0.5:
        return mutated(content)
    chunks, at = [], 8
    while at < len(content):
        (length,) = struct.unpack(">I", content[at : at + 4])
        chunks.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + length]))
        at += length + 12
    number = random.randrange(len(chunks))
    kind, inside = chunks[number]
    if kind == b"IDAT" and random.random() < 0.5:
        chunks[number] = kind, zlib.compress(mutated(zlib.decompress(inside)))
    elif random.random() < 0.8:
        chunks[number] = kind, mutated(inside)
    else:
        extra = random.choice([b"iTXt", b"zTXt", b"iCCP", b"PLTE", b"tRNS", b"eXIf", b"acTL", b"fcTL", b"IHDR"])
        body = (
            b"a\0\0" + zlib.compress(b"\0" * random.choice([10, 10**7]))
            if random.random() < 0.5
            else random.randbytes(9)
        )
        chunks.insert(number, (extra, body))
    return content[:8] + b"".join(
        struct.pack(">I", len(inside)) + kind + inside + struct.pack(">I", zlib.crc32(kind + inside))
        for kind, inside in chunks
    )


def mutated_keras(content: bytes, target: Path) -> None:
    """A mutated .keras file; half of them are mutated inside the archive, whose checksums then fit."""
    if random.random() < 0.5:
        target.write_bytes(mutated(content))
        return
    target.write_bytes(content)
    with zipfile.ZipFile(target) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    name = random.choice(sorted(entries))
    if name.endswith(".json"):
        entries[name] = mutated_text(entries[name].decode())
    else:
        entries[name] = mutated(entries[name])
    if random.random() < 0.05:
        del entries[name]
    with zipfile.ZipFile(target, "w") as archive:
        for name, inside in entries.items():
            archive.writestr(name, inside)


def image_commands(suffix: str):
    def commands(folder: Path, work: Path, count: int):
        """Half of the files are checked as one half of a pair, half colorized, as images or scenes."""
        sources = [source for source in sorted((work / "data").rglob("*.png"))]
        for part in ("sar", "optical", "in"):
            (folder / part).mkdir()
        for index in range(count):
            source = random.choice(sources)
            content = source.read_bytes() if suffix == ".png" else tiff(source)
            bad = mutated_png(content) if suffix == ".png" else mutated(content)
            if index % 2:
                (folder / f"in/{index}{suffix}").write_bytes(bad)
                continue
            first, second = random.sample(["sar", "optical"], 2)
            (folder / first / f"{index}{suffix}").write_bytes(bad)
            (folder / second / f"{index}{suffix}").write_bytes(content)
        shutil.copytree(folder / "sar", folder / "pairs/sar")
        shutil.copytree(folder / "optical", folder / "pairs/optical")
        yield count - count // 2, ["data", "check", folder / "pairs", "--size", "32"]
        yield 0, ["data", "scan", folder / "pairs", "--size", "32"]
        yield count // 2, ["colorize", work / "run", folder / "in", "-o", folder / "out"]
        # What GDAL leaves of a georeference makes scenes of them all; one by one they are scenes in any case.
        for path in sorted((folder / "in").iterdir())[:10]:
            yield 0, ["colorize", work / "run", path, "-o", folder / "scene.tif", "--confidence"]

    return commands


def tiff(source: Path) -> bytes:
    import numpy as np
    import rasterio
    from PIL import Image
    from rasterio.io import MemoryFile
    from rasterio.transform import from_origin

    image = np.asarray(Image.open(source))
    bands = np.moveaxis(image, -1, 0) if image.ndim == 3 else image[None]
    if random.random() < 0.3:
        bands = bands.astype(random.choice(["float32", "uint16", "int16"]))
    profile = {"driver": "GTiff", "count": len(bands), "height": SIZE, "width": SIZE, "dtype": str(bands.dtype)}
    profile |= random.choice([{}, {"compress": "deflate"}, {"compress": "lzw", "predictor": 2}, {"tiled": True}])
    profile |= {"blockxsize": 32, "blockysize": 32} if "tiled" in profile else {}
    place = {"crs": "EPSG:32631", "transform": from_origin(5e5, 45e5, 10, 10)} if random.random() < 0.5 else {}
    with rasterio.Env(), MemoryFile() as memory:
        with memory.open(**profile, **place) as file:
            file.write(bands)
        return memory.read()


def yaml_commands(folder: Path, work: Path, count: int):
    """Commands with presets whose data is missing, so that none begins to train."""
    presets = [path.read_text() for path in sorted((Path(__file__).parents[1] / "configs").glob("*.yaml"))]
    presets = [text for text in presets if "synthetic" not in text.split("layout:")[-1][:20]]
    for index in range(count):
        path = folder / f"{index}.yaml"
        path.write_bytes(mutated_text(random.choice(presets)))
        yield 1, ["fit", path, "--data", folder / "missing", "--out", folder / "run"]


def csv_commands(folder: Path, work: Path, count: int):
    data = work / "data"
    names = [path.relative_to(data) for path in sorted(data.rglob("s1/*.png"))]
    partners = [Path(str(name).replace("/s1/", "/s2/").replace("_s1_", "_s2_")) for name in names]
    rows = [
        f"{a},{b},agri,{i % 4},{['train', 'test', 'validation'][i % 3]},{i},0 0 32 32,1.0 2.0 3.0 4.0"
        for i, (a, b) in enumerate(zip(names, partners, strict=True))
    ]
    text = "\n".join(["sar,optical,terrain,scene,split,patch,window,box", *rows]) + "\n"
    for index in range(count):
        path = data / f"fuzz-{os.getpid()}.csv"
        path.write_bytes(mutated_text(text))
        verb = random.choice([["scan"], ["check", "--size", "32"], ["split", "-o", folder / f"{index}.csv"], ["audit"]])
        shutil.copy(path, folder / "last.csv")
        yield 1, ["data", verb[0], path, *verb[1:]]
        path.unlink()


def keras_commands(folder: Path, work: Path, count: int):
    content = (work / "run/generator.keras").read_bytes()
    image = next((work / "data").rglob("s1/*.png"))
    for index in range(count):
        mutated_keras(content, folder / f"{index}.keras")
        yield 1, ["colorize", folder / f"{index}.keras", image, "-o", folder / "out.png"]


COMMANDS = {
    "png": image_commands(".png"),
    "tif": image_commands(".tif"),
    "yaml": yaml_commands,
    "csv": csv_commands,
    "keras": keras_commands,
}


if __name__ == "__main__":
    main()
