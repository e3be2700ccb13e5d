#include "gpu_flow.hpp"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <sstream>
#include <vector>

#include "openmm/OpenMMException.h"
#include "openmm/Platform.h"
#include "openmm/System.h"
#include "openmm/common/ArrayInterface.h"
#include "openmm/common/ComputeContext.h"
#include "openmm/common/ComputeEvent.h"
#include "openmm/common/ComputeKernel.h"
#include "openmm/common/ComputeProgram.h"
#include "openmm/common/ComputeQueue.h"
#include "openmm/common/ContextSelector.h"
#include "torsions.hpp"

namespace symplectic_cv {

namespace {

using OpenMM::ArrayInterface;
using OpenMM::ComputeContext;
using OpenMM::ContextImpl;
using OpenMM::Vec3;

const char* const kSource =
#include "gpu_kernels.inc.hpp"
    ;

constexpr int kThreads = 512, kThreadsOfTorsions = 64;
constexpr std::size_t kShared = 47 * 1024;  // bytes that every device has for one block
constexpr std::size_t kSumBytes = (9 * 16 + 9 + 9 + 12 + 36) * sizeof(double) + 64;
constexpr int kStride = 22;                 // numbers of a layer in the table

/// The beginning of PlatformData of CUDA, HIP and OpenCL, whose headers need those of the devices.
/// Their contexts derive from ComputeContext alone, and all that is used of them is virtual or
/// inline: this library is linked with none of the platforms.
struct PlatformDataHead {
    ContextImpl* context;
    std::vector<ComputeContext*> contexts;
};

/// The queues of a device, which its own methods would reach only in the libraries of the platforms.
struct Queues : ComputeContext {
    static OpenMM::ComputeQueue& current(ComputeContext& device) {
        return device.*(&Queues::currentQueue);
    }
};

/// Makes a device wait, at the end of all forces, for what runs beside them. The Context owns it.
struct WaitAtTheEnd final : ComputeContext::ForcePostComputation {
    ComputeContext& device;
    OpenMM::ComputeEvent done;
    bool pending = false;

    explicit WaitAtTheEnd(ComputeContext& on) : device(on), done(on.createEvent()) {}
    double computeForceAndEnergy(bool, bool, int) override {
        if (pending) done->queueWait(Queues::current(device));
        pending = false;
        return 0.0;
    }
};

class DeviceFlow;

/// Starts what runs beside the forces before any of them. The Context owns it.
struct StartAtTheBeginning final : ComputeContext::ForcePreComputation {
    DeviceFlow& flow;

    explicit StartAtTheBeginning(DeviceFlow& of) : flow(of) {}
    void computeForceAndEnergy(bool forces, bool energy, int groups) override;
};

/// The device of a Context; null where it has none of its own.
ComputeContext* device_of(ContextImpl& context) {
    const std::string& name = context.getPlatform().getName();
    if (name != "CUDA" && name != "HIP" && name != "OpenCL") return nullptr;
    if (const char* host = std::getenv("SYMPLECTIC_CV_HOST_FORCES"); host && *host) return nullptr;
    auto* data = static_cast<PlatformDataHead*>(context.getPlatformData());
    if (!data || data->context != &context || data->contexts.size() != 1) return nullptr;
    ComputeContext* device = data->contexts[0];
    return device->getSupportsDoublePrecision() && device->getSupports64BitGlobalAtomics()
               ? device
               : nullptr;
}

/// The numbers of a flow as the kernel reads them, and the constants it is compiled with.
struct Program {
    std::vector<float> weights;
    std::vector<double> doubles;
    std::vector<int> integers, lists;
    std::map<std::string, std::string> defines;
    std::size_t tape = 1, shared = 0;

    Program(const Flow& flow, const GpuFlow::Purpose& purpose, int threads);
    Program(const Torsions& torsions, const GpuFlow::Purpose& purpose);

