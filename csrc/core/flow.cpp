#include "flow.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "error.hpp"
#include "safetensors.hpp"

namespace symplectic_cv {

namespace {

constexpr std::size_t kMostAtoms = 100'000;
constexpr std::size_t kMostLayers = 4096;
enum Kind : std::int64_t { kAffine = 0, kSpline = 1 };

int padded_doubles(int n) { return (n + 7) / 8 * 8; }

Frame read_frame(const Safetensors& file) {
    const auto& shape = file.shape("masses");
    require(shape.size() == 1 && shape[0] >= 3 && shape[0] <= kMostAtoms,
            "the number of atoms is not from 3 to 100000");
    const auto& reference = file.shape("reference");
    require(reference.size() == 2 && reference[1] == 3, "tensor reference is not of shape (N, 3)");
    const auto& links = file.shape("links");
    require(links.size() == 2 && links[1] == 2, "tensor links is not of shape (N-1, 2)");
    return Frame(file.doubles("reference", 2), file.doubles("masses", 1),
                 file.integers("links", 2));
}

}  // namespace

Flow::Flow(const Safetensors& file, std::string sha256, const char* instructions)
    : Modes(file, std::move(sha256)),
      kernels_(choose_kernels(instructions)),
      frame_(read_frame(file)) {
    const int n_atoms = frame_.n_atoms();
    require(this->n_atoms() == n_atoms, "tensor atoms has not one place per atom");

    const auto to_modes = file.doubles("to_modes", 2);
    const auto& shape = file.shape("to_modes");
    require(shape[0] == 3 * std::uint64_t(n_atoms) && shape[1] >= 1 && shape[1] <= shape[0],
            "tensor to_modes is not of shape (3N, n)");
    dimension_ = int(shape[1]);
    const auto origin = file.doubles("origin", 1);
    require(origin.size() == std::size_t(dimension_), "tensor origin has a wrong length");
    const std::size_t n = std::size_t(dimension_), width = std::size_t(padded_doubles(dimension_)),
                      columns = std::size_t(padded_doubles(3 * n_atoms));
    to_modes_.assign(3 * std::size_t(n_atoms) * width, 0.0);
    from_modes_.assign(n * columns, 0.0);
    origin_.assign(width, 0.0);
    for (std::size_t j = 0; j < n; ++j) {
        require(std::isfinite(origin[j]), "tensor origin is not finite");
        origin_[j] = -origin[j];
        for (std::size_t i = 0; i < 3 * std::size_t(n_atoms); ++i) {
            const double value = to_modes[i * n + j];
            require(std::isfinite(value), "tensor to_modes is not finite");
            to_modes_[i * width + j] = from_modes_[j * columns + i] = value;
        }
    }

    omega_ = file.doubles("omega", 1);
    const auto chosen = file.integers("chosen", 1);
    require(!chosen.empty() && chosen.size() == omega_.size(),
            "tensors chosen and omega do not name the same modes");
    std::vector<bool> seen(n, false);
    for (std::size_t k = 0; k < chosen.size(); ++k) {
        require(chosen[k] >= 0 && chosen[k] < dimension_ && !seen[std::size_t(chosen[k])],
                "tensor chosen names a mode twice, or one that is not there");
        seen[std::size_t(chosen[k])] = true;
        chosen_.push_back(int(chosen[k]));
        require(omega_[k] > 0.0 && std::isfinite(omega_[k]), "tensor omega is not positive");
    }
    read_layers(file);
}

void Flow::read_layers(const Safetensors& file) {
    const auto kinds = file.integers("layers", 1);
    require(kinds.size() <= kMostLayers, "it has too many layers");
    n_couplings_ = int(kinds.size());
    // from the modes back to the start: a coordinate that no mode asks for is not computed
    std::vector<bool> needed(std::size_t(dimension_), false);
    for (int place : chosen_) needed[std::size_t(place)] = true;
    for (std::size_t k = kinds.size(); k-- > 0;) {
        const std::string prefix = "layer" + std::to_string(k) + ".";
        require(kinds[k] == kAffine || kinds[k] == kSpline, "a layer is of an unknown kind");
        const CouplingHalves halves = read_halves(file, prefix, dimension_);
        std::vector<int> places;
        for (std::size_t i = 0; i < halves.moved.size(); ++i)
            if (needed[std::size_t(halves.moved[i])]) places.push_back(int(i));
        if (places.empty()) continue;
        for (int kept : halves.kept) needed[std::size_t(kept)] = true;
        layers_.push_back(kinds[k] == kAffine ? make_affine(file, prefix, halves, places)
                                              : make_spline(file, prefix, halves, places));
    }
    std::reverse(layers_.begin(), layers_.end());
    std::size_t size = 0;
    for (const auto& layer : layers_) size += layer->weights_size();
    weights_ = HugeArray(size);
    float* place = weights_.data();
    for (const auto& layer : layers_) {
        layer->move_weights(place);
        place += layer->weights_size();
    }
}

std::vector<LayerPlan> Flow::plan() const {
    std::vector<LayerPlan> plans;
    for (const auto& layer : layers_) plans.push_back(layer->plan());
    return plans;
}

std::unique_ptr<Workspace> Flow::workspace() const { return std::make_unique<FlowWorkspace>(); }

void Flow::forward(Workspace& memory, int frames, const double* positions, const double* boxes,
                   bool taped, double* values) const {
    auto& work = static_cast<FlowWorkspace&>(memory);
    const std::size_t size = 3 * std::size_t(n_atoms()), count = std::size_t(frames);
    const int stride = padded(dimension_);
    const std::size_t row_size = std::size_t(stride);
    work.x.resize(size);
    work.y.resize(count * size);
    work.coordinates.resize(std::size_t(padded_doubles(dimension_)));
    work.superpositions.resize(count);
    work.q.resize(count * row_size);
    std::size_t tape_size = 0, scratch_size = 0;
    for (const auto& layer : layers_) {
        const std::size_t own = layer->tape_size(frames);
        tape_size = taped ? tape_size + own : std::max(tape_size, own);
        scratch_size = std::max(scratch_size, layer->scratch_size(frames));
    }
    if (work.tape.size() < tape_size) work.tape.resize(tape_size);
    if (work.scratch.size() < scratch_size) work.scratch.resize(scratch_size);

    for (std::size_t f = 0; f < count; ++f) {
        const double* x = positions + f * size;
        if (boxes) {
            std::copy(x, x + size, work.x.begin());
            frame_.make_whole(boxes + 9 * f, work.x.data());
            x = work.x.data();
        }
        double* y = &work.y[f * size];
        frame_.superpose(x, y, work.superpositions[f]);
        for (std::size_t i = 0; i < size; ++i) work.x[i] = y[i] - frame_.reference()[i];
        kernels_.project(int(size), padded_doubles(dimension_), work.x.data(), to_modes_.data(),
                         origin_.data(), work.coordinates.data());
        float* q = &work.q[f * row_size];
        for (int k = 0; k < dimension_; ++k) q[k] = float(work.coordinates[std::size_t(k)]);
        std::fill(q + dimension_, q + stride, 0.0f);
    }

    float* tape = work.tape.data();
    for (const auto& layer : layers_) {
        layer->forward(kernels_, {frames, stride, work.q.data()}, tape, work.scratch.data());
        if (taped) tape += layer->tape_size(frames);
    }
    for (std::size_t f = 0; f < count; ++f)
        for (std::size_t k = 0; k < chosen_.size(); ++k)
            values[f * chosen_.size() + k] =
                omega_[k] * double(work.q[f * row_size + std::size_t(chosen_[k])]);
}

void Flow::reverse(Workspace& memory, int frames, int m, const double* combinations,
                   double* gradients) const {
    auto& work = static_cast<FlowWorkspace&>(memory);
    const std::size_t size = 3 * std::size_t(n_atoms());
    const std::size_t rows = std::size_t(frames) * std::size_t(m);
    const int stride = padded(dimension_);
    const std::size_t row_size = std::size_t(stride);
    work.momenta.resize(std::size_t(padded_doubles(int(size))));
    work.p.assign(rows * row_size, 0.0f);
    std::size_t tape_size = 0, scratch_size = 0;
    for (const auto& layer : layers_) {
        tape_size += layer->tape_size(frames);
        scratch_size = std::max(scratch_size, layer->scratch_size(int(rows)));
    }
    if (work.scratch.size() < scratch_size) work.scratch.resize(scratch_size);

    for (std::size_t row = 0; row < rows; ++row)
        for (std::size_t k = 0; k < chosen_.size(); ++k)
            work.p[row * row_size + std::size_t(chosen_[k])] =
                float(omega_[k] * combinations[row % std::size_t(m) * chosen_.size() + k]);
    float* tape = work.tape.data() + tape_size;
    for (std::size_t k = layers_.size(); k-- > 0;) {
        tape -= layers_[k]->tape_size(frames);
        layers_[k]->reverse(kernels_, {int(rows), stride, work.p.data()}, m, tape,
                            work.scratch.data());
    }
    for (std::size_t row = 0; row < rows; ++row) {
        const std::size_t f = row / std::size_t(m);
        for (int k = 0; k < dimension_; ++k)
            work.coordinates[std::size_t(k)] = double(work.p[row * row_size + std::size_t(k)]);
        kernels_.project(dimension_, padded_doubles(int(size)), work.coordinates.data(),
                         from_modes_.data(), nullptr, work.momenta.data());
        double* gradient = gradients + row * size;
        std::copy(work.momenta.begin(), work.momenta.begin() + std::ptrdiff_t(size), gradient);
        frame_.pull_back(&work.y[f * size], work.superpositions[f], gradient);
    }
}

}  // namespace symplectic_cv
