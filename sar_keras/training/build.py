"""From a configuration to the networks, and to the model that trains them."""

import gc

import keras

from sar_keras import compat
from sar_keras.color import view_channels
from sar_keras.config import Config
from sar_keras.errors import ConfigError
from sar_keras.evaluation.machine import give_memory_back
from sar_keras.models.base import Colorizer
from sar_keras.models.cyclegan import CycleGAN
from sar_keras.models.epcgan import EPCGAN
from sar_keras.models.pix2pix import Pix2Pix
from sar_keras.models.refinement import Refinement
from sar_keras.networks.autoencoder import Autoencoder, refined
from sar_keras.networks.epcgan import EPCGenerator
from sar_keras.networks.patchgan import PatchDiscriminator
from sar_keras.networks.resnet import ResNetGenerator
from sar_keras.networks.rewriting import for_training
from sar_keras.networks.unet import UNetGenerator
from sar_keras.networks.vgg16 import VGG16Features
from sar_keras.training.machines import with_loss_scaling


def build_generator(config: Config, policy: str = "float32") -> keras.Model:
    """The generator from SAR to optical, not trained, without refinement."""
    model, size = config.model, config.data.image_size
    shape = (size, size, model.channels)
    common = {"normalization": model.normalization, "upsampling": model.upsampling, "dtype": policy}
    if model.system == "cyclegan":
        return ResNetGenerator(shape, model.filters, model.blocks, **common)
    if model.system == "epcgan":
        return EPCGenerator(shape, model.filters, model.blocks, **common)
    return UNetGenerator(shape, model.filters, dropout=model.dropout, output=model.output, **common)


def build_saved_generator(config: Config) -> keras.Model:
    """What a run saves: the float32 generator, with the autoencoder behind it where the run has one."""
    generator = build_generator(config)
    return refined(generator, Autoencoder(config.refinement.filters)) if config.refinement.epochs else generator


def build_model(config: Config, policy: str) -> Colorizer:
    """The compiled model that trains the generator.

    Raises:
        ConfigError: an optimizer or a VGG16 layer that cannot be had.
    """

    def scaled(which):
        return with_loss_scaling(optimizer(config, which), policy)

    give_memory_back()
    loss = config.loss
    generator, averaged = _for_training(build_generator(config, policy), policy), None
    gc.collect()  # the first copy, whose layers refer to one another and so keep it
    if config.train.average:
        averaged = build_generator(config, policy)
        averaged.set_weights(generator.get_weights())
    if config.model.system == "cyclegan":
        size, channels = config.data.image_size, config.model.channels
        back = ResNetGenerator(
            (size, size, 3),
            config.model.filters,
            config.model.blocks,
            config.model.normalization,
            config.model.upsampling,
            output_channels=channels,
            dtype=policy,
            name="back_generator",
        )
        model = CycleGAN(
            generator,
            _for_training(back, policy),
            _discriminator(config, 3, policy, "optical_discriminator"),
            _discriminator(config, channels, policy, "sar_discriminator"),
            adversarial=loss.adversarial,
            cycle=loss.cycle,
            identity=loss.identity,
            discriminator_factor=loss.discriminator,
            seed=config.train.seed,
            averaged=averaged,
        )
        model.compile(scaled("generator"), scaled("discriminator"))
        return model

    discriminator = None
    if loss.adversarial:
        channels = view_channels(config.model.view, config.model.channels)
        discriminator = _discriminator(config, channels, policy, "patch_discriminator")
    arguments = {
        "view": config.model.view,
        "space": config.model.output,
        "adversarial": loss.adversarial,
        "l1": loss.l1,
        "l2": loss.l2,
        "ssim": loss.ssim,
        "edges": loss.edges,
        "perceptual": loss.perceptual,
        "feature_matching": loss.feature_matching,
        "discriminator_factor": loss.discriminator,
        "averaged": averaged,
    }
    features = _features(config, policy) if loss.perceptual else None
    if config.model.system == "epcgan":
        model = EPCGAN(generator, discriminator, features, gradient=loss.gradient, **arguments)
    else:
        model = Pix2Pix(generator, discriminator, features, **arguments)
    model.compile(scaled("generator"), scaled("discriminator") if discriminator else None)
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
        return compat.fused(keras.optimizers.get(described))
    except (ValueError, TypeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ConfigError(f"optimizer.{which}: not an optimizer that Keras can make: {reason}") from error


def learning_rates(config: Config, model: Colorizer) -> list[tuple[keras.optimizers.Optimizer, float]]:
    """The optimizers of a model that has not trained yet, each with its learning rate.

    Raises:
        ConfigError: a schedule, which `train.decay` would overrule.
    """
    rates = []
    for which, own in (("generator", model.optimizer), ("discriminator", model.discriminator_optimizer)):
        if own is None:
            continue
        described = getattr(config.optimizer, which).config.get("learning_rate")
        if isinstance(described, dict):
            raise ConfigError(
                f"train.decay: optimizer.{which} has a schedule of its own; give it a number, or no decay"
            )
        rates.append((own, float(own.learning_rate.numpy())))
    return rates


def _discriminator(config: Config, channels: int, policy: str, name: str) -> keras.Model:
    size, model = config.data.image_size, config.model
    discriminator = PatchDiscriminator(
        (size, size, channels), model.discriminator_filters, model.normalization, model.scales, dtype=policy, name=name
    )
    return _for_training(discriminator, policy)


def _for_training(network: keras.Model, policy: str) -> keras.Model:
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
