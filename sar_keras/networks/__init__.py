"""Functional Keras networks, in the style of keras.applications: no files, no runs, no training logic.

Importing this package makes their layers known to Keras, so that `keras.saving.load_model` reads every generator.
"""

from sar_keras.networks import epcgan, resnet, unet  # noqa: F401
