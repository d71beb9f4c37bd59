"""Pictures in every variant of TIFF, PNG, WebP, JPEG and BMP that is likely to be met, drawn here.

Each comes with what it shows, so that a reader is compared with what was written; Pillow and
tifffile, which write most of them, stand for the second reader.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import tifffile
from PIL import Image

HEIGHT, WIDTH = 24, 32
_RANDOM = np.random.default_rng(0)
_NOISE = cv2.GaussianBlur(_RANDOM.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8), (0, 0), 3)
RGB = np.asarray(cv2.normalize(_NOISE, _NOISE.copy(), 0, 255, cv2.NORM_MINMAX), np.uint8)
DEEP = (RGB.astype(np.uint16) * 257) ^ _RANDOM.integers(0, 256, RGB.shape, np.uint16)
ALPHA = np.tile(np.linspace(0, 255, WIDTH).astype(np.uint8), (HEIGHT, 1))
GREY, DEEP_GREY = RGB[..., 1].copy(), DEEP[..., 1].copy()
RGBA = np.dstack([RGB, ALPHA])
BITS = GREY > 128
PALETTE = _RANDOM.integers(0, 256, (3, 256)).astype(np.uint16) * 257


@dataclass(frozen=True)
class OddPicture:
    """A file, and what it shows; None where it is refused, in words that `says` is one of."""

    name: str
    data: bytes
    shows: npt.NDArray[np.uint8] | None = None
    says: str = ""
    within: float = 0.0  # mean levels: of what loses something


def odd_pictures() -> list[OddPicture]:
    """All of them."""
    groups = (_tiffs, _deep_tiffs, _odd_tiffs, _raw_tiffs, _pngs, _webps, _jpegs, _bmps)
    return [picture for group in groups for picture in group()]


def eight(deep: npt.NDArray[np.uint16]) -> npt.NDArray[np.uint8]:
    """16 bits to 8, as promised: the nearest level."""
    return ((deep.astype(np.uint32) + 128) // 257).astype(np.uint8)


def bgr(rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    return np.ascontiguousarray(rgb[..., ::-1])


def grey(levels: npt.NDArray[np.integer]) -> npt.NDArray[np.uint8]:
    return np.dstack([levels.astype(np.uint8)] * 3)


def upright(stored: npt.NDArray[np.uint8], orientation: int) -> npt.NDArray[np.uint8]:
    """What EXIF's orientation makes of it (TIFF 6.0, tag 274)."""
    flipped = stored if orientation in (1, 3, 6, 8) else stored[:, ::-1]
    turns = {1: 0, 2: 0, 3: 2, 4: 2, 5: 1, 6: 3, 7: 3, 8: 1}[orientation]
    return np.ascontiguousarray(np.rot90(flipped, turns))


def tiff(array: npt.NDArray[np.generic], photometric: str = "rgb", **options: object) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, array, photometric=photometric, **options)
    return file.getvalue()


