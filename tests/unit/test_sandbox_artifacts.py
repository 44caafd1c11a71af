"""Which files become artifacts: globs as a shell has them, bounds that hold, every omission told (CONTRACT 4)."""

import pytest

from orchestrator.sandbox.artifacts import Entry, choose, matches
from orchestrator.sandbox.jobs import Wanted


def files(*paths: str, size: int = 1) -> list[Entry]:
    return [Entry(b"file", size, path.encode()) for path in paths]


@pytest.mark.parametrize(
    ("glob", "path", "fits"),
    [
        ("plot.png", "plot.png", True),
        ("plot.png", "out/plot.png", False),
        ("*.png", "plot.png", True),
        ("*.png", "out/plot.png", False),
        ("*/*.png", "out/plot.png", True),
        ("**/*.png", "plot.png", True),
        ("**/*.png", "a/b/c/plot.png", True),
        ("out/**", "out/a/b", True),
        ("out/**", "other/a", False),
        ("a/**/z", "a/z", True),
        ("a/**/z", "a/b/c/z", True),
        ("a/**/z", "a/b/c", False),
        ("**", "anything/at/all", True),
        ("p?ot.[jp]*", "plot.jpg", True),
        ("[!a]*", "abc", False),
        ("*.PNG", "a.png", False),
        ("", "a", False),
        ("/etc/passwd", "etc/passwd", False),
    ],
)
def test_globs(glob, path, fits):
    assert matches(glob, path) is fits


def test_a_hostile_glob_costs_little():
    name = "a" * 255
    assert not matches("*a" * 60 + "b", name)
    assert not matches("/".join(["**"] * 60) + "/b", "/".join(["a"] * 64))


def test_bounds_leave_out_and_say_so():
    found = [*files("a", "b", size=40), *files("c", size=101), *files("d", "e", size=30)]
    choice = choose(found, Wanted(["*"], count=3, bytes=100))
    assert choice.files == [("a", 40), ("b", 40)]
    assert choice.skipped == [("c", "too_large"), ("d", "total"), ("e", "total")]
    few = choose(files("a", "b", "c"), Wanted(["*"], count=2, bytes=100))
    assert (few.files, few.skipped) == ([("a", 1), ("b", 1)], [("c", "too_many")])


def test_only_plain_files_with_names_that_can_be_said():
    kinds = [Entry(kind, 1, kind) for kind in (b"symlink", b"other", b"folder", b"too_deep")]
    choice = choose([*kinds, Entry(b"file", 1, b"\xff")], Wanted(["*"], 9, 9))
    assert (choice.files, sorted(choice.skipped)) == (
        [],
        [("other", "not_a_file"), ("symlink", "symlink"), ("too_deep", "too_deep"), ("\ufffd", "name")],
    )
    named = choose(kinds, Wanted(["folder"], 9, 9))
    assert named.skipped == [("folder", "not_a_file")]


def test_ten_thousand_omissions_are_summed_up():
    choice = choose(files(*map(str, range(10_000))), Wanted(["*"], 0, 9))
    assert (len(choice.skipped), choice.skipped[-1]) == (257, ("", "and 9744 more"))
