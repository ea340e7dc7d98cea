"""An image of any kind is read as upright RGB, within bounds, or an error names it."""

import io
import os
import socket
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from modeling_2mner import images_2mner
from modeling_2mner.images_2mner import (
    FORMATS,
    MAX_BYTES,
    MAX_PIXELS,
    ImageError,
    load_image,
    read_image,
)

GRADIENT = np.linspace(0, 255, 8 * 6 * 3).reshape(6, 8, 3).astype(np.uint8)
COLOUR = Image.fromarray(GRADIENT)
GREY = COLOUR.convert("L")
AS_GREY = np.asarray(GREY.convert("RGB"))


def encoded(image, image_format="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def pixels(source, **options):
    image = load_image(source, **options)
    assert image.mode == "RGB"
    return np.asarray(image).astype(int)


def test_the_data_set_package_links_to_this_file():
    root = Path(images_2mner.__file__).parents[1]
    assert (root / "dataset_mmnerd" / "images.py").resolve() == Path(images_2mner.__file__)


# Conversion to RGB


def in_mode(mode):
    """The grey gradient, in any mode of Pillow; transparent modes are opaque."""
    values = np.asarray(GREY)
    if mode.startswith("I;16"):
        image = Image.fromarray(values.astype("<u2") * 257)
        return (
            image
            if mode == "I;16"
            else Image.frombytes(
                mode,
                GREY.size,
                (values.astype(">u2" if mode == "I;16B" else "<u2") * 257).tobytes(),
            )
        )
    if mode == "I":
        return Image.fromarray(values.astype(np.int32) * 257)
    if mode == "F":
        return Image.fromarray(values.astype(np.float32) / 255)
    if mode == "LAB":
        profile = ImageCms.createProfile("sRGB")
        lab = ImageCms.createProfile("LAB")
        return ImageCms.profileToProfile(GREY.convert("RGB"), profile, lab, outputMode="LAB")
    if mode in ("P", "PA"):
        return GREY.convert("P").convert(mode)
    if mode in ("La", "RGBa"):
        return GREY.convert(f"{mode[:-1]}A").convert(mode)
    return GREY.convert("RGB").convert(mode)


@pytest.mark.parametrize(
    "mode",
    [
        *("L", "P", "RGB", "RGBA", "RGBX", "RGBa", "LA", "La", "PA", "CMYK", "YCbCr", "LAB", "HSV"),
        *("I", "F", "I;16", "I;16L", "I;16B"),
    ],
)
def test_every_mode_is_read_as_what_it_shows(mode):
    found = pixels(in_mode(mode))
    assert abs(found - AS_GREY).max() <= (2 if mode == "LAB" else 1)


def test_one_bit_is_black_and_white():
    found = pixels(encoded(COLOUR.convert("1")))
    assert set(found.flat) == {0, 255}
    assert (pixels(Image.new("1", (4, 4), 1)) == 255).all()


@pytest.mark.parametrize("image_format", ["PNG", "TIFF"])
def test_16_bit_greyscale_is_scaled_and_not_white(image_format):
    content = encoded(in_mode("I;16"), image_format)
    assert (pixels(content) == AS_GREY).all()


def test_a_dark_16_bit_image_stays_dark():
    assert pixels(encoded(Image.fromarray(np.full((2, 2), 255, np.uint16)))).max() == 0


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.float32([[0, 0.5, 1]]), [0, 128, 255]),
        (np.float32([[0, 100, 255]]), [0, 100, 255]),
        (np.float32([[-1000, 0, 1000]]), [0, 128, 255]),
        (np.int32([[0, 257 * 100, 65_535]]), [0, 100, 255]),
        (np.int32([[-(2**31), 0, 2**31 - 1]]), [0, 128, 255]),
        (np.int32([[7, 7, 7]]), [7, 7, 7]),
        (np.int32([[-7, -7, -7]]), [0, 0, 0]),
    ],
)
def test_files_of_32_bits_are_scaled_to_their_range(values, expected):
    assert pixels(encoded(Image.fromarray(values), "TIFF"))[0, :, 0].tolist() == expected


