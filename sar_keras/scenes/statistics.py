"""Parts of a scene that stand for all of it, for networks that normalise each image by its own statistics."""

import numpy as np
from rasterio.windows import Window

from sar_keras.io.rasters import SarScene
from sar_keras.scenes.hints import SceneHint

_ACROSS = 4  # patches a side of what is put together
_LOOKED_AT = 8  # places a side of the scene where patches are looked for


def sampled(
    scene: SarScene, hints: SceneHint, area: Window, patch: int, seed: int = 0
) -> tuple[np.ndarray, np.ndarray | None]:
    """Patches from all over an area, put together: SAR (1, 4 patch, 4 patch, channels) and its hint, or None.

    Patches with the most data are taken; of a small area some more than once.
    """
    starts = [
        np.unique(np.linspace(0, max(side - patch, 0), _LOOKED_AT).astype(int)) for side in (area.height, area.width)
    ]
    places = np.stack(np.meshgrid(*starts), -1).reshape(-1, 2)
    found = []
    for row, column in np.random.default_rng(seed).permutation(places):
        where = int(area.col_off + column), int(area.row_off + row), patch, patch
        sar, valid = scene.read(*where)
        found.append((valid.mean(), where, sar))
        if sum(share == 1 for share, *_ in found) == _ACROSS**2:
            break
    found = sorted(found, key=lambda each: -each[0])[: _ACROSS**2]
    taken = [found[n % len(found)] for n in range(_ACROSS**2)]
    sar = _put_together([sar for _, _, sar in taken])
    if hints.read(*taken[0][1]) is None:
        return sar, None
    return sar, _put_together([hints.read(*where) for _, where, _ in taken])


def _put_together(patches: list[np.ndarray]) -> np.ndarray:
    rows = [np.concatenate(patches[n : n + _ACROSS], 1) for n in range(0, len(patches), _ACROSS)]
    return np.concatenate(rows, 0)[None]
