// The forces in OpenMM's XML: how they are made, cloned and stored.
#pragma once

namespace symplectic_cv {

/// Makes OpenMM know the forces; calling it again changes nothing.
void register_forces();

}  // namespace symplectic_cv
