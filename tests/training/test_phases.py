import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import one_convolution, small_discriminator

import sar_keras
from sar_keras.compat import tensorflow_variables
from sar_keras.models.refinement import Refinement
from sar_keras.networks.autoencoder import Autoencoder
from sar_keras.training.phases import state_of
from sar_keras.training.run import Phase


def pix2pix():
    image = keras.Input((16, 16, 1))
    drawn = keras.layers.Dropout(0.5)(keras.layers.Conv2D(4, 3, padding="same")(image))
    drawn = keras.layers.BatchNormalization()(drawn)
    generator = keras.Model(image, keras.layers.Conv2D(3, 3, padding="same")(drawn))
    model = sar_keras.Pix2Pix(generator, small_discriminator(2), averaged=one_convolution())
    model.compile(keras.optimizers.Adam(0.01, 0.5), keras.optimizers.Adam(0.02, 0.6))
    return [model]


def cyclegan():
    networks = one_convolution(1, 3), one_convolution(3, 1), small_discriminator(3), small_discriminator(1)
    model = sar_keras.CycleGAN(*networks, pool=2)  # full after the first step
    model.compile(keras.optimizers.Adam(0.01, 0.5), keras.optimizers.Adam(0.02, 0.6))
    return [model]


def refinement():
    trained = sar_keras.Pix2Pix(one_convolution())
    model = Refinement(trained.generator, Autoencoder(2))
    for each in (trained, model):
        each.compile(keras.optimizers.Adam(0.01))
    return [trained, model]


def everything(model):
    """The weights of all networks, of the optimizers and of the pools."""
    variables = [weight for network in model.layers for weight in tensorflow_variables(network.weights)]
    for optimizer in filter(None, (model.optimizer, model.discriminator_optimizer)):
        variables += tensorflow_variables(optimizer.variables)
    if isinstance(model, sar_keras.CycleGAN):
        variables += [model.optical_pool.images, model.sar_pool.images]
    return [variable.numpy() for variable in variables]


@pytest.mark.parametrize("make", [pix2pix, cyclegan, refinement])
def test_a_checkpoint_holds_all_that_the_next_step_depends_on(make, tmp_path, random):
    batches = [
        tuple(tf.constant(random.uniform(-1, 1, (2, 16, 16, channels)), tf.float32) for channels in (1, 3))
        for _ in range(4)
    ]

    def new(seed):
        keras.utils.set_random_seed(seed)
        phases = [Phase(model, epochs=1, minutes=None) for model in make()]
        return phases[-1].model, phases[-1], state_of(phases)

    model, phase, state = new(0)
    for batch in batches[:3]:
        model.train_on_batch(*batch)
    if model.averaged:
        model.averaged.layers[-1].bias.assign([1.0, 2.0, 3.0])
    for number, variable in enumerate(phase.progress.values(), start=1):
        variable.assign(number)
    state.write(str(tmp_path / "state"))
    logs = model.train_on_batch(*batches[3], return_dict=True)

    other, other_phase, other_state = new(1)
    other_state.read(str(tmp_path / "state")).assert_consumed()
    assert logs == other.train_on_batch(*batches[3], return_dict=True)
    found = everything(other)
    assert len(found) > 8
    for one, another in zip(everything(model), found, strict=True):
        np.testing.assert_array_equal(one, another)
    progress = other_phase.epochs_done, other_phase.steps_into_epoch, other_phase.steps, other_phase.minutes_spent
    assert progress == (1, 2, 3, 4)