def saved(picture: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def planes(array: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    return np.ascontiguousarray(np.moveaxis(array, -1, 0))


def _tiffs() -> Iterator[OddPicture]:
    """8 bits, by Pillow."""
    picture, one = Image.fromarray(RGB), Image.fromarray(GREY)
    for compression in ("tiff_lzw", "packbits", "tiff_adobe_deflate", "lzma", "zstd"):
        for predictor in (1, 2) if compression != "packbits" else (1,):
            options = {"compression": compression, "tiffinfo": {317: predictor}}
            name = f"{compression} {predictor}"
            yield OddPicture(f"tiff rgb {name}", saved(picture, "TIFF", **options), bgr(RGB))
            yield OddPicture(f"tiff grey {name}", saved(one, "TIFF", **options), grey(GREY))
    lossy = saved(picture, "TIFF", compression="jpeg", quality=95)
    yield OddPicture("tiff jpeg ycbcr", lossy, bgr(RGB), within=6)
    data = saved(picture.convert("YCbCr"), "TIFF")
    yield OddPicture("tiff ycbcr", data, says="YCbCr colours without JPEG")
    inks = picture.convert("CMYK")
    shows = bgr(np.asarray(inks.convert("RGB")))
    yield OddPicture("tiff cmyk", saved(inks, "TIFF"), shows)
    yield OddPicture("tiff cmyk planar", tiff(planes(np.asarray(inks)), "separated"), shows)
    yield OddPicture("tiff lab", saved(_lab(), "TIFF"), says="colours of an unknown kind")
    bilevel = Image.fromarray(BITS)
    yield OddPicture(
        "tiff bilevel lzw", saved(bilevel, "TIFF", compression="tiff_lzw"), grey(BITS * 255)
    )
    for compression in ("group3", "group4"):
        data = saved(bilevel, "TIFF", compression=compression)
        yield OddPicture(f"tiff bilevel {compression}", data, says="a fax's compression")


def _lab() -> Image.Image:
    return Image.frombytes("LAB", (WIDTH, HEIGHT), RGB.tobytes())


def _deep_tiffs() -> Iterator[OddPicture]:
    """16 bits."""
    shows, shows_grey = bgr(eight(DEEP)), grey(eight(DEEP_GREY))
    for order in "<>":
        options = {"byteorder": order}
        yield OddPicture(f"tiff rgb16 {order}", tiff(DEEP, **options), shows)
        yield OddPicture(f"tiff rgb8 {order}", tiff(RGB, **options), bgr(RGB))
        data = tiff(DEEP_GREY, "minisblack", **options)
        yield OddPicture(f"tiff grey16 {order}", data, shows_grey)
        data = tiff(np.uint16(65535) - DEEP_GREY, "miniswhite", **options)
        yield OddPicture(f"tiff grey16 white is 0 {order}", data, shows_grey)
        says = "16-bit colours in separate planes"
        data = tiff(planes(DEEP), planarconfig="separate", **options)
        yield OddPicture(f"tiff rgb16 planar {order}", data, says=says)
    yield OddPicture("tiff rgb16 deflate", tiff(DEEP, compression="zlib"), shows)
    yield OddPicture(
        "tiff grey16 deflate", tiff(DEEP_GREY, "minisblack", compression="zlib"), shows_grey
    )
    yield OddPicture("tiff rgb16 tiles", tiff(DEEP, tile=(16, 16)), shows)
    data = tiff(np.uint16(65535) - DEEP_GREY, "miniswhite", tile=(16, 16))
    yield OddPicture("tiff grey16 white is 0 tiles", data, shows_grey)
    data = tiff(np.dstack([DEEP, ALPHA.astype(np.uint16) * 257]), extrasamples=["unassalpha"])
    yield OddPicture("tiff rgba16", data, shows)
    data = tiff(np.dstack([DEEP, ALPHA.astype(np.uint16) * 257]), extrasamples=["assocalpha"])
    yield OddPicture("tiff rgba16 multiplied", data, says="multiplied by their alpha")
    both = np.dstack([DEEP_GREY, ALPHA.astype(np.uint16) * 257])
    data = tiff(both, "minisblack", extrasamples=["unassalpha"], planarconfig="contig")
    yield OddPicture("tiff grey16 alpha", data, says="16-bit grey with alpha")
    data = tiff(DEEP, compression="lzma")
    yield OddPicture("tiff rgb16 lzma", data, says="in this compression; save it with LZW")
    yield OddPicture(
        "tiff grey16 lzma", tiff(DEEP_GREY, "minisblack", compression="lzma"), shows_grey
    )
    yield OddPicture("tiff big grey16", tiff(DEEP_GREY, "minisblack", bigtiff=True), shows_grey)


def _odd_tiffs() -> Iterator[OddPicture]:
    yield OddPicture("tiff planar", tiff(planes(RGB), planarconfig="separate"), bgr(RGB))
    yield OddPicture("tiff tiles", tiff(RGB, tile=(16, 16)), bgr(RGB))
    data = tiff(planes(RGB), planarconfig="separate", tile=(16, 16))
    yield OddPicture("tiff planar tiles", data, bgr(RGB))
    yield OddPicture("tiff strips", tiff(RGB, rowsperstrip=7), bgr(RGB))
    yield OddPicture("tiff big", tiff(RGB, bigtiff=True), bgr(RGB))
    yield OddPicture("tiff pages", tiff(np.stack([RGB, 255 - RGB])), bgr(RGB))
    yield OddPicture("tiff white is 0", tiff(255 - GREY, "miniswhite"), grey(GREY))
    yield OddPicture("tiff bilevel white is 0", tiff(~BITS, "miniswhite"), grey(BITS * 255))
    for extra in ("unassalpha", "unspecified"):
        yield OddPicture(f"tiff rgba {extra}", tiff(RGBA, extrasamples=[extra]), bgr(RGB))
    opaque = np.dstack([RGB, np.full((HEIGHT, WIDTH), 255, np.uint8)])
    yield OddPicture("tiff rgba multiplied", tiff(opaque, extrasamples=["assocalpha"]), bgr(RGB))
    data = tiff(planes(RGBA), planarconfig="separate", extrasamples=["unassalpha"])
    yield OddPicture("tiff rgba planar", data, bgr(RGB))
    both = np.dstack([GREY, ALPHA])
    data = tiff(both, "minisblack", extrasamples=["unassalpha"], planarconfig="contig")
    yield OddPicture("tiff grey alpha", data, grey(GREY))
    shows = bgr((PALETTE >> 8).astype(np.uint8).T[GREY])
    yield OddPicture("tiff palette", tiff(GREY, "palette", colormap=PALETTE), shows)
    for orientation in range(1, 9):
        tags = [(274, "H", 1, orientation, True)]
        data = tiff(RGB, extratags=tags)
        name = f"tiff orientation {orientation}"
        yield OddPicture(name, data, upright(bgr(RGB), orientation))
        data = tiff(DEEP, extratags=tags)
        yield OddPicture(f"{name} rgb16", data, upright(bgr(eight(DEEP)), orientation))
    data = tiff(DEEP_GREY, "minisblack", extratags=[(274, "H", 1, 6, True)])
    yield OddPicture("tiff orientation 6 grey16", data, upright(grey(eight(DEEP_GREY)), 6))
    refused = {
        "floating-point samples": (RGB / 255).astype(np.float32),
        "signed samples": (DEEP_GREY // 2).astype(np.int16),
        "32-bit samples": DEEP_GREY.astype(np.uint32) * 65537,
    }
    for says, array in refused.items():
        kind = "rgb" if array.ndim == 3 else "minisblack"
        yield OddPicture(f"tiff {array.dtype}", tiff(array, kind), says=says)
    five = tiff(np.dstack([RGBA, ALPHA]), extrasamples=["unspecified"] * 2)
    yield OddPicture("tiff of five channels", five, says="more channels than colours and alpha")


def _raw_tiffs() -> Iterator[OddPicture]:
    """Of 2, 4, 10 and 12 bits, which nobody here writes."""
    two, four = GREY >> 6, GREY >> 4
    data = raw_tiff(2, (two[:, ::4] << 6 | two[:, 1::4] << 4 | two[:, 2::4] << 2 | two[:, 3::4]))
    yield OddPicture("tiff grey2", data, grey(two * 85))
    data = raw_tiff(4, four[:, ::2] << 4 | four[:, 1::2])
    yield OddPicture("tiff grey4", data, grey(four * 17))
    twelve = (DEEP_GREY >> 4).astype(int)
    first, second = twelve[:, ::2], twelve[:, 1::2]
    packed = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], -1)
    shows = grey((twelve * 255 + 2047) // 4095)
    yield OddPicture("tiff grey12", raw_tiff(12, packed), shows)
    yield OddPicture("tiff grey10", raw_tiff(10, packed), says="10-bit samples")
    yield OddPicture(
        "tiff jpeg2000", raw_tiff(8, GREY, compression=34712), says="compression 34712"
    )


def raw_tiff(bits: int, rows: npt.NDArray[np.integer], *, compression: int = 1) -> bytes:
    content = rows.astype(np.uint8).tobytes()
    tags = {256: WIDTH, 257: HEIGHT, 258: bits, 259: compression, 262: 1, 273: 122, 277: 1}
    tags |= {278: HEIGHT, 279: len(content)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    head = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)
    assert len(head) == 122
    return head + content


def png_chunk(name: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(name + content)
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)


def png(
    bits: int,
    colour: int,
    rows: npt.NDArray[np.generic],
    *,
    extra: bytes = b"",
    packed: bytes = b"",
) -> bytes:
    """A PNG of rows as they are packed; or interlaced, with `packed` in their place."""
    rows = rows.reshape(HEIGHT, -1)
    content = packed or b"".join(b"\0" + row.tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, bits, colour, 0, 0, bool(packed))
    chunks = png_chunk(b"IHDR", header) + extra + png_chunk(b"IDAT", zlib.compress(content))
    return b"\x89PNG\r\n\x1a\n" + chunks + png_chunk(b"IEND", b"")


def _interlaced(array: npt.NDArray[np.generic]) -> bytes:
    packed = b""
    steps = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2))
    for top, left, down, right in (*steps, (1, 0, 2, 1)):
        part = np.ascontiguousarray(array[top::down, left::right])
        packed += b"".join(b"\0" + row.tobytes() for row in part.reshape(part.shape[0], -1))
    return packed


