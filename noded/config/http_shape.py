"""The shape of what a Configuration says of the APIs: spec.api and spec.logging. Source: dapr pkg/config."""

from dataclasses import replace

from noded.config.http_settings import ApiLogging, ApiRule, ApiRules, HttpSettings
from noded.config.schema import Field, ListOf, Shape, Text
from noded.config.values import parse_bool, parse_text

_BOOL = Text("true or false", parse_bool)
_RULE = Shape(
    {
        "name": Field(Text("an API, as state, publish, invoke", parse_text), required=True),
        "version": Field(Text("its version, as v1, v1alpha1", parse_text), required=True),
        "protocol": Field(Text("http or grpc", parse_text), required=True),
    },
    ApiRule,
)
API = Shape({"allowed": Field(ListOf(_RULE)), "denied": Field(ListOf(_RULE))}, ApiRules)
LOGGING = Shape(
    {
        "apiLogging": Field(
            Shape(
                {
                    "enabled": Field(_BOOL),
                    "obfuscateURLs": Field(_BOOL, to="obfuscate_urls"),
                    "omitHealthChecks": Field(_BOOL),
                },
                ApiLogging,
            )
        )
    },
    dict,
)


def overlay_logging(first: ApiLogging, over: ApiLogging) -> ApiLogging:
    """Lay what is given over what stands."""
    return ApiLogging(
        first.enabled if over.enabled is None else over.enabled,
        first.obfuscate_urls if over.obfuscate_urls is None else over.obfuscate_urls,
        first.omit_health_checks if over.omit_health_checks is None else over.omit_health_checks,
    )


def configured(settings: HttpSettings, logging: ApiLogging, rules: ApiRules | None) -> HttpSettings:
    """Take what a Configuration gives; what the command line said of logging stands."""
    return replace(
        settings, logging=overlay_logging(logging, settings.logging), rules=settings.rules if rules is None else rules
    )
