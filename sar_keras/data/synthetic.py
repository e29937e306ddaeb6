"""Procedural pairs of a SAR image and an optical image, drawn from nothing but a seed.

They are what the package trains on when it is given no data, and what its tests run on: nothing to download,
the same pixels every time. A scene is a map of regions (fields, blocks, lakes). The surface of a region gives
it both a radar backscatter and a colour, so colour can be learnt from radar, as in reality but more easily.

They are not real data: good for trying the package, testing it and teaching, but a score on them says nothing
about real scenes.
"""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

TERRAINS = ("agri", "barrenland", "grassland", "urban")

_SEASONS = ("spring", "summer", "fall", "winter")
_DARKEST_DECIBEL = -25.0  # black in a SAR image; 0 dB is white


class _Surface(NamedTuple):
    decibel: float  # mean backscatter (sigma nought)
    colour: tuple[int, int, int]  # mean RGB, 0..255
    grain: float  # strength of the fine texture, in dB


# From smooth (the radar beam is reflected away: dark) to rough and angular (much of it comes back: bright).
# Surfaces within 2 dB of each other look alike, differ in grain or in the size of their shapes, or lie in
# different terrains: there is always something to tell them apart by.
_SURFACES = {
    "water": _Surface(-24.0, (26, 50, 82), 0.0),
    "road": _Surface(-21.0, (124, 124, 126), 0.0),
    "sand": _Surface(-19.0, (216, 190, 146), 0.2),
    "soil": _Surface(-17.0, (122, 88, 66), 0.3),
    "ochre rock": _Surface(-15.5, (176, 126, 80), 0.8),
    "stubble": _Surface(-14.0, (204, 180, 128), 0.3),
    "meadow": _Surface(-11.0, (130, 158, 84), 0.3),
    "maize": _Surface(-8.5, (78, 114, 56), 0.5),
    "forest": _Surface(-7.5, (36, 64, 42), 1.2),
    "rapeseed": _Surface(-4.5, (210, 198, 92), 0.3),
    "red roof": _Surface(-4.0, (178, 92, 74), 0.0),
    "grey rock": _Surface(-2.5, (164, 154, 142), 1.2),
    "grey roof": _Surface(-2.0, (160, 160, 164), 0.0),
    "white roof": _Surface(0.0, (232, 230, 224), 0.0),
}
_CROPS = ("soil", "stubble", "meadow", "maize", "rapeseed")


class _Block(NamedTuple):
    ground: str  # surface of the block
    roof: str = ""  # surface of its buildings; none in a park
    side: int = 0  # of a building, in pixels
    gap: int = 0  # between two buildings


_BLOCKS = (
    _Block("meadow", "red roof", side=8, gap=5),  # houses in gardens
    _Block("road", "red roof", side=10, gap=4),  # an old town
    _Block("meadow", "grey roof", side=15, gap=7),  # flats
    _Block("road", "white roof", side=24, gap=7),  # halls on asphalt
    _Block("meadow"),
    _Block("forest"),
)


class _RegionMap:
    """`labels` (size, size) tells the region of each pixel, `surfaces[label]` what covers that region.

    `height` (size, size) is the relief, in pixels.
    """

    def __init__(self, size: int, ground: str):
        self.labels = np.zeros((size, size), np.int32)
        self.surfaces = [ground]
        self.height = np.zeros((size, size))

    def paint(self, where, surface: str) -> None:
        """Make one new region of `where`, a mask or a pair of slices."""
        self.labels[where] = len(self.surfaces)
        self.surfaces.append(surface)

    def rotated(self, angle: float, size: int) -> "_RegionMap":
        """Return the central (size, size) of a flat map, turned by `angle` radians."""
        rows, columns = np.indices((size, size)) - size / 2
        centre = len(self.labels) / 2
        turned_rows = (centre + np.cos(angle) * rows + np.sin(angle) * columns).astype(int)
        turned_columns = (centre - np.sin(angle) * rows + np.cos(angle) * columns).astype(int)
        turned = _RegionMap(size, ground=self.surfaces[0])
        turned.labels, turned.surfaces = self.labels[turned_rows, turned_columns], self.surfaces
        return turned