def _pngs() -> Iterator[OddPicture]:
    big = DEEP.astype(">u2")
    two, four = GREY >> 6, GREY >> 4
    rows = two[:, ::4] << 6 | two[:, 1::4] << 4 | two[:, 2::4] << 2 | two[:, 3::4]
    nibbles = four[:, ::2] << 4 | four[:, 1::2]
    yield OddPicture("png grey1", saved(Image.fromarray(BITS), "PNG"), grey(BITS * 255))
    yield OddPicture("png grey2", png(2, 0, rows), grey(two * 85))
    yield OddPicture("png grey4", png(4, 0, nibbles), grey(four * 17))
    deep = DEEP_GREY.astype(">u2")
    yield OddPicture("png grey16", png(16, 0, deep), grey(eight(DEEP_GREY)))
    yield OddPicture("png rgb16", png(16, 2, big), bgr(eight(DEEP)))
    with_alpha = np.dstack([DEEP, ALPHA.astype(np.uint16) * 257]).astype(">u2")
    yield OddPicture("png rgba16", png(16, 6, with_alpha), bgr(eight(DEEP)))
    yield OddPicture("png grey16 alpha", png(16, 4, with_alpha[..., 1::2]), grey(eight(DEEP_GREY)))
    yield OddPicture("png grey8 alpha", png(8, 4, np.dstack([GREY, ALPHA])), grey(GREY))
    clear = png_chunk(b"tRNS", struct.pack(">HHH", *map(int, RGB[9, 9])))
    yield OddPicture("png tRNS", png(8, 2, RGB, extra=clear), bgr(RGB))
    palette = (PALETTE >> 8).astype(np.uint8).T
    table = png_chunk(b"PLTE", palette.tobytes())
    shows = bgr(palette[GREY])
    yield OddPicture("png palette", png(8, 3, GREY, extra=table), shows)
    clear = png_chunk(b"tRNS", bytes(range(256)))
    yield OddPicture("png palette tRNS", png(8, 3, GREY, extra=table + clear), shows)
    few = png_chunk(b"PLTE", palette[:16].tobytes())
    yield OddPicture("png palette4", png(4, 3, nibbles, extra=few), bgr(palette[four]))
    for gamma in (45455, 100000):
        extra = png_chunk(b"gAMA", struct.pack(">I", gamma))
        yield OddPicture(f"png gamma {gamma}", png(8, 2, RGB, extra=extra), bgr(RGB))
    back = png_chunk(b"bKGD", struct.pack(">HHH", 255, 0, 0))
    yield OddPicture("png background", png(8, 6, RGBA, extra=back), bgr(RGB))
    yield OddPicture("png interlaced", png(8, 2, RGB, packed=_interlaced(RGB)), bgr(RGB))
    yield OddPicture("png interlaced16", png(16, 2, big, packed=_interlaced(big)), bgr(eight(DEEP)))
    exif = Image.Exif()
    exif[274] = 6
    yield OddPicture(
        "png exif", saved(Image.fromarray(RGB), "PNG", exif=exif), upright(bgr(RGB), 6)
    )
    more = {"save_all": True, "append_images": [Image.fromarray(255 - RGB)]}
    for own in (False, True):
        data = saved(Image.fromarray(RGB), "PNG", default_image=own, **more)
        yield OddPicture(f"png animated {own}", data, bgr(RGB))