  private:
    void define(const std::string& name, double value) {
        std::ostringstream text;
        text.precision(17);
        text << '(' << value << ')';
        defines[name] = text.str();
    }
    /// Starts at a multiple of four numbers, which are read at once.
    int add_floats(const float* from, std::size_t size) {
        weights.resize((weights.size() + 3) / 4 * 4, 0.0f);
        const int place = int(weights.size());
        weights.insert(weights.end(), from, from + size);
        return place;
    }
    int add_list(const std::vector<int>& list) {
        const int place = int(lists.size());
        lists.insert(lists.end(), list.begin(), list.end());
        return place;
    }
    void add_layer(const LayerPlan& plan);
    void add_grid(const BiasGrid& grid);
    /// What both kinds of modes define; `bytes` is what they share without numbers and lists.
    void finish(int atoms, int modes, const GpuFlow::Purpose& purpose, std::size_t bytes);
    int widest_ = 0, columns_of_product_ = 0;
};

Program::Program(const Flow& flow, const GpuFlow::Purpose& purpose, int threads) {
    const Frame& frame = flow.frame();
    const int n = frame.n_atoms(), dimension = flow.dimension();
    const int columns = padded(dimension), rows = padded(3 * n);
    const int stored = int(flow.origin().size());  // columns of the flow's own matrix
    const auto entry = [&](int i, int j) {
        return float(flow.to_modes()[std::size_t(i) * std::size_t(stored) + std::size_t(j)]);
    };
    for (int i = 0; i < 3 * n; ++i)
        for (int j = 0; j < columns; ++j)
            weights.push_back(j < dimension ? entry(i, j) : 0.0f);
    for (int j = 0; j < columns; ++j)
        weights.push_back(j < dimension ? float(flow.origin()[std::size_t(j)]) : 0.0f);
    for (int j = 0; j < dimension; ++j)
        for (int i = 0; i < rows; ++i)
            weights.push_back(i < 3 * n ? entry(i, j) : 0.0f);

    double total = 0.0;
    doubles = frame.reference();
    for (double mass : frame.masses()) {
        doubles.push_back(mass);
        total += mass;
    }
    for (double omega : flow.omega()) doubles.push_back(omega);

    widest_ = std::max(rows, columns);
    columns_of_product_ = widest_;
    const auto plans = flow.plan();
    for (const LayerPlan& plan : plans) add_layer(plan);
    for (int place : flow.chosen()) integers.push_back(place);
    std::vector<int> parent(std::size_t(n), -1);
    for (std::size_t k = 0; k < frame.links().size(); k += 2)
        parent[std::size_t(frame.links()[k + 1])] = int(frame.links()[k]);
    integers.insert(integers.end(), parent.begin(), parent.end());
    const int parts = std::max(4 * threads, columns_of_product_);
    define("TORSIONS", 0);
    define("DIMENSION", dimension);
    define("COLUMNS", columns);
    define("ROWS", rows);
    define("LAYERS", double(plans.size()));
    define("STRIDE", kStride);
    define("WIDEST", widest_);
    define("PARTS", parts);
    define("TOTAL_MASS", total);
    define("SINGULAR", kSingular * frame.determinant());
    finish(n, flow.n_modes(), purpose,
           3 * std::size_t(n) * sizeof(double) +
               (std::size_t(columns) + 2 * std::size_t(widest_) + std::size_t(parts)) *
                   sizeof(float));
}

Program::Program(const Torsions& torsions, const GpuFlow::Purpose& purpose) {
    for (const Torsions::Torsion& torsion : torsions.torsions()) {
        for (std::size_t atom : torsion.atoms) integers.push_back(int(atom));
        integers.push_back(torsion.fold);
    }
    doubles = torsions.coefficients();
    doubles.insert(doubles.end(), torsions.constant().begin(), torsions.constant().end());
    weights.push_back(0.0f);  // none, and no array can be empty
    const std::size_t count = torsions.torsions().size();
    define("TORSIONS", double(count));
    define("ORDER", torsions.order());
    define("LINE", Torsions::kLine);
    const std::size_t modes = purpose.grid ? purpose.grid->dimensions() : 1;
    finish(torsions.n_atoms(), torsions.n_modes(), purpose,
           count * (12 + 2 * modes) * sizeof(double));
}

void Program::finish(int atoms, int modes, const GpuFlow::Purpose& purpose, std::size_t bytes) {
    define("GRID_AT", double(lists.size()));
    if (purpose.grid) add_grid(*purpose.grid);
    integers.insert(integers.end(), lists.begin(), lists.end());

    shared = 3 * std::size_t(atoms) * sizeof(double) + kSumBytes + bytes;
    const auto fits = [&](std::size_t more) {
        const bool yes = shared + more <= kShared;
        if (yes) shared += more;
        return yes;
    };
    define("DOUBLES_ARE_LOCAL", fits(doubles.size() * sizeof(double)));
    define("INTEGERS_ARE_LOCAL", fits(integers.size() * sizeof(int)));
    define("TAPE_IS_LOCAL", fits(tape * sizeof(float)));
    define("DOUBLES", double(doubles.size()));
    define("INTEGERS", double(integers.size()));
    define("TAPE", double(tape));
    define("ATOMS", atoms);
    define("MODES", modes);
    define("MODE", purpose.grid ? -1 : purpose.mode);
    define("FIRST", purpose.grid ? 0 : purpose.mode);
    define("COUNT", purpose.grid ? modes : 1);
    define("PERIODIC", purpose.periodic);
}

void Program::add_layer(const LayerPlan& plan) {
    const auto size = [](int a, int b) { return std::size_t(a) * std::size_t(b); };
    const int wide = plan.hidden_padded, kept = int(plan.kept.size());
    std::vector<float> numbers{plan.bound};
    int bins = 0;
    std::size_t change = 3 * std::size_t(plan.width);
    if (plan.spline) {
        bins = plan.limits.bins;
        numbers = {plan.limits.least_bin, plan.limits.least_slope, plan.limits.end_slope};
        numbers.insert(numbers.end(), plan.half.begin(), plan.half.end());
        change = std::size_t(plan.width) * std::size_t(4 * bins + 1);
    }
    const int row[kStride] = {plan.spline,
                              add_list(plan.kept),
                              add_list(plan.moved),
                              kept,
                              int(plan.moved.size()),
                              plan.hidden,
                              wide,
                              plan.in_padded,
                              plan.out,
                              plan.width,
                              add_floats(plan.w1, size(kept, wide)),
                              add_floats(plan.b1, size(1, wide)),
                              add_floats(plan.w2, size(plan.hidden, wide)),
                              add_floats(plan.b2, size(1, wide)),
                              add_floats(plan.w3, size(plan.hidden, plan.out)),
                              add_floats(plan.b3, size(1, plan.out)),
                              add_floats(plan.w3_back, size(plan.out, wide)),
                              add_floats(plan.w2_back, size(plan.hidden, wide)),
                              add_floats(plan.w1_back, size(plan.hidden, plan.in_padded)),
                              add_floats(numbers.data(), numbers.size()),
                              bins,
                              int(tape)};
    integers.insert(integers.end(), row, row + kStride);
    tape += 2 * std::size_t(wide) + change;
    for (int wanted : {wide, plan.in_padded, plan.out}) widest_ = std::max(widest_, wanted);
    columns_of_product_ = std::max(columns_of_product_, widest_);
}

void Program::add_grid(const BiasGrid& grid) {
    for (const Axis& axis : grid.axes())
        for (double number : {axis.low, axis.high, 1.0 / axis.step()}) doubles.push_back(number);
    for (int place = 0; place < 5; ++place)
        for (int k = 0; k < 5; ++k) doubles.push_back(slope_weight(place, k));
    for (std::size_t k = 0; k < kMostModes; ++k) lists.push_back(int(grid.strides()[k]));
    for (const Axis& axis : grid.axes()) lists.push_back(axis.points);
    define("DIMENSIONS", double(grid.dimensions()));
    define("WALL", grid.wall());
}

class DeviceFlow final : public GpuFlow {
  public:
    DeviceFlow(ContextImpl& context, ComputeContext& device, const Modes& modes,
               const Purpose& purpose, Program program, int threads)
        : context_(context), device_(device), purpose_(purpose), threads_(threads) {
        for (std::int64_t atom : modes.atoms()) atoms_.push_back(int(atom));
        slots_.assign(atoms_.size(), -1);
        const OpenMM::ContextSelector selected(device_);
        program.defines["MIXED"] = device_.getUseMixedPrecision() ? "1" : "0";
        fill(weights_, program.weights, "scvWeights");
        fill(doubles_, program.doubles, "scvDoubles");
        fill(integers_, program.integers, "scvIntegers");
        fill(results_, std::vector<double>{0.0, 0.0}, "scvResults");
        fill(tape_, std::vector<float>(program.tape, 0.0f), "scvTape");
        fill(places_, slots_, "scvSlots");
        fill(grid_, purpose.grid ? purpose.grid->values() : std::vector<double>{0.0}, "scvGrid");
        kernel_ = device_.compileProgram(kSource, program.defines)->createKernel("scvEvaluate");
        queue_ = device_.createQueue();
        ready_ = device_.createEvent();
        end_ = new WaitAtTheEnd(device_);
        device_.getPostComputations().push_back(end_);
        fill(cleared_, std::vector<int>(16, 1), "scvCleared");
        device_.addAutoclearBuffer(*cleared_);
        device_.getPreComputations().push_back(new StartAtTheBeginning(*this));
    }

