"""Resources are read as Dapr reads them, and what is wrong is told with its place."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from noded.config.load import MAX_FILE_BYTES, Loaded, load_resources
from noded.config.records import (
    AppProtocol,
    AppSpec,
    BulkSubscribe,
    ChannelSpec,
    ComponentSpec,
    IdentitySpec,
    LoopbackSpec,
    QuotaSpec,
    RouteRule,
    SocketsSpec,
)
from tenancy.limits import Limits

COMPONENT = """\
apiVersion: dapr.io/v1alpha1
kind: Component
metadata: {name: statestore}
spec:
  type: state.sqlite
  version: v1
"""


def load(directory: Path, text: str | bytes, **environ: str) -> Loaded:
    content = text.encode() if isinstance(text, str) else text
    (directory / "a.yaml").write_bytes(content)
    return load_resources([directory], environ)


def app(spec: str) -> str:
    return f"apiVersion: noded.io/v1alpha1\nkind: App\nmetadata: {{name: orders}}\nspec: {spec}\n"


def only_problem(loaded: Loaded) -> tuple[int, str, str]:
    (problem,) = loaded.problems
    return problem.line, problem.field, str(problem)


def test_component_fields(tmp_path: Path) -> None:
    """Every field of a Component lands in its record."""
    loaded = load(
        tmp_path,
        """\
apiVersion: dapr.io/v1alpha1
kind: Component
metadata: {name: statestore, namespace: shop, labels: {a: b}}
spec:
  type: State.SQLite
  version: ""
  ignoreErrors: true
  initTimeout: 1m2.5s
  metadata:
  - {name: connectionString, value: data.db}
  - {name: fromEnvironment, envRef: PLACE}
