"""The layers of a flow as an exported module runs them: forward, and back for its gradient."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from symplectic_cv.flows.coupling import AffineCoupling
from symplectic_cv.flows.layers import PointLayer


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
