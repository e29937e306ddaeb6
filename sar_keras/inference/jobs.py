"""Many inputs, one after the other: which they are, where their colours go, and what happens when some fail."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PurePath
from typing import TypeVar

from sar_keras.errors import DataError, OutputError, SarKerasError, SomeFailed, parameter
from sar_keras.inference.colorize import colorize
from sar_keras.inference.hints import HINTS, NO_HINT, files_of_hint, hint_of
from sar_keras.inference.network import Network
from sar_keras.io.bands import group_polarisations, without_polarisation
from sar_keras.io.files import walk
from sar_keras.io.images import SUFFIXES, check_writable_suffix, write_image

Source = TypeVar("Source")


def colorize_files(
    network: Network,
    inputs: list[Path],
    output: Path,
    log: Callable[[str], object] = print,
    progress: Callable[[Iterable], Iterable] = iter,
    **options,
) -> list[Path]:
    """Colorize image files into `output`: a file for one input, a folder for several or for a folder of images.

    For a model of several bands VV and VH in a file each are one image. Options are as in `sar_keras.colorize`. `log`
    is told what hint a guided model has.

    Raises:
        DataError, ModelError: a hint that the model cannot take, or one that shows a single image of several.
        OutputError: the output's suffix cannot be written, or an output would replace its input.
        SomeFailed: some of several inputs could not be colorized; the others are written.
    """
    hint = hint_of(network, **{name: options[name] for name in HINTS if name in options})
    jobs = _outputs_for(inputs, output, network.channels)
    if hint and hint.kind != "palette" and len(jobs) > 1:
        raise DataError(f"{hint.said} shows the ground of one image, here are {len(jobs)}; colorize them one by one")
    of_hint = files_of_hint(**{name: options[name] for name in HINTS if name in options})
    for files, destination in jobs:
        check_writable_suffix(destination)
        if destination.resolve() in [path.resolve() for path in (*files, *of_hint)]:
            raise OutputError(f"{destination}: would replace its own input; give another {parameter('output')}")
    if network.takes_hint and not hint:
        log(f"hint: {NO_HINT}")

    def work(files, destination):
        write_image(destination, colorize(network, files, **options))

    done = do_all(jobs, work, "images", progress)
    if hint:
        log(f"hint: {hint.said}")
    return done


def do_all(
    jobs: Sequence[tuple[Source, Path]],
    work: Callable[[Source, Path], object],
    kind: str,
    progress: Callable[[Iterable], Iterable] = iter,
) -> list[Path]:
    """Do `work(source, destination)` for each job, whichever of several fail, and return the destinations.

    Raises:
        SomeFailed: some of several failed; it names them. A single one raises its own error.
    """
    done, failures = [], []
    for source, destination in progress(jobs):
        try:
            work(source, destination)
            done.append(destination)
        except SarKerasError as error:
            if len(jobs) == 1:
                raise
            failures.append(str(error))
    if failures:
        others = ", the others are done" if done else ""
        raise SomeFailed(f"{len(failures)} of {len(jobs)} {kind} failed{others}:\n  " + "\n  ".join(failures))
    return done


def find_below(folder: Path, suffixes: tuple[str, ...], output: Path) -> list[Path]:
    """Files below a folder, but for the colours of an earlier run in `output` and what a killed one has left."""
    earlier = output.absolute() if output.absolute() != folder.absolute() else None
    found = [below / name for below, names in walk(folder) for name in names]
    return sorted(p for p in found if p.suffix.lower() in suffixes and earlier not in p.absolute().parents)


def destinations(found: Iterable[tuple[Source, PurePath]], output: Path, suffix: str) -> list[tuple[Source, Path]]:
    """(source, destination) for each (source, its place below the folder `output`).

    Raises:
        OutputError: two sources would become one file.
    """
    jobs: dict[Path, Source] = {}
    for source, below in found:
        destination = (output / below).with_suffix(suffix)
        if destination in jobs:
            raise OutputError(f"{source} and {jobs[destination]} would both become {destination}; rename one")
        jobs[destination] = source
    return [(source, destination) for destination, source in jobs.items()]


def _outputs_for(inputs: list[Path], output: Path, channels: int) -> list[tuple[list[Path], Path]]:
    """(files of an image, destination); only for a model of several channels an image may have several files."""
    found: list[tuple[Path, Path]] = []
    for source in inputs:
        if not source.is_dir():
            found.append((source, Path(source.name)))
            continue
        images = find_below(source, SUFFIXES, output)
        if not images:
            raise DataError(f"{source}: holds no images ({', '.join(SUFFIXES)})")
        found += [(path, path.relative_to(source)) for path in images]
    files = {source: [source] for source, _ in found}
    if channels > 1:
        for first, *others in group_polarisations([source for source, _ in found]):
            if others:
                files[found[first][0]] = [found[index][0] for index in (first, *others)]
                found[first] = found[first][0], Path(without_polarisation(found[first][1]))
                for index in others:
                    files.pop(found[index][0])
    found = [(source, place) for source, place in found if source in files]
    if len(found) == 1 and not any(source.is_dir() for source in inputs) and not output.is_dir():
        return [(files[found[0][0]], output)]
    jobs = destinations(found, output, ".png")
    if output.is_file():
        raise OutputError(f"{output}: is a file; several inputs need a folder as {parameter('output')}")
    return [(files[source], destination) for source, destination in jobs]
