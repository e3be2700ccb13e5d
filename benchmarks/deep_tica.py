"""DeepTICA components of mlcolvar as OpenMM forces, for `compare_cvs.py`.

A network of the distances between heavy atoms whose outputs decorrelate most slowly (Bonati,
Piccini, Parrinello, PNAS 118, e2113533118). mlcolvar trains it; for the dynamics its layers are
evaluated in NumPy, value and gradient, which is faster for one structure than autograd.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import lightning
import numpy as np
import openmm
import torch
from mlcolvar.cvs import DeepTICA
from mlcolvar.data import DictDataset, DictModule
from openmm import unit

LAYERS = (30, 30, 3)
EPOCHS, LEARNING_RATE = 500, 1e-3


class DistanceNetwork:
    """tanh layers of pair distances, then a linear map: (N, 3) in nm to D values.

    Args:
        pairs: atoms of each distance, (P, 2), numbered in the system.
        layers: weight and offset of each layer; the last one is linear, the others tanh.
    """

    def __init__(self, pairs: np.ndarray, layers: Sequence[tuple[np.ndarray, np.ndarray]]) -> None:
        self.pairs = pairs
        self.layers = list(layers)

    def save(self, path: Path) -> None:
        arrays = {f"weight_{k}": weight for k, (weight, _) in enumerate(self.layers)}
        arrays |= {f"offset_{k}": offset for k, (_, offset) in enumerate(self.layers)}
        np.savez(path, pairs=self.pairs, **arrays)

    @classmethod
    def load(cls, path: Path) -> DistanceNetwork:
        with np.load(path) as kept:
            count = (len(kept.files) - 1) // 2
            layers = [(kept[f"weight_{k}"], kept[f"offset_{k}"]) for k in range(count)]
            return cls(kept["pairs"], layers)

    def of_frames(self, positions: np.ndarray) -> np.ndarray:
        """Values on frames of the learned atoms alone (F, N, 3), (F, D)."""
        return self.of_distances(pair_distances(positions))

    def of_distances(self, x: np.ndarray) -> np.ndarray:
        """Values of distances (F, P), (F, D)."""
        for weight, offset in self.layers[:-1]:
            x = np.tanh(x @ weight.T + offset)
        weight, offset = self.layers[-1]
        return x @ weight.T + offset

    def gradient(self, positions: np.ndarray, component: int) -> tuple[float, np.ndarray]:
        """A value and its gradient by the positions, (N, 3)."""
        first, second = self.pairs.T
        apart = positions[first] - positions[second]
        x = length = np.linalg.norm(apart, axis=1)
        passed = []
        for weight, offset in self.layers[:-1]:
            x = np.tanh(weight @ x + offset)
            passed.append(x)
        weight, offset = self.layers[-1]
        value = float(weight[component] @ x + offset[component])
        back = weight[component]
        for (inner, _), x in zip(self.layers[-2::-1], passed[::-1], strict=True):
            back = inner.T @ (back * (1.0 - x * x))
        pull = apart * (back / length)[:, None]
        gradient = np.zeros_like(positions)
        np.add.at(gradient, first, pull)
        np.add.at(gradient, second, -pull)
        return value, gradient

    def forces(self) -> list[openmm.PythonForce]:
        """Each component as a force whose energy is its value."""
        return [openmm.PythonForce(_Component(self, k)) for k in range(len(self.layers[-1][1]))]


class _Component:
    def __init__(self, network: DistanceNetwork, component: int) -> None:
        self.network, self.component = network, component

    def __call__(self, state: openmm.State) -> tuple[float, np.ndarray]:
        positions = state.getPositions(asNumpy=True).value_in_unit(unit.nanometer)
        value, gradient = self.network.gradient(np.asarray(positions), self.component)
        return value, -gradient


def pair_distances(positions: np.ndarray) -> np.ndarray:
    """Distances between all pairs of atoms in frames (F, N, 3), (F, P), nm."""
    first, second = np.triu_indices(positions.shape[1], 1)
    return np.linalg.norm(positions[:, first] - positions[:, second], axis=2)


def learn(
    pieces: list[np.ndarray], atoms: np.ndarray, lag: int, components: int, seed: int
) -> DistanceNetwork:
    """Trains on runs of heavy atoms (F, N, 3), nm; values have unit variance over all frames.

    Args:
        pieces: runs, equally spaced in time.
        atoms: numbers of the heavy atoms in the system, (N,).
        lag: in frames.
    """
    lightning.seed_everything(seed)
    distances = [pair_distances(piece) for piece in pieces]
    x = np.concatenate([d[:-lag] for d in distances])
    later = np.concatenate([d[lag:] for d in distances])
    data = DictDataset(
        {
            "data": torch.as_tensor(x, dtype=torch.float32),
            "data_lag": torch.as_tensor(later, dtype=torch.float32),
            "weights": torch.ones(len(x)),
            "weights_lag": torch.ones(len(x)),
        }
    )
    options = {"nn": {"activation": "tanh"}, "optimizer": {"lr": LEARNING_RATE}}
    model = DeepTICA([x.shape[1], *LAYERS], n_cvs=components, options=options)
    trainer = lightning.Trainer(
        max_epochs=EPOCHS,
        accelerator="cpu",
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        logger=False,
        callbacks=[lightning.pytorch.callbacks.EarlyStopping("valid_loss", patience=50)],
    )
    trainer.fit(model, DictModule(data, batch_size=5000, lengths=[0.8, 0.2]))
    model.eval()
    layers = _layers(model)
    pairs = np.stack(np.triu_indices(len(atoms), 1), 1)
    network = DistanceNetwork(atoms[pairs], layers)
    values = network.of_distances(x)
    with torch.no_grad():
        learned = model(torch.as_tensor(x[:100], dtype=torch.float32)).numpy()
    np.testing.assert_allclose(values[:100], learned, rtol=1e-3, atol=1e-3)
    weight, offset = layers[-1]
    mean, spread = values.mean(0), values.std(0)
    layers[-1] = (weight / spread[:, None], (offset - mean) / spread)
    return DistanceNetwork(atoms[pairs], layers)


def _layers(model: DeepTICA) -> list[tuple[np.ndarray, np.ndarray]]:
    """Scaling of the inputs folded into the first layer, TICA into the last."""
    found = [
        (part.weight.detach().double().numpy(), part.bias.detach().double().numpy())
        for part in model.nn.modules()
        if isinstance(part, torch.nn.Linear)
    ]
    mean, spread = (v.double().numpy() for v in (model.norm_in.mean, model.norm_in.range))
    weight, offset = found[0]
    found[0] = (weight / spread, offset - weight @ (mean / spread))
    vectors = model.tica.evecs.detach().double().numpy()[:, : model.out_features]
    average = model.tica.mean.detach().double().numpy()
    weight, offset = found[-1]
    found[-1] = (vectors.T @ weight, vectors.T @ (offset - average))
    return found
