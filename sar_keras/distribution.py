"""On which devices a run computes, and in which precision."""

import os
import time
from pathlib import Path

import tensorflow as tf


def strategy_for(name: str) -> tf.distribute.Strategy:
    """The strategy for `train.strategy`: "one", "mirrored", or "auto" (mirrored over all GPUs where there are any)."""
    if name == "mirrored" or (name == "auto" and tf.config.list_logical_devices("GPU")):
        return tf.distribute.MirroredStrategy()
    return tf.distribute.get_strategy()


def resolve_precision(precision: str) -> str:
    """What "auto" means on this machine: "bfloat16" where that is fast, else "float32"."""
    if precision == "auto":
        return "bfloat16" if bfloat16_is_fast() else "float32"
    return precision


def dtype_policy_for(precision: str) -> str:
    """The Keras dtype policy for a resolved `train.precision`: variables and losses are float32 under each."""
    return "mixed_bfloat16" if precision == "bfloat16" else "float32"


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
    replicas = strategy.num_replicas_in_sync
    return f"{f'{replicas} {kind}s, mirrored' if replicas > 1 else kind}, {policy.removeprefix('mixed_')}"


def per_replica(loss: tf.Tensor) -> tf.Tensor:
    """Scale a replica's mean loss so that the optimizer's sum of gradients over replicas is the global batch's mean.

    https://www.tensorflow.org/tutorials/distribute/custom_training#define_the_loss_function
    """
    return loss / tf.distribute.get_strategy().num_replicas_in_sync
