"""The run configuration: typed, YAML in, YAML out.

The defaults below are the preset `default`; `configs/default.yaml` lists each of them with its meaning.
"""

import difflib
import re
from pathlib import Path
from typing import Any, Literal

import pydantic
import yaml
from pydantic import Field

from sar_keras.errors import ConfigError
from sar_keras.io.files import atomic

# Beside the package in the source tree, inside it once installed.
_PRESETS = next(
    folder for folder in (Path(__file__).with_name("configs"), Path(__file__).parents[1] / "configs") if folder.is_dir()
)


_NOT_CYCLEGAN = ("l2", "ssim", "edges", "feature_matching")


class _Section(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", validate_default=True, allow_inf_nan=False)


class DataConfig(_Section):
    root: Path | None = None
    layout: Literal["auto", "terrain", "sen12", "folders", "manifest", "scenes", "synthetic"] = "auto"
    image_size: int = Field(256, ge=32, multiple_of=32)
    resize: bool = False
    split: str = "auto"
    ratios: tuple[float, float, float] = (0.8, 0.1, 0.1)
    limit: int | None = Field(None, ge=2)
    on_error: Literal["stop", "skip"] = "stop"
    allow_outside: bool = False
    augment: bool = True
    speckle: bool = False
    radiometric_jitter: float = Field(0.0, ge=0, le=1)
    to_mean_colour: float = Field(0.0, ge=0, le=1)

    @pydantic.field_validator("ratios")
    @classmethod
    def _shares(cls, ratios):
        if min(ratios) < 0 or ratios[0] <= 0:
            raise ValueError("must be three shares, of train (above 0), validation and test")
        return ratios


class ModelConfig(_Section):
    system: Literal["pix2pix", "epcgan", "cyclegan"] = "pix2pix"
    filters: int = Field(64, ge=1)
    blocks: int = Field(9, ge=1)
    discriminator_filters: int = Field(64, ge=1)
    normalization: str = "batch"
    upsampling: Literal["resize", "transpose"] = "resize"
    dropout: float = Field(0.5, ge=0, lt=1)
    output: Literal["rgb", "ab"] = "rgb"
    channels: int = Field(1, ge=1, le=3)
    view: Literal["luma", "ab", "rgb"] = "luma"
    scales: int = Field(1, ge=1, le=3)

    @pydantic.field_validator("normalization")
    @classmethod
    def _known_or_registered(cls, normalization):
        known = ("batch", "instance", "group", "layer", "none")
        if normalization not in known and ">" not in normalization:
            raise ValueError(f"must be {', '.join(known)} or a registered layer such as Addons>InstanceNormalization")
        return normalization

    @pydantic.field_validator("output")
    @classmethod
    def _only_the_unet(cls, output, info):
        if output == "ab" and info.data.get("system") != "pix2pix":
            raise ValueError("ab needs the U-Net of system: pix2pix")
        return output


class LossConfig(_Section):
    adversarial: float = Field(1.0, ge=0)
    discriminator: float = Field(0.5, gt=0)
    l1: float = Field(100.0, ge=0)
    l2: float = Field(0.0, ge=0)
    ssim: float = Field(0.0, ge=0)
    edges: float = Field(0.0, ge=0)
    perceptual: float = Field(0.01, ge=0)
    perceptual_layer: str = "block3_conv3"
    feature_matching: float = Field(0.0, ge=0)
    warm_up: int = Field(0, ge=0)
    gradient: float = Field(10.0, ge=0)
    cycle: float = Field(10.0, ge=0)
    identity: float = Field(5.0, ge=0)

    @pydantic.model_validator(mode="after")
    def _something_to_learn(self):
        if not (self.adversarial or self.l1 or self.l2 or self.ssim or self.perceptual):
            raise ValueError("one of adversarial, l1, l2, ssim and perceptual must be above 0")
        if self.feature_matching and not self.adversarial:
            raise ValueError("feature_matching compares what the discriminator sees; it needs adversarial above 0")
        return self


class OptimizerConfig(_Section):
    """A Keras optimizer as `keras.optimizers.get` takes it."""

    class_name: str = "Adam"
    config: dict[str, Any] = {"learning_rate": 2e-4, "beta_1": 0.5, "beta_2": 0.999}


class OptimizersConfig(_Section):
    generator: OptimizerConfig = OptimizerConfig()
    discriminator: OptimizerConfig = OptimizerConfig()
    refinement: OptimizerConfig = OptimizerConfig(config={"learning_rate": 1e-3})


class RefinementConfig(_Section):
    epochs: int = Field(0, ge=0)
    filters: int = Field(32, ge=1)


class TrainConfig(_Section):
    epochs: int = Field(100, ge=1)
    minutes: float | None = Field(None, gt=0)
    steps_per_epoch: int | None = Field(None, ge=1)
    checkpoint_every: str = "10 minutes"
    keep: int = Field(2, ge=1)
    best: Literal["psnr", "l1"] = "psnr"
    batch_size: int = Field(4, ge=1)
    decay: float = Field(0.0, ge=0, le=1)
    average: float = Field(0.0, ge=0, lt=1)
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    seed: int = Field(0, ge=0, lt=2**31)
    strategy: Literal["auto", "one", "mirrored", "multi_worker"] = "auto"

    @pydantic.field_validator("checkpoint_every")
    @classmethod
    def _an_interval(cls, text):
        interval(text)
        return text


def interval(text: str) -> tuple[float, str]:
    """Read "1 epoch", "500 steps" or "10 minutes" as a number and "epoch", "step" or "minute"."""
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?) (epoch|step|minute)s?", text)
    if not match or not float(match[1]):
        raise ValueError('must be such as "1 epoch", "500 steps" or "10 minutes"')
    return float(match[1]), match[2]


