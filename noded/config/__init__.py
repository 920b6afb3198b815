"""YAML resources to frozen records."""
