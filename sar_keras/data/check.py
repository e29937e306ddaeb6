"""Reads every pair and says what is wrong with it, before a training does.

Whether the two images of a pair show the same ground is searched for on a sample: the edges of the one are matched with
those of the other at every shift of up to 24 pixels. Radar and optical images have few edges in common, so this finds

- scenes whose pairs are all shifted alike, by more than 2 pixels, nearly always: the matches of 8 to 16 pairs add up;
- single pairs that are shifted, about one in seven;
- not: wrong partners, rotations, shifts beyond 24 pixels, and anything on water or bare plains.

Tried on 137 real pairs of three kinds, each shifted at random, and as they are: of those that were not shifted none was
reported. In cities whose streets repeat it may be off by a block; one of 64 such pairs was.
"""

import contextlib
import dataclasses
import hashlib
import importlib.util
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from sar_keras.data.layouts import BESIDE
from sar_keras.data.pairs import Found, Pair
from sar_keras.data.reading import PairReader
from sar_keras.errors import DataError
from sar_keras.io.images import is_grey

# Whether what searches for shifts is installed; everything else is found without it.
FINDS_SHIFTS = all(importlib.util.find_spec(package) for package in ("scipy", "skimage"))
# Pixels that a shift is searched in, each way.
_REACH = 24
# Pairs of a scene that are searched, at most and at least; of many scenes fewer each, from so many in all on. What a
# scene's pairs say is added up where it has the second number of them.
_SAMPLE, _FEWEST, _MOST = 16, 8, 512
# How many standard deviations the best match must stand out: of a scene, and of a single pair.
_SURE, _SURE_ALONE = 4.5, 6.0


@dataclasses.dataclass(frozen=True)
class Finding:
    """Something that is wrong, and a line that says where.

    `kind` is "broken", "mis-sized", "blank", "no numbers", "other type", "duplicate", "misaligned", "no partner" or
    "no colours".
    """

    kind: str
    text: str


@dataclasses.dataclass
class _Seen:
    """What is kept of a pair that was read."""

    findings: list[Finding]
    images: dict[str, tuple] = dataclasses.field(default_factory=dict)  # path to (digest, dtype), blank ones apart
    match: np.ndarray | None = None
    is_grey: bool | None = None  # the optical image; None where it is blank or cannot be read


def check(
    found: Found,
    reader: PairReader | None = None,
    progress: Callable[[Iterable, int], Iterable] = lambda items, total: items,
) -> list[Finding]:
    """Read every pair that was found, only the windows of scenes, and return what is wrong.

    Args:
        found: What `sar_keras.data.pairs.find_pairs` gives.
        reader: Reads the pairs, see `sar_keras.data.loading.load_images`.
        progress: Wraps the iteration over the pairs; is also told how many there are.
    """
    findings = [Finding("no partner", str(path)) for path in found.unpaired]
    sample = _sample(found.pairs) if FINDS_SHIFTS else set()
    seen: list[_Seen] = []
    reader = reader or PairReader()

    def look(pair: Pair) -> _Seen:
        return _look(pair, reader, id(pair) in sample)

    with (
        ThreadPoolExecutor(os.cpu_count()) as pool,
        # Closing it, as Ctrl-C does, cancels what is not read yet. It is a generator, which its type does not say.
        contextlib.closing(pool.map(look, found.pairs)) as looked,  # pyright: ignore[reportArgumentType]
    ):
        for result in progress(looked, len(found.pairs)):
            findings += result.findings
            seen.append(result)
    findings += _duplicates_and_types(seen) + _shifted_scenes(found.pairs, seen)
    grey = [one.is_grey for one in seen if one.is_grey is not None]
    if grey and all(grey):
        findings.append(
            Finding("no colours", "the optical images are grey: are they SAR images, and the SAR images optical?")
        )
    return findings


