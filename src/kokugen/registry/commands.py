"""Programs as work, denied by default: only a command that `allow` names, with arguments of the form it gives.

A registry like any other: the scheduler checks arguments with what `load` returns, the engine runs it. There is no
shell. Stored data chooses among the allowed commands and fills their placeholders; it can never add one.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from datetime import timedelta
from inspect import Parameter, Signature
from pathlib import Path
from typing import Any

from kokugen.codec import RESULT_MAX, encode_value
from kokugen.errors import CodecError, CommandFailedError, CommandRefusedError, LimitExceededError, OptionError
from kokugen.options import TIMEOUT_MAX, Options
from kokugen.registry.account import account_of
from kokugen.registry.functions import FunctionRegistry
from kokugen.registry.process import Launch, run_process
from kokugen.registry.template import Arg, Template
from kokugen.registry.work import Work
from kokugen.run import Signal, current_run

logger = logging.getLogger("kokugen")

OUTPUT_MAX = 64 * 1024
TIMEOUT = timedelta(hours=1)
_SHELLED = (".bat", ".cmd")


class CommandRegistry:
    """The commands that are allowed here; without any, none is."""

    def __init__(self) -> None:
        self._works = FunctionRegistry()

    def allow(
        self,
        work_id: str,
        path: str | Path,
        *template: str,
        args: Mapping[str, Arg] | None = None,
        timeout: timedelta = TIMEOUT,
        cwd: str | Path = os.sep,
        env: Mapping[str, str] | None = None,
        user: str | None = None,
        output_max: int = OUTPUT_MAX,
        options: Options | None = None,
    ) -> CommandWork:
        """Allow one program, by its absolute path, with arguments of this form, under a work id.

        Each string of the template is one argument: literal text with placeholders such as `{width}`, which keyword
        arguments fill. `args` says what may fill each; the default is one plain word (`Arg()`). The program sees no
        environment but a minimal PATH, LANG and `env`, and runs as `user` where one is named: only a node of root's can
        do that. Raises OptionError, and DuplicateWorkError.
        """
        launch = Launch(
            path=_program(path),
            timeout=_positive(timeout),
            cwd=_folder(cwd),
            env=_environment(env or {}),
            output_max=_size(output_max),
            account=None if user is None else account_of(user),
        )
        command = Command(work_id, launch, Template(template, args or {}))
        return self._works.add(CommandWork(work_id, command, options))

    def load(self, work_id: str) -> Work[..., Any] | None:
        return self._works.load(work_id)

    def work_ids(self) -> frozenset[str]:
        return self._works.work_ids()


class Command:
    """Calling it runs the program with these values."""

    def __init__(self, work_id: str, launch: Launch, template: Template) -> None:
        self._work_id = work_id
        self._launch = launch
        self.template = template
        self.__signature__ = Signature([Parameter(name, Parameter.KEYWORD_ONLY) for name in template.names])

    def __repr__(self) -> str:
        return f"<command {self._launch.path}>"

    def __call__(self, /, **values: Any) -> dict[str, Any]:
        """Return `{"returncode", "output"}`. Raises CommandFailedError unless it ends with 0; CommandRefusedError."""
        ended = run_process(self._launch, self.template.filled(values), _cancelled())
        left = _left(ended.left)
        if left:
            logger.warning("command %r: %s", self._work_id, left)
        notes = [f"stopped: {ended.stopped}" if ended.stopped is not None else "", left]
        if ended.stopped is not None or ended.returncode != 0:
            told = "".join(f"\n[{note}]" for note in notes if note)
            raise CommandFailedError(self._work_id, ended.returncode, ended.output + told)
        return {"returncode": ended.returncode, "output": ended.output}


class CommandWork(Work[..., dict[str, Any]]):
    """An allowed command as work."""

    fn: Command

    def encode(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        """As for any work. Raises CommandRefusedError too, for a value that is not allowed."""
        text = super().encode(args, kwargs)
        self.fn.template.filled(self.signature().read(text)[1])
        return text

    def decode(self, param: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
        args, kwargs = super().decode(param)
        try:
            self.fn.template.filled(kwargs)
        except CommandRefusedError as error:
            raise CodecError(f"the stored arguments are not allowed: {error}") from error
        return args, kwargs

    def encode_result(self, value: Any) -> str | None:
        """Return the result as text; of an output that is too large as JSON, the end."""
        try:
            return encode_value(value)
        except LimitExceededError:
            return encode_value(value | {"output": value["output"][-RESULT_MAX // 8 :]})  # a character takes 6 bytes


def _left(pids: tuple[int, ...]) -> str:
    """Say what of a program could not be killed; nothing where there is none."""
    return f"could not be killed, and may run on: process {', '.join(map(str, pids))}" if pids else ""


def _cancelled() -> Signal | None:
    try:
        return current_run().cancelled
    except LookupError:
        return None


def _program(path: str | Path) -> str:
    program = Path(path)
    if not program.is_absolute() or not program.is_file() or not os.access(program, os.X_OK):
        raise OptionError(f"command {str(path)!r}: give the absolute path of a program that exists")
    if program.suffix.lower() in _SHELLED:
        raise OptionError(f"command {str(path)!r} would be run by a shell: give a program")
    return str(program)


def _folder(path: str | Path) -> str:
    if not Path(path).is_absolute() or not Path(path).is_dir():
        raise OptionError(f"cwd={str(path)!r}: give the absolute path of a folder that exists")
    return str(path)


def _positive(timeout: timedelta) -> timedelta:
    if not timedelta(0) < timeout <= TIMEOUT_MAX:
        raise OptionError(f"timeout={timeout}: use a timedelta above zero, up to {TIMEOUT_MAX.days} days")
    return timeout


def _environment(env: Mapping[str, str]) -> dict[str, str]:
    for name, value in env.items():
        if not name or "=" in name or "\0" in name + value:
            raise OptionError(f"env {name!r}: a name without '=' and a value, both without NUL")
    return dict(env)


def _size(output_max: int) -> int:
    if not 1 <= output_max <= OUTPUT_MAX:
        raise OptionError(f"output_max={output_max}: use 1 to {OUTPUT_MAX:,} bytes")
    return output_max
