// One object for all forces that carry the same file, and one evaluation of all its modes at one
// place.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "modes.hpp"

namespace symplectic_cv {

/// Values and gradients of all modes at one set of positions.
struct Evaluation {
    std::vector<double> values;     // (n_modes,)
    std::vector<double> gradients;  // (n_modes, N, 3) in 1/nm
};

class SharedModes {
  public:
    explicit SharedModes(std::string content);

    /// The one object of this content, made where there is none yet. Throws FormatError.
    static std::shared_ptr<SharedModes> of(const std::string& content);

    const Modes& modes() const { return *modes_; }
    const std::string& content() const { return content_; }

    /// All modes at `positions` (N, 3) in `box` (9 numbers, or null).
    ///
    /// The forces of a System ask one after the other for the same positions: whoever asks first
    /// pays, the others find the result by the very positions and box, bit by bit. `slot` (the
    /// Context's address) keeps Contexts in different threads from waiting for one another; that
    /// two share a slot costs time, never a wrong result.
    void evaluate(const void* slot, const double* positions, const double* box, Evaluation& result);

    /// The number of evaluations for `evaluate`.
    long evaluations() const;

  private:
    static constexpr std::size_t kSlots = 16;
    struct Slot {
        std::mutex lock;
        std::vector<double> key;
        bool periodic = false;
        Evaluation result;
        std::unique_ptr<Workspace> work;
        long evaluations = 0;
    };

    std::string content_;
    std::unique_ptr<const Modes> modes_;
    std::vector<double> identity_;
    mutable Slot slots_[kSlots];
};

}  // namespace symplectic_cv