    /// Called before all forces.
    void begin(bool forces, bool energy, int groups) {
        begun_ = false;
        if (end_->pending) {  // another force has thrown since
            end_->done->wait();
            end_->pending = false;
        }
        const bool wanted = (groups & (1 << purpose_.owner->getForceGroup())) != 0;
        if (!wanted || !forces || energy || (calls_ + 1) % kLook == 0) return;
        const OpenMM::ContextSelector selected(device_);
        if (early_ == Early::kUnknown) {
            std::vector<int> found(16);
            cleared_->download(found.data());
            // what is added to the buffers here must not be cleared after it
            early_ = found[0] == 0 ? Early::kYes : Early::kNo;
        }
        if (early_ == Early::kNo) return;
        ++calls_;
        prepare(true);
        run_beside();
        begun_ = true;
    }

    ~DeviceFlow() override {
        const OpenMM::ContextSelector selected(device_);
        kernel_.reset();
        ready_.reset();
        queue_.reset();
    }

    bool evaluate(bool forces, bool energy, double& value) override {
        value = 0.0;
        if (begun_) {
            begun_ = false;
            return true;
        }
        const OpenMM::ContextSelector selected(device_);
        prepare(forces);
        if (!energy && ++calls_ % kLook != 0) {
            run_beside();
            return true;
        }
        kernel_->execute(threads_, threads_);
        double results[2];
        results_->download(results);
        if (energy) value = results[0];
        if (results[1] == 0.0) return true;
        const double none[2] = {0.0, 0.0};
        results_->upload(none);
        return false;
    }

