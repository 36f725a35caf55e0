"""The command itself: its help, its verbs in order, and its handling of errors.

Every error of the package, the command line and the system's pipes is shown as one line, and sets
the exit code. Any other exception is a bug, and is shown with its traceback.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Callable
from functools import partial
from typing import Any, NoReturn

import click

from bytelyst_sync import __version__
from bytelyst_sync.cli.codes import MEANINGS, ExitCode, code_of
from bytelyst_sync.cli.options import CliContext, common_options, pass_context
from bytelyst_sync.errors import SyncError
from bytelyst_sync.inspection.text import clean

__all__ = ["PROGRAM", "root", "verb"]

PROGRAM = "bytelyst-sync"
_ALSO = "Also takes the options that `bytelyst-sync --help` lists: --json, --config, --storage, …"
Function = Callable[..., Any]


def _epilog() -> str:
    lines = [f"  {code:>3}  {meaning}" for code, meaning in MEANINGS.items()]
    return "\n".join(
        [
            "\b",
            "Settings: the file (--config, BYTELYST_SYNC_CONFIG or ./bytelyst-sync.toml),",
            "then BYTELYST_SYNC_* in the environment, then flags; the later ones win.",
            "Or those of a program's own engine (--app, BYTELYST_SYNC_APP), then flags.",
            "Options may stand before or after the verb.",
            "",
            "\b",
            "Exit codes:",
            *lines,
        ]
    )


class Root(click.Group):
    """The group of all verbs."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order in which they were added, not of the alphabet."""
        del ctx
        return list(self.commands)

    def main(self, *args: Any, **extra: Any) -> NoReturn:
        """Runs and exits."""
        extra["standalone_mode"] = False
        extra["prog_name"] = PROGRAM
        try:
            code = super().main(*args, **extra)
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
            code = ExitCode.USAGE
        except click.ClickException as error:
            # click adds the possible values to its own messages
            own = type(error) is click.UsageError
            _complain(error.format_message(), None if own else getattr(error, "ctx", None))
            code = ExitCode.USAGE
        except click.Abort:
            _complain("interrupted")
            code = ExitCode.INTERRUPTED
        sys.exit(int(code) if isinstance(code, int) else ExitCode.OK)

    def invoke(self, ctx: click.Context) -> Any:
        """Runs a verb; its errors become exit codes."""
        try:
            code = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            _stop_writing()
            return ExitCode.PIPE
        except KeyboardInterrupt:
            _complain("interrupted; what is queued stays queued")
            return ExitCode.INTERRUPTED
        except SyncError as error:
            _complain(str(error) or type(error).__name__)
            return code_of(error)
        return code


def _complain(message: str, ctx: click.Context | None = None) -> None:
    where = f" (see {ctx.command_path} --help)" if ctx is not None else ""
    text = clean(" ".join(message.split()))
    with contextlib.suppress(OSError):
        sys.stderr.write(f"{PROGRAM}: {text}{where}\n")


def _stop_writing() -> None:
    """Discards buffered output without an error: nobody reads it any more."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@click.group(
    cls=Root,
    epilog=_epilog(),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@partial(common_options, hidden=False)
@click.version_option(__version__, prog_name=PROGRAM)
def root() -> None:
    """Look at, feed and drain a bytelyst_sync store, also while a program is using it.

    Only flush, pull, sync and doctor touch the network (and status, if told to); nothing else
    sends anything.
    """


def verb(group: click.Group, **settings: Any) -> Callable[[Function], click.Command]:
    """Makes a function a verb: it takes the ``CliContext`` first, and returns an exit code."""

    def make(function: Function) -> click.Command:
        def call(context: CliContext, *args: Any, **options: Any) -> Any:
            _log(context.verbose)
            return function(context, *args, **options)

        call.__doc__ = function.__doc__
        call.__click_params__ = getattr(function, "__click_params__", [])  # type: ignore[attr-defined]
        settings.setdefault("epilog", _ALSO)
        name = settings.pop("name", function.__name__.strip("_").split("_")[-1])
        command: click.Command = group.command(name, **settings)(common_options(pass_context(call)))
        return command

    return make


class _CleanFormatter(logging.Formatter):
    """Escapes control characters for terminals, line by line."""

    def format(self, record: logging.LogRecord) -> str:
        return "\n".join(map(clean, super().format(record).split("\n")))


def _log(verbose: int) -> None:
    if verbose:
        handler = logging.StreamHandler()
        handler.setFormatter(_CleanFormatter("%(name)s: %(message)s"))
        logger = logging.getLogger("bytelyst_sync")
        logger.addHandler(handler)
        logger.setLevel(logging.DEBUG if verbose > 1 else logging.INFO)
