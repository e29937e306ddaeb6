"""Run by test_pix2pix.py in a process of its own: TensorFlow divides the CPU only before it is first used.

With TF_ENABLE_ONEDNN_OPTS=0: oneDNN's kernels depend on the processor and the batch, and round differently.
"""

import keras
import numpy as np
import tensorflow as tf

import sar_keras
from sar_keras import compat
from sar_keras.models.replicas import descend
from sar_keras.training.machines import with_loss_scaling

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)
random = np.random.default_rng(0)
sar, optical = (random.uniform(-1, 1, (12, 64, 64, c)).astype("float32") for c in (1, 3))


def train(strategy, normalization, dropout):
    keras.utils.set_random_seed(0)
    dataset = tf.data.Dataset.from_tensor_slices((sar, optical)).batch(4)
    with strategy.scope():
        model = sar_keras.Pix2Pix(
            sar_keras.UNetGenerator((64, 64, 1), 4, normalization=normalization, dropout=dropout),
            sar_keras.PatchDiscriminator((64, 64, 2), 4, normalization=normalization),
            sar_keras.VGG16Features("block1_conv1"),
        )
        # Plain descent: an update is proportional to the gradient, so a loss scaled twice, or never, would show.
        model.compile(keras.optimizers.SGD(0.01), keras.optimizers.SGD(0.01))
    before = model.generator.get_weights()
    history = model.fit(dataset, validation_data=dataset, shuffle=False, verbose=0).history
    return before, model.generator.get_weights() + model.discriminator.get_weights(), history


mirrored = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
assert mirrored.num_replicas_in_sync == 2

before, one, one_history = train(tf.distribute.get_strategy(), "instance", 0)
_, two, two_history = train(mirrored, "instance", 0)
assert max(np.abs(a - b).max() for a, b in zip(before, one, strict=False)) > 1e-3, "nothing was learned"
for a, b in zip(one, two, strict=True):
    np.testing.assert_allclose(a, b, atol=2e-5)
for name in one_history:
    np.testing.assert_allclose(one_history[name], two_history[name], rtol=1e-4, err_msg=name)

# With dropout the devices differ, but each update must be of the same size.
before, one, _ = train(tf.distribute.get_strategy(), "batch", 0.5)
_, two, _ = train(mirrored, "batch", 0.5)
moved = [sum(np.abs(a - b).sum() for a, b in zip(before, after, strict=False)) for after in (one, two)]
assert 0.75 < moved[0] / moved[1] < 1.33, moved

# What is not finite on one device only reaches the weights of none.
with mirrored.scope():
    model = sar_keras.Pix2Pix(sar_keras.UNetGenerator((64, 64, 1), 4))
    model.compile(keras.optimizers.SGD(0.01))
before, sar[3] = model.generator.get_weights(), np.nan
try:
    model.fit(tf.data.Dataset.from_tensor_slices((sar[:4], optical[:4])).batch(4), verbose=0)
except tf.errors.InvalidArgumentError as error:
    assert "[not finite:] [l1] [nan]" in str(error), error
else:
    raise AssertionError("the step went through")
trained = {id(variable) for variable in model.generator.trainable_variables}
assert trained & {id(weight) for weight in model.generator.weights}
for weight, value in zip(model.generator.weights, before, strict=True):
    if id(weight) in trained:
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
