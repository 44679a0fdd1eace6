"""The four pictures: as large as in the measurement, and still a cat."""

import base64

import pictures
import pytest
from mobilenet import MobileNet, to_tensor
from PIL import Image

pytestmark = pytest.mark.model

EXPECTED = {"1.1MB.jpg": 1.11e6, "3.3MB.jpg": 3.33e6, "4.7MB.jpg": 4.71e6, "10.2MB.jpg": 10.2e6}


def test_the_four_files_come_smallest_first(big_pictures):
    assert [path.name for path in big_pictures] == list(EXPECTED)


def test_each_file_is_within_one_percent_of_its_size(big_pictures):
    assert {path.name: path.stat().st_size for path in big_pictures} == pytest.approx(EXPECTED, rel=0.01)


def test_the_dimensions_are_a_camera_s_and_grow_with_the_size(big_pictures):
    pixels = []
    for path in big_pictures:
        with Image.open(path) as picture:
            assert (picture.format, picture.mode) == ("JPEG", "RGB")
            pixels.append(picture.width * picture.height)
    assert pixels == sorted(pixels)
    assert (pixels[0], pixels[-1]) == pytest.approx((3e6, 24e6), rel=0.05)


def test_each_picture_is_still_recognised_as_the_photograph_s_cat(big_pictures, model):
    mobilenet = MobileNet(model)
    tensors = [to_tensor(base64.b64encode(path.read_bytes())) for path in big_pictures]
    assert [mobilenet.classify(tensor)["class"] for tensor in tensors] == [285] * 4


def test_a_picture_made_again_is_the_same_to_the_byte(big_pictures):
    assert pictures._make(pictures.SIZES[0]) == big_pictures[0].read_bytes()


def test_pictures_already_there_are_kept(tmp_path):
    for size in pictures.SIZES:
        (tmp_path / size.name).write_bytes(b"made before")
    told: list[str] = []
    paths = pictures.pictures(tmp_path, told.append)
    assert {path.read_bytes() for path in paths} == {b"made before"}
    assert told == []


def test_progress_names_each_picture_that_is_made(tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "_make", lambda size: b"a picture")
    told: list[str] = []
    paths = pictures.pictures(tmp_path, told.append)
    assert told == [f"making {path}" for path in paths]


def test_a_crash_while_making_a_picture_leaves_no_file(tmp_path, monkeypatch):
    def crash(size: pictures.Size) -> bytes:
        raise MemoryError(size.name)

    monkeypatch.setattr(pictures, "_make", crash)
    with pytest.raises(MemoryError):
        pictures.pictures(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_command_prints_paths_and_sizes(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(pictures, "_make", lambda size: b"a picture")
    monkeypatch.setattr("sys.argv", ["pictures.py", "--folder", str(tmp_path)])
    pictures.main()
    assert f"{tmp_path / '10.2MB.jpg'} 9 bytes" in capsys.readouterr().out
