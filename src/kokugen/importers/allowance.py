"""The commands of crontabs as the Python code that allows them: written for the user to look over, never run here.

kokugen runs no command that its code does not allow, whatever is stored: a schedule of a crontab names its command by
an id and has no arguments. What the id means stands in this declaration, which the user adds to an application. A line
that needs a shell is the one fixed argument of its shell: nothing that is stored can change or add to it.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path

from msgspec import Struct

MARK = '"""Commands of crontabs, written by `kokugen import crontab`.'
HEAD = f'''{MARK}

Look them over: whoever runs this runs these. `kokugen worker MODULE:scheduler` does, as the user who starts it. What a
crontab of the system has for a user is allowed to that user alone, with `--queues cron.USER`.
"""

import os
import pwd
from datetime import timedelta

from kokugen import Scheduler
from kokugen.registry.commands import CommandRegistry

ME = pwd.getpwuid(os.getuid())
HOME = ME.pw_dir if os.path.isdir(ME.pw_dir) else "/"
OWN = {{"HOME": HOME, "LOGNAME": ME.pw_name, "USER": ME.pw_name, "SHELL": "/bin/sh"}}
LONGEST = timedelta(days=30)  # cron stops nothing

commands = CommandRegistry()


def allow(user: str | None, work_id: str, *words: str, cwd: str, env: dict[str, str]) -> None:
    if user is None or user == ME.pw_name:
        commands.allow(work_id, *words, cwd=cwd, env=env, timeout=LONGEST)

'''
TAIL = """
scheduler = Scheduler(works=commands)  # of the store that KOKUGEN_URL names
"""
SHELL = "/bin/sh"
BEHIND = re.compile(r"(?<![&>\\])&\s*$")
FEED = 'printf %s "$1" | "$0" -c "$2"'
"""Gives a command what stands behind a `%`; ends as the command does."""
PLAIN = re.compile(r"/[\w@%+=:,./-]*(?:[ \t]+[\w@%+:,./-][\w@%+=:,./-]*)*", re.ASCII)


class Command(Struct, frozen=True, kw_only=True):
    """What one line runs, and with which settings."""

    work_id: str
    line: str
    stdin: str | None
    shell: str
    settings: Mapping[str, str]
    user: str | None

    @property
    def is_behind(self) -> bool:
        """Return whether the line goes on behind its own end."""
        return BEHIND.search(self.line) is not None

    @property
    def words(self) -> list[str]:
        """Return the program, by its path, and its arguments: the line's own where it needs no shell."""
        line = BEHIND.sub("", self.line)
        if self.stdin is not None:
            return [SHELL, "-c", FEED, self.shell, self.stdin, line]
        if PLAIN.fullmatch(line):
            words = shlex.split(line)
            if Path(words[0]).is_file() and os.access(words[0], os.X_OK):
                return words
        return [self.shell, "-c", line]


def declaration(commands: list[Command]) -> str:
    """Return a module that allows these commands, and has a scheduler that runs them."""
    return HEAD + "".join(line for command in commands for line in _allowed(command)) + TAIL


def _allowed(command: Command) -> Iterator[str]:
    path, *arguments = command.words
    environment = ", ".join(f"{name!r}: {value!r}" for name, value in command.settings.items())
    home = command.settings.get("HOME")
    yield f"\nallow(\n    {command.user!r},\n    {command.work_id!r},\n    {path!r},\n"
    yield from (f"    {_literal(argument)!r},\n" for argument in arguments)
    yield f"    cwd={'HOME' if home is None else repr(home)},\n"
    yield f"    env={{**OWN, {environment}}},\n)\n" if environment else "    env=OWN,\n)\n"


def _literal(argument: str) -> str:
    """Return an argument as a template has it: without placeholders."""
    return argument.replace("{", "{{").replace("}", "}}")
