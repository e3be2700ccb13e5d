#include "torsions.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "box.hpp"
#include "error.hpp"

namespace symplectic_cv {

namespace {

constexpr std::uint64_t kMostTorsions = 100'000, kMostOrders = 16, kMostInFile = 4096;
constexpr std::int64_t kMostFolds = 64;

constexpr double kLine = Torsions::kLine;

struct TorsionWorkspace final : Workspace {
    std::vector<double> gradients;  // of each torsion by its four atoms, (frames, torsions, 4, 3)
    std::vector<double> slopes;     // of each mode by each torsion, (frames, torsions, n_modes)
};

double dot(const double* a, const double* b) { return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]; }

void cross(const double* a, const double* b, double* out) {
    out[0] = a[1] * b[2] - a[2] * b[1];
    out[1] = a[2] * b[0] - a[0] * b[2];
    out[2] = a[0] * b[1] - a[1] * b[0];
}

/// e^{is} of a torsion and, where wanted, its gradient (4, 3); NaN where it has no value.
struct Angle {
    double cosine, sine;

    Angle(const double* const* atoms, const double* box, double* gradient) {
        double f[3], g[3], h[3], a[3], b[3], normal[3];
        for (int c = 0; c < 3; ++c) {
            f[c] = atoms[0][c] - atoms[1][c];
            g[c] = atoms[1][c] - atoms[2][c];
            h[c] = atoms[3][c] - atoms[2][c];
        }
        if (box)
            for (double* bond : {f, g, h}) to_nearest_image(box, bond);
        cross(f, g, a);
        cross(h, g, b);
        cross(b, a, normal);
        const double aa = dot(a, a), bb = dot(b, b), gg = dot(g, g), length = std::sqrt(gg);
        const double least = kLine * kLine * gg;
        if (!(aa > least * dot(f, f) && bb > least * dot(h, h))) {
            cosine = sine = std::numeric_limits<double>::quiet_NaN();
            if (gradient) std::fill(gradient, gradient + 12, cosine);
            return;
        }
        const double along = dot(a, b) * length, across = dot(normal, g);
        const double size = std::sqrt(along * along + across * across);
        cosine = along / size;
        sine = across / size;
        if (!gradient) return;
        const double first = length / aa, last = length / bb;
        const double by_f = dot(f, g) / (length * aa), by_h = dot(h, g) / (length * bb);
        for (int c = 0; c < 3; ++c) {
            const double shift = by_f * a[c] - by_h * b[c];
            gradient[c] = -first * a[c];
            gradient[3 + c] = shift + first * a[c];
            gradient[6 + c] = -shift - last * b[c];
            gradient[9 + c] = last * b[c];
        }
    }
};

/// (cosine, sine) times e^{is}.
void turn(double cosine, double sine, double& real, double& imaginary) {
    const double before = real;
    real = before * cosine - imaginary * sine;
    imaginary = before * sine + imaginary * cosine;
}

}  // namespace

Torsions::Torsions(const Safetensors& file, std::string sha256) : Modes(file, std::move(sha256)) {
    read_torsions(file);
    read_coefficients(file);
}

void Torsions::read_torsions(const Safetensors& file) {
    const auto atoms = file.integers("torsions", 2);
    const auto& shape = file.shape("torsions");
    require(shape[0] >= 1 && shape[0] <= kMostTorsions && shape[1] == 4,
            "tensor torsions is not of shape (1 to 100000, 4)");
    const auto folds = file.integers("folds", 1);
    require(folds.size() == shape[0], "tensor folds has not one number per torsion");
    for (std::size_t i = 0; i < folds.size(); ++i) {
        Torsion torsion;
        for (std::size_t k = 0; k < 4; ++k) {
            const std::int64_t atom = atoms[4 * i + k];
            require(atom >= 0 && atom < n_atoms(),
                    "tensor torsions names an atom that is not there");
            torsion.atoms[k] = std::size_t(atom);
            for (std::size_t other = 0; other < k; ++other)
                require(torsion.atoms[other] != torsion.atoms[k],
                        "tensor torsions names an atom twice in one torsion");
        }
        require(folds[i] >= 1 && folds[i] <= kMostFolds, "tensor folds is not from 1 to 64");
        torsion.fold = int(folds[i]);
        torsions_.push_back(torsion);
    }
}

