"""The command line: ``carillon COMMAND``, or ``python -m carillon COMMAND`` from the repository root.

Promises for every command: exit status 0 when it did what was asked, 1 when the answer is no, 2 for wrong use or
settings and when broker or store do not answer, 3 when ``send`` has kept it in an outbox; an error is one line on
standard error; no log line of a library reaches the terminal.
"""

import logging
import os
import sys
from importlib import import_module

import click

from carillon.commands.output import printable
from carillon.version import VERSION
from shared.core.errors import CarillonError, ConfigError

# Name, module and what the list of commands says. A command is imported when it is used, so that one that only signs
# a token does not wait for the others' imports.
_COMMANDS = {
    "up": ("carillon.commands.up:up", "Run the whole system on this machine."),
    "send": ("carillon.commands.send:send", "Publish and print the receipt."),
    "directory": ("carillon.commands.directory:directory", "Put people, categories and the rest into the directory."),
    "import": ("carillon.commands.import_:import_", "Bring schedules and escalations from another product."),
    "token": ("carillon.commands.tokens:token", "Print a token for a user of the realtime service."),
    "find": ("carillon.commands.find:find", "Find what was sent to whom lately, and what became of it."),
    "person": ("carillon.commands.person:person", "Look at what the system knows of a person."),
    "trace": ("carillon.commands.trace:trace", "Show what became of a notification."),
    "explain": ("carillon.commands.explain:explain", "Say who would hear what, when and why."),
    "replay-decisions": (
        "carillon.commands.replay_decisions:replay_decisions",
        "Say what a change would have done to what was sent lately.",
    ),
    "dead-letters": (
        "carillon.commands.dead_letters:dead_letters",
        "Look at what ended undelivered; replay or drop it.",
    ),
    "publisher": ("carillon.commands.publisher:publisher", "Say who publishes, and what that one may do."),
    "category": ("carillon.commands.category:category", "Look at what notifications are about, and what follows."),
    "oncall": ("carillon.commands.oncall:oncall", "Look at who is on call, who is next, and where nobody is."),
    "liveness": ("carillon.commands.liveness:liveness", "Look at who is to be heard of, and who is missing."),
    "silence": ("carillon.commands.silence:silence", "Keep alerts from telling anybody for a while."),
    "incident": ("carillon.commands.incident:incident", "Look at incidents, answer them, and keep what happened."),
    "drill": ("carillon.commands.drill:drill", "Try out whether alerts reach the people on call."),
    "provider": ("carillon.commands.provider:provider", "Pause a provider or a whole channel by hand, and resume it."),
    "template": ("carillon.commands.templates:template", "Look at the texts of templates before anybody gets them."),
    "status": ("carillon.commands.status:status", "Say whether all is well, and what is wrong."),
    "audit": ("carillon.commands.audit:audit", "Check that everything accepted is accounted for."),
    "console": ("carillon.commands.console:console", "Serve the operators' web console."),
    "broker-roles": ("carillon.commands.broker_roles:broker_roles", "Print the broker's rules for a file of logins."),
    "store-users": ("carillon.commands.store_users:store_users", "Print the store's users for a file of logins."),
}

# 128 + SIGINT, what shells report of a program that Ctrl-C ended.
_INTERRUPTED = 130


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        if cmd_name not in _COMMANDS:
            return None
        module, _, name = _COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(module), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        with formatter.section("Commands"):
            formatter.write_dl([(name, words) for name, (_, words) in _COMMANDS.items()])


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option("--json", "as_json", is_flag=True, help="Print JSON, whatever the command.")
@click.version_option(VERSION, message="%(prog)s %(version)s")
def carillon(*, as_json: bool) -> None:
    """Run Carillon, send notifications and see what became of them.

    The commands find the system through MQTT_URL, REDIS_URL, TOPIC_PREFIX and REALTIME_JWT_SECRET. Where these are not
    set, they talk to the system that `carillon up` runs on this machine (its folder is CARILLON_DATA).

    \b
    Examples:
      carillon up
      carillon send notifications/realtime/user/user123 '{"message": "Hello"}' --wait
      carillon trace 0197c5a2-7f00-7003-8000-000000000000
    """  # noqa: D301 - click's mark for lines that are to stay as they are


def main() -> None:
    """Run one command and end the process with its exit status."""
    # Without a handler Python would print warnings of the libraries on standard error.
    logging.basicConfig(handlers=[logging.NullHandler()])
    try:
        status = carillon.main(prog_name="carillon", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        status = error.exit_code
    except click.ClickException as error:
        status = _say(error.format_message(), error.exit_code)
    except click.Abort:
        status = _INTERRUPTED
    except ConfigError as error:
        status = _say(str(error), 2)
    except CarillonError as error:
        status = _say(str(error) or type(error).__name__, 2)
    except _errors_of_the_client() as error:
        status = _say(str(error), 2)
    except BrokenPipeError:
        # Whoever read has enough. Nothing is left to flush into the closed pipe at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 1
    sys.exit(status or 0)


def _errors_of_the_client() -> type[Exception]:
    # Imported only where something has gone wrong: most commands do without the client.
    from carillon_publisher.errors import CarillonError as ClientError  # noqa: PLC0415

    return ClientError


def _say(text: str, status: int) -> int:
    click.echo(f"carillon: {printable(' '.join(text.split()))}", err=True)
    return status


if __name__ == "__main__":
    main()
