import numpy as np
import pytest
from PIL import Image

from sar_keras.data.pairs import find_pairs
from sar_keras.data.synthetic import TERRAINS, synthesize_scene, write_pairs


@pytest.mark.parametrize("terrain", TERRAINS)
def test_scenes_repeat_by_seed(terrain):
    sar, optical = synthesize_scene(terrain, 3, 128)
    assert sar.shape == (128, 128) and optical.shape == (128, 128, 3)
    assert sar.dtype == optical.dtype == np.uint8
    again = synthesize_scene(terrain, 3, 128)
    assert (sar == again[0]).all() and (optical == again[1]).all()
    assert (sar != synthesize_scene(terrain, 4, 128)[0]).any()


def test_more_looks_less_speckle():
    # Neighbouring pixels differ mostly by speckle.
    rough, smooth = (
        np.abs(np.diff(synthesize_scene("grassland", 1, 128, looks=looks)[0].astype(float))).mean() for looks in (1, 64)
    )
    assert rough > 2 * smooth


@pytest.mark.parametrize(("count", "scenes"), [(8, 8), (24, 12), (108, 12)])
def test_layout_count_and_scenes(tmp_path, count, scenes):
    write_pairs(tmp_path, count, image_size=32)
    found = find_pairs(tmp_path, "terrain")
    assert len(found.pairs) == count and not found.unpaired
    assert len({p.place for p in found.pairs}) == scenes
    assert {p.terrain for p in found.pairs} == set(TERRAINS)


def test_neighbouring_patches_overlap_by_half(tmp_path):
    write_pairs(tmp_path, 108, image_size=32)
    first, second = [np.asarray(Image.open(p.sar)) for p in find_pairs(tmp_path).pairs if p.terrain == "agri"][:2]
    assert (first[:, 16:] == second[:, :16]).all()
