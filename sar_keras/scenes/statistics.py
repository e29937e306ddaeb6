"""Parts of a scene that stand for all of it, for networks that normalise each image by its own statistics."""

import contextlib
from collections.abc import Sequence

import numpy as np

from sar_keras.data.pairs import evenly
from sar_keras.errors import SarKerasError
from sar_keras.io.rasters import SarScene
from sar_keras.scenes.hints import SceneHint

# Patches a side of what is put together: as many as 1024 pixels hold, within these.
_FEWEST, _MOST, _PIXELS = 2, 8, 1024
# Places a side that are looked at, first in a whole scene; where too few have data, more around those that have some.
_PLACES = (8, 32, 16)
# The share of the most data that a patch has, which others must have to be taken.
_ALIKE = 0.9


def sampled(parts: Sequence[tuple[SarScene, SceneHint]], patch: int) -> tuple[np.ndarray, np.ndarray | None] | None:
    """Patches from all over one or several scenes, put together.

    Args:
        parts: The scenes, and their hints.
        patch: The side of a patch.

    Returns:
        SAR (1, n patch, n patch, channels), n from 2 to 8, and its hint, or None where there is none. Of small scenes
        some patches are there more than once. None where no data was found.
    """
    across = min(max(_PIXELS // patch, _FEWEST), _MOST)
    looked_at = []
    for n, (scene, _) in enumerate(parts):
        with contextlib.suppress(SarKerasError, OSError):  # what cannot be read fails in its turn
            looked_at += [(*each, n) for each in _look(scene, patch, across**2)]
    most = max((share for share, _, _ in looked_at), default=0)
    good = [(where, n) for share, where, n in looked_at if share >= _ALIKE * most > 0]
    # Of a scene with little data many places are looked at, which shall not outweigh the others.
    found = [each for n in range(len(parts)) for each in evenly([one for one in good if one[1] == n], _PLACES[0] ** 2)]
    if not found:
        return None
    order = np.random.default_rng(0).permutation(len(found))
    chosen = [found[order[n % len(found)]] for n in range(across**2)]
    sar = _put_together([parts[n][0].read(*where)[0] for where, n in chosen], across)
    hints = [parts[n][1].read(*where) for where, n in chosen]
    return sar, None if hints[0] is None else _put_together([hint for hint in hints if hint is not None], across)


def _look(scene: SarScene, patch: int, wanted: int) -> list[tuple[float, tuple[int, int, int, int]]]:
    """Patches of a scene, as (column, row, width, height), and the share of their pixels that has data.

    Of a scene smaller than a patch it is the patch that is mirrored.
    """
    top, left, bottom, right = 0, 0, scene.height, scene.width
    looked_at: list[tuple[float, tuple[int, int, int, int]]] = []
    for count in _PLACES:
        rows, columns = (
            np.unique(np.linspace(first, max(last - patch, first), count).astype(int)).tolist()
            for first, last in ((top, bottom), (left, right))
        )
        places = [(column, row, patch, patch) for row in rows for column in columns]
        looked_at = [(float(scene.read(*where)[1].mean()), where) for where in places]
        if sum(share >= _ALIKE for share, _ in looked_at) >= wanted:
            break
        seen = np.array([where[:2] for share, where in looked_at if share])
        if seen.size:  # what has data reaches no further than the next places
            step = [int(np.diff(starts).max(initial=0)) for starts in (columns, rows)]
            left, top = np.maximum(seen.min(0) - step, 0).tolist()
            right, bottom = np.minimum(seen.max(0) + patch + step, [scene.width, scene.height]).tolist()
    return looked_at


def _put_together(patches: list[np.ndarray], across: int) -> np.ndarray:
    rows = [np.concatenate(patches[n : n + across], 1) for n in range(0, len(patches), across)]
    return np.concatenate(rows, 0)[None]
