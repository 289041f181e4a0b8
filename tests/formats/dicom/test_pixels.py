"""Stored pixels are decoded within limits, and by the bits that count."""

import io
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from pydicom import dcmread, uid
from pydicom.encaps import encapsulate, generate_frames

from support.made_dicom import RAMP, assert_refused, encode, levels, linear, make_dicom, stored_file
from tfs_rt.formats.dicom import pixels as dicom_pixels
from tfs_rt.formats.dicom import read as dicom
from tfs_rt.formats.picture import FileOptions


@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian])
def test_padding_beyond_the_stored_bits_hides_no_pixel_of_the_image(syntax: str) -> None:
    pixels = RAMP.copy()
    # 63536 by its 12 lowest bits
    pixels[0] = 63536
    pixels[4, 4] = 2096
    stored = pixels.byteswap() if syntax == uid.ExplicitVRBigEndian else pixels
    found = levels(
        make_dicom(stored, syntax, BitsStored=12, HighBit=11, PixelPaddingValue=63536), FileOptions(window=(0, 4095))
    )[0]
    assert not found[0].any()
    assert found[4, 4] == round(2096 / 4095 * 255)


def test_signed_values_and_twelve_bits_in_sixteen_are_read() -> None:
    signed = RAMP.astype(np.int16) - 2000
    np.testing.assert_array_equal(
        levels(make_dicom(signed, WindowCenter=0, WindowWidth=3000))[0], linear(signed, 0, 3000)
    )
    window = {"WindowCenter": 2000, "WindowWidth": 3000}
    soiled = RAMP | np.uint16(0xA000)  # what stands above the stored bits means nothing
    data = make_dicom(soiled, **window, BitsStored=12, HighBit=11)
    np.testing.assert_array_equal(levels(data)[0], linear(RAMP, 2000, 3000))
    assert_refused(make_dicom(RAMP, **window, BitsStored=12, HighBit=15), "unusual place")


SYNTAXES = [uid.ExplicitVRLittleEndian, uid.DeflatedExplicitVRLittleEndian, uid.RLELossless]

CODECS = [uid.JPEGLSLossless, uid.JPEG2000Lossless]


def with_twelve_bits(pixels: np.ndarray, syntax: uid.UID) -> bytes:
    """Sixteen-bit pixels in a file that then says that twelve of them count."""
    dataset = dcmread(io.BytesIO(make_dicom(pixels, WindowCenter=0, WindowWidth=5000)))
    if syntax.is_encapsulated:
        dataset.compress(syntax, generate_instance_uid=False)
    dataset.BitsStored = 12
    dataset.HighBit = 11
    return encode(dataset, syntax)


@pytest.mark.parametrize("syntax", [*SYNTAXES, *CODECS], ids=lambda syntax: syntax.name)
def test_the_highest_stored_bit_is_the_sign_in_every_encoding(syntax: uid.UID) -> None:
    values = (np.arange(64 * 64).reshape(64, 64) - 2048).astype(np.int16)
    expected = linear(values, 0, 5000)
    for stored in (values, values & np.int16(0xFFF)):  # the sign in all higher bits, and in none of them
        np.testing.assert_array_equal(levels(with_twelve_bits(stored, syntax))[0], expected)


def test_values_beyond_the_stored_bits_are_masked_or_refused() -> None:
    """Uncompressed bits above the stored ones may be an overlay (ACR-NEMA); a codec's cannot."""
    values = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)
    overlaid = values | np.uint16(0xA000)
    for syntax in SYNTAXES:
        np.testing.assert_array_equal(levels(with_twelve_bits(overlaid, syntax))[0], linear(values, 0, 5000))
    for syntax in CODECS:
        assert_refused(with_twelve_bits(overlaid, syntax), "has values beyond its 12 bits stored .40960 to 45055.")


def test_what_is_too_big_is_refused_before_it_is_inflated(monkeypatch: pytest.MonkeyPatch) -> None:
    assert_refused(make_dicom(RAMP, Rows=65535, Columns=65535), "65535x65535 pixels are more than 4096x4096")
    assert_refused(make_dicom(RAMP, Rows=4096, Columns=4096, NumberOfFrames=64), "more than 1 GiB")
    head = make_dicom(RAMP, uid.DeflatedExplicitVRLittleEndian)
    head = head[: 144 + struct.unpack_from("<I", head, 140)[0]]  # up to the end of group 2
    deflater = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    zeros = b"".join(deflater.compress(bytes(2**20)) for _ in range(40)) + deflater.flush()
    monkeypatch.setattr(dicom, "MAX_INFLATED", 2**25)
    tracemalloc.start()
    assert_refused(head + zeros, "inflates to more than 32 MiB")
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


def test_frames_that_would_decode_to_another_size_are_refused() -> None:
    runs = b"\x81\0" * 3000  # 128 bytes each, for an image of 128
    bomb = struct.pack("<16I", 1, 64, *[0] * 14) + runs
    assert_refused(make_dicom(RAMP, uid.RLELossless, PixelData=encapsulate([bomb])), "another size")
    whole = stored_file("MR_small_jp2klossless.dcm")
    at = whole.index(b"\xff\x4f\xff\x51") + 8
    assert_refused(whole[:at] + struct.pack(">II", 60000, 60000) + whole[at + 8 :], "another size")
    whole = stored_file("SC_rgb_jpeg_dcmtk.dcm")
    at = whole.index(b"\xff\xc0\x00\x11\x08") + 5
    assert_refused(whole[:at] + struct.pack(">HH", 60000, 60000) + whole[at + 4 :], "another size")


def test_frames_beyond_those_stated_are_not_dropped_in_silence() -> None:
    assert_refused(make_dicom(np.stack([RAMP] * 3), NumberOfFrames=2), "holds more frames than it says")
    image = stored_file("SC_rgb_rle_2frame.dcm")
    header = dcmread(io.BytesIO(image))
    frames = list(generate_frames(header.PixelData, number_of_frames=2))
    header.PixelData = encapsulate([*frames, frames[0]])
    assert_refused(encode(header, uid.RLELossless), "says 2 frames, holds 3")


def test_a_missing_decoder_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(dicom_pixels.DECODERS, uid.JPEGLSLossless, ("absent", "pyjpegls"))
    error = assert_refused(stored_file("MR_small_jpeg_ls_lossless.dcm"), "decoder for it is not installed")
    assert "pip install pyjpegls" in error.remedy
