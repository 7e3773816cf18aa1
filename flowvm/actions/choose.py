"""Hashing packets onto ports or links, and sampling: ``bundle``, ``multipath``, ``sample``.

Semantics: ovs-actions(7), "bundle", "multipath", "sample".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from flowvm.actions.base import (
    Action,
    ColumnBits,
    Kept,
    Lowered,
    Operands,
    Operation,
    Packets,
    Resolver,
    Subfield,
)
from flowvm.actions.output import emit
from flowvm.actions.write import write_subfield
from flowvm.flow import Port, ReservedPort
from flowvm.pipeline import hashing
from flowvm.text.errors import WordError
from flowvm.text.tree import Item
from flowvm.text.values import format_port, parse_number, parse_port, parse_subfield

if TYPE_CHECKING:
    from flowvm.pipeline.engine import Run

HASH_FIELDS = (
    "eth_src",
    "nw_src",
    "nw_dst",
    "symmetric_l4",
    "symmetric_l3l4",
    "symmetric_l3l4+udp",
    "symmetric_l3",
)
BUNDLE_ALGORITHMS = ("active_backup", "hrw")
MULTIPATH_ALGORITHMS = ("modulo_n", "hash_threshold", "hrw", "iter_hash")


@dataclass(frozen=True)
class Bundle(Action):
    """``bundle(FIELDS,BASIS,ALGORITHM,ofport,members:PORT,...)``.

    With a ``destination`` it is ``bundle_load``. ``members_word`` is ``slaves`` in dumps of
    versions before 2.14.
    """

    fields: str
    basis: int
    algorithm: str
    members: tuple[Port, ...]
    destination: Subfield | None = None
    members_word: str = "members"

    def __str__(self) -> str:
        name = "bundle" if self.destination is None else "bundle_load"
        middle = "" if self.destination is None else f"{self.destination},"
        ports = ",".join(map(format_port, self.members))
        return (
            f"{name}({self.fields},{self.basis},{self.algorithm},ofport,{middle}"
            f"{self.members_word}:{ports})"
        )

    @property
    def member_ports(self) -> tuple[Port, ...]:
        """The ports to choose from."""
        return self.members

    def lower(self, resolver: Resolver) -> Lowered:
        if not _can_be_loaded(self.destination):
            return super().lower(resolver)
        members = tuple(map(resolver.port, self.members))
        return Lowered(
            ChooseMember(self.fields, self.basis, self.algorithm, members, self.destination)
        )


@dataclass(frozen=True)
class Multipath(Action):
    """``multipath(FIELDS,BASIS,ALGORITHM,N_LINKS,ARG,DESTINATION)``."""

    fields: str
    basis: int
    algorithm: str
    n_links: int
    arg: int
    destination: Subfield

    def __str__(self) -> str:
        return (
            f"multipath({self.fields},{self.basis},{self.algorithm},{self.n_links},{self.arg},"
            f"{self.destination})"
        )

    def lower(self, resolver: Resolver) -> Lowered:
        if not _can_be_loaded(self.destination):
            return super().lower(resolver)
        return Lowered(
            ChooseLink(
                self.fields, self.basis, self.algorithm, self.n_links, self.arg, self.destination
            )
        )


@dataclass(frozen=True)
class ChooseLink(Operation):
    """Hash onto one of ``n_links`` and write its number, whether or not the packet has the field.

    Semantics: ``multipath_algorithm`` in lib/multipath.c.
    """

    fields: str
    basis: int
    algorithm: str
    n_links: int
    arg: int
    destination: Subfield

    @property
    def reads(self) -> ColumnBits:
        return hashing.HASHES[self.fields].reads

    @property
    def writes(self) -> ColumnBits:
        return write_subfield(self.destination).writes

    def execute(self, run: Run, packets: Packets, operands: Operands) -> Kept:  # noqa: ARG002
        hashed = hashing.HASHES[self.fields].of(run.columns, packets, self.basis)
        # OVS keeps the link in 16 bits.
        links = self._links(hashed).astype(np.uint64) & np.uint64(0xFFFF)
        write_subfield(self.destination).store(run, packets, links[None])
        run.report_subfield(packets, self.destination)
        return None

    def _links(self, hashed: hashing.Hash) -> hashing.Hash:
        n = self.n_links
        match self.algorithm:
            case "modulo_n":
                return hashed % np.uint32(n)
            case "hash_threshold" if n == 1:
                return np.zeros_like(hashed)
            case "hash_threshold":
                return hashed // np.uint32(0xFFFF_FFFF // n + 1)
            case "hrw" if n <= _MOST_LINKS_OF_HRW:
                links = np.arange(n, dtype=np.uint32)[:, None]
                best = hashing.two_words(hashed, links).argmax(axis=0)
                return np.asarray(best, np.uint32)
            case "hrw":
                return self._iterate(hashed, 0)
            case _:
                return self._iterate(hashed, self.arg)

    def _iterate(self, hashed: hashing.Hash, modulo: int) -> hashing.Hash:
        """Hash on until each packet has a number that is one of the links."""
        n = self.n_links
        if modulo < n or modulo // 2 > n:
            modulo = 1 << (n - 1).bit_length()
        links = np.zeros_like(hashed)
        open_ones = np.arange(len(hashed))
        turn = 0
        while len(open_ones):
            found = hashing.two_words(hashed[open_ones], turn) % np.uint32(modulo)
            links[open_ones] = found
            open_ones = open_ones[found & np.uint32(0xFFFF) >= n]
            turn += 1
        return links


@dataclass(frozen=True)
class ChooseMember(Operation):
    """Choose one of some ports, and output to it or write its number into ``destination``.

    Semantics: ``bundle_execute`` in lib/bundle.c.
    """

    fields: str
    basis: int
    algorithm: str
    members: tuple[int, ...]
    destination: Subfield | None

    @property
    def reads(self) -> ColumnBits:
        return hashing.HASHES[self.fields].reads if self._hashes else {}

    @property
    def writes(self) -> ColumnBits:
        return write_subfield(self.destination).writes if self.destination else {}

    @property
    def may_choose_normal(self) -> bool:
        return self.destination is None and ReservedPort.NORMAL in self.members

    @property
    def _hashes(self) -> bool:
        return self.algorithm == "hrw" and len(self.members) > 1

    def execute(self, run: Run, packets: Packets, operands: Operands) -> Kept:  # noqa: ARG002
        ports = self._ports(run, packets)
        if self.destination is None:
            emit(run, packets, ports)
        else:
            write_subfield(self.destination).store(run, packets, ports.astype(np.uint64)[None])
            run.report_subfield(packets, self.destination)
        return None

    def _ports(self, run: Run, packets: Packets) -> NDArray[np.int64]:
        names = run.state.program.names
        live = [
            (number, port)
            for number, port in enumerate(self.members)
            if port in _ALWAYS_ENABLED or (port not in _NEVER_ENABLED and names.is_live(port))
        ]
        if not live:
            return np.full(len(packets), ReservedPort.NONE)
        if not self._hashes:
            return np.full(len(packets), live[0][1])
        hashed = hashing.HASHES[self.fields].of(run.columns, packets, self.basis)
        numbers = np.array([number for number, _ in live], np.uint32)[:, None]
        best = hashing.two_words(numbers, hashed).argmax(axis=0)
        return np.asarray(np.array([port for _, port in live])[best], np.int64)


_MOST_LINKS_OF_HRW = 64
_ALWAYS_ENABLED = (
    ReservedPort.IN_PORT,
    ReservedPort.TABLE,
    ReservedPort.NORMAL,
    ReservedPort.FLOOD,
    ReservedPort.ALL,
    ReservedPort.NONE,
)
_NEVER_ENABLED = (ReservedPort.CONTROLLER,)


def _can_be_loaded(destination: Subfield | None) -> bool:
    """Whether it is defined what a number does to ``destination``.

    OVS writes arbitrary bits beyond the first 64 (``nxm_reg_load``).
    """
    if destination is None:
        return True
    return destination.field.bits is not None and destination.width <= _DEFINED_WIDTH


_DEFINED_WIDTH = 64


@dataclass(frozen=True)
class Sample(Action):
    """``sample(probability=N,...)``; ``direction`` is ``ingress`` or ``egress`` if given."""

    probability: int
    collector_set_id: int = 0
    obs_domain_id: int = 0
    obs_point_id: int = 0
    sampling_port: Port | None = None
    direction: str | None = None

    def __str__(self) -> str:
        parts = [
            f"probability={self.probability}",
            f"collector_set_id={self.collector_set_id}",
            f"obs_domain_id={self.obs_domain_id}",
            f"obs_point_id={self.obs_point_id}",
        ]
        if self.sampling_port is not None:
            parts.append(f"sampling_port={format_port(self.sampling_port)}")
        if self.direction is not None:
            parts.append(self.direction)
        return f"sample({','.join(parts)})"

    def lower(self, resolver: Resolver) -> Lowered:  # noqa: ARG002
        return Lowered(TakeSample())


@dataclass(frozen=True)
class TakeSample(Operation):
    """Do nothing: a bridge without a collector, which no dump tells of, takes no samples."""

    def execute(self, run: Run, packets: Packets, operands: Operands) -> Kept:  # noqa: ARG002
        return None


def _one_of(word: str, known: tuple[str, ...], what: str) -> str:
    if word.lower() not in known:
        raise WordError(word, f'unknown {what} "{word}"', f"one of {', '.join(known)}")
    return word.lower()


def make_bundle(item: Item) -> Bundle:
    loads = item.name == "bundle_load"
    parts = item.parts()
    at = 5 if loads else 4
    if len(parts) <= at or parts[at].key not in ("members", "slaves"):
        destination = "DESTINATION," if loads else ""
        raise WordError(
            item.last,
            f"{item.key} lacks arguments",
            f"{item.key}(FIELDS,BASIS,ALGORITHM,ofport,{destination}members:PORT,...)",
        )
    _one_of(parts[3].key, ("ofport",), "type of members")
    ports = [parts[at].value or "", *(part.key for part in parts[at + 1 :])]
    return Bundle(
        _one_of(parts[0].key, HASH_FIELDS, "fields"),
        parse_number(parts[1].key, 16),
        _one_of(parts[2].key, BUNDLE_ALGORITHMS, "algorithm"),
        tuple(parse_port(port) for port in ports if port),
        parse_subfield(parts[4].key) if loads else None,
        str(parts[at].key),
    )


def make_multipath(item: Item) -> Multipath:
    parts = item.parts()
    if len(parts) != 6:
        raise WordError(
            item.last,
            "multipath takes six arguments",
            "multipath(FIELDS,BASIS,ALGORITHM,N_LINKS,ARG,DESTINATION)",
        )
    fields, basis, algorithm, n_links, arg, destination = (part.key for part in parts)
    links = parse_number(n_links, 17, "a number of links")
    if not 1 <= links <= 1 << 16:
        raise WordError(n_links, f"{links} is not a number of links", "1 to 65536")
    return Multipath(
        _one_of(fields, HASH_FIELDS, "fields"),
        parse_number(basis, 16),
        _one_of(algorithm, MULTIPATH_ALGORITHMS, "algorithm"),
        links,
        parse_number(arg, 32),
        parse_subfield(destination),
    )


def make_sample(item: Item) -> Sample:
    numbers = dict.fromkeys(("probability", "collector_set_id", "obs_domain_id", "obs_point_id"), 0)
    port: Port | None = None
    direction = None
    for part in item.parts():
        if part.key in numbers:
            bits = 16 if part.key == "probability" else 32
            numbers[part.key] = parse_number(part.argument("a number"), bits)
        elif part.key == "sampling_port":
            port = parse_port(part.argument("a port"))
        elif part.key in ("ingress", "egress"):
            direction = str(part.key)
        else:
            raise WordError(
                part.key,
                f'unknown key "{part.key}" in sample',
                f"{', '.join(numbers)}, sampling_port, ingress or egress",
            )
    if not numbers["probability"]:
        raise WordError(item.key, "sample needs a probability", "probability=1 to 65535")
    return Sample(**numbers, sampling_port=port, direction=direction)