  private:
    using Array = std::unique_ptr<ArrayInterface>;
    enum Argument { kForces = 11, kBox = 12 };

    /// What the kernel is to read: the places of the atoms, the bias and the box of now.
    void prepare(bool forces) {
        if (!bound_) bind();
        follow_order();
        if (purpose_.grid && purpose_.grid->version() != felt_) {
            felt_ = purpose_.grid->version();  // first: what comes after it is taken next time
            grid_->upload(purpose_.grid->values().data());
        }
        kernel_->setArg(kForces, int(forces));
        if (!purpose_.periodic) return;
        Vec3 edges[3];
        context_.getPeriodicBoxVectors(edges[0], edges[1], edges[2]);
        for (int a = 0; a < 3; ++a)
            for (int c = 0; c < 3; ++c) kernel_->setArg(kBox + 3 * a + c, edges[a][c]);
    }

    /// Runs the kernel in a queue of its own, from here to the end of all forces.
    void run_beside() {
        OpenMM::ComputeQueue& current = Queues::current(device_);
        const OpenMM::ComputeQueue before = current;
        ready_->enqueue();
        ready_->queueWait(queue_);
        current = queue_;
        try {
            kernel_->execute(threads_, threads_);
            end_->done->enqueue();
        } catch (...) {
            current = before;
            throw;
        }
        current = before;
        end_->pending = true;
    }

