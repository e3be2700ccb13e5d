// b' = b · exp(s(a)) + t(a), s = bound · tanh: symplectic_cv/flows/coupling.py.
#include <cmath>

#include "error.hpp"
#include "layers.hpp"

namespace symplectic_cv {

namespace {

std::vector<int> places_of(const std::vector<int>& moved, const std::vector<int>& places) {
    std::vector<int> out;
    for (int place : places) out.push_back(moved[std::size_t(place)]);
    return out;
}

class AffineCoupling final : public Coupling {
  public:
    AffineCoupling(std::vector<int> kept, std::vector<int> moved, Conditioner conditioner,
                   float bound)
        : Coupling(std::move(kept), std::move(moved), std::move(conditioner)), bound_(bound) {}

    LayerPlan plan() const override {
        LayerPlan plan = common_plan();
        plan.bound = bound_;
        return plan;
    }

  protected:
    std::size_t change_tape_size() const override { return 3 * std::size_t(width()); }
    void change(const Kernels& kernels, float* c, float* b, float* tape) const override {
        kernels.affine_forward(width(), bound_, c, b, tape, tape + width(), tape + 2 * width());
    }
    void change_back(const Kernels& kernels, float* tape, float* p, float* on_c) const override {
        kernels.affine_reverse(width(), bound_, tape, tape + width(), tape + 2 * width(), p, on_c);
    }

  private:
    float bound_;
};

}  // namespace

std::unique_ptr<Layer> make_affine(const Safetensors& file, const std::string& prefix,
                                   const CouplingHalves& halves, const std::vector<int>& places) {
    const auto bound = file.doubles(prefix + "bound", 1);
    require(bound.size() == 1 && bound[0] > 0.0 && bound[0] <= 80.0,
            "tensor " + prefix + "bound is not one number above 0");
    const int n = int(halves.moved.size()), width = padded(int(places.size()));
    std::vector<int> outputs(std::size_t(2 * width), -1);
    for (std::size_t i = 0; i < places.size(); ++i) {
        outputs[i] = places[i];
        outputs[std::size_t(width) + i] = n + places[i];
    }
    Conditioner conditioner(file, prefix, int(halves.kept.size()), 2 * n, outputs);
    return std::make_unique<AffineCoupling>(halves.kept, places_of(halves.moved, places),
                                            std::move(conditioner), float(bound[0]));
}

}  // namespace symplectic_cv
