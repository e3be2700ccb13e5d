// b' = spline(b; c(a)) on [-W, W], the identity outside: symplectic_cv/flows/spline.py.
#include <cmath>

#include "error.hpp"
#include "layers.hpp"

namespace symplectic_cv {

namespace {

constexpr int kMostBins = 1024;

class SplineCoupling final : public Coupling {
  public:
    SplineCoupling(std::vector<int> kept, std::vector<int> moved, Conditioner conditioner,
                   SplineLimits limits, const std::vector<double>& half)
        : Coupling(std::move(kept), std::move(moved), std::move(conditioner)),
          limits_(limits),
          half_(std::size_t(width()), 1.0f),
          inverse_half_(std::size_t(width()), 1.0f) {
        for (std::size_t i = 0; i < half.size(); ++i) {
            half_[i] = float(half[i]);
            inverse_half_[i] = float(1.0 / half[i]);
        }
    }

    LayerPlan plan() const override {
        LayerPlan plan = common_plan();
        plan.spline = true;
        plan.limits = limits_;
        plan.half.assign(half_.begin(), half_.end());
        return plan;
    }

  protected:
    std::size_t change_tape_size() const override {
        return std::size_t(width()) * std::size_t(4 * limits_.bins - 2 + 3);
    }
    void change(const Kernels& kernels, float* c, float* b, float* tape) const override {
        const SplineTape at = parts(tape);
        std::copy(c, c + (3 * limits_.bins - 1) * width(), at.shape);
        kernels.spline_forward(width(), limits_, half_.data(), inverse_half_.data(), b, at);
    }
    void change_back(const Kernels& kernels, float* tape, float* p, float* on_c) const override {
        kernels.spline_reverse(width(), limits_, half_.data(), parts(tape), p, on_c);
    }

  private:
    SplineTape parts(float* tape) const {
        const int n = width(), bins = limits_.bins;
        float* sigmoid = tape + (3 * bins - 1) * n;
        float* argument = sigmoid + (bins - 1) * n;
        return {tape, sigmoid, argument, argument + n, argument + 2 * n};
    }

    SplineLimits limits_;
    Aligned<float> half_, inverse_half_;
};

}  // namespace

std::unique_ptr<Layer> make_spline(const Safetensors& file, const std::string& prefix,
                                   const CouplingHalves& halves, const std::vector<int>& places) {
    const int n = int(halves.moved.size()), width = padded(int(places.size()));
    const auto half = file.doubles(prefix + "half_width", 1);
    require(half.size() == std::size_t(n), "tensor " + prefix + "half_width has a wrong length");
    for (double w : half)
        require(w > 1e-30 && w < 1e30, "tensor " + prefix + "half_width is not positive");
    const auto limits = file.doubles(prefix + "limits", 1);
    require(limits.size() == 3, "tensor " + prefix + "limits is not three numbers");
    const auto& last = file.shape(prefix + "w3");
    require(last.size() == 2 && last[0] % std::uint64_t(n) == 0 &&
                (last[0] / std::uint64_t(n) + 1) % 3 == 0,
            "tensor " + prefix + "w3 does not describe whole splines");
    const std::uint64_t bins = (last[0] / std::uint64_t(n) + 1) / 3;
    require(bins >= 2 && bins <= kMostBins, "the splines of " + prefix + " have too many bins");
    require(limits[0] > 0.0 && limits[0] * double(bins) < 1.0 && limits[1] > 0.0 &&
                limits[1] < 1.0 && limits[2] > 0.0 && limits[2] < 1e3,
            "tensor " + prefix + "limits describes no spline");

    const int k = int(bins);
    std::vector<int> outputs(std::size_t((3 * k - 1) * width), -1);
    std::vector<int> moved;
    std::vector<double> half_of_moved;
    for (std::size_t i = 0; i < places.size(); ++i) {
        const int place = places[i];
        moved.push_back(halves.moved[std::size_t(place)]);
        half_of_moved.push_back(half[std::size_t(place)]);
        for (int bin = 0; bin < k; ++bin) {
            outputs[std::size_t(bin * width) + i] = place * k + bin;
            outputs[std::size_t((k + bin) * width) + i] = (n + place) * k + bin;
            if (bin < k - 1)
                outputs[std::size_t((2 * k + bin) * width) + i] = 2 * n * k + place * (k - 1) + bin;
        }
    }
    Conditioner conditioner(file, prefix, int(halves.kept.size()), n * (3 * k - 1), outputs);
    return std::make_unique<SplineCoupling>(
        halves.kept, std::move(moved), std::move(conditioner),
        SplineLimits{k, float(limits[0]), float(limits[1]), float(limits[2])}, half_of_moved);
}

}  // namespace symplectic_cv
