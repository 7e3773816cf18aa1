"""What of a line is a literal, and what its shape."""

from __future__ import annotations

import pytest

from flowvm.bulk.scan import IRREGULAR, Scanner


def shape(line: str) -> str:
    """The line with a star for each literal."""
    scanner = Scanner()
    block = scanner.scan(f"{line}\n".encode())
    if block.shapes[0] == IRREGULAR:
        return "irregular"
    (key,) = [key for key, number in scanner.shapes.items() if number == block.shapes[0]]
    return "".join("*" if character < 9 else chr(character) for character in key)


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        (" cookie=0x5, duration=1.234s, n_packets=0,ip", " cookie=*, duration=*, n_packets=*,ip"),
        # What other literals mean is not one.
        ("table=5,in_port=1 actions=goto_table:7", "table=5,in_port=* actions=goto_table:7"),
        ("reg0=0x5/0xff,nw_src=10.0.0.0/8", "reg0=*/0xff,nw_src=*/8"),
        (
            "reg15=0x1 actions=load:5->NXM_NX_REG0[3..7]",
            "reg15=* actions=load:*->NXM_NX_REG0[3..7]",
        ),
        ("actions=resubmit(,5),resubmit(6,7)", "actions=resubmit(,5),resubmit(*,*)"),
        ('table="in-1",in_port="tap-1"', 'table="in-1",in_port=*'),
        # Addresses, whatever they begin with, and colons that only separate.
        ("dl_src=fa:16:3e:00:00:01,dl_dst=00:00:00:00:00:01", "dl_src=*,dl_dst=*"),
        ("ipv6_src=fe80::1,ipv6_dst=::,nd_target=::1/64", "ipv6_src=*,ipv6_dst=*,nd_target=*/64"),
        ("actions=mod_dl_src:fa:16:3e:00:00:01,output:5", "actions=mod_dl_src:*,output:*"),
        ("actions=set_field:fe80::1->ipv6_dst", "actions=set_field:*->ipv6_dst"),
        ("actions=ct(nat(src=10.0.0.1:80-90))", "actions=ct(nat(src=*:*-*))"),
        ("actions=ct(nat(dst=[fd00::1]:80))", "actions=ct(nat(dst=[fd00::1]:*))"),
        # Lines in which that cannot be told.
        ('in_port="a"b",ip', "irregular"),
        ('in_port="a\\"b",ip', "irregular"),
        ('in_port="a""b",ip', "irregular"),
        ("in_port=\x03,ip", "irregular"),
        ("in_port=\x0e,ip", "irregular"),
        ('in_port="\N{LATIN SMALL LETTER U WITH DIAERESIS}",ip', "irregular"),
        (f"note:{'0' * 300}", "irregular"),
    ],
)
def test_shapes(line: str, wanted: str) -> None:
    """Literals are blanked, by what is around them."""
    assert shape(line) == wanted


def test_shapes_tell_kinds_of_literals_apart() -> None:
    """A number in decimal is not one in hexadecimal, for a port must not be that."""
    block = Scanner().scan(
        b"# four lines more\nin_port=1\nin_port=0x1\nin_port=2\nin_port=1.2.3.4\n"
    )
    assert block.shapes.tolist() == [0, 1, 2, 1, 3]


def test_shapes_are_numbered_through_all_blocks() -> None:
    """The same shape has the same number in every block of a text."""
    scanner = Scanner()
    assert scanner.scan(b"ip\nin_port=1\n").shapes.tolist() == [0, 1]
    assert scanner.scan(b"in_port=2\narp\n\n").shapes.tolist() == [1, 2, 3]


def test_an_odd_quote_does_not_leak_into_the_next_line() -> None:
    """Quotes are paired line by line."""
    block = Scanner().scan(b'in_port="a,ip\nin_port="b",ip\nin_port="c",ip\n')
    assert block.shapes.tolist() == [IRREGULAR, 1, 1]
