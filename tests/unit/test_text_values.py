"""Single values: what OVS reads, and how it writes them."""

from __future__ import annotations

import pytest

from flowvm.fields import field
from flowvm.text.errors import WordError
from flowvm.text.values import (
    format_hex,
    format_name,
    format_port,
    format_value,
    nxm_name,
    parse_number,
    parse_port,
    parse_subfield,
    parse_table,
    parse_value,
)


@pytest.mark.parametrize(
    ("word", "number"), [("10", 10), ("0x1F", 31), ("0X1f", 31), ("017", 15), ("0", 0), ("00", 0)]
)
def test_a_number_is_read_in_every_base(word: str, number: int) -> None:
    """Decimal, hexadecimal and octal are told apart by their prefix, as in C."""
    assert parse_number(word) == number


@pytest.mark.parametrize("word", ["", "x", "0x", "089", "-1", "1.0", "١"])
def test_what_is_no_number_is_refused(word: str) -> None:
    """Signs, fractions, wrong digits and other scripts' digits are no numbers."""
    with pytest.raises(WordError):
        parse_number(word)


def test_a_number_must_fit() -> None:
    """A number with more bits than its place has is refused."""
    assert parse_number("4095", 12) == 4095
    with pytest.raises(WordError, match="12 bits"):
        parse_number("4096", 12)


def test_zero_in_hexadecimal_has_no_prefix() -> None:
    """Zero is written as C's "%#x" writes it."""
    assert format_hex(0) == "0"
    assert format_hex(31) == "0x1f"


@pytest.mark.parametrize(
    ("word", "port"),
    [
        ("3", 3),
        ("65534", 65534),
        ("4294967294", 65534),
        ("LOCAL", 65534),
        ("local", 65534),
        ("in_port", 0xFFF8),
        ("none", 0xFFFF),
        ("ANY", 0xFFFF),
        ("eth0", "eth0"),
        ('"br-int"', "br-int"),
        ('"a\\"b"', 'a"b'),
        ('"LOCAL"', "LOCAL"),
    ],
)
def test_a_port_is_a_number_a_reserved_name_or_a_name(word: str, port: int | str) -> None:
    """OpenFlow 1.1+ numbers of reserved ports become 1.0's; quotes make a word a name."""
    assert parse_port(word) == port


def test_a_port_beyond_16_bits_is_refused() -> None:
    """Of the 32-bit ports only the reserved ones exist."""
    with pytest.raises(WordError):
        parse_port("65536")


def test_names_are_quoted_unless_plain() -> None:
    """A name is quoted unless it is a letter followed by letters and digits."""
    assert format_name("eth0") == "eth0"
    assert format_name("br-int") == '"br-int"'
    assert format_name("0a") == '"0a"'
    assert format_port(65534) == "LOCAL"
    assert format_port(0xFFFF) == "ANY"
    assert format_port(7) == "7"


def test_a_table_is_a_number_or_a_name() -> None:
    """Tables are numbers up to 255, or names."""
    assert parse_table("0x10") == 16
    assert parse_table("ingress") == "ingress"
    with pytest.raises(WordError):
        parse_table("256")


@pytest.mark.parametrize(
    ("name", "word", "value", "mask"),
    [
        ("reg0", "5", 5, 0xFFFF_FFFF),
        ("reg0", "0x15/0xf", 5, 0xF),
        ("tun_id", "0x1/0xffffffffffffffff", 1, 0xFFFF_FFFF_FFFF_FFFF),
        ("vlan_tci", "5/0xfff", 5, 0xFFF),
        ("dl_vlan", "0xffff", 0xFFFF, 0xFFF),
        ("vlan_vid", "4101", 4101, 0x1FFF),
        ("nw_src", "10.1.2.3/8", 0x0A000000, 0xFF000000),
        ("nw_src", "10.1.2.3/255.0.0.255", 0x0A000003, 0xFF0000FF),
        ("nw_src", "10.1.2.3/0", 0, 0),
        ("nw_src", "10.1.2.3/32", 0x0A010203, 0xFFFFFFFF),
        ("ipv6_dst", "::1", 1, (1 << 128) - 1),
        ("ipv6_dst", "fe80::1/64", 0xFE80 << 112, ((1 << 64) - 1) << 64),
        ("ipv6_dst", "::1/::ff", 1, 0xFF),
        ("dl_src", "0:1:2:3:4:ff", 0x0001020304FF, 0xFFFFFFFFFFFF),
        ("dl_dst", "01:00:00:00:00:00/01:00:00:00:00:00", 1 << 40, 1 << 40),
        ("ct_state", "+trk-est", 0x20, 0x22),
        ("ct_state", "trk|est", 0x22, 0xFFFF_FFFF),
        ("ct_state", "0x22", 0x22, 0xFFFF_FFFF),
        ("ct_state", "0x20/0x22", 0x20, 0x22),
        ("tcp_flags", "syn|ack", 0x12, 0xFFF),
        ("tcp_flags", "+syn-ack", 0x02, 0x12),
        ("tcp_flags", "+[800]", 0x800, 0x800),
        ("tun_flags", "oam", 1, 1),
        ("tun_flags", "-oam", 0, 1),
        ("nw_frag", "no", 0, 3),
        ("nw_frag", "First", 1, 3),
        ("nw_frag", "later", 3, 3),
        ("nw_frag", "yes", 1, 1),
        ("nw_frag", "not_later", 0, 2),
        ("in_port", "LOCAL", 65534, 0xFFFF),
        ("reg0", "*", 0, 0),
    ],
)
def test_a_field_reads_values_in_its_own_format(
    name: str, word: str, value: int, mask: int
) -> None:
    """Each format of ovs-fields(7) gives a value, under its mask, and the mask."""
    assert parse_value(field(name), word) == (value, mask)


