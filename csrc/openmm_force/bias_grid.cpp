#include "bias_grid.hpp"

#include <algorithm>
#include <cmath>
#include <stdexcept>

namespace symplectic_cv {

namespace {

constexpr int kStencil = 6;
constexpr double kReach = 9.0;  // widths; a Gaussian is 3e-18 of its height there
constexpr double kSmallest = 2.5e-18;  // fraction of a height; smaller values are cut off
constexpr double kLargestExponent = 600.0;
constexpr double kSlopes[5][5] = {{-25, 48, -36, 16, -3},
                                  {-3, -10, 18, -6, 1},
                                  {1, -8, 0, 8, -1},
                                  {-1, 6, -18, 10, 3},
                                  {3, -16, 36, -48, 25}};  // times 12

/// Weights of the slope at `place` of a stencil of five points, in units per step.
void add_slope(int place, int first, double by, double* weights) {
    for (int k = 0; k < 5; ++k) weights[first + k] += by * kSlopes[place][k] / 12.0;
}

/// The six points around s that V(s) depends on, their weights, and those of dV/ds. An axis that
/// is not there has one point.
struct Stencil {
    int first = 0, count = 1;
    double value[kStencil] = {1.0}, slope[kStencil] = {0.0};

    Stencil() = default;

    Stencil(const Axis& axis, double s) : count(kStencil) {
        const int n = axis.points;
        const double u = (s - axis.low) / axis.step();
        const int cell = std::clamp(int(u), 0, n - 2);
        first = std::clamp(cell - 2, 0, n - kStencil);
        const double t = u - cell, t2 = t * t, t3 = t2 * t;
        const int left = cell - first;
        std::fill(value, value + kStencil, 0.0);
        std::fill(slope, slope + kStencil, 0.0);
        value[left] += 2 * t3 - 3 * t2 + 1;
        value[left + 1] += 3 * t2 - 2 * t3;
        slope[left] += 6 * t2 - 6 * t;
        slope[left + 1] += 6 * t - 6 * t2;
        for (int end = 0; end < 2; ++end) {
            const int point = left + end;
            const int start = std::clamp(point - 2, 0, kStencil - 5);
            // near the ends of the axis the five points lie to one side
            add_slope(point - start, start, end == 0 ? t3 - 2 * t2 + t : t3 - t2, value);
            add_slope(point - start, start, end == 0 ? 3 * t2 - 4 * t + 1 : 3 * t2 - 2 * t, slope);
        }
        for (double& weight : slope) weight /= axis.step();
    }
};

/// The part of an axis that a hill reaches: its first point, and a factor for each. An axis that
/// is not there has one point.
struct Reach {
    std::size_t first = 0;
    std::vector<double> factors{1.0};

