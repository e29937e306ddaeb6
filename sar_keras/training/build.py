"""Builds the networks that a configuration describes, and the model that trains them."""

import gc

import keras

from sar_keras import compat
from sar_keras.config import Config
from sar_keras.errors import ConfigError
from sar_keras.models.base import System
from sar_keras.models.refinement import Refinement
from sar_keras.models.systems import SYSTEMS
from sar_keras.networks.autoencoder import Autoencoder, refined
from sar_keras.networks.rewriting import for_training, image_by_image
from sar_keras.networks.vgg16 import VGG16Features
from sar_keras.training.machines import with_loss_scaling


def build_generator(config: Config, policy: str = "float32") -> keras.Model:
    """The generator from SAR to optical, not trained, without refinement."""
    return _system(config).build_generator(config.model, config.data.image_size, policy)


def build_saved_generator(config: Config) -> keras.Model:
    """What a run saves: the float32 generator, with the autoencoder behind it where the run has one."""
    generator = build_generator(config)
    return refined(generator, Autoencoder(config.refinement.filters)) if config.refinement.epochs else generator


def build_model(config: Config, policy: str) -> System:
    """The compiled model that trains the generator.

    Raises:
        ConfigError: an optimizer or a VGG16 layer that cannot be had.
    """
    system, size, loss = _system(config), config.data.image_size, config.loss
    # The L1 distance is reported whether it counts or not.
    weights = {name: weight for name, weight in loss.weights().items() if weight or name == "l1"}
    networks = {"generator": build_generator(config, policy)} | system.build_others(config.model, loss, size, policy)
    networks = {name: _faster(network, policy) for name, network in networks.items()}
    if any(term.needs == "features" and weights.get(term.name) for term in loss.terms().values()):
        networks["features"] = _features(config, policy)
    if config.train.average:
        networks["averaged"] = build_generator(config, policy)
        networks["averaged"].set_weights(networks["generator"].get_weights())
    gc.collect()  # the networks that were copied, whose layers refer to one another and so keep them
    model = system(
        **networks,
        weights=weights,
        discriminator_factor=loss.discriminator,
        **system.options(config.model, loss, config.train.seed),
    )
    if "perceptual" in model.term_functions:
        model.term_functions["perceptual"] = image_by_image(model.term_functions["perceptual"])
    optimizers = [with_loss_scaling(optimizer(config, "generator"), policy)]
    if "discriminator" in networks:
        optimizers.append(with_loss_scaling(optimizer(config, "discriminator"), policy))
    model.compile(*optimizers)
    return model


def build_refinement(config: Config, policy: str, trained: keras.Model) -> Refinement:
    """The compiled model that trains an autoencoder behind `trained`."""
    model = Refinement(trained, Autoencoder(config.refinement.filters, dtype=policy))
    model.compile(with_loss_scaling(optimizer(config, "refinement"), policy))
    return model


def optimizer(config: Config, which: str) -> keras.optimizers.Optimizer:
    """A new optimizer as the configuration describes it: "generator", "discriminator" or "refinement".

    Raises:
        ConfigError: Keras cannot make it.
    """
    described = getattr(config.optimizer, which).model_dump()
    if ">" in described["class_name"]:
        compat.registered(described["class_name"])
    try:
        rate = described["config"].get("learning_rate")
        if isinstance(rate, dict):
            # Keras finds a schedule by its class name only here, not inside an optimizer's config.
            described["config"]["learning_rate"] = keras.optimizers.schedules.deserialize(rate)
        return keras.optimizers.get(described)
    except (ValueError, TypeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ConfigError(f"optimizer.{which}: not an optimizer that Keras can make: {reason}") from error


def learning_rates(config: Config, model: System) -> list[tuple[keras.optimizers.Optimizer, float]]:
    """The optimizers of a model that has not trained yet, each with its learning rate.

    Raises:
        ConfigError: a schedule, which `train.decay` would overrule.
    """
    rates = []
    for which, trained_with in (("generator", model.optimizer), ("discriminator", model.discriminator_optimizer)):
        if trained_with is None:
            continue
        described = getattr(config.optimizer, which).config.get("learning_rate")
        if isinstance(described, dict):
            raise ConfigError(
                f"train.decay: optimizer.{which} has a schedule of its own; give it a number, or no decay"
            )
        rates.append((trained_with, float(trained_with.learning_rate.numpy())))
    return rates


def _system(config: Config) -> type[System]:
    return SYSTEMS[config.model.system].load()


def _faster(network: keras.Model, policy: str) -> keras.Model:
    """The faster copy, but in float32: there what one device and several train should differ by rounding only.

    The rounding of the copy's convolutions depends on how many images a device has, and small networks magnify it.
    """
    return network if policy == "float32" else for_training(network)


def _features(config: Config, policy: str) -> keras.Model:
    try:
        return VGG16Features(config.loss.perceptual_layer, dtype=policy)
    except Exception as error:  # Keras wraps a failed download in a plain Exception
        reason = str(error).strip().splitlines()[0]
        raise ConfigError(f"loss.perceptual_layer: {reason}; block3_conv3 needs no download") from error
