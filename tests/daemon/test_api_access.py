"""Lists of APIs: which routes and methods are left. Recorded rows (`*_apis_*`) hold the answers."""

from noded.api_access import _GRPC_GROUPS, is_offered, offered_methods, offered_routes
from noded.config.http_settings import ALL_APIS, ApiRule, ApiRules
from noded.routes import HTTP_ROUTES, INVOKE, http_table, public_table
from noded.routes_grpc import GRPC_METHODS, grpc_table


def offered(rules: ApiRules) -> set[str]:
    routes = (*HTTP_ROUTES, INVOKE)
    return {
        f"{version}/{each.pattern}" for each in routes for version in each.versions if is_offered(each, version, rules)
    }


def test_every_method_has_a_group() -> None:
    """A method that rules could not name could not be denied."""
    assert set(_GRPC_GROUPS) == {name for method in GRPC_METHODS for name in method.names}


def test_no_rules_take_nothing_away() -> None:
    """The tables are the same."""
    assert offered_methods(grpc_table(), ALL_APIS) == grpc_table()
    assert http_table().fallback.route is INVOKE


def test_health_cannot_be_taken_away() -> None:
    """Who starts an app must see it well."""
    rules = ApiRules(denied=tuple(ApiRule(name, "v1", "http") for name in ("healthz", "invoke", "state")))
    assert {"v1.0/healthz", "v1.0/healthz/outbound"} <= offered(rules)
    assert not any("state" in each or "invoke" in each for each in offered(rules) if "alpha" not in each)


def test_a_version_as_in_paths_names_what_begins_with_it() -> None:
    """The older way to write a rule: `v1.0` and the path's first words."""
    left = offered(ApiRules(allowed=(ApiRule("publish/bulk", "v1.0", "HTTP"),)))
    assert left == {"v1.0/publish/bulk/{pubsub}/{topic...}", "v1.0/healthz", "v1.0/healthz/outbound"}


def test_a_route_is_left_in_the_versions_that_rules_leave() -> None:
    """Of an operation that has an alpha version besides, that can be taken away alone."""
    (both,) = (route for route in HTTP_ROUTES if len(route.versions) > 1)
    rules = ApiRules(denied=(ApiRule("publish/bulk", "v1.0-alpha1", "http"),))
    (left,) = offered_routes([both], rules)
    assert (both.versions, left.versions) == (("v1.0", "v1.0-alpha1"), ("v1.0",))


def test_rules_of_one_protocol_leave_the_other_alone() -> None:
    """Each protocol has its own lists."""
    rules = ApiRules(allowed=(ApiRule("state", "v1", "grpc"),))
    assert offered(rules) == offered(ALL_APIS)
    refusing = {path for path, method in grpc_table(rules).items() if method.unary != grpc_table()[path].unary}
    assert b"/dapr.proto.runtime.v1.Dapr/PublishEvent" in refusing
    assert b"/dapr.proto.runtime.v1.Dapr/GetState" not in refusing


def test_a_rule_that_names_no_api_says_nothing() -> None:
    """As in daprd: a misspelt list of allowed methods allows all."""
    assert grpc_table(ApiRules(allowed=(ApiRule("sate", "v1", "grpc"),))) == grpc_table()


def test_the_public_port_knows_no_invocation() -> None:
    """What is not health or metadata is not found there."""
    assert public_table().fallback.route.raw is None
