"""TLV maps: the text of ``ovs-ofctl dump-tlv-map``, or what ``add-tlv-map`` takes.

Syntax: ovs-ofctl(8), "add-tlv-map".
"""

from __future__ import annotations

import re

from flowvm.text.errors import FlowSyntaxError
from flowvm.tlv_map import TlvMap, TlvOption

_NUMBER = r"(?:0[xX][0-9a-fA-F]+|[0-9]+)"
_MAPPING = re.compile(
    rf"\{{\s*class=({_NUMBER}),type=({_NUMBER}),len=({_NUMBER})\s*\}}->tun_metadata([0-9]+)\s*,?\s*"
)
_ROW = re.compile(rf"\s*({_NUMBER})\s+({_NUMBER})\s+({_NUMBER})\s+tun_metadata([0-9]+)\s*\Z")
_HEADING = re.compile(
    r"\s*(?:NXT_TLV_TABLE\S*.*|max option space=.*|allocated option space=.*|mapping table:"
    r"|class\s+type\s+length\s+match field|[-\s]*|#.*|//.*)\Z"
)
_FORM = '"{class=0x102,type=0x80,len=4}->tun_metadata0", or a row of dump-tlv-map'


def parse_tlv_map(text: str, *, file: str | None = None) -> TlvMap:
    """The map that ``dump-tlv-map`` printed, or that ``add-tlv-map`` takes, over any lines.

    Raises FlowSyntaxError, also for a map that Open vSwitch would refuse.
    """
    options: list[TlvOption] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if _HEADING.match(line):
            continue
        at, end = len(line) - len(line.lstrip()), len(line.rstrip())
        while at < end:
            found = _ROW.match(line) or _MAPPING.match(line, at)
            try:
                options.append(_option(found))
                TlvMap(tuple(options), inferred=False)
            except ValueError as error:
                raise FlowSyntaxError(
                    str(error), text=line, column=at + 1, expected=_FORM, line=number, file=file
                ) from None
            assert found is not None
            at = found.end()
    return TlvMap(tuple(options), inferred=False)


def _option(found: re.Match[str] | None) -> TlvOption:
    if found is None:
        raise ValueError("this does not map an option")
    option_class, option_type, length, index = (
        int(digits, 16 if digits[:2].lower() == "0x" else 10) for digits in found.groups()
    )
    if option_class >> 16 or option_type >> 8:
        raise ValueError("a class has 16 bits, and a type 8")
    return TlvOption(index, length, option_class, option_type)
