"""The table of the systems, and the settings of each. It loads no TensorFlow because the configuration reads it.

A new system is one file in this folder with a subclass of `sar_keras.models.base.System`, one row here and one YAML in
`configs/`. The fields of its settings are the keys `model.*` and `loss.*` that a configuration of it may have.
"""

import dataclasses
import importlib
from typing import Any, ClassVar, Literal, TypeVar

import pydantic
from pydantic import Field

from sar_keras.models.terms import Term, terms_of


class Section(pydantic.BaseModel):
    """A section of a configuration: typed, without further keys."""

    model_config = pydantic.ConfigDict(extra="forbid", validate_default=True, allow_inf_nan=False)


class NetworkSettings(Section):
    """`model.*` of every system."""

    system: str = "pix2pix"
    filters: int = Field(default=64, ge=1)
    discriminator_filters: int = Field(default=64, ge=1)
    normalization: str = "batch"
    upsampling: Literal["resize", "transpose"] = "resize"
    channels: int = Field(default=1, ge=1, le=3)

    @pydantic.field_validator("normalization")
    @classmethod
    def _known_or_registered(cls, normalization):
        known = ("batch", "instance", "group", "layer", "none")
        if normalization not in known and ">" not in normalization:
            raise ValueError(f"must be {', '.join(known)} or a registered layer such as Addons>InstanceNormalization")
        return normalization


class LossSettings(Section):
    """`loss.*` of every system. The weights of the terms come from the table of terms, see `_with_weights`."""

    needs_met: ClassVar[tuple[str, ...]] = ()
    recommended: ClassVar[dict[str, float]] = {}  # weights that are not those of the table of terms
    discriminator: float = Field(default=0.5, gt=0)

    @classmethod
    def terms(cls) -> dict[str, Term]:
        return terms_of(cls.needs_met)

    def weights(self) -> dict[str, float]:
        """Each term with its weight, in the order of the table of terms."""
        return {name: getattr(self, name) for name in self.terms()}

    @pydantic.model_validator(mode="after")
    def _something_to_learn(self):
        weights = self.weights()
        if not any(weights.values()):
            raise ValueError(f"one of {', '.join(weights)} must be above 0")
        if weights.get("feature_matching") and not weights["adversarial"]:
            raise ValueError("feature_matching compares what the discriminator sees; it needs adversarial above 0")
        return self


AnyLossSettings = TypeVar("AnyLossSettings", bound=LossSettings)


def _with_weights(settings: type[AnyLossSettings]) -> type[AnyLossSettings]:
    """The settings with a field for the weight of each term that the system has."""
    weights = {name: term.weight for name, term in settings.terms().items()} | settings.recommended
    fields: dict[str, Any] = {name: (float, Field(weight, ge=0)) for name, weight in weights.items()}
    return pydantic.create_model(settings.__name__, __base__=settings, **fields)


class PairedNetworkSettings(NetworkSettings):
    """`model.*` of the systems whose discriminator judges a pair."""

    view: Literal["luma", "ab", "rgb"] = "luma"
    scales: int = Field(default=1, ge=1, le=3)


class UNetSettings(PairedNetworkSettings):
    """`model.*` of the systems that have a U-Net: as narrow as the preset `default`."""

    filters: int = Field(default=16, ge=1)
    dropout: float = Field(default=0.0, ge=0, lt=1)


class Pix2PixNetworks(UNetSettings):
    output: Literal["rgb", "ab"] = "rgb"


@_with_weights
class Pix2PixLoss(LossSettings):
    needs_met = ("colours", "images", "features", "logits", "activations")
    recommended: ClassVar[dict[str, float]] = {
        "l1": 0.0, "l2": 200.0, "ssim": 15.0, "edges": 200.0, "perceptual": 0.0, "adversarial": 0.0,
    }  # fmt: skip
    perceptual_layer: str = "block3_conv3"
    warm_up: int = Field(default=0, ge=0)


class GuidedNetworks(UNetSettings):
    normalization: str = "group"


@_with_weights
class GuidedLoss(Pix2PixLoss):
    recommended: ClassVar[dict[str, float]] = Pix2PixLoss.recommended | {"edges": 0.0}


class EPCGANNetworks(PairedNetworkSettings):
    blocks: int = Field(default=9, ge=1)


@_with_weights
class EPCGANLoss(LossSettings):
    needs_met = (*Pix2PixLoss.needs_met, "gradient")
    perceptual_layer: str = "block3_conv3"
    warm_up: int = Field(default=0, ge=0)


class CycleGANNetworks(NetworkSettings):
    blocks: int = Field(default=9, ge=1)


@_with_weights
class CycleGANLoss(LossSettings):
    needs_met = ("scores", "round_trip", "generators")


@dataclasses.dataclass(frozen=True)
class Settings:
    """The sections of a configuration that a system has of its own."""

    model: type[NetworkSettings]
    loss: type[LossSettings]


@dataclasses.dataclass(frozen=True)
class Row:
    """A system.

    Attributes:
        name: What `model.system` calls it.
        settings: Its sections of a configuration.
        path: Where its class lives, a subclass of `sar_keras.models.base.System`.
        largest_batch: The largest `train.batch_size`, or None.
    """

    name: str
    settings: Settings
    path: str
    largest_batch: int | None = None

    def load(self) -> Any:
        """Import the class, and with it TensorFlow."""
        module, _, name = self.path.rpartition(".")
        return getattr(importlib.import_module(module), name)


SYSTEMS = {
    row.name: row
    for row in (
        Row("pix2pix", Settings(Pix2PixNetworks, Pix2PixLoss), "sar_keras.models.pix2pix.Pix2Pix"),
        Row("guided", Settings(GuidedNetworks, GuidedLoss), "sar_keras.models.guided.Guided"),
        Row("epcgan", Settings(EPCGANNetworks, EPCGANLoss), "sar_keras.models.epcgan.EPCGAN"),
        # 50: the size of its image pool
        Row("cyclegan", Settings(CycleGANNetworks, CycleGANLoss), "sar_keras.models.cyclegan.CycleGAN", 50),
    )
}
