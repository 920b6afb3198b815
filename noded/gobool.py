"""How Go reads a boolean from text: words of flags, and of metadata as rawPayload. Source: strconv.ParseBool."""

from typing import Final

TRUE: Final = frozenset({"1", "t", "T", "TRUE", "true", "True"})
FALSE: Final = frozenset({"0", "f", "F", "FALSE", "false", "False"})
