"""The daemon: one Dapr-compatible runtime per node, many apps."""

__version__ = "0.1.0"
