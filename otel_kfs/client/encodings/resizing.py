"""Scales a picture down to the size that its model sees, before it is sent."""

from __future__ import annotations

import io
from contextlib import suppress
from typing import TYPE_CHECKING

from otel_kfs.errors import InputError, MissingExtra

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

# High, and without colour subsampling, so that the model's score moves little: such a picture is small in any case.
_QUALITY = 98
_FULL_COLOUR = 0
_PLAIN = {"RGB", "L"}


def load() -> None:
    """Import what resizing needs, so that no image waits for it: a fifth of a second.

    Raises:
        MissingExtra: Pillow is not installed.
    """
    try:
        import PIL.JpegImagePlugin  # noqa: F401
    except ImportError as error:
        raise MissingExtra("Pillow", "encodings") from error
    with suppress(ImportError):
        import simplejpeg  # noqa: F401


def resize(image: bytes, side: int) -> bytes:
    """Return a JPG whose shorter side has `side` pixels, in the same shape; an image that is no larger stays as it is.

    A model that crops 224 pixels out of a picture with a shorter side of 256 wants 256 here: with 224 its transformer
    would enlarge the picture again. EXIF data and colour profile stay.

    Raises:
        InputError: the image can't be decoded.
        MissingExtra: Pillow is not installed.
    """
    load()
    from PIL import Image

    try:
        with Image.open(io.BytesIO(image)) as picture:
            if min(picture.size) <= side:
                return image
            scale = side / min(picture.size)
            size = (max(side, int(picture.width * scale)), max(side, int(picture.height * scale)))
            small = _decoded(picture, image, size).resize(size, Image.Resampling.BILINEAR)
            kept = {key: picture.info[key] for key in ("exif", "icc_profile") if picture.info.get(key)}
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"can't resize the image: {error}") from error
    file = io.BytesIO()
    small.save(file, "JPEG", quality=_QUALITY, subsampling=_FULL_COLOUR, **kept)
    return file.getvalue()


def _decoded(picture: Picture, image: bytes, least: tuple[int, int]) -> Picture:
    """Decode to RGB: a JPG at the nearest eighth of its size that is at least `least`, another image in full."""
    if picture.format == "JPEG" and picture.mode in _PLAIN:
        try:
            import simplejpeg
            from PIL import Image

            # A few per cent faster than Pillow, with the same library below (benchmarks/hot_path.py).
            pixels = simplejpeg.decode_jpeg(image, "RGB", min_width=least[0], min_height=least[1])
            return Image.fromarray(pixels)
        except (ImportError, ValueError):
            pass  # Pillow forgives more in a file, and says better what is wrong with it
    picture.draft("RGB", least)
    picture.decodermaxblock = len(image)  # type: ignore[attr-defined]  # in one piece: it is in memory already
    return picture.convert("RGB")
