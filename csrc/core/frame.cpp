#include "frame.hpp"

#include <cmath>
#include <limits>
#include <utility>

#include "box.hpp"
#include "error.hpp"

namespace symplectic_cv {

namespace {

/// Eigenvector of the largest eigenvalue of a symmetric 4×4 matrix, by Jacobi's rotations.
void largest_eigenvector(double (&m)[4][4], double (&vector)[4]) {
    double v[4][4] = {{1, 0, 0, 0}, {0, 1, 0, 0}, {0, 0, 1, 0}, {0, 0, 0, 1}};
    for (int sweep = 0; sweep < 30; ++sweep) {
        double off = 0.0, size = 0.0;
        for (int i = 0; i < 4; ++i)
            for (int j = 0; j < 4; ++j) (i == j ? size : off) += m[i][j] * m[i][j];
        // the eigenvector's error is of the order of what is left over the gap: go to rounding
        if (!(off > 1e-36 * size)) break;
        for (int p = 0; p < 3; ++p)
            for (int q = p + 1; q < 4; ++q) {
                if (m[p][q] == 0.0) continue;
                const double theta = 0.5 * (m[q][q] - m[p][p]) / m[p][q];
                const double t =
                    std::copysign(1.0, theta) / (std::fabs(theta) + std::sqrt(theta * theta + 1.0));
                const double c = 1.0 / std::sqrt(t * t + 1.0), s = t * c;
                const double shift = t * m[p][q];
                m[p][p] -= shift;
                m[q][q] += shift;
                m[p][q] = m[q][p] = 0.0;
                for (int k = 0; k < 4; ++k) {
                    if (k != p && k != q) {
                        const double a = m[k][p], b = m[k][q];
                        m[k][p] = m[p][k] = c * a - s * b;
                        m[k][q] = m[q][k] = s * a + c * b;
                    }
                    const double a = v[k][p], b = v[k][q];
                    v[k][p] = c * a - s * b;
                    v[k][q] = s * a + c * b;
                }
            }
    }
    int best = 0;
    for (int k = 1; k < 4; ++k)
        if (m[k][k] > m[best][best]) best = k;
    for (int k = 0; k < 4; ++k) vector[k] = v[k][best];
}

void cross(const double* a, const double* b, double* out) {
    out[0] = a[1] * b[2] - a[2] * b[1];
    out[1] = a[2] * b[0] - a[0] * b[2];
    out[2] = a[0] * b[1] - a[1] * b[0];
}

/// Solves Aᵀ w = b by Cramer's rule and gives det A.
double solve_transposed(const double* a, const double* b, double* w) {
    double rows[3][3];  // of the cofactor matrix: A⁻ᵀ det A
    cross(a + 3, a + 6, rows[0]);
    cross(a + 6, a, rows[1]);
    cross(a, a + 3, rows[2]);
    const double determinant = a[0] * rows[0][0] + a[1] * rows[0][1] + a[2] * rows[0][2];
    for (int k = 0; k < 3; ++k)
        w[k] = (rows[0][k] * b[0] + rows[1][k] * b[1] + rows[2][k] * b[2]) / determinant;
    return determinant;
}

}  // namespace

Frame::Frame(std::vector<double> reference, std::vector<double> masses,
             const std::vector<std::int64_t>& links)
    : reference_(std::move(reference)), masses_(std::move(masses)), links_(links) {
    const std::size_t n = masses_.size();
    require(n >= 3, "a molecular frame needs at least 3 atoms");
    require(reference_.size() == 3 * n, "the reference has not one place per mass");
    for (double m : masses_) {
        require(m > 0.0 && std::isfinite(m), "a mass is not positive");
        total_mass_ += m;
    }
    for (double x : reference_) require(std::isfinite(x), "the reference is not finite");
    require(links_.size() == 2 * (n - 1), "the links do not join all atoms");
    std::vector<bool> reached(n, false);
    for (std::size_t k = 0; k + 1 < n; ++k) {
        const std::int64_t parent = links_[2 * k], child = links_[2 * k + 1];
        require(parent >= 0 && parent < std::int64_t(n) && child >= 0 && child < std::int64_t(n),
                "a link names an atom that is not there");
        if (k == 0) reached[std::size_t(parent)] = true;
        require(reached[std::size_t(parent)] && !reached[std::size_t(child)],
                "the links are not a tree, parents first");
        reached[std::size_t(child)] = true;
    }
    std::vector<double> y(3 * n);
    Superposition at;
    superpose(reference_.data(), y.data(), at);
    const double none[3] = {0, 0, 0};
    double w[3];
    determinant_ = solve_transposed(at.eckart, none, w);
    require(determinant_ > 0.0, "the reference's atoms lie on one line");
}

void Frame::make_whole(const double* box, double* x) const {
    // from the leaves to the root, so that every link is taken between places as they were given
    for (std::size_t k = links_.size(); k > 0; k -= 2) {
        const double* parent = x + 3 * links_[k - 2];
        double* child = x + 3 * links_[k - 1];
        for (int c = 0; c < 3; ++c) child[c] -= parent[c];
        to_nearest_image(box, child);
    }
    for (std::size_t k = 0; k < links_.size(); k += 2)
        for (int c = 0; c < 3; ++c) x[3 * links_[k + 1] + c] += x[3 * links_[k] + c];
}

void Frame::superpose(const double* x, double* y, Superposition& result) const {
    const int n = n_atoms();
    double mean[3] = {0, 0, 0};
    for (int i = 0; i < n; ++i)
        for (int c = 0; c < 3; ++c) mean[c] += masses_[i] * x[3 * i + c];
    for (double& c : mean) c /= total_mass_;

    double s[3][3] = {};  // Σ m x rᵀ
    for (int i = 0; i < n; ++i)
        for (int a = 0; a < 3; ++a) {
            y[3 * i + a] = x[3 * i + a] - mean[a];
            for (int b = 0; b < 3; ++b)
                s[a][b] += y[3 * i + a] * (masses_[i] * reference_[3 * i + b]);
        }

    const double a = s[1][2] - s[2][1], b = s[2][0] - s[0][2], c = s[0][1] - s[1][0];
    const double d = s[0][1] + s[1][0], e = s[2][0] + s[0][2], f = s[1][2] + s[2][1];
    double key[4][4] = {{s[0][0] + s[1][1] + s[2][2], a, b, c},
                        {a, s[0][0] - s[1][1] - s[2][2], d, e},
                        {b, d, s[1][1] - s[0][0] - s[2][2], f},
                        {c, e, f, s[2][2] - s[0][0] - s[1][1]}};
    double q[4];
    largest_eigenvector(key, q);
    double* r = result.rotation;
    const double w = q[0], u = q[1], v = q[2], z = q[3];
    r[0] = 1 - 2 * (v * v + z * z), r[1] = 2 * (u * v - z * w), r[2] = 2 * (u * z + v * w);
    r[3] = 2 * (u * v + z * w), r[4] = 1 - 2 * (u * u + z * z), r[5] = 2 * (v * z - u * w);
    r[6] = 2 * (u * z - v * w), r[7] = 2 * (v * z + u * w), r[8] = 1 - 2 * (u * u + v * v);

    double outer[3][3] = {};  // Σ m y rᵀ
    for (int i = 0; i < n; ++i) {
        double* p = y + 3 * i;
        const double p0 = p[0], p1 = p[1], p2 = p[2];
        for (int row = 0; row < 3; ++row) {
            p[row] = r[3 * row] * p0 + r[3 * row + 1] * p1 + r[3 * row + 2] * p2;
            for (int column = 0; column < 3; ++column)
                outer[row][column] += p[row] * (masses_[i] * reference_[3 * i + column]);
        }
    }
    const double trace = outer[0][0] + outer[1][1] + outer[2][2];
    for (int row = 0; row < 3; ++row)
        for (int column = 0; column < 3; ++column)
            result.eckart[3 * row + column] = (row == column ? trace : 0.0) - outer[row][column];
}

void Frame::pull_back(const double* y, const Superposition& at, double* g) const {
    const int n = n_atoms();
    double torque[3] = {0, 0, 0}, part[3], w[3];
    for (int i = 0; i < n; ++i) {
        cross(y + 3 * i, g + 3 * i, part);
        for (int c = 0; c < 3; ++c) torque[c] += part[c];
    }
    if (!(std::fabs(solve_transposed(at.eckart, torque, w)) > kSingular * determinant_))
        w[0] = std::numeric_limits<double>::quiet_NaN();
    double total[3] = {0, 0, 0};
    for (int i = 0; i < n; ++i) {
        cross(w, reference_.data() + 3 * i, part);
        for (int c = 0; c < 3; ++c) {
            g[3 * i + c] -= masses_[i] * part[c];
            total[c] += g[3 * i + c];
        }
    }
    const double* r = at.rotation;
    for (int i = 0; i < n; ++i) {
        double body[3];
        for (int c = 0; c < 3; ++c) body[c] = g[3 * i + c] - masses_[i] / total_mass_ * total[c];
        for (int c = 0; c < 3; ++c)
            g[3 * i + c] = r[c] * body[0] + r[3 + c] * body[1] + r[6 + c] * body[2];
    }
}

}  // namespace symplectic_cv
