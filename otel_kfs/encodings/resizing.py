"""Makes a picture as small as its model sees it, before it travels."""

from __future__ import annotations

import io

from otel_kfs.errors import InputError, MissingExtra

# High, and without colour subsampling, so that the model's score moves little: such a picture is small in any case.
_QUALITY = 98
_FULL_COLOUR = 0


def resized(image: bytes, side: int) -> bytes:
    """A JPG whose shorter side has `side` pixels, in the same shape; an image that is no larger stays as it is.

    A model that crops 224 pixels out of a picture with a shorter side of 256 wants 256 here: with 224 its transformer
    would enlarge the picture again. EXIF data and colour profile stay.

    Raises:
        InputError: the image can't be decoded.
        MissingExtra: Pillow is not installed.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingExtra("Pillow", "encodings") from error
    try:
        with Image.open(io.BytesIO(image)) as picture:
            if min(picture.size) <= side:
                return image
            scale = side / min(picture.size)
            size = (max(side, int(picture.width * scale)), max(side, int(picture.height * scale)))
            picture.draft("RGB", size)  # a JPG is decoded at the nearest eighth of its size that is not smaller
            picture.decodermaxblock = len(image)  # in one piece: it is in memory already
            small = picture.convert("RGB").resize(size, Image.Resampling.BILINEAR)
            kept = {key: picture.info[key] for key in ("exif", "icc_profile") if picture.info.get(key)}
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"can't resize the image: {error}") from error
    file = io.BytesIO()
    small.save(file, "JPEG", quality=_QUALITY, subsampling=_FULL_COLOUR, **kept)
    return file.getvalue()
