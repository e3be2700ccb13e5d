#include <algorithm>

#include "error.hpp"
#include "layers.hpp"

namespace symplectic_cv {

namespace {

void gather(const float* from, const std::vector<int>& places, int width, float* to) {
    for (std::size_t i = 0; i < places.size(); ++i) to[i] = from[places[i]];
    std::fill(to + places.size(), to + width, 0.0f);
}

}  // namespace

CouplingHalves read_halves(const Safetensors& file, const std::string& prefix, int n) {
    CouplingHalves halves;
    std::vector<bool> seen(std::size_t(n), false);
    const auto read = [&](const char* name, std::vector<int>& half) {
        for (std::int64_t place : file.integers(prefix + name, 1)) {
            require(
                place >= 0 && place < n && !seen[std::size_t(place)],
                "tensor " + prefix + name + " names a coordinate twice, or one beyond the last");
            seen[std::size_t(place)] = true;
            half.push_back(int(place));
        }
    };
    read("kept", halves.kept);
    read("moved", halves.moved);
    require(halves.kept.size() + halves.moved.size() == std::size_t(n) && !halves.moved.empty(),
            "the halves of " + prefix + " leave a coordinate out");
    return halves;
}

std::size_t Coupling::tape_size(int rows) const {
    return std::size_t(rows) * (conditioner_.tape_size() + change_tape_size());
}

std::size_t Coupling::scratch_size(int rows) const {
    return std::size_t(rows) * (std::size_t(conditioner_.in()) + std::size_t(conditioner_.out()) +
                                std::size_t(width()) + conditioner_.tape_size());
}

void Coupling::forward(const Kernels& kernels, Rows q, float* tape, float* scratch) const {
    const std::size_t rows = std::size_t(q.rows), in = std::size_t(conditioner_.in()),
                      out = std::size_t(conditioner_.out());
    float *a = scratch, *c = a + rows * in, *b = c + rows * out;
    float* own = tape + rows * conditioner_.tape_size();
    for (std::size_t row = 0; row < rows; ++row)
        gather(q.data + row * std::size_t(q.stride), kept_, conditioner_.in(), a + row * in);
    conditioner_.forward(kernels, q.rows, a, tape, c);
    for (std::size_t row = 0; row < rows; ++row) {
        float* coordinates = q.data + row * std::size_t(q.stride);
        gather(coordinates, moved_, width(), b);
        change(kernels, c + row * out, b, own + row * change_tape_size());
        for (std::size_t i = 0; i < moved_.size(); ++i) coordinates[moved_[i]] = b[i];
    }
}

void Coupling::reverse(const Kernels& kernels, Rows p, int per_frame, float* tape,
                       float* scratch) const {
    const std::size_t rows = std::size_t(p.rows), in = std::size_t(conditioner_.in()),
                      out = std::size_t(conditioner_.out()), shared = std::size_t(per_frame);
    float *on_a = scratch, *on_c = on_a + rows * in, *p_b = on_c + rows * out, *g = p_b + width();
    float* own = tape + rows / shared * conditioner_.tape_size();
    for (std::size_t row = 0; row < rows; ++row) {
        float* momentum = p.data + row * std::size_t(p.stride);
        gather(momentum, moved_, width(), p_b);
        change_back(kernels, own + row / shared * change_tape_size(), p_b, on_c + row * out);
        for (std::size_t i = 0; i < moved_.size(); ++i) momentum[moved_[i]] = p_b[i];
    }
    conditioner_.reverse(kernels, p.rows, per_frame, on_c, tape, g, on_a);
    for (std::size_t row = 0; row < rows; ++row) {
        float* momentum = p.data + row * std::size_t(p.stride);
        for (std::size_t i = 0; i < kept_.size(); ++i) momentum[kept_[i]] += on_a[row * in + i];
    }
}

}  // namespace symplectic_cv
