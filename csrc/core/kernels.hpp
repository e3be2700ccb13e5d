// The inner loops, compiled once per instruction set; the best one is chosen when a model loads.
//
// All rows of floats start on a cache line and are padded to whole ones (aligned.hpp). The tables
// are compiled in files of their own, which share no inline function with the rest: the linker
// could otherwise put code for AVX-512 where a machine without it calls.
#pragma once

namespace symplectic_cv {

/// Limits on the shape of a spline in a coupling.
struct SplineLimits {
    int bins;
    float least_bin, least_slope, end_slope;
};

/// The splines of one row: what `spline_forward` leaves for `spline_reverse`.
struct SplineTape {
    float* shape;     // widths (K, n), heights (K, n), slopes at the inner knots (K-1, n)
    float* sigmoid;   // of the unbounded inner slopes, (K-1, n)
    float* argument;  // within [-1, 1], (n,)
    float* slope;     // (n,)
    float* inside;    // 1 where the spline applies, 0 where the identity does, (n,)
};

struct Kernels {
    const char* name;

    /// c (rows, n_out) = bias + a (rows, n_in) · w (n_in, n_out); no bias where null.
    void (*multiply)(int rows, int n_in, int n_out, const float* a, int a_stride, const float* w,
                     const float* bias, float* c, int c_stride);
    /// c (rows, n_out) = bias + a (rows, n_in) · wᵀ for one or two rows, w (n_out, n_in); n_in and
    /// n_out are padded.
    void (*multiply_transposed)(int rows, int n_in, int n_out, const float* a, int a_stride,
                                const float* w, const float* bias, float* c, int c_stride);
    /// x = tanh(x).
    void (*tanh)(int n, float* x);
    /// g *= 1 - h².
    void (*tanh_slope)(int n, const float* h, float* g);
    /// From c = (scale, shift), each (n,), and b: u = tanh(scale), grow = exp(bound u),
    /// scaled = b grow, b = scaled + shift.
    void (*affine_forward)(int n, float bound, const float* c, float* b, float* u, float* grow,
                           float* scaled);
    /// Cotangent of c = (scale, shift) from p = ∂L/∂b'; then p *= grow.
    void (*affine_reverse)(int n, float bound, const float* u, const float* grow,
                           const float* scaled, float* p, float* cotangent);
    /// b = half · spline(b / half), its unbounded shape in tape.shape on entry.
    void (*spline_forward)(int n, SplineLimits limits, const float* half, const float* inverse_half,
                           float* b, SplineTape tape);
    /// Cotangent (3K-1, n) of the unbounded shape from p = ∂L/∂b'; then p *= slope.
    void (*spline_reverse)(int n, SplineLimits limits, const float* half, SplineTape tape, float* p,
                           float* cotangent);
    /// out (n_out,) = start + x (n_in,) · w (n_in, n_out) in float64; zero start where null.
    /// n_out is a multiple of 8.
    void (*project)(int n_in, int n_out, const double* x, const double* w, const double* start,
                    double* out);
};

const Kernels& baseline_kernels();
#if defined(SYMPLECTIC_CV_X86)
const Kernels& avx2_kernels();
const Kernels& avx512_kernels();
#endif

/// The fastest table that this machine runs; `limit` (a name, or null) forbids faster ones.
const Kernels& choose_kernels(const char* limit = nullptr);

}  // namespace symplectic_cv
