"""Reads the two images of a pair: which bands of which file, and which part of them."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from rasterio.windows import Window

from sar_keras.data.pairs import Pair
from sar_keras.io.bands import Choice
from sar_keras.io.images import read_optical, read_sar


@dataclasses.dataclass
class PairReader:
    """How the images of pairs are read, and what was guessed of them.

    Attributes:
        channels: SAR bands that the model takes.
        optical_bands: Numbers, from 1, or names of the red, the green and the blue band; None: as
            `sar_keras.io.bands.choose_optical` has it.
        said: Lines for people, of the files read so far: which bands were chosen, where others might be meant.
    """

    channels: int = 1
    optical_bands: Sequence[int | str] | None = None
    said: list[str] = dataclasses.field(default_factory=list)
    _choices: set = dataclasses.field(default_factory=set)

    def read(self, pair: Pair, margin: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """SAR (H, W, channels) and optical (H, W, 3) as stored; a window of a scene with `margin` pixels around it.

        Raises:
            DataError: a file cannot be read, or lacks the bands.
        """
        window = None
        if pair.window:
            column, row, width, height = pair.window
            window = Window(column - margin, row - margin, width + 2 * margin, height + 2 * margin)
        sar = read_sar(pair.sar, self.channels, window)
        return sar, read_optical(pair.optical, window, self.optical_bands, self._note)

    def _note(self, choice: Choice) -> None:
        # Of files that differ in names alone one line is enough.
        if choice.said and choice.numbers not in self._choices:
            self._choices.add(choice.numbers)
            self.said.append(choice.said)
