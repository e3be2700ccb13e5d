"""Atoms of a file recognised by the graph of their bonds, where names say nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import mdtraj as md
import numpy as np

from symplectic_cv.molecule import Molecule

if TYPE_CHECKING:
    import networkx as nx

WAYS_TRIED = 2
"""Isomorphisms that are looked for: a second one shows that the first is not unique."""


def places_by_bonds(molecule: Molecule, topology: md.Topology) -> np.ndarray | None:
    """The places of the atoms of a model in a file, shape (N,), by elements and bonds alone.

    Args:
        molecule: The atoms of the model, joined by bonds.
        topology: The topology of the file.

    Returns:
        The places; None where the graph of the bonds does not fit, or fits in several ways.
    """
    model = _graph(molecule.topology, range(molecule.n_atoms))
    if model.number_of_edges() == 0:
        return None
    file = _alike_parts(model, _graph(topology, _candidates(molecule, topology)))
    if file.number_of_nodes() != model.number_of_nodes():
        return None
    found: list[dict[int, int]] = []
    for way in _isomorphisms(model, file):
        found.append(way)
        if len(found) == WAYS_TRIED:
            return None
    if not found:
        return None
    return np.array([found[0][atom] for atom in range(molecule.n_atoms)], dtype=np.int64)


def _isomorphisms(model: nx.Graph, file: nx.Graph) -> Iterator[dict[int, int]]:
    import networkx as nx

    yield from nx.vf2pp_all_isomorphisms(model, file, node_label="element")


def _graph(topology: md.Topology, atoms: Iterable[int]) -> nx.Graph:
    import networkx as nx

    graph = nx.Graph()
    for index in atoms:
        element = topology.atom(index).element
        graph.add_node(index, element="" if element is None else element.symbol)
    graph.add_edges_from(
        (bond.atom1.index, bond.atom2.index)
        for bond in topology.bonds
        if bond.atom1.index in graph and bond.atom2.index in graph
    )
    return graph


def _candidates(molecule: Molecule, topology: md.Topology) -> list[int]:
    """Atoms of a file that can be the model's: no hydrogens where the model has none."""
    elements = {atom.element for atom in molecule.topology.atoms}
    hydrogens = md.element.hydrogen in elements
    return [
        atom.index
        for atom in topology.atoms
        if atom.element is not None
        and atom.element.symbol != "VS"
        and (hydrogens or atom.element.symbol != "H")
    ]


def _alike_parts(model: nx.Graph, file: nx.Graph) -> nx.Graph:
    """The molecules of a file that have the formula of a molecule of the model."""

    def formula(graph: nx.Graph, part: set[int]) -> tuple[tuple[str, int], ...]:
        return tuple(sorted(Counter(graph.nodes[atom]["element"] for atom in part).items()))

    import networkx as nx

    wanted = {formula(model, part) for part in nx.connected_components(model)}
    kept = [
        atom
        for part in nx.connected_components(file)
        if formula(file, part) in wanted
        for atom in part
    ]
    return file.subgraph(kept)
