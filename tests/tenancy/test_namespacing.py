"""Names in shared backends: Dapr's in namespace `default`, and never two tenants with one name."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.contract import ConfigError, StoreKey, owner_of
from tenancy.namespacing import (
    ILLEGAL,
    check_app_id,
    check_namespace,
    is_shared,
    state_names,
    tenant_of,
    topic_names,
)

STRATEGIES = [None, "appid", "AppId", "namespace", "name", "none", "Custom", ""]

pieces = st.sampled_from(
    ["||", "|", "*", "%", "_", ".", "", "default", "team-a", "a", "b", "é", "\u2028", "\x00", "🙂"]
)
nasty = st.lists(pieces, max_size=5).map("".join) | st.text(max_size=8)
keys = nasty.filter(lambda raw: ILLEGAL not in raw)
namespaces = st.sampled_from(["default", "team-a", "team-b", "a", "default-a"])
app_ids = st.sampled_from(["a", "b", "team-a", "default", "a_b", "A"])
owned_keys = st.tuples(namespaces, app_ids, keys)
OwnedKey = tuple[str, str, str]


@pytest.mark.parametrize(
    ("key_prefix", "namespace", "stored"),
    [
        (None, "default", "orders||k"),
        ("appid", "default", "orders||k"),
        ("APPID", "team-a", "team-a.orders||k"),
        ("namespace", "default", "default.orders||k"),
        ("Namespace", "team-a", "team-a.orders||k"),
        ("name", "default", "Store||k"),
        ("name", "team-a", "Store||k"),
        ("none", "team-a", "k"),
        ("Shared.By-Us", "team-a", "shared.by-us||k"),
        ("", "default", "||k"),
    ],
)
def test_a_key_is_stored_under_the_name_its_key_prefix_asks_for(
    key_prefix: str | None, namespace: str, stored: str
) -> None:
    """KeyPrefix appid, namespace, name, none and custom are Dapr's; the value is read in lower case."""
    names = state_names(key_prefix, namespace, "orders", "Store")

    assert stored == names.key("k")


def test_a_key_prefix_with_the_separator_is_a_configuration_error() -> None:
    """A keyPrefix must not hold `||`, or its keys could be another's."""
    with pytest.raises(ConfigError, match=r"keyPrefix 'a\|\|b' of store must not hold"):
        state_names("A||b", "default", "orders", "store")


@given(st.sampled_from(STRATEGIES), namespaces, app_ids, keys)
def test_a_stored_key_maps_back_to_what_the_app_wrote(
    key_prefix: str | None, namespace: str, app_id: str, raw: str
) -> None:
    """An app never sees the prefix, whatever the strategy and the key."""
    names = state_names(key_prefix, namespace, app_id, "store")

    assert raw == names.raw(names.key(raw))


@pytest.mark.parametrize(
    ("stored", "raw"), [("other||k", "k"), ("other||k||rest", "k"), ("k", "k"), ("||k", "k"), ("other||", "")]
)
def test_a_foreign_key_maps_back_by_daprs_rule(stored: str, raw: str) -> None:
    """A query can return names of others: the app is told the text between the first and the second `||`."""
    assert raw == state_names(None, "default", "orders", "store").raw(stored)


@given(st.sampled_from([None, "appid", "namespace"]), owned_keys, owned_keys)
def test_two_tenants_never_share_a_key(key_prefix: str | None, mine: OwnedKey, theirs: OwnedKey) -> None:
    """Different (namespace, app id, key) give different names, unless the component's keyPrefix shares them."""
    drawn, other_drawn = (
        state_names(key_prefix, namespace, app_id, "store").key(raw) for namespace, app_id, raw in (mine, theirs)
    )

    assert (drawn == other_drawn) == (mine == theirs)


@given(st.sampled_from(STRATEGIES), namespaces, app_ids, keys)
def test_the_books_know_the_owner_of_every_key(key_prefix: str | None, namespace: str, app_id: str, raw: str) -> None:
    """The owner a store reads off a key is the one the names declare; it is the tenant unless the names are shared."""
    names = state_names(key_prefix, namespace, app_id, "store")

    if key_prefix != "none":
        assert names.owner == owner_of(names.key(raw))
    assert names.shared == is_shared(key_prefix)
    if not names.shared:
        assert (namespace, app_id) == tenant_of(names.owner)


