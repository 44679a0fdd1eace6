"""Base64 to tensor to class, and what is refused on the way."""

import base64
import io

import numpy as np
import pytest
from mobilenet import MobileNet, fast_tensor, to_tensor
from PIL import Image

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def mobilenet(model):
    """The classifier."""
    return MobileNet(model)


def encoded(size: tuple[int, int], mode: str = "RGB", kind: str = "JPEG") -> bytes:
    """A plain picture in base64."""
    file = io.BytesIO()
    Image.new(mode, size, "white").save(file, kind)
    return base64.b64encode(file.getvalue())


@pytest.mark.parametrize(("name", "number"), [("chelsea.jpg", 285), ("coffee.jpg", 967)])
def test_a_photograph_is_recognised(mobilenet, photos, name, number):
    result = mobilenet.classify(to_tensor(base64.b64encode((photos / name).read_bytes())))
    assert result["class"] == number
    assert 0.5 < result["score"] <= 1
    assert (type(result["class"]), type(result["score"])) == (int, float)


def test_text_and_bytes_give_the_same_tensor(photos):
    data = base64.b64encode((photos / "chelsea.jpg").read_bytes())
    assert np.array_equal(to_tensor(data), to_tensor(data.decode()))


@pytest.mark.parametrize("size", [(640, 480), (480, 640), (224, 224), (8, 5), (257, 400)])
def test_a_picture_of_any_size_gives_the_model_s_shape(size):
    tensor = to_tensor(encoded(size))
    assert tensor.shape == (1, 3, 224, 224)
    assert tensor.dtype == np.float32


def test_white_becomes_imagenet_s_normalised_white():
    white = to_tensor(encoded((300, 300)))[0, :, 100, 100]
    assert white == pytest.approx([(1 - 0.485) / 0.229, (1 - 0.456) / 0.224, (1 - 0.406) / 0.225], rel=1e-5)


def test_the_centre_is_what_remains_of_a_wide_picture():
    wide = Image.new("RGB", (900, 300), "black")
    wide.paste("white", (300, 0, 600, 300))
    file = io.BytesIO()
    wide.save(file, "JPEG")
    assert to_tensor(base64.b64encode(file.getvalue())).min() > 1.5


def test_a_grey_picture_is_taken_as_colour():
    assert to_tensor(encoded((300, 300), mode="L")).shape == (1, 3, 224, 224)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ("", "not a JPG image"),
        ("*** not base64 ***", "not base64"),
        ("caf\u00e9", "not base64"),
        (b"abc", "not base64"),
        (base64.b64encode(b"a text file\nof two lines\n"), "not a JPG image"),
        (encoded((300, 300), kind="PNG"), "not a JPG image"),
        (encoded((3000, 2)), "too narrow: 3000x2"),
    ],
)
def test_what_is_no_picture_is_refused_in_one_line(data, reason):
    with pytest.raises(ValueError, match=reason) as raised:
        to_tensor(data)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "decode", [to_tensor, lambda image: fast_tensor(base64.b64decode(image))], ids=["seed", "fast"]
)
def test_a_picture_of_81_megapixels_is_refused_before_it_is_decoded(decode):
    with pytest.raises(ValueError, match=r"^the picture is too large: 9000x9000, more than 50,000,000 pixels$"):
        decode(encoded((9_000, 9_000), mode="L"))


def test_a_truncated_jpg_is_refused_in_one_line(photos):
    content = (photos / "chelsea.jpg").read_bytes()
    with pytest.raises(ValueError, match="broken JPG image") as raised:
        to_tensor(base64.b64encode(content[: len(content) // 2]))
    assert "\n" not in str(raised.value)


def test_a_decompression_bomb_is_refused_in_one_line(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(ValueError, match="too large") as raised:
        to_tensor(encoded((300, 300)))
    assert "\n" not in str(raised.value)
