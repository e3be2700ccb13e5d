// A metadynamics bias on a grid of one to three modes, with walls at its ends.
#pragma once

#include <atomic>
#include <cstddef>
#include <mutex>
#include <vector>

namespace symplectic_cv {

constexpr std::size_t kMostModes = 3;

/// The weight of point k in the slope at `place` of five points, in units per step.
double slope_weight(int place, int k);

/// One axis of the grid.
struct Axis {
    double low, high;
    int points;

    double step() const { return (high - low) / (points - 1); }
};

/// V(s): hills added on the grid, cubic between its points, flat beyond it; walls push back.
///
/// Between the points each axis runs through Hermite cubics whose slopes are differences of fourth
/// order. So V and its gradient are smooth, a function of the numbers on the grid alone (restoring
/// them restores the bias exactly), and local: a hill needs no refit.
class BiasGrid {
  public:
    /// Throws std::invalid_argument for an axis of fewer than six points or of no length, and for
    /// more than kMostModes of them.
    BiasGrid(std::vector<Axis> axes, double wall);

    std::size_t dimensions() const { return axes_.size(); }
    const std::vector<Axis>& axes() const { return axes_; }
    double wall() const { return wall_; }

    /// V and walls at s, and their gradient by s.
    double energy(const double* s, double* gradient) const;

    /// Changes whenever the bias does.
    long version() const { return version_.load(std::memory_order_relaxed); }

    /// Adds a Gaussian of a width per mode.
    void add(const double* center, const double* width, double height);

    /// Numbers between neighbours along the axes counted as three, of which the last are there.
    const std::size_t* strides() const { return strides_; }

    /// V on the grid, the first mode along the first axis.
    std::vector<double> values() const;
    /// Throws std::invalid_argument for another number of points, or one that is not finite.
    void set_values(const std::vector<double>& values);

    /// c(t) = kT ln [∫ exp(γ/(γ-1) V/kT) / ∫ exp(1/(γ-1) V/kT)] on the grid (Tiwary and Parrinello,
    /// J. Phys. Chem. B 119, 736 (2015), equation 8). The sums follow the hills, so that it costs
    /// no walk over the grid.
    double offset(double bias_factor, double kt);

  private:
    void refresh_sums(double bias_factor, double kt);
    void raise(double& v, double more);

    std::vector<Axis> axes_;
    /// Axes are counted as three, of which the last ones are there.
    std::size_t place(std::size_t axis) const { return kMostModes - dimensions() + axis; }

    std::size_t strides_[kMostModes] = {0, 0, 0};  // between neighbours along each
    double wall_;
    std::vector<double> values_;
    mutable std::mutex lock_;
    std::atomic<long> version_{0};

    /// Σ exp(by · V - shift) over the grid, kept up to date as hills come.
    struct Sum {
        double by = 0.0, shift = 0.0, value = 0.0;
    };
    bool summed_ = false;
    double bias_factor_ = 0.0, kt_ = 0.0;
    Sum above_, below_;  // of the two integrals
};

}  // namespace symplectic_cv
