"""Too few frames: known before they are read, with selections that need fewer."""

import mdtraj as md
import numpy as np
import pytest

from symplectic_cv.data.advice import (
    count_of_files,
    other_selections,
    repeated_molecule,
    require_enough_frames,
)
from symplectic_cv.errors import FrameError
from symplectic_cv.molecule import select_atoms


@pytest.mark.parametrize("suffix", [".xtc", ".trr", ".dcd", ".nc", ".h5"])
def test_frames_are_counted_without_being_read(tmp_path, topology, wobble, suffix):
    files = []
    for part, count in enumerate((7, 30)):
        files.append(tmp_path / f"{part}{suffix}")
        md.Trajectory(wobble(count), topology).save(str(files[-1]))
    assert count_of_files(files) == 37
    assert count_of_files([*files, tmp_path / "none.xtc"]) is None


def test_the_message_has_the_numbers_and_the_way_out(molecule):
    require_enough_frames(28, molecule)
    with pytest.raises(FrameError, match=r"27 frames \(24 training frames\) .* 24 internal") as e:
        require_enough_frames(27, molecule)
    assert "10 atoms (3N - 6): give at least 28 frames, better 4800" in str(e.value)


def test_part_of_a_protein_is_proposed_that_the_frames_can_carry():
    topology = md.Topology()
    chain = topology.add_chain()
    for _ in range(50):
        topology.add_atom("CA", md.element.carbon, topology.add_residue("ALA", chain))
    with pytest.raises(FrameError, match=r"'name CA and resid 0 to 9' \(24 coordinates\)"):
        require_enough_frames(28, select_atoms(topology, "all"))


def several(copies):
    """A peptide of two residues and copies of a ligand of three atoms."""
    topology = md.Topology()
    chain = topology.add_chain()
    for number in (1, 2, 3):
        residue = topology.add_residue("ALA", chain, resSeq=number)
        for name, element in (("N", "N"), ("CA", "C"), ("C", "C"), ("O", "O")):
            topology.add_atom(name, md.element.get_by_symbol(element), residue)
    topology.create_standard_bonds()
    for number in range(copies):
        residue = topology.add_residue("LIG", topology.add_chain(), resSeq=10 + number)
        for k in range(3):
            topology.add_atom(f"C{k}", md.element.carbon, residue)
    return topology


def test_selections_of_fewer_atoms_are_proposed():
    ways = other_selections(select_atoms(several(1), "all"))
    assert "'name CA' (3 coordinates)" in ways
    assert "'resname LIG' (3 coordinates)" in ways


def test_identical_molecules_are_noticed():
    topology = several(4)
    assert repeated_molecule(topology) == (4, 3, 3)
    assert repeated_molecule(several(1)) is None
    chosen = select_atoms(topology, "all")
    assert other_selections(chosen)[0] == "'resid 3' (3 coordinates)"
    assert np.array_equal(select_atoms(topology, "resid 3").indices, [12, 13, 14])
