"""The operator's side: Quart-Trio on Hypercorn over its own socket."""
