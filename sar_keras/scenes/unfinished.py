"""The files of a scene that is being colorized: hidden until they are whole, with a journal to go on from."""

import contextlib
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import rasterio
from rasterio.io import DatasetWriter
from rasterio.windows import Window

from sar_keras.errors import DataError, OutputError, parameter
from sar_keras.io import geotiffs, rasters
from sar_keras.io.files import atomic
from sar_keras.io.opening import open_raster

# What a grey level of the uncertainty's raster stands for: 255 is an expected error of half the whole range of colour.
UNCERTAINTY_STEP = 0.5 / 255


class Unfinished:
    """Unfinished outputs beside the destination, under hidden names, and how far they are."""

    def __init__(self, destination: Path, outputs: dict[str, Path], key: str):
        self.outputs, self.key = outputs, key
        self.files = {name: _hidden(path, ".tif") for name, path in outputs.items()}
        self.journal = _hidden(destination, ".npz")
        self.rows = 0  # of windows that are finished
        self.seen = False  # whether any pixel had data
        self.below: np.ndarray | None = None
        self.bands = 2 + len(outputs)
        self._open: dict[str, DatasetWriter] = {}

    def is_finished(self) -> bool:
        """Whether the outputs themselves are there, from the same input, model and options."""
        for path in self.outputs.values():
            if not path.is_file():
                return False
            with contextlib.suppress(DataError), open_raster(path) as raster:
                if raster.tags().get("SAR_KERAS_KEY") == self.key:
                    continue
            return False
        return True

    def open(self, scene: rasters.SarScene, area: Window, tags: dict[str, str], resume: bool, log) -> None:
        if resume and self._restore(log):
            return
        self.journal.unlink(missing_ok=True)
        for name, path in self.files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
            path.touch()  # tells of a forbidden place in Python's words rather than GDAL's
            with geotiffs.writing(self.outputs[name]):
                if name == "colours":
                    geotiffs.create(path, scene.source, area, 3, tags)
                else:
                    meaning = "Expected absolute error of the synthetic colours, on a scale of 0 to 1"
                    tags = {**tags, "TIFFTAG_IMAGEDESCRIPTION": meaning}
                    geotiffs.create(path, scene.source, area, 1, tags, UNCERTAINTY_STEP)

    def _restore(self, log) -> bool:
        try:
            with np.load(self.journal) as journal:
                if str(journal["key"]) != self.key:
                    log(f"{self.outputs['colours']}: begins anew, the input, the model or the options have changed")
                    return False
                self.rows, self.seen, self.below = int(journal["rows"]), bool(journal["seen"]), journal["below"]
        except (OSError, ValueError, KeyError, zipfile.BadZipFile):
            return False
        there = all(path.is_file() for path in self.files.values())
        if there:
            log(f"{self.outputs['colours']}: goes on after {self.rows} rows of windows")
        return there

    def write(self, column: int, row: int, values: np.ndarray, valid: np.ndarray) -> None:
        """Write finished grey levels of 0..255, (h, w, 3 or 4): colours, and uncertainty as a fourth band."""
        self.seen = self.seen or bool(valid.any())
        pixels = (values + np.float32(0.5)).astype(np.uint8)
        with geotiffs.writing(self.outputs["colours"]):
            for name, path in self.files.items():
                if name not in self._open:
                    self._open[name] = rasterio.open(path, "r+")
                bands = pixels[..., :3] if name == "colours" else pixels[..., 3:]
                geotiffs.write(self._open[name], column, row, bands, valid)

    def finish_row(self, below: np.ndarray) -> None:
        """Note that one more row of windows is on disk; `below` is what it leaves to the next."""
        self.close()
        self.rows += 1
        self.below = below
        with atomic(self.journal) as temporary:
            np.savez(temporary, key=self.key, rows=self.rows, seen=self.seen, below=below)

    def close(self) -> None:
        with geotiffs.writing(self.outputs["colours"]):
            while self._open:
                self._open.popitem()[1].close()

    def publish(self) -> None:
        """Copy everything to cloud-optimised GeoTIFFs and rename them into place together."""
        with contextlib.ExitStack() as stack:
            for name, path in self.outputs.items():
                temporary = stack.enter_context(atomic(path))
                with geotiffs.writing(path):
                    geotiffs.copy_to_cog(self.files[name], temporary)

    @contextlib.contextmanager
    def kept(self, resume: bool) -> Iterator[None]:
        """Remove the unfinished files in the end, unless they are wanted for going on."""
        try:
            yield
        except BaseException as error:
            with contextlib.suppress(OutputError):
                self.close()
            if isinstance(error, KeyboardInterrupt):
                print(f"\nto go on from the finished windows: the same with {parameter('resume')}", file=sys.stderr)
            elif not resume:
                self._remove()
            raise
        self._remove()

    def _remove(self) -> None:
        for path in (self.journal, *self.files.values()):
            path.unlink(missing_ok=True)


def _hidden(path: Path, suffix: str) -> Path:
    return path.with_name(f".{path.stem}.partial{suffix}")
