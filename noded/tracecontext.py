"""W3C trace context of requests that bring none.

Source: W3C Trace Context 1, section 3.2; daprd's tracing.samplingRate.
"""

import random

NO_TRACE = b"00-00000000000000000000000000000000-0000000000000000-00"
"""What daprd sends when tracing is off."""


def new_traceparent(sampling_rate: float) -> bytes:
    """Begin a trace, sampled with probability `sampling_rate` (0 to 1); with tracing off (0) the trace of all zeros."""
    if sampling_rate <= 0:
        return NO_TRACE
    bits = random.getrandbits(192)
    sampled = random.random() < sampling_rate  # noqa: S311 - chance, not a secret
    return b"00-%032x-%016x-%02x" % (bits >> 64, bits & 0xFFFFFFFFFFFFFFFF, sampled)