def synthesize_scene(terrain: str, seed: int, size: int = 512, looks: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Draw one scene and return it as a pair `(sar, optical)`.

    sar: uint8 (size, size), sigma nought in dB, clipped to [-25, 0] and mapped linearly to 0..255, with the
    speckle of an intensity image of `looks` looks (fewer looks, more speckle).
    optical: uint8 (size, size, 3), RGB like a true-colour image, without clouds.

    Shapes have a fixed size in pixels: a larger `size` shows more land, not more detail.
    """
    if terrain not in TERRAINS:
        raise ValueError(f"unknown terrain {terrain!r}: choose one of {', '.join(TERRAINS)}")
    rng = np.random.default_rng([seed, TERRAINS.index(terrain)])
    region_map = _DRAW[terrain](rng, size)
    if rng.random() < 0.4:
        _paint_river(rng, region_map)
    decibel, optical = _render(rng, region_map)

    # Speckle multiplies the intensity; it comes after the blur, so that it differs from pixel to pixel.
    intensity = _blur(10 ** (decibel / 10)) * rng.gamma(looks, 1 / looks, (size, size))
    decibel = 10 * np.log10(np.maximum(intensity, 1e-6))
    sar = 255 * (1 - np.clip(decibel, _DARKEST_DECIBEL, 0) / _DARKEST_DECIBEL)
    return _to_uint8(sar), _to_uint8(_blur(optical))


def write_pairs(
    root: Path,
    count: int,
    seed: int = 0,
    image_size: int = 256,
    progress: Callable[[Iterable[int]], Iterable[int]] | None = None,
) -> None:
    """Write `count` pairs of (image_size, image_size) PNG images, laid out like the SEN1-2 terrain data set.

    SAR: root/v_2/{terrain}/s1/ROIs0001_{season}_s1_{scene}_p{patch}.png, 8-bit grey.
    Optical: the same path with s2 in place of s1, 8-bit RGB.

    The terrains take turns. Up to 9 patches are cut from a scene, fewer when `count` is small, so that there
    are several scenes to split. `progress` wraps the iterable of scene numbers, like `tqdm.tqdm`.
    """
    patches_per_scene = min(max(count // 12, 1), 9)
    scene_numbers = range(1, -(-count // patches_per_scene) + 1)
    for scene in progress(scene_numbers) if progress else scene_numbers:
        index = scene - 1
        terrain = TERRAINS[index % len(TERRAINS)]
        season = _SEASONS[index // len(TERRAINS) % len(_SEASONS)]  # in the name only: nothing looks like snow
        folder = Path(root) / "v_2" / terrain
        images = synthesize_scene(terrain, seed=seed * 1_000_000 + scene, size=2 * image_size)
        for sensor, image in zip(("s1", "s2"), images, strict=True):
            (folder / sensor).mkdir(parents=True, exist_ok=True)
            for patch in range(min(patches_per_scene, count - index * patches_per_scene)):
                # A grid of 3 x 3 with a stride of half a patch: neighbours overlap by half, as in SEN1-2.
                top, left = (patch // 3) * image_size // 2, (patch % 3) * image_size // 2
                tile = Image.fromarray(image[top : top + image_size, left : left + image_size])
                name = f"ROIs0001_{season}_{sensor}_{scene}_p{patch + 1}.png"
                tile.save(folder / sensor / name, compress_level=1)  # noise hardly compresses: be quick


def _draw_agri(rng: np.random.Generator, size: int) -> _RegionMap:
    """Fields of one crop each, between narrow tracks, and some woods."""
    plan = _RegionMap(int(1.5 * size), "stubble")  # the corners of a turned square reach 1.41 sizes
    crop_mix = rng.dirichlet([5, 5, 5, 5, 3])
    for top, left, bottom, right in _split(rng, (0, 0, *plan.labels.shape), largest=rng.uniform(60, 110)):
        plan.paint(np.s_[top + 1 : bottom, left + 1 : right], rng.choice(_CROPS, p=crop_mix))
    region_map = plan.rotated(rng.uniform(0, np.pi), size)
    region_map.paint(_ragged_noise(rng, size, 30) > rng.uniform(1.2, 2.0), "forest")
    return region_map


def _draw_barrenland(rng: np.random.Generator, size: int) -> _RegionMap:
    """Mountains: sand in the valleys, ochre rock on the slopes, grey rock on the ridges."""
    region_map = _RegionMap(size, "ochre rock")
    region_map.height = _ridges(rng, size)
    sand_line, grey_line = np.quantile(region_map.height, [rng.uniform(0.15, 0.45), rng.uniform(0.65, 0.9)])
    region_map.paint(region_map.height < sand_line, "sand")
    region_map.paint(region_map.height > grey_line, "grey rock")
    return region_map


def _draw_grassland(rng: np.random.Generator, size: int) -> _RegionMap:
    """Low hills with meadows, green or dry, shrub, woods and lakes."""
    region_map = _RegionMap(size, "meadow")
    region_map.height = 0.25 * _ridges(rng, size)
    region_map.paint(_ragged_noise(rng, size, 40) > rng.uniform(-0.3, 1.0), "stubble")
    region_map.paint(_ragged_noise(rng, size, 10) > rng.uniform(1.0, 2.0), "maize")  # shrub looks like it
    region_map.paint(_ragged_noise(rng, size, 30) > rng.uniform(0.4, 1.5), "forest")
    region_map.paint(_ragged_noise(rng, size, 40) > rng.uniform(1.0, 1.8), "water")
    return region_map


def _draw_urban(rng: np.random.Generator, size: int) -> _RegionMap:
    """Blocks between streets, each a park or full of one kind of building, and trees everywhere."""
    plan = _RegionMap(int(1.5 * size), "road")
    block_mix = rng.dirichlet([3] * len(_BLOCKS))
    for top, left, bottom, right in _split(rng, (0, 0, *plan.labels.shape), largest=rng.uniform(70, 110)):
        top, left, bottom, right = top + 2, left + 2, bottom - 2, right - 2  # leave half a street around
        block = _BLOCKS[rng.choice(len(_BLOCKS), p=block_mix)]
        plan.paint(np.s_[top:bottom, left:right], block.ground)
        if block.roof:
            pitch = block.side + block.gap
            for row in range(top + block.gap, bottom - block.side, pitch):
                for column in range(left + block.gap, right - block.side, pitch):
                    plan.paint(np.s_[row : row + block.side, column : column + block.side], block.roof)
    region_map = plan.rotated(rng.uniform(0, np.pi), size)
    region_map.paint(_smooth_noise(rng, size, 4) > rng.uniform(1.7, 2.3), "forest")
    return region_map


_DRAW = {
    "agri": _draw_agri,
    "barrenland": _draw_barrenland,
    "grassland": _draw_grassland,
    "urban": _draw_urban,
}


def _split(
    rng: np.random.Generator, box: tuple[int, int, int, int], largest: float
) -> Iterator[tuple[int, int, int, int]]:
    """Cut the box (top, left, bottom, right) in two, again and again, until no side exceeds `largest`."""
    top, left, bottom, right = box
    if max(bottom - top, right - left) <= largest:
        yield box
    elif bottom - top > right - left:
        middle = top + int((bottom - top) * rng.uniform(0.35, 0.65))
        yield from _split(rng, (top, left, middle, right), largest)
        yield from _split(rng, (middle, left, bottom, right), largest)
    else:
        middle = left + int((right - left) * rng.uniform(0.35, 0.65))
        yield from _split(rng, (top, left, bottom, middle), largest)
        yield from _split(rng, (top, middle, bottom, right), largest)


def _paint_river(rng: np.random.Generator, region_map: _RegionMap) -> None:
    """Paint a river: a straight line across the scene, bent by smooth noise, with trees on its banks."""
    size = len(region_map.labels)
    rows, columns = np.indices((size, size)) - size / 2
    angle, width = rng.uniform(0, np.pi), rng.uniform(8, 18)
    across = np.cos(angle) * rows + np.sin(angle) * columns
    distance = np.abs(across + 20 * _smooth_noise(rng, size, 30) + rng.uniform(-0.25, 0.25) * size)
    region_map.paint((distance < 1.5 * width) & (_smooth_noise(rng, size, 12) > 0.5), "forest")
    region_map.paint(distance < width / 2, "water")


def _render(rng: np.random.Generator, region_map: _RegionMap) -> tuple[np.ndarray, np.ndarray]:
    """Return the backscatter (size, size) in dB without speckle, and the colour (size, size, 3) in 0..255."""
    labels, surfaces = region_map.labels, [_SURFACES[name] for name in region_map.surfaces]
    size, regions = len(labels), len(surfaces)
    # No two fields of a crop are quite the same.
    region_decibel = np.array([surface.decibel for surface in surfaces]) + rng.normal(0, 0.4, regions)
    region_colour = np.array([surface.colour for surface in surfaces]) + rng.normal(0, 5, (regions, 1))
    grain = np.array([surface.grain for surface in surfaces])[labels] * _smooth_noise(rng, size, 1.5)
    growth = _smooth_noise(rng, size, 15)  # slow change within a region

    # The radar looks from the left, the sun shines from the upper left: slopes that face them are bright.
    slope_down, slope_right = np.gradient(region_map.height)
    is_water = np.array([name == "water" for name in region_map.surfaces])[labels]
    slope_down[is_water] = slope_right[is_water] = 0
    sunlight = np.tanh(slope_right + 0.5 * slope_down)

    decibel = region_decibel[labels] + grain + 0.3 * growth + 2.5 * np.tanh(slope_right)
    brightness = 1 + 0.05 * grain + 0.03 * growth + 0.35 * sunlight
    return decibel, region_colour[labels] * brightness[..., None]


def _smooth_noise(rng: np.random.Generator, size: int, scale: float) -> np.ndarray:
    """Gaussian noise (size, size) of mean 0 and deviation 1, with blobs about `scale` pixels in radius."""
    # White noise times a Gaussian in the frequency domain: a Gaussian blur at the same cost for every scale.
    decay_down = np.exp(-2 * (np.pi * scale * np.fft.fftfreq(size)) ** 2)
    decay_across = np.exp(-2 * (np.pi * scale * np.fft.rfftfreq(size)) ** 2)
    spectrum = np.fft.rfft2(rng.standard_normal((size, size))) * decay_down[:, None] * decay_across
    spectrum[0, 0] = 0  # the mean
    noise = np.fft.irfft2(spectrum, s=(size, size))
    return noise / noise.std()


def _ragged_noise(rng: np.random.Generator, size: int, scale: float) -> np.ndarray:
    """Smooth noise whose blobs have a ragged outline."""
    return _smooth_noise(rng, size, scale) + 0.25 * _smooth_noise(rng, size, scale / 6)


def _ridges(rng: np.random.Generator, size: int) -> np.ndarray:
    """Heights (size, size) of mountains, in pixels: sharp crests on several scales."""
    crests = (0.2 * scale**1.25 * (1 - np.abs(_smooth_noise(rng, size, scale))) for scale in (40, 20, 10, 5))
    return sum(crests, np.zeros((size, size)))


def _blur(image: np.ndarray) -> np.ndarray:
    """Blur by 1-2-1 down and across: the sensor sees no edge sharper than a pixel."""
    for _axis in range(2):
        above, below = np.concatenate([image[:1], image[:-1]]), np.concatenate([image[1:], image[-1:]])
        image = ((above + 2 * image + below) / 4).swapaxes(0, 1)
    return image


def _to_uint8(image: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)
