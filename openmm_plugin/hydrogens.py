"""Hydrogens for structures of heavy atoms, placed and relaxed by OpenMM."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import mdtraj as md
import numpy as np
import openmm
from openmm import app, unit

from openmm_plugin.systems import FORCE_FIELDS, Solvent
from symplectic_cv.errors import OptionError, SelectionError
from symplectic_cv.molecule import Molecule

TOLERANCE = 1.0
"""The force at which the relaxation ends, in kJ/mol/nm."""


def add_hydrogens(
    positions: np.ndarray,
    molecule: Molecule,
    forcefield: Sequence[str] | None = None,
    progress: Callable[[int], None] | None = None,
) -> md.Trajectory:
    """Structures with all their hydrogens. The heavy atoms stay in place.

    Args:
        positions: Structures of the modelled atoms, shape (P, N, 3), in nm. Hydrogens among them
            are kept.
        molecule: The modelled atoms, with all heavy atoms of their residues.
        forcefield: Force-field files, OpenMM's or your own; Amber ff99SB-ILDN where None.
        progress: A function that is called with 1 after each structure.

    Raises:
        OptionError: The force-field files cannot be read.
        SelectionError: The force field does not know a residue, or the residue lacks heavy atoms.

    Example::

        path = symplectic_cv.latent_path(model, start, end)
        structures = openmm_plugin.add_hydrogens(path.positions, model.molecule)
        structures.save("path-all-atom.pdb")
    """
    names = list(forcefield or FORCE_FIELDS[Solvent.VACUUM])
    try:
        field = app.ForceField(*names)
    except Exception as error:  # OpenMM raises errors of many types
        raise OptionError(f"`forcefield` {' '.join(names)}: {error}") from error
    topology = molecule.topology.to_openmm()
    platform = openmm.Platform.getPlatformByName("Reference")
    structures, whole, context = [], None, None
    for frame in positions:
        modeller = app.Modeller(topology, frame * unit.nanometer)
        try:
            modeller.addHydrogens(field, platform=platform)
            if context is None:
                whole = modeller.topology
                context = _context(field, whole, platform)
        except Exception as error:  # OpenMM names the residue
            raise SelectionError(
                f"hydrogens cannot be added ({error}): the model must hold all heavy atoms of "
                "whole residues that the force field (`forcefield`) knows"
            ) from error
        context.setPositions(modeller.positions)
        openmm.LocalEnergyMinimizer.minimize(context, TOLERANCE, 500)
        found = context.getState(positions=True).getPositions(asNumpy=True)
        structures.append(found.value_in_unit(unit.nanometer))
        if progress is not None:
            progress(1)
    return md.Trajectory(np.array(structures, dtype=np.float32), md.Topology.from_openmm(whole))


def _context(
    field: app.ForceField, topology: app.Topology, platform: openmm.Platform
) -> openmm.Context:
    """A context of the whole molecule, with massless heavy atoms that stay in place."""
    system = field.createSystem(topology, constraints=None, rigidWater=False)
    for place, atom in enumerate(topology.atoms()):
        if atom.element is not None and atom.element.symbol != "H":
            system.setParticleMass(place, 0.0)
    return openmm.Context(system, openmm.VerletIntegrator(0.001), platform)
