"""Reads the two images of a pair: which bands of which file, and which part of them."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from rasterio.windows import Window

from sar_keras.data.pairs import Pair
from sar_keras.errors import DataError
from sar_keras.io.bands import Choice
from sar_keras.io.images import read_image, read_optical, read_sar


@dataclasses.dataclass(frozen=True)
class PairReader:
    """How the images of pairs are read, and what was found in those that were.

    Attributes:
        channels: SAR bands that the model takes.
        sar_bands: As many numbers, from 1, or names; None: as `sar_keras.io.bands.choose_sar` has it.
        optical_bands: Numbers or names of the red, the green and the blue band; None: as
            `sar_keras.io.bands.choose_optical` has it.
        trained_on: What the SAR bands are called that a model was trained on, if there is one and it knows.
        choices: What was chosen in the files read so far, each kind once.
    """

    channels: int = 1
    sar_bands: Sequence[int | str] | None = None
    optical_bands: Sequence[int | str] | None = None
    trained_on: Sequence[str] = ()
    choices: dict[Choice, None] = dataclasses.field(default_factory=dict)

    @property
    def said(self) -> list[str]:
        """Lines for people: which bands were chosen, where others might be meant, one for each order."""
        lines: dict = {}
        for choice in [*self.choices]:
            if choice.said:
                lines.setdefault((choice.numbers, bool(choice.names)), choice.said)
        names = [*dict.fromkeys(" and ".join(choice.names) for choice in [*self.choices] if any(choice.names))]
        if len(names) > 1:
            lines["differ"] = f"SAR bands differ: {names[0]} in some files, {names[1]} in others"
        return list(lines.values())

    @property
    def sar_names(self) -> tuple[str, ...]:
        """What the SAR bands are called; empty where that is not known, or not the same in all files."""
        names = {choice.names for choice in [*self.choices] if choice.names}
        return next(iter(names)) if len(names) == 1 and all(next(iter(names))) else ()

    def read(self, pair: Pair, margin: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """SAR (H, W, channels) and optical (H, W, 3) as stored; a window of a scene with `margin` pixels around it.

        Raises:
            DataError: a file cannot be read, or lacks the bands.
        """
        note = self.choices.setdefault  # which several threads may call
        if pair.sar_side:
            both = read_optical(pair.sar, bands=self.optical_bands, note=note)
            width = both.shape[1] // 2
            if both.shape[1] % 2:
                raise DataError(f"{pair.sar}: is {both.shape[1]} pixels wide, and cannot be two images side by side")
            halves = both[:, :width], both[:, width:]
            sar, optical = halves if pair.sar_side == "left" else halves[::-1]
            return sar[..., : self.channels], optical
        window = window_of(pair, margin)
        sar = read_sar(pair.sar_files, self.channels, window, self.sar_bands, note, self.trained_on)
        return sar, read_optical(pair.optical, window, self.optical_bands, note)

    def read_beside(self, pair: Pair, name: str, margin: int = 0) -> np.ndarray | None:
        """What a pair names of another date, as stored and cut as `read` does; None where it names none.

        `name` is one of `sar_keras.data.layouts.BESIDE`: "reference" gives (H, W, 3), "reference_sar" (H, W, channels),
        "changed" (H, W, 1).

        Raises:
            DataError: as `read`.
        """
        path, window = getattr(pair, name), window_of(pair, margin)
        if path is None:
            return None
        if name == "reference":
            return read_optical(path, window, self.optical_bands)
        if name == "reference_sar":
            return read_sar(path, self.channels, window, self.sar_bands, trained_on=self.sar_names)
        return read_image(path, lambda bands: bands.numbers[:1], window)


def window_of(pair: Pair, margin: int = 0) -> Window | None:
    """The part of a scene that a pair is, with `margin` pixels around it; None of a pair of patches."""
    if not pair.window:
        return None
    column, row, width, height = pair.window
    return Window(column - margin, row - margin, width + 2 * margin, height + 2 * margin)
