"""Which Dapr this runtime speaks, and which noded it is."""

from typing import Final

from noded import __version__

DAPR_VERSION: Final = "1.18.0"
"""The release whose API this runtime speaks."""
RUNTIME_VERSION: Final = f"{DAPR_VERSION}-noded.{__version__}"
"""What apps, users and scripts are told."""
