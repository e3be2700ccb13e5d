// The Eckart frame in float64: atoms made whole, superposed, and gradients taken back to them.
//
// The formulas are those of symplectic_cv/charts/eckart.py, where the sources are named.
#pragma once

#include <cstdint>
#include <vector>

namespace symplectic_cv {

/// Results of `superpose` for one frame, which `pull_back` needs.
struct Superposition {
    double rotation[9];  // R, row by row
    double eckart[9];    // A
};

/// A superposition with less than this part of the reference's det A is rounding, not a direction.
constexpr double kSingular = 1e-12;

class Frame {
  public:
    /// `links` are (parent, child) pairs that reach every atom from the first parent, parents
    /// first. Throws FormatError for anything else, and for masses or places that are not finite.
    Frame(std::vector<double> reference, std::vector<double> masses,
          const std::vector<std::int64_t>& links);

    int n_atoms() const { return int(masses_.size()); }
    const std::vector<double>& reference() const { return reference_; }
    const std::vector<double>& masses() const { return masses_; }
    const std::vector<std::int64_t>& links() const { return links_; }
    /// det A of the reference: far below it an orientation is not unique.
    double determinant() const { return determinant_; }

    /// Positions (N, 3) moved to the images that `links` join; box (3, 3) in OpenMM's reduced form.
    void make_whole(const double* box, double* positions) const;

    /// y (N, 3) from whole positions x (N, 3).
    void superpose(const double* x, double* y, Superposition& result) const;

    /// Gradient by x from the one by y, in place. Net force and torque vanish to rounding. NaN
    /// where the orientation is not unique.
    void pull_back(const double* y, const Superposition& at, double* gradient) const;

  private:
    std::vector<double> reference_, masses_;
    std::vector<std::int64_t> links_;
    double total_mass_ = 0.0, determinant_ = 0.0;
};

}  // namespace symplectic_cv
