import numpy as np
import pytest
from helpers import check_saving_and_other_sizes

from sar_keras.networks.epcgan import EdgePreservingConvolution, EPCGenerator, GradientMagnitude


def test_the_convolution_is_the_papers_formula_summed_pixel_by_pixel(random):
    layer = EdgePreservingConvolution(2, guide_filters=4)
    image = random.normal(size=(1, 5, 6, 3)).astype("float32")
    layer.build(image.shape)
    layer.set_weights([random.normal(size=weight.shape) for weight in layer.get_weights()])
    guide_kernel, guide_bias, kernel, bias, texture_kernel = (
        np.array(w) for w in (*layer.guide.weights, *layer.content.weights, *layer.texture.weights)
    )
    kernel = kernel.reshape(3, 3, 3, 2)  # row, column, in, out

    def at(array, row, column):
        inside = 0 <= row < 5 and 0 <= column < 6
        return array[row, column] if inside else np.zeros(array.shape[-1])

    window = [(r, c) for r in (-1, 0, 1) for c in (-1, 0, 1)]
    content = np.zeros((5, 6, 3))
    for row, column in np.ndindex(5, 6):
        # The mean over the part of the window that lies inside.
        near = [(row + r, column + c) for r, c in window if 0 <= row + r < 5 and 0 <= column + c < 6]
        content[row, column] = np.mean([image[0, r, c] for r, c in near], axis=0)
    features = content @ guide_kernel[0, 0] + guide_bias
    expected = np.zeros((5, 6, 2))
    for row, column in np.ndindex(5, 6):
        total = bias.copy()
        for r, c in window:
            difference = features[row, column] - at(features, row + r, column + c)
            weight = np.exp(-0.5 * (difference**2).sum())
            total += weight * at(content, row + r, column + c) @ kernel[r + 1, c + 1]
            total += at(image[0] - content, row + r, column + c) @ texture_kernel[r + 1, c + 1]
        expected[row, column] = total
    np.testing.assert_allclose(layer(image)[0], expected, rtol=1e-4, atol=1e-4)


def test_gradient_magnitude_of_a_ramp():
    ramp = np.tile(np.arange(8.0), (8, 1))[None, ..., None].astype("float32")
    inner = GradientMagnitude()(ramp)[0, 1:-1, 1:-1, 0]
    np.testing.assert_allclose(inner, 1.0, atol=1e-3)


@pytest.mark.parametrize("normalization", ["batch", "layer"])
def test_shapes_saving_and_other_sizes(normalization, tmp_path, random):
    generator = EPCGenerator((32, 32, 1), 4, 1, normalization)
    sar = random.uniform(-1, 1, (2, 32, 32, 1)).astype("float32")
    assert generator.get_layer("gradient").output.shape == (None, 32, 32, 1)
    check_saving_and_other_sizes(generator, sar, tmp_path / "g.keras")


def test_bfloat16_gives_float32():
    generator = EPCGenerator((32, 32, 1), 4, 1, dtype="mixed_bfloat16")
    assert generator.output.dtype == generator.get_layer("gradient").output.dtype == "float32"
    assert {layer.compute_dtype for layer in generator.layers if isinstance(layer, EdgePreservingConvolution)} == {
        "bfloat16"
    }
