"""TLV maps: which option of a tunnel (Geneve) each ``tun_metadata`` field is.

Semantics: ovs-fields(7), "tun_metadata"; ovs-ofctl(8), "add-tlv-map". A map gives each of its
fields a length, and with that a place among the columns: a packet has as many bytes for options as
in Open vSwitch, and a bit for each that says whether it is there.

Where no map is given, one is inferred from the flows: each field they name is taken for the fewest
bytes, a multiple of four, that hold all bits which matches and actions name, and at least for four.
No flow tells such a map from a longer one as long as nothing brings more than it holds, and that
is refused (:meth:`TlvMap.words`), or stops a packet as unsupported.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from flowvm.columns import TUN_METADATA_WORDS, Column
from flowvm.fields import N_TUN_METADATA, TUN_METADATA_WIDTH, Bits, Field, field

OPTION_SPACE = 8 * TUN_METADATA_WORDS
"""So many bytes all options of a map have together."""

LONGEST = TUN_METADATA_WIDTH // 8
_GRAIN = LEAST = 4


def option_index(row: Field) -> int:
    """The N of ``tun_metadataN``."""
    return int(row.name.removeprefix("tun_metadata"))


@dataclass(frozen=True, slots=True)
class TlvOption:
    """``tun_metadata<index>`` is an option of ``length`` bytes.

    ``option_class`` and ``option_type`` say which; ``None`` if only flows tell that there is one.
    """

    index: int
    length: int
    option_class: int | None = None
    option_type: int | None = None
    guessed: bool = False
    """Whether nothing tells the length."""

    @property
    def name(self) -> str:
        """The field's name."""
        return f"tun_metadata{self.index}"

    def __str__(self) -> str:
        if self.option_class is None or self.option_type is None:
            return f"{{len={self.length}}}->{self.name}"
        kind = f"class={self.option_class:#x},type={self.option_type:#x}"
        return f"{{{kind},len={self.length}}}->{self.name}"


@dataclass(frozen=True)
class TlvMap:
    """The ``options`` of a bridge, in the order in which they are given room.

    ``inferred`` tells that nothing but flows says what they are. Raises ValueError for a map that
    Open vSwitch would refuse.
    """

    options: tuple[TlvOption, ...] = ()
    inferred: bool = True

    def __post_init__(self) -> None:
        room = OPTION_SPACE
        indices: set[int] = set()
        kinds: set[tuple[int | None, int | None]] = set()
        for option in self.options:
            room -= option.length
            kind = option.option_class, option.option_type
            if option.index in indices:
                raise ValueError(f"{option.name} is mapped twice")
            if None not in kind and kind in kinds:
                raise ValueError(f"{option}: class and type are mapped twice")
            if not 0 <= option.index < N_TUN_METADATA:
                raise ValueError(f"there is no field {option.name}")
            if option.length % _GRAIN or not 0 <= option.length <= LONGEST:
                raise ValueError(f"{option}: the length is no multiple of 4 up to {LONGEST}")
            if room < 0:
                raise ValueError(f"{option}: all options together have {OPTION_SPACE} bytes")
            indices.add(option.index)
            kinds.add(kind)

    def __bool__(self) -> bool:
        return bool(self.options)

    def __str__(self) -> str:
        return ",".join(map(str, self.options))

    @property
    def guessed(self) -> tuple[TlvOption, ...]:
        """The options of which nothing tells the length; they are taken for ``LEAST`` bytes."""
        return tuple(option for option in self.options if option.guessed)

    @cached_property
    def rows(self) -> Mapping[str, Field]:
        """The fields that are mapped, by name, with their places."""
        rows: dict[str, Field] = {}
        low = 64 * TUN_METADATA_WORDS  # of all the words seen as one number
        for option in self.options:
            width = 8 * option.length
            low -= width
            shift = low % 64
            n_before = TUN_METADATA_WORDS - 1 - low // 64 - max(shift + width - 1, 0) // 64
            bits = Bits(Column(Column.TUN_METADATA + max(n_before, 0)), shift, width)
            presence = Bits(Column.TUN_METADATA_PRESENT, option.index, 1)
            rows[option.name] = field(option.name).placed(width, bits, presence)
        return rows

    def place(self, row: Field) -> Field:
        """The field with a place, if it has none of its own and the map has one for it."""
        return self.rows.get(row.name, row) if row.bits is None else row

    def words(self, row: Field, value: int, mask: int) -> Iterator[tuple[Column, int, int]]:
        """As :meth:`~flowvm.fields.Field.match_words`, for a row without a place as well.

        Raises ValueError for a field that is not mapped, and for what the option cannot hold.
        """
        if row.bits is not None:
            yield from row.match_words(value, mask)
            return
        placed = self.place(row)
        if placed.bits is None:
            raise ValueError(f"{row.name} is not in the TLV map")
        whole = mask == row.full_mask
        if (value if whole else value | mask) >> placed.width:
            problem = f"{row.name} has {placed.width // 8} bytes, too few for {value:#x}"
            if self.inferred:
                problem += " (as flows use it; a TLV map may give it more)"
            raise ValueError(problem)
        yield from placed.match_words(value, placed.full_mask if whole else mask)

    def holds(self, row: Field, value: int, mask: int) -> bool:
        """Whether :meth:`words` has an answer."""
        try:
            return bool([*self.words(row, value, mask)])
        except ValueError:
            return False

    def includes(self, other: TlvMap) -> bool:
        """Whether what ``other`` maps is here too, in the same places."""
        return self.options[: len(other.options)] == other.options

    def present(self, key: Sequence[int]) -> Iterator[tuple[TlvOption, int]]:
        """The options of a packet with that key, lowest field first, and their values."""
        for option in sorted(self.options, key=lambda option: option.index):
            row = self.rows[option.name]
            assert row.bits is not None
            assert row.presence is not None
            if row.presence.value(key):
                yield option, row.bits.value(key)

    def extended(self, bits: Mapping[int, int]) -> TlvMap:
        """This map and, if it is inferred, what else flows use: ``bits`` by number of the field.

        What has its place keeps it, and its length. Fields for which there is no more room are
        left out.
        """
        if not self.inferred:
            return self
        known = {option.index for option in self.options}
        room = OPTION_SPACE - sum(option.length for option in self.options)
        more = []
        for index, used in sorted(bits.items()):
            length = _GRAIN * max(1, -(-used // (8 * _GRAIN)))
            if index not in known and length <= room:
                more.append(TlvOption(index, length, guessed=not used))
                room -= length
        return TlvMap((*self.options, *more)) if more else self


NO_TLV_MAP = TlvMap()
"""Nothing is mapped."""
