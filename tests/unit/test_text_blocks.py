"""Files in blocks, compressed or not."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import sys
from pathlib import Path

import pytest

from flowvm.bulk.scan import whole_lines
from flowvm.examples import read_source
from flowvm.text.blocks import BLOCK, UnreadableError, read_blocks

TEXT = b"".join(b"table=%d,actions=drop\n" % n for n in range(60_000))


@pytest.mark.parametrize("compress", [bytes, gzip.compress, lzma.compress, bz2.compress])
def test_compressed_text_comes_out_plain(compress: object, tmp_path: Path) -> None:
    """Told by the first bytes, not by the name; in blocks, not as a whole."""
    data = compress(TEXT)  # type: ignore[operator]
    blocks = list(read_blocks(io.BytesIO(data)))
    assert b"".join(blocks) == TEXT
    assert max(map(len, blocks)) <= BLOCK
    path = tmp_path / "flows"
    path.write_bytes(data)
    assert read_source(path).encode() == TEXT


@pytest.mark.parametrize("compress", [gzip.compress, lzma.compress, bz2.compress])
def test_damaged_files_are_named(compress: object, tmp_path: Path) -> None:
    """Whatever the library says about it."""
    path = tmp_path / "flows"
    path.write_bytes(compress(TEXT)[:-20])  # type: ignore[operator]
    with path.open("rb") as file, pytest.raises(UnreadableError) as caught:
        list(read_blocks(file))
    assert caught.value.filename == str(path)
    assert "cannot be decompressed" in str(caught.value)


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="Python itself reads zstd")
def test_zstd_without_a_library_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the extra."""
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(UnreadableError, match=r"pip install 'flowvm\[zstd\]'"):
        list(read_blocks(io.BytesIO(b"\x28\xb5\x2f\xfd" + bytes(20))))


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
@pytest.mark.parametrize("text", [b"", b"a", b"a\n", b"\n", b"a\nbb\n\nccc", b"a\nbb\n\nccc\n"])
def test_blocks_of_whole_lines(text: bytes, size: int) -> None:
    """Wherever a text is cut, its lines come whole, and end all with a newline."""
    cut = [text[at : at + size] for at in range(0, len(text), size)]
    blocks = list(whole_lines(cut))
    assert all(block.endswith(b"\n") for block in blocks)
    assert b"".join(blocks) == (text if text.endswith(b"\n") or not text else text + b"\n")
