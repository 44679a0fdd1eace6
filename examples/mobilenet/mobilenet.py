"""What all servers share: from image to tensor, from tensor to class."""

import base64
import io
from pathlib import Path
from typing import TypedDict

import numpy as np
import onnxruntime
from PIL import Image, UnidentifiedImageError
from weights import onnx_model

SIDE = 256
CROP = 224
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)
# The same as one multiplication and one addition: (x / 255 - MEAN) / DEVIATION is x * SCALE + SHIFT, but for rounding.
SCALE = (1 / (255 * DEVIATION))[:, np.newaxis, np.newaxis]
SHIFT = (-MEAN / DEVIATION)[:, np.newaxis, np.newaxis]
# A picture one pixel wide would be enlarged to gigabytes: no photograph is this narrow.
NARROWEST = 50
# A JPG of a few kB may hold hundreds of megapixels, each of them 4 bytes or more while it is decoded.
MOST_PIXELS = 50_000_000

Classification = TypedDict("Classification", {"class": int, "score": float})


def to_tensor(image_base64: str | bytes) -> np.ndarray:
    """Decode a base64 JPG to the float32 tensor (1, 3, 224, 224) that MobileNet takes, as in 2020."""
    try:
        content = base64.b64decode(image_base64, validate=True)
    except ValueError as error:
        raise ValueError(f"the picture is not base64: {error}") from None
    # The full decode is deliberate: it is the straightforward way that the measurement is about.
    normal = (_pixels(_decode(content)).astype(np.float32) / 255 - MEAN) / DEVIATION
    return np.ascontiguousarray(normal.transpose(2, 0, 1)[np.newaxis])


def fast_tensor(content: bytes) -> np.ndarray:
    """Decode a JPG to the same tensor, at the smallest size that a JPG can be decoded to and that is large enough."""
    tensor = np.empty((1, 3, CROP, CROP), np.float32)
    np.multiply(_pixels(_decode(content, draft=(SIDE, SIDE))).transpose(2, 0, 1), SCALE, out=tensor[0])
    tensor += SHIFT
    return tensor


def _pixels(picture: Image.Image) -> np.ndarray:
    """Resize the shorter side to 256 and return the middle of the image, (224, 224, 3) uint8."""
    scale = SIDE / min(picture.size)
    width, height = (max(SIDE, int(length * scale)) for length in picture.size)
    left, top = (width - CROP) // 2, (height - CROP) // 2
    small = picture.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(small.crop((left, top, left + CROP, top + CROP)))


def _decode(content: bytes, draft: tuple[int, int] | None = None) -> Image.Image:
    """Decode an image to RGB; ValueError says in one line why that is not possible."""
    try:
        picture = Image.open(io.BytesIO(content), formats=["JPEG"])
        if max(picture.size) > NARROWEST * min(picture.size):
            raise ValueError(f"the picture is too narrow: {picture.width}x{picture.height}")
        if picture.width * picture.height > MOST_PIXELS:
            raise ValueError(
                f"the picture is too large: {picture.width}x{picture.height}, more than {MOST_PIXELS:,} pixels"
            )
        if draft:
            picture.draft("RGB", draft)  # an eighth, a quarter or a half of each side, within the decoder
            picture.decodermaxblock = len(content)  # in one piece: it is in memory already
        return picture.convert("RGB")
    except UnidentifiedImageError:
        raise ValueError("the picture is not a JPG image") from None
    except Image.DecompressionBombError as error:
        raise ValueError(f"the picture is too large: {error}") from None
    except (OSError, SyntaxError) as error:
        raise ValueError(f"the picture is a broken JPG image: {error}") from None


class MobileNet:
    """MobileNetV2 on the CPU."""

    def __init__(self, model: Path | None = None, threads: int = 1) -> None:
        """Use `threads` per request: 1 is best for many concurrent requests, more answer a single one sooner."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self._session = onnxruntime.InferenceSession(
            str(model or onnx_model()), options, providers=["CPUExecutionProvider"]
        )

    def classify(self, tensor: np.ndarray) -> Classification:
        """Return the most likely ImageNet class and its softmax score."""
        (logits,) = self._session.run(["logits"], {"input": tensor})[0]
        best = int(logits.argmax())
        return {"class": best, "score": float(1 / np.exp(logits - logits[best]).sum())}