def _sample(pairs: list[Pair]) -> set[int]:
    """Which pairs, by id, a shift is searched in: some of each scene."""
    by_place: dict[tuple, list[Pair]] = defaultdict(list)
    for pair in pairs:
        by_place[pair.place].append(pair)
    share = max(_FEWEST, min(_SAMPLE, _MOST // len(by_place)))
    return {id(pair) for group in by_place.values() for pair in group[:: -(-len(group) // share)]}


def _look(pair: Pair, reader: PairReader, search: bool) -> _Seen:
    where = f" at column {pair.window[0]}, row {pair.window[1]}" if pair.window else ""
    try:
        sar, optical = reader.read(pair)
    except (DataError, PermissionError) as error:
        return _Seen([Finding("broken", str(error))])
    seen = _Seen(_look_beside(pair, reader, sar.shape[:2]))
    if optical.min() < optical.max():
        seen.is_grey = is_grey(optical)
    halves = {"left": (" (left half)", " (right half)"), "right": (" (right half)", " (left half)"), None: ("", "")}
    names = (f"{path}{half}" for path, half in zip((pair.sar, pair.optical), halves[pair.sar_side], strict=True))
    for path, image in zip(names, (sar, optical), strict=True):
        finite = image[np.isfinite(image)]
        if finite.size < image.size and not pair.window:
            missing = 1 - finite.size / image.size
            seen.findings.append(Finding("no numbers", f"{path}: {missing:.1%} of the values are no numbers or nodata"))
        if finite.size == 0 or finite.min() == finite.max():
            seen.findings.append(Finding("blank", f"{path}{where}: one value everywhere"))
        else:
            digest = hashlib.blake2b(np.ascontiguousarray(image).tobytes(), digest_size=16).digest()
            seen.images[f"{path}{where}"] = (digest, image.shape), str(image.dtype)
    if sar.shape[:2] != optical.shape[:2]:
        sizes = " and ".join(f"{image.shape[1]}x{image.shape[0]}" for image in (sar, optical))
        seen.findings.append(Finding("mis-sized", f"{pair.sar} and {pair.optical.name}: {sizes}"))
    elif search and min(sar.shape[:2]) >= 32 and len(seen.images) == 2:
        seen.match = match_edges(sar, optical)
        row, column, certainty = shift_of(seen.match)
        if certainty > _SURE_ALONE and np.hypot(row, column) > 3:
            text = f"{pair.sar}{where}: {pair.optical.name} fits better moved by {column:+d} columns, {row:+d} rows"
            seen.findings.append(Finding("misaligned", text))
    return seen


def _look_beside(pair: Pair, reader: PairReader, shape: tuple[int, int]) -> list[Finding]:
    """What is wrong with the images of another date that a pair names."""
    findings = []
    for name in BESIDE:
        path = getattr(pair, name)
        try:
            image = reader.read_beside(pair, name)
        except (DataError, PermissionError) as error:
            findings.append(Finding("broken", str(error)))
            continue
        if image is None:
            continue
        if image.shape[:2] != shape:
            sizes = " and ".join(f"{width}x{height}" for height, width in (image.shape[:2], shape))
            findings.append(Finding("mis-sized", f"{path} and {pair.sar.name}: {sizes}"))
        if name == "reference" and is_grey(image):
            findings.append(Finding("no colours", f"{path}: is grey; is it the SAR image of that date?"))
    if pair.reference is None and (pair.reference_sar or pair.changed):
        findings.append(Finding("no partner", f"{pair.reference_sar or pair.changed}: there is no reference beside it"))
    return findings


def match_edges(sar: np.ndarray, optical: np.ndarray) -> np.ndarray:
    """How well the edges of two images (H, W, bands) agree at each shift: correlations, (2 r + 1, 2 r + 1).

    At [r + row, r + column] what the optical image shows at a pixel lies (row, column) further on in the SAR image.
    """
    from scipy.ndimage import gaussian_filter
    from skimage.feature import match_template
    from skimage.filters import sobel

    edges = []
    for image in (np.log1p(np.maximum(sar[..., 0].astype("float32"), 0)) if sar.min() >= 0 else sar[..., 0], optical):
        grey = np.nan_to_num(image.astype("float32").reshape(*image.shape[:2], -1).mean(-1))
        found = sobel(gaussian_filter(grey, 1.5))  # fine enough for streets, coarse enough for speckle
        edges.append(np.minimum(found, np.percentile(found, 99)))  # single bright points should not decide
    reach = min(_REACH, min(edges[0].shape) // 4)
    return match_template(edges[0], edges[1][reach:-reach, reach:-reach])


def shift_of(match: np.ndarray) -> tuple[int, int, float]:
    """The best shift (rows, columns), and by how many standard deviations it stands out."""
    reach = match.shape[0] // 2
    row, column = np.unravel_index(match.argmax(), match.shape)
    spread = float(match.std())
    return int(row) - reach, int(column) - reach, float(match.max() - match.mean()) / spread if spread else 0.0


def _duplicates_and_types(seen: list[_Seen]) -> list[Finding]:
    findings: list[Finding] = []
    first: list[dict] = [{}, {}]
    types = [
        Counter(dtype for one in seen for _, dtype in list(one.images.values())[side : side + 1]) for side in (0, 1)
    ]
    for one in seen:
        if len(one.images) < 2:
            continue
        for side, (path, (digest, dtype)) in enumerate(one.images.items()):
            if digest in first[side]:
                findings.append(Finding("duplicate", f"{path}: the same image as {first[side][digest]}"))
            first[side].setdefault(digest, path)
            usual = types[side].most_common(1)[0][0]
            if dtype != usual:
                file = path.partition(" at column ")[0]  # once for all windows of a scene
                findings.append(Finding("other type", f"{file}: {dtype}, most are {usual}"))
    return [*dict.fromkeys(findings)]


def _shifted_scenes(pairs: list[Pair], seen: list[_Seen]) -> list[Finding]:
    by_place: dict[tuple, list[np.ndarray]] = defaultdict(list)
    for pair, one in zip(pairs, seen, strict=True):
        if one.match is not None:
            by_place[(*pair.place, one.match.shape)].append(one.match)
    findings = []
    for (season, scene, _), matches in by_place.items():
        row, column, certainty = shift_of(np.mean(matches, axis=0))
        if len(matches) >= _FEWEST and certainty > _SURE and np.hypot(row, column) > 2:
            name = " ".join(filter(None, (season, scene))) or "pairs of unknown scenes"
            text = f"the optical images fit better moved by {column:+d} columns, {row:+d} rows"
            findings.append(Finding("misaligned", f"{name}: {text} ({len(matches)} pairs)"))
    return findings
