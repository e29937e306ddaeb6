import numpy as np
import pytest
import rasterio
from helpers import write_tiff

from sar_keras.io.reflectance import TAG, common_stretch, stretch_of, tags_of, to_levels


def test_the_stretch():
    reflectance = np.array([-0.1, 0.0, 0.0012, 0.15, 0.3, 1.2])
    # 0 is kept for what has no data.
    np.testing.assert_array_equal(to_levels(reflectance), [1, 1, 1, 128, 255, 255])
    np.testing.assert_array_equal(to_levels(np.array([0.1, 0.25, 0.3]), (0.1, 0.3)), [1, 191, 255])
    assert to_levels(reflectance).dtype == np.uint8


@pytest.fixture
def colours(tmp_path):
    """colours(name, tag) is a GeoTIFF with such a tag."""

    def make(name, tag):
        path = write_tiff(tmp_path / name, np.ones((3, 4, 4), np.uint8))
        with rasterio.open(path, "r+") as file:
            file.update_tags(**tag)
        return path

    return make


@pytest.mark.parametrize(
    ("tag", "stretch"),
    [(tags_of((0.0, 0.3)), (0.0, 0.3)), (tags_of(None), None), *(({TAG: text}, None) for text in ("x", "1", "2 1"))],
)
def test_files_name_it(colours, tag, stretch):
    assert stretch_of(colours("a.tif", tag)) == stretch


def test_of_several_files_it_is_that_of_all(colours):
    same = [colours(f"{name}.tif", tags_of((0.0, 0.3))) for name in "ab"]
    other, none = colours("c.tif", tags_of((0.0, 0.5))), colours("d.tif", {})
    assert common_stretch([*same, *same]) == (0.0, 0.3)
    assert common_stretch([*same, other]) is common_stretch([*same, none]) is common_stretch([]) is None
