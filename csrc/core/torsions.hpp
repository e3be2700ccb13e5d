// Modes of torsions: harmonics of the dihedral angles at rotatable bonds, in float64.
//
// The formulas are those of symplectic_cv/charts/torsion_metric.py, where the sources are named.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "modes.hpp"

namespace symplectic_cv {

/// χ_k = Σ_i Σ_h [a_kih cos(h n_i s_i) + b_kih sin(h n_i s_i)] - constant_k of torsions s_i with
/// folds n_i. Where three atoms of a torsion lie on one line, values and gradients are NaN.
class Torsions final : public Modes {
  public:
    /// Throws FormatError. `sha256` is that of a file whose digest was checked.
    Torsions(const Safetensors& file, std::string sha256);

    int n_modes() const override { return int(constant_.size()); }
    const char* instructions() const override { return "baseline"; }
    const char* undefined_where() const override {
        return "three atoms of a torsion lie on one line";
    }
    void forward(Workspace& work, int frames, const double* positions, const double* boxes,
                 bool taped, double* values) const override;
    void reverse(Workspace& work, int frames, int m, const double* combinations,
                 double* gradients) const override;
    std::unique_ptr<Workspace> workspace() const override;

    /// Four of the modelled atoms, and the fold.
    struct Torsion {
        std::array<std::size_t, 4> atoms;
        int fold;
    };

    /// The parts of these modes, for an evaluation on a GPU.
    const std::vector<Torsion>& torsions() const { return torsions_; }
    int order() const { return order_; }
    /// (torsions, order, n_modes, 2): of cosines and sines.
    const std::vector<double>& coefficients() const { return coefficients_; }
    const std::vector<double>& constant() const { return constant_; }
    /// Below this sine of a bond angle a torsion is rounding, not an angle.
    static constexpr double kLine = 1e-6;

  private:

    void read_torsions(const Safetensors& file);
    void read_coefficients(const Safetensors& file);

    std::vector<Torsion> torsions_;
    int order_ = 0;
    std::vector<double> coefficients_;  // (torsions, order, n_modes, 2)
    std::vector<double> constant_;
};

}  // namespace symplectic_cv