    Reach() = default;
    Reach(const Axis& axis, double center, double width) {
        const double step = axis.step();
        const double low = std::ceil((center - kReach * width - axis.low) / step);
        const double high = std::floor((center + kReach * width - axis.low) / step);
        first = std::size_t(std::clamp(low, 0.0, double(axis.points)));
        const int last = int(std::clamp(high, -1.0, double(axis.points - 1)));
        factors.clear();
        for (int i = int(first); i <= last; ++i) {
            const double d = (axis.low + i * step - center) / width;
            factors.push_back(std::exp(-0.5 * d * d));
        }
    }
};

}  // namespace

double slope_weight(int place, int k) { return kSlopes[place][k] / 12.0; }

BiasGrid::BiasGrid(std::vector<Axis> axes, double wall) : axes_(std::move(axes)), wall_(wall) {
    if (axes_.empty() || axes_.size() > kMostModes)
        throw std::invalid_argument("a grid of 1 to 3 modes");
    std::size_t points = 1;
    for (const Axis& axis : axes_) {
        if (axis.points < kStencil || axis.points > 1 << 14)
            throw std::invalid_argument("an axis of 6 to 16384 points");
        if (!(axis.high > axis.low) || !std::isfinite(axis.high - axis.low))
            throw std::invalid_argument("an axis from low to high");
        points *= std::size_t(axis.points);
    }
    if (!(wall_ >= 0.0) || !std::isfinite(wall_)) throw std::invalid_argument("a wall");
    values_.assign(points, 0.0);
    std::size_t stride = 1;
    for (std::size_t k = axes_.size(); k-- > 0; stride *= std::size_t(axes_[k].points))
        strides_[place(k)] = stride;
}

double BiasGrid::energy(const double* s, double* gradient) const {
    const std::size_t d = dimensions();
    double inside[kMostModes], energy = 0.0;
    for (std::size_t k = 0; k < d; ++k) {
        if (!std::isfinite(s[k])) {
            std::fill(gradient, gradient + d, s[k]);
            return s[k];
        }
        inside[k] = std::clamp(s[k], axes_[k].low, axes_[k].high);
        const double beyond = s[k] - inside[k];
        energy += 0.5 * wall_ * beyond * beyond;
        gradient[k] = wall_ * beyond;
    }
    Stencil at[kMostModes];
    for (std::size_t k = 0; k < d; ++k) at[place(k)] = Stencil(axes_[k], inside[k]);
    const Stencil &x = at[0], &y = at[1], &z = at[2];
    double slopes[kMostModes] = {0.0, 0.0, 0.0};
    const std::lock_guard<std::mutex> held(lock_);
    for (int i = 0; i < x.count; ++i)
        for (int j = 0; j < y.count; ++j) {
            const double* row = &values_[std::size_t(x.first + i) * strides_[0] +
                                         std::size_t(y.first + j) * strides_[1] +
                                         std::size_t(z.first)];
            double value = 0.0, slope = 0.0;
            for (int k = 0; k < z.count; ++k) {
                value += z.value[k] * row[k];
                slope += z.slope[k] * row[k];
            }
            const double both = x.value[i] * y.value[j];
            energy += both * value;
            slopes[0] += x.slope[i] * y.value[j] * value;
            slopes[1] += x.value[i] * y.slope[j] * value;
            slopes[2] += both * slope;
        }
    for (std::size_t k = 0; k < d; ++k)
        if (inside[k] == s[k]) gradient[k] += slopes[place(k)];
    return energy;
}

void BiasGrid::add(const double* center, const double* width, double height) {
    Reach along[kMostModes];
    for (std::size_t k = 0; k < dimensions(); ++k)
        along[place(k)] = Reach(axes_[k], center[k], width[k]);
    const std::lock_guard<std::mutex> held(lock_);
    for (std::size_t i = 0; i < along[0].factors.size(); ++i)
        for (std::size_t j = 0; j < along[1].factors.size(); ++j) {
            const double outer = along[0].factors[i] * along[1].factors[j];
            if (outer < kSmallest) continue;
            double* row = &values_[(along[0].first + i) * strides_[0] +
                                   (along[1].first + j) * strides_[1] + along[2].first];
            for (std::size_t k = 0; k < along[2].factors.size(); ++k) {
                const double part = outer * along[2].factors[k];
                if (part >= kSmallest) raise(row[k], height * part);
            }
        }
    ++version_;
}

/// Adds to V at one point, and to the sums over all points.
void BiasGrid::raise(double& v, double more) {
    const double before = v;
    v += more;
    if (!summed_) return;
    for (Sum* sum : {&above_, &below_})
        sum->value += std::exp(sum->by * before - sum->shift) * std::expm1(sum->by * more);
    if (!(above_.by * v - above_.shift < kLargestExponent)) summed_ = false;
}

std::vector<double> BiasGrid::values() const {
    const std::lock_guard<std::mutex> held(lock_);
    return values_;
}

void BiasGrid::set_values(const std::vector<double>& values) {
    if (values.size() != values_.size()) throw std::invalid_argument("another number of points");
    for (double v : values)
        if (!std::isfinite(v)) throw std::invalid_argument("a bias that is not finite");
    const std::lock_guard<std::mutex> held(lock_);
    values_ = values;
    summed_ = false;
    ++version_;
}

void BiasGrid::refresh_sums(double bias_factor, double kt) {
    const double top = *std::max_element(values_.begin(), values_.end());
    bias_factor_ = bias_factor;
    kt_ = kt;
    above_.by = bias_factor / (bias_factor - 1.0) / kt;
    below_.by = 1.0 / (bias_factor - 1.0) / kt;
    for (Sum* sum : {&above_, &below_}) {
        sum->shift = std::max(0.0, sum->by * top - 0.5 * kLargestExponent);
        sum->value = 0.0;
        for (double v : values_) sum->value += std::exp(sum->by * v - sum->shift);
    }
    summed_ = true;
}

double BiasGrid::offset(double bias_factor, double kt) {
    const std::lock_guard<std::mutex> held(lock_);
    if (!summed_ || bias_factor != bias_factor_ || kt != kt_) refresh_sums(bias_factor, kt);
    return kt * (std::log(above_.value) + above_.shift - std::log(below_.value) - below_.shift);
}

}  // namespace symplectic_cv
