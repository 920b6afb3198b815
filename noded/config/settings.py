"""Settings of the daemon: what the command line gave, then kind Configuration, then defaults."""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from noded.config.http_shape import configured, overlay_logging
from noded.config.load import read_text
from noded.config.metric_shape import overlay
from noded.config.parse import parse_resources
from noded.config.problems import Place, Problem, Reading
from noded.config.records import ConfigurationSpec, Settings

_VARIABLE = re.compile(r"\$(?:\{([^{}]*)\}|([A-Za-z_][A-Za-z0-9_]*|[0-9*#$@!?-]))")


@dataclass(frozen=True, slots=True)
class LoadedConfiguration:
    """What the `--config` files gave, later files over earlier ones."""

    configuration: ConfigurationSpec
    problems: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()


def load_configuration(paths: Iterable[Path], environ: Mapping[str, str] | None = None) -> LoadedConfiguration:
    """Read Configuration files. `$VAR` and `${VAR}` are replaced as daprd does; unset ones by nothing."""
    environ = os.environ if environ is None else environ
    merged = ConfigurationSpec(name="")
    readings = []
    for path in paths:
        reading = Reading(str(path), environ)
        readings.append(reading)
        text = read_text(path, reading)
        for record in parse_resources(expand(text, environ), reading) if text is not None else ():
            if isinstance(record, ConfigurationSpec):
                merged = merge(merged, record)
            else:
                line = record.origin.line if record.origin else 0
                reading.warn(Place(line, "kind"), "only kind Configuration counts in a --config file")
    return LoadedConfiguration(
        merged,
        tuple(problem for each in readings for problem in each.problems),
        tuple(warning for each in readings for warning in each.warnings),
    )


def merge(first: ConfigurationSpec, over: ConfigurationSpec) -> ConfigurationSpec:
    """Lay one configuration over another: what it does not give stays."""
    rate = first.tracing_sampling_rate if over.tracing_sampling_rate is None else over.tracing_sampling_rate
    logging = overlay_logging(first.api_logging, over.api_logging)
    rules = first.api_rules if over.api_rules is None else over.api_rules
    metrics = overlay(first.metrics, over.metrics)
    return replace(over, tracing_sampling_rate=rate, api_logging=logging, api_rules=rules, metrics=metrics)


def expand(text: str, environ: Mapping[str, str]) -> str:
    """Replace `$VAR` and `${VAR}` as Go's os.ExpandEnv does: an unset variable by nothing."""
    return _VARIABLE.sub(lambda match: environ.get(match[1] or match[2] or "", ""), text)


def with_configuration(settings: Settings, configuration: ConfigurationSpec) -> Settings:
    """Apply what a Configuration gives."""
    rate = configuration.tracing_sampling_rate
    return replace(
        settings,
        tracing_sampling_rate=settings.tracing_sampling_rate if rate is None else rate,
        http=configured(settings.http, configuration.api_logging, configuration.api_rules),
        metrics=overlay(settings.metrics, configuration.metrics),
    )
