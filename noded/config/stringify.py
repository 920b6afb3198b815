"""Metadata values as the strings that components get: what daprd makes of the same YAML.

daprd turns a value into JSON and takes the quotes off a string (dapr pkg/apis/common/namevalue.go), so an unquoted
`yes` arrives as `true`, `0750` as `488`, `1.50` as `1.5`, and a list or mapping as its JSON text.
"""

import json
import re
from collections.abc import Sequence as Values
from decimal import Decimal

from noded.config.document import Mapping, Node, Scalar
from noded.config.values import FALSE, TRUE

_INTEGER = re.compile(r"[-+]?(?:0[xX][0-9a-fA-F]{1,16}|0[bB][01]{1,64}|0[oO]?[0-7]{0,22}|[1-9][0-9]{0,18})")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]{1,40}|[0-9]{1,40}(?:\.[0-9]{0,40})?)(?:[eE][-+]?[0-9]{1,3})?")
_OCTAL = re.compile(r"([-+]?)0[oO]?([0-7]+)")
_WORDS = dict.fromkeys(TRUE, "true") | dict.fromkeys(FALSE, "false")


def stringify(node: Node) -> str:
    """Give the string a component is handed for this value."""
    if isinstance(node, Scalar):
        return _plain(node.text) if node.plain else node.text
    return _json(node)


def _plain(text: str) -> str:
    if text.lower() in _WORDS and (text.islower() or text.isupper() or text.istitle()):
        return _WORDS[text.lower()]
    if text in {"~", "null", "Null", "NULL"}:
        return ""
    digits = text.replace("_", "")
    if _INTEGER.fullmatch(digits):
        return str(_integer(digits))
    if _FLOAT.fullmatch(digits):
        return _go_float(float(digits), text)
    return text


def _integer(digits: str) -> int:
    octal = _OCTAL.fullmatch(digits)
    return int(octal[1] + octal[2], 8) if octal else int(digits, 0)


def _go_float(value: float, text: str) -> str:
    if value in {float("inf"), float("-inf")}:
        return text
    if value and not 1e-6 <= abs(value) < 1e21:
        return re.sub(r"e-0", "e-", repr(value))
    shown = format(Decimal(repr(value)), "f")
    return shown.rstrip("0").rstrip(".") if "." in shown else shown


def _json(node: Node) -> str:
    match node:
        case Scalar():
            text = stringify(node)
            if node.is_null:
                return "null"
            return text if node.plain and _is_json_word(text) else json.dumps(text, ensure_ascii=False)
        case Mapping():
            values: Values[str] = [
                f"{json.dumps(key, ensure_ascii=False)}:{_json(value)}"
                for key, (_, value) in sorted(node.entries.items())
            ]
            return "{" + ",".join(values) + "}"
        case _:
            return "[" + ",".join(map(_json, node.items)) + "]"


def _is_json_word(text: str) -> bool:
    return text in {"true", "false"} or bool(re.fullmatch(r"-?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?", text))
