"""Collective variables as TorchScript: positions (n_atoms, 3) in nm → ω_k Q_k.

The exported module picks its atoms, makes them whole under periodic boundaries,
superposes them in float64, runs the flow in its own precision and returns the chosen
modes. Its gradient is a reverse pass written by hand: for the coordinate flow that is
the pull-back of a latent momentum, p = P · ∂Q/∂q, layer by layer; the frame then takes it
to the atoms. It costs a third or less of autograd's and leaves no net force or torque.

TorchScript is a format to leave this package with; models are stored by `storage`.
"""

import copy
import io
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional

import torch
from torch import Tensor, nn

from symplectic_cv.charts.eckart import pull_back_to_positions, superpose, superpose_differentiable
from symplectic_cv.data.periodic import spanning_links
from symplectic_cv.errors import ModelError
from symplectic_cv.exporting.native_file import SUFFIX, core_bytes, read_metadata
from symplectic_cv.files.atomic import write_atomically
from symplectic_cv.files.run_folder import require_free_file
from symplectic_cv.flows.coupling import AffineCoupling
from symplectic_cv.flows.layers import ModeOrder, NormalModes, PointLayer
from symplectic_cv.models.molecular_model import NeuralCanonicalTransformation

METADATA = "symplectic_cv.json"
FORMAT = 1


