#include "bias_grid.hpp"

#include <algorithm>
#include <cmath>
#include <stdexcept>

namespace symplectic_cv {

namespace {

constexpr int kStencil = 6;
constexpr double kReach = 9.0;  // widths; a Gaussian is 3e-18 of its height there
constexpr double kLargestExponent = 600.0;

/// Weights of the slope at `place` of a stencil of five points, in units per step.
void add_slope(int place, int first, double by, double* weights) {
    static const double at[5][5] = {{-25, 48, -36, 16, -3},
                                    {-3, -10, 18, -6, 1},
                                    {1, -8, 0, 8, -1},
                                    {-1, 6, -18, 10, 3},
                                    {3, -16, 36, -48, 25}};
    for (int k = 0; k < 5; ++k) weights[first + k] += by * at[place][k] / 12.0;
}

/// The six points around s that V(s) depends on, their weights, and those of dV/ds.
struct Stencil {
    int first;
    double value[kStencil], slope[kStencil];

    Stencil(const Axis& axis, double s) {
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

/// The part of an axis that a hill reaches: first point, and a factor for each.
std::vector<double> reach(const Axis& axis, double center, double width, int& first) {
    const double step = axis.step();
    const double low = std::ceil((center - kReach * width - axis.low) / step);
    const double high = std::floor((center + kReach * width - axis.low) / step);
    first = int(std::clamp(low, 0.0, double(axis.points)));
    const int last = int(std::clamp(high, -1.0, double(axis.points - 1)));
    std::vector<double> factors;
    for (int i = first; i <= last; ++i) {
        const double d = (axis.low + i * step - center) / width;
        factors.push_back(std::exp(-0.5 * d * d));
    }
    return factors;
}

}  // namespace

BiasGrid::BiasGrid(std::vector<Axis> axes, double wall) : axes_(std::move(axes)), wall_(wall) {
    if (axes_.empty() || axes_.size() > 2) throw std::invalid_argument("a grid of 1 or 2 modes");
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
}

double BiasGrid::energy(const double* s, double* gradient) const {
    const std::size_t d = dimensions();
    double inside[2], energy = 0.0;
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
    const std::lock_guard<std::mutex> held(lock_);
    const Stencil x(axes_[0], inside[0]);
    if (d == 1) {
        double slope = 0.0;
        for (int i = 0; i < kStencil; ++i) {
            energy += x.value[i] * values_[std::size_t(x.first + i)];
            slope += x.slope[i] * values_[std::size_t(x.first + i)];
        }
        if (inside[0] == s[0]) gradient[0] += slope;
        return energy;
    }
    const Stencil y(axes_[1], inside[1]);
    double by_x = 0.0, by_y = 0.0;
    for (int i = 0; i < kStencil; ++i) {
        const double* row = &values_[std::size_t(x.first + i) * std::size_t(axes_[1].points) +
                                     std::size_t(y.first)];
        double value = 0.0, slope = 0.0;
        for (int j = 0; j < kStencil; ++j) {
            value += y.value[j] * row[j];
            slope += y.slope[j] * row[j];
        }
        energy += x.value[i] * value;
        by_x += x.slope[i] * value;
        by_y += x.value[i] * slope;
    }
    if (inside[0] == s[0]) gradient[0] += by_x;
    if (inside[1] == s[1]) gradient[1] += by_y;
    return energy;
}

void BiasGrid::add(const double* center, const double* width, double height) {
    const std::lock_guard<std::mutex> held(lock_);
    int first[2] = {0, 0};
    const auto along = reach(axes_[0], center[0], width[0], first[0]);
    const auto across = dimensions() == 2 ? reach(axes_[1], center[1], width[1], first[1])
                                          : std::vector<double>{1.0};
    const std::size_t columns = dimensions() == 2 ? std::size_t(axes_[1].points) : 1;
    for (std::size_t i = 0; i < along.size(); ++i)
        for (std::size_t j = 0; j < across.size(); ++j) {
            double& v = values_[(std::size_t(first[0]) + i) * columns + std::size_t(first[1]) + j];
            const double more = height * along[i] * across[j], now = v + more;
            if (summed_) {
                for (Sum* sum : {&above_, &below_})
                    sum->value +=
                        std::exp(sum->by * now - sum->shift) - std::exp(sum->by * v - sum->shift);
                if (!(above_.by * now - above_.shift < kLargestExponent)) summed_ = false;
            }
            v = now;
        }
    ++version_;
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
