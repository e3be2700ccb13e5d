#include "flow_force.hpp"

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "gpu_flow.hpp"
#include "openmm/OpenMMException.h"
#include "openmm/System.h"
#include "openmm/internal/ContextImpl.h"
#include "openmm/internal/CustomCPPForceImpl.h"

namespace symplectic_cv {

namespace {

using OpenMM::ContextImpl;
using OpenMM::Vec3;

/// One force in one Context: one thread at a time.
class FlowImpl : public OpenMM::CustomCPPForceImpl {
  public:
    explicit FlowImpl(const ModesCarrier& owner) : CustomCPPForceImpl(owner), carrier_(owner) {}

    void initialize(ContextImpl& context) override {
        const int n = context.getSystem().getNumParticles();
        for (std::int64_t atom : carrier_.shared().modes().atoms())
            if (atom >= n)
                throw OpenMM::OpenMMException(
                    "symplectic-cv: the model's atom " + std::to_string(atom + 1) +
                    " is not in the system, which has " + std::to_string(n) + " particles");
        gpu_ = GpuFlow::make(context, carrier_.shared().modes(), purpose());
        if (gpu_) return;
        positions_.resize(3 * carrier_.shared().modes().atoms().size());
        CustomCPPForceImpl::initialize(context);
    }

    double calcForcesAndEnergy(ContextImpl& context, bool forces, bool energy,
                               int groups) override {
        if (!gpu_) return CustomCPPForceImpl::calcForcesAndEnergy(context, forces, energy, groups);
        if ((groups & (1 << carrier_.getForceGroup())) == 0) return 0.0;
        before_gpu();
        double value = 0.0;
        if (!gpu_->evaluate(forces, energy, value)) not_finite(what());
        return value;
    }

    const OpenMM::Force& getOwner() const override { return carrier_; }

  protected:
    const ModesCarrier& carrier() const { return carrier_; }
    /// What a GPU is to compute.
    virtual GpuFlow::Purpose purpose() const = 0;
    /// Called before each evaluation on a GPU.
    virtual void before_gpu() {}
    /// The name of the value, for errors.
    virtual std::string what() const = 0;

    /// The modelled atoms out of all, (N, 3).
    const double* gather(const std::vector<Vec3>& positions) {
        double* out = positions_.data();
        for (std::int64_t atom : carrier_.shared().modes().atoms())
            for (int c = 0; c < 3; ++c) *out++ = positions[std::size_t(atom)][c];
        return positions_.data();
    }

    /// The box where it matters, else null.
    const double* box(ContextImpl& context) {
        if (!carrier_.periodic()) return nullptr;
        Vec3 edges[3];
        context.getPeriodicBoxVectors(edges[0], edges[1], edges[2]);
        for (int a = 0; a < 3; ++a)
            for (int c = 0; c < 3; ++c) box_[3 * a + c] = edges[a][c];
        return box_;
    }

    /// Forces -gradient on the modelled atoms and nothing on all others.
    void scatter(const double* gradient, std::vector<Vec3>& forces) const {
        std::fill(forces.begin(), forces.end(), Vec3());
        for (std::int64_t atom : carrier_.shared().modes().atoms()) {
            forces[std::size_t(atom)] = Vec3(-gradient[0], -gradient[1], -gradient[2]);
            gradient += 3;
        }
    }

    /// Throws where a result is not finite: a simulation must not go on with it.
    void check(double energy, const double* gradient) const {
        bool finite = std::isfinite(energy);
        for (std::size_t i = 0; i < positions_.size(); ++i) finite &= std::isfinite(gradient[i]);
        if (!finite) not_finite(what());
    }

  private:
    [[noreturn]] void not_finite(const std::string& what) const {
        throw OpenMM::OpenMMException("symplectic-cv: " + what + " of " + carrier_.getName() +
                                      " is not finite: the structure is broken, " +
                                      carrier_.shared().modes().undefined_where() +
                                      ", or it is far from all that the model has learned");
    }

    const ModesCarrier& carrier_;
    std::unique_ptr<GpuFlow> gpu_;
    std::vector<double> positions_;
    double box_[9];
};

class ModeImpl final : public FlowImpl {
  public:
    explicit ModeImpl(const FlowForce& owner) : FlowImpl(owner), mode_(owner.mode()) {}

    double computeForce(ContextImpl& context, const std::vector<Vec3>& positions,
                        std::vector<Vec3>& forces) override {
        carrier().shared().evaluate(&context, gather(positions), box(context), result_);
        const std::size_t size = result_.gradients.size() / result_.values.size();
        const double* gradient = &result_.gradients[std::size_t(mode_) * size];
        const double value = result_.values[std::size_t(mode_)];
        check(value, gradient);
        scatter(gradient, forces);
        return value;
    }

  protected:
    GpuFlow::Purpose purpose() const override { return {mode_, nullptr, carrier().periodic(), &carrier()}; }
    std::string what() const override { return "mode " + std::to_string(mode_); }

  private:
    int mode_;
    Evaluation result_;
};

class BiasImpl final : public FlowImpl {
  public:
    explicit BiasImpl(const FlowBiasForce& owner)
        : FlowImpl(owner), grid_(owner.grid()), work_(owner.shared().modes().workspace()) {}

    void updateContextState(ContextImpl&, bool& forcesInvalid) override {
        if (grid_.version() != felt_) forcesInvalid = true;  // a hill has come since
    }

    double computeForce(ContextImpl& context, const std::vector<Vec3>& positions,
                        std::vector<Vec3>& forces) override {
        // the slope of the bias is known after the forward pass: one reverse pass for all modes
        const Modes& modes = carrier().shared().modes();
        double values[kMostModes], slopes[kMostModes];
        felt_ = grid_.version();
        gradient_.resize(3 * std::size_t(modes.n_atoms()));
        modes.forward(*work_, 1, gather(positions), box(context), true, values);
        const double energy = grid_.energy(values, slopes);
        modes.reverse(*work_, 1, 1, slopes, gradient_.data());
        check(energy, gradient_.data());
        scatter(gradient_.data(), forces);
        return energy;
    }

  protected:
    GpuFlow::Purpose purpose() const override { return {-1, &grid_, carrier().periodic(), &carrier()}; }
    void before_gpu() override { felt_ = grid_.version(); }
    std::string what() const override { return "the bias"; }

  private:
    BiasGrid& grid_;
    long felt_ = -1;
    std::unique_ptr<Workspace> work_;
    std::vector<double> gradient_;
};

}  // namespace

FlowForce::FlowForce(std::shared_ptr<SharedModes> shared, bool periodic, int mode)
    : ModesCarrier(std::move(shared), periodic), mode_(mode) {
    if (mode < 0 || mode >= this->shared().modes().n_modes())
        throw std::invalid_argument("the file has no mode at place " + std::to_string(mode));
}

OpenMM::ForceImpl* FlowForce::createImpl() const { return new ModeImpl(*this); }

FlowBiasForce::FlowBiasForce(std::shared_ptr<SharedModes> shared, bool periodic,
                             std::unique_ptr<BiasGrid> grid)
    : ModesCarrier(std::move(shared), periodic), grid_(std::move(grid)) {
    if (grid_->dimensions() != std::size_t(this->shared().modes().n_modes()))
        throw std::invalid_argument("the grid has not one axis per mode of the file");
}

OpenMM::ForceImpl* FlowBiasForce::createImpl() const { return new BiasImpl(*this); }

}  // namespace symplectic_cv