    template <typename T>
    void fill(Array& array, const std::vector<T>& values, const std::string& name) {
        array.reset(device_.createArray());
        array->initialize(device_, values.size(), int(sizeof(T)), name);
        array->upload(values.data());
    }

    /// The arguments that stay; the Context's own buffers exist when it first computes forces.
    void bind() {
        ArrayInterface& correction =
            device_.getUseMixedPrecision() ? device_.getPosqCorrection() : device_.getPosq();
        kernel_->addArg(device_.getPosq());
        kernel_->addArg(correction);
        for (Array* array : {&places_, &integers_, &weights_, &doubles_, &grid_, &tape_})
            kernel_->addArg(**array);
        kernel_->addArg(device_.getLongForceBuffer());
        kernel_->addArg(*results_);
        kernel_->addArg(device_.getPaddedNumAtoms());
        kernel_->addArg(int(1));
        for (int k = 0; k < 9; ++k) kernel_->addArg(double(k % 4 == 0));
        bound_ = true;
    }

    /// The device sorts its atoms anew now and then: where the modelled ones are.
    void follow_order() {
        const std::vector<int>& order = device_.getAtomIndex();
        bool same = true;
        for (std::size_t k = 0; k < atoms_.size() && same; ++k)
            same = slots_[k] >= 0 && order[std::size_t(slots_[k])] == atoms_[k];
        if (same) return;
        std::map<int, std::size_t> wanted;
        for (std::size_t k = 0; k < atoms_.size(); ++k) wanted[atoms_[k]] = k;
        for (std::size_t slot = 0; slot < order.size(); ++slot)
            if (const auto found = wanted.find(order[slot]); found != wanted.end())
                slots_[found->second] = int(slot);
        places_->upload(slots_.data());
    }

    enum class Early { kUnknown, kYes, kNo };

    ContextImpl& context_;
    ComputeContext& device_;
    Purpose purpose_;
    int threads_;
    std::vector<int> atoms_, slots_;
    Array weights_, doubles_, integers_, places_, grid_, tape_, results_, cleared_;
    OpenMM::ComputeKernel kernel_;
    OpenMM::ComputeQueue queue_;
    OpenMM::ComputeEvent ready_;
    WaitAtTheEnd* end_ = nullptr;
    Early early_ = Early::kUnknown;
    bool bound_ = false, begun_ = false;
    long felt_ = -1, calls_ = 0;
};

void StartAtTheBeginning::computeForceAndEnergy(bool forces, bool energy, int groups) {
    flow.begin(forces, energy, groups);
}

}  // namespace

std::unique_ptr<GpuFlow> GpuFlow::make(ContextImpl& context, const Modes& modes,
                                       const Purpose& purpose) {
    ComputeContext* device = device_of(context);
    if (!device) return nullptr;
    // a device moves whole molecules into the box: without the box here they would not join again
    if (!purpose.periodic && context.getSystem().usesPeriodicBoundaryConditions()) return nullptr;
    const int threads = std::min(kThreads, device->getMaxThreadBlockSize());
    const auto made = [&](Program program, int count) -> std::unique_ptr<GpuFlow> {
        if (program.shared > kShared) return nullptr;
        return std::make_unique<DeviceFlow>(context, *device, modes, purpose, std::move(program),
                                            count);
    };
    if (const auto* flow = dynamic_cast<const Flow*>(&modes))
        return made(Program(*flow, purpose, threads), threads);
    if (const auto* torsions = dynamic_cast<const Torsions*>(&modes))
        return made(Program(*torsions, purpose), std::min(kThreadsOfTorsions, threads));
    return nullptr;
}

}  // namespace symplectic_cv