def _webps() -> Iterator[OddPicture]:
    picture = Image.fromarray(RGB)
    exif = Image.Exif()
    exif[274] = 6
    content = exif.tobytes().removeprefix(b"Exif\0\0")
    yield OddPicture("webp lossless", saved(picture, "WEBP", lossless=True), bgr(RGB))
    yield OddPicture("webp lossy", saved(picture, "WEBP", quality=95), bgr(RGB), within=6)
    data = saved(Image.fromarray(RGBA), "WEBP", lossless=True, exact=True)
    yield OddPicture("webp alpha", data, bgr(RGB))
    for prefix in (b"", b"Exif\0\0"):
        data = saved(picture, "WEBP", lossless=True, exif=prefix + content)
        yield OddPicture(f"webp exif {prefix!r}", data, upright(bgr(RGB), 6))
    more = {"save_all": True, "append_images": [Image.fromarray(255 - RGB)]}
    yield OddPicture("webp animated", saved(picture, "WEBP", lossless=True, **more), bgr(RGB))


def _jpegs() -> Iterator[OddPicture]:
    picture = Image.fromarray(RGB)
    best = {"quality": 95, "subsampling": 0}
    variants = {
        "baseline": {},
        "progressive": {"progressive": True},
        "restarts": {"restart_marker_blocks": 2},
        "rgb": {"keep_rgb": True},
    }
    for name, options in variants.items():
        yield OddPicture(
            f"jpeg {name}", saved(picture, "JPEG", **best, **options), bgr(RGB), within=4
        )
    yield OddPicture(
        "jpeg grey", saved(Image.fromarray(GREY), "JPEG", quality=95), grey(GREY), within=4
    )
    data = saved(picture.convert("CMYK"), "JPEG", quality=98)
    yield OddPicture("jpeg cmyk", data, bgr(RGB), within=4)
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[274] = orientation
        data = saved(picture, "JPEG", **best, exif=exif)
        name = f"jpeg orientation {orientation}"
        yield OddPicture(name, data, upright(bgr(RGB), orientation), within=4)
    plain = saved(picture, "JPEG", **best)
    yield OddPicture("jpeg cut", plain[:-40], says="cut short")
    frame = plain.index(b"\xff\xc0")
    frames = {0xC3: "lossless", 0xC5: "hierarchical", 0xC9: "arithmetic", 0xCA: "arithmetic"}
    for marker, says in frames.items():
        data = plain[: frame + 1] + bytes([marker]) + plain[frame + 2 :]
        yield OddPicture(f"jpeg {says} {marker:x}", data, says=says)
    data = plain[: frame + 4] + b"\x0c" + plain[frame + 5 :]
    yield OddPicture("jpeg 12 bits", data, says="12-bit samples; save it with 8 bits")


