"""What spec.metric of a Configuration asks for, and how it becomes what is measured."""

from pathlib import Path

import pytest

from noded.admin.metrics import rules_of
from noded.config.settings import LoadedConfiguration, load_configuration
from noded.metrics_paths import PathLabels

HEAD = "apiVersion: dapr.io/v1alpha1\nkind: Configuration\nmetadata: {name: c}\n"


def loaded(tmp_path: Path, *specs: str) -> LoadedConfiguration:
    paths = []
    for at, spec in enumerate(specs):
        paths.append(tmp_path / f"{at}.yaml")
        paths[-1].write_text(HEAD + spec)
    return load_configuration(paths)


def test_every_field_of_the_block_is_read(tmp_path: Path) -> None:
    """As Dapr spells them; buckets are milliseconds, in order."""
    found = loaded(
        tmp_path,
        "spec: {metric: {enabled: false, latencyDistributionBuckets: [50, 5],"
        ' http: {increasedCardinality: true, excludeVerbs: true, pathMatching: ["/a/{b}"]}}}',
    )
    spec = found.configuration.metrics

    assert not found.problems
    assert (spec.enabled, spec.increased_cardinality, spec.exclude_verbs) == (False, True, True)
    assert (spec.path_matching, spec.latency_bounds_ms) == (("/a/{b}",), (5.0, 50.0))


def test_metrics_lies_over_metric_and_a_later_file_over_an_earlier(tmp_path: Path) -> None:
    """What the one above does not give stays."""
    spec = loaded(
        tmp_path,
        "spec: {metric: {enabled: true, http: {excludeVerbs: true}}, metrics: {enabled: false}}",
        "spec: {metrics: {http: {increasedCardinality: false}}}",
    ).configuration.metrics

    assert (spec.enabled, spec.increased_cardinality, spec.exclude_verbs) == (False, False, True)


RULE = "{name: http_server_request_count, labels: [{name: path, regex: {/orders: ^/orders/.*}}]}"


def test_a_rule_rewrites_a_label(tmp_path: Path) -> None:
    """What its expression matches becomes its replacement; the metric is named with dapr_ or without."""
    found = loaded(tmp_path, f"spec: {{metric: {{rules: [{RULE}]}}}}")
    ((key, (rule,)),) = rules_of(found.configuration.metrics).items()

    assert key == ("dapr_http_server_request_count", "path")
    assert rule.pattern.sub(rule.replacement, "/orders/1/2") == "/orders"


@pytest.mark.parametrize(
    "block",
    ["latencyDistributionBuckets: [0]", "enabled: perhaps", 'rules: [{name: m, labels: [{name: l, regex: {a: "("}}]}]'],
)
def test_what_is_none_of_it_is_refused(tmp_path: Path, block: str) -> None:
    """With its place."""
    (problem,) = loaded(tmp_path, f"spec: {{metric: {{{block}}}}}").problems

    assert "spec.metric." in str(problem)


@pytest.mark.parametrize(
    ("path", "label"),
    [
        (b"/v1.0/state/store/key", "/v1.0/state/store"),
        (b"/v1.0/state/store/bulk", "/v1.0/state/store"),
        (b"/v1.0/publish/pubsub/topic", "/v1.0/publish/pubsub/topic"),
        (b"/v1.0//invoke/app/method/a%20b", "/v1.0/invoke/app/method/a b"),
        (b"/v1.0/healthz", "/v1.0/healthz"),
    ],
)
def test_paths_are_cut_where_keys_begin(path: bytes, label: str) -> None:
    """As daprd 1.18 with increasedCardinality."""
    assert label == PathLabels((), increased=True).label(path)


@pytest.mark.parametrize(
    ("path", "label"),
    [
        (b"/orders/7", "/orders/{id}"),
        (b"/orders/7/items", ""),
        (b"/orders/new", "/orders/new"),
        (b"/v1.0/invoke/shop/method/orders/7", "/v1.0/invoke/{app_id}/method/orders/{id}"),
        (b"/files/a/b/c", "/files/"),
        (b"/files", "/files/"),
        (b"/v1.0/state/s/k", ""),
        (b"/healthz", "/healthz"),
    ],
)
def test_paths_are_counted_by_the_pattern_that_they_match(path: bytes, label: str) -> None:
    """The most specific decides; what none matches is counted without a path, unless cardinality is increased."""
    assert label == PathLabels(("/orders/{id}", "/orders/new", "/files/"), increased=False).label(path)
