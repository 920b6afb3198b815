"""What the daemon's log says of the resources it has read."""

import logging
from collections.abc import Iterable, Sequence, Sized

from noded.config.load import Loaded
from noded.config.problems import Problem
from noded.config.records import ComponentSpec, Resources

log = logging.getLogger("noded")

MAX_TOLD = 10
"""Errors, and warnings, that are told one by one: more would be lost among repeats."""


def tell(loaded: Loaded) -> None:
    """Log what was read of the resources, what is wrong with them, and what of them has no effect."""
    if loaded.files:
        log.info("resources read: %s", summary(loaded.resources))
    _each(logging.ERROR, loaded.problems)
    _each(logging.WARNING, loaded.warnings)
    for spec in loaded.configurations:
        where = f"{spec.origin.file}:{spec.origin.line}: " if spec.origin else ""
        log.warning("resources: %skind Configuration has no effect here: give the file by --config", where)


def tell_defaults(components: Iterable[ComponentSpec]) -> None:
    """Log what there is because the resources hold no component."""
    told = " and ".join(f"{each.name} ({each.type})" for each in components)
    log.info("no component is configured: there are %s", told)


def but_for(problems: Sized) -> str:
    """How many problems there are, in brackets; nothing where there are none."""
    return f" ({counted(problems, 'problem')}: `noded reload` lists them)" if problems else ""


def summary(resources: Resources) -> str:
    """How many there are of each kind."""
    kinds = ("component", resources.components), ("subscription", resources.subscriptions)
    return ", ".join(
        counted(each, name) for name, each in (*kinds, ("app", resources.apps), ("quota", resources.quotas))
    )


def counted(things: Sized, name: str) -> str:
    """A number and its noun: `1 app`, `2 apps`."""
    return f"{len(things)} {name}{'' if len(things) == 1 else 's'}"


def _each(level: int, problems: Sequence[Problem]) -> None:
    for problem in problems[:MAX_TOLD]:
        log.log(level, "resources: %s", problem)
    if len(problems) > MAX_TOLD:
        log.log(level, "resources: %d more of these: `noded check` tells all", len(problems) - MAX_TOLD)