void Torsions::read_coefficients(const Safetensors& file) {
    constant_ = file.doubles("constant", 1);
    require(!constant_.empty() && constant_.size() <= kMostInFile,
            "tensor constant has not from 1 to 4096 numbers");
    for (double value : constant_) require(std::isfinite(value), "tensor constant is not finite");
    const auto given = file.doubles("coefficients", 4);
    const auto& shape = file.shape("coefficients");
    require(shape[0] == constant_.size() && shape[1] == torsions_.size() && shape[2] >= 1 &&
                shape[2] <= kMostOrders && shape[3] == 2,
            "tensor coefficients is not of shape (modes, torsions, 1 to 16, 2)");
    order_ = int(shape[2]);
    // the modes of one harmonic side by side
    const std::size_t modes = constant_.size(), harmonics = torsions_.size() * std::size_t(order_);
    coefficients_.resize(given.size());
    for (std::size_t k = 0; k < modes; ++k)
        for (std::size_t h = 0; h < harmonics; ++h)
            for (std::size_t part = 0; part < 2; ++part) {
                const double value = given[(k * harmonics + h) * 2 + part];
                require(std::isfinite(value), "tensor coefficients is not finite");
                coefficients_[(h * modes + k) * 2 + part] = value;
            }
}

std::unique_ptr<Workspace> Torsions::workspace() const {
    return std::make_unique<TorsionWorkspace>();
}

void Torsions::forward(Workspace& work, int frames, const double* positions, const double* boxes,
                       bool taped, double* values) const {
    auto& own = static_cast<TorsionWorkspace&>(work);
    const std::size_t modes = constant_.size(), torsions = torsions_.size();
    if (taped) {
        own.gradients.resize(std::size_t(frames) * torsions * 12);
        own.slopes.resize(std::size_t(frames) * torsions * modes);
    }
    for (std::size_t f = 0; f < std::size_t(frames); ++f) {
        const double* x = positions + f * 3 * std::size_t(n_atoms());
        const double* box = boxes ? boxes + 9 * f : nullptr;
        double* value = values + f * modes;
        for (std::size_t k = 0; k < modes; ++k) value[k] = -constant_[k];
        const double* coefficients = coefficients_.data();
        for (std::size_t i = 0; i < torsions; ++i) {
            const Torsion& torsion = torsions_[i];
            const double* atoms[4];
            for (std::size_t k = 0; k < 4; ++k) atoms[k] = x + 3 * torsion.atoms[k];
            const std::size_t place = f * torsions + i;
            const Angle angle(atoms, box, taped ? &own.gradients[place * 12] : nullptr);
            double* slope = taped ? &own.slopes[place * modes] : nullptr;
            if (slope) std::fill(slope, slope + modes, 0.0);
            // e^{i n s}, and from it one harmonic after the other
            double cosine = 1.0, sine = 0.0, real = 1.0, imaginary = 0.0;
            for (int n = 0; n < torsion.fold; ++n) turn(angle.cosine, angle.sine, cosine, sine);
            for (int h = 1; h <= order_; ++h) {
                turn(cosine, sine, real, imaginary);
                const double by = double(h) * torsion.fold;
                for (std::size_t k = 0; k < modes; ++k, coefficients += 2) {
                    value[k] += coefficients[0] * real + coefficients[1] * imaginary;
                    if (slope)
                        slope[k] += by * (coefficients[1] * real - coefficients[0] * imaginary);
                }
            }
        }
    }
}

void Torsions::reverse(Workspace& work, int frames, int m, const double* combinations,
                       double* gradients) const {
    const auto& own = static_cast<const TorsionWorkspace&>(work);
    const std::size_t size = 3 * std::size_t(n_atoms()), modes = constant_.size();
    for (std::size_t row = 0; row < std::size_t(frames) * std::size_t(m); ++row) {
        const std::size_t f = row / std::size_t(m);
        const double* weights = combinations + row % std::size_t(m) * modes;
        double* gradient = gradients + row * size;
        std::fill(gradient, gradient + size, 0.0);
        for (std::size_t i = 0; i < torsions_.size(); ++i) {
            const std::size_t place = f * torsions_.size() + i;
            double by = 0.0;
            for (std::size_t k = 0; k < modes; ++k)
                by += weights[k] * own.slopes[place * modes + k];
            const double* of_torsion = &own.gradients[place * 12];
            for (std::size_t k = 0; k < 4; ++k)
                for (std::size_t c = 0; c < 3; ++c)
                    gradient[3 * torsions_[i].atoms[k] + c] += by * of_torsion[3 * k + c];
        }
    }
}

}  // namespace symplectic_cv
