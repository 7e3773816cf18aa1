"""The files of a node: those of a directory, or of an archive, which is not unpacked to disk.

Whatever an archive says of paths, nothing is written anywhere: a path is only a name here.
"""

from __future__ import annotations

import errno
import io
import os
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import IO, BinaryIO, cast

from flowvm.text.blocks import BLOCK, UnreadableError, read_blocks

MOST = 1 << 30
"""So many bytes of an archive are held, and of one file read as a whole, in bytes."""

_DEEPEST = 32
_ZIP = b"PK\x03\x04"


@dataclass(frozen=True)
class StoredFile:
    """A file: its path inside the node, with slashes, and what opens it."""

    path: str
    label: str
    """What messages call it."""

    open: Callable[[], AbstractContextManager[IO[bytes]]]

    def blocks(self) -> Iterator[bytes]:
        """What is in it, decompressed. Raises OSError."""
        with self.open() as file:
            try:
                yield from read_blocks(cast(BinaryIO, file))
            except UnreadableError as error:
                raise OSError(error.errno, error.strerror, self.label) from None

    def data(self) -> bytes:
        """All of it. Raises OSError."""
        return b"".join(_limited(self.blocks(), MOST, self.label))


def read_files(source: Traversable, wanted: Callable[[str], bool]) -> list[StoredFile]:
    """The files whose paths are ``wanted``, by path.

    ``source`` is a directory, or an archive: zip, or tar, compressed or not. Symbolic links that
    lead out of a directory are not followed, nor are any in an archive. Raises OSError.
    """
    if source.is_dir():
        files = [file for file in _walk(source, source, "", 0) if wanted(file.path)]
    elif not source.is_file():
        if isinstance(source, Path) and not source.exists():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(source))
        raise OSError(None, "is neither a directory nor an archive", str(source))
    else:
        with source.open("rb") as file:
            is_zip = file.read(len(_ZIP)) == _ZIP
        files = list(_of_zip(source, wanted) if is_zip else _of_tar(source, wanted))
    return sorted(files, key=lambda file: file.path)


def _walk(
    root: Traversable, directory: Traversable, prefix: str, depth: int
) -> Iterator[StoredFile]:
    for entry in directory.iterdir():
        path = prefix + entry.name
        if isinstance(entry, Path) and entry.is_symlink() and _leads_out(root, entry):
            continue
        if entry.is_dir():
            # A link to a directory says nothing that is not found elsewhere, but may go in circles.
            if depth < _DEEPEST and not (isinstance(entry, Path) and entry.is_symlink()):
                yield from _walk(root, entry, f"{path}/", depth + 1)
        elif entry.is_file():
            yield StoredFile(path, os.path.join(str(root), path), _opener(entry))  # noqa: PTH118


def _leads_out(root: Traversable, link: Path) -> bool:
    return isinstance(root, Path) and not link.resolve().is_relative_to(root.resolve())


def _opener(entry: Traversable) -> Callable[[], AbstractContextManager[IO[bytes]]]:
    return lambda: entry.open("rb")


def _of_tar(source: Traversable, wanted: Callable[[str], bool]) -> Iterator[StoredFile]:
    """Every file is read as it comes by: going back in a compressed archive is dear."""
    left = MOST
    try:
        with (
            source.open("rb") as file,
            tarfile.open(
                fileobj=cast(IO[bytes], _Stream(read_blocks(cast(BinaryIO, file)))),
                mode="r|",
                bufsize=BLOCK,
            ) as archive,
        ):
            for member in archive:
                if not member.isreg() or not wanted(member.name):
                    continue
                found = archive.extractfile(member)
                assert found is not None
                data = _held(found, left, str(source))
                left -= len(data)
                yield _in_memory(source, member.name, data)
    except (tarfile.TarError, EOFError) as error:
        raise OSError(None, f"is no archive that can be read: {error}", str(source)) from None
    except UnreadableError as error:
        raise OSError(error.errno, error.strerror, str(source)) from None


def _of_zip(source: Traversable, wanted: Callable[[str], bool]) -> Iterator[StoredFile]:
    left = MOST
    try:
        with source.open("rb") as file, zipfile.ZipFile(file) as archive:
            for member in archive.infolist():
                if member.is_dir() or not wanted(member.filename):
                    continue
                with archive.open(member) as found:
                    data = _held(found, left, str(source))
                left -= len(data)
                yield _in_memory(source, member.filename, data)
    except OSError:
        raise
    except Exception as error:
        # What a damaged archive makes it raise differs from one compression to the next.
        raise OSError(None, f"is no archive that can be read: {error}", str(source)) from None


def _in_memory(source: Traversable, path: str, data: bytes) -> StoredFile:
    return StoredFile(path, f"{source}:{path}", lambda: nullcontext(io.BytesIO(data)))


def _held(file: IO[bytes], most: int, label: str) -> bytes:
    return b"".join(_limited(iter(lambda: file.read(BLOCK), b""), most, label))


def _limited(blocks: Iterator[bytes], most: int, label: str) -> Iterator[bytes]:
    for block in blocks:
        most -= len(block)
        if most < 0:
            raise OSError(None, f"holds more than {MOST >> 20} MiB of what is to be read", label)
        yield block


class _Stream:
    """Blocks as a file that is read from its beginning to its end."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks
        self._rest = b""

    def read(self, size: int) -> bytes:
        while len(self._rest) < size and (block := next(self._blocks, None)) is not None:
            self._rest += block
        some, self._rest = self._rest[:size], self._rest[size:]
        return some
