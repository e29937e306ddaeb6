"""Image files: reading them as they are, writing RGB, and the grids that people look at."""

import contextlib
import dataclasses
import io
import os
import struct
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from PIL import Image, ImageDraw, ImageOps
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning
from rasterio.windows import Window

from sar_keras.errors import ConfigError, DataError, OutputError
from sar_keras.io.bands import Bands, Choice, choose_optical, choose_sar, polarisation, polarisation_of_file
from sar_keras.io.files import atomic, is_utf8, readable
from sar_keras.io.nodata import is_measured
from sar_keras.io.zips import file_size, gdal_name, read_bytes

# Patches have no georeference. Set for the process, since warnings.catch_warnings is not safe in the reading threads.
warnings.filterwarnings("ignore", category=NotGeoreferencedWarning)

# GDAL's fast PNG decoder fills an image whose data end early with whatever lies in memory; the other refuses it.
os.environ.setdefault("GDAL_PNG_WHOLE_IMAGE_OPTIM", "NO")
# For `rasterio.Env`, where a file is known to be whole.
FAST_PNG: dict[str, Any] = {"GDAL_PNG_WHOLE_IMAGE_OPTIM": "YES"}

# What is written; and what is read.
_WRITTEN = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
SUFFIXES = (*_WRITTEN, ".bmp", ".webp")
_PILLOWS = ("PNG", "JPEG", "BMP", "WEBP")

# Bit depth and colour type, https://www.w3.org/TR/png/#11IHDR, of PNGs of 8 bits, grey and RGB.
_PLAIN = (b"\x08\x00", b"\x08\x02")

# By how much the bands of a grey image that is stored as a JPEG may differ, on average, of 255.
_GREY = 8

MAX_PIXELS = "SAR_KERAS_MAX_PIXELS"  # the environment variable that raises, or lowers, `max_pixels`


