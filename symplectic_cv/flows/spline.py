"""Monotone rational-quadratic spline couplings, on an interval or on a circle.

Each moved coordinate goes through a spline of K bins whose knots and slopes the network
sets. On an interval the spline is the identity outside; on a circle it joins itself
smoothly and is followed by a turn, so that torsions have no cut.

The lift to momenta needs the derivative of the spline by its parameters as well as by its
argument; both are written by hand, so that the reverse pass costs no autograd.

Sources: J. A. Gregory and R. Delbourgo, IMA J. Numer. Anal. 2, 123 (1982); C. Durkan et al.,
Neural Spline Flows, arXiv:1906.04032; D. J. Rezende et al., Normalizing Flows on Tori and
Spheres, arXiv:2002.02428.
"""

import math
from typing import Optional

import torch
from torch import Tensor

from symplectic_cv.flows.coupling import Conditioner, CouplingLayer

SMALLEST_BIN = 1e-3
"""Least width and height of a bin, as a fraction of the interval."""
SMALLEST_SLOPE = 1e-3
"""Least slope at a knot, which keeps every spline monotone."""
REACH = 5.0
"""Half-length of the interval in units of a coordinate's spread."""

_SLOPE_START = math.log(math.expm1(1.0 - SMALLEST_SLOPE))


# TorchScript knows constants of a module only as default arguments
def bin_sizes(raw: Tensor, least: float = SMALLEST_BIN) -> Tensor:
    """Positive sizes (..., K) of bins that fill [−1, 1], from unbounded numbers."""
    # torch.softmax over so few numbers takes six times as long
    share = torch.exp(raw - torch.logsumexp(raw, -1, keepdim=True))
    return 2.0 * (least + (1.0 - raw.shape[-1] * least) * share)


def pull_back_bin_sizes(cotangent: Tensor, sizes: Tensor, least: float = SMALLEST_BIN) -> Tensor:
    """Cotangent of the unbounded numbers behind `bin_sizes`."""
    free = 1.0 - sizes.shape[-1] * least
    share = (0.5 * sizes - least) / free
    mean = (share * cotangent).sum(-1, keepdim=True)
    return 2.0 * free * share * (cotangent - mean)


def left_edges(sizes: Tensor) -> Tensor:
    """Left edges (..., K) of bins that fill [−1, 1]."""
    return torch.cumsum(sizes, -1) - sizes - 1.0


def find_bin(x: Tensor, edges: Tensor) -> Tensor:
    """Index (..., 1) of the bin that holds x (...), from left edges (..., K)."""
    inner = edges[..., 1:]
    return (x.unsqueeze(-1) >= inner).sum(-1, keepdim=True)


def pick(
    index: Tensor, widths: Tensor, heights: Tensor, left: Tensor, lower: Tensor, slopes: Tensor
) -> list[Tensor]:
    """Corner x₀, y₀, width, height and slopes at both ends of a bin, (...) each."""
    corner = [part.gather(-1, index).squeeze(-1) for part in (left, lower, widths, heights)]
    d0 = slopes.gather(-1, index).squeeze(-1)
    d1 = slopes.gather(-1, index + 1).squeeze(-1)
    return [corner[0], corner[1], corner[2], corner[3], d0, d1]


def spline_value(x: Tensor, at_bin: list[Tensor]) -> tuple[Tensor, Tensor]:
    """y and dy/dx of a rational-quadratic bin at x."""
    x0, y0, w, h, d0, d1 = at_bin[0], at_bin[1], at_bin[2], at_bin[3], at_bin[4], at_bin[5]
    s = h / w
    t = (x - x0) / w
    tt = t * (1.0 - t)
    below = s + (d0 + d1 - 2.0 * s) * tt
    y = y0 + h * (s * t * t + d0 * tt) / below
    slope = (s / below) ** 2 * (d1 * t * t + 2.0 * s * tt + d0 * (1.0 - t) ** 2)
    return y, slope


