"""What a command ends with that cannot be done, and what a process that failed died of."""

from collections.abc import Iterator


class CommandError(RuntimeError):
    """The command cannot be done; the message is for the user, who sees nothing else. Exit code 1."""


class OperatorError(RuntimeError):
    """The daemon refused, or cannot be asked; the message is for the user."""


def leaves(error: BaseException) -> Iterator[BaseException]:
    """The errors that a group, and groups in it, are made of; of any other error itself."""
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from leaves(each)
    else:
        yield error
