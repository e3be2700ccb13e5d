// The body of each kernels_*.cpp, which says how wide a vector is. GCC's vector extension, which
// Clang shares, keeps one source for all instruction sets.
#include "kernels.hpp"

namespace symplectic_cv {
namespace {

typedef float vf __attribute__((vector_size(SYMPLECTIC_CV_BYTES), may_alias));
typedef int vi __attribute__((vector_size(SYMPLECTIC_CV_BYTES), may_alias));
typedef double vd __attribute__((vector_size(SYMPLECTIC_CV_BYTES), may_alias));

#define SCV_INLINE static inline __attribute__((always_inline))
#define SCV_UNROLL _Pragma("GCC unroll 16")

constexpr int kWidth = SYMPLECTIC_CV_BYTES / 4;
#if SYMPLECTIC_CV_BYTES == 64 || defined(__aarch64__)
constexpr bool kManyRegisters = true;  // 32 of them, else 16
#else
constexpr bool kManyRegisters = false;
#endif

SCV_INLINE vf load(const float* x) { return *reinterpret_cast<const vf*>(x); }
SCV_INLINE void store(float* x, vf v) { *reinterpret_cast<vf*>(x) = v; }
SCV_INLINE vf all(float x) { return vf{} + x; }
SCV_INLINE vf least(vf a, vf b) { return a < b ? a : b; }
SCV_INLINE vf greatest(vf a, vf b) { return a > b ? a : b; }
SCV_INLINE vf magnitude(vf x) { return (vf)((vi)x & 0x7fffffff); }

// ---- matrix products -----------------------------------------------------------------------

/// R rows by V vectors of c, kept in registers; `U` partial sums hide the latency of narrow tiles.
template <int R, int V, int U>
SCV_INLINE void tile(int n_in, int n_out, const float* a, int a_stride, const float* w,
                     const float* bias, float* c, int c_stride) {
    vf sum[U][R][V];
    SCV_UNROLL for (int r = 0; r < R; ++r) SCV_UNROLL for (int v = 0; v < V; ++v) {
        sum[0][r][v] = bias ? load(bias + v * kWidth) : vf{};
        SCV_UNROLL for (int u = 1; u < U; ++u) sum[u][r][v] = vf{};
    }
    int j = 0;
    for (; j + U <= n_in; j += U) SCV_UNROLL for (int u = 0; u < U; ++u) {
            const float* row = w + static_cast<long>(j + u) * n_out;
            SCV_UNROLL for (int v = 0; v < V; ++v) {
                const vf weights = load(row + v * kWidth);
                SCV_UNROLL for (int r = 0; r < R; ++r) sum[u][r][v] +=
                    a[static_cast<long>(r) * a_stride + j + u] * weights;
            }
        }
    for (; j < n_in; ++j) SCV_UNROLL for (int v = 0; v < V; ++v) {
            const vf weights = load(w + static_cast<long>(j) * n_out + v * kWidth);
            SCV_UNROLL for (int r = 0; r < R; ++r) sum[0][r][v] +=
                a[static_cast<long>(r) * a_stride + j] * weights;
        }
    SCV_UNROLL for (int r = 0; r < R; ++r) SCV_UNROLL for (int v = 0; v < V; ++v) {
        SCV_UNROLL for (int u = 1; u < U; ++u) sum[0][r][v] += sum[u][r][v];
        store(c + static_cast<long>(r) * c_stride + v * kWidth, sum[0][r][v]);
    }
}

template <int R, int V>
SCV_INLINE void tiles(int n_in, int n_out, const float* a, int a_stride, const float* w,
                      const float* bias, float* c, int c_stride) {
    constexpr int U = R * V >= 8 ? 1 : 8 / (R * V);
    tile<R, V, U>(n_in, n_out, a, a_stride, w, bias, c, c_stride);
}

/// All rows of V vectors of c: these columns of w stay in the first-level cache meanwhile.
template <int V>
void columns(int rows, int n_in, int n_out, const float* a, int a_stride, const float* w,
             const float* bias, float* c, int c_stride) {
    while (rows >= 4) {
        tiles<4, V>(n_in, n_out, a, a_stride, w, bias, c, c_stride);
        a += 4L * a_stride;
        c += 4L * c_stride;
        rows -= 4;
    }
    if (rows == 3) {
        tiles<3, V>(n_in, n_out, a, a_stride, w, bias, c, c_stride);
        return;
    }
    if (rows >= 2) {
        tiles<2, V>(n_in, n_out, a, a_stride, w, bias, c, c_stride);
        a += 2L * a_stride;
        c += 2L * c_stride;
        rows -= 2;
    }
    if (rows == 1) tiles<1, V>(n_in, n_out, a, a_stride, w, bias, c, c_stride);
}

void multiply(int rows, int n_in, int n_out, const float* a, int a_stride, const float* w,
              const float* bias, float* c, int c_stride) {
    constexpr int for_two = kManyRegisters ? 8 : 4;  // as many vectors as there are registers
    int left = n_out / kWidth, done = 0;
    for (; left > 0; left -= done) {
        if (rows == 1 && left >= 8) {
            done = 8;
            tiles<1, 8>(n_in, n_out, a, a_stride, w, bias, c, c_stride);
        } else if (rows == 2 && left >= for_two) {
            done = for_two;
            tiles<2, for_two>(n_in, n_out, a, a_stride, w, bias, c, c_stride);
        } else if (kManyRegisters && left >= 4) {
            done = 4;
            columns<4>(rows, n_in, n_out, a, a_stride, w, bias, c, c_stride);
        } else if (left >= 2) {
            done = 2;
            columns<2>(rows, n_in, n_out, a, a_stride, w, bias, c, c_stride);
        } else {
            done = 1;
            columns<1>(rows, n_in, n_out, a, a_stride, w, bias, c, c_stride);
        }
        w += done * kWidth;
        c += done * kWidth;
        if (bias) bias += done * kWidth;
    }
}

// For a single frame the weights' way from the cache is what costs: the forward pass reads the very
// matrix that the reverse pass reads after it, row by row, instead of a transposed copy.

/// Lane p of the two vectors that `fold` adds, for segments of `size` lanes.
constexpr int fold_lane(int p, int size, bool upper) {
    const int segment = p / size * size, offset = p % size, half = size / 2;
    return (offset < half ? segment + offset : kWidth + segment + offset - half) +
           (upper ? half : 0);
}

template <int... P>
struct Lanes {};
template <int N, int... P>
struct LanesTo : LanesTo<N - 1, N - 1, P...> {};
template <int... P>
struct LanesTo<0, P...> {
    using type = Lanes<P...>;
};

#if defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector)
#define SCV_PICK(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#endif
#endif
#ifndef SCV_PICK
#define SCV_PICK(a, b, ...) __builtin_shuffle(a, b, vi{__VA_ARGS__})
#endif

/// Halves the partial sums in each segment of a and b, and joins them.
template <int Size, int... P>
SCV_INLINE vf fold(vf a, vf b, Lanes<P...>) {
    return SCV_PICK(a, b, fold_lane(P, Size, false)...) +
           SCV_PICK(a, b, fold_lane(P, Size, true)...);
}

/// Lane k of the result is the sum of all lanes of v[k].
template <int Size>
SCV_INLINE vf sums(vf* v) {
    SCV_UNROLL for (int k = 0; k < Size / 2; ++k) v[k] =
        fold<Size>(v[k], v[k + Size / 2], typename LanesTo<kWidth>::type{});
    if constexpr (Size > 2)
        return sums<Size / 2>(v);
    else
        return v[0];
}

/// kWidth rows of w at a time: R rows of c.
template <int R>
void multiply_by_rows(int n_in, int n_out, const float* a, int a_stride, const float* w,
                      const float* bias, float* c, int c_stride) {
    constexpr int together = kManyRegisters || R == 1 ? (kWidth < 8 ? kWidth : 8) : 4;
    for (int out = 0; out < n_out; out += kWidth) {
        vf sum[R][kWidth];
        SCV_UNROLL for (int part = 0; part < kWidth; part += together) {
            const float* rows = w + static_cast<long>(out + part) * n_in;
            vf running[R][together];
            SCV_UNROLL for (int r = 0; r < R; ++r) SCV_UNROLL for (int k = 0; k < together; ++k)
                running[r][k] = vf{};
            for (int i = 0; i < n_in; i += kWidth) {
                SCV_UNROLL for (int k = 0; k < together; ++k) {
                    const vf weights = load(rows + static_cast<long>(k) * n_in + i);
                    SCV_UNROLL for (int r = 0; r < R; ++r) running[r][k] +=
                        load(a + static_cast<long>(r) * a_stride + i) * weights;
                }
            }
            SCV_UNROLL for (int r = 0; r < R; ++r) SCV_UNROLL for (int k = 0; k < together; ++k)
                sum[r][part + k] = running[r][k];
        }
        SCV_UNROLL for (int r = 0; r < R; ++r) store(c + static_cast<long>(r) * c_stride + out,
                                                     sums<kWidth>(sum[r]) + load(bias + out));
    }
}

void multiply_transposed(int rows, int n_in, int n_out, const float* a, int a_stride,
                         const float* w, const float* bias, float* c, int c_stride) {
    if (rows == 1)
        multiply_by_rows<1>(n_in, n_out, a, a_stride, w, bias, c, c_stride);
    else
        multiply_by_rows<2>(n_in, n_out, a, a_stride, w, bias, c, c_stride);
}

void project(int n_in, int n_out, const double* x, const double* w, const double* start,
             double* out) {
    constexpr int width = kWidth / 2;
    for (int i = 0; i < n_out; i += width) {
        vd sum[2] = {start ? *reinterpret_cast<const vd*>(start + i) : vd{}, vd{}};
        int j = 0;
        for (; j + 2 <= n_in; j += 2)
            SCV_UNROLL for (int u = 0; u < 2; ++u) sum[u] +=
                x[j + u] * *reinterpret_cast<const vd*>(w + static_cast<long>(j + u) * n_out + i);
        if (j < n_in)
            sum[0] += x[j] * *reinterpret_cast<const vd*>(w + static_cast<long>(j) * n_out + i);
        *reinterpret_cast<vd*>(out + i) = sum[0] + sum[1];
    }
}

// ---- functions -----------------------------------------------------------------------------

constexpr float kLogTwoHigh = 0.693359375f, kLogTwoLow = -2.12194440e-4f;  // their sum is ln 2
constexpr float kRound = 12582912.0f;  // 1.5 · 2²³: adding it leaves the nearest whole number

/// exp(x) = scale + scale · rest with scale a power of two, for -87 <= x <= 88; NaN stays NaN.
SCV_INLINE void split_exp(vf x, vf& scale, vf& rest) {
    const vf shifted = x * 1.44269504f + kRound;
    const vf n = shifted - kRound;
    scale = (vf)(((vi)shifted << 23) + 0x3f800000);
    const vf f = x - n * kLogTwoHigh - n * kLogTwoLow;
    // Taylor's series of (exp(f) - 1)/f: |f| <= ln 2 / 2, so seven terms leave 2e-8
    vf p = f * (1.0f / 5040.0f) + 1.0f / 720.0f;
    p = p * f + 1.0f / 120.0f;
    p = p * f + 1.0f / 24.0f;
    p = p * f + 1.0f / 6.0f;
    p = p * f + 0.5f;
    p = p * f + 1.0f;
    rest = p * f;
}

SCV_INLINE vf exp_of(vf x) {
    vf scale, rest;
    split_exp(least(all(88.0f), greatest(all(-87.0f), x)), scale, rest);
    return x != x ? x : scale + scale * rest;
}

SCV_INLINE vf tanh_of(vf x) {
    // tanh|x| = -e/(2 + e), e = exp(-2|x|) - 1: exact to rounding near zero as well
    vf z = magnitude(x) * -2.0f, scale, rest;
    z = z < -40.0f ? all(-40.0f) : z;
    split_exp(z, scale, rest);
    const vf e = scale * rest + (scale - 1.0f);
    const vf t = -e / (2.0f + e);
    return (vf)((vi)t | ((vi)x & (-0x7fffffff - 1)));
}

SCV_INLINE vf softplus_of(vf x) {
    // ln(1 + t) = 2 artanh(t/(2 + t)), t = exp(-|x|): the series ends below rounding
    const vf t = exp_of(-magnitude(x));
    const vf s = t / (2.0f + t), ss = s * s;
    vf p = ss * (1.0f / 15.0f) + 1.0f / 13.0f;
    p = p * ss + 1.0f / 11.0f;
    p = p * ss + 1.0f / 9.0f;
    p = p * ss + 1.0f / 7.0f;
    p = p * ss + 1.0f / 5.0f;
    p = p * ss + 1.0f / 3.0f;
    p = p * ss + 1.0f;
    return greatest(x, all(0.0f)) + 2.0f * s * p;
}

void tanh_all(int n, float* x) {
    for (int i = 0; i < n; i += kWidth) store(x + i, tanh_of(load(x + i)));
}

void tanh_slope(int n, const float* h, float* g) {
    for (int i = 0; i < n; i += kWidth) {
        const vf y = load(h + i);
        store(g + i, load(g + i) * (1.0f - y * y));
    }
}

// ---- affine couplings ----------------------------------------------------------------------

void affine_forward(int n, float bound, const float* c, float* b, float* u, float* grow,
                    float* scaled) {
    for (int i = 0; i < n; i += kWidth) {
        const vf t = tanh_of(load(c + i)), e = exp_of(bound * t), s = load(b + i) * e;
        store(u + i, t);
        store(grow + i, e);
        store(scaled + i, s);
        store(b + i, s + load(c + n + i));
    }
}

void affine_reverse(int n, float bound, const float* u, const float* grow, const float* scaled,
                    float* p, float* cotangent) {
    for (int i = 0; i < n; i += kWidth) {
        const vf t = load(u + i), q = load(p + i);
        store(cotangent + i, q * load(scaled + i) * (bound * (1.0f - t * t)));
        store(cotangent + n + i, q);
        store(p + i, q * load(grow + i));
    }
}

// ---- spline couplings: each lane of a vector is one coordinate ------------------------------

/// Positive sizes that fill [-1, 1], from unbounded numbers, in place.
SCV_INLINE void bin_sizes(int n, int bins, float least_bin, float* raw) {
    vf top = load(raw), sum = vf{};
    for (int k = 1; k < bins; ++k) top = greatest(top, load(raw + k * n));
    for (int k = 0; k < bins; ++k) {
        const vf e = exp_of(load(raw + k * n) - top);
        store(raw + k * n, e);
        sum += e;
    }
    const vf share = 2.0f * (1.0f - bins * least_bin) / sum;
    for (int k = 0; k < bins; ++k) store(raw + k * n, 2.0f * least_bin + load(raw + k * n) * share);
}

struct Bin {
    vf x0, y0, w, h, d0, d1;
};

/// The bin that holds x, lane by lane.
SCV_INLINE Bin find_bin(int n, SplineLimits limits, const float* shape, vf x) {
    const int bins = limits.bins;
    const float *widths = shape, *heights = shape + bins * n, *slopes = shape + 2 * bins * n;
    vf left = all(-1.0f), lower = all(-1.0f);
    Bin bin{left, lower, load(widths), load(heights), all(limits.end_slope), load(slopes)};
    for (int k = 1; k < bins; ++k) {
        left += load(widths + (k - 1) * n);
        lower += load(heights + (k - 1) * n);
        const vi here = x >= left;
        bin.x0 = here ? left : bin.x0;
        bin.y0 = here ? lower : bin.y0;
        bin.w = here ? load(widths + k * n) : bin.w;
        bin.h = here ? load(heights + k * n) : bin.h;
        bin.d0 = here ? load(slopes + (k - 1) * n) : bin.d0;
        bin.d1 = here ? (k + 1 < bins ? load(slopes + k * n) : all(limits.end_slope)) : bin.d1;
    }
    return bin;
}

void spline_forward(int n, SplineLimits limits, const float* half, const float* inverse_half,
                    float* b, SplineTape tape) {
    const int bins = limits.bins;
    for (int i = 0; i < n; i += kWidth) {
        float* shape = tape.shape + i;
        bin_sizes(n, bins, limits.least_bin, shape);
        bin_sizes(n, bins, limits.least_bin, shape + bins * n);
        for (int k = 0; k < bins - 1; ++k) {
            float* slope = shape + (2 * bins + k) * n;
            const vf raw = load(slope);
            store(tape.sigmoid + k * n + i, 1.0f / (1.0f + exp_of(-raw)));
            store(slope, limits.least_slope + softplus_of(raw));
        }
        const vf u = load(b + i) * load(inverse_half + i);
        const vi inside = magnitude(u) <= 1.0f;
        const vf x = least(all(1.0f), greatest(all(-1.0f), u));
        const Bin bin = find_bin(n, limits, shape, x);
        const vf s = bin.h / bin.w, t = (x - bin.x0) / bin.w, tt = t * (1.0f - t);
        const vf below = s + (bin.d0 + bin.d1 - 2.0f * s) * tt;
        const vf y = bin.y0 + bin.h * (s * t * t + bin.d0 * tt) / below;
        const vf ratio = s / below;
        const vf slope =
            ratio * ratio * (bin.d1 * t * t + 2.0f * s * tt + bin.d0 * (1.0f - t) * (1.0f - t));
        store(b + i, (inside ? y : u) * load(half + i));
        store(tape.argument + i, x);
        store(tape.slope + i, inside ? slope : all(1.0f));
        store(tape.inside + i, inside ? all(1.0f) : vf{});
    }
}

/// Cotangent of the unbounded numbers behind `bin_sizes`, in place; each is times `factor`.
SCV_INLINE void pull_back_bin_sizes(int n, int bins, float least_bin, const float* sizes, vf factor,
                                    float* cotangent) {
    const float free = 1.0f - bins * least_bin;
    vf mean = vf{};
    for (int k = 0; k < bins; ++k)
        mean += (0.5f * load(sizes + k * n) - least_bin) * load(cotangent + k * n);
    mean *= 1.0f / free;
    for (int k = 0; k < bins; ++k) {
        const vf share = 0.5f * load(sizes + k * n) - least_bin;
        store(cotangent + k * n, 2.0f * factor * share * (load(cotangent + k * n) - mean));
    }
}

void spline_reverse(int n, SplineLimits limits, const float* half, SplineTape tape, float* p,
                    float* cotangent) {
    const int bins = limits.bins;
    for (int i = 0; i < n; i += kWidth) {
        const float* shape = tape.shape + i;
        const vf x = load(tape.argument + i);
        const Bin bin = find_bin(n, limits, shape, x);
        const vf s = bin.h / bin.w, t = (x - bin.x0) / bin.w, tt = t * (1.0f - t);
        const vf above = s * t * t + bin.d0 * tt;
        const vf below = s + (bin.d0 + bin.d1 - 2.0f * s) * tt;
        const vf one_over = 1.0f / below, square = one_over * one_over;
        const vf by_s = (t * t * below - above * (1.0f - 2.0f * tt)) * square;
        const vf slope = load(tape.slope + i);
        const vf by_width = -slope * t - s * s * by_s;
        const vf by_height = above * one_over + s * by_s;
        const vf by_d0 = bin.h * tt * (below - above) * square;
        const vf by_d1 = -bin.h * tt * above * square;

        const vf factor = load(p + i) * load(half + i) * load(tape.inside + i);
        float *on_widths = cotangent + i, *on_heights = on_widths + bins * n,
              *on_slopes = on_heights + bins * n;
        vf edge = all(-1.0f);
        vi reached = x >= edge;  // bin k is x's where its left edge is reached and the next is not
        vf pending = vf{};       // what bin k gives to the knot at its left
        for (int k = 0; k < bins; ++k) {
            edge += load(shape + k * n);
            const vi passed = k + 1 < bins ? (vi)(x >= edge) : vi{};
            const vi here = reached & ~passed;
            store(on_widths + k * n, here ? by_width : passed ? -slope : vf{});
            store(on_heights + k * n, here ? by_height : passed ? all(1.0f) : vf{});
            if (k > 0) {
                const vf share = pending + (here ? by_d0 : vf{});
                store(on_slopes + (k - 1) * n,
                      share * factor * load(tape.sigmoid + (k - 1) * n + i));
            }
            pending = here ? by_d1 : vf{};
            reached = passed;
        }
        pull_back_bin_sizes(n, bins, limits.least_bin, shape, factor, on_widths);
        pull_back_bin_sizes(n, bins, limits.least_bin, shape + bins * n, factor, on_heights);
        store(p + i, load(p + i) * slope);
    }
}

}  // namespace

const Kernels& SYMPLECTIC_CV_KERNELS() {
    static const Kernels table = {
        SYMPLECTIC_CV_NAME, multiply,       multiply_transposed, tanh_all,       tanh_slope,
        affine_forward,     affine_reverse, spline_forward,      spline_reverse, project};
    return table;
}

}  // namespace symplectic_cv
