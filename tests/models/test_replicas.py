import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from sar_keras.errors import TrainingDiverged
from sar_keras.models.replicas import descend
from sar_keras.training.failures import diverged


@pytest.mark.parametrize("system", ["pix2pix", pytest.param("cyclegan", marks=pytest.mark.slow)])
def test_two_devices_train_what_one_trains(system):
    script = Path(__file__).with_name("two_devices.py")
    environment = os.environ | {"TF_ENABLE_ONEDNN_OPTS": "0", "PYTHONPATH": os.pathsep.join(sys.path)}
    result = subprocess.run(
        [sys.executable, script, system], capture_output=True, text=True, timeout=300, env=environment
    )
    assert result.returncode == 0, result.stderr[-2000:]


@pytest.mark.parametrize(
    ("function", "message"),
    [
        # The root's gradient at zero is infinite, the root is not.
        (lambda x: tf.sqrt(x), r"the gradient of edges \+ l1 not finite at step 7, on a\.png"),
        (lambda x: tf.math.log(x - 1), "^edges not finite at step 7"),
    ],
)
def test_what_is_not_finite_does_not_reach_the_weights(function, message):
    weights = [tf.Variable([0.0, 1.0]), tf.Variable(5.0)]
    optimizer = keras.optimizers.Adam(0.1)
    optimizer.build(weights)

    @tf.function
    def step(function):
        with tf.GradientTape() as tape:
            terms = {"edges": tf.reduce_sum(function(weights[0])), "l1": tf.abs(weights[1])}
            loss = tf.add_n(list(terms.values()))
        descend(optimizer, tape, loss, weights, terms)

    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        step(function)
    with pytest.raises(TrainingDiverged, match=message):
        raise diverged(str(caught.value), 7, ["a.png"])
    np.testing.assert_array_equal(weights[0], [0, 1])
    assert float(weights[1]) == 5
    step(tf.square)
    assert float(weights[1]) < 5
