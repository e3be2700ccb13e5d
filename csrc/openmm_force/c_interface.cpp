// The C interface that openmm_plugin/native_library.py calls through ctypes. A function that fails returns
// something other than 0; scv_error() then says why.
#include <cmath>
#include <exception>
#include <stdexcept>
#include <string>

#include "flow_force.hpp"
#include "serialization.hpp"

#define SCV_EXPORT extern "C" __attribute__((visibility("default")))

namespace {

using symplectic_cv::FlowBiasForce;
using symplectic_cv::ModesCarrier;

thread_local std::string last_error;

template <typename Work>
int guarded(const Work& work) {
    try {
        work();
        return 0;
    } catch (const std::exception& error) {
        last_error = error.what();
        return 1;
    }
}

/// The force behind a pointer of OpenMM's Python wrapper.
template <typename F>
F& as(void* force) {
    auto* found = dynamic_cast<F*>(static_cast<OpenMM::Force*>(force));
    if (!found) throw std::invalid_argument("not a force of this kind");
    return *found;
}

}  // namespace

SCV_EXPORT const char* scv_error() { return last_error.c_str(); }

SCV_EXPORT int scv_register() {
    return guarded([] { symplectic_cv::register_forces(); });
}

/// The number of evaluations for the modes of this force's file.
SCV_EXPORT int scv_evaluations(void* force, long long* count) {
    return guarded([&] { *count = as<ModesCarrier>(force).shared().evaluations(); });
}

/// Modes and energy of a bias at positions of n atoms, in a box of 9 numbers or null.
SCV_EXPORT int scv_bias_evaluate(void* force, const double* positions, int n, const double* box,
                                 double* values, double* energy) {
    return guarded([&] {
        auto& bias = as<FlowBiasForce>(force);
        const auto& modes = bias.shared().modes();
        std::vector<double> chosen;
        for (auto atom : modes.atoms()) {
            if (atom >= n) throw std::invalid_argument("too few positions");
            chosen.insert(chosen.end(), positions + 3 * atom, positions + 3 * atom + 3);
        }
        symplectic_cv::Modes::Loan work(modes);
        modes.forward(*work, 1, chosen.data(), bias.periodic() ? box : nullptr, false, values);
        double slopes[symplectic_cv::kMostModes];
        *energy = bias.grid().energy(values, slopes);
        if (!std::isfinite(*energy)) throw std::runtime_error("the modes are not finite");
    });
}

SCV_EXPORT int scv_bias_add(void* force, const double* center, const double* width, double height) {
    return guarded([&] {
        auto& grid = as<FlowBiasForce>(force).grid();
        bool finite = std::isfinite(height);
        for (std::size_t k = 0; k < grid.dimensions(); ++k)
            finite &= std::isfinite(center[k]) && width[k] > 0.0;
        if (!finite) throw std::invalid_argument("a hill that is not finite");
        grid.add(center, width, height);
    });
}

SCV_EXPORT int scv_bias_offset(void* force, double bias_factor, double kt, double* offset) {
    return guarded([&] { *offset = as<FlowBiasForce>(force).grid().offset(bias_factor, kt); });
}

SCV_EXPORT int scv_bias_get(void* force, double* values, long long size) {
    return guarded([&] {
        const auto found = as<FlowBiasForce>(force).grid().values();
        if (static_cast<long long>(found.size()) != size)
            throw std::invalid_argument("another number of points");
        std::copy(found.begin(), found.end(), values);
    });
}

SCV_EXPORT int scv_bias_set(void* force, const double* values, long long size) {
    return guarded([&] {
        if (size < 0) throw std::invalid_argument("another number of points");
        as<FlowBiasForce>(force).grid().set_values(std::vector<double>(values, values + size));
    });
}
