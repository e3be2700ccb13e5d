"""Long arrays in parts of a size that the caches of a CPU and the memory of a GPU hold."""

from __future__ import annotations

BATCH = 8192
"""The number of points that are computed at once."""


def batch_sizes(n: int, size: int = BATCH) -> list[int]:
    """The sizes of the parts into which n points are cut.

    Args:
        n: The number of points.
        size: The greatest size of a part.

    Example:
        >>> batch_sizes(20_000)
        [8192, 8192, 3616]
    """
    full, rest = divmod(n, size)
    return [size] * full + [rest] * (rest > 0)
