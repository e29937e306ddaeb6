"""Refines a trained generator's images with a denoising autoencoder, after the student report."""

import keras
import tensorflow as tf

from sar_keras import compat
from sar_keras.models import losses
from sar_keras.models.base import System
from sar_keras.models.replicas import descend
from sar_keras.networks.autoencoder import refined


class Refinement(System):
    """Trains an autoencoder from generated to optical images by mean squared error; the generator stays as it is.

    Args:
        trained: SAR (N, H, W, c) to optical (N, H, W, 3), in [-1, 1], trained already.
        autoencoder: Such as `sar_keras.networks.autoencoder.Autoencoder()`.

    Attributes:
        generator: Both as one model.
    """

    def __init__(self, trained: keras.Model, autoencoder: keras.Model, **kwargs):
        super().__init__(**kwargs)
        self.trained = trained
        self.autoencoder = autoencoder
        self.generator = refined(trained, autoencoder)
        self.built = True

    def compile(self, optimizer, run_eagerly=False):
        super().compile(optimizer, run_eagerly)
        compat.build(optimizer, self.autoencoder.trainable_variables)

    @property
    def state(self):
        return {"autoencoder": self.autoencoder, "autoencoder_optimizer": self.optimizer}

    def term_names(self):
        return ["mse"]

    def train_step(self, data):
        sar, optical, _ = keras.utils.unpack_x_y_sample_weight(data)
        generated = self.trained(sar, training=False)
        with tf.GradientTape() as tape:
            error = losses.mean_squared_error(self.autoencoder(generated, training=True), optical)
        descend(self.optimizer, tape, error, self.autoencoder.trainable_variables, {"mse": error})
        return self.report({"mse": error})
