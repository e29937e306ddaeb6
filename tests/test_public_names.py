"""The public names to a type checker: `.ci/run` lets pyright read this file, where an `Any` would be an error."""

from pathlib import Path
from typing import TYPE_CHECKING

import sar_keras

if TYPE_CHECKING:
    from collections.abc import Callable

    import keras
    import numpy as np
    import tensorflow as tf
    from typing_extensions import assert_type

    def types(model: keras.Model) -> None:
        assert_type(sar_keras.__version__, str)
        assert_type(sar_keras.Config(), sar_keras.Config)
        assert_type(sar_keras.load_config("quick"), sar_keras.Config)
        assert_type(sar_keras.fit("quick", "run"), Path)
        assert_type(sar_keras.evaluate("run"), dict)
        assert_type(sar_keras.benchmark("comparison", minutes=1), Path)
        assert_type(sar_keras.compare(["a", "b"]), Path)
        assert_type(sar_keras.load_model("run"), keras.Model)
        assert_type(sar_keras.save_model(model, "file.keras", sar_keras.ModelMetadata()), None)
        assert_type(sar_keras.ModelMetadata(), sar_keras.ModelMetadata)
        assert_type(sar_keras.metadata_of(model), sar_keras.ModelMetadata)
        assert_type(sar_keras.colorize(model, "image.png"), np.ndarray)
        assert_type(sar_keras.with_uncertainty(model), Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]])
        assert_type(sar_keras.colorize_scene(model, "scene.tif", "colour.tif"), Path)
        assert_type(sar_keras.UNetGenerator(), keras.Model)
        assert_type(sar_keras.GuidedGenerator(), keras.Model)
        assert_type(sar_keras.compose_hint(tf.zeros((1, 256, 256, 3)), "coarse"), tf.Tensor)
        assert_type(sar_keras.inputs_of(model, tf.zeros((1, 256, 256, 1))), tf.Tensor | dict[str, tf.Tensor])
        assert_type(sar_keras.PatchDiscriminator(), keras.Model)
        assert_type(sar_keras.VGG16Features(), keras.Model)
        assert_type(sar_keras.Pix2Pix(model, model), sar_keras.Pix2Pix)
        assert_type(sar_keras.EPCGAN(model, model), sar_keras.EPCGAN)
        assert_type(sar_keras.CycleGAN(model, model, model, model), sar_keras.CycleGAN)


def test_pyright_reads_a_line_of_each():
    text = Path(__file__).read_text()
    assert [name for name in sar_keras.__all__ if f"assert_type(sar_keras.{name}" not in text] == []