@pytest.mark.parametrize(
    ("name", "word", "complaint"),
    [
        ("dl_src", "00:11:22:33:44", "not an Ethernet address"),
        ("nw_src", "10.0.0", "not an IPv4 address"),
        ("nw_src", "10.0.0.256", "not an IPv4 address"),
        ("nw_src", "10.0.0.1/33", "too long"),
        ("ipv6_src", "fe80:::1", "not an IPv6 address"),
        ("ct_state", "+tkr", 'did you mean "trk"'),
        ("ct_state", "+trk+trk", "twice"),
        ("tun_flags", "+csum", "unknown flag"),
        ("nw_frag", "maybe", "not a kind of fragment"),
        ("nw_proto", "256", "8 bits"),
        ("dl_vlan", "4096", "does not fit"),
        ("dl_vlan", "5/0xff", "cannot be masked"),
        ("reg0", "", "not a number"),
    ],
)
def test_a_bad_value_says_what_is_wrong(name: str, word: str, complaint: str) -> None:
    """The message names the trouble; it is about the whole word, whose place is known."""
    with pytest.raises(WordError, match=complaint) as caught:
        parse_value(field(name), word)
    assert caught.value.word == word


@pytest.mark.parametrize(
    ("name", "value", "mask", "text"),
    [
        ("reg0", 0, 0xFFFF_FFFF, "0"),
        ("reg0", 5, 0xF, "0x5/0xf"),
        ("tcp_src", 80, 0xFFFF, "80"),
        ("tcp_src", 80, 0xFF, "80/0xff"),
        ("eth_src", 1 << 40, 1 << 40, "01:00:00:00:00:00/01:00:00:00:00:00"),
        ("ip_src", 0x0A000000, 0xFF000000, "10.0.0.0/8"),
        ("ip_src", 0x0A000003, 0xFF0000FF, "10.0.0.3/255.0.0.255"),
        ("ipv6_src", 0xFFFF01020304, (1 << 128) - 1, "::ffff:1.2.3.4"),
        ("ct_state", 0x22, 0xFFFF_FFFF, "est|trk"),
        ("ct_state", 0x20, 0x22, "-est+trk"),
        ("in_port", 65534, 0xFFFF, "LOCAL"),
        ("tun_flags", 1, 1, "oam"),
    ],
)
def test_a_field_writes_values_in_its_own_format(
    name: str, value: int, mask: int, text: str
) -> None:
    """Values are written as set_field and learn show them."""
    assert format_value(field(name), value, mask) == text


@pytest.mark.parametrize(
    ("word", "name", "start", "end", "text"),
    [
        ("NXM_NX_REG0[3..7]", "reg0", 3, 7, "NXM_NX_REG0[3..7]"),
        ("NXM_NX_REG0[]", "reg0", 0, 31, "NXM_NX_REG0[]"),
        ("NXM_NX_REG0[5]", "reg0", 5, 5, "NXM_NX_REG0[5]"),
        ("NXM_NX_REG0[5..5]", "reg0", 5, 5, "NXM_NX_REG0[5]"),
        ("NXM_NX_REG0[0..31]", "reg0", 0, 31, "NXM_NX_REG0[]"),
        ("REG0[3..7]", "reg0", 3, 7, "REG0[3..7]"),
        ("eth_dst", "eth_dst", 0, 47, "eth_dst[]"),
        ("nw_dst", "ip_dst", 0, 31, "nw_dst[]"),
    ],
)
def test_a_subfield_keeps_its_name_and_normal_brackets(
    word: str, name: str, start: int, end: int, text: str
) -> None:
    """Subfields are read with and without brackets; they are written with OVS's brackets."""
    subfield = parse_subfield(word)
    assert (subfield.field, subfield.start, subfield.end) == (field(name), start, end)
    assert str(subfield) == text


@pytest.mark.parametrize(
    ("word", "complaint"),
    [
        ("reg0[3..1]", "after ending bit"),
        ("reg0[32]", "no bit 32"),
        ("reg99[0]", "unknown field"),
        ("reg0[a]", "not a field or subfield"),
        ("NXM_OF_ETH_DTS[]", 'did you mean "NXM_OF_ETH_DST"'),
    ],
)
def test_a_bad_subfield_says_what_is_wrong(word: str, complaint: str) -> None:
    """Bits that are not there and names that are unknown are refused, with a suggestion."""
    with pytest.raises(WordError, match=complaint):
        parse_subfield(word)


def test_the_name_in_a_subfield_is_nxm_before_oxm() -> None:
    """OVS writes the NXM name of a field if it has one, else the OXM name."""
    assert nxm_name(field("dl_src")) == "NXM_OF_ETH_SRC"
    assert nxm_name(field("metadata")) == "OXM_OF_METADATA"


def test_flags_may_be_numbers_in_any_base() -> None:
    """Octal as well, as numbers are elsewhere."""
    wanted = parse_value(field("ct_state"), "est|rpl")
    assert [parse_value(field("ct_state"), word) for word in ("10", "0xa", "012")] == [wanted] * 3


@pytest.mark.parametrize(
    ("name", "same"),
    [
        ("OXM_OF_TCP_FLAGS", "tcp_flags"),
        ("ONFOXM_ET_TCP_FLAGS", "tcp_flags"),
        ("NXM_NX_TCP_FLAGS", "tcp_flags"),
        ("OXM_OF_ACTSET_OUTPUT", "actset_output"),
        ("ONFOXM_ET_ACTSET_OUTPUT", "actset_output"),
    ],
)
def test_fields_that_became_standard_have_their_old_and_new_names(name: str, same: str) -> None:
    """ovs-fields(7) lists both, and ovs-ofctl reads both."""
    assert parse_subfield(f"{name}[]").field is field(same)
