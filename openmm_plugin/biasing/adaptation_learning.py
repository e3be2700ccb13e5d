"""The way in which an adaptive loop learns: its chart, and the learner of its rounds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from openmm_plugin.biasing.adaptation_options import FLOW_ONLY, AdaptationOptions
from openmm_plugin.biasing.metadynamics_options import AUTO
from symplectic_cv.adaptation.flow_learner import FlowLearner
from symplectic_cv.adaptation.round_learner import RoundLearner
from symplectic_cv.adaptation.torsion_learner import TorsionLearner
from symplectic_cv.charts.chart_choice import suited_chart
from symplectic_cv.checks import choose
from symplectic_cv.errors import OutputError
from symplectic_cv.files.run_folder import RUN
from symplectic_cv.flows.options import Chart
from symplectic_cv.molecule import Molecule
from symplectic_cv.training.torsion import modelled_bonds, number_of_modes


def learner_of(
    options: AdaptationOptions, molecule: Molecule, reference: np.ndarray, folder: Path
) -> RoundLearner:
    """The learner of a loop's rounds.

    Args:
        options: The options of the loop.
        molecule: The modelled atoms.
        reference: Their positions in a typical structure, shape (n_atoms, 3), in nm.
        folder: The folder of the loop, whose chart is kept where it holds one already.

    Raises:
        OptionError: An option has no effect in the chart.
        SelectionError: The molecule has no rotatable bond, and torsions are asked for.
        OutputError: The record of the loop is damaged.
    """
    chart = _chart(options, molecule, reference, folder)
    options.refuse_without_effect(chart)
    flatten = options.flattening(chart)
    if chart is not Chart.TORSION:
        n_modes = 3 * molecule.n_atoms - 6
        return FlowLearner(n_modes, options.training(), options.temperature, flatten)
    bonds = modelled_bonds(molecule, reference, options.amides)
    return TorsionLearner(
        n_modes=number_of_modes(bonds, 1),
        n_functions=2 * options.order * len(bonds),
        temperature=options.temperature,
        flatten=flatten,
        order=options.order,
        amides=options.amides,
    )


def _chart(
    options: AdaptationOptions, molecule: Molecule, reference: np.ndarray, folder: Path
) -> Chart:
    """The chart that is asked for, that of the loop in the folder, or the one that suits."""
    if options.chart != AUTO:
        return choose(Chart, options.chart, "chart")
    if (folder / RUN).is_file():
        try:
            # loops of version 0.1 have no chart on record
            kept = json.loads((folder / RUN).read_text()).get("chart", Chart.CARTESIAN.value)
            return Chart(kept)
        except (ValueError, AttributeError) as error:
            raise OutputError(
                f"{folder / RUN}: damaged ({error}); start anew in another folder"
            ) from error
    if any(getattr(options, name) != getattr(AdaptationOptions, name) for name in FLOW_ONLY):
        return Chart.CARTESIAN
    return suited_chart(molecule, reference)
