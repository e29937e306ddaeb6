"""The run configuration: typed, YAML in, YAML out.

The defaults below are the preset `default`; `configs/default.yaml` lists each of them with its meaning. The sections
`model` and `loss` are those of the system that `model.system` names, see `sar_keras.models.systems`.
"""

import difflib
import functools
import re
import warnings
from pathlib import Path
from typing import Any, Literal

import pydantic
import yaml
from pydantic import Field

from sar_keras.errors import ConfigError, parameter
from sar_keras.io.files import atomic
from sar_keras.models.systems import SYSTEMS, Pix2PixLoss, Pix2PixNetworks, Section

# Beside the package in the source tree, inside it once installed.
_PRESETS = next(
    folder for folder in (Path(__file__).with_name("configs"), Path(__file__).parents[1] / "configs") if folder.is_dir()
)


class HintsConfig(Section):
    """How often a guided model is trained with each kind of hint, in relation to the others."""

    none: float = Field(default=0.35, ge=0)
    palette: float = Field(default=0.1, ge=0)
    coarse: float = Field(default=0.15, ge=0)
    other_date: float = Field(default=0.4, ge=0)

    @pydantic.model_validator(mode="after")
    def _some(self):
        if not any(self.shares()):
            raise ValueError("one of them must be above 0")
        return self

    def shares(self) -> list[float]:
        return [self.none, self.palette, self.coarse, self.other_date]


class DataConfig(Section):
    root: Path | None = None
    sar: Path | None = None
    optical: Path | None = None
    layout: Literal["auto", "terrain", "sen12", "folders", "aligned", "manifest", "scenes", "synthetic"] = "auto"
    sar_side: Literal["left", "right"] | None = None
    image_size: int = Field(default=256, ge=32, multiple_of=32)
    resize: bool = False
    sar_bands: tuple[int | str, ...] | None = Field(default=None, min_length=1)
    optical_bands: tuple[int | str, int | str, int | str] | None = None
    split: str = "auto"
    ratios: tuple[float, float, float] = (0.8, 0.1, 0.1)
    limit: int | None = Field(default=None, ge=2)
    on_error: Literal["stop", "skip"] = "stop"
    allow_outside: bool = False
    augment: bool = True
    speckle: bool = False
    radiometric_jitter: float = Field(default=0.4, ge=0, le=1)
    to_mean_colour: float = Field(default=0.5, ge=0, le=1)
    hints: HintsConfig = HintsConfig()

    @pydantic.field_validator("sar_bands", mode="before")
    @classmethod
    def _one_band_alone(cls, bands):
        return (bands,) if isinstance(bands, int | str) else bands

    @pydantic.field_validator("ratios")
    @classmethod
    def _shares(cls, ratios):
        if min(ratios) < 0 or ratios[0] <= 0:
            raise ValueError("must be three shares, of train (above 0), validation and test")
        return ratios


class OptimizerConfig(Section):
    """A Keras optimizer as `keras.optimizers.get` takes it."""

    class_name: str = "Adam"
    config: dict[str, Any] = Field(default={"learning_rate": 2e-4, "beta_1": 0.5, "beta_2": 0.999})


class OptimizersConfig(Section):
    generator: OptimizerConfig = OptimizerConfig(config={"learning_rate": 1e-3, "beta_1": 0.5, "beta_2": 0.999})
    discriminator: OptimizerConfig = OptimizerConfig()
    refinement: OptimizerConfig = OptimizerConfig(config={"learning_rate": 1e-3})


class RefinementConfig(Section):
    epochs: int = Field(default=0, ge=0)
    filters: int = Field(default=32, ge=1)


class TrainConfig(Section):
    epochs: int = Field(default=100, ge=1)
    minutes: float | None = Field(default=None, gt=0)
    steps_per_epoch: int | None = Field(default=None, ge=1)
    checkpoint_every: str = "10 minutes"
    keep: int = Field(default=2, ge=1)
    best: Literal["psnr", "l1"] = "psnr"
    early_stopping: int | None = Field(default=None, ge=1)
    init: str | None = None
    batch_size: int = Field(default=8, ge=1)
    decay: float = Field(default=0.5, ge=0, le=1)
    average: float = Field(default=0.995, ge=0, lt=1)
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    seed: int = Field(default=0, ge=0, lt=2**31)
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


class Config(Section):
    """Everything that decides a training run. Read one with `load_config`."""

    data: DataConfig = DataConfig()
    model: Pix2PixNetworks = Pix2PixNetworks()
    loss: Pix2PixLoss = Pix2PixLoss()
    refinement: RefinementConfig = RefinementConfig()
    optimizer: OptimizersConfig = OptimizersConfig()
    train: TrainConfig = TrainConfig()

    @pydantic.model_validator(mode="after")
    def _fits_together(self):
        row = SYSTEMS.get(self.model.system)
        if row is None or not isinstance(self.model, row.settings.model):
            raise ValueError(f"model.system={self.model.system}: has other sections; make its Config with load_config")
        if row.name != "guided" and self.data.hints != HintsConfig():
            raise ValueError(f"data.hints has no meaning for model.system={row.name}; guided takes hints")
        largest = row.largest_batch
        if largest and self.train.batch_size > largest:
            raise ValueError(f"train.batch_size: at most {largest} for model.system={row.name}")
        bands = self.data.sar_bands
        if bands and len(bands) != self.model.channels:
            raise ValueError(
                f"data.sar_bands are {len(bands)}, model.channels is {self.model.channels}; make them equal"
            )
        scales = keys(self).get("model.scales", 1)
        smallest = 32 * 2 ** (scales - 1)
        if self.data.image_size < smallest:
            raise ValueError(f"data.image_size must be at least {smallest} for model.scales={scales}")
        return self

    def save(self, path: Path) -> None:
        """Write the resolved configuration as YAML; `load_config(path)` gives it back."""
        with atomic(path) as temporary:
            temporary.write_text(yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False), encoding="utf-8")


