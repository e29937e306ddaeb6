"""The table of the terms that an objective may have. It loads no TensorFlow because the configuration reads it.

A new term is one function in `losses.py` and one row here. The row gives the term its key `loss.<name>`, its place in
`Pix2Pix(weights={"<name>": ...})`, and its name in the progress bar, `history.csv`, `history.png` and TensorBoard.
"""

import dataclasses
from collections.abc import Iterable


@dataclasses.dataclass(frozen=True)
class Term:
    """A term of the generator's objective.

    Attributes:
        name: What configuration, logs and curves call it.
        function: The function of `sar_keras.models.losses` that computes it.
        needs: What that function is called with. A system has the terms whose needs it meets:
            - "colours": generated and optical images in the space that the network predicts, RGB or chroma;
            - "images": generated and optical images, RGB in [-1, 1];
            - "features": a frozen network, generated and optical images;
            - "logits": the discriminator's logits of the generated images;
            - "activations": the discriminator's hidden activations of optical and of generated images;
            - "gradient": the output of a gradient branch, generated and optical images;
            - "scores": outputs of both of CycleGAN's discriminators for generated images;
            - "round_trip": both kinds of images after both of CycleGAN's generators, beside the images themselves;
            - "generators": both of CycleGAN's generators, SAR and optical images.
        weight: Its weight where a configuration does not set one.
        label: Its name in the progress bar, which has one line for all terms.
    """

    name: str
    function: str
    needs: str
    weight: float
    label: str


# The order is that of the sum, of the progress bar, and of the means in checkpoints: new rows come last.
TERMS = (
    Term("l1", "mean_absolute_error", "colours", 100.0, "L1"),
    Term("l2", "mean_squared_error", "images", 0.0, "L2"),
    Term("ssim", "ssim_loss", "images", 0.0, "SSIM"),
    Term("edges", "gradient_distance", "images", 0.0, "edges"),
    Term("perceptual", "perceptual_distance", "features", 0.01, "VGG"),
    Term("adversarial", "generator_cross_entropy", "logits", 1.0, "GAN"),
    Term("feature_matching", "feature_matching", "activations", 0.0, "FM"),
    Term("gradient", "gradient_branch_distance", "gradient", 10.0, "gradient"),
    Term("cycle", "cycle_distance", "round_trip", 10.0, "cycle"),
    Term("identity", "identity_distance", "generators", 5.0, "identity"),
    Term("adversarial", "generator_least_squares", "scores", 1.0, "GAN"),
)


# What a step reports of a discriminator, with its name in the progress bar.
OF_DISCRIMINATOR = {"discriminator_loss": "D", "d_real": "real", "d_fake": "fake"}


def terms_of(needs_met: Iterable[str]) -> dict[str, Term]:
    """The terms, by name, of a system that meets these needs."""
    met = set(needs_met)
    return {term.name: term for term in TERMS if term.needs in met}


def labels() -> dict[str, str]:
    """Every figure that a training step reports, with its name in the progress bar, in the order of the bar."""
    return {
        "generator_loss": "G",
        "mse": "MSE",
        **{term.name: term.label for term in TERMS},
        **OF_DISCRIMINATOR,
    }
