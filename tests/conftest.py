"""Fixtures of several tests: one thread, an alanine dipeptide, models with random weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import mdtraj as md
import numpy as np
import openmm
import openmm.unit
import pytest
import torch
from scipy.spatial.transform import Rotation

from openmm_plugin.running.simulation import relaxed_state, write_structure
from openmm_plugin.systems import MolecularSystem, Solvent, build_system, built_in_pdb
from symplectic_cv.charts.eckart import EckartFrame
from symplectic_cv.cli.main import main
from symplectic_cv.data.mdshare import heavy_atom_topology
from symplectic_cv.flows.build import build_flow
from symplectic_cv.flows.layers import NormalModes
from symplectic_cv.flows.options import Coupling, FlowOptions
from symplectic_cv.models.model_folder import save_model
from symplectic_cv.models.molecular_model import NeuralCanonicalTransformation
from symplectic_cv.models.prior import HarmonicPrior
from symplectic_cv.molecule import Molecule
from symplectic_cv.training.known_frames import learn_range
from symplectic_cv.training.likelihood import initial_model

torch.set_num_threads(1)

DIPEPTIDE = np.array(
    [
        [-0.116, -0.269, 0.181],
        [-0.065, -0.205, 0.056],
        [-0.019, -0.272, -0.035],
        [-0.077, -0.076, 0.056],
        [-0.033, 0.005, -0.060],
        [-0.163, 0.055, -0.124],
        [0.045, 0.133, -0.012],
        [0.011, 0.200, 0.082],
        [0.161, 0.160, -0.081],
        [0.256, 0.268, -0.063],
    ]
)
"""Heavy atoms of one conformation of alanine dipeptide, nm."""

HEAVY = np.array([1, 4, 5, 6, 8, 10, 14, 15, 16, 18])
"""Their places among its 22 atoms."""


@pytest.fixture(scope="session")
def dipeptide() -> np.ndarray:
    """Positions of the ten heavy atoms, (10, 3) in nm."""
    return DIPEPTIDE.copy()


@pytest.fixture(scope="session")
def topology() -> md.Topology:
    """Topology of the ten heavy atoms."""
    return heavy_atom_topology()


@pytest.fixture(scope="session")
def molecule(topology: md.Topology) -> Molecule:
    """The ten heavy atoms as a molecule that fills its system."""
    masses = np.array([atom.element.mass for atom in topology.atoms])
    return Molecule(topology, masses, np.arange(10), 10)


@pytest.fixture(scope="session")
def wobble(dipeptide: np.ndarray) -> Callable[..., np.ndarray]:
    """wobble(n_frames, seed, size): whole frames that jitter, turn and translate, (F, 10, 3)."""

    def frames(n_frames: int, seed: int = 0, size: float = 0.008) -> np.ndarray:
        rng = np.random.default_rng(seed)
        x = dipeptide + size * rng.normal(size=(n_frames, 10, 3))
        turns = Rotation.random(n_frames, rng=rng).as_matrix()
        return np.einsum("fab,fib->fia", turns, x) + rng.normal(size=(n_frames, 1, 3))

    return frames


@pytest.fixture(scope="session")
def perturb() -> Callable[..., None]:
    """perturb(module, seed): random values for all weights, among them the zeros of the start."""

    def randomise(module: torch.nn.Module, seed: int = 0, size: float = 0.3) -> None:
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in module.parameters():
                noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
                parameter.add_(size * noise.to(parameter.dtype))

    return randomise


@pytest.fixture(scope="session")
def make_model(
    molecule: Molecule, dipeptide: np.ndarray, perturb: Callable[..., None]
) -> Callable[..., NeuralCanonicalTransformation]:
    """make_model(dtype, indices, n_system_atoms): dipeptide model with random weights."""

    def build(
        dtype: torch.dtype = torch.float64,
        indices: np.ndarray | None = None,
        n_system_atoms: int = 10,
        layers: int = 3,
        hidden: int = 16,
        coupling: str = "affine",
    ) -> NeuralCanonicalTransformation:
        placed = molecule
        if indices is not None:
            placed = Molecule(molecule.topology, molecule.masses, indices, n_system_atoms)
        options = FlowOptions(coupling=Coupling(coupling), layers=layers, hidden=hidden)
        frame = EckartFrame(torch.as_tensor(dipeptide), torch.as_tensor(placed.masses), 300.0)
        n = frame.dimension
        generator = torch.Generator().manual_seed(11)
        rotation = torch.linalg.qr(
            torch.randn(n, n, generator=generator, dtype=torch.float64)
        ).Q.contiguous()
        shift = 0.02 * torch.randn(n, generator=generator, dtype=torch.float64)
        spread = torch.logspace(-0.8, -2.2, n, dtype=torch.float64)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(5)
            flow = build_flow(options, NormalModes(rotation, shift), spread)
        prior = HarmonicPrior(1.0 / spread)
        perturb(flow, seed=7, size=0.1)
        model = NeuralCanonicalTransformation(placed, 300.0, frame, flow, prior, options)
        return model.to(dtype).eval()

    return build


@pytest.fixture(scope="session")
def vacuum() -> MolecularSystem:
    """Alanine dipeptide in vacuum, rigid X–H bonds; not to be changed."""
    return build_system(built_in_pdb("alanine-dipeptide"), Solvent.VACUUM)


@pytest.fixture(scope="session")
def equilibrated(vacuum: MolecularSystem) -> openmm.State:
    """The state of this dipeptide after an equilibration at 300 K."""
    reference = openmm.Platform.getPlatformByName("Reference")
    return relaxed_state(vacuum, 300.0, 0.002, 0, reference)


@pytest.fixture(scope="session")
def relaxed(equilibrated: openmm.State) -> np.ndarray:
    """The positions of the equilibrated dipeptide, (22, 3) in nm."""
    positions = equilibrated.getPositions(asNumpy=True)
    return np.asarray(positions.value_in_unit(openmm.unit.nanometer))


@pytest.fixture(scope="session")
def bent_model(
    topology: md.Topology, relaxed: np.ndarray, perturb: Callable[..., None]
) -> NeuralCanonicalTransformation:
    """A model around the relaxed structure, with weights that bend its modes a little."""
    masses = np.array([atom.element.mass for atom in topology.atoms])
    noise = 0.03 * np.random.default_rng(0).normal(size=(400, 10, 3))
    network, coordinates = initial_model(
        relaxed[HEAVY] + noise,
        Molecule(topology, masses, HEAVY, 22),
        300.0,
        FlowOptions(layers=2, hidden=8),
    )
    perturb(network.flow, seed=1, size=0.02)
    learn_range(network, coordinates)
    return network.eval()


@pytest.fixture(scope="session")
def place(
    tmp_path_factory: pytest.TempPathFactory,
    vacuum: MolecularSystem,
    relaxed: np.ndarray,
    bent_model: NeuralCanonicalTransformation,
) -> Path:
    """A folder with md/system.xml, md/topology.pdb of the relaxed structure, and its model/."""
    folder = tmp_path_factory.mktemp("place")
    save_model(folder / "model", bent_model)
    (folder / "md").mkdir()
    start = MolecularSystem(vacuum.system, vacuum.topology, relaxed * openmm.unit.nanometer)
    write_structure(start, folder / "md")
    return folder


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """refused(arguments): the one line on stderr of a command ended by a user's error."""

    def check(*arguments: object) -> str:
        capsys.readouterr()
        with pytest.raises(SystemExit) as info:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        assert info.value.code == 2
        assert "Traceback" not in out + err
        lines = err.splitlines()
        assert [line for line in lines if line.startswith("error: ")] == lines[-1:], err
        assert len(lines[-1]) > len("error: ") + 10
        return lines[-1]

    return check
