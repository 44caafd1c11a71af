"""What a program writes cannot steer the terminal that shows it (ABUSE "Output", "Doors")."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.cli.terminal import Screen, harmless


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain\n\ttext\r\n", "plain\n\ttext\r\n"),
        ("naïve 日本 👩‍💻", "naïve 日本 👩‍💻"),
        ("\x1b[1;31mred\x1b[0m", "\x1b[1;31mred\x1b[0m"),
        ("\x1b[38:2:1:2:3m", "\x1b[38:2:1:2:3m"),
        ("\x1b]52;c;ZXZpbA==\x07", "␛]52;c;ZXZpbA==␇"),
        ("\x1b[2J\x1b[H", "␛[2J␛[H"),
        ("\x1b[6n", "␛[6n"),
        ("\x9b6n", "\ufffd6n"),
        ("\x00\x7f", "␀␡"),
        ("\x1b\x1b[31m", "␛\x1b[31m"),
    ],
)
def test_colours_pass_and_what_else_steers_is_shown(text, shown):
    assert harmless(text) == shown


@given(st.text(alphabet="\x1b[;m3a\n\x07"), st.integers(0, 50))
def test_pieces_come_out_as_the_whole(text, cut):
    """However the network cuts it, a colour stays a colour and nothing else becomes one."""
    screen = Screen()
    assert screen.harmless(text[:cut]) + screen.harmless(text[cut:]) + screen.rest() == harmless(text)
