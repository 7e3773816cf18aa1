"""Hashing packets onto ports or links, and sampling: ``bundle``, ``multipath``, ``sample``.

Semantics: ovs-actions(7), "bundle", "multipath", "sample".
"""

from __future__ import annotations

from dataclasses import dataclass

from flowvm.actions.base import Action, Subfield
from flowvm.flow import Port
from flowvm.text.errors import WordError
from flowvm.text.tree import Item
from flowvm.text.values import format_port, parse_number, parse_port, parse_subfield

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
