// A flow that is evaluated on the GPU of a Context, without its positions leaving it.
#pragma once

#include <memory>
#include <string>

#include "bias_grid.hpp"
#include "flow.hpp"
#include "openmm/Force.h"
#include "openmm/internal/ContextImpl.h"

namespace symplectic_cv {

/// One force of one Context on a CUDA, HIP or OpenCL device. One kernel gathers the modelled atoms,
/// evaluates the flow and adds the forces: nothing is copied to the host but, now and then, a flag.
class GpuFlow {
  public:
    /// What becomes the energy: the value of `mode`, or the bias on `grid` where there is one.
    struct Purpose {
        int mode = -1;
        const BiasGrid* grid = nullptr;
        bool periodic = false;
        const OpenMM::Force* owner = nullptr;
    };

    /// Null where the Context's platform has no such device, its device lacks float64, several
    /// devices share the Context, the modes are too large for one block of threads, or the environment variable SYMPLECTIC_CV_HOST_FORCES is set.
    static std::unique_ptr<GpuFlow> make(OpenMM::ContextImpl& context, const Modes& modes,
                                         const Purpose& purpose);
    virtual ~GpuFlow() = default;

    /// Adds the forces to the buffer of the Context.
    ///
    /// Where no energy is asked for, the work runs beside the other forces: it starts before them,
    /// and is waited for, by the device alone, at the end of them.
    ///
    /// `value` becomes the energy where it is asked for, else 0. Returns false where a value was
    /// not finite, in this call or in one before; it is looked for when an energy is asked for, and
    /// in every `kLook`th call.
    virtual bool evaluate(bool forces, bool energy, double& value) = 0;

    static constexpr int kLook = 200;
};

}  // namespace symplectic_cv
