"""Draws the networks as SVG, from the Keras models that the code builds.

python docs/draw_networks.py [FOLDER]
"""

import math
import sys
from pathlib import Path

import keras

import sar_keras
from sar_keras.networks.autoencoder import Autoencoder
from sar_keras.networks.epcgan import EPCGenerator
from sar_keras.networks.resnet import ResNetGenerator

FOLDER = Path(__file__).parent / "understand/networks"
_GAP, _BOTTOM, _COLOUR = 14, 190, "#4a7fb5"
# What changes neither the number of channels nor, but for what the convolution behind it shows, the size.
_LEFT_OUT = (
    keras.layers.BatchNormalization,
    keras.layers.GroupNormalization,
    keras.layers.LeakyReLU,
    keras.layers.ReLU,
    keras.layers.Activation,
    keras.layers.Dropout,
    keras.layers.UpSampling2D,
    keras.layers.ZeroPadding2D,
    keras.layers.Rescaling,
)
_JOINS = (keras.layers.Concatenate, keras.layers.Add)


def networks() -> dict[str, keras.Model]:
    """Each network by the name of its picture, with the sizes of its preset."""
    return {
        "unet": sar_keras.UNetGenerator(filters=16),
        "guided": sar_keras.GuidedGenerator(filters=16),
        "epcgan": EPCGenerator(),
        "resnet": ResNetGenerator(),
        "patchgan": sar_keras.PatchDiscriminator(),
        "autoencoder": keras.models.clone_model(Autoencoder(), input_tensors=keras.Input((256, 256, 3))),
        "vgg16": sar_keras.VGG16Features(input_shape=(256, 256, 3)),
    }


def draw(model: keras.Model) -> str:
    """A network as SVG: a bar for each layer that changes the image, an arc for each connection that skips some."""
    bars: dict[str, int] = {}  # the name of a layer to the bar that shows what it gives
    shapes, arcs = [], []
    for layer in model.layers:
        sources = [bars[name] for name in _sources(model, layer) if name in bars]
        shape = layer.output.shape if not isinstance(layer.output, list) else layer.output[0].shape
        # A join of what one bar shows already is none, such as that of a slice and itself.
        if sources and (isinstance(layer, _LEFT_OUT) or (isinstance(layer, _JOINS) and len(set(sources)) == 1)):
            bars[layer.name] = sources[0]
            continue
        bars[layer.name] = len(shapes)
        shapes.append((tuple(shape[1:]), isinstance(layer, _JOINS), isinstance(layer, keras.layers.InputLayer)))
        arcs += [(source, len(shapes) - 1) for source in sources if len(shapes) - 1 - source > 1]
    return _svg(model.name, shapes, arcs)


def _sources(model: keras.Model, layer: keras.layers.Layer) -> list[str]:
    """The names of the layers that a layer of the model takes its input from."""
    inputs = [] if isinstance(layer, keras.layers.InputLayer) else layer.input
    inputs = list(inputs.values()) if isinstance(inputs, dict) else inputs if isinstance(inputs, list) else [inputs]
    made_by = {id(tensor): each.name for each in model.layers for tensor in _as_list(each.output)}
    return [made_by[id(tensor)] for tensor in inputs if id(tensor) in made_by]


def _as_list(tensors) -> list:
    return tensors if isinstance(tensors, list) else [tensors]


def _svg(name: str, shapes: list, arcs: list[tuple[int, int]]) -> str:
    x, centres, parts = 10.0, [], []
    for (height, width, channels), is_join, is_input in shapes:
        tall = 12 + 12 * math.log2(max(1, height))
        wide = max(4.0, 2.2 * math.log2(channels + 1) + channels / 40)
        fill = "#c9822b" if is_input else "#9aa7b3" if is_join else _COLOUR
        parts.append(
            f'<rect x="{x:.1f}" y="{_BOTTOM - tall:.1f}" width="{wide:.1f}" height="{tall:.1f}" rx="2" fill="{fill}">'
            f"<title>{height} x {width} x {channels}</title></rect>"
        )
        centre = x + wide / 2
        centres.append((centre, _BOTTOM - tall))
        parts.append(f'<text x="{centre:.1f}" y="{_BOTTOM + 12}">{channels}</text>')
        parts.append(f'<text x="{centre:.1f}" y="{_BOTTOM + 24}" class="size">{height}</text>')
        x += wide + _GAP
    for start, end in arcs:
        (x1, y1), (x2, y2) = centres[start], centres[end]
        top = max(6.0, min(y1, y2) - 10 - 0.12 * (x2 - x1))
        parts.append(
            f'<path d="M{x1:.1f} {y1:.1f} C{x1:.1f} {top:.1f} {x2:.1f} {top:.1f} {x2:.1f} {y2:.1f}" fill="none" '
            'stroke="#888" stroke-width="1"/>'
        )
    style = "text{font:9px sans-serif;text-anchor:middle;fill:#666}.size{font-size:8px;fill:#999}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{1.2 * x:.0f}" '
        f'viewBox="0 0 {x:.0f} {_BOTTOM + 30}" role="img">'
        f"<title>{name}</title><style>{style}</style>\n" + "\n".join(parts) + "\n</svg>\n"
    )


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, model in networks().items():
        (folder / f"{name}.svg").write_text(draw(model))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
