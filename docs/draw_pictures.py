"""Draws the pictures of `wrong.md` with the model `demo`, from a scene of 8 bits.

python docs/draw_pictures.py SCENE.tif COLUMN ROW
"""

import sys
from pathlib import Path

import numpy as np
import rasterio
from PIL import Image
from rasterio.windows import Window

import sar_keras

HERE = Path(__file__).parent


def main(scene: str, column: int, row: int) -> None:
    model = sar_keras.load_model("demo")
    with rasterio.open(scene) as file:
        sar = file.read(1, window=Window(column, row, 768, 768))
    whole = sar_keras.colorize(model, sar)
    tiles = np.zeros_like(whole)
    for row in range(0, 768, 256):
        for column in range(0, 768, 256):
            window = slice(row, row + 256), slice(column, column + 256)
            tiles[window] = sar_keras.colorize(model, sar[window])
    save("seams", sar, tiles, whole)
    inside = slice(256, 512), slice(256, 512)
    save("frame", sar[inside], sar_keras.colorize(model, sar[inside]), whole[inside])
    decibels = sar / 255 * 25 - 25
    misread = sar_keras.colorize(model, decibels.astype("float32"), units="linear")
    save("units", sar, misread, sar_keras.colorize(model, decibels.astype("float32"), units="db"))


def save(name: str, *images: np.ndarray) -> None:
    """Write the images side by side."""
    images = [np.repeat(image[..., None], 3, -1) if image.ndim == 2 else image for image in images]
    picture = Image.fromarray(np.concatenate(images, 1))
    picture.thumbnail((720, 240))
    picture.save(HERE / f"wrong_{name}.jpg", quality=85)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