def max_pixels() -> int:
    """Pixels of the largest image, or block of a scene, that is decoded at once: Pillow's 178,956,970 if not told.

    A file of a few kilobytes may claim to hold an image that no memory does.

    Raises:
        ConfigError: the environment variable is not a number.
    """
    if MAX_PIXELS not in os.environ:
        return 178_956_970
    try:
        limit = int(os.environ[MAX_PIXELS])
    except ValueError:
        limit = 0
    if limit < 1:
        raise ConfigError(f"{MAX_PIXELS}: must be a number of pixels, got {os.environ[MAX_PIXELS]!r}")
    if Image.MAX_IMAGE_PIXELS:  # of which Pillow refuses twice as many
        Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS, -(-limit // 2))
    return limit


def refuse_bomb(path, width: int, height: int, bands: int = 1) -> None:
    """Raise DataError if an image claims more than `max_pixels`; grey and RGB are one pixel alike."""
    if width * height * max(bands // 4, 1) > max_pixels():
        raise DataError(
            f"{path}: claims {width} x {height} pixels of {bands} band(s), more than {max_pixels()} at once; if you "
            f"trust it, raise the environment variable {MAX_PIXELS}"
        )


def refuse_bomb_blocks(path, source: rasterio.DatasetReader) -> None:
    """Raise DataError if a block of a raster, which GDAL decodes as a whole, claims too many pixels."""
    for height, width in set(source.block_shapes):
        refuse_bomb(path, width, height, source.count)


def refuse_complex(path, dtypes: Iterable[str]) -> None:
    """Raise DataError if a band holds complex values, as single look complex products do."""
    if any("complex" in dtype for dtype in dtypes):
        raise DataError(f"{path}: holds complex values (SLC); detect and calibrate it first")


def refuse_name(path: str | os.PathLike) -> None:
    """Raise DataError if GDAL cannot be told the name of a file."""
    if not is_utf8(path):
        raise DataError(f"{readable(os.fspath(path))}: the name is not UTF-8, which GDAL cannot open; rename it")


def is_gdals(error: Exception) -> bool:
    """Whether rasterio raised it, whose errors are of several families, some of them private; or tags are no text."""
    return type(error).__module__.startswith("rasterio") or isinstance(error, UnicodeDecodeError)


def read_image(
    path: str | os.PathLike,
    choose: Callable[[Bands], Sequence[int]],
    window: Window | None = None,
    is_sar: bool = False,
) -> np.ndarray:
    """Read the bands of an image, see SUFFIXES, that `choose` names by their numbers: (H, W, bands), dtype as stored.

    A transparency band is left out, a palette is resolved to RGB. Of a TIFF's nodata value floats become not-a-number,
    integers 0. Of SAR so do values that are no measurements, see `sar_keras.io.nodata`; scale tags are applied, which
    gives float32, as negative integers become, because they are decibels.

    Args:
        path: The file.
        choose: From what the file says of its bands to the numbers of those to read.
        window: The part of a TIFF to read; what of it lies beyond the border is mirrored.
        is_sar: Whether it is a SAR image.

    Raises:
        DataError: no such file, not an image, truncated, or one that claims more than `max_pixels`.
    """
    path = Path(path)
    with _decoding(path):
        # Pillow has no TIFF of several 16-bit or float bands.
        if window or _is_tiff(path):
            return _read_with_gdal(path, choose, "GTiff", window, is_sar)
        return _read_whole(path, choose)


def read_bands(path: Path) -> Bands:
    """What an image file says of its bands.

    Raises:
        DataError: as `read_image`.
    """
    with _decoding(path):
        if _is_tiff(path):
            refuse_name(path)
            with rasterio.open(gdal_name(path), driver="GTiff") as source:
                return Bands.of(source)
        with Image.open(io.BytesIO(read_bytes(path)), formats=_PILLOWS) as image:
            return Bands.unnamed(image_array(Image.new(image.mode, (1, 1))).shape[-1])


def _is_tiff(path: Path) -> bool:
    return path.suffix.lower() in (".tif", ".tiff")


@contextlib.contextmanager
def _decoding(path: Path) -> Iterator[None]:
    """Raise DataError for a file that is not there, is empty or cannot be decoded."""
    size = file_size(path)
    if size is None:
        raise DataError(f"{path}: no such file")
    if size == 0:
        raise DataError(f"{path}: the file is empty; copy it again or remove it")
    try:
        yield
    except (PermissionError, DataError, ConfigError):
        raise
    except Exception as error:  # decoders raise whatever comes to their mind
        raise DataError(
            f"{path}: not a readable image (PNG, JPEG, TIFF, BMP, WebP); copy it again or remove it"
        ) from error


def _read_with_gdal(path: Path, choose, driver: str, window: Window | None = None, is_sar: bool = False) -> np.ndarray:
    refuse_name(path)
    with rasterio.open(gdal_name(path), driver=driver) as source:
        refuse_bomb_blocks(path, source)
        refuse_complex(path, source.dtypes)
        inside = window and window.intersection(Window(0, 0, source.width, source.height))
        whole = inside or Window(0, 0, source.width, source.height)
        refuse_bomb(path, int(whole.width), int(whole.height))
        if source.colorinterp[0] == ColorInterp.palette:
            table = np.array([colour[:3] for _, colour in sorted(source.colormap(1).items())], np.uint8)
            image = _bands(table[source.read(1, window=inside)], choose)
        else:
            numbers = list(choose(Bands.of(source)))
            stored = source.read(numbers, window=inside)
            missing = np.zeros(stored.shape, bool) if source.nodata is None else stored == source.nodata
            image = stored
            if is_sar:
                image, measured = _measured(source, numbers, stored)
                missing |= ~measured
                if image.dtype.kind == "i" and (image < 0)[~missing].any():
                    image = image.astype("float32")
            image[missing] = np.nan if np.issubdtype(image.dtype, np.floating) else 0
            image = np.moveaxis(image, 0, -1)
    if window and inside:
        above, left = inside.row_off - window.row_off, inside.col_off - window.col_off
        below, right = window.height - inside.height - above, window.width - inside.width - left
        image = np.pad(image, ((above, below), (left, right), (0, 0)), "reflect")
    return image


def _measured(source, numbers: list[int], stored: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What stored values (bands, H, W) of these bands stand for, and where they can be measurements."""
    factors, offsets = ([values[number - 1] for number in numbers] for values in (source.scales, source.offsets))
    if set(factors) == {1.0} and set(offsets) == {0.0}:
        return stored, is_measured(stored)
    factors, offsets = (np.array(each, "float32")[:, None, None] for each in (factors, offsets))
    values = stored * factors + offsets
    return values, is_measured(stored, values)


def _bands(image: np.ndarray, choose) -> np.ndarray:
    """The chosen bands of (H, W, bands), which has no transparency."""
    return image[..., np.array(choose(Bands.unnamed(image.shape[-1]))) - 1]


def _read_whole(path: Path, choose) -> np.ndarray:
    data = read_bytes(path)
    depth_and_colour = data[24:26] if data.startswith(b"\x89PNG") else b""
    if depth_and_colour in _PLAIN:
        refuse_bomb(path, *struct.unpack(">II", data[16:24]))
        # GDAL is the faster one, but does not compare the checksums.
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            image.verify()
        with rasterio.MemoryFile(data) as memory, memory.open(driver="PNG") as source:
            numbers = choose(Bands.unnamed(source.count))
            values = np.empty((source.height, source.width, len(numbers)), np.uint8)
            source.read(list(numbers), out=np.moveaxis(values, -1, 0))
            return values
    image = _read_with_pillow(path, data)
    # Pillow has found that all of it is there, but keeps 16 bits of plain grey only.
    if depth_and_colour[:1] == b"\x10" and depth_and_colour != b"\x10\x00":
        return _read_with_gdal(path, choose, "PNG")
    return _bands(image, choose)


def _read_with_pillow(path: Path, data: bytes) -> np.ndarray:
    limit = max_pixels()
    try:
        image = Image.open(io.BytesIO(data), formats=_PILLOWS)
    except Image.DecompressionBombError as error:
        raise DataError(f"{path}: claims more than {limit} pixels; if you trust it, raise {MAX_PIXELS}") from error
    with image:
        refuse_bomb(path, *image.size)
        return image_array(_turned(image))


def _turned(image: Image.Image) -> Image.Image:
    """The image turned as its EXIF says."""
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # broken EXIF says nothing; of broken pixels the next one to look hears
        return image


def image_array(image: Image.Image) -> np.ndarray:
    """A PIL image as (H, W, bands) in its own dtype, without transparency."""
    if image.mode in ("1", "P", "PA", "CMYK", "YCbCr", "HSV", "LAB"):
        image = image.convert("L" if image.mode == "1" else "RGB")
    array = np.asarray(image)
    if image.mode in ("LA", "RGBA", "La", "RGBa"):
        array = array[..., :-1]
    return array if array.ndim == 3 else array[..., None]


def read_sar(
    path: str | os.PathLike | Sequence[Path],
    channels: int,
    window: Window | None = None,
    bands: Sequence[int | str] | None = None,
    note: Callable[[Choice], object] = lambda choice: None,
    trained_on: Sequence[str] = (),
) -> np.ndarray:
    """Read a SAR image as (H, W, channels), also one whose bands are in a file each; a grey one that is stored as RGB.

    `bands` and `trained_on`, and which are taken without them: see `sar_keras.io.bands.choose_sar`. `note` is told.
    """
    files = [Path(path)] if isinstance(path, str | os.PathLike) else path

    def choose(there: Bands) -> Sequence[int]:
        choice = choose_sar(files[0], there, channels, bands, trained_on)
        note(choice)
        return choice.numbers

    if len(files) == 1:
        return read_image(files[0], lambda there: choose(_with_file_name(there, files[0])), window, is_sar=True)
    there = [_with_file_name(read_bands(file), file) for file in files]
    stacked = [(file, number) for file, bands in zip(files, there, strict=True) for number in bands.numbers]
    chosen = [stacked[number - 1] for number in choose(Bands.of_files(there))]
    images = [read_image(file, lambda _, number=number: [number], window, is_sar=True) for file, number in chosen]
    for (file, _), image in zip(chosen, images, strict=True):
        if image.shape != images[0].shape:
            sizes = " and ".join(f"{one.shape[1]}x{one.shape[0]}" for one in (image, images[0]))
            raise DataError(f"{file}: differs in size from {chosen[0][0].name} ({sizes}); resample one")
    return np.concatenate(images, axis=-1)


def _with_file_name(bands: Bands, path: Path) -> Bands:
    """A single band without a name of its own has the polarisation of its file's."""
    if len(bands.numbers) != 1 or polarisation(bands.names[0]):
        return bands
    return dataclasses.replace(bands, names=(polarisation_of_file(path) or bands.names[0],))


def read_optical(
    path: str | os.PathLike,
    window: Window | None = None,
    bands: Sequence[int | str] | None = None,
    note: Callable[[Choice], object] = lambda choice: None,
) -> np.ndarray:
    """Read an optical image as (H, W, 3); a grey one gives three equal bands.

    `bands` and which are red, green and blue without them: see `sar_keras.io.bands.choose_optical`. `note` is told.
    """

    def choose(there: Bands) -> Sequence[int]:
        choice = choose_optical(path, there, bands)
        note(choice)
        return choice.numbers

    image = read_image(path, choose, window)
    return image if image.shape[-1] == 3 else np.repeat(image[..., :1], 3, axis=-1)


def is_grey(image: np.ndarray) -> bool:
    """Whether all bands of an image (H, W, bands) are equal, and not one value everywhere, as those of a SAR image."""
    return bool((image == image[..., :1]).all() and image.min() < image.max())


def warn_if_coloured(image: np.ndarray, name: str) -> None:
    """Warn where what is taken for a SAR image, uint8 (H, W, bands), is none by its red, green and blue."""
    if image.dtype == np.uint8 and image.shape[-1] >= 3 and np.ptp(image[..., :3], axis=-1).mean() > _GREY:
        warnings.warn(
            f"{name}: red, green and blue differ, as those of an optical image do; one of them is taken for SAR; give "
            "the SAR image",
            stacklevel=3,
        )


def write_image(path: str | os.PathLike, rgb: np.ndarray) -> None:
    """Write uint8 (H, W, 3) as PNG, JPEG or TIFF, by the suffix, whole or not at all."""
    with atomic(path) as temporary:
        Image.fromarray(rgb).save(temporary)


def check_writable_suffix(path: Path) -> None:
    if path.suffix.lower() not in _WRITTEN:
        raise OutputError(f"{path}: cannot write {path.suffix or 'a file without suffix'}; use .png, .jpg or .tif")


def to_uint8(unit: np.ndarray) -> np.ndarray:
    """[-1, 1] to 0..255, rounded."""
    return np.clip(np.rint((np.asarray(unit, "float32") + 1.0) * 127.5), 0, 255).astype(np.uint8)


def sample_grid(sar: np.ndarray, generated: np.ndarray, optical: np.ndarray) -> np.ndarray:
    """One row a sample, SAR | generated | truth, all in [-1, 1], as uint8 (height, width, 3) under a caption."""
    rows = [
        np.hstack([np.repeat(to_uint8(s[..., :1]), 3, -1), to_uint8(g), to_uint8(o)])
        for s, g, o in zip(sar, generated, optical, strict=True)
    ]
    return captioned(np.vstack(rows), ["SAR", "generated", "truth"])


def captioned(panels: np.ndarray, titles: list[str]) -> np.ndarray:
    """Panels of equal width side by side, uint8 (height, width, 3), under a line of their titles."""
    caption = Image.new("RGB", (panels.shape[1], 16), "white")
    for column, text in enumerate(titles):
        ImageDraw.Draw(caption).text((column * panels.shape[1] // len(titles) + 4, 2), text, "black")
    return np.vstack([np.asarray(caption), panels])