class FoldedCoupling(nn.Module):
    """An affine coupling with its units folded into the weights, for one half and the other.

    It hands the halves on as the coupling that follows takes them.

    A dozen operations each way: for one frame the number of calls is what costs.
    """

    w1: Tensor
    w2: Tensor
    w3: Tensor
    w1_transposed: Tensor
    w2_transposed: Tensor
    w3_transposed: Tensor
    b1: Tensor
    b2: Tensor
    b3: Tensor
    to_next: Tensor
    from_next: Tensor

    def __init__(self, coupling: AffineCoupling, following: AffineCoupling) -> None:
        super().__init__()
        own = torch.cat([coupling.kept, coupling.moved])
        others = torch.cat([following.kept, following.moved])
        self.alternates = torch.equal(coupling.moved, following.kept)
        self.own_split = [coupling.kept.shape[0], coupling.moved.shape[0]]
        self.next_split = [following.kept.shape[0], following.moved.shape[0]]
        self.register_buffer("to_next", torch.argsort(own)[others])
        self.register_buffer("from_next", torch.argsort(others)[own])
        net, bound = coupling.conditioner, coupling.scale_bound
        units = torch.cat(
            [torch.full_like(coupling.spread_moved, 1 / bound), coupling.spread_moved]
        )
        w1 = (net.first.weight / coupling.spread_kept).detach()
        w2 = net.second.weight.detach()
        w3 = (net.last.weight * units[:, None]).detach()
        # ds = bound · d tanh: the way back meets the bound in the weights again
        slopes = torch.where(torch.arange(len(units)) < len(units) // 2, bound, 1.0).to(w3)
        self.register_buffer("w1", w1.clone())
        self.register_buffer("w2", w2.clone())
        self.register_buffer("w3", w3 * slopes[:, None])
        self.register_buffer("w1_transposed", w1.T.contiguous())
        self.register_buffer("w2_transposed", w2.T.contiguous())
        self.register_buffer("w3_transposed", w3.T.contiguous())
        self.register_buffer("b1", net.first.bias.detach().clone())
        self.register_buffer("b2", net.second.bias.detach().clone())
        self.register_buffer("b3", (net.last.bias * units).detach().clone())
        self.bound = bound
        self.n = coupling.n_moved

    def record(self, kept: Tensor, moved: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Both halves afterwards, as the next coupling takes them, and what `pull_back` needs."""
        h1 = torch.tanh(torch.addmm(self.b1, kept, self.w1_transposed))
        h2 = torch.tanh(torch.addmm(self.b2, h1, self.w2_transposed))
        s, t = torch.addmm(self.b3, h2, self.w3_transposed).split(self.n, 1)
        u = torch.tanh(s)
        grow = torch.exp(self.bound * u)
        scaled = moved * grow
        changed = scaled + t
        tape = [scaled, grow, u, h1, h2]
        if self.alternates:
            return changed, kept, tape
        q = torch.cat([kept, changed], 1).index_select(1, self.to_next)
        kept, moved = q.split(self.next_split, 1)
        return kept, moved, tape

    def pull_back(
        self, p_kept: Tensor, p_moved: Tensor, tape: list[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Both halves of the momentum before the coupling, from those that `record` gives."""
        if self.alternates:
            p_kept, p_moved = p_moved, p_kept
        else:
            p = torch.cat([p_kept, p_moved], 1).index_select(1, self.from_next)
            p_kept, p_moved = p.split(self.own_split, 1)
        scaled, grow, u, h1, h2 = tape[0], tape[1], tape[2], tape[3], tape[4]
        through_scale = torch.ops.aten.tanh_backward(p_moved * scaled, u)
        g = torch.cat([through_scale, p_moved], 1) @ self.w3
        g = torch.ops.aten.tanh_backward(g, h2) @ self.w2
        g = torch.ops.aten.tanh_backward(g, h1) @ self.w1
        return p_kept + g, p_moved * grow


class FoldedFlow(nn.Module):
    """Affine couplings on halves that are never merged in between.

    Its coordinates are laid out as the first coupling splits them: `layout`.
    """

    layout: Tensor

    def __init__(self, couplings: Sequence[AffineCoupling]) -> None:
        super().__init__()
        # the last hands on to the first, so that values come out in the layout of the start
        followers = [*couplings[1:], couplings[0]]
        folded = [FoldedCoupling(*pair) for pair in zip(couplings, followers, strict=True)]
        self.couplings = nn.ModuleList(folded)
        self.couplings_from_last = nn.ModuleList(reversed(folded))
        self.n_first = int(couplings[0].kept.shape[0])
        self.register_buffer("layout", torch.cat([couplings[0].kept, couplings[0].moved]))

    def record(self, q: Tensor) -> tuple[Tensor, list[list[Tensor]]]:
        """Latent coordinates (1, n) and the tapes of the couplings."""
        kept, moved = q[:, : self.n_first], q[:, self.n_first :]
        tapes: list[list[Tensor]] = []
        for coupling in self.couplings:
            kept, moved, tape = coupling.record(kept, moved)  # type: ignore[operator]
            tapes.append(tape)
        return torch.cat([kept, moved], 1), tapes

    def pull_back(self, p: Tensor, tapes: list[list[Tensor]]) -> Tensor:
        """p = P · ∂Q/∂q, (m, n)."""
        kept, moved = p[:, : self.n_first], p[:, self.n_first :]
        for coupling in self.couplings_from_last:
            kept, moved = coupling.pull_back(kept, moved, tapes.pop())  # type: ignore[operator]
        return torch.cat([kept, moved], 1)


class LayeredFlow(nn.Module):
    """Any point layers, as they are, one after the other."""

    layout: Tensor

    def __init__(self, layers: Sequence[PointLayer], n: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.layers_from_last = nn.ModuleList(reversed(layers))
        self.register_buffer("layout", torch.arange(n))

    def record(self, q: Tensor) -> tuple[Tensor, list[list[Tensor]]]:
        """Latent coordinates (1, n) and the tapes of the layers."""
        tapes: list[list[Tensor]] = []
        for layer in self.layers:
            q, tape = layer.record(q)  # type: ignore[operator]
            tapes.append(tape)
        return q, tapes

    def pull_back(self, p: Tensor, tapes: list[list[Tensor]]) -> Tensor:
        """p = P · ∂Q/∂q, (m, n)."""
        for layer in self.layers_from_last:
            p = layer.pull_back(p, tapes.pop())  # type: ignore[operator]
        return p


class CollectiveVariables(nn.Module):
    """The chosen modes of a model as a function of all positions of a system.

    Args:
        model: a trained model: normal modes, point layers, an order of the modes.
        modes: which of its modes, 0 is the slowest.

    Raises:
        OptionError: a mode that the model does not have.
    """

    indices: Tensor
    parent_atoms: Tensor
    child_atoms: Tensor
    path: Tensor
    reference: Tensor
    masses: Tensor
    scale: Tensor
    to_modes: Tensor
    origin: Tensor
    chosen: Tensor
    omega: Tensor

    def __init__(self, model: NeuralCanonicalTransformation, modes: Sequence[int]) -> None:
        super().__init__()
        modes = model.check_modes(modes)
        molecule, frame = model.molecule, model.frame
        links = spanning_links(frame.reference.cpu().numpy(), None, molecule.bonds)
        self.root = links.root
        self.register_buffer("indices", torch.as_tensor(molecule.indices).clone())
        self.register_buffer("parent_atoms", torch.as_tensor(links.pairs[:, 0].copy()))
        self.register_buffer("child_atoms", torch.as_tensor(links.pairs[:, 1].copy()))
        self.register_buffer("path", torch.as_tensor(links.path_matrix()))
        self.register_buffer("reference", frame.reference.clone())
        self.register_buffer("masses", frame.masses.clone())
        self.register_buffer("scale", frame.scale.clone().unsqueeze(-1))

        start, *between, last = model.flow.layers
        couplings = [layer for layer in between if isinstance(layer, AffineCoupling)]
        assert isinstance(start, NormalModes)
        assert isinstance(last, ModeOrder)
        if couplings and len(couplings) == len(between):
            self.flow: FoldedFlow | LayeredFlow = FoldedFlow(couplings)
        else:
            self.flow = LayeredFlow(between, model.dimension)  # type: ignore[arg-type]
        # the frame's basis and the normal modes are one matrix, its columns in the flow's layout
        layout = self.flow.layout
        rotation = start.rotation.detach().to(torch.float64)
        self.register_buffer("to_modes", (frame.basis @ rotation)[:, layout].contiguous())
        self.register_buffer("origin", (start.shift.to(torch.float64) @ rotation)[layout])
        self.register_buffer("chosen", torch.argsort(layout)[last.order[modes]])
        self.register_buffer("omega", model.omega[modes].to(torch.float64))
        self.dtype = model.dtype
        self.dimension = model.dimension

    def whole(self, positions: Tensor, box: Optional[Tensor]) -> Tensor:
        """The modelled atoms (N, 3), made whole where a box (3, 3) is given, float64."""
        x = positions.index_select(0, self.indices).to(torch.float64)
        if box is None:
            return x
        edges = box.to(torch.float64)
        steps = x.index_select(0, self.child_atoms) - x.index_select(0, self.parent_atoms)
        for axis in (2, 1, 0):
            count = torch.round(steps[:, axis] / edges[axis, axis])
            steps = steps - count.unsqueeze(-1) * edges[axis]
        return x[self.root] + self.path @ steps

    def latent(self, superposed: Tensor) -> tuple[Tensor, list[list[Tensor]]]:
        """Values of the modes (len(modes),) and the tapes of the flow."""
        displacement = (self.scale * (superposed - self.reference)).reshape(1, -1)
        q = (displacement @ self.to_modes - self.origin).to(self.dtype)
        latent, tapes = self.flow.record(q)
        return self.omega * latent[0].index_select(0, self.chosen).to(torch.float64), tapes

    def forward(self, positions: Tensor, box: Optional[Tensor] = None) -> Tensor:
        """Values of the modes (len(modes),), dimensionless, float64; autograd works.

        Args:
            positions: of the whole system, (n_atoms, 3) in nm.
            box: periodic box vectors (3, 3) in nm in OpenMM's reduced form, or None.
        """
        y = superpose_differentiable(self.whole(positions, box), self.reference, self.masses)
        return self.latent(y)[0]

    @torch.jit.export
    def values_and_gradients(
        self, positions: Tensor, box: Optional[Tensor], combinations: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Values (len(modes),) and gradients of combinations · values, (m, n_atoms, 3) in 1/nm.

        One forward pass serves all m gradients.

        Args:
            positions, box: as for `forward`.
            combinations: (m, len(modes)), float64, weights of the modes in each gradient.
        """
        y, rotation, a = superpose(self.whole(positions, box), self.reference, self.masses)
        values, tapes = self.latent(y)

        m = combinations.shape[0]
        p = torch.zeros(m, self.dimension, dtype=torch.float64, device=y.device)
        p = p.index_add(1, self.chosen, self.omega * combinations).to(self.dtype)
        p = self.flow.pull_back(p, tapes).to(torch.float64)
        on_frame = self.scale * (p @ self.to_modes.t()).reshape(m, -1, 3)
        on_atoms = pull_back_to_positions(
            on_frame, y.expand_as(on_frame), rotation, a, self.reference, self.masses
        )
        gradients = torch.zeros(
            m, positions.shape[0], 3, dtype=torch.float64, device=positions.device
        )
        return values, gradients.index_add(1, self.indices, on_atoms)


def script(model: NeuralCanonicalTransformation, modes: Sequence[int]) -> torch.jit.ScriptModule:
    """The chosen modes as a compiled TorchScript module, without gradients of its weights."""
    module = copy.deepcopy(CollectiveVariables(model, modes)).eval()
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    return torch.jit.script(module)


def export(
    model: NeuralCanonicalTransformation, modes: Sequence[int], path: str | Path
) -> dict[str, Any]:
    """Writes `cv.pt` and, beside it, `cv.safetensors` for the native core; returns the metadata.

    Args:
        model: a trained model.
        modes: which of its modes, 0 is the slowest.
        path: TorchScript file to write; the other one gets its name.

    Raises:
        OptionError: a mode that the model does not have.
        OutputError: one of the files exists.
        ModelError: a model whose modes jump, as those of internal coordinates do.
    """
    model.require_smooth()
    path = require_free_file(Path(path))
    beside = require_free_file(path.with_suffix(SUFFIX))
    core = core_bytes(model, modes)
    metadata = {
        "format": FORMAT,
        "modes": model.check_modes(modes),
        "omega_rad_per_ps": [float(model.omega[mode]) for mode in modes],
        "temperature_k": model.temperature,
        "molecule": model.molecule.to_json(),
        "core_sha256": read_metadata(core, beside.name)["sha256"],
    }
    buffer = io.BytesIO()
    torch.jit.save(
        script(model, modes), buffer, _extra_files={METADATA: json.dumps(metadata).encode()}
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(beside, core)
    write_atomically(path, buffer.getvalue())
    return metadata


def load_exported(path: str | Path) -> tuple[torch.jit.ScriptModule, dict[str, Any]]:
    """An exported file as a module on the CPU, and its metadata.

    Raises:
        ModelError: missing, truncated, or not written by `export`.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"{path}: no such file (`symplectic-cv export` makes one)")
    extra = {METADATA: ""}
    try:
        module = torch.jit.load(str(path), map_location="cpu", _extra_files=extra)
        metadata = json.loads(extra[METADATA])
    except (RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelError(
            f"{path}: truncated, altered, or not an exported collective variable ({reason})"
        ) from error
    return module, metadata


def stored_metadata(path: Path) -> dict[str, Any]:
    """Metadata of an exported file, without loading the module.

    Raises:
        ModelError: truncated, or not written by `export`.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            (name,) = (n for n in archive.namelist() if n.endswith(f"/extra/{METADATA}"))
            return json.loads(archive.read(name))
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise ModelError(
            f"{path}: truncated, altered, or not an exported collective variable ({error})"
        ) from error
