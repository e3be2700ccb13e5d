// The couplings of a flow: what is left of them for the chosen modes, forwards and in reverse.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "aligned.hpp"
#include "kernels.hpp"
#include "safetensors.hpp"

namespace symplectic_cv {

/// Rows of coordinates (rows, stride), padded; one row is one frame.
struct Rows {
    int rows, stride;
    float* data;
};

/// One coupling as numbers, for an evaluation elsewhere than in `Layer`: what a GPU needs of it.
///
/// Matrices are (inputs, outputs) row by row; the outputs are padded with zeros.
struct LayerPlan {
    bool spline = false;
    std::vector<int> kept, moved;
    int hidden = 0;         // units of both hidden layers
    int hidden_padded = 0;  // columns of w1, w2, w3_back and w2_back
    int in_padded = 0;      // columns of w1_back
    int out = 0;            // columns of w3
    int width = 0;          // moved coordinates, padded
    const float *w1 = nullptr, *b1 = nullptr, *w2 = nullptr, *b2 = nullptr, *w3 = nullptr,
                *b3 = nullptr, *w3_back = nullptr, *w2_back = nullptr, *w1_back = nullptr;
    float bound = 0.0f;           // affine
    SplineLimits limits = {};     // spline
    std::vector<float> half = {};  // spline: half widths of the moved coordinates
};

/// One layer of a flow, constant after its making: any number of threads may use it at once.
class Layer {
  public:
    virtual ~Layer() = default;
    /// The numbers of this layer; the pointers live as long as it does.
    virtual LayerPlan plan() const = 0;
    /// Floats of weights that one frame needs, and their copy into a buffer of this size.
    virtual std::size_t weights_size() const = 0;
    virtual void move_weights(float* to) = 0;
    /// Floats of tape for a number of rows.
    virtual std::size_t tape_size(int rows) const = 0;
    /// Floats of scratch space for a number of rows, forwards or in reverse.
    virtual std::size_t scratch_size(int rows) const = 0;
    /// q → q', in place; the tape keeps what `reverse` needs.
    virtual void forward(const Kernels& kernels, Rows q, float* tape, float* scratch) const = 0;
    /// p = p' · ∂q'/∂q, in place: rows of p are `per_frame` for each row that was taped.
    virtual void reverse(const Kernels& kernels, Rows p, int per_frame, float* tape,
                         float* scratch) const = 0;
};

/// Two hidden tanh layers, pruned to the outputs that matter, laid out for both directions.
class Conditioner {
  public:
    /// `outputs` are rows of the last layer in the order wanted, -1 for padding with zeros.
    Conditioner(const Safetensors& file, const std::string& prefix, int n_in, int n_out,
                const std::vector<int>& outputs);

    Conditioner(Conditioner&&) = default;  // not copied: `Array` points into itself

    int hidden() const { return hidden_; }
    int in() const { return padded(n_in_); }
    int out() const { return n_out_; }
    /// Floats per row of the hidden activations, h1 and h2.
    std::size_t tape_size() const { return 2 * std::size_t(padded(hidden_)); }
    std::size_t weights_size() const;
    void move_weights(float* to);
    /// Adds the sizes and matrices of this network to a plan.
    void describe(LayerPlan& plan) const;

    /// c (rows, out()) from a (rows, in()); tape (rows, tape_size()).
    void forward(const Kernels& kernels, int rows, const float* a, float* tape, float* c) const;
    /// Cotangent of a from that of c; each tape row serves `per_frame` rows. `g` is scratch space
    /// of rows times tape_size() floats.
    void reverse(const Kernels& kernels, int rows, int per_frame, const float* on_c,
                 const float* tape, float* g, float* on_a) const;

  private:
    int n_in_, n_out_, hidden_;
    /// Weights where they were read, or where `move_weights` has put them.
    struct Array {
        Aligned<float> own;
        const float* data = nullptr;
        std::size_t size = 0;
        Array& operator=(Aligned<float> values) {
            own = std::move(values);
            data = own.data();
            size = own.size();
            return *this;
        }
    };
    /// In the order of their use: forwards, then in reverse.
    static constexpr int kArrays = 8;
    Array w1_, b1_, w2_back_, b2_, w3_, b3_, w3_back_, w1_back_;
    Array w2_;  // for many rows only, so that it stays out of the way of the others
    std::array<Array*, kArrays> arrays() {
        return {&w1_, &b1_, &w2_back_, &b2_, &w3_, &b3_, &w3_back_, &w1_back_};
    }
};

/// A coupling as the file has it, before anything is pruned.
struct CouplingHalves {
    std::vector<int> kept, moved;
};

/// The halves of a layer; FormatError where they are not a partition of 0 … n-1.
CouplingHalves read_halves(const Safetensors& file, const std::string& prefix, int n);

/// Base of both kinds of coupling: the indices of the halves, and the network between them.
class Coupling : public Layer {
  public:
    Coupling(std::vector<int> kept, std::vector<int> moved, Conditioner conditioner)
        : kept_(std::move(kept)), moved_(std::move(moved)), conditioner_(std::move(conditioner)) {}

    std::size_t weights_size() const override { return conditioner_.weights_size(); }
    void move_weights(float* to) override { conditioner_.move_weights(to); }
    std::size_t tape_size(int rows) const override;
    std::size_t scratch_size(int rows) const override;
    void forward(const Kernels& kernels, Rows q, float* tape, float* scratch) const override;
    void reverse(const Kernels& kernels, Rows p, int per_frame, float* tape,
                 float* scratch) const override;

  protected:
    /// Floats per row that `change` leaves for `change_back`.
    virtual std::size_t change_tape_size() const = 0;
    /// b → b' of one row, b and c padded.
    virtual void change(const Kernels& kernels, float* c, float* b, float* tape) const = 0;
    /// Cotangents of b (in place of that of b') and of c.
    virtual void change_back(const Kernels& kernels, float* tape, float* p, float* on_c) const = 0;
    int width() const { return padded(int(moved_.size())); }
    /// A plan with the halves and the network.
    LayerPlan common_plan() const {
        LayerPlan plan;
        plan.kept = kept_;
        plan.moved = moved_;
        plan.width = width();
        conditioner_.describe(plan);
        return plan;
    }

  private:
    std::vector<int> kept_, moved_;
    Conditioner conditioner_;
};

/// The layer `prefix`, changing only the moved coordinates at these places of its moved half.
std::unique_ptr<Layer> make_affine(const Safetensors& file, const std::string& prefix,
                                   const CouplingHalves& halves, const std::vector<int>& places);
std::unique_ptr<Layer> make_spline(const Safetensors& file, const std::string& prefix,
                                   const CouplingHalves& halves, const std::vector<int>& places);

}  // namespace symplectic_cv
