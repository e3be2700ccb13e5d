// Modes of a flow: positions of atoms → ω_k Q_k of the chosen modes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "aligned.hpp"
#include "frame.hpp"
#include "huge_array.hpp"
#include "kernels.hpp"
#include "layers.hpp"
#include "modes.hpp"

namespace symplectic_cv {

/// The networks are evaluated for kBlock frames together: their weights are read once for all.
struct FlowWorkspace final : Workspace {
    Aligned<double> x, y, coordinates, momenta;
    Aligned<float> q, p, tape, scratch;
    std::vector<Superposition> superpositions;
};

class Flow final : public Modes {
  public:
    /// Checks all of a file whose digest was checked, and prunes what cannot influence its modes.
    /// Throws FormatError. `instructions` as for `Modes::read`.
    Flow(const Safetensors& file, std::string sha256, const char* instructions);

    int n_modes() const override { return int(chosen_.size()); }
    int dimension() const { return dimension_; }
    /// Couplings in the file, and how many of them the chosen modes depend on.
    int n_couplings() const { return n_couplings_; }
    int n_couplings_used() const { return int(layers_.size()); }
    const char* instructions() const override { return kernels_.name; }
    const char* undefined_where() const override { return "its orientation is not unique"; }
    /// The parts of this flow, for an evaluation on a GPU.
    const Frame& frame() const { return frame_; }
    const std::vector<int>& chosen() const { return chosen_; }
    const std::vector<double>& omega() const { return omega_; }
    /// q = (y - reference) · to_modes + origin: (3N, columns) with padded columns, and (columns,).
    const Aligned<double>& to_modes() const { return to_modes_; }
    const Aligned<double>& origin() const { return origin_; }
    std::vector<LayerPlan> plan() const;

    void forward(Workspace& work, int frames, const double* positions, const double* boxes,
                 bool taped, double* values) const override;
    void reverse(Workspace& work, int frames, int m, const double* combinations,
                 double* gradients) const override;
    std::unique_ptr<Workspace> workspace() const override;

  private:
    void read_layers(const Safetensors& file);

    const Kernels& kernels_;
    Frame frame_;
    int dimension_ = 0, n_couplings_ = 0;
    Aligned<double> to_modes_, from_modes_, origin_;
    std::vector<int> chosen_;
    std::vector<double> omega_;
    std::vector<std::unique_ptr<Layer>> layers_;
    HugeArray weights_;  // of all layers
};

}  // namespace symplectic_cv
