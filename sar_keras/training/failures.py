"""What goes wrong in a training, in words for people: each error that a user can cause becomes one of ours."""

import math
import re
from pathlib import Path

import tensorflow as tf

from sar_keras.errors import DataError, OutputError, SarKerasError, TrainingDiverged, WorkerLost, is_disk_full
from sar_keras.models.replicas import NOT_FINITE

# The end of the message of a run that diverged.
_LOWER = (
    "the last checkpoint stays as it is. A lower learning rate (optimizer.generator.config.learning_rate) or "
    "train.precision=float32 usually helps"
)


def explained(error: BaseException, run: Path, strategy: tf.distribute.Strategy) -> SarKerasError | None:
    """The error of ours that says what another error of a training means, or None where that is not known."""
    go_on = f"sar-keras fit --out {run} --resume"
    if lost := lost_workers(error, strategy):
        return WorkerLost(
            f"{lost} no longer answers; look at its log, then go on from the last checkpoint on all machines: {go_on}"
        )
    if is_disk_full(error):
        then = f", then go on: {go_on}" if (run / "config.yaml").is_file() else ""
        return OutputError(f"{run}: the disk is full; free some space{then}")
    # A file that broke while it was read inside the tf.data pipeline.
    if isinstance(error, tf.errors.OpError) and (line := re.search("DataError: (.+)", str(error))):
        return DataError(line[1])
    return None


def lost_workers(error: BaseException, strategy: tf.distribute.Strategy) -> str | None:
    """Which machines an error says no longer answer, or None where it says no such thing."""
    if strategy.cluster_resolver is None or not isinstance(error, tf.errors.UnavailableError | tf.errors.AbortedError):
        return None
    # The operation that failed is named with the device of this process.
    tasks = re.findall(r"(?<!device_)/job:(\w+)(?:/replica:\d+)?/task:(\d+)", str(error))
    cluster = strategy.cluster_resolver.cluster_spec().as_dict()
    lost = {f"{job} {index} ({cluster[job][int(index)]})" for job, index in tasks if job in cluster}
    return ", ".join(sorted(lost)) or "a worker"


def diverged(message: str, step: int, files: list[Path]) -> TrainingDiverged:
    """What `sar_keras.models.replicas.descend` has found at a step, and the files of its batch."""
    terms = dict(re.findall(r"\[(\w+)\] \[(\S+)\]", message[message.index(NOT_FINITE) :]))
    broken = [name for name, value in terms.items() if not math.isfinite(float(value))]
    what = ", ".join(broken) or f"the gradient of {' + '.join(terms)}"
    return TrainingDiverged(
        f"{what} not finite at step {step}, on {', '.join(map(str, files))}; it has not reached the weights, and "
        f"{_LOWER}"
    )


def weights_not_finite(network: str, step: int) -> TrainingDiverged:
    return TrainingDiverged(f"the {network}'s weights are not finite after step {step}; {_LOWER}")
