"""Metadata fields that noded itself reads, whatever the backend of a category is.

Source: dapr-api.md 1.3 (key prefix), 3 (consumer id, topic scopes).
"""

from collections.abc import Mapping

from components.fields import Field, FieldType

_LISTS = "as `app1=topic1,topic2;app2=`"

COMMON_FIELDS: Mapping[str, tuple[Field, ...]] = {
    "state": (
        Field(
            "keyPrefix",
            FieldType.TEXT,
            "What keys are prefixed with: `appid`, `namespace`, `name`, `none`, or any text without `||`",
            "appid",
        ),
    ),
    "pubsub": (
        Field("consumerID", FieldType.TEXT, "The consumer group; absent: the app id", ""),
        Field("allowedTopics", FieldType.TEXT, "The topics there are, comma-separated; empty: any", ""),
        Field("protectedTopics", FieldType.TEXT, "Topics that only apps named in the scopes below may use", ""),
        Field("publishingScopes", FieldType.TEXT, f"Who may publish to what, {_LISTS}", ""),
        Field("subscriptionScopes", FieldType.TEXT, f"Who may subscribe to what, {_LISTS}", ""),
    ),
}
"""By category: the part of a component's type before its first dot."""

FIELDS_NOT_SERVED: Mapping[str, tuple[str, ...]] = {
    "state": (
        "actorStateStore",
        "primaryEncryptionKey",
        "secondaryEncryptionKey",
        "outboxPublishPubsub",
        "outboxPublishTopic",
        "outboxPubsub",
        "outboxDiscardWhenMissingState",
    ),
}
"""Dapr's fields that are known, accepted and without effect yet."""
