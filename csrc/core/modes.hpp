// The modes of a file as functions of positions, whatever they are made of.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "safetensors.hpp"

namespace symplectic_cv {

/// Frames that are evaluated together.
constexpr int kBlock = 32;

/// The memory of one evaluation; one per thread. Each kind of modes has its own.
struct Workspace {
    virtual ~Workspace() = default;
};

/// Constant after its making: any number of threads may use it, each with its own workspace.
class Modes {
  public:
    /// Reads a file held in memory and checks all of it. Throws FormatError. `instructions`
    /// (baseline, avx2, avx512, or null for the best) is for tests.
    static std::unique_ptr<Modes> read(const std::uint8_t* data, std::size_t size,
                                       const char* instructions = nullptr);
    virtual ~Modes() = default;
    Modes(const Modes&) = delete;
    Modes& operator=(const Modes&) = delete;

    virtual int n_modes() const = 0;
    int n_atoms() const { return int(atoms_.size()); }
    /// Places of the modelled atoms in the system.
    const std::vector<std::int64_t>& atoms() const { return atoms_; }
    /// SHA-256 that the file carries and that it was checked against.
    const std::string& sha256() const { return sha256_; }
    /// The name of the kernels that run.
    virtual const char* instructions() const = 0;
    /// Where values or gradients are not finite, for messages, such as "its orientation is not
    /// unique".
    virtual const char* undefined_where() const = 0;

    /// Values and gradients of frames.
    ///
    /// positions: (frames, N, 3), modelled atoms only, nm. boxes: (frames, 9), or null for whole
    /// molecules. combinations: (m, n_modes), the weights of the modes in each gradient.
    /// values: (frames, n_modes). gradients: (frames, m, N, 3) in 1/nm, or null with m = 0.
    /// Positions that are not finite give values that are not.
    void evaluate(Workspace& work, std::size_t frames, const double* positions, const double* boxes,
                  int m, const double* combinations, double* values, double* gradients) const;

    /// The two halves of `evaluate` for at most kBlock frames, for gradients that depend on the
    /// values: `forward` leaves in the workspace what `reverse` needs (if `taped`).
    virtual void forward(Workspace& work, int frames, const double* positions, const double* boxes,
                         bool taped, double* values) const = 0;
    virtual void reverse(Workspace& work, int frames, int m, const double* combinations,
                         double* gradients) const = 0;

    /// New memory for `evaluate`, `forward` and `reverse`.
    virtual std::unique_ptr<Workspace> workspace() const = 0;

    /// Memory that is taken from and given back to a pool.
    class Loan {
      public:
        explicit Loan(const Modes& modes);
        ~Loan();
        Loan(const Loan&) = delete;
        Loan& operator=(const Loan&) = delete;
        Workspace& operator*() { return *work_; }

      private:
        const Modes& modes_;
        std::unique_ptr<Workspace> work_;
    };

  protected:
    /// `sha256` was checked.
    Modes(const Safetensors& file, std::string sha256);

  private:
    std::string sha256_;
    std::vector<std::int64_t> atoms_;
    mutable std::mutex pool_lock_;
    mutable std::vector<std::unique_ptr<Workspace>> pool_;
};

}  // namespace symplectic_cv
