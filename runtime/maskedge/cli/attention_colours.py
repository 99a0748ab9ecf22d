"""The colours of attention weights: blue ramps whose steps look equally far apart, one for paper and one for the dark.

White is 0 and takes no ink; lightness falls all the way to a deep blue for 1, so that the order survives a grey print
and every kind of colour blindness. The steps are equal in OKLab (Ottosson 2020), a space in which distances are as
large as they look: some steps of matplotlib's `Blues` are nearly three times as large as others, and `cividis` has no
white.
"""

import numpy as np
import numpy.typing as npt

from maskedge.arrays import Float64Array

__all__ = ["DARK", "LIGHT", "Ramp", "as_hex"]

Ramp = npt.NDArray[np.uint8]
"""[256, 3]: the sRGB colour of each weight, from 0 to 1."""

HUE = np.radians(262)
"""In OKLab; between the blues of the other pictures."""
SAMPLES = 4096
"""Of a curve, to measure its length by."""

OKLAB_TO_LMS = np.array(
    [[1, 0.3963377774, 0.2158037573], [1, -0.1055613458, -0.0638541728], [1, -0.0894841775, -1.2914855480]]
)
LMS_TO_SRGB = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)


def _ramp(*points: tuple[float, float]) -> Ramp:
    """Colours along the Bezier curve of three points (lightness, chroma), at equal distances."""
    start, bend, stop = np.array(points)[:, np.newaxis]
    along = np.linspace(0, 1, SAMPLES)[:, np.newaxis]
    curve = (1 - along) ** 2 * start + 2 * along * (1 - along) * bend + along**2 * stop  # [samples, 2]
    walked = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(curve, axis=0), axis=1))])
    places = np.linspace(0, walked[-1], 256)
    lightness, chroma = (np.interp(places, walked, values) for values in curve.T)
    return _srgb(np.stack([lightness, chroma * np.cos(HUE), chroma * np.sin(HUE)], axis=1))


def _srgb(oklab: Float64Array) -> Ramp:
    """OKLab colours as bytes of sRGB."""
    linear = (oklab @ OKLAB_TO_LMS.T) ** 3 @ LMS_TO_SRGB.T
    linear = np.clip(linear, 0, 1)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    ramp: Ramp = np.round(255 * encoded).astype(np.uint8)
    return ramp


def as_hex(ramp: Ramp) -> str:
    """The ramp as 6 hexadecimal digits a colour."""
    return ramp.tobytes().hex()


LIGHT = _ramp((1.0, 0.0), (0.62, 0.21), (0.27, 0.09))
"""From white to deep blue."""
DARK = _ramp((0.235, 0.004), (0.55, 0.20), (0.97, 0.015))
"""For a dark page: from its background to nearly white."""