auth: {secretStore: vault}
scopes: [orders, checkout]
""",
        PLACE="here",
    )

    (component,) = loaded.resources.components
    assert loaded.problems == ()
    assert (
        component.name,
        component.type,
        component.version,
        component.namespace,
    ) == ("statestore", "state.sqlite", "v1", "shop")
    assert component.ignore_errors
    assert component.init_timeout_seconds == 62.5
    assert component.metadata == {"connectionString": "data.db", "fromEnvironment": "here"}
    assert component.scopes == ("orders", "checkout")


def test_absent_fields_keep_daprs_defaults(tmp_path: Path) -> None:
    """An absent initTimeout is five seconds, an absent namespace every namespace, absent scopes every app."""
    (component,) = load(tmp_path, COMPONENT).resources.components

    assert ComponentSpec(name="statestore", type="state.sqlite", origin=component.origin) == component


@pytest.mark.parametrize(
    ("written", "given_to_the_component"),
    [
        ("yes", "true"),
        ("Off", "false"),
        ('"yes"', "yes"),
        ("12", "12"),
        ("0750", "488"),
        ("0x10", "16"),
        ("1_000", "1000"),
        ("1.50", "1.5"),
        ("1e3", "1000"),
        ("1e-7", "1e-7"),
        ("2024-01-02", "2024-01-02"),
        ("~", ""),
        ("1.2.3", "1.2.3"),
        ("[1, a, true, null]", '[1,"a",true,null]'),
        ("{b: 1, a: 'x'}", '{"a":"x","b":1}'),
        ("!!str 12", "12"),
    ],
)
def test_metadata_values_are_strings_as_daprd_makes_them(
    tmp_path: Path, written: str, given_to_the_component: str
) -> None:
    """Metadata values reach components as strings: the JSON text of what YAML says, without quotes."""
    loaded = load(tmp_path, COMPONENT + f"  metadata:\n  - name: field\n    value: {written}\n")

    (component,) = loaded.resources.components
    assert {"field": given_to_the_component} == component.metadata


@pytest.mark.parametrize("name", ["DAPR_API_TOKEN", "dapr_x", "APP_API_TOKEN", '"A B"'])
def test_env_ref_does_not_reach_what_is_kept_from_components(tmp_path: Path, name: str) -> None:
    """EnvRef may not name DAPR_* or APP_API_TOKEN, nor anything with a space."""
    loaded = load(tmp_path, COMPONENT + f"  metadata:\n  - name: field\n    envRef: {name}\n", DAPR_API_TOKEN="secret")

    line, field, _ = only_problem(loaded)
    assert (line, field) == (8, "spec.metadata[0]")
    assert loaded.resources.components == ()


def test_dapr_env_keys_is_the_list_of_what_env_ref_may_name(tmp_path: Path) -> None:
    """Where DAPR_ENV_KEYS is set, envRef reaches nothing else."""
    text = COMPONENT + "  metadata:\n  - name: field\n    envRef: "

    assert load(tmp_path, text + "A", DAPR_ENV_KEYS="A B", A="1").resources.components
    assert load(tmp_path, text + "C", DAPR_ENV_KEYS="A B", C="1").problems


def test_app_as_designed(tmp_path: Path) -> None:
    """Every field of an App lands in its record, sizes in bytes and modes in octal."""
    loaded = load(
        tmp_path,
        app("""
  channel: {protocol: h2c, address: "unix:/run/orders.sock", maxConcurrency: 8}
  sockets: {owner: orders, group: shop, mode: 0750}
  identity: {uids: [1001], gids: [7, 8]}
  loopback: {httpPort: 3500, grpcPort: 0, token: t}
  limits: {requestsPerSecond: 0.5, stateBytes: 10Mi, stateKeys: 1k}
  apiToken: a
  appToken: b"""),
    )

    (spec,) = loaded.resources.apps
    assert loaded.problems == ()
    assert (
        AppSpec(
            app_id="orders",
            channel=ChannelSpec("unix:/run/orders.sock", AppProtocol.H2C, 8),
            sockets=SocketsSpec("orders", "shop", 0o750),
            identity=IdentitySpec((1001,), (7, 8)),
            loopback=LoopbackSpec(3500, 0, "t"),
            limits=Limits(requests_per_second=0.5, state_bytes=10 << 20, state_keys=1000),
            api_token="a",
            app_token="b",
            origin=spec.origin,
        )
        == spec
    )


def test_empty_loopback_asks_for_free_ports_and_an_absent_one_for_none(tmp_path: Path) -> None:
    """`loopback: {}` opens TCP on free ports; without it, and with null, the app has sockets only."""
    assert LoopbackSpec() == load(tmp_path, app("{loopback: {}}")).resources.apps[0].loopback
    assert load(tmp_path, app("{loopback: null}")).resources.apps[0].loopback is None
    assert load(tmp_path, app("{}")).resources.apps[0].loopback is None


def test_quota_of_a_namespace_and_of_the_node(tmp_path: Path) -> None:
    """A Quota without namespace is the node's."""
    head = "apiVersion: noded.io/v1alpha1\nkind: Quota\nmetadata: {name: a%s}\n"
    text = head + "spec: {perApp: {jobs: 1}, total: {jobs: 2}}\n"
    loaded = load(tmp_path, text % ", namespace: shop" + "---\n" + text % "")

    (shop, node) = loaded.resources.quotas
    assert (shop.namespace, node.namespace) == ("shop", None)
    assert QuotaSpec("a", None, Limits(jobs=1), Limits(jobs=2), node.origin) == node


def test_subscription_v1_has_one_route(tmp_path: Path) -> None:
    """A v1alpha1 route is the default route, and bulkSubscribe keeps Dapr's 100 messages and 1000 ms."""
    loaded = load(
        tmp_path,
        """\
apiVersion: dapr.io/v1alpha1
kind: Subscription
metadata: {name: s}
spec:
  {topic: t, pubsubname: p, route: /in, deadLetterTopic: d, metadata: {rawPayload: true}, bulkSubscribe: {enabled: on}}
scopes: [orders]
""",
    )

    (subscription,) = loaded.resources.subscriptions
    assert (RouteRule("", "/in"),) == subscription.rules
    assert BulkSubscribe(enabled=True, max_messages_count=100, max_await_duration_ms=1000) == subscription.bulk
    assert (
        subscription.pubsub_name,
        subscription.topic,
        subscription.dead_letter_topic,
        subscription.metadata,
        subscription.scopes,
    ) == ("p", "t", "d", {"rawPayload": "true"}, ("orders",))


