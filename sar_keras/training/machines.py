"""On which devices and machines a run computes, and in which precision."""

import functools
import json
import os
import time
from pathlib import Path

import keras
import tensorflow as tf

from sar_keras import compat
from sar_keras.errors import ConfigError


def strategy_for(name: str) -> tf.distribute.Strategy:
    """The strategy for `train.strategy`; to be called before anything else of TensorFlow.

    "auto" is "multi_worker" where TF_CONFIG describes a cluster, else "mirrored" where there are GPUs, else "one".

    Raises:
        ConfigError: "multi_worker" without a usable TF_CONFIG.
    """
    if name == "multi_worker" or (name == "auto" and _cluster().get("cluster")):
        _check_cluster()
        return _the_only(tf.distribute.MultiWorkerMirroredStrategy)
    if name == "mirrored" or (name == "auto" and tf.config.list_logical_devices("GPU")):
        return _the_only(tf.distribute.MirroredStrategy)
    return tf.distribute.get_strategy()


@functools.cache
def _the_only(kind: type) -> tf.distribute.Strategy:
    """The one strategy of a process: a second would number its messages from the start again, and mix them up."""
    return kind()


def several_machines() -> bool:
    """Whether TF_CONFIG makes this process one of several."""
    cluster = _cluster().get("cluster")
    return isinstance(cluster, dict) and sum(len(hosts) for hosts in cluster.values()) > 1


def _cluster() -> dict:
    """What TF_CONFIG says of the machines and of this one's task, or an empty dict."""
    try:
        config = json.loads(os.environ.get("TF_CONFIG") or "{}")
    except ValueError as error:
        raise ConfigError(f"TF_CONFIG: not JSON: {error}") from error
    if not isinstance(config, dict):
        raise ConfigError("TF_CONFIG: must be a JSON object")
    return config


def _check_cluster() -> None:
    config = _cluster()
    try:
        task = config["task"]
        config["cluster"][task["type"]][int(task["index"])]
    except (KeyError, IndexError, TypeError, ValueError) as error:
        example = '{"cluster": {"worker": ["HOST1:PORT", "HOST2:PORT"]}, "task": {"type": "worker", "index": 0}}'
        raise ConfigError(f"TF_CONFIG: must name the machines and which of them this is, such as {example}") from error


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process is the one that writes and prints; of one machine it always is."""
    resolver = strategy.cluster_resolver
    if resolver is None or not resolver.cluster_spec().as_dict():
        return True
    chief = "chief" if "chief" in resolver.cluster_spec().jobs else "worker"
    return resolver.task_type == chief and resolver.task_id == 0


def resolve_precision(precision: str) -> str:
    """What "auto" means on this machine: "bfloat16" where that is fast, else "float32"."""
    if precision == "auto":
        return "bfloat16" if bfloat16_is_fast() else "float32"
    return precision


def dtype_policy_for(precision: str) -> str:
    """The Keras dtype policy for a resolved `train.precision`: variables and losses are float32 under each."""
    return precision if precision == "float32" else f"mixed_{precision}"


def with_loss_scaling(optimizer: keras.optimizers.Optimizer, policy: str) -> keras.optimizers.Optimizer:
    """The optimizer for a dtype policy: float16 loses small gradients unless the loss is scaled up."""
    return compat.LossScaleOptimizer(optimizer) if policy == "mixed_float16" else optimizer


def bfloat16_is_fast() -> bool:
    """Whether the devices multiply bfloat16 in hardware: GPUs since Ampere, x86 with AVX512_BF16 or AMX."""
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        capabilities = [tf.config.experimental.get_device_details(gpu).get("compute_capability") for gpu in gpus]
        return all(capability and capability >= (8, 0) for capability in capabilities)
    cpuinfo = Path("/proc/cpuinfo")
    flags = cpuinfo.read_text().split() if cpuinfo.is_file() else []
    return "avx512_bf16" in flags or "amx_bf16" in flags


def training_clock() -> float:
    """Seconds that count towards `train.minutes`: of the clock with GPUs, else of processor time, over all cores.

    On a CPU that other programs use too the clock would measure them.
    """
    if tf.config.list_logical_devices("GPU"):
        return time.perf_counter()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return time.process_time() / cores


def describe(strategy: tf.distribute.Strategy, policy: str) -> str:
    """A line for people: devices and precision."""
    kind = "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
    replicas, resolver = strategy.num_replicas_in_sync, strategy.cluster_resolver
    devices = f"{replicas} {kind}s, mirrored" if replicas > 1 else kind
    if resolver:
        devices += f", of {sum(map(len, resolver.cluster_spec().as_dict().values()))} workers"
    return f"{devices}, {policy.removeprefix('mixed_')}"


def mean_over_workers(value: float, strategy: tf.distribute.Strategy) -> float:
    """Outside a step: the mean of a number of each process; all have to call it, and wait for each other here."""
    if strategy.cluster_resolver is None:
        return value
    return float(strategy.reduce("MEAN", tf.constant(value, tf.float64), axis=None))


def wait_for_all(strategy: tf.distribute.Strategy) -> None:
    """Outside a step: wait until each process has come here."""
    mean_over_workers(0.0, strategy)
