import struct
import zlib

import numpy as np
import pytest
import rasterio
import tensorflow as tf
from helpers import first
from PIL import Image

from sar_keras.errors import DataError
from sar_keras.io.images import read_image, read_optical, read_sar, sample_grid, write_image


def test_reads_every_kind_of_file_in_its_own_dtype(tmp_path, random):
    grey = random.integers(0, 255, (20, 30), np.uint8)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    np.testing.assert_array_equal(read_sar(tmp_path / "grey.png", 1)[..., 0], grey)

    deep = random.integers(0, 65535, (20, 30)).astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    np.testing.assert_array_equal(read_sar(tmp_path / "deep.png", 1)[..., 0], deep)

    decibel = random.normal(-12, 3, (2, 20, 30)).astype(np.float32)
    with rasterio.open(
        tmp_path / "two.tif", "w", driver="GTiff", width=30, height=20, count=2, dtype="float32"
    ) as file:
        file.write(decibel)
    np.testing.assert_array_equal(read_sar(tmp_path / "two.tif", 2), np.moveaxis(decibel, 0, -1))

    smooth = np.linspace(0, 255, 600).reshape(20, 30).astype(np.uint8)
    Image.fromarray(smooth).save(tmp_path / "grey.jpg", quality=95)
    assert np.abs(read_sar(tmp_path / "grey.jpg", 1)[..., 0].astype(int) - smooth).max() < 12


@pytest.mark.parametrize("suffix", [".bmp", ".webp", ".BMP"])
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_bmp_and_webp(tmp_path, random, suffix, mode):
    if (suffix, mode) == (".BMP", "RGBA"):
        pytest.skip("BMP has no transparency that others read")
    image = Image.fromarray(random.integers(0, 255, (20, 30, 4), np.uint8)).convert(mode)
    image.save(tmp_path / f"a{suffix}", **({"lossless": True, "exact": True} if suffix == ".webp" else {}))
    expected = np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal(read_optical(tmp_path / f"a{suffix}"), expected)
    np.testing.assert_array_equal(read_sar(tmp_path / f"a{suffix}", 1), expected[..., :1])
    (tmp_path / f"a{suffix}").write_bytes((tmp_path / f"a{suffix}").read_bytes()[:200])
    with pytest.raises(DataError, match="not a readable image"):
        read_sar(tmp_path / f"a{suffix}", 1)


# What a viewer does with an image of each orientation, https://www.media.mit.edu/pia/Research/deepview/exif.html.
TURNS = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: np.rot90(np.flipud(a), -1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(np.flipud(a), 1),
    8: lambda a: np.rot90(a, 1),
}


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("suffix", [".jpg", ".webp"])
def test_images_are_turned_as_their_exif_says(tmp_path, suffix, orientation):
    stored = np.zeros((32, 64), np.uint8)
    stored[:16, :32], stored[:16, 32:], stored[16:, :32] = 240, 160, 80
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(stored).save(tmp_path / f"a{suffix}", exif=exif, quality=95)
    expected = TURNS[orientation](stored)
    assert np.abs(read_sar(tmp_path / f"a{suffix}", 1)[..., 0].astype(int) - expected).mean() < 8


def test_broken_exif_turns_nothing(tmp_path, random):
    smooth = np.linspace(0, 255, 600).reshape(20, 30).astype(np.uint8)
    Image.fromarray(smooth).save(tmp_path / "a.jpg", quality=95, exif=b"Exif\0\0MM\0*\0\0\xff\xff" + bytes(20))
    assert np.abs(read_sar(tmp_path / "a.jpg", 1)[..., 0].astype(int) - smooth).max() < 12


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_sixteen_bits_of_several_bands_keep_their_low_byte(tmp_path, random, channels):
    deep = random.integers(0, 4000, (20, 30, channels)).astype(np.uint16)
    (tmp_path / "deep.png").write_bytes(tf.io.encode_png(deep).numpy())
    colours = channels - 1 if channels in (2, 4) else channels  # the last band is transparency
    np.testing.assert_array_equal(read_image(tmp_path / "deep.png", first(3)), deep[..., :colours])


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_plain_pngs_are_what_was_written(tmp_path, random, mode):
    image = Image.fromarray(random.integers(0, 255, (20, 30, 3), np.uint8)).convert(mode)
    image.save(tmp_path / "a.png")
    for count in (1, 3):
        expected = np.asarray(image).reshape(20, 30, -1)[..., :count]
        np.testing.assert_array_equal(read_image(tmp_path / "a.png", first(count)), expected)


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("damage", ["cut", "bytes lost", "bytes doubled", "a bit turned"])
def test_a_damaged_png_is_an_error_and_never_other_pixels(tmp_path, random, mode, damage):
    path = tmp_path / "a.png"
    Image.fromarray(random.integers(0, 255, (64, 64, 3), np.uint8)).convert(mode).save(path)
    data = path.read_bytes()
    for at in random.integers(60, len(data) - 60, 10):
        head, tail = data[:at], data[at:]
        damaged = {
            "cut": head,
            "bytes lost": head + tail[20:],
            "bytes doubled": head + tail[:20] + tail,
            "a bit turned": head + bytes([tail[0] ^ 4]) + tail[1:],
        }
        path.write_bytes(damaged[damage])
        with pytest.raises(DataError, match=r"a\.png"):
            read_image(path, first(3))


