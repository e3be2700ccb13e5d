"""Mirror images: found at every stereocentre of every frame, and at nothing else."""

import mdtraj as md
import numpy as np
import pytest

from symplectic_cv.data.handedness import Stereocentres, handedness_of, require_one_handedness
from symplectic_cv.data.trajectories import TrajectoryData
from symplectic_cv.errors import DataWarning, SelectionError
from symplectic_cv.molecule import Molecule
from symplectic_cv.training.fit import fit

CA = 4


def tetrahedron(names, elements):
    """A centre with four neighbours, as a molecule."""
    topology = md.Topology()
    residue = topology.add_residue("UNK", topology.add_chain())
    for name, element in zip(names, elements, strict=True):
        topology.add_atom(name, md.element.get_by_symbol(element), residue)
    for k in range(1, 5):
        topology.add_bond(topology.atom(0), topology.atom(k))
    return Molecule(topology, np.ones(5), np.arange(5), 5)


def mirrored(frames):
    return frames * np.array([1.0, 1.0, -1.0])


def test_a_mirror_image_has_the_other_sign(molecule, wobble):
    centres = Stereocentres.of(molecule)
    frames = wobble(20)
    np.testing.assert_allclose(
        centres.volumes(mirrored(frames)), -centres.volumes(frames), atol=1e-12
    )
    assert set(handedness_of(frames, molecule)) == {CA}
    assert handedness_of(mirrored(frames), molecule)[CA] == -handedness_of(frames, molecule)[CA]


@pytest.mark.parametrize("element", ["C", "P", "S", "Si"])
def test_what_keeps_its_neighbours_is_a_stereocentre(element):
    molecule = tetrahedron(["X", "A", "B", "D", "E"], [element, "C", "N", "O", "F"])
    assert Stereocentres.of(molecule).atoms.tolist() == [0]


@pytest.mark.parametrize(("element", "hydrogens"), [("N", 0), ("C", 2), ("C", 3)])
def test_what_inverts_or_has_like_neighbours_is_none(element, hydrogens):
    elements = [element, *["H"] * hydrogens, *["C", "N", "O", "F"][: 4 - hydrogens]]
    molecule = tetrahedron(["X", "A", "B", "D", "E"], elements)
    assert len(Stereocentres.of(molecule).atoms) == 0


def test_one_mirrored_frame_in_a_training_is_named(topology, molecule, wobble):
    frames = wobble(60)
    frames[37] = mirrored(frames[37])
    data = TrajectoryData.from_array(frames, topology, name="run.dcd")
    with pytest.raises(SelectionError, match=r"run.dcd, frame 37: ALA2-CA.*1 of 60 frames"):
        fit(data, steps=2)
    with pytest.raises(SelectionError, match=r"frame 37: ALA2-CA"):
        fit(data, chart="torsion")
    require_one_handedness(np.delete(frames, 37, 0), molecule, str)
    require_one_handedness(mirrored(np.delete(frames, 37, 0)), molecule, str)


def test_a_model_refuses_mirrored_frames(make_model, topology, wobble):
    model = make_model()
    frames = wobble(10)
    frames[3:5] = mirrored(frames[3:5])
    data = TrajectoryData.from_array(frames, topology, name="run.dcd")
    with pytest.raises(SelectionError, match=r"run.dcd, frame 3: ALA2-CA.*2 of 10 frames"):
        model.modes(data)
    with pytest.raises(SelectionError, match=r"frame 3: ALA2-CA"):
        model.modes(md.Trajectory(frames, topology))


def test_few_mirror_images_in_an_array_are_only_told(make_model, wobble):
    model = make_model()
    frames = wobble(20)
    frames[7] = mirrored(frames[7])
    with pytest.warns(DataWarning, match=r"frame 7: ALA2-CA.*1 of 20"):
        assert model.modes(frames).shape == (20, 24)
    with pytest.raises(SelectionError, match="20 of 20"):
        model.modes(mirrored(wobble(20)))
