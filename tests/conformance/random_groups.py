"""Random groups and meters, a line each, for the tables of the fuzzer to name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from flowvm.testing.choices import Choices
from tests.oracle import LOCAL

from .group_cases import CHANGES, DP_HASH_PARAMETERS, HASHED_FIELDS, MASKS

# One without a code of its own is refused among others.
_HASHED = tuple(name for name in HASHED_FIELDS if name != "dl_vlan_pcp")
_WEIGHTS = (0, 1, 1, 2, 3, 10, 100, 65535)


def choose_groups(choose: Choices, ids: Sequence[int], ports: Sequence[int]) -> Iterator[str]:
    """Groups of these IDs; buckets lead to groups before their own only."""
    for at, number in enumerate(ids):
        yield _group(choose, number, ids[:at], ports)


def choose_meters(choose: Choices, ids: Sequence[int]) -> Iterator[str]:
    """Meters of these IDs; some drop what comes twice in a second."""
    for number in ids:
        burst = choose.percent(60)
        flags = choose.one(("pktps", "kbps")) + (",burst" if burst else "")
        bands = []
        for _ in range(choose.number(1, 3)):
            size = f",burst_size={choose.one((1, 2, 5))}" if burst else ""
            bands.append(f"type=drop,rate={choose.one((1, 2, 3, 10))}{size}")
        yield f"meter={number},{flags},stats,bands={','.join(bands)}"


def _group(choose: Choices, number: int, before: Sequence[int], ports: Sequence[int]) -> str:
    kind = choose.one(("all", "select", "select", "indirect", "ff"))
    parts = [f"group_id={number}", f"type={kind}"]
    if kind == "select":
        parts += _method(choose)
    count = 1 if kind == "indirect" else choose.number(0, 4)
    return ",".join([*parts, *(_bucket(choose, kind, before, ports) for _ in range(count))])


def _method(choose: Choices) -> list[str]:
    method = choose.one(("hash", "hash", "dp_hash", None))
    if method is None:
        return []
    parts = [f"selection_method={method}"]
    if choose.percent(50):
        number = choose.one(DP_HASH_PARAMETERS) if method == "dp_hash" else choose.bits(64)
        parts.append(f"selection_method_param={number}")
    if method == "hash" and choose.percent(80):
        fields = []
        for name in choose.some(_HASHED, 1, 4):
            masked = name in MASKS and choose.percent(30)
            fields.append(f"{name}={MASKS[name]}" if masked else name)
        parts.append(f"fields({','.join(fields)})")
    return parts


def _bucket(choose: Choices, kind: str, before: Sequence[int], ports: Sequence[int]) -> str:
    parts = []
    if kind == "select" and choose.percent(70):
        parts.append(f"weight:{choose.one(_WEIGHTS)}")
    if kind == "ff" or (kind == "select" and choose.percent(30)):
        parts.append(f"watch_port:{choose.one((1, 2, 3, 4, 9))}")
    if kind == "ff" and before and choose.percent(20):
        parts.append(f"watch_group:{choose.one(before)}")
    return f"bucket={','.join([*parts, f'actions={_bucket_actions(choose, before, ports)}'])}"


def _bucket_actions(choose: Choices, before: Sequence[int], ports: Sequence[int]) -> str:
    actions = [choose.one(CHANGES) for _ in range(choose.number(0, 2))]
    finals = ["LOCAL" if port == LOCAL else f"output:{port}" for port in ports]
    finals += ["IN_PORT", f"resubmit(,{choose.number(1, 3)})", "CONTROLLER:65535", ""]
    finals += [f"group:{number}" for number in before]
    actions.append(choose.one(finals))
    return ",".join(filter(None, actions)) or "drop"
