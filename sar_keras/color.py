"""Colour spaces, and the views of a pair that a discriminator judges. Tensors are NHWC, float32."""

import tensorflow as tf

VIEWS = ("luma", "ab", "rgb")


def luminance(rgb: tf.Tensor) -> tf.Tensor:
    """Luma of ITU-R BT.601: RGB (..., 3) in [-1, 1] to (..., 1) in [-1, 1]."""
    return tf.reduce_sum(rgb * tf.constant([0.299, 0.587, 0.114], rgb.dtype), axis=-1, keepdims=True)


def rgb_to_lab(rgb: tf.Tensor) -> tf.Tensor:
    """CIE L*a*b* under D65 of sRGB: RGB (..., 3) in [-1, 1] to L in 0..100 and a, b in about -128..127.

    Differentiable everywhere: neither power is taken at zero. Constants: IEC 61966-2-1 and CIE 15.
    """
    rgb = (rgb + 1.0) / 2.0
    bright = ((tf.maximum(rgb, 0.04045) + 0.055) / 1.055) ** 2.4
    linear = tf.where(rgb > 0.04045, bright, rgb / 12.92)
    to_xyz = tf.constant(
        [[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]], rgb.dtype
    )
    white = tf.constant([0.95047, 1.0, 1.08883], rgb.dtype)
    xyz = tf.einsum("...c,xc->...x", linear, to_xyz) / white
    root = tf.where(xyz > 0.008856, tf.maximum(xyz, 0.008856) ** (1 / 3), 7.787 * xyz + 16 / 116)
    x, y, z = tf.unstack(root, axis=-1)
    return tf.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def lab_to_rgb(lab: tf.Tensor) -> tf.Tensor:
    """The inverse of `rgb_to_lab`; colours that sRGB cannot show are clipped to [-1, 1].

    The gradient passes the clipping, so that a colour outside can be learnt back.
    """
    lightness, a, b = tf.unstack(lab, axis=-1)
    y = (lightness + 16) / 116
    root = tf.stack([y + a / 500, y, y - b / 200], -1)
    white = tf.constant([0.95047, 1.0, 1.08883], lab.dtype)
    xyz = tf.where(root > 0.206893, tf.maximum(root, 0.206893) ** 3, (root - 16 / 116) / 7.787) * white
    to_rgb = tf.constant(
        [[3.240479, -1.537150, -0.498535], [-0.969256, 1.875992, 0.041556], [0.055648, -0.204043, 1.057311]], lab.dtype
    )
    linear = tf.einsum("...c,xc->...x", xyz, to_rgb)
    bright = 1.055 * tf.maximum(linear, 0.0031308) ** (1 / 2.4) - 0.055
    rgb = 2 * tf.where(linear > 0.0031308, bright, 12.92 * linear) - 1
    return rgb + tf.stop_gradient(tf.clip_by_value(rgb, -1.0, 1.0) - rgb)


def chroma(rgb: tf.Tensor) -> tf.Tensor:
    """The two chroma channels a, b of Lab, divided by 128: RGB (..., 3) in [-1, 1] to (..., 2) in [-1, 1]."""
    return rgb_to_lab(rgb)[..., 1:] / 128.0  # pyright: ignore[reportArgumentType] - TensorFlow's stub knows no "..."


def view(sar: tf.Tensor, optical: tf.Tensor, kind: str) -> tf.Tensor:
    """What a discriminator sees of a pair: SAR (N, H, W, c) and RGB (N, H, W, 3) to (N, H, W, channels), in [-1, 1].

    "luma": SAR beside luminance, c + 1 channels. "rgb": SAR beside RGB, c + 3. "ab": `chroma` alone.
    """
    if kind == "luma":
        return tf.concat([sar, luminance(optical)], -1)
    if kind == "rgb":
        return tf.concat([sar, optical], -1)
    if kind == "ab":
        return chroma(optical)
    raise ValueError(f"view must be one of {VIEWS}, got {kind!r}")


def view_channels(kind: str, sar_channels: int) -> int:
    """Number of channels of `view`."""
    return {"luma": sar_channels + 1, "rgb": sar_channels + 3, "ab": 2}[kind]
