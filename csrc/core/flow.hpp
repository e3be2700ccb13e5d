// A learned collective variable: positions of atoms → ω_k Q_k of the chosen modes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "aligned.hpp"
#include "frame.hpp"
#include "huge_array.hpp"
#include "kernels.hpp"
#include "layers.hpp"

namespace symplectic_cv {

/// Frames that go through the networks together: their weights are read once for all of them.
constexpr int kBlock = 32;

/// The memory of one evaluation; one per thread.
struct Workspace {
    Aligned<double> x, y, coordinates, momenta;
    Aligned<float> q, p, tape, scratch;
    std::vector<Superposition> superpositions;
};

class Flow {
  public:
    /// Reads a file held in memory, checks all of it, and prunes what cannot influence its modes.
    /// Throws FormatError. `instructions` (baseline, avx2, avx512, or null for the best) is for
    /// tests.
    Flow(const std::uint8_t* data, std::size_t size, const char* instructions = nullptr);

    int n_atoms() const { return frame_.n_atoms(); }
    int n_modes() const { return int(chosen_.size()); }
    int dimension() const { return dimension_; }
    /// Couplings in the file, and how many of them the chosen modes depend on.
    int n_couplings() const { return n_couplings_; }
    int n_couplings_used() const { return int(layers_.size()); }
    /// Places of the modelled atoms in the system.
    const std::vector<std::int64_t>& atoms() const { return atoms_; }
    /// SHA-256 that the file carries and that it was checked against.
    const std::string& sha256() const { return sha256_; }
    const char* instructions() const { return kernels_.name; }
    /// The parts of this flow, for an evaluation on a GPU.
    const Frame& frame() const { return frame_; }
    const std::vector<int>& chosen() const { return chosen_; }
    const std::vector<double>& omega() const { return omega_; }
    /// q = (y - reference) · to_modes + origin: (3N, columns) with padded columns, and (columns,).
    const Aligned<double>& to_modes() const { return to_modes_; }
    const Aligned<double>& origin() const { return origin_; }
    std::vector<LayerPlan> plan() const;

    /// Values and gradients of frames; this object is not changed, so threads may share it.
    ///
    /// positions: (frames, N, 3), modelled atoms only, nm. boxes: (frames, 9), or null for whole
    /// molecules. combinations: (m, n_modes), the weights of the modes in each gradient.
    /// values: (frames, n_modes). gradients: (frames, m, N, 3) in 1/nm, or null with m = 0.
    /// Positions that are not finite give values that are not.
    void evaluate(Workspace& work, std::size_t frames, const double* positions, const double* boxes,
                  int m, const double* combinations, double* values, double* gradients) const;

    /// The two halves of `evaluate` for at most kBlock frames, for gradients that depend on the
    /// values: `forward` leaves in the workspace what `reverse` needs (if `taped`).
    void forward(Workspace& work, int frames, const double* positions, const double* boxes,
                 bool taped, double* values) const;
    void reverse(Workspace& work, int frames, int m, const double* combinations,
                 double* gradients) const;

    /// Memory for `evaluate`, taken from and given back to a pool.
    class Loan {
      public:
        explicit Loan(const Flow& flow);
        ~Loan();
        Loan(const Loan&) = delete;
        Loan& operator=(const Loan&) = delete;
        Workspace& operator*() { return *work_; }

      private:
        const Flow& flow_;
        std::unique_ptr<Workspace> work_;
    };

  private:
    Flow(const Safetensors& file, const std::uint8_t* data, std::size_t size,
         const char* instructions);
    void read_layers(const Safetensors& file);

    const Kernels& kernels_;
    std::string sha256_;  // checked before anything else is read
    Frame frame_;
    std::vector<std::int64_t> atoms_;
    int dimension_ = 0, n_couplings_ = 0;
    Aligned<double> to_modes_, from_modes_, origin_;
    std::vector<int> chosen_;
    std::vector<double> omega_;
    std::vector<std::unique_ptr<Layer>> layers_;
    HugeArray weights_;  // of all layers

    mutable std::mutex pool_lock_;
    mutable std::vector<std::unique_ptr<Workspace>> pool_;
};

}  // namespace symplectic_cv
