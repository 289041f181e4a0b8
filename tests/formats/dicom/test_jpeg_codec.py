"""JPEG Lossless and 12-bit JPEG give the stored values bit for bit, or are refused."""

import numpy as np
import pytest
from pydicom import uid
from pydicom.encaps import encapsulate

from support.jpeg_lossless import encode_lossless
from support.made_dicom import PATH, RAMP, assert_refused, levels, make_dicom
from tfs_rt.formats.dicom import jpeg_codec
from tfs_rt.formats.dicom.layout import layout_of
from tfs_rt.formats.dicom.pixels import decode
from tfs_rt.formats.dicom.read import _parse, read
from tfs_rt.formats.picture import FileOptions

imagecodecs = pytest.importorskip("imagecodecs")
SIZE = (12, 9)
SV1 = uid.JPEGLosslessSV1


def values(bits: int, rng: np.random.Generator, shape: tuple[int, ...] = SIZE) -> np.ndarray:
    """Values of all bits, with both extremes side by side."""
    found = rng.integers(0, 2**bits, shape).astype(np.uint8 if bits == 8 else np.uint16)
    found[3, 3:5] = 0, 2**bits - 1
    return found


def lossless_file(
    frames: list[bytes], pixels: np.ndarray, syntax: str = SV1, *, fragments: int = 1, **attributes: object
) -> bytes:
    """A DICOM file of frames that are compressed, of (H, W), (N, H, W) or (H, W, 3) pixels."""
    data = encapsulate(frames, fragments_per_frame=fragments)
    return make_dicom(pixels, syntax, PixelData=data, **attributes)


def stored(data: bytes) -> np.ndarray:
    dataset = _parse(data, PATH)
    return decode(dataset, layout_of(dataset, PATH), PATH).values


@pytest.mark.parametrize("predictor", range(1, 8))
@pytest.mark.parametrize("bits", [8, 10, 12, 16])
def test_every_predictor_and_depth_gives_the_encoded_values(
    bits: int, predictor: int, rng: np.random.Generator
) -> None:
    pixels = values(bits, rng)
    frame = encode_lossless(pixels, bits=bits, predictor=predictor)
    syntax = SV1 if predictor == 1 else uid.JPEGLossless
    found = stored(lossless_file([frame], pixels, syntax, BitsStored=bits, HighBit=bits - 1))
    np.testing.assert_array_equal(found[0], pixels)


@pytest.mark.parametrize("bits", [12, 16])
def test_signed_values_keep_their_sign(bits: int, rng: np.random.Generator) -> None:
    pixels = (values(bits, rng).astype(int) - 2 ** (bits - 1)).astype(np.int16)
    frame = encode_lossless(pixels.astype(int) % 2**bits, bits=bits)
    found = stored(lossless_file([frame], pixels, BitsStored=bits, HighBit=bits - 1))
    assert found.dtype == np.int16
    np.testing.assert_array_equal(found[0], pixels)


def test_colours_are_taken_without_a_conversion(rng: np.random.Generator) -> None:
    pixels = rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    frame = encode_lossless(pixels, bits=8)
    colour = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
    found = read(lossless_file([frame], pixels, **colour), PATH, FileOptions())
    np.testing.assert_array_equal(found.slices[0], pixels)
    jfif = frame[:2] + b"\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0" + frame[2:]
    assert_refused(lossless_file([jfif], pixels, **colour), "colours are YCbCr .JFIF., where the file says RGB")


def test_frames_in_several_fragments_and_with_restarts_are_read(rng: np.random.Generator) -> None:
    pixels = np.stack([values(12, rng) for _ in range(3)])
    frames = [encode_lossless(frame, bits=12, rows_per_restart=4) for frame in pixels]
    found = stored(lossless_file(frames, pixels, fragments=3, BitsStored=12, HighBit=11))
    np.testing.assert_array_equal(found, pixels)


@pytest.mark.parametrize("rows_per_restart", [0, 4])
def test_a_frame_that_was_cut_anywhere_is_refused(rows_per_restart: int, rng: np.random.Generator) -> None:
    """Also if an end was put behind it, or a part before a restart is missing: libjpeg-turbo would fill it up."""
    pixels = values(12, rng)
    frame = encode_lossless(pixels, bits=12, rows_per_restart=rows_per_restart)
    start = frame.index(b"\xff\xda") + 10
    restart = frame.index(b"\xff\xd0") if rows_per_restart else len(frame)
    cuts = [frame[:at] + b"\xff\xd9" for at in range(start, len(frame) - 2, 7)] + [frame[:-2]]
    cuts += [frame[:at] + frame[restart:] for at in range(start, min(restart, len(frame)) - 1, 7) if rows_per_restart]
    for cut in cuts:
        assert_refused(lossless_file([cut], pixels, BitsStored=12, HighBit=11), "a frame (ends too early|has no end)")


def test_a_frame_that_contradicts_its_file_is_refused() -> None:
    frame = encode_lossless(RAMP, bits=12)
    twelve = {"BitsStored": 12, "HighBit": 11}
    assert levels(lossless_file([frame], RAMP, **twelve)).any()
    assert_refused(lossless_file([frame], RAMP[1:], **twelve), "another size than the file says")
    assert_refused(lossless_file([encode_lossless(np.dstack([RAMP] * 3), bits=12)], RAMP, **twelve), "another size")
    assert_refused(lossless_file([frame, frame], RAMP, **twelve), "says 1 frames, holds 2")
    assert_refused(lossless_file([frame], np.stack([RAMP] * 2), **twelve), "says 2 frames, holds 1|frame")
    assert_refused(lossless_file([frame], RAMP), "has 12 bits a value, where the file says 16 in 16")
    eight = (RAMP >> 4).astype(np.uint8)
    assert_refused(lossless_file([frame], eight), "has 12 bits a value, where the file says 8 in 8")
    assert_refused(lossless_file([frame], RAMP, BitsStored=11, HighBit=10), "values beyond its 11 bits")
    halved = encode_lossless(RAMP >> 1, bits=12, point_transform=1)
    assert_refused(lossless_file([halved], RAMP, **twelve), "with loss .by a point transform")
    lossy = imagecodecs.jpeg8_encode(RAMP, 90, bitspersample=12)
    assert_refused(lossless_file([lossy], RAMP, **twelve), "is another kind of JPEG")


def test_padding_after_a_frame_is_no_part_of_it() -> None:
    frame = encode_lossless(RAMP, bits=12)
    np.testing.assert_array_equal(stored(lossless_file([frame + bytes(4)], RAMP, BitsStored=12, HighBit=11))[0], RAMP)


def test_twelve_bit_jpeg_is_read_with_allow_lossy_alone() -> None:
    frame = imagecodecs.jpeg8_encode(RAMP, 100, bitspersample=12)
    data = lossless_file([frame], RAMP, uid.JPEGExtended12Bit, BitsStored=12, HighBit=11)
    assert np.abs(stored(data)[0].astype(int) - RAMP).max() <= 8
    assert_refused(data, "compressed with loss", FileOptions())
    cut = lossless_file([frame[:-8] + b"\xff\xd9"], RAMP, uid.JPEGExtended12Bit, BitsStored=12, HighBit=11)
    assert_refused(cut, "ends too early")


def test_without_imagecodecs_its_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jpeg_codec.JPEGLosslessSV1Decoder, "_available", {})
    data = lossless_file([encode_lossless(RAMP, bits=16)], RAMP)
    error = assert_refused(data, "the decoder for it is not installed")
    assert "pip install 'tfs-rt[jpeg]'" in error.remedy
    assert "dcmdjpeg" in error.remedy
