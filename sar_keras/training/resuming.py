"""What a run that goes on may have changed."""

from pathlib import Path

from sar_keras.config import Config, keys, load_run
from sar_keras.errors import ConfigError, OutputError

# Keys that a resumed run may have changed.
_MAY_CHANGE = (
    "train.epochs", "train.minutes", "refinement.epochs", "train.checkpoint_every", "train.keep", "train.strategy",
    "data.root", "data.sar", "data.optical", "data.on_error", "data.allow_outside",
)  # fmt: skip


def as_resumed(run: Path, config: Config) -> Config:
    """The saved configuration with what may change: more epochs, and the place where the data lies."""
    if not (run / "config.yaml").is_file():
        raise OutputError(f"{run}: holds no run to resume")
    saved_config = load_run(run)
    saved = keys(saved_config)
    for key, value in keys(config).items():
        if key in ("train.epochs", "refinement.epochs") and value < saved[key]:
            raise ConfigError(f"{key}: {value} is less than the run's {saved[key]}; it may only be raised")
        if key == "refinement.epochs" and value and not saved[key]:
            raise ConfigError("refinement.epochs: the run was begun without a refinement; start a new one")
        # "auto" stands for what it meant when the run began.
        if key not in _MAY_CHANGE and value not in (saved.get(key), "auto"):
            raise ConfigError(
                f"{key}: the run has {saved.get(key)}; only {', '.join(_MAY_CHANGE)} may change in a run that goes on"
            )
    precision = {"precision": saved_config.train.precision}
    return config.model_copy(update={"train": config.train.model_copy(update=precision)})
