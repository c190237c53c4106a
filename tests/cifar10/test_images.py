"""Images: what the network sees of each kind of file, and every way in which one can be wrong."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from mlpcli.cifar10 import images
from mlpcli.errors import DataError

PIXELS = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
PLANES = PIXELS.transpose(2, 0, 1).reshape(3072)
COLOR = (200, 100, 50)


def read(path: Path, image: Image.Image, **options: object) -> np.ndarray:
    """Save an image, and return what the network sees of it."""
    image.save(path, **options)
    return images.read(path)


def plain(*color: float) -> np.ndarray:
    """The planes of an image of one color."""
    return np.repeat(np.array(color), 1024)


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "ppm"])
def test_an_image_of_cifar_10_is_read_back_as_it_is(tmp_path: Path, suffix: str) -> None:
    seen = read(tmp_path / f"a.{suffix}", Image.fromarray(PIXELS))
    assert (seen.shape, seen.dtype) == ((3072,), np.uint8)
    np.testing.assert_array_equal(seen, PLANES)


def test_what_is_opaque_is_left_as_it_is(tmp_path: Path) -> None:
    rgba = Image.fromarray(PIXELS)
    rgba.putalpha(255)
    np.testing.assert_array_equal(read(tmp_path / "a.png", rgba), PLANES)


@pytest.mark.parametrize("size", [(1, 1), (1, 1000), (1000, 1), (31, 33), (640, 480)])
@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("a.png", "RGB"),
        ("a.png", "P"),
        ("a.gif", "P"),
        ("a.jpg", "RGB"),
        ("a.jpg", "CMYK"),
        ("a.webp", "RGB"),
        ("a.tif", "CMYK"),
    ],
)
def test_an_image_of_one_color_has_it_in_any_mode_and_size(
    tmp_path: Path, name: str, mode: str, size: tuple[int, int]
) -> None:
    image = Image.new("RGB", size, COLOR).convert(mode, palette=Image.Palette.ADAPTIVE)
    np.testing.assert_allclose(read(tmp_path / name, image).astype(float), plain(*COLOR), atol=3)


@pytest.mark.parametrize(("name", "dtype"), [("a.png", "<u2"), ("a.tif", "<u2"), ("a.tif", ">u2")])
def test_sixteen_bits_of_gray_become_eight(tmp_path: Path, name: str, dtype: str) -> None:
    grays = np.arange(1024, dtype=np.uint16).reshape(32, 32) * 64
    seen = read(tmp_path / name, Image.fromarray(grays.astype(dtype)))
    np.testing.assert_array_equal(seen, np.tile(np.rint(grays / 257).reshape(-1), 3))


def test_black_and_white_and_gray(tmp_path: Path) -> None:
    for mode in ("1", "L"):
        white = read(tmp_path / "a.png", Image.new(mode, (40, 40), 255))
        np.testing.assert_array_equal(white, 255)


@pytest.mark.parametrize(
    ("mode", "color", "expected"),
    [
        ("RGBA", (0, 0, 0, 0), (255, 255, 255)),
        ("RGBA", (200, 100, 0, 128), (227, 177, 127)),
        ("LA", (100, 0), (255, 255, 255)),
    ],
)
@pytest.mark.parametrize("size", [(32, 32), (100, 70)])
def test_what_is_transparent_lies_on_white(
    tmp_path: Path,
    mode: str,
    color: tuple[int, ...],
    expected: tuple[int, ...],
    size: tuple[int, int],
) -> None:
    seen = read(tmp_path / "a.png", Image.new(mode, size, color))
    np.testing.assert_allclose(seen.astype(float), plain(*expected), atol=1)


@pytest.mark.parametrize(("name", "mode"), [("a.gif", "P"), ("a.png", "P"), ("a.png", "L")])
def test_a_color_may_be_the_transparent_one(tmp_path: Path, name: str, mode: str) -> None:
    image = Image.new("L", (40, 40), 7).convert(mode)
    seen = read(tmp_path / name, image, transparency=image.getpixel((0, 0)))
    np.testing.assert_array_equal(seen, 255)


def test_of_a_long_image_the_central_square_is_seen(tmp_path: Path) -> None:
    pixels = np.zeros((64, 200, 3), np.uint8)
    pixels[:, :68] = pixels[:, 132:] = (255, 0, 0)
    pixels[:, 68:132] = (0, 0, 255)
    for rotated in (pixels, pixels.transpose(1, 0, 2)):
        seen = read(tmp_path / "a.png", Image.fromarray(np.ascontiguousarray(rotated)))
        np.testing.assert_allclose(seen.astype(float), plain(0, 0, 255), atol=30)


# What a camera does that is held so: the pixels that it saves of an upright image.
HELD = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: a.transpose(1, 0, 2)[::-1],
    7: lambda a: a.transpose(1, 0, 2)[::-1, ::-1],
    8: lambda a: a.transpose(1, 0, 2)[:, ::-1],
}


@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
@pytest.mark.parametrize("orientation", HELD)
def test_an_image_is_rotated_upright(tmp_path: Path, orientation: int, suffix: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = np.ascontiguousarray(HELD[orientation](PIXELS))
    options = {"exif": exif, "lossless": True} if suffix == "webp" else {"exif": exif}
    seen = read(tmp_path / f"a.{suffix}", Image.fromarray(pixels), **options)
    np.testing.assert_array_equal(seen, PLANES)


def test_a_long_image_is_rotated_about_its_center(tmp_path: Path) -> None:
    wide = Image.effect_mandelbrot((101, 60), (-2, -1, 1, 1), 50).convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = 6
    held = wide.transpose(Image.Transpose.ROTATE_90)
    seen = read(tmp_path / "a.png", held, exif=exif).astype(int)
    assert np.abs(seen - read(tmp_path / "b.png", wide)).max() <= 8  # of two roundings


@pytest.mark.parametrize("exif", [b"Exif\0\0", b"Exif\0\0garbage, and not a little", b"\xff" * 40])
def test_corrupt_exif_data_rotate_nothing(tmp_path: Path, exif: bytes) -> None:
    seen = read(tmp_path / "a.png", Image.fromarray(PIXELS), exif=exif)
    np.testing.assert_array_equal(seen, PLANES)


def png_of(width: int, height: int) -> bytes:
    """A PNG file that says it is so large, and has no pixel."""
    contents = b"\x89PNG\r\n\x1a\n"
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    for chunk in (b"IHDR" + header, b"IDAT"):
        contents += struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return contents


def bytes_of(suffix: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).save(buffer, suffix)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (b"", "not an image of a known format"),
        (b"garbage", "not an image of a known format"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image of a known format"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", "known format"),
        (bytes_of("png")[:1000], "cannot be read as an image: "),
        (bytes_of("jpeg")[:1000], "cannot be read as an image: "),
        (bytes_of("gif")[:1000], "cannot be read as an image: "),
        (png_of(12_000, 12_000), "expected at most 100,000,000 pixels, found 12000×12000"),
        (png_of(50_000, 50_000), "expected at most 100,000,000 pixels, found far more"),
        (png_of(2**31 - 1, 2**31 - 1), "expected at most 100,000,000 pixels, found far more"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_valid_image_is_one_clear_line(
    tmp_path: Path, contents: bytes, message: str
) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(contents)
    with pytest.raises(DataError) as caught:
        images.read(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)


@pytest.mark.parametrize("suffix", ["tga", "ico", "jp2", "pcx", "sgi", "dds", "eps", "pdf"])
def test_any_other_format_is_refused_and_the_known_ones_are_named(
    tmp_path: Path, suffix: str
) -> None:
    with pytest.raises(DataError, match="known format; expected PNG, JPEG, WebP, GIF, BMP, PPM or"):
        read(tmp_path / f"a.{suffix}", Image.fromarray(PIXELS))


def test_the_jpeg_of_a_camera_that_holds_two_images_is_its_first(tmp_path: Path) -> None:
    first, second = (Image.new("RGB", (40, 40), color) for color in (COLOR, "black"))
    seen = read(tmp_path / "a.jpg", first, format="MPO", save_all=True, append_images=[second])
    np.testing.assert_allclose(seen.astype(float), plain(*COLOR), atol=3)


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_numbers_whose_white_is_unknown_are_refused(tmp_path: Path, dtype: type) -> None:
    with pytest.raises(DataError, match="expected 8 or 16 bits per channel"):
        read(tmp_path / "a.tif", Image.fromarray(np.ones((9, 9), dtype)))


def test_only_regular_files_are_opened_and_none_that_is_too_long(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with (tmp_path / "long.png").open("wb") as file:
        file.write(bytes_of("png"))
        file.truncate(images.MAX_BYTES + 1)
    for name, message in [
        ("none.png", "no such image"),
        ("pipe", "cannot be read: not a regular file"),
        (".", "cannot be read: not a regular file"),
        ("x" * 300, "cannot be read: File name too long"),
        ("a\0b", "cannot be read"),
        ("long.png", "expected at most 268,435,456 bytes, found 268,435,457"),
    ]:
        with pytest.raises(DataError, match=message):
            images.read(tmp_path / name)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    suffix=st.sampled_from(["png", "jpeg", "gif", "webp", "tiff", "bmp", "ppm"]),
    damage=st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), max_size=8),
    length=st.integers(0, 4000),
)
def test_a_corrupt_image_is_an_image_or_one_clear_line(
    tmp_path: Path, suffix: str, damage: list[tuple[int, int]], length: int
) -> None:
    contents = bytearray(bytes_of(suffix)[:length])
    for position, value in damage:
        if contents:
            contents[position % len(contents)] = value
    path = tmp_path / "a"
    path.write_bytes(contents)
    try:
        assert images.read(path).shape == (3072,)
    except DataError as error:
        assert len(str(error).splitlines()) == 1
