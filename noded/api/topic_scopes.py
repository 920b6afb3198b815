"""Which topics an app may publish to and subscribe to, from the metadata of a pub/sub component.

    allowedTopics       t1,t2             nobody may use another topic
    protectedTopics     t1,t2             only apps that a scope below gives them
    publishingScopes    app1=t1,t2;app2=  an app that is listed publishes to its list only (app2: to nothing)
    subscriptionScopes  the same for subscriptions

Field names are case-insensitive, spaces are ignored. Source: daprd pkg/scopes, pkg/runtime/pubsub/adapter.go.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ComponentTopicScopes:
    """The scopes of one component for one app; satisfies `noded.app.TopicScopes`."""

    allowed: frozenset[str]
    """Empty: every topic."""
    protected: frozenset[str]
    publishing: frozenset[str] | None
    """None: the app is not listed."""
    subscription: frozenset[str] | None

    def may_publish(self, topic: str) -> bool:
        """Whether the app may publish to `topic`."""
        return self._may(topic, self.publishing)

    def may_subscribe(self, topic: str) -> bool:
        """Whether the app may subscribe to `topic`."""
        return self._may(topic, self.subscription)

    def _may(self, topic: str, scope: frozenset[str] | None) -> bool:
        if self.allowed and topic not in self.allowed:
            return False
        if scope is None:
            return topic not in self.protected
        return topic in scope


def topic_scopes(metadata: Mapping[str, str], app_id: str) -> ComponentTopicScopes:
    """Read the scopes of a component for one app."""
    fields = {name.lower(): value.replace(" ", "") for name, value in metadata.items()}
    return ComponentTopicScopes(
        allowed=_topics(fields.get("allowedtopics", "")),
        protected=_topics(fields.get("protectedtopics", "")),
        publishing=_scope(fields.get("publishingscopes", ""), app_id),
        subscription=_scope(fields.get("subscriptionscopes", ""), app_id),
    )


def _topics(text: str) -> frozenset[str]:
    return frozenset(text.split(",")) if text else frozenset()


def _scope(text: str, app_id: str) -> frozenset[str] | None:
    """Return the topics of `app_id`, all its entries together, or None when it has none."""
    topics: set[str] | None = None
    for entry in text.split(";"):
        app, equals, listed = entry.partition("=")
        if equals and app == app_id:
            topics = (topics or set()) | set(listed.split("=")[0].split(","))
    return None if topics is None else frozenset(topics)
