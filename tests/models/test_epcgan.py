import keras
import numpy as np
import pytest
from scipy import ndimage

from sar_keras.models.epcgan import EPCGAN


def gradient_magnitude(rgb):
    """(H, W, 3) to (H, W): Sobel's slopes of the luminance, a pixel apart."""
    grey = rgb.astype(float) @ [0.299, 0.587, 0.114]
    return np.hypot(*(ndimage.sobel(grey, axis, mode="mirror") / 8 for axis in (0, 1)))


def make(**options):
    keras.utils.set_random_seed(0)
    image = keras.Input((16, 16, 1))
    branch = keras.layers.Conv2D(1, 3, padding="same", name="gradient")(image)
    colours = keras.layers.Conv2D(3, 3, padding="same")(keras.layers.Concatenate()([image, branch]))
    return EPCGAN(keras.Model(image, colours), **options)


def test_the_gradient_counts_where_no_weights_are_given():
    assert make().term_weights == {"l1": 100.0, "gradient": 10.0}


def test_the_gradient_branch_and_the_image_are_both_held_to_the_true_gradients(random):
    sar, optical = (random.uniform(-1, 1, (2, 16, 16, channels)).astype("float32") for channels in (1, 3))
    model = make(weights={"gradient": 7.0, "l1": 100.0})
    model.compile(keras.optimizers.SGD(0.0001))
    generator = model.generator
    generated, predicted = keras.Model(generator.input, [generator.output, generator.get_layer("gradient").output])(sar)
    truth = np.stack([gradient_magnitude(image) for image in optical])
    distance = np.abs(np.array(predicted)[..., 0] - truth).mean()
    distance += np.abs(np.stack([gradient_magnitude(image) for image in np.array(generated)]) - truth).mean()

    logs = model.train_on_batch(sar, optical, return_dict=True)
    assert float(logs["gradient"]) == pytest.approx(distance, rel=1e-2)
    assert float(logs["generator_loss"]) == pytest.approx(100 * float(logs["l1"]) + 7 * distance, rel=1e-2)
    model.reset_metrics()
    assert float(model.train_on_batch(sar, optical, return_dict=True)["gradient"]) < distance
