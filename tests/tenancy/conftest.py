"""Property tests of this folder search the same cases every time, and are not timed."""

from hypothesis import settings

settings.register_profile("tenancy", deadline=None, derandomize=True)
settings.load_profile("tenancy")