@pytest.mark.parametrize(("bands", "colour_type"), [(1, 0), (3, 2)])
def test_a_png_whose_data_end_early_is_an_error(tmp_path, random, bands, colour_type):
    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    # 400 rows are announced, 256 are there; all checksums are right.
    rows = b"".join(b"\0" + random.integers(0, 256, 256 * bands, np.uint8).tobytes() for _ in range(256))
    header = struct.pack(">IIBBBBB", 256, 400, 8, colour_type, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)
    with pytest.raises(DataError, match=r"a\.png"):
        read_image(tmp_path / "a.png", first(3))


def test_complex_values_are_refused(tmp_path):
    profile = {"driver": "GTiff", "width": 2, "height": 1, "count": 1, "dtype": "complex64"}
    with rasterio.open(tmp_path / "a.tif", "w", **profile) as file:
        file.write(np.complex64([[[1, 1j]]]))
    with pytest.raises(DataError, match=r"a\.tif: holds complex values"):
        read_sar(tmp_path / "a.tif", 1)


def test_nodata_of_a_float_tiff_is_not_a_number(tmp_path):
    profile = {"driver": "GTiff", "width": 2, "height": 1, "count": 1, "dtype": "float32", "nodata": -9999}
    with rasterio.open(tmp_path / "a.tif", "w", **profile) as file:
        file.write(np.float32([[[-12, -9999]]]))
    np.testing.assert_array_equal(read_sar(tmp_path / "a.tif", 1).ravel(), [-12, np.nan])


def test_transparency_and_palette_are_resolved(tmp_path, random):
    rgba = random.integers(0, 255, (20, 30, 4), np.uint8)
    Image.fromarray(rgba).save(tmp_path / "rgba.png")
    np.testing.assert_array_equal(read_optical(tmp_path / "rgba.png"), rgba[..., :3])

    palette = Image.fromarray(rgba[..., :3]).quantize(16)
    palette.save(tmp_path / "palette.png")
    np.testing.assert_array_equal(read_optical(tmp_path / "palette.png"), np.asarray(palette.convert("RGB")))

    grey_and_alpha = Image.fromarray(rgba).convert("LA")
    grey_and_alpha.save(tmp_path / "la.png")
    optical = read_optical(tmp_path / "la.png")
    assert optical.shape == (20, 30, 3)
    np.testing.assert_array_equal(optical[..., 2], np.asarray(grey_and_alpha)[..., 0])


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_truncated_files_are_refused(tmp_path, random, suffix):
    whole = tmp_path / f"whole{suffix}"
    Image.fromarray(random.integers(0, 255, (200, 200), np.uint8)).save(whole)
    broken = tmp_path / f"broken{suffix}"
    for part in (0.5, 0.97):
        broken.write_bytes(whole.read_bytes()[: int(whole.stat().st_size * part)])
        with pytest.raises(DataError, match="broken"):
            read_image(broken, first(1))


def test_too_few_bands_name_the_file(tmp_path, save_png):
    path = save_png(tmp_path / "one.png", np.zeros((8, 8), np.uint8))
    with pytest.raises(DataError, match=r"one\.png.*1 band"):
        read_sar(path, 2)


def test_a_failed_write_leaves_nothing(tmp_path):
    with pytest.raises(TypeError):
        write_image(tmp_path / "x.png", np.zeros((8, 8, 7), np.uint8))
    assert list(tmp_path.iterdir()) == []


def test_sample_grid_shows_sar_generated_truth():
    sar, generated, truth = np.full((2, 8, 8, 1), -1.0), np.zeros((2, 8, 8, 3)), np.ones((2, 8, 8, 3))
    grid = sample_grid(sar, generated, truth)[-16:]
    assert grid.shape == (16, 24, 3)
    assert (grid[:, :8] == 0).all() and (grid[:, 8:16] == 128).all() and (grid[:, 16:] == 255).all()