def test_values_that_are_not_finite_are_an_error():
    for value in (np.nan, np.inf):
        image = Image.fromarray(np.float32([[0, value]]))
        with pytest.raises(ImageError, match="found values that are no finite numbers"):
            load_image(encoded(image, "TIFF"))


def test_transparent_parts_are_white():
    image = Image.new("RGBA", (2, 1), (255, 0, 0, 255))
    image.putpixel((1, 0), (0, 0, 0, 0))
    assert pixels(encoded(image)).tolist() == [[[255, 0, 0], [255, 255, 255]]]
    palette = Image.new("P", (1, 1), 0)
    palette.putpalette([0, 0, 0])
    assert pixels(encoded(palette, transparency=0)).tolist() == [[[255] * 3]]
    half = Image.new("LA", (1, 1), (0, 128))
    assert pixels(encoded(half)).tolist() == [[[127] * 3]]
    deep = Image.fromarray(np.uint16([[0, 65_535 // 2]]))
    assert pixels(encoded(deep, transparency=0))[0, :, 0].tolist() == [255, 127]


def test_cmyk_is_read_as_printed():
    image = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    for content in (encoded(image, "JPEG"), encoded(image, "TIFF")):
        red, green, blue = pixels(content).mean((0, 1))
        assert red > 200 and max(green, blue) < 60


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("mode", ["RGB", "P", "I;16"])
def test_an_image_that_the_camera_turned_is_upright(orientation, mode):
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = in_mode(mode)
    back = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}.get(orientation)
    stored = upright if back is None else upright.transpose(Image.Transpose(back))
    assert (pixels(encoded(stored, exif=exif)) == pixels(upright)).all()


def test_the_first_frame_counts():
    frames = [Image.new("RGB", (4, 3), color) for color in ("red", "blue")]
    for image_format in ("GIF", "PNG", "WEBP", "TIFF"):
        options = {"lossless": True} if image_format == "WEBP" else {}
        content = encoded(
            frames[0], image_format, save_all=True, append_images=frames[1:], **options
        )
        assert pixels(content).tolist() == [[[255, 0, 0]] * 4] * 3


def test_all_formats_are_read():
    for image_format in FORMATS:
        assert pixels(encoded(COLOUR, image_format)).shape == GRADIENT.shape


# Kinds of sources


def sources(tmp_path):
    path = tmp_path / "image.png"
    COLOUR.save(path)
    content = path.read_bytes()
    tensor = torch.tensor(GRADIENT)
    return {
        "path": path,
        "string": str(path),
        "bytes": content,
        "bytearray": bytearray(content),
        "memoryview": memoryview(content),
        "dict of bytes": {"bytes": content, "path": "elsewhere.png"},
        "dict of a path": {"bytes": None, "path": str(path)},
        "dict of bytes alone": {"bytes": content},
        "decoded": COLOUR,
        "opened": Image.open(path),
        "HxWx3": GRADIENT,
        "3xHxW": GRADIENT.transpose(2, 0, 1),
        "HxWx4": np.dstack([GRADIENT, np.full((6, 8), 255, np.uint8)]),
        "4xHxW": np.dstack([GRADIENT, np.full((6, 8), 255, np.uint8)]).transpose(2, 0, 1),
        "floats of 0 to 1": (GRADIENT / 255).astype(np.float32),
        "floats of 0 to 255": GRADIENT.astype(np.float16),
        "int64": GRADIENT.astype(np.int64),
        "uint16": GRADIENT.astype(np.uint16) * 257,
        "not contiguous": np.repeat(GRADIENT, 2, axis=1)[:, ::2],
        "tensor": tensor,
        "tensor 3xHxW": tensor.permute(2, 0, 1),
        "bfloat16": tensor.to(torch.bfloat16),
        "tensor with a gradient": (tensor / 255).requires_grad_(),
    }


def test_every_kind_of_source_is_read_alike(tmp_path):
    for kind, source in sources(tmp_path).items():
        most = 1 if kind == "bfloat16" else 0
        assert abs(pixels(source) - GRADIENT).max() <= most, kind


def test_greyscale_arrays_are_read():
    grey = np.asarray(GREY)
    for source in (grey, grey[:, :, None], grey[None], torch.tensor(grey)[None], grey / 255):
        assert (pixels(source) == AS_GREY).all()
    assert set(pixels(grey > 127).flat) == {0, 255}


def test_an_array_of_which_both_ends_could_be_channels_is_read_channels_first():
    assert load_image(np.zeros((3, 5, 3), np.uint8)).size == (3, 5)
    assert load_image(np.zeros((1, 5, 3), np.uint8)).size == (5, 1)


def test_the_source_is_not_changed(tmp_path):
    before = GRADIENT.copy()
    for source in (GRADIENT, COLOUR):
        load_image(source).paste("red", (0, 0, 8, 6))
        assert (np.asarray(source) == before).all()
    opened = Image.open(io.BytesIO(encoded(COLOUR.resize((800, 600)), "JPEG")))
    load_image(opened, smallest_side=8)
    assert opened.size == (800, 600)


WRONG = {
    "None": (None, "found NoneType, expected a path, bytes, "),
    "a number": (7, "found int, expected"),
    "a list": ([[1]], "found list, expected"),
    "a file": (io.BytesIO(), "found BytesIO, expected"),
    "five dimensions": (np.zeros((1, 2, 3, 4, 5)), r"found an array of shape \(1, 2, 3, 4, 5\)"),
    "a batch": (np.zeros((2, 3, 8, 8)), r"found an array of shape \(2, 3, 8, 8\)"),
    "two channels": (np.zeros((8, 8, 2)), r"found an array of shape \(8, 8, 2\)"),
    "strings": (np.array([["a"]]), "found an array of shape .* and type <U1"),
    "objects": (np.array([[None]]), "found an array of shape .* and type object"),
    "a sparse tensor": (torch.eye(4).to_sparse(), "found Tensor that gives no array"),
    "a tensor without values": (torch.empty(4, 4, device="meta"), "found Tensor that gives no"),
    "another dict": ({"url": "x"}, r"found a dict {'url': 'str'}, expected"),
    "a dict of a number": ({"bytes": 7}, r"found a dict {'bytes': 'int'}, expected"),
}


@pytest.mark.parametrize(("source", "message"), WRONG.values(), ids=WRONG)
def test_what_is_no_image_is_one_type_error(source, message):
    with pytest.raises(TypeError, match=f"^row 7: {message}") as error:
        load_image(source, name="row 7")
    assert "\n" not in str(error.value) and len(str(error.value)) < 400


@pytest.mark.parametrize(
    "values", [np.float32([[-1, 1]]), np.int64([[0, 70_000]]), np.float32([[0, np.nan]])]
)
def test_arrays_of_another_range_are_refused(values):
    """They are probably normalised for a model already."""
    with pytest.raises(ImageError, match="found values"):
        load_image(values)


# Bounds


def chunk(kind, content):
    check = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + check


def png_of(width, height):
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(b"")), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def webp_of(width, height):
    """An animated WebP whose canvas has another size than its frame."""
    frame = encoded(Image.new("RGB", (4, 4)), "WEBP", lossless=True)[12:]
    sides = [(side - 1).to_bytes(3, "little") for side in (width, height)]
    canvas = b"VP8X" + struct.pack("<I", 10) + b"\2\0\0\0" + b"".join(sides)
    loop = b"ANIM" + struct.pack("<I", 6) + bytes(6)
    content = bytes(6) + b"\3\0\0\3\0\0" + bytes(4) + frame
    content = b"WEBP" + canvas + loop + b"ANMF" + struct.pack("<I", len(content)) + content
    return b"RIFF" + struct.pack("<I", len(content)) + content


def gif_of(width, height):
    content = bytearray(encoded(Image.new("P", (4, 4)), "GIF"))
    content[6:10] = struct.pack("<HH", width, height)
    return bytes(content)


def bmp_of(width, height):
    content = bytearray(encoded(Image.new("RGB", (4, 4)), "BMP"))
    content[18:26] = struct.pack("<II", width, height)
    return bytes(content)


@pytest.mark.parametrize("make", [png_of, webp_of, gif_of, bmp_of])
@pytest.mark.parametrize("size", [(7_100, 7_100), (12_000, 12_000), (16_000, 16_000)])
def test_a_decompression_bomb_is_refused_before_it_is_decoded(make, size):
    """Below and above the sizes at which Pillow warns and refuses of itself."""
    with pytest.raises(ImageError, match=f"pixels.*, expected at most {MAX_PIXELS:,} pix") as error:
        load_image(make(*size))
    assert error.value.kind == "enormous"


@pytest.mark.parametrize("make", [png_of, bmp_of])
def test_a_file_of_no_pixels_is_an_error(make):
    for size in ((0, 0), (0, 4), (4, 0)):
        with pytest.raises(ImageError, match=r"^images\[3\]: found") as error:
            load_image(make(*size), name="images[3]")
        assert error.value.kind == "broken"


@pytest.mark.parametrize("size", [(0, 0), (0, 5), (5, 0)])
def test_an_image_of_no_pixels_is_an_error_that_names_it(size):
    found = f"^images\\[3\\]: found {size[0]} x {size[1]} pixels, expected at least 1 x 1"
    for source in (Image.new("RGB", size), np.zeros((size[1], size[0], 3), np.uint8)):
        with pytest.raises(ImageError, match=found):
            load_image(source, name="images[3]")


def test_large_images_in_memory_are_refused():
    for source in (Image.new("1", (10_000, 6_000)), np.broadcast_to(np.uint8(0), (10_000, 6_000))):
        with pytest.raises(ImageError, match=r"10000 pixels|10000 x 6000 pixels, expected at most"):
            load_image(source)


def test_an_image_at_the_bound_is_read():
    assert load_image(Image.new("L", (5_000, 10_000))).size == (5_000, 10_000)


# Files


def test_a_fifo_is_refused_at_once(tmp_path):
    path = tmp_path / "photo.jpg"
    os.mkfifo(path)
    with pytest.raises(ImageError, match=r"photo.jpg: found no regular file, expected an image"):
        load_image(path)


def test_devices_sockets_and_folders_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a socket's path is short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.jpg")
        for path in ("/dev/zero", "socket.jpg", "."):
            with pytest.raises(ImageError, match="found no r"):
                load_image(path)


def test_a_sparse_file_is_not_read(tmp_path):
    path = tmp_path / "photo.jpg"
    with path.open("wb") as file:
        file.truncate(5 * 2**30)
    with pytest.raises(
        ImageError, match=r"photo.jpg: found 5,368,709,120 bytes, expected"
    ) as error:
        load_image(path)
    assert error.value.kind == "enormous"
    os.truncate(path, MAX_BYTES + 1)
    for read in (read_image, load_image):
        with pytest.raises(ImageError, match=f"67,108,865 bytes, expected at most {MAX_BYTES:,}"):
            read(path)
    with pytest.raises(ImageError, match="67,108,865 bytes, expected at most"):
        load_image(bytearray(MAX_BYTES + 1))


@pytest.mark.parametrize("path", ["nowhere.jpg", "a" * 300 + ".jpg", "a\0.jpg", "\ud800.jpg", ""])
def test_a_path_of_no_file_is_an_error_of_one_line(path):
    with pytest.raises(ImageError, match="found no readable file") as error:
        load_image(path)
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 350


def test_a_link_to_a_file_that_the_user_named_is_followed(tmp_path):
    COLOUR.save(tmp_path / "image.png")
    (tmp_path / "link.png").symlink_to(tmp_path / "image.png")
    assert (pixels(tmp_path / "link.png") == GRADIENT).all()


# Hostile and damaged files

SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><circle r="4"/></svg>'
OTHER_FORMATS = {
    "EPS": encoded(COLOUR, "EPS"),
    "PDF": encoded(COLOUR, "PDF"),
    "ICO": encoded(COLOUR.resize((16, 16)), "ICO"),
    "PPM": encoded(COLOUR, "PPM"),
    "TGA": encoded(COLOUR, "TGA"),
    "SVG": SVG,
    "text": b"hello",
    "nothing": b"",
    "zeros": bytes(1000),
    "page": b"<!DOCTYPE html><title>404</title>",
}


@pytest.mark.parametrize("content", OTHER_FORMATS.values(), ids=OTHER_FORMATS)
def test_a_file_of_another_format_is_refused_whatever_its_name(tmp_path, content):
    path = tmp_path / "photo.jpg"
    path.write_bytes(content)
    with pytest.raises(
        ImageError, match=r"photo.jpg: found an unknown or damaged format, expected a whole"
    ) as e:
        load_image(path)
    assert e.value.kind == "broken"
    assert " at 0x" not in str(e.value)


def test_no_program_is_started_for_an_eps_file(tmp_path, monkeypatch):
    """Pillow hands EPS to Ghostscript, the program `gs`, when it decodes it."""
    started = tmp_path / "started"
    program = tmp_path / "gs"
    program.write_text(f"#!/bin/sh\ntouch {started}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    path = tmp_path / "photo.jpg"
    path.write_bytes(OTHER_FORMATS["EPS"])
    for source in (path, path.read_bytes(), Image.open(path)):
        with pytest.raises(ImageError):
            load_image(source)
    assert not started.exists()


def test_a_wrong_suffix_does_not_matter(tmp_path):
    path = tmp_path / "photo.jpg"
    path.write_bytes(encoded(COLOUR, "PNG"))
    assert (pixels(path) == GRADIENT).all()


@pytest.mark.parametrize("image_format", FORMATS)
def test_a_file_cut_short_anywhere_is_an_error_that_names_it(image_format):
    noise = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)
    whole = encoded(Image.fromarray(noise), image_format)
    for length in range(0, len(whole), 7):
        try:
            assert load_image(whole[:length], name="photo").size == (32, 24)
        except ImageError as error:
            assert str(error).startswith("photo: found ") and str(error).isprintable()
            assert error.kind == "broken"
        else:  # only what stands behind the pixels is missing
            assert length > 0.9 * len(whole), length


@pytest.mark.parametrize("smallest_side", [None, 8])
def test_a_jpeg_cut_short_is_found_at_a_fraction_of_its_size_too(smallest_side):
    noise = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)
    whole = encoded(Image.fromarray(noise), "JPEG")
    for part in (0.3, 0.6, 0.95):
        with pytest.raises(ImageError, match="image file is truncated"):
            load_image(whole[: int(len(whole) * part)], smallest_side=smallest_side)


def test_a_png_of_broken_chunks_is_an_error():
    whole = encoded(COLOUR)
    for part in (whole.index(b"IDAT"), whole.index(b"IDAT") + 6):
        broken = whole[:part] + bytes([whole[part] ^ 255]) + whole[part + 1 :]
        with pytest.raises(ImageError, match=r"^row 3: found (broken (PNG|data)|an unknown)"):
            load_image(broken, name="row 3")


def test_an_odd_exif_is_an_error():
    """A JPEG that is to be turned, with a title (0x010E) that is a fraction and no text."""
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2)
    exif += struct.pack("<HHII HHIHH", 0x010E, 5, 1, 38, 0x0112, 3, 1, 6, 0)
    exif += struct.pack("<III", 0, 1, 2)
    with pytest.raises(ImageError, match=r"^a photo: found .*, expected a whole image file"):
        load_image(encoded(COLOUR, "JPEG", exif=exif), name="a photo")


def test_an_image_whose_file_was_closed_is_an_error(tmp_path):
    COLOUR.save(tmp_path / "image.png")
    image = Image.open(tmp_path / "image.png")
    image.close()
    with pytest.raises(ImageError, match="expected a whole image file"):
        load_image(image)


@pytest.mark.parametrize("image_format", FORMATS)
def test_a_damaged_file_is_an_image_or_an_image_error(image_format):
    whole = encoded(COLOUR, image_format)
    random = np.random.default_rng(0)
    for _ in range(150):
        damaged = bytearray(whole)
        for place in random.integers(0, len(whole), random.integers(1, 5)):
            damaged[place] = random.integers(0, 256)
        try:
            assert load_image(damaged).mode == "RGB"
        except ImageError as error:
            assert str(error).isprintable() and len(str(error)) < 500
            assert " at 0x" not in str(error)