def spline_argument(y: Tensor, at_bin: list[Tensor]) -> Tensor:
    """x where a rational-quadratic bin has the value y."""
    x0, y0, w, h, d0, d1 = at_bin[0], at_bin[1], at_bin[2], at_bin[3], at_bin[4], at_bin[5]
    s = h / w
    rise = y - y0
    bend = rise * (d0 + d1 - 2.0 * s)
    a = h * (s - d0) + bend
    b = h * d0 - bend
    c = -s * rise
    # the floor keeps the gradient finite where rounding leaves nothing under the root
    root = torch.sqrt(torch.clamp(b * b - 4.0 * a * c, min=1e-30))
    x = x0 + w * torch.clamp(2.0 * c / (-b - root), 0.0, 1.0)
    # the closed form cancels in steep bins: one Newton step brings rounding back
    reached, slope = spline_value(x, at_bin)
    x = x - (reached - y) / slope
    # into the bin by value alone: the gradient is Newton's, at the knots as well
    return x + (torch.clamp(x, x0, x0 + w) - x).detach()


def spline_by_bin(x: Tensor, at_bin: list[Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """∂y/∂(width, height, d0, d1) of a bin at x, its corner kept in place."""
    x0, w, h, d0, d1 = at_bin[0], at_bin[2], at_bin[3], at_bin[4], at_bin[5]
    s = h / w
    t = (x - x0) / w
    tt = t * (1.0 - t)
    above = s * t * t + d0 * tt
    below = s + (d0 + d1 - 2.0 * s) * tt
    by_s = (t * t * below - above * (1.0 - 2.0 * tt)) / (below * below)
    slope = (s / below) ** 2 * (d1 * t * t + 2.0 * s * tt + d0 * (1.0 - t) ** 2)
    by_width = -slope * t - s * s * by_s
    by_height = above / below + s * by_s
    by_d0 = h * tt * (below - above) / (below * below)
    by_d1 = -h * tt * above / (below * below)
    return by_width, by_height, by_d0, by_d1


class SplineCoupling(CouplingLayer):
    """b' = spline(b; c(a)) on [−W, W], the identity outside; circular where an angle is moved.

    Args:
        kept, moved: The indices of the two halves, together 0 … n−1.
        half_width: W of each coordinate, (n,); of a circular one it is half the period.
        hidden: The width of the conditioner.
        bins: The number K ≥ 2 of bins of each spline.
        circular: Whether each coordinate is an angle, shape (n,), bool; none is one where None.
    """

    half_kept: Tensor
    half_moved: Tensor
    straight: Tensor
    round: Tensor
    moved_round: Tensor
    on_circle: Tensor

    def __init__(
        self,
        kept: Tensor,
        moved: Tensor,
        half_width: Tensor,
        hidden: int,
        bins: int = 8,
        circular: Optional[Tensor] = None,
    ) -> None:
        super().__init__(kept, moved)
        if circular is None:
            circular = torch.zeros(len(half_width), dtype=torch.bool)
        self.bins = bins
        self.reach = REACH
        self.least_slope = SMALLEST_SLOPE
        self.slope_start = _SLOPE_START
        self.register_buffer("half_kept", half_width[kept])
        self.register_buffer("half_moved", half_width[moved])
        # places within the halves: kept ones on a line, kept ones and moved ones on a circle
        self.register_buffer("straight", torch.nonzero(~circular[kept])[:, 0])
        self.register_buffer("round", torch.nonzero(circular[kept])[:, 0])
        self.register_buffer("moved_round", torch.nonzero(circular[moved])[:, 0])
        self.register_buffer("on_circle", circular[moved])
        self.n_straight = len(self.straight)
        self.n_round = len(self.round)
        self.n_moved_round = len(self.moved_round)
        n_in = self.n_straight + 2 * self.n_round
        n_out = self.n_moved * (3 * bins - 1) + 2 * self.n_moved_round
        self.conditioner = Conditioner(n_in, n_out, hidden)

    def _features(self, a: Tensor) -> tuple[Tensor, Tensor]:
        """The inputs of the network, of order 1, and their derivatives by the coordinates."""
        scaled = a / self.half_kept
        line = self.reach * scaled.index_select(-1, self.straight)
        angle = math.pi * scaled.index_select(-1, self.round)
        cos, sin = torch.cos(angle), torch.sin(angle)
        slopes = torch.cat([torch.full_like(line, self.reach), -math.pi * sin, math.pi * cos], -1)
        return torch.cat([line, cos, sin], -1), slopes

    def _spline(self, a: Tensor) -> list[Tensor]:
        """Widths, heights, slopes at all knots, turns, and the tensors that the pull-back needs."""
        features, steepness = self._features(a)
        c, h1, h2 = self.conditioner(features)
        n, k = self.n_moved, self.bins
        widths = bin_sizes(c[..., : n * k].unflatten(-1, (n, k)))
        heights = bin_sizes(c[..., n * k : 2 * n * k].unflatten(-1, (n, k)))
        inner = c[..., 2 * n * k : n * (3 * k - 1)].unflatten(-1, (n, k - 1))
        ends = torch.full_like(c[..., :n], self.slope_start)
        turn = torch.zeros_like(ends)
        if self.n_moved_round > 0:
            first = n * (3 * k - 1)
            more = c[..., first : first + self.n_moved_round]
            turns = c[..., first + self.n_moved_round :]
            ends = ends.index_add(-1, self.moved_round, more)
            turn = turn.index_add(-1, self.moved_round, turns)
        ends = ends.unsqueeze(-1)
        raw = torch.cat([ends, inner + self.slope_start, ends], -1)
        slopes = self.least_slope + torch.nn.functional.softplus(raw)
        return [widths, heights, slopes, turn, raw, h1, h2, steepness]

    def _wrap(self, u: Tensor) -> Tensor:
        """u with circular coordinates wrapped onto [−1, 1)."""
        return torch.where(self.on_circle, u - 2.0 * torch.floor(0.5 * (u + 1.0)), u)

    def _value(self, b: Tensor, spline: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """b' and [dy/dx, u, index, whether inside]."""
        widths, heights, slopes, turn = spline[0], spline[1], spline[2], spline[3]
        u = self._wrap(b / self.half_moved)
        inside = u.abs() <= 1.0
        x = torch.clamp(u, -1.0, 1.0)
        left = left_edges(widths)
        index = find_bin(x, left)
        y, slope = spline_value(x, pick(index, widths, heights, left, left_edges(heights), slopes))
        slope = torch.where(inside, slope, torch.ones_like(slope))
        moved = self._wrap(torch.where(inside, y, u) + turn) * self.half_moved
        return moved, [slope, x, index, inside]

    def _argument(self, b_new: Tensor, spline: list[Tensor]) -> Tensor:
        """b whose image is b_new."""
        widths, heights, slopes, turn = spline[0], spline[1], spline[2], spline[3]
        v = self._wrap(b_new / self.half_moved - turn)
        inside = v.abs() <= 1.0
        y = torch.clamp(v, -1.0, 1.0)
        lower = left_edges(heights)
        index = find_bin(y, lower)
        x = spline_argument(y, pick(index, widths, heights, left_edges(widths), lower, slopes))
        return torch.where(inside, x, v) * self.half_moved

    def _pull_shear(self, p_b: Tensor, spline: list[Tensor], at: list[Tensor]) -> Tensor:
        """(∂b'/∂a)ᵀ p_b."""
        widths, heights, slopes = spline[0], spline[1], spline[2]
        raw, h1, h2, steepness = spline[4], spline[5], spline[6], spline[7]
        slope, x, index, inside = at[0], at[1], at[2], at[3]
        left, lower = left_edges(widths), left_edges(heights)
        at_bin = pick(index, widths, heights, left, lower, slopes)
        by_width, by_height, by_d0, by_d1 = spline_by_bin(x, at_bin)
        cotangent = (p_b * self.half_moved).unsqueeze(-1)
        within = cotangent * inside.unsqueeze(-1)
        # bins to the left move the corner: x₀ by their widths, y₀ by their heights
        before = (torch.arange(self.bins, device=index.device) < index).to(x.dtype)
        here = torch.zeros_like(widths).scatter(-1, index, torch.ones_like(within))
        on_widths = within * (here * by_width.unsqueeze(-1) - before * slope.unsqueeze(-1))
        on_heights = within * (here * by_height.unsqueeze(-1) + before)
        on_slopes = torch.zeros_like(slopes).scatter(-1, index, by_d0.unsqueeze(-1))
        on_slopes = on_slopes.scatter_add(-1, index + 1, by_d1.unsqueeze(-1))
        on_slopes = within * on_slopes * torch.sigmoid(raw)
        parts = [
            pull_back_bin_sizes(on_widths, widths).flatten(-2),
            pull_back_bin_sizes(on_heights, heights).flatten(-2),
            on_slopes[..., 1:-1].flatten(-2),
        ]
        if self.n_moved_round > 0:
            ends = on_slopes[..., 0] + on_slopes[..., -1]
            parts.append(ends.index_select(-1, self.moved_round))
            parts.append(cotangent.squeeze(-1).index_select(-1, self.moved_round))
        on_features = self.conditioner.pull_back(torch.cat(parts, -1), h1, h2) * steepness
        n, m = self.n_straight, self.n_round
        on_angles = on_features[..., n : n + m] + on_features[..., n + m :]
        on_kept = torch.zeros_like(self.half_kept).expand(p_b.shape[:-1] + self.half_kept.shape)
        on_kept = on_kept.index_add(-1, self.straight, on_features[..., :n])
        on_kept = on_kept.index_add(-1, self.round, on_angles)
        return on_kept / self.half_kept

    def forward(self, q: Tensor) -> tuple[Tensor, Tensor]:
        a, b = self._split(q)
        b, at = self._value(b, self._spline(a))
        return self._merge(a, b), at[0].log().sum(-1)

    def inverse(self, q_new: Tensor) -> tuple[Tensor, Tensor]:
        a, b_new = self._split(q_new)
        spline = self._spline(a)
        b = self._argument(b_new, spline)
        return self._merge(a, b), -self._value(b, spline)[1][0].log().sum(-1)

    def push(self, p: Tensor, q: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        a, b = self._split(q)
        p_a, p_b = self._split(p)
        spline = self._spline(a)
        b_new, at = self._value(b, spline)
        p_b = p_b / at[0]
        p_a = p_a - self._pull_shear(p_b, spline, at)
        return self._merge(p_a, p_b), self._merge(a, b_new), at[0].log().sum(-1)

    def record(self, q: Tensor) -> tuple[Tensor, list[Tensor]]:
        a, b = self._split(q)
        spline = self._spline(a)
        b_new, at = self._value(b, spline)
        return self._merge(a, b_new), spline + at

    def pull_back(self, p_new: Tensor, tape: list[Tensor]) -> Tensor:
        p_a, p_b = self._split(p_new)
        p_a = p_a + self._pull_shear(p_b, tape[:8], tape[8:])
        return self._merge(p_a, p_b * tape[8])

    def pull(self, p_new: Tensor, q_new: Tensor) -> tuple[Tensor, Tensor]:
        a, b_new = self._split(q_new)
        p_a, p_b = self._split(p_new)
        spline = self._spline(a)
        b = self._argument(b_new, spline)
        at = self._value(b, spline)[1]
        p_a = p_a + self._pull_shear(p_b, spline, at)
        return self._merge(p_a, p_b * at[0]), self._merge(a, b)
