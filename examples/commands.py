"""Programs as work, from an allow-list: the database can choose among them and fill in arguments, never add one."""

import sys
from datetime import timedelta

from kokugen import Scheduler
from kokugen.errors import CommandRefusedError
from kokugen.registry.commands import CommandRegistry
from kokugen.registry.template import Arg

commands = CommandRegistry()
greet = commands.allow(
    "greet",
    sys.executable,  # the absolute path of a program
    "-c",
    "import sys; print('Hello', sys.argv[1])",
    "{who}",
    args={"who": Arg(pattern="[A-Z][a-z]+")},
    timeout=timedelta(minutes=1),
)
scheduler = Scheduler("sqlite:///commands.db", works=commands)

if __name__ == "__main__":
    with scheduler:
        task = scheduler.after(timedelta(0), greet, who="Ann")
        print(task.result(timedelta(seconds=30))["output"].strip())
        try:
            scheduler.after(timedelta(0), greet, who="$(reboot)")
        except CommandRefusedError as error:
            print(f"refused: {error}")
