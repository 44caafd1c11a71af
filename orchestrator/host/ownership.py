"""Whose file it is: a plugin's file and folder belong to trusted owners, and nobody else may write them (CONTRACT 3).

Putting a file into a plugin folder is its owner's standing approval of it, so a stranger must not be able to.
"""

import os
import pwd
import shlex
import stat
from dataclasses import dataclass
from pathlib import Path


class Refused(Exception):
    """This file is not loaded; the text says why, and what mends it."""


@dataclass(frozen=True, slots=True)
class Owners:
    """The user ids whose files are trusted: root, the daemon's user, and the checkout's owner."""

    trusted: frozenset[int]

    @classmethod
    def of(cls, checkout: Path) -> "Owners":
        """The trusted owners of a daemon that runs from `checkout`."""
        return cls(frozenset({0, os.geteuid(), checkout.stat().st_uid}))

    def check(self, facts: os.stat_result, path: Path, folder: Path) -> None:
        """Raise `Refused` unless a file or folder is a trusted owner's and others cannot write it.

        It is named from the plugin folder on: where that lies is not for everybody who may list plugins.
        """
        what = "folder" if stat.S_ISDIR(facts.st_mode) else "file"
        shown = shlex.quote(str(path.relative_to(folder.parent)))
        if facts.st_uid not in self.trusted:
            raise Refused(
                f"the {what} {path.name} belongs to {user_name(facts.st_uid)}, not to the daemon's user, root or the"
                f" checkout's owner; if you trust what is in it: chown {os.geteuid()} {shown}"
            )
        if facts.st_mode & stat.S_IWOTH:
            raise Refused(f"everybody may write the {what} {path.name}; to mend it: chmod o-w {shown}")
        if facts.st_mode & stat.S_IWGRP and not is_own_group(facts.st_uid, facts.st_gid):
            raise Refused(
                f"the {what} {path.name} may be written by a group that is not its owner's own;"
                f" to mend it: chmod g-w {shown}"
            )


def is_own_group(user: int, group: int) -> bool:
    """Whether `group` is the primary group of `user`; of a user without an account, no group is."""
    try:
        return pwd.getpwuid(user).pw_gid == group
    except KeyError:
        return False


def user_name(user: int) -> str:
    """A user's name, or the number where there is no account."""
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return f"user {user}"
