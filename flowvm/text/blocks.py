"""Text in blocks, as large files are read; compressed files are decompressed on the way."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from typing import Any, BinaryIO

BLOCK = 1 << 19
"""How much is read at a time, in bytes: about what fits into a processor's cache."""

COMPILED = b"PK\x03\x04"
"""How a compiled dump begins (:mod:`flowvm.bulk.saved`)."""

COMPILED_TEXT = "dump.txt"
"""Where in a compiled dump its text is."""

_GZIP, _XZ, _BZIP2, _ZSTD = b"\x1f\x8b", b"\xfd7zXZ\x00", b"BZh", b"\x28\xb5\x2f\xfd"
_LONGEST_MAGIC = 6


class UnreadableError(OSError):
    """A file that cannot be decompressed."""


def read_blocks(file: BinaryIO) -> Iterator[bytes]:
    """What is in ``file``; if that is gzip, xz, bzip2, zstd or a compiled dump, the text in it.

    Raises OSError: UnreadableError for compressed data that is damaged, or, of zstd, if there is
    nothing to decompress it with.
    """
    buffered = peekable(file)
    magic = buffered.peek(_LONGEST_MAGIC)[:_LONGEST_MAGIC]
    if not magic.startswith((COMPILED, _GZIP, _XZ, _BZIP2, _ZSTD)):
        yield from iter(lambda: buffered.read(BLOCK), b"")
        return
    try:
        with _decompressed(buffered, magic) as plain:
            yield from iter(lambda: plain.read(BLOCK), b"")
    except UnreadableError:
        raise
    except Exception as error:
        # What they raise for damaged data each library decides for itself.
        name = getattr(file, "name", None)
        raise UnreadableError(None, f"cannot be decompressed: {error}", name) from None


def peekable(file: BinaryIO) -> Any:
    """The same file such that one can look at its beginning with ``peek``."""
    return file if hasattr(file, "peek") else io.BufferedReader(file, BLOCK)


def seekable(file: Any) -> Any:
    """The same file, read into memory if it cannot seek."""
    return file if file.seekable() else io.BytesIO(file.read())


def _decompressed(file: Any, magic: bytes) -> Any:
    # Each of these takes time to import, and is rarely needed.
    if magic.startswith(_GZIP):
        import gzip

        return gzip.GzipFile(fileobj=file)
    if magic.startswith(_XZ):
        import lzma

        return lzma.LZMAFile(file)
    if magic.startswith(_BZIP2):
        import bz2

        return bz2.BZ2File(file)
    if magic.startswith(COMPILED):
        import zipfile

        return zipfile.ZipFile(seekable(file)).open(COMPILED_TEXT)
    return _open_zstd(file)


def _open_zstd(file: Any) -> Any:
    if sys.version_info >= (3, 14):
        from compression.zstd import ZstdFile

        return ZstdFile(file)
    try:
        from zstandard import ZstdDecompressor
    except ImportError:
        raise UnreadableError(
            None,
            "to read zstd, Python before 3.14 needs a library: pip install 'flowvm[zstd]'",
        ) from None
    return ZstdDecompressor().stream_reader(file, read_across_frames=True)
