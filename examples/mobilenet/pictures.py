"""Makes the four JPGs of the measurement from a real photograph, as a camera would have written them."""

import argparse
import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from cache import cache_folder, write_whole
from PIL import Image

PHOTO = Path(__file__).with_name("photos") / "chelsea.jpg"
QUALITY = 90
TOLERANCE = 0.004

# The noise of a dark pixel, as a share of the noise of a white one.
READ_NOISE = 0.15
MOST_NOISE = 64.0
SEED = 2020

BAND = 32
DRAFT_BANDS = 12
BISECTIONS = 14
ATTEMPTS = 5


@dataclass(frozen=True)
class Size:
    """An image to make: its name, its file size, and the pixels of a camera that writes such files."""

    name: str
    bytes: int
    width: int
    height: int


SIZES = (
    Size("1.1MB.jpg", 1_110_000, 2160, 1440),
    Size("3.3MB.jpg", 3_330_000, 3888, 2592),
    Size("4.7MB.jpg", 4_710_000, 4272, 2848),
    Size("10.2MB.jpg", 10_200_000, 6000, 4000),
)


def pictures(folder: Path | None = None, progress: Callable[[str], None] | None = None) -> list[Path]:
    """Return the four images, smallest first; make those not yet in the folder."""
    folder = folder or cache_folder() / "pictures"
    paths = []
    for size in SIZES:
        path = folder / size.name
        if not path.exists():
            if progress:
                progress(f"making {path}")
            write_whole(path, _make(size))
        paths.append(path)
    return paths


def _make(size: Size) -> bytes:
    """Enlarge the photograph, with as much noise as its file size asks for."""
    with Image.open(PHOTO) as photo:
        enlarged = photo.convert("RGB").resize((size.width, size.height), Image.Resampling.LANCZOS)
    bands = np.array_split(np.asarray(enlarged), size.height // BAND)
    # Encoding the whole image at every step would take long, so a sample of its bands stands in for it.
    sample = range(0, len(bands), max(1, len(bands) // DRAFT_BANDS))
    aim = size.bytes * len(sample) / len(bands)
    for _ in range(ATTEMPTS):
        jpg = _encode(bands, range(len(bands)), _noise_for(bands, sample, aim))
        if abs(len(jpg) / size.bytes - 1) <= TOLERANCE:
            return jpg
        aim *= size.bytes / len(jpg)
    raise RuntimeError(f"{size.name} came out at {len(jpg)} bytes instead of {size.bytes}")


def _noise_for(bands: list[np.ndarray], sample: range, aim: float) -> float:
    """Find by bisection the noise that gives the sample's JPG the size aimed at."""
    low, high = 0.0, MOST_NOISE
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        if len(_encode(bands, sample, middle)) < aim:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _encode(bands: list[np.ndarray], chosen: range, noise: float) -> bytes:
    """Encode the chosen bands with this much noise."""
    noisy = np.concatenate([_with_noise(bands[index], noise, index) for index in chosen])
    file = io.BytesIO()
    Image.fromarray(noisy).save(file, "JPEG", quality=QUALITY)
    return file.getvalue()


def _with_noise(band: np.ndarray, noise: float, index: int) -> np.ndarray:
    """Add a sensor's noise: shot noise grows with the root of the light, read noise is always there."""
    deviation = noise * np.sqrt(band.astype(np.float32) / 255 + READ_NOISE**2)
    return np.clip(band + _grain(band.shape, index) * deviation + 0.5, 0, 255).astype(np.uint8)


@lru_cache(2 * DRAFT_BANDS)  # those of the sample, which are wanted at every step
def _grain(shape: tuple[int, ...], index: int) -> np.ndarray:
    """Draw a band's noise: a generator for each band gives it the same in the sample and in the whole image."""
    return np.random.default_rng((SEED, index)).standard_normal(shape, np.float32)


def main() -> None:
    """Print where the images are and how large."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="where to put the images (default: the user's cache)")
    for path in pictures(parser.parse_args().folder, progress=print):
        print(f"{path} {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
