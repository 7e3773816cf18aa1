"""Matches as Open vSwitch prints them: what was worked out for one flow serves others like it."""

from __future__ import annotations

import random

import pytest

from flowvm.columns import Column
from flowvm.text import canonical
from flowvm.text.canonical import canonical_match, canonical_matches, format_words
from flowvm.tlv_map import NO_TLV_MAP

ETH_TYPES = (0x0800, 0x86DD, 0x0806, 0x8847, 0x1234)
PROTOCOLS = (1, 6, 17, 58)


def words(chance: random.Random) -> dict[Column, tuple[int, int]]:
    """A match on some columns; whole or under a mask."""
    found = {}
    for column in chance.sample([*Column], chance.randrange(1, 9)):
        mask = chance.choice((0xFFFF_FFFF_FFFF_FFFF, 0xFFFF_FFFF, chance.getrandbits(64)))
        found[column] = (chance.getrandbits(64) & mask, mask)
    if chance.random() < 0.7:
        kind = chance.choice(ETH_TYPES) << 48 | chance.choice(PROTOCOLS) << 40
        found[Column.NW] = (kind, 0xFFFF_FF00 << 32)
    return found


@pytest.mark.parametrize("seed", range(20))
def test_an_outline_holds_for_other_values(seed: int) -> None:
    """Filled in, it gives what working it all out gives."""
    chance = random.Random(seed)
    for _ in range(50):
        some = words(chance)
        other = {
            column: (chance.getrandbits(64) & mask if column in canonical._PLAIN else value, mask)
            for column, (value, mask) in some.items()
        }
        canonical._outline.cache_clear()
        canonical_match(some)
        after_another = canonical_match(other), format_words(other)
        terms = list(canonical._all_terms(canonical._Matched(other), NO_TLV_MAP))
        assert after_another[0].terms == tuple(t for t in terms if not isinstance(t, str))


@pytest.mark.parametrize("seed", range(20))
def test_many_keys_match_what_each_of_them_does(seed: int) -> None:
    """Keys under the same masks are put into terms together, whatever their values."""
    chance = random.Random(seed)
    for _ in range(20):
        some = words(chance)
        columns, masks = [*some], [mask for _, mask in some.values()]
        keys = [
            [chance.choice((value, chance.getrandbits(64) & mask)) for value, mask in some.values()]
            for _ in range(chance.randrange(1, 8))
        ]
        each = [dict(zip(columns, zip(key, masks, strict=True), strict=True)) for key in keys]
        alone = [canonical_match(one) for one in each]
        assert canonical_matches(columns, masks, keys) == alone


def test_a_key_of_no_words_matches_everything() -> None:
    """It has no terms."""
    assert canonical_matches([], [], [[]]) == [canonical_match({})]
