"""SAR values: what is stored (8 or 16 bits, decibel, linear power) to the [-1, 1] that the networks see.

How a model's training data was scaled is a `Scale`; it is saved inside the model's file and used wherever the model is.
`sar_keras.data.scaling` does the same inside TensorFlow's graphs. Loads no TensorFlow.
"""

import dataclasses
import warnings
from collections.abc import Sequence

import numpy as np

from sar_keras.errors import DataError, parameter

UNITS = ("uint8", "amplitude", "db", "linear", "unit")
# Sigma nought of land and water in C band; for decibel input to a model that was trained on 8-bit images.
USUAL_DB = (-25.0, 0.0)
# Keeps the logarithm finite where power is zero: -60 dB lies below Sentinel-1's noise floor.
SMALLEST_POWER = 1e-6


@dataclasses.dataclass(frozen=True)
class Scale:
    """A linear map of pixel values in `units` to [-1, 1]: `low` becomes -1, `high` becomes 1, beyond is clipped.

    Attributes:
        units: "uint8", "amplitude" (digital numbers of more than 8 bits), "db" (10 log10 of backscatter power; also for
            training data in linear power), "unit" (scaled already), or "reflectance" for optical images of more than 8
            bits.
        low: The value that becomes -1, in `units`.
        high: The value that becomes 1, in `units`.
    """

    units: str = "uint8"
    low: float = 0.0
    high: float = 255.0

    def __post_init__(self):
        # A scale may come out of somebody's model file.
        if self.units not in (*UNITS, "reflectance") or not -np.inf < self.low < self.high < np.inf:
            raise ValueError(f"not a scale of pixel values: {self.units}, {self.low} to {self.high}")

    def to_unit(self, values: np.ndarray, units: str = "auto", limits: tuple[float, float] | None = None) -> np.ndarray:
        """Bring one image's values to float32 in [-1, 1].

        Args:
            values: (H, W, channels) of any real dtype. Not-a-number and -infinity become -1.
            units: Units of `values`, one of UNITS; "auto" asks `guess_units`.
            limits: The values that become -1 and 1, in `units` (in decibel for "linear"); None: `limits(...)`.
        """
        values = np.asarray(values)
        if units == "auto":
            units = guess_units(values, self)
        may_be_missing = np.issubdtype(values.dtype, np.floating)
        values = values.astype("float32")
        if units == "linear":
            values = 10 * np.log10(np.maximum(values, np.float32(SMALLEST_POWER)))
        low, high = (np.float32(limit) for limit in limits or self.limits(units, values))
        if may_be_missing:
            values[np.isnan(values)] = low
        values -= low
        values *= np.float32(2) / (high - low)
        values -= np.float32(1)
        return np.clip(values, -1, 1, out=values)

    def limits(self, units: str, values: np.ndarray) -> tuple[float, float]:
        """The values that become -1 and 1, in `units`, in decibel for "linear".

        "unit" is [-1, 1] already. Where `units` are not those of the scale, `values` are fitted: 8-bit as a display
        image, amplitude between its own 1st and 99th percentile, decibel between -25 and 0.
        """
        if units == "unit":
            return -1.0, 1.0
        if units == self.units or (units == "linear" and self.units == "db"):
            return self.low, self.high
        if units == "uint8":
            return 0.0, 255.0
        if units in ("db", "linear"):
            return USUAL_DB
        ordered = np.sort(np.ravel(values).astype("float32"))
        low, high = (float(ordered[int((ordered.size - 1) * part)]) for part in (0.01, 0.99))
        return low, max(high, low + 1.0)


def check_units(units: str) -> None:
    """
    Raises:
        DataError: neither "auto" nor one of UNITS.
    """
    if units not in ("auto", *UNITS):
        raise DataError(f"{parameter('units')}: must be auto or one of {', '.join(UNITS)}, got {units!r}")


def guess_units(values: np.ndarray, scale: Scale | None = None) -> str:
    """Tell the units of `values` from their dtype and statistics, one of UNITS.

    Integers are "uint8" or "amplitude" ("db" where one is negative). Floats are what the model was trained on where
    that is decibel (or its linear power), [-1, 1] or, with a value above 255, amplitude; unless a value is impossible
    there. Otherwise: below -1 it is decibel; negative but within [-1, 1] it is "unit"; non-negative with a median below
    2 it is linear power, else 8-bit numbers stored as floats, or amplitude where they exceed 255.
    """
    if values.dtype == np.uint8:
        return "uint8"
    if np.issubdtype(values.dtype, np.integer):
        return "amplitude" if values.min(initial=0) >= 0 else "db"
    finite = values[np.isfinite(values)]
    if finite.size == 0:
        return "db"
    lowest, highest = finite.min(), finite.max()
    if lowest < -1:
        return "db"
    if scale is not None and scale.units == "db":
        return "db" if lowest < 0 else "linear"
    if scale is not None and scale.units == "unit" and highest <= 1:
        return "unit"
    if scale is not None and scale.units == "amplitude" and lowest >= 0 and highest > 255:
        return "amplitude"
    if lowest < 0:
        return "unit" if highest <= 1 else "db"
    if np.median(finite) < 2:
        return "linear"
    return "uint8" if highest <= 255 else "amplitude"


def warn_if_units_differ(units: str, scale: Scale, name: str, also: Sequence[str] = ()) -> None:
    """Warn where values in `units` go to a model trained in other units: its colours are then less sure.

    `also` are further units that it was trained on.
    """
    expected = {scale.units, "unit", *also}
    expected |= {"linear"} if "db" in expected else set()
    if units not in expected:
        warnings.warn(
            f"{name} holds {units} values, the model was trained on {scale.units}: stretched; colours may be off",
            stacklevel=3,
        )


def fit_scale(values: np.ndarray, units: str) -> Scale:
    """Choose the scale of a training set from a sample of its values.

    8-bit images keep 0..255. Others go from their 1st to their 99th percentile, because few use the whole range of
    their dtype and radar has a long tail of bright points. Linear power is scaled in decibel. Zeros of amplitude and
    linear power are no data.
    """
    if units == "uint8":
        return Scale()
    if units == "unit":
        return Scale("unit", -1.0, 1.0)
    values = values[np.isfinite(values)].astype("float32")
    if units == "amplitude":
        values = values[values != 0]
    if units == "linear":
        units = "db"
        values = 10 * np.log10(values[values > SMALLEST_POWER])
    low, high = np.percentile(values, [1, 99]) if values.size else USUAL_DB
    return Scale(units, float(low), float(max(high, low + 1e-3)))