class Config(_Section):
    """Everything that decides a training run. Read one with `load_config`."""

    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    refinement: RefinementConfig = RefinementConfig()
    optimizer: OptimizersConfig = OptimizersConfig()
    train: TrainConfig = TrainConfig()

    @pydantic.model_validator(mode="after")
    def _fits_together(self):
        if self.model.system == "cyclegan":
            unused = {"model.scales": self.model.scales > 1, "loss.warm_up": self.loss.warm_up}
            unused |= {f"loss.{name}": getattr(self.loss, name) for name in _NOT_CYCLEGAN}
            for key, used in unused.items():
                if used:
                    raise ValueError(f"{key} has no meaning for model.system=cyclegan; leave it out")
            if self.train.batch_size > 50:
                raise ValueError("train.batch_size: at most 50 for model.system=cyclegan, the size of its image pool")
        smallest = 32 * 2 ** (self.model.scales - 1)
        if self.data.image_size < smallest:
            raise ValueError(f"data.image_size must be at least {smallest} for model.scales={self.model.scales}")
        return self

    def save(self, path: Path) -> None:
        """Write the resolved configuration as YAML; `load_config(path)` gives it back."""
        with atomic(path) as temporary:
            temporary.write_text(yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False), encoding="utf-8")


class _Loader(yaml.SafeLoader):
    """Safe YAML that reads 2e-4 as a number: YAML 1.1, which PyYAML follows, takes it for a string."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


# Values in a configuration's file. Aliases could make millions of them out of a few lines.
_MOST_VALUES = 10_000


def _load_yaml(text: str):
    """Safe YAML of a size that a configuration has; raises yaml.YAMLError or ValueError."""
    try:
        tree = yaml.load(text, _Loader)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    pending, count = [tree], 0
    while pending:
        value = pending.pop()
        count += 1
        if count > _MOST_VALUES:
            raise ValueError(f"holds more than {_MOST_VALUES} values")
        if isinstance(value, dict):
            pending += [*value.keys(), *value.values()]
        elif isinstance(value, list | tuple | set):
            pending += value
    return tree


def presets() -> list[str]:
    return sorted(path.stem for path in _PRESETS.glob("*.yaml"))


def load_config(name: str | Path, overrides: list[str] | tuple[str, ...] = ()) -> Config:
    """Read a preset by its name, or a YAML file by its path, and apply overrides such as "train.epochs=2".

    Raises:
        ConfigError: no such preset or file, not YAML, an unknown key (the nearest one is named), a wrong type or value.
    """
    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        path = _PRESETS / f"{name}.yaml"
        if not path.is_file():
            raise ConfigError(
                f"no preset {str(name)!r}{_nearest(str(name), presets())}; presets: {', '.join(presets())}; "
                "for a file of your own give its path, ending in .yaml"
            )
    try:
        tree = _load_yaml(path.read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path}: cannot be read ({error.__class__.__name__}); give a preset or a YAML file"
        ) from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date that does not exist
        raise ConfigError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: must hold keys such as train: {{epochs: 2}}")
    return override(_validated(tree, source=str(path)), overrides)


def override(config: Config, overrides: list[str] | tuple[str, ...]) -> Config:
    """Apply overrides such as "train.epochs=2" to a configuration."""
    return _validated(_with_overrides(config.model_dump(mode="json"), overrides), source="--set")


def keys(section: pydantic.BaseModel | None = None, prefix: str = "") -> dict[str, Any]:
    """Every key in full, such as "train.epochs", with its value."""
    found = {}
    for name, value in section or Config():
        if isinstance(value, _Section):
            found |= keys(value, f"{prefix}{name}.")
        else:
            found[prefix + name] = value
    return found


def _with_overrides(tree: dict, overrides) -> dict:
    for text in overrides:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise ConfigError(f"--set {text}: must be KEY=VALUE, such as train.epochs=2")
        try:
            value = _load_yaml(value)
        except (yaml.YAMLError, ValueError) as error:
            raise ConfigError(f"--set {text}: the value is not YAML") from error
        *sections, last = key.split(".")
        branch = tree
        for section in sections:
            if branch.get(section) is None:
                branch[section] = {}
            branch = branch[section]
            if not isinstance(branch, dict):
                raise ConfigError(f"--set {text}: {section} is a value, not a section{_nearest(key)}")
        branch[last] = value
    return tree


def _validated(tree: dict, source: str) -> Config:
    try:
        return Config.model_validate(tree)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            value = first["input"]
            if isinstance(value, dict) and value:  # a section: what was meant is told by the key in it
                key += f".{next(iter(value))}"
            raise ConfigError(f"{source}: unknown key {key}{_nearest(key)}") from error
        reason = first["msg"].removeprefix("Value error, ")
        if not key:  # of several keys together
            raise ConfigError(f"{source}: {reason}") from error
        raise ConfigError(f"{source}: {key}: {reason}, got {first['input']!r}") from error


def _nearest(name: str, known: list[str] | None = None) -> str:
    known = list(keys()) if known is None else known
    by_last_part = {key.rpartition(".")[2]: key for key in known}
    near = difflib.get_close_matches(name, known, 1, 0.5)
    near = near or [by_last_part[part] for part in difflib.get_close_matches(name.rpartition(".")[2], by_last_part, 1)]
    return f"; did you mean {near[0]}?" if near else ""