def _bmps() -> Iterator[OddPicture]:
    yield OddPicture("bmp rgb", saved(Image.fromarray(RGB), "BMP"), bgr(RGB))
    yield OddPicture("bmp grey", saved(Image.fromarray(GREY), "BMP"), grey(GREY))
    yield OddPicture("bmp bilevel", saved(Image.fromarray(BITS), "BMP"), grey(BITS * 255))
    yield OddPicture("bmp alpha", saved(Image.fromarray(RGBA), "BMP"), bgr(RGB))
    yield OddPicture("bmp from the top", _bmp(24, bgr(RGB).tobytes(), height=-HEIGHT), bgr(RGB))
    five = RGB[::-1].astype(np.uint16) >> 3
    data = _bmp(16, (five[..., 0] << 10 | five[..., 1] << 5 | five[..., 2]).tobytes())
    yield OddPicture("bmp 15 bits", data, bgr(RGB), within=8)
    levels = b"".join(bytes((level, level, level, 0)) for level in range(256))
    runs = b"".join(
        b"".join(bytes((1, level)) for level in row) + b"\0\0" for row in GREY[::-1].tolist()
    )
    data = _bmp(8, runs + b"\0\1", compression=1, palette=levels)
    yield OddPicture("bmp runs", data, says="save it uncompressed")


def _bmp(
    bits: int, rows: bytes, *, compression: int = 0, height: int = HEIGHT, palette: bytes = b""
) -> bytes:
    begin = 54 + len(palette)
    head = struct.pack("<IHHI", begin + len(rows), 0, 0, begin)
    size = struct.pack("<IiiHHII", 40, WIDTH, height, 1, bits, compression, len(rows))
    return b"BM" + head + size + struct.pack("<iiII", 0, 0, len(palette) // 4, 0) + palette + rows
