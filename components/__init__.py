"""Backends of the building blocks. Imports nothing of ours and never knows a tenant."""