def test_subscription_v2_keeps_its_rules_in_order_and_the_default_last(tmp_path: Path) -> None:
    """Rules are tried in order, the default after them."""
    head = "apiVersion: dapr.io/v2alpha1\nkind: Subscription\nmetadata: {name: s}\n"
    text = head + "spec: {topic: t, pubsubname: p, routes: %s}\n"
    loaded = load(tmp_path, text % "{default: /d, rules: [{match: event.a, path: /a}, {match: event.b, path: /b}]}")

    rules = (RouteRule("event.a", "/a"), RouteRule("event.b", "/b"), RouteRule("", "/d"))
    assert rules == loaded.resources.subscriptions[0].rules
    assert only_problem(load(tmp_path, text % "{}"))[:2] == (4, "spec.routes")


@pytest.mark.parametrize(
    ("spec", "field", "told"),
    [
        (
            "{channel: {address: '127.0.0.1'}}",
            "spec.channel.address",
            'found "127.0.0.1"; allowed: host:port or unix:/path',
        ),
        ("{channel: {address: 'unix:relative'}}", "spec.channel.address", "allowed: host:port or unix:/path"),
        ("{channel: {}}", "spec.channel.address", "is missing"),
        ("{channel: {address: 'a:1', protocol: smtp}}", "spec.channel.protocol", "allowed: http, https, h2c"),
        ("{chanel: {}}", "spec.chanel", "did you mean channel?"),
        ("{limits: {stateByte: 1}}", "spec.limits.stateByte", "did you mean stateBytes?"),
        (
            "{limits: {stateBytes: 10MB}}",
            "spec.limits.stateBytes",
            'found "10MB"; allowed: bytes, as 500, 500k, 10Mi, 1Gi',
        ),
        ("{limits: {requestsPerSecond: 0}}", "spec.limits.requestsPerSecond", "leave the field out for no limit"),
        ("{limits: {stateKeys: -1}}", "spec.limits.stateKeys", "is not a quantity"),
        ("{limits: [1]}", "spec.limits", "found a list of 1"),
        ("{identity: {uids: 5}}", "spec.identity.uids", "must be a list"),
        ("{identity: {uids: [root]}}", "spec.identity.uids[0]", "is not the number of a user or group"),
        ("{sockets: {mode: 0888}}", "spec.sockets.mode", "octal"),
        ("{loopback: {httpPort: 65536}}", "spec.loopback.httpPort", "0 (a free port) to 65535"),
    ],
)
def test_problem_tells_field_found_and_allowed(tmp_path: Path, spec: str, field: str, told: str) -> None:
    """A wrong field is told with file, line, dotted path, what was found and what is allowed; its App is left out."""
    loaded = load(tmp_path, app(spec))

    line, path, text = only_problem(loaded)
    assert (4, field) == (line, path)
    assert text.startswith(f"{tmp_path}/a.yaml:4: {field}: ")
    assert told in text
    assert loaded.resources.apps == ()


def test_problem_as_json_names_every_part(tmp_path: Path) -> None:
    """The machine's form has one key per part."""
    (problem,) = load(tmp_path, app("{loopback: {httpPort: x}}")).problems

    assert {
        "file": f"{tmp_path}/a.yaml",
        "line": 4,
        "field": "spec.loopback.httpPort",
        "message": "is not a port",
        "found": '"x"',
        "allowed": "0 (a free port) to 65535",
    } == problem.json()


def test_secret_values_are_not_told(tmp_path: Path) -> None:
    """A problem with a token does not show the token."""
    (problem,) = load(tmp_path, app('{apiToken: "hunter2\\a"}')).problems

    assert "hunter2" not in str(problem)


@pytest.mark.parametrize(
    ("name", "namespace"),
    [("a.b", "default"), ("a/b", "default"), ("a||b", "default"), ("a", "B"), ("a", "a.b"), ("a" * 64, "default")],
)
def test_app_ids_and_namespaces_that_could_meet_another_tenant_are_refused(
    tmp_path: Path, name: str, namespace: str
) -> None:
    """Names hold no separator of ours, so no two tenants' data can meet."""
    text = f"apiVersion: noded.io/v1alpha1\nkind: App\nmetadata: {{name: '{name}', namespace: '{namespace}'}}\n"

    assert len(load(tmp_path, text).problems) == 1


