#include <algorithm>
#include <cmath>
#include <cstring>

#include "error.hpp"
#include "layers.hpp"

namespace symplectic_cv {

namespace {

constexpr std::uint64_t kWidest = 1 << 16;

std::vector<float> finite(std::vector<float> values, const std::string& name) {
    for (float x : values) require(std::isfinite(x), "tensor " + name + " is not finite");
    return values;
}

/// Matrix (rows, columns) at the given rows, -1 for zeros, as stored: (n, padded columns).
Aligned<float> take_rows(const std::vector<float>& m, int columns, const std::vector<int>& rows) {
    Aligned<float> out(rows.size() * std::size_t(padded(columns)), 0.0f);
    for (std::size_t i = 0; i < rows.size(); ++i)
        if (rows[i] >= 0)
            std::memcpy(&out[i * std::size_t(padded(columns))],
                        &m[std::size_t(rows[i]) * std::size_t(columns)],
                        sizeof(float) * std::size_t(columns));
    return out;
}

/// The transpose of the same: (columns, n padded).
Aligned<float> take_rows_transposed(const std::vector<float>& m, int columns,
                                    const std::vector<int>& rows) {
    const std::size_t stride = std::size_t(padded(int(rows.size())));
    Aligned<float> out(std::size_t(columns) * stride, 0.0f);
    for (std::size_t i = 0; i < rows.size(); ++i)
        if (rows[i] >= 0)
            for (int j = 0; j < columns; ++j)
                out[std::size_t(j) * stride + i] =
                    m[std::size_t(rows[i]) * std::size_t(columns) + std::size_t(j)];
    return out;
}

std::vector<int> all_of(int n) {
    std::vector<int> out(static_cast<std::size_t>(n));
    for (int i = 0; i < n; ++i) out[std::size_t(i)] = i;
    return out;
}

}  // namespace

Conditioner::Conditioner(const Safetensors& file, const std::string& prefix, int n_in, int n_out,
                         const std::vector<int>& outputs)
    : n_in_(n_in), n_out_(padded(int(outputs.size()))) {
    const auto& shape = file.shape(prefix + "w2");
    require(shape.size() == 2 && shape[0] == shape[1] && shape[0] >= 1 && shape[0] <= kWidest,
            "tensor " + prefix + "w2 is not a square matrix of a usable size");
    hidden_ = int(shape[0]);
    const auto matrix = [&](const char* name, int rows, int columns) {
        auto values = file.floats(prefix + name, 2);
        const auto& found = file.shape(prefix + name);
        require(found[0] == std::uint64_t(rows) && found[1] == std::uint64_t(columns),
                "tensor " + prefix + name + " is not of shape (" + std::to_string(rows) + ", " +
                    std::to_string(columns) + ")");
        return finite(std::move(values), prefix + name);
    };
    const auto vector = [&](const char* name, int size) {
        auto values = file.floats(prefix + name, 1);
        require(values.size() == std::size_t(size),
                "tensor " + prefix + name + " is not of length " + std::to_string(size));
        return finite(std::move(values), prefix + name);
    };
    const auto w1 = matrix("w1", hidden_, n_in), w2 = matrix("w2", hidden_, hidden_),
               w3 = matrix("w3", n_out, hidden_);
    const auto b1 = vector("b1", hidden_), b2 = vector("b2", hidden_), b3 = vector("b3", n_out);
    const auto hidden = all_of(hidden_);
    w1_ = take_rows_transposed(w1, n_in, hidden);
    w2_ = take_rows_transposed(w2, hidden_, hidden);
    w3_ = take_rows_transposed(w3, hidden_, outputs);
    w1_back_ = take_rows(w1, n_in, hidden);
    auto square = take_rows(w2, hidden_, hidden);
    square.resize(std::size_t(padded(hidden_)) * std::size_t(padded(hidden_)), 0.0f);
    w2_back_ = std::move(square);
    w3_back_ = take_rows(w3, hidden_, outputs);
    b1_ = take_rows(b1, hidden_, {0});
    b2_ = take_rows(b2, hidden_, {0});
    b3_ = take_rows_transposed(b3, 1, outputs);
}

std::size_t Conditioner::weights_size() const {
    std::size_t sum = 0;
    for (const Array* array : const_cast<Conditioner*>(this)->arrays())
        sum += std::size_t(padded(int(array->size)));
    return sum;
}

void Conditioner::move_weights(float* to) {
    for (Array* array : arrays()) {
        std::copy(array->own.begin(), array->own.end(), to);
        array->data = to;
        to += padded(int(array->size));
        array->own = {};
    }
}

void Conditioner::describe(LayerPlan& plan) const {
    plan.hidden = hidden_;
    plan.hidden_padded = padded(hidden_);
    plan.in_padded = in();
    plan.out = n_out_;
    plan.w1 = w1_.data;
    plan.b1 = b1_.data;
    plan.w2 = w2_.data;
    plan.b2 = b2_.data;
    plan.w3 = w3_.data;
    plan.b3 = b3_.data;
    plan.w3_back = w3_back_.data;
    plan.w2_back = w2_back_.data;
    plan.w1_back = w1_back_.data;
}

void Conditioner::forward(const Kernels& kernels, int rows, const float* a, float* tape,
                          float* c) const {
    const int width = padded(hidden_);
    float *h1 = tape, *h2 = tape + std::size_t(rows) * std::size_t(width);
    kernels.multiply(rows, n_in_, width, a, in(), w1_.data, b1_.data, h1, width);
    kernels.tanh(rows * width, h1);
    if (rows <= 2)
        kernels.multiply_transposed(rows, width, width, h1, width, w2_back_.data, b2_.data, h2,
                                    width);
    else
        kernels.multiply(rows, hidden_, width, h1, width, w2_.data, b2_.data, h2, width);
    kernels.tanh(rows * width, h2);
    kernels.multiply(rows, hidden_, n_out_, h2, width, w3_.data, b3_.data, c, n_out_);
}

void Conditioner::reverse(const Kernels& kernels, int rows, int per_frame, const float* on_c,
                          const float* tape, float* g, float* on_a) const {
    const int width = padded(hidden_);
    const std::size_t frames = std::size_t(rows / per_frame), size = std::size_t(width);
    const float *h1 = tape, *h2 = tape + frames * size;
    float *g2 = g, *g1 = g + std::size_t(rows) * size;
    const auto through_tanh = [&](const float* h, float* on_h) {
        for (std::size_t row = 0; row < std::size_t(rows); ++row)
            kernels.tanh_slope(width, h + row / std::size_t(per_frame) * size, on_h + row * size);
    };
    kernels.multiply(rows, n_out_, width, on_c, n_out_, w3_back_.data, nullptr, g2, width);
    through_tanh(h2, g2);
    kernels.multiply(rows, hidden_, width, g2, width, w2_back_.data, nullptr, g1, width);
    through_tanh(h1, g1);
    kernels.multiply(rows, hidden_, in(), g1, width, w1_back_.data, nullptr, on_a, in());
}

}  // namespace symplectic_cv