@functools.cache
def _config_of(system: str) -> type[Config]:
    """The configuration of a system, with its sections `model` and `loss`."""
    settings = SYSTEMS[system].settings
    model, loss = (settings.model, settings.model(system=system)), (settings.loss, settings.loss())
    return pydantic.create_model("Config", __base__=Config, model=model, loss=loss)


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


def presets() -> dict[str, str]:
    """What each preset is, by its name: the first line of its file."""
    lines = {path.stem: path.read_text(encoding="utf-8").splitlines()[0] for path in sorted(_PRESETS.glob("*.yaml"))}
    return {name: line.removeprefix(f"# {name}: ") for name, line in lines.items()}


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
                f"no preset {str(name)!r}{_nearest(str(name), list(presets()))}; presets: {', '.join(presets())}; "
                "for a file of your own give its path, ending in .yaml"
            )
    return override(_validated(_read_yaml(path), source=str(path)), overrides)


def load_run(run: Path) -> Config:
    """Read the configuration that a run saved.

    An earlier version saved the keys of all systems; those that this run's system does not use had no effect, and are
    left out with one warning.

    Raises:
        ConfigError: as `load_config`.
    """
    path = run / "config.yaml"
    tree = _read_yaml(path)
    unused = _unused_keys(tree)
    for key in unused:
        section, name = key.split(".")
        del tree[section][name]
    if unused:
        system = _system_of(tree, str(path))
        warnings.warn(f"{path}: left out, without effect in {system}: {', '.join(unused)}", stacklevel=1)
    return _validated(tree, source=str(path))


def _read_yaml(path: Path) -> dict:
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
    return tree


def override(config: Config, overrides: list[str] | tuple[str, ...]) -> Config:
    """Apply overrides such as "train.epochs=2" to a configuration."""
    tree = config.model_dump(mode="json")
    # Without defaults: another system has other keys.
    tree |= {name: getattr(config, name).model_dump(mode="json", exclude_unset=True) for name in ("model", "loss")}
    return _validated(
        _with_overrides(tree, overrides), source=parameter("overrides") if overrides else "the configuration"
    )


def keys(section: pydantic.BaseModel, prefix: str = "") -> dict[str, Any]:
    """Every key of a configuration in full, such as "train.epochs", with its value."""
    found = {}
    for name, value in section:
        if isinstance(value, Section):
            found |= keys(value, f"{prefix}{name}.")
        else:
            found[prefix + name] = value
    return found


def _system_of(tree: dict, source: str) -> str:
    """The system that a configuration's file is of."""
    system = _section(tree, "model").get("system", "pix2pix")
    if not isinstance(system, str) or system not in SYSTEMS:
        near = _nearest(str(system), list(SYSTEMS))
        raise ConfigError(f"{source}: model.system: must be one of {', '.join(SYSTEMS)}, got {system!r}{near}")
    return system


@functools.cache
def _all_keys() -> list[str]:
    return list(dict.fromkeys(key for system in SYSTEMS for key in keys(_config_of(system)())))


def is_of_other_systems(key: str, system: str) -> bool:
    """Whether a key such as "loss.cycle" has a meaning for other systems, but none for this one."""
    return key in _all_keys() and key not in keys(_config_of(system)())


def _unused_keys(tree: dict) -> list[str]:
    """The keys in a configuration's file that have no meaning for its system."""
    system = _system_of(tree, "the configuration")
    given = [f"{section}.{key}" for section in ("model", "loss") for key in _section(tree, section)]
    return [key for key in given if is_of_other_systems(key, system)]


def _section(tree: dict, name: str) -> dict:
    section = tree.get(name)
    return section if isinstance(section, dict) else {}


def _with_overrides(tree: dict, overrides) -> dict:
    for text in overrides:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise ConfigError(f"{parameter('overrides')} {text}: must be KEY=VALUE, such as train.epochs=2")
        try:
            value = _load_yaml(value)
        except (yaml.YAMLError, ValueError) as error:
            raise ConfigError(f"{parameter('overrides')} {text}: the value is not YAML") from error
        *sections, last = key.split(".")
        branch = tree
        for section in sections:
            if branch.get(section) is None:
                branch[section] = {}
            branch = branch[section]
            if not isinstance(branch, dict):
                raise ConfigError(
                    f"{parameter('overrides')} {text}: {section} is a value, not a section{_nearest(key)}"
                )
        branch[last] = value
    return tree


def _validated(tree: dict, source: str) -> Config:
    system = _system_of(tree, source)
    for key in _unused_keys(tree):
        raise ConfigError(
            f"{source}: {key} has no meaning for model.system={system}; leave it out, or begin with a preset of the "
            "system that you want"
        )
    try:
        return _config_of(system).model_validate(tree)
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
    known = _all_keys() if known is None else known
    by_last_part = {key.rpartition(".")[2]: key for key in known}
    near = difflib.get_close_matches(name, known, 1, 0.5)
    near = near or [by_last_part[part] for part in difflib.get_close_matches(name.rpartition(".")[2], by_last_part, 1)]
    return f"; did you mean {near[0]}?" if near else ""