def test_every_mistake_is_told_at_once_and_good_documents_stay(tmp_path: Path) -> None:
    """One pass tells all that is wrong; a document that is no YAML spoils no other, and lines count on."""
    loaded = load(tmp_path, "# shop\n" + app("{chanel: {}, limts: {}}") + "---\na: [\n---\n" + COMPONENT)

    assert [(each.line, each.field) for each in loaded.problems[:2]] == [(5, "spec.chanel"), (5, "spec.limts")]
    assert "not YAML" in str(loaded.problems[2])
    assert [each.name for each in loaded.resources.components] == ["statestore"]
    assert loaded.resources.components[0].origin is not None
    assert loaded.resources.components[0].origin.line == 9


def test_duplicate_names_are_refused_within_kind_and_namespace(tmp_path: Path) -> None:
    """The second of a name is a problem that says where the first stands; another namespace or kind is no duplicate."""
    elsewhere = COMPONENT.replace("name: statestore", "name: statestore, namespace: shop")
    (tmp_path / "b.yml").write_text(COMPONENT)
    loaded = load(tmp_path, COMPONENT + "---\n" + elsewhere)

    assert len(loaded.resources.components) == 2
    assert f"{tmp_path}/b.yml:1: metadata.name: is already taken in {tmp_path}/a.yaml:1" in str(loaded.problems[0])


def test_namespace_has_one_quota(tmp_path: Path) -> None:
    """Which of two Quotas of a namespace held would be a matter of luck: the second is a problem."""
    text = (
        "apiVersion: noded.io/v1alpha1\nkind: Quota\nmetadata: {name: %s, namespace: shop}\nspec: {total: {jobs: 1}}\n"
    )
    loaded = load(tmp_path, text % "a" + "---\n" + text % "b")

    assert [each.name for each in loaded.resources.quotas] == ["a"]
    assert only_problem(loaded)[:2] == (6, "metadata.namespace")


def test_field_given_twice_is_refused(tmp_path: Path) -> None:
    """YAML parsers keep the last of two equal names without a word; here it is a problem with both lines."""
    assert only_problem(load(tmp_path, app("\n  limits: {}\n  limits: {}")))[:2] == (6, "")


def test_other_systems_resources_are_ignored_with_a_warning(tmp_path: Path) -> None:
    """A Deployment beside the components is no error, and neither is a kind noded does not serve yet."""
    loaded = load(
        tmp_path,
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\nwhatever: 1\n---\n"
        "apiVersion: dapr.io/v1alpha1\nkind: Resiliency\nmetadata: {name: r}\nspec: {policies: {}}\n",
    )

    assert loaded.problems == ()
    assert ["apps/v1" in str(loaded.warnings[0]), "not served yet" in str(loaded.warnings[1])] == [True, True]


@pytest.mark.parametrize(
    ("head", "told"),
    [
        ("apiVersion: dapr.io/v1alpha1\nkind: Componnt", "did you mean Component?"),
        ("apiVersion: dapr.io/v9\nkind: Component", "allowed: dapr.io/v1alpha1"),
        ("apiVersion: noded.io/v1alpha1\nkind: Apps", "did you mean App?"),
        ("kind: App", "apiVersion: is missing"),
        ("apiVersion: dapr.io/v1alpha1", "kind: is missing"),
        ("- a", "is no resource"),
    ],
)
def test_misspelt_kinds_of_ours_are_problems(tmp_path: Path, head: str, told: str) -> None:
    """A kind or version that our API groups do not have is a mistake, not another system's resource."""
    assert told in str(load(tmp_path, head + "\n").problems[0])


def test_blocks_of_configuration_not_served_are_named(tmp_path: Path) -> None:
    """A Configuration block that has no effect is accepted, and a warning says so."""
    loaded = load(
        tmp_path,
        "apiVersion: dapr.io/v1alpha1\nkind: Configuration\nmetadata: {name: c}\n"
        "spec: {tracing: {samplingRate: '0.5'}, logging: {apiLogging: {enabled: true}}, mtls: {enabled: true}}\n",
    )

    (configuration,) = loaded.configurations
    assert (configuration.tracing_sampling_rate, configuration.api_logging.enabled) == (0.5, True)
    assert [each.field for each in loaded.warnings] == ["spec.mtls"]


@pytest.mark.parametrize("tag", ["!!python/object/apply:os.abort []", "!!binary aGk=", "!custom x"])
def test_tags_are_never_executed(tmp_path: Path, tag: str) -> None:
    """A tag that is no plain value is a problem, whatever it names."""
    assert "is not allowed" in str(load(tmp_path, app(f"{{channel: {tag}}}")).problems[0])