@pytest.mark.parametrize("owner", ["", ".", "a.b.c", "a.", ".a", "Team.a", "a b", "a%", "é", "team-.a"])
def test_an_owner_that_no_tenant_can_have_is_nobody(owner: str) -> None:
    """What another program left in a shared file is charged to no tenant."""
    assert tenant_of(owner) is None


def test_unshared_keys_of_unpaired_prefixes_keep_their_owner() -> None:
    """A key that begins with `|` still belongs to the text before the first separator."""
    assert owner_of(StoreKey("orders|||k")) == "orders"


@pytest.mark.parametrize(
    ("namespace", "raw", "drawn"),
    [
        ("default", "orders", "orders"),
        ("default", "", ""),
        ("default", "a||b", "a||b"),
        ("default", "||team-a||orders", "||default||||team-a||orders"),
        ("team-a", "orders", "||team-a||orders"),
        ("team-a", "", "||team-a||"),
    ],
)
def test_a_topic_in_namespace_default_is_daprds(namespace: str, raw: str, drawn: str) -> None:
    """In `default` a topic goes to the broker as the app wrote it; in others its namespace stands before it."""
    names = topic_names(namespace, "app")

    assert drawn == names.topic(raw)
    assert raw == names.raw(names.topic(raw))


@given(namespaces, nasty, namespaces, nasty)
def test_topics_of_two_namespaces_never_meet(ns: str, topic: str, other_ns: str, other_topic: str) -> None:
    """Different (namespace, topic) give different names at the broker, for any text; each maps back."""
    names, other_names = topic_names(ns, "app"), topic_names(other_ns, "app")
    drawn, other_drawn = names.topic(topic), other_names.topic(other_topic)

    assert (drawn == other_drawn) == ((ns, topic) == (other_ns, other_topic))
    assert topic == names.raw(drawn)


@given(namespaces, nasty, nasty)
def test_a_topic_cannot_forge_another_namespaces_name(ns: str, victim_topic: str, suffix: str) -> None:
    """An app that knows how names are drawn cannot write a topic that becomes another namespace's."""
    victim = topic_names("victim", "app").topic(victim_topic)

    assert victim != topic_names(ns, "app").topic(victim + suffix)


@given(namespaces, app_ids, namespaces, app_ids)
def test_each_app_has_its_own_consumer_group(ns: str, app: str, other_ns: str, other_app: str) -> None:
    """Two apps do not compete for events: the default consumerID is the app id, within its namespace."""
    group, other = topic_names(ns, app).group, topic_names(other_ns, other_app).group

    assert (group == other) == ((ns, app) == (other_ns, other_app))


@pytest.mark.parametrize(
    ("namespace", "consumer_id", "group"),
    [
        ("default", None, "orders"),
        ("default", "", "orders"),
        ("default", "team", "team"),
        ("team-a", None, "team-a.orders"),
        ("team-a", "team", "team-a.team"),
    ],
)
def test_a_consumer_id_names_the_group(namespace: str, consumer_id: str | None, group: str) -> None:
    """A component's consumerID replaces the app id, within the namespace."""
    assert group == topic_names(namespace, "orders", consumer_id).group


@pytest.mark.parametrize("app_id", ["a", "Orders", "order_service-2", "x" * 63])
def test_app_ids_dapr_takes_are_taken(app_id: str) -> None:
    """Letters, digits, `-` and `_`."""
    assert check_app_id(app_id) is None


@pytest.mark.parametrize("app_id", ["", "a.b", "a/b", "a b", "a||b", "..", "é", "x" * 64, "a\n", "٣"])
def test_an_app_id_that_could_be_another_name_is_refused(app_id: str) -> None:
    """Dots separate namespace and app id, slashes separate directories; the message says what is allowed."""
    problem = check_app_id(app_id)

    assert problem is not None
    assert "1 to 63 of letters, digits, '-' and '_'" in problem
    assert repr(app_id) in problem


@pytest.mark.parametrize("namespace", ["default", "a", "team-a", "0", "x" * 63])
def test_kubernetes_namespaces_are_taken(namespace: str) -> None:
    """A namespace is an RFC 1123 label."""
    assert check_namespace(namespace) is None


@pytest.mark.parametrize("namespace", ["", "-a", "a-", "A", "a.b", "a_b", "a/b", "a|", "x" * 64, "a\n"])
def test_a_namespace_that_is_no_label_is_refused(namespace: str) -> None:
    """The message names what was found."""
    assert repr(namespace) in (check_namespace(namespace) or "")
