"""A picture made smaller: its shape, what stays with it, and what can't be resized."""

import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from support import PHOTO

from otel_kfs.client.encodings.resizing import resize
from otel_kfs.client.image_span import image_span
from otel_kfs.client.payload_options import payload_options
from otel_kfs.errors import ConfigError, InputError, MissingExtra


def picture(size, kind="JPEG", mode="RGB", **options):
    file = io.BytesIO()
    Image.new(mode, size, "white").save(file, kind, **options)
    return file.getvalue()


def photo(mode):
    file = io.BytesIO()
    Image.open(PHOTO).convert(mode).save(file, "JPEG", quality=90)
    return file.getvalue()


def opened(content):
    return Image.open(io.BytesIO(content))


@pytest.mark.parametrize(
    ("size", "expected"),
    [((6000, 4000), (384, 256)), ((400, 3000), (256, 1920)), ((257, 257), (256, 256)), ((1000, 300), (853, 256))],
)
def test_the_shorter_side_gets_the_length_asked_for_and_the_shape_stays(size, expected):
    small = opened(resize(picture(size), 256))
    assert (small.format, small.size) == ("JPEG", expected)


@pytest.mark.parametrize("size", [(256, 256), (100, 3000), (1, 1)])
def test_a_picture_that_is_small_enough_stays_as_it_is(size):
    content = picture(size)
    assert resize(content, 256) is content


@pytest.mark.parametrize(("kind", "mode"), [("PNG", "RGBA"), ("GIF", "P"), ("PNG", "L"), ("BMP", "RGB")])
def test_another_kind_of_image_becomes_a_jpg(kind, mode):
    assert opened(resize(picture((600, 300), kind, mode), 256)).format == "JPEG"


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_jpg_is_the_same_picture_with_and_without_simplejpeg(monkeypatch, mode):
    content = photo(mode)
    with_it = np.asarray(opened(resize(content, 128)), np.int16)
    monkeypatch.setitem(sys.modules, "simplejpeg", None)
    without = np.asarray(opened(resize(content, 128)), np.int16)
    assert (with_it.shape, np.abs(with_it - without).max() <= 8) == (without.shape, True)


def test_a_jpg_with_rubbish_at_its_end_is_taken_as_viewers_take_it():
    content = photo("RGB")
    assert resize(content + b"rubbish", 128) == resize(content, 128)


def test_the_orientation_stays():
    exif = Image.Exif()
    exif[0x0112] = 6
    assert opened(resize(picture((600, 300), exif=exif), 256)).getexif()[0x0112] == 6


@pytest.mark.parametrize("content", [b"\xff\xd8\xff", b"\xff\xd8\xff and no picture", PHOTO.read_bytes()[:5000]])
def test_what_cannot_be_decoded_is_one_line(content):
    with pytest.raises(InputError, match=r"^can't resize the image: .*$") as raised:
        resize(content, 256)
    assert "\n" not in str(raised.value)


def test_a_decompression_bomb_is_one_line(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(InputError, match="decompression bomb"):
        resize(picture((600, 600)), 256)


def test_no_side_at_all_is_refused():
    with pytest.raises(ConfigError, match="can't be resized to 0 pixels"), image_span(resize=0):
        pass


def test_what_resizing_needs_is_imported_before_the_first_image():
    code = (
        "import sys; from otel_kfs.client.payload_options import payload_options; "
        "needed = {'PIL.JpegImagePlugin', 'simplejpeg'}; print(sorted(needed & set(sys.modules))); "
        "payload_options(resize=256); print(sorted(needed & set(sys.modules)))"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.splitlines() == ["[]", "['PIL.JpegImagePlugin', 'simplejpeg']"]


def test_without_pillow_a_sender_says_so_before_the_first_image(monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL.JpegImagePlugin", None)
    with pytest.raises(MissingExtra, match="Pillow"):
        payload_options(resize=256)
