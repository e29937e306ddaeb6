"""Guided colours: a generator that sees, beside the SAR image, a hint of the colours."""

from sar_keras.models.pix2pix import Pix2Pix
from sar_keras.models.systems import GuidedNetworks
from sar_keras.networks.guided import GuidedGenerator


class Guided(Pix2Pix):
    """Pix2Pix whose generator takes {"sar": SAR, "hint": hint}, see `sar_keras.hint_planes`.

    It is trained on batches ({"sar": sar, "hint": hint}, optical). The discriminator, where there is one, sees no hint.
    """

    description = "guided U-Net"
    guided = True

    @classmethod
    def build_generator(cls, model: GuidedNetworks, size: int, dtype: str):
        return GuidedGenerator(
            (size, size, model.channels),
            model.filters,
            normalization=model.normalization,
            upsampling=model.upsampling,
            dropout=model.dropout,
            dtype=dtype,
        )

    @classmethod
    def options(cls, model: GuidedNetworks, loss, seed: int):
        return {"view": model.view}

    def _judge(self, sar, optical):
        return super()._judge(sar["sar"], optical)