def test_aliases_stand_for_what_they_name(tmp_path: Path) -> None:
    """Anchors work within a document, and a document that is larger expanded than allowed is refused unexpanded."""
    assert load(tmp_path, app("{identity: {uids: &a [1], gids: *a}}")).resources.apps[0].identity.gids == (1,)
    bomb = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"{after}: &{after} [{', '.join(['*' + before] * 10)}]\n"
        for before, after in zip("abcdefgh", "bcdefghi", strict=True)
    )
    assert "more than" in str(load(tmp_path, bomb).problems[0])
    assert "stands for nothing" in str(load(tmp_path, "a: &a [*a]\n").problems[0])


def test_depth_and_size_are_bounded(tmp_path: Path) -> None:
    """Nesting without end and files without end are problems, not a dead daemon."""
    assert "nested deeper" in str(load(tmp_path, "[" * 100_000).problems[0])
    assert "too large" in str(load(tmp_path, "#" * (MAX_FILE_BYTES + 1)).problems[0])


def test_only_yaml_files_of_the_directory_count(tmp_path: Path) -> None:
    """Other names, hidden files and directories are passed over; a named file is read as it is."""
    for name in ("README.md", ".hidden.yaml", "a.yaml.bak"):
        (tmp_path / name).write_text("[")
    (tmp_path / "below.yaml").mkdir()

    assert Loaded(load_resources([]).resources) == load_resources([tmp_path])
    assert load_resources([tmp_path / "README.md"]).problems


def test_path_that_cannot_be_read_is_a_problem(tmp_path: Path) -> None:
    """A missing path is told with its name."""
    (problem,) = load_resources([tmp_path / "absent"]).problems

    assert f"{tmp_path}/absent: cannot be read: No such file or directory" == str(problem)


@settings(max_examples=150, deadline=None)
@given(st.one_of(st.binary(max_size=400), st.text(max_size=400).map(lambda text: text.encode("utf-8", "replace"))))
def test_arbitrary_bytes_give_problems_only(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    """Whatever a file holds, reading it ends, and what is no resource of ours becomes problems or warnings."""
    assert load(tmp_path_factory.mktemp("fuzz"), content).resources.components == ()


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["10Mi", "5s", "a:1"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["name", "namespace", "metadata", "type", "route", "routes", "rules", "topic", "limits", "value"]
            )
            | st.text(max_size=4),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
KINDS = ["Component", "Subscription", "Configuration", "App", "Quota", "Resiliency"]


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(["dapr.io/v1alpha1", "dapr.io/v2alpha1", "noded.io/v1alpha1"]),
    st.sampled_from(KINDS),
    VALUES,
    VALUES,
)
def test_arbitrary_values_in_known_kinds_give_problems_or_records(
    tmp_path_factory: pytest.TempPathFactory, version: str, kind: str, metadata: object, spec: object
) -> None:
    """However wrong the values of a known kind are, there is a record or a reason."""
    text = yaml.safe_dump({"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec})
    loaded = load(tmp_path_factory.mktemp("fuzz"), text)

    count = sum(len(each.records) for each in loaded.files)
    assert count or loaded.problems or loaded.warnings
    assert all(each.good == (not loaded.problems) for each in loaded.files)


@pytest.mark.parametrize(
    ("match", "problem"),
    [
        ("event.type ==", "1:14: Syntax error"),
        ("evnt.type == 1", "1:5: undeclared reference to 'evnt.type'"),
        ("event.i.all(x, x == event.y)", "looks at event again for each element of all"),
    ],
)
def test_a_routing_rule_is_compiled_when_it_is_read(tmp_path: Path, match: str, problem: str) -> None:
    """An expression that cannot be used is told with its file and line, and with its own line and column."""
    head = "apiVersion: dapr.io/v2alpha1\nkind: Subscription\nmetadata: {name: s}\nspec:\n  topic: t\n  pubsubname: p\n"
    loaded = load(tmp_path, f"{head}  routes:\n    rules:\n    - match: {match}\n      path: /a\n")

    (told,) = loaded.problems
    assert (told.line, told.field) == (9, "spec.routes.rules[0].match")
    assert problem in told.message
    assert loaded.resources.subscriptions == ()
