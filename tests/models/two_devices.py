"""Run by test_replicas.py as `two_devices.py pix2pix|cyclegan`: TensorFlow divides the CPU only before its first use.

With TF_ENABLE_ONEDNN_OPTS=0: oneDNN's kernels depend on the processor and the batch, and round differently.
"""

import sys

import keras
import numpy as np
import tensorflow as tf
from helpers import one_convolution, small_discriminator

import sar_keras
from sar_keras import compat
from sar_keras.models.replicas import descend
from sar_keras.training.machines import with_loss_scaling

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)
mirrored = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
assert mirrored.num_replicas_in_sync == 2
random = np.random.default_rng(0)
sar, optical = (random.uniform(-1, 1, (12, 16, 16, c)).astype("float32") for c in (1, 3))
batches = tf.data.Dataset.from_tensor_slices((sar, optical)).batch(4)


def pix2pix():
    return sar_keras.Pix2Pix(one_convolution(), small_discriminator(2), sar_keras.VGG16Features("block1_conv1"))


def cyclegan():
    """A CycleGAN with a pool that is full after a step."""
    networks = one_convolution(1, 3), one_convolution(3, 1), small_discriminator(3), small_discriminator(1)
    return sar_keras.CycleGAN(*networks, pool=4)


def train(make, strategy):
    """The weights before and after an epoch, and what was logged."""
    keras.utils.set_random_seed(0)
    with strategy.scope():
        model = make()
        # Plain descent: an update is proportional to the gradient, so a loss scaled twice, or never, would show.
        model.compile(keras.optimizers.SGD(0.01), keras.optimizers.SGD(0.01))
    before = model.generator.get_weights() + model.discriminator.get_weights()
    history = model.fit(batches, validation_data=batches, shuffle=False, verbose=0).history
    return before, model.generator.get_weights() + model.discriminator.get_weights(), history


system = {"pix2pix": pix2pix, "cyclegan": cyclegan}[sys.argv[1]]
before, one, one_history = train(system, tf.distribute.get_strategy())
_, two, two_history = train(system, mirrored)
assert min(np.abs(a - b).max() for a, b in zip(before, one, strict=True)) > 1e-4, "nothing was learned"
for a, b in zip(one, two, strict=True):
    np.testing.assert_allclose(a, b, atol=1e-6)
assert one_history.keys() == two_history.keys() and len(one_history) > 6
for name in one_history:
    np.testing.assert_allclose(one_history[name], two_history[name], rtol=1e-4, err_msg=name)

# What is not finite on one device only reaches the weights of none.
with mirrored.scope():
    model = sar_keras.Pix2Pix(one_convolution())
    model.compile(keras.optimizers.SGD(0.01))
before, sar[3] = model.generator.get_weights(), np.nan
try:
    model.fit(tf.data.Dataset.from_tensor_slices((sar[:4], optical[:4])).batch(4), shuffle=False, verbose=0)
except tf.errors.InvalidArgumentError as error:
    assert "[not finite:] [l1] [nan]" in str(error), error
else:
    raise AssertionError("the step went through")
for weight, value in zip(model.generator.get_weights(), before, strict=True):
    np.testing.assert_array_equal(weight, value)

# float16: what is not finite on one device alone makes none of them move, and halves the scale of the loss.
with mirrored.scope():
    weight = tf.Variable(1.0)
    optimizer = with_loss_scaling(keras.optimizers.SGD(0.5), "mixed_float16")
    compat.build(optimizer, [weight])


@tf.function
def step(divisors):
    def on_each(divisor):
        with tf.GradientTape() as tape:
            # Finite at zero too, unlike its gradient.
            loss = tf.sqrt(weight - 1 + divisor**2)
        descend(optimizer, tape, loss, [weight], {})

    mirrored.run(on_each, args=(divisors,))


def divide_by(*values):
    step(
        mirrored.experimental_distribute_values_from_function(
            lambda context: tf.constant(values[context.replica_id_in_sync_group])
        )
    )
    return float(weight.numpy())


scale = float(compat.loss_scale(optimizer))
assert divide_by(1.0, 0.0) == 1.0 and float(compat.loss_scale(optimizer)) == scale / 2
assert divide_by(1.0, 2.0) == 1 - 0.5 * (0.5 / 1 + 0.5 / 2) / 2
