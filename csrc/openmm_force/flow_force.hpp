// OpenMM forces that carry a learned collective variable.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "bias_grid.hpp"
#include "openmm/Force.h"
#include "shared_modes.hpp"

namespace symplectic_cv {

/// Base of both forces: modes of a flow or of torsions, and whether their molecule is made whole in
/// the periodic box.
class ModesCarrier : public OpenMM::Force {
  public:
    bool usesPeriodicBoundaryConditions() const override { return periodic_; }
    bool periodic() const { return periodic_; }
    SharedModes& shared() const { return *shared_; }

  protected:
    ModesCarrier(std::shared_ptr<SharedModes> shared, bool periodic)
        : shared_(std::move(shared)), periodic_(periodic) {}

  private:
    std::shared_ptr<SharedModes> shared_;
    bool periodic_;
};

/// The value of one mode as a potential energy: dimensionless, read as kJ/mol.
class FlowForce : public ModesCarrier {
  public:
    /// `mode` is a place among the modes of the file; std::invalid_argument for another.
    FlowForce(std::shared_ptr<SharedModes> shared, bool periodic, int mode);
    int mode() const { return mode_; }

  protected:
    OpenMM::ForceImpl* createImpl() const override;

  private:
    int mode_;
};

/// A metadynamics bias on all modes of the file, grid and walls, as one force in kJ/mol.
/// The grid belongs to the force: every Context of it feels the same bias.
class FlowBiasForce : public ModesCarrier {
  public:
    /// std::invalid_argument for a grid of another number of modes.
    FlowBiasForce(std::shared_ptr<SharedModes> shared, bool periodic,
                  std::unique_ptr<BiasGrid> grid);
    BiasGrid& grid() const { return *grid_; }

  protected:
    OpenMM::ForceImpl* createImpl() const override;

  private:
    std::unique_ptr<BiasGrid> grid_;
};

}  // namespace symplectic_cv
