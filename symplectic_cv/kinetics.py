"""How slow a process a few collective variables can see, by a Markov model of their clusters.

Where two states lie over one another along some variables, frames that are close to each other
belong to both, the jumps between them seem to be fast, and the slowest timescale is short. A bias
along such variables cannot push from one state to the other. So of two sets of variables of the
same frames the better one sees the slower process (the variational principle of conformation
dynamics: F. Noé, F. Nüske, Multiscale Model. Simul. 11, 635).
"""

from __future__ import annotations

import numpy as np
from sklearn.cluster import MiniBatchKMeans

LAG_PS = 1.0
CLUSTERS = 150
FRAMES_PER_CLUSTER = 20


def slowest_timescale(
    values: np.ndarray, spacing_ps: float, lag_ps: float = LAG_PS, seed: int = 0
) -> float:
    """Slowest relaxation time that variables see in one continuous run, ps.

    Args:
        values: the variables, (F, D), each of any unit.
        spacing_ps: time between frames.
        lag_ps: of the Markov model; a whole number of frames near it is taken, at least one.
        seed: of the clustering.

    Returns:
        0 where nothing is slower than the lag allows to see, infinity where nothing relaxes.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> side = np.cumsum(rng.random(20_000) < 0.005) % 2  # a jump each 200 frames
        >>> sees = side[:, None] + 0.1 * rng.normal(size=(20_000, 1))
        >>> 50.0 < slowest_timescale(sees, 1.0) < 200.0
        True
    """
    lag = max(1, round(lag_ps / spacing_ps))
    count = max(2, min(CLUSTERS, len(values) // FRAMES_PER_CLUSTER))
    scaled = values / np.maximum(values.std(0), 1e-12)
    clustering = MiniBatchKMeans(count, n_init=1, batch_size=2048, random_state=seed)
    cluster = clustering.fit_predict(scaled)
    jumps = np.zeros((count, count))
    np.add.at(jumps, (cluster[:-lag], cluster[lag:]), 1.0)
    jumps += jumps.T  # as often forwards as backwards
    jumps = jumps[:, jumps.sum(0) > 0.0][jumps.sum(0) > 0.0]
    root = np.sqrt(jumps.sum(0))
    second = float(np.linalg.eigvalsh(jumps / np.outer(root, root))[-2]) if len(root) > 1 else 0.0
    if second <= 0.0:
        return 0.0
    return float(lag * spacing_ps / -np.log(second)) if second < 1.0 - 1e-12 else float("inf")
